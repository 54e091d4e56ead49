"""How many runs, of which size, for which regret: asked before anything is spent.

The whole study is simulated: worlds are drawn from what is known (a pilot's law, or a prior law), in each one a
design is run with noise, a law is fitted, the best mixture is chosen, and its regret in that world is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.design.adaptive.recommendation import choose_among, observed
from mixlaw.design.adaptive.worlds import (
    draw_worlds,
    fresh,
    minimise,
    mutate,
    noise_correlation,
    noise_sds,
    objective_weights,
    replicate_sd,
)
from mixlaw.design.polytope import SAME, Array, Polytope, begin
from mixlaw.design.samplers.maximin import spread
from mixlaw.errors import ConfigError, FitError
from mixlaw.laws.core.base import Law

__all__ = ["Point", "Power", "Size", "power_analysis", "simulate"]

STUDIES = 2
"""Studies simulated in each world: two tell what differs between worlds from what differs between designs."""


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
    """Regret of ``runs`` runs of one size.

    Attributes:
        regret: mean over simulated studies; ``error``: its standard error, which more worlds make smaller.
        low, high: 80% interval of the mean regret in the one world we live in: a gamma distribution as wide as the
            simulated worlds differ. A larger pilot makes it narrower, more worlds do not.
        worst_decile: of single studies.
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
        """From regrets (worlds, studies per world), of whose variance the part ``shared`` is between worlds."""
        mean = float(regrets.mean())
        error = float(regrets.mean(axis=1).std(ddof=1) / np.sqrt(len(regrets)))
        low, high = _interval(mean, shared * float(regrets.var(ddof=1)) + error**2)
        return cls(size, runs, cost, mean, error, low, high, float(np.quantile(regrets, 0.9)))


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
    What the law of the worlds leaves unexplained beyond ``noise`` belongs to the mixtures: another seed would repeat
    it.

    Args:
        counts: numbers of runs to simulate.
        pilot: a few runs of this corpus; worlds are drawn from ``law`` fitted on them (default: the Gaussian process
            whose errors shrink with the loss, which is about as wrong near the best mixtures as it says).
        law: with a pilot: an unfitted law. Without one: a *fitted* prior law (from another study, or a published
            one) over the corpus' domains, taken as the truth.
        objective: weight per target; default equal weights.
        noise: seed noise per target (standard deviation); default from the pilot's replicates, else what the law
            leaves unexplained. Needed without a pilot.
        sizes: proxies one could run; default one, like the pilot.
        sampler: name of the design to simulate (one that needs no observations).
        fit: unfitted law the study will use; default the Gaussian process with both its members, as in ``recommend``.
            A Gaussian process is fitted with ``draws=False``, for time; with them studies of fewer than 48 runs lose
            less (.87 and .66 of it at 16 and 32 runs, ``docs/design.md``).
        decisions: mixtures one would choose among; default 400 spread over the feasible set, most of them near the
            optimum of the law. Regret is against the best of them, so a finer set shows more of it.
        worlds: simulated, with two studies in each. Most studies lose little and a few lose much: 48 worlds leave a
            standard error of about a quarter of the prediction.

    Raises:
        ConfigError: neither pilot nor law, unusable counts or objective, or no noise given without a pilot.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: a pilot over other domains.
        TooFewRunsError: a pilot too small for its law.
    """
    from mixlaw.laws.mixture.gaussian_process import GaussianProcess

    counts = sorted(set(counts))
    if not counts or counts[0] < 3 or worlds < 2 or not sizes:
        raise ConfigError(
            f"power_analysis needs counts of at least 3, 2 worlds and a size, got {counts}, {worlds}, {sizes}."
        )
    start = begin(corpus, budget, counts[-1], pilot, seed)
    columns = None
    if pilot is not None:
        rows, Y, weights = observed(corpus, pilot, objective, metric)
        unfitted = GaussianProcess(members=("bc/logc",), seed=seed) if law is None else fresh(law, seed)
        truth = unfitted.fit(dict(zip(corpus.names, rows.T)), dict(zip(weights, Y.T)))
        columns = (rows, Y)
        sds = noise_sds(truth, rows, Y)
        for t in range(Y.shape[1]):
            measured = replicate_sd(rows, Y[:, t])
            sds[t] = sds[t] if measured is None else measured
    elif law is not None:
        names = [str(n) for n in law.feature_names_in_]
        bare = names == [f"x{j}" for j in range(len(corpus.names))]  # fitted on an array: columns taken in order
        unnamed = bare and not set(names) & set(corpus.names)
        if list(corpus.names) != names and not unnamed:
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
    together = noise_correlation(truth, *(columns or ()))[np.ix_(keep, keep)]
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
            truth,
            columns,
            keep,
            w,
            sds,
            together,
            start.polytope,
            corpus,
            budget,
            counts,
            size,
            sampler,
            fit,
            worlds,
            seed,
            pool,
        )
        spreads.append(natural)
        part = shared_variance(regrets)
        for n, r in zip(counts, np.moveaxis(regrets, 2, 0)):
            points.append(Point.of(size.name, n, n * size.cost, r, part))
    return Power(tuple(points), float(np.mean(spreads)), worlds)


def simulate(
    truth: Law,
    columns: tuple[Array, Array] | None,
    keep: Sequence[int],
    weights: Array,
    noise: Array,
    together: Array,
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
    """(worlds, studies per world, counts) regret of choosing after so many runs, and that of the natural mixture.

    ``noise`` (T,) is what another seed would change, ``together`` (T, T) its correlation between the targets of a run.
    """
    from mixlaw.design import SAMPLERS
    from mixlaw.laws.mixture.gaussian_process import GaussianProcess

    rng = np.random.default_rng(seed)
    full = np.zeros(len(truth.target_names_))
    full[list(keep)] = weights
    if pool is None:
        best, _ = minimise(truth, polytope, full, rng, polytope.centre[None])
        near = [mutate(best[None], polytope, rng, 70, step) for step in (0.6, 0.3, 0.1)]
        pool = np.vstack([best, *near, spread(polytope, 200, rng)])
    natural = polytope.project(corpus.natural.array())
    out, lost = np.empty((worlds, STUDIES, len(counts))), []
    names = [str(truth.target_names_[t]) for t in keep]
    factor = np.linalg.cholesky(together)
    for s in range(worlds):
        designs = []
        for r in range(STUDIES):
            found = SAMPLERS[sampler](corpus, budget, counts[-1], None, seed + 1 + STUDIES * s + r)
            designs.append(rng.permutation(np.array([x.mixture.array(corpus.names) for x in found])))
        everything, where = _distinct(np.vstack([natural, pool, *designs]))
        world = _world(truth, everything, columns, keep, noise, together, rng)[where]
        floor = float((world[1 : len(pool) + 1] @ weights).min())
        lost.append(float(world[0] @ weights) - floor)
        for r, design in enumerate(designs):
            start = 1 + len(pool) + r * counts[-1]
            values = world[start : start + counts[-1]]
            runs = values + size.noise * noise * (rng.standard_normal(values.shape) @ factor.T)
            if size.mismatch > 0:
                runs = runs + _mismatch(design, size.mismatch, rng)[:, None] / max(weights.sum(), 1e-12)
            known = None if size.mismatch > 0 else size.noise * float(np.sqrt(_form(weights * noise, together)))
            for c, n in enumerate(counts):
                law = GaussianProcess(seed=seed) if fit is None else fresh(fit, seed)
                if isinstance(law, GaussianProcess):
                    law.set_params(draws=False)  # ten times the time: docs/design.md says what they change
                try:
                    law.fit(dict(zip(corpus.names, design[:n].T)), dict(zip(names, runs[:n].T)))
                except FitError:  # too few runs for this law: one keeps the natural mixture
                    out[s, r, c] = lost[-1]
                    continue
                options = np.vstack([pool, design[:n]])
                picked = choose_among(law, design[:n], runs[:n], weights, options, rng, known, 16).index
                chosen = world[1 + picked] if picked < len(pool) else values[picked - len(pool)]
                out[s, r, c] = max(float(chosen @ weights) - floor, 0.0)
    return out, float(np.mean(lost))


def _world(
    truth: Law,
    X: Array,
    columns: tuple[Array, Array] | None,
    keep: Sequence[int],
    noise: Array,
    together: Array,
    rng: np.random.Generator,
) -> Array:
    """Losses (n, T) of the targets ``keep`` at distinct mixtures X (n, K), without noise, in one world.

    What the law of a pilot leaves unexplained is in part ``noise`` (T,); the rest is roughness, which it is too smooth
    to follow and which belongs to the mixture. Where a Gaussian process works on a warped loss, roughness shrinks with
    the loss as its noise does.
    """
    from mixlaw.laws.mixture.gaussian_process import GaussianProcess

    keep = list(keep)
    if isinstance(truth, GaussianProcess):
        share = np.zeros(len(truth.target_names_))
        share[keep] = _roughness(truth.seed_noise()[keep], noise, len(truth.train_X_))
        return truth.sample(X, 1, rng, share)[0][:, keep]
    if columns is None:
        return np.asarray(truth.predict(X)).reshape(len(X), -1)[:, keep]
    smooth = draw_worlds(truth, X, 1, rng, columns)[0][:, keep]
    left = noise_sds(truth, *columns)[keep]
    rough = left * np.sqrt(_roughness(left, noise, len(columns[0])))
    return np.asarray(smooth + rough * (rng.standard_normal(smooth.shape) @ np.linalg.cholesky(together).T))


def _roughness(left: Array, noise: Array, runs: int) -> Array:
    """Share (T,) of the variance that a law of so many runs leaves unexplained, ``left`` (T,) its root, which belongs
    to the mixtures: what is more than ``noise`` (T,), as far as chance does not make it (positive-part shrinkage)."""
    share = np.maximum(1 - (noise / np.maximum(left, 1e-300)) ** 2, 0.0)
    return np.asarray(np.maximum(share - 2 / (runs * np.maximum(share, 1e-300)), 0.0))


def _form(rows: Array, matrix: Array) -> Array:
    """Variance (...) of the sum of ``rows`` (..., T) errors whose correlation is ``matrix`` (T, T)."""
    return np.asarray(np.einsum("...s,st,...t->...", rows, matrix, rows))


def shared_variance(regrets: Array) -> float:
    """Part of the variance of regrets (worlds, studies, counts) that studies of one world share.

    Two studies in each of a few worlds do not tell it: an estimate would be zero half of the time. So it is the
    posterior mean under a uniform prior, all counts taken together.

    Source: the balanced one-way layout of Box & Tiao 1973, Bayesian Inference in Statistical Analysis, section 5.2.
    """
    worlds, studies, _ = regrets.shape
    shares = np.linspace(0, 0.99, 100)
    log = np.zeros(len(shares))
    inside, outside = 1 - shares, 1 - shares + studies * shares
    for r in np.moveaxis(regrets, 2, 0):
        each = r.mean(axis=1)
        between, within = studies * ((each - each.mean()) ** 2).sum(), ((r - each[:, None]) ** 2).sum()
        if between + within > 0:
            log -= (worlds - 1) / 2 * np.log(outside) + worlds * (studies - 1) / 2 * np.log(inside)
            log -= (worlds * studies - 1) / 2 * np.log(between / outside + within / inside)
    weight = np.exp(log - log.max())
    return float(weight @ shares / weight.sum())


def _interval(mean: float, variance: float) -> tuple[float, float]:
    """80% interval of a gamma distribution: regret is positive and skewed."""
    if mean <= 0 or variance <= 0:
        return mean, mean
    from scipy.stats import gamma

    low, high = gamma.ppf([0.1, 0.9], mean**2 / variance, scale=variance / mean)
    return float(low), float(high)


def _distinct(X: Array) -> tuple[Array, npt.NDArray[np.int64]]:
    """Distinct rows of X, and where each row is among them."""
    _, first, where = np.unique(np.round(X / SAME).astype(np.int64), axis=0, return_index=True, return_inverse=True)
    return X[first], where.ravel()


def _mismatch(X: Array, sd: float, rng: np.random.Generator) -> Array:
    """A smooth random function of the mixture with that standard deviation over X: how a proxy's ranking strays."""
    features = np.log(X + 0.01)
    value = (features - features.mean(axis=0)) @ rng.standard_normal(X.shape[1])
    scale = float(value.std())
    return np.asarray(sd * value / scale if scale > 0 else np.zeros(len(X)))
