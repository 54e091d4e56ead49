"""How many runs, of which size, for which regret: asked before anything is spent.

The whole study is simulated: losses are drawn from what is known (a pilot's law, or a prior law), under each draw a
design is run with noise, a law is fitted, the best mixture is chosen, and its regret under that draw is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.design.adaptive.studies import Size, simulate
from mixlaw.design.adaptive.truth import Truth
from mixlaw.design.polytope import Array, Polytope, begin
from mixlaw.errors import ConfigError
from mixlaw.laws.core.base import Law

__all__ = ["Point", "Power", "Size", "power_analysis"]


@dataclass(frozen=True)
class Point:
    """Regret of ``runs`` runs of one size.

    Attributes:
        size, runs, cost: name of the size, number of runs, and what all of them cost, in the unit given with the size.
        regret: mean over simulated studies, in the objective's unit; ``error``: its standard error, which more draws
            make smaller.
        low, high: 80% interval of the mean regret under the losses as they are: a gamma distribution as wide as
            the draws differ. A larger pilot makes it narrower, more draws do not.
        worst_decile: of single studies.

    Example:
        >>> Point.of("proxy", 16, 16.0, np.array([[[0.02], [0.04]], [[0.01], [0.05]]])[..., 0], 0.5).regret
        0.03
    """

    size: str
    runs: int
    cost: float
    regret: float
    error: float
    low: float
    high: float
    worst_decile: float

    @classmethod
    def of(cls, size: str, runs: int, cost: float, regrets: Array, shared: float) -> Point:
        """From regrets (draws, studies per draw), of whose variance the part ``shared`` is between draws."""
        mean = float(regrets.mean())
        error = float(regrets.mean(axis=1).std(ddof=1) / np.sqrt(len(regrets)))
        low, high = _interval(mean, shared * float(regrets.var(ddof=1)) + error**2)
        return cls(size, runs, cost, mean, error, low, high, float(np.quantile(regrets, 0.9)))


@dataclass(frozen=True)
class Power:
    """Regret against runs and size.

    Attributes:
        points: one per size and count.
        spread: regret of training on the natural mixture instead (what there is to gain), mean over draws.
        worlds: how many draws of the losses were simulated.

    Example:
        >>> points = [Point("proxy", n, n, 1 / n, 0, 0.5 / n, 2 / n, 0) for n in (10, 40, 160)]
        >>> found = Power(tuple(points), spread=1.0, worlds=5)
        >>> found.runs_for(1 / 20), found.runs_interval(1 / 40), found.runs_for(1e-4)
        (20, (20, 80), None)
    """

    points: tuple[Point, ...]
    spread: float
    worlds: int

    def curve(self, size: str | None = None) -> list[Point]:
        """Points of one size (default: the first)."""
        name = size if size is not None else self.points[0].size
        return [p for p in self.points if p.size == name]

    def runs_for(self, regret: float, size: str | None = None) -> int | None:
        """Fewest runs whose expected regret is at most ``regret`` (in the objective's unit) at the size of that name
        (``size``; default: the first): straight in the logarithms between the points simulated; None where even the
        most runs simulated do not reach it.
        """
        return self._reach(regret, size, "regret")

    def runs_interval(self, regret: float, size: str | None = None) -> tuple[int | None, int | None]:
        """(fewest, most) runs for ``regret``: where the lower and the upper end of the 80% interval reach it; None as
        in :meth:`runs_for`."""
        return self._reach(regret, size, "low"), self._reach(regret, size, "high")

    def _reach(self, regret: float, size: str | None, line: str) -> int | None:
        points = [(p.runs, float(getattr(p, line))) for p in self.curve(size)]
        if points[0][1] <= regret:
            return points[0][0]
        for (few, above), (many, below) in pairwise(points):
            if below <= regret < above:
                part = np.log(above / regret) / np.log(above / max(below, 1e-12))
                return int(np.ceil(few * (many / few) ** part))
        return None

    def cheapest(self, regret: float) -> tuple[str, int, float] | None:
        """(size, runs, cost) that reaches ``regret`` (in the objective's unit) at the least cost, or None."""
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
            f"{'size':<12} {'runs':>5} {'cost':>10}  regret            80% interval     worst decile",
        ]
        for p in self.points:
            lines.append(
                f"{p.size:<12} {p.runs:>5} {p.cost:>10.3g}  {p.regret:.4f} \u00b1 {p.error:.4f}   "
                f"{p.low:.4f} to {p.high:.4f}   {p.worst_decile:.4f}"
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
    worlds: int = 48,
    seed: int = 0,
    metric: str = "loss",
) -> Power:
    """Simulated regret of designs of several counts and sizes.

    Every simulated study ends as a real one should, by :func:`~mixlaw.design.adaptive.recommendation.choose_among`.
    What the law leaves unexplained beyond ``noise`` belongs to the mixtures: another seed would repeat
    it.

    Args:
        counts: numbers of runs to simulate.
        metric: of the pilot, such as ``"loss"`` (nats per token).
        pilot: a few runs of this corpus; losses are drawn from ``law`` fitted on them (default: the Gaussian process
            whose errors shrink with the loss, which is about as wrong near the best mixtures as it says).
        law: with a pilot: an unfitted law. Without one: a *fitted* prior law (from another study, or a published
            one) over the corpus' domains, taken as the truth.
        objective: weight per target; default equal weights.
        noise: seed noise per target (standard deviation, in its unit); default from the pilot's replicates, else what
            the law leaves unexplained. Needed without a pilot.
        sizes: proxies one could run; default one, like the pilot.
        sampler: name of the design to simulate (one that needs no observations).
        fit: unfitted law the study will use; default the Gaussian process with both its members, as in ``recommend``.
            A Gaussian process is fitted with ``draws=False``, for time; with them studies of fewer than 48 runs lose
            less (0.87 and 0.66 of it at 16 and 32 runs, ``docs/design.md``).
        decisions: mixtures one would choose among; default 400 spread over the feasible set, most of them near the
            optimum of the law. Regret is against the best of them, so a finer set shows more of it.
        worlds: draws of the losses, with two studies under each. Most studies lose little and a few lose much: 48 draws
            leave a standard error of about a quarter of the prediction.

    Raises:
        ConfigError: neither pilot nor law, unusable counts or objective, or no noise given without a pilot.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: a pilot over other domains.
        TooFewRunsError: a pilot too small for its law.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> pilot = Observations.from_records(runs, losses)
        >>> options = {"law": LogLinear(), "fit": LogLinear(), "noise": 0.01, "worlds": 2}
        >>> found = power_analysis(corpus, Budget(tokens="1M"), (4, 8), pilot=pilot, **options)
        >>> [(p.runs, p.cost) for p in found.points]
        [(4, 4.0), (8, 8.0)]
    """
    counts = sorted(set(counts))
    if not counts or counts[0] < 3 or worlds < 2 or not sizes:
        raise ConfigError(
            f"power_analysis needs counts of at least 3, 2 worlds and a size, got {counts}, {worlds}, {sizes}."
        )
    polytope = begin(corpus, budget, counts[-1], pilot, seed).polytope
    if pilot is not None:
        truth = Truth.from_pilot(corpus, pilot, law, objective, noise, seed, metric)
    elif law is not None:
        truth = Truth.from_law(corpus, law, objective, noise)
    else:
        raise ConfigError("power_analysis needs a pilot (some observations) or a fitted prior law.")
    pool = None if decisions is None else _feasible(decisions, corpus, polytope)
    points, spreads = [], []
    for size in sizes:
        regrets, natural = simulate(truth, polytope, corpus, budget, counts, size, sampler, fit, worlds, seed, pool)
        spreads.append(natural)
        part = shared_variance(regrets)
        for n, r in zip(counts, np.moveaxis(regrets, 2, 0)):
            points.append(Point.of(size.name, n, n * size.cost, r, part))
    return Power(tuple(points), float(np.mean(spreads)), worlds)


def _feasible(decisions: Sequence[Mixture], corpus: Corpus, polytope: Polytope) -> Array:
    pool = np.array([m.array(corpus.names) for m in decisions])
    outside = int((~polytope.contains(pool)).sum())
    if len(pool) < 2 or outside:
        raise ConfigError(
            f"decisions must be two or more feasible mixtures; {outside} of {len(pool)} break the budget."
        )
    return pool


def shared_variance(regrets: Array) -> float:
    """Part of the variance of regrets (draws, studies, counts) that studies of one draw share.

    Two studies under each of a few draws do not tell it: an estimate would be zero half of the time. So it is the
    posterior mean under a uniform prior, all counts taken together.

    Source: the balanced one-way layout of Box & Tiao 1973, Bayesian Inference in Statistical Analysis, section 5.2.
    """
    draws, studies, _ = regrets.shape
    shares = np.linspace(0, 0.99, 100)
    log = np.zeros(len(shares))
    inside, outside = 1 - shares, 1 - shares + studies * shares
    for r in np.moveaxis(regrets, 2, 0):
        each = r.mean(axis=1)
        between, within = studies * ((each - each.mean()) ** 2).sum(), ((r - each[:, None]) ** 2).sum()
        if between + within > 0:
            log -= (draws - 1) / 2 * np.log(outside) + draws * (studies - 1) / 2 * np.log(inside)
            log -= (draws * studies - 1) / 2 * np.log(between / outside + within / inside)
    weight = np.exp(log - log.max())
    return float(weight @ shares / weight.sum())


def _interval(mean: float, variance: float) -> tuple[float, float]:
    """80% interval of a gamma distribution: regret is positive and skewed."""
    if mean <= 0 or variance <= 0:
        return mean, mean
    from scipy.stats import gamma

    low, high = gamma.ppf([0.1, 0.9], mean**2 / variance, scale=variance / mean)
    return float(low), float(high)
