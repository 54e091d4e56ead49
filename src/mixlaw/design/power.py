"""How many runs, of which size, for which regret: asked before anything is spent.

The whole study is simulated: worlds are drawn from what is known (a pilot's law, or a prior law), in each one a
design is run with noise, a law is fitted, the best mixture is chosen, and its regret in that world is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mixlaw.budget import Budget
from mixlaw.corpus import Corpus
from mixlaw.design.feasible import Array, Polytope, begin
from mixlaw.design.maximin import spread
from mixlaw.design.worlds import draw_worlds, fresh, minimise, mutate, noise_sds, objective_weights, replicate_sd
from mixlaw.errors import ConfigError, FitError
from mixlaw.laws.base import Law
from mixlaw.mixture import Mixture
from mixlaw.observations import Observations

__all__ = ["Point", "Power", "Size", "power_analysis", "simulate"]


@dataclass(frozen=True)
class Size:
    """A size of proxy one could run.

    Args:
        name: for the table.
        cost: of one run, in any unit (FLOPs, hours).
        noise: its seed noise relative to the pilot's.
        mismatch: how far its objective ranks mixtures differently from the target's: standard deviation over
            mixtures of (its loss - target's loss) after removing the mean, in the objective's unit. 0 = the size
            at which the mixture will be used.
    """

    name: str = "proxy"
    cost: float = 1.0
    noise: float = 1.0
    mismatch: float = 0.0

    def __post_init__(self) -> None:
        if not self.cost > 0 or self.noise < 0 or self.mismatch < 0:
            raise ConfigError(f"A size needs cost > 0, noise >= 0 and mismatch >= 0, got {self}.")


@dataclass(frozen=True)
class Point:
    """Regret of ``runs`` runs of one size: mean over worlds with its standard error, and the worst decile."""

    size: str
    runs: int
    cost: float
    regret: float
    error: float
    worst_decile: float


@dataclass(frozen=True)
class Power:
    """Regret against runs and size.

    Attributes:
        points: one per size and count.
        spread: regret of training on the natural mixture instead (what there is to gain), mean over worlds.
        worlds: simulated worlds.
    """

    points: tuple[Point, ...]
    spread: float
    worlds: int

    def curve(self, size: str | None = None) -> list[Point]:
        """Points of one size (default: the first)."""
        name = size if size is not None else self.points[0].size
        return [p for p in self.points if p.size == name]

    def runs_for(self, regret: float, size: str | None = None) -> int | None:
        """Fewest runs whose expected regret is at most ``regret``: straight in the logarithms between the points
        simulated; None where even the most runs simulated do not reach it."""
        points = self.curve(size)
        if points[0].regret <= regret:
            return points[0].runs
        for a, b in pairwise(points):
            if b.regret <= regret < a.regret:
                part = np.log(a.regret / regret) / np.log(a.regret / max(b.regret, 1e-12))
                return int(np.ceil(a.runs * (b.runs / a.runs) ** part))
        return None

    def cheapest(self, regret: float) -> tuple[str, int, float] | None:
        """(size, runs, cost) that reaches ``regret`` at the least cost, or None."""
        options = []
        for name in dict.fromkeys(p.size for p in self.points):
            runs = self.runs_for(regret, name)
            if runs is not None:
                each = self.curve(name)[0].cost / self.curve(name)[0].runs
                options.append((name, runs, runs * each))
        return min(options, key=lambda o: o[2]) if options else None

    def __str__(self) -> str:
        lines = [
            f"Regret expected from {self.worlds} simulated worlds; the natural mixture's is {self.spread:.4f}.",
            f"{'size':<12} {'runs':>5} {'cost':>10}  regret            worst decile",
        ]
        for p in self.points:
            lines.append(
                f"{p.size:<12} {p.runs:>5} {p.cost:>10.3g}  {p.regret:.4f} \u00b1 {p.error:.4f}   {p.worst_decile:.4f}"
            )
        return "\n".join(lines)


def power_analysis(
    corpus: Corpus,
    budget: Budget,
    counts: Sequence[int] = (16, 32, 64, 128),
    *,
    pilot: Observations | None = None,
    law: Law | None = None,
    objective: Mapping[str, float] | None = None,
    noise: float | Mapping[str, float] | None = None,
    sizes: Sequence[Size] = (Size(),),
    sampler: str = "dirichlet",
    fit: Law | None = None,
    decisions: Sequence[Mixture] | None = None,
    worlds: int = 12,
    seed: int = 0,
    metric: str = "loss",
) -> Power:
    """Simulated regret of designs of several counts and sizes.

    Args:
        counts: numbers of runs to simulate.
        pilot: a few runs of this corpus; worlds are drawn from ``law`` (default Gaussian process) fitted on them.
        law: with a pilot: an unfitted law. Without one: a *fitted* prior law (from another study, or a published
            one) over the corpus' domains, taken as the truth.
        objective: weight per target; default equal weights.
        noise: seed noise per target (standard deviation); default from the pilot's replicates, else what the law
            leaves unexplained. Needed without a pilot.
        sizes: proxies one could run; default one, like the pilot.
        sampler: name of the design to simulate (one that needs no observations).
        fit: unfitted law the study will use; default the Gaussian process.
        decisions: mixtures one would choose among; default 400 spread over the feasible set, most of them near the
            optimum of the law. Regret is against the best of them, so a finer set shows more of it.

    Raises:
        ConfigError: neither pilot nor law, unusable counts or objective, or no noise given without a pilot.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: a pilot over other domains.
        TooFewRunsError: a pilot too small for its law.
    """
    counts = sorted(set(counts))
    if not counts or counts[0] < 3 or worlds < 2 or not sizes:
        raise ConfigError(
            f"power_analysis needs counts of at least 3, 2 worlds and a size, got {counts}, {worlds}, {sizes}."
        )
    start = begin(corpus, budget, counts[-1], pilot, seed)
    columns = None
    if pilot is not None:
        _, every = pilot.table(metric=metric, missing="keep")
        weights = objective_weights(objective, list(every.column_names))
        X, y = pilot.table(list(weights), metric=metric)
        have = list(X.column_names)
        rows = np.column_stack([X.column(d).to_numpy() if d in have else np.zeros(X.num_rows) for d in corpus.names])
        Y = np.column_stack([y.column(t).to_numpy() for t in weights])
        truth = fresh(law, seed).fit(dict(zip(corpus.names, rows.T)), y)
        columns = (rows, Y)
        sds = noise_sds(truth, rows, Y)
        for t in range(Y.shape[1]):
            measured = replicate_sd(rows, Y[:, t])
            sds[t] = sds[t] if measured is None else measured
    elif law is not None:
        names = [str(n) for n in law.feature_names_in_]
        if list(corpus.names) != names and any(not n.startswith("x") for n in names):
            raise ConfigError(f"The prior law was fitted on {names}, the corpus has {list(corpus.names)}, in order.")
        weights = objective_weights(objective, list(law.target_names_))
        truth, sds = law, np.zeros(len(weights))
        if noise is None:
            raise ConfigError("Without a pilot the seed noise is not known: give noise, e.g. 0.02 nats.")
    else:
        raise ConfigError("power_analysis needs a pilot (some observations) or a fitted prior law.")
    if noise is not None:
        sds = np.array([float(noise[t]) if isinstance(noise, Mapping) else float(noise) for t in weights])
    fitted = list(truth.target_names_)
    keep = [fitted.index(t) for t in weights]
    w = np.array(list(weights.values()))
    pool = None
    if decisions is not None:
        pool = np.array([m.array(corpus.names) for m in decisions])
        outside = int((~start.polytope.contains(pool)).sum())
        if len(pool) < 2 or outside:
            raise ConfigError(
                f"decisions must be two or more feasible mixtures; {outside} of {len(pool)} break the budget."
            )
    points, spreads = [], []
    for size in sizes:
        regrets, natural = simulate(
            truth, columns, keep, w, sds, start.polytope, corpus, budget, counts, size, sampler, fit, worlds, seed, pool
        )
        spreads.append(natural)
        for n, r in zip(counts, regrets.T):
            points.append(
                Point(
                    size.name, n, n * size.cost, float(r.mean()), float(r.std(ddof=1) / np.sqrt(len(r))),
                    float(np.quantile(r, 0.9)),
                )
            )  # fmt: skip
    return Power(tuple(points), float(np.mean(spreads)), worlds)


def simulate(
    truth: Law,
    columns: tuple[Array, Array] | None,
    keep: Sequence[int],
    weights: Array,
    noise: Array,
    polytope: Polytope,
    corpus: Corpus,
    budget: Budget,
    counts: Sequence[int],
    size: Size,
    sampler: str,
    fit: Law | None,
    worlds: int,
    seed: int,
    pool: Array | None = None,
) -> tuple[Array, float]:
    """(worlds, counts) regret of choosing after so many runs, and the mean regret of the natural mixture."""
    from mixlaw.design import SAMPLERS

    rng = np.random.default_rng(seed)
    full = np.zeros(len(truth.target_names_))
    full[list(keep)] = weights
    if pool is None:
        best, _ = minimise(truth, polytope, full, rng, polytope.centre[None])
        near = [mutate(best[None], polytope, rng, 70, step) for step in (0.6, 0.3, 0.1)]
        pool = np.vstack([best, *near, spread(polytope, 200, rng)])
    natural = polytope.project(corpus.natural.array())
    out, lost = np.empty((worlds, len(counts))), []
    for s in range(worlds):
        design = np.array(
            [x.mixture.array(corpus.names) for x in SAMPLERS[sampler](corpus, budget, counts[-1], None, seed + 1 + s)]
        )
        design = design[rng.permutation(len(design))]
        everything = np.vstack([design, pool, natural])
        if columns is None and truth.__class__.__name__ != "GaussianProcess":
            world = np.asarray(truth.predict(everything)).reshape(len(everything), -1)
        else:
            world = draw_worlds(truth, everything, 1, rng, columns)[0]
        world = world[:, list(keep)]
        runs = world[: len(design)] + size.noise * noise * rng.standard_normal((len(design), len(keep)))
        if size.mismatch > 0:
            runs = runs + _mismatch(design, size.mismatch, rng)[:, None] / max(weights.sum(), 1e-12)
        value = world[len(design) : -1] @ weights
        lost.append(float(world[-1] @ weights - value.min()))
        for c, n in enumerate(counts):
            law = fresh(fit, seed)
            labels: Any = {str(truth.target_names_[t]): runs[:n, i] for i, t in enumerate(keep)}
            try:
                law.fit(dict(zip(corpus.names, design[:n].T)), labels)
                guess = np.asarray(law.predict(pool)).reshape(len(pool), -1) @ weights
                out[s, c] = value[int(np.argmin(guess))] - value.min()
            except FitError:  # too few runs for this law: one keeps the natural mixture
                out[s, c] = lost[-1]
    return out, float(np.mean(lost))


def _mismatch(X: Array, sd: float, rng: np.random.Generator) -> Array:
    """A smooth random function of the mixture with that standard deviation over X: how a proxy's ranking strays."""
    features = np.log(X + 0.01)
    value = (features - features.mean(axis=0)) @ rng.standard_normal(X.shape[1])
    scale = float(value.std())
    return np.asarray(sd * value / scale if scale > 0 else np.zeros(len(X)))
