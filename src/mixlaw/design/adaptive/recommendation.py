"""Which mixture to use after the runs so far: the law's favourite, or a mixture that was tried.

Two mistakes are to be avoided. The least loss observed is partly luck of its seed; the least loss predicted is partly
the law's own error, and more so the more mixtures it could choose among (Smith and Winkler 2006, the optimiser's
curse). Here a tried mixture is credited with that part of its own residual which is not seed noise, and an untried
one must be predicted better than the best tried by more than half the error of that prediction.

Source: the credit is the posterior mean under a nugget (Cressie 1993, Statistics for Spatial Data, section 3.2); the
margin of half a standard deviation is a choice of ours, made on random parts of the RegMix runs that
``benchmarks/design.py`` replays (``docs/design.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, rounded
from mixlaw.data.observations import Observations
from mixlaw.design.adaptive.surrogate import fresh, minimise, objective_weights, seed_noise
from mixlaw.design.polytope import Array, Polytope, Start, begin
from mixlaw.laws.core.base import Law

__all__ = [
    "Choice",
    "Recommendation",
    "Runs",
    "answer",
    "choose_among",
    "credit",
    "observed",
    "pick",
    "recommend",
    "split_noise",
]

Rows = npt.NDArray[np.int64]

MARGIN = 0.5
"""Standard deviations by which an untried mixture must be predicted better than the best tried one. On random parts of
RegMix's runs, 0 lost more from 64 runs on (favourites far worse than promised), 1 and 2 lost more everywhere."""

_LUCK = 4
"""Replicates tell seed noise apart from what the law misses; before any were run, all of it is taken as seed noise
with the weight of this many degrees of freedom."""

_RIVALS = 60
"""Untried mixtures whose error is worked out, those with the least predictions first."""


@dataclass(frozen=True)
class Choice:
    """One mixture of a list: its ``index``, the ``objective`` expected, whether it was ``tried``, and the ``error``
    (standard deviation) of its advantage over the best tried mixture: 0 for that one, NaN where none was tried.

    Example:
        >>> Choice(index=3, objective=2.1, error=0.01, tried=False).tried
        False
    """

    index: int
    objective: float
    error: float
    tried: bool


@dataclass(frozen=True)
class Recommendation:
    """The mixture to use after the runs so far.

    Attributes:
        mixture: what to use; ``tried`` says whether it was run.
        objective: expected there.
        favourite: where the law predicts the least; the same as ``mixture`` unless a tried one is preferred.
        promised: the law's prediction at its favourite.
        error: standard deviation of (favourite - best tried mixture), 0 where the favourite was tried.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> seen = Observations.from_records(runs, losses)
        >>> found = recommend(corpus, Budget(tokens="1M"), seen, law=LogLinear(), noise=0.0)
        >>> found.tried, round(found.mixture["web"], 1)  # the law fits these losses, and 0.6 itself was not run
        (False, 0.6)
    """

    mixture: Mixture
    objective: float
    tried: bool
    favourite: Mixture
    promised: float
    error: float

    def __str__(self) -> str:
        if self.tried and self.favourite != self.mixture:
            return (
                f"Use the best mixture that was run ({self.objective:.4f} expected). The law's favourite was not: it "
                f"promises {self.promised:.4f}, \u00b1 {self.error:.4f} against that one. Run it before you believe it."
            )
        return f"Use the law's favourite ({self.objective:.4f} expected), which was {'' if self.tried else 'not '}run."


@dataclass(frozen=True)
class Runs:
    """Observed runs as arrays, and a law fitted on them: X (n, K), Y (n, T), the objective's ``weights`` (T,).

    ``start`` holds the feasible set and the random generator.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> seen = Observations.from_records(runs, losses)
        >>> found = Runs.of(corpus, Budget(tokens="1M"), 1, seen, 0, None, LogLinear(), "loss")
        >>> found.X.shape, found.Y.shape, found.weights.tolist()
        ((12, 2), (12, 1), [1.0])
    """

    start: Start
    law: Law
    X: Array
    Y: Array
    weights: Array

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        budget: Budget,
        num: int,
        observations: Observations,
        seed: int,
        objective: Mapping[str, float] | None,
        law: Law | None,
        metric: str,
    ) -> Runs:
        """Collect the runs and fit the law.

        Args:
            corpus, budget: the domains and the limits of the target run.
            num: how many mixtures will be asked for, > 0.
            observations: runs over these domains.
            seed: of the generator, and of the default law.
            objective: ``{target: weight}`` (None: all targets alike).
            law: an unfitted law (None: the default one).
            metric: which metric of the observations is used, such as ``"loss"``.

        Raises:
            ConfigError: ``num`` is not positive, or the objective names an unknown target.
            InfeasibleBudgetError: no mixture satisfies the budget.
            DataError: observations over other domains.
            TooFewRunsError: too few runs for the law.
        """
        start = begin(corpus, budget, num, observations, seed)
        X, Y, chosen = observed(corpus, observations, objective, metric)
        fitted = fresh(law, seed).fit(dict(zip(corpus.names, X.T)), dict(zip(chosen, Y.T)))
        return cls(start, fitted, X, Y, np.array(list(chosen.values())))


def observed(
    corpus: Corpus, observations: Observations, objective: Mapping[str, float] | None, metric: str
) -> tuple[Array, Array, dict[str, float]]:
    """Weights X (n, K) in the corpus' order and losses Y (n, T) of the objective's targets, of the runs that measured
    all of these; and the objective's weight per target.

    Args:
        objective: ``{target: weight}``; None: all targets, equally.
        metric: such as ``"loss"``.

    Raises:
        ConfigError: the objective names an unknown target.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> seen = Observations.from_records(runs, losses)
        >>> X, Y, weights = observed(corpus, seen, None, "loss")
        >>> X.shape, Y.shape, weights
        ((12, 2), (12, 1), {'all': 1.0})
    """
    _, every = observations.table(metric=metric, missing="keep")
    chosen = objective_weights(objective, list(every.column_names))
    X, y = observations.table(list(chosen), metric=metric)
    names = list(X.column_names)
    rows = np.column_stack([X.column(d).to_numpy() if d in names else np.zeros(X.num_rows) for d in corpus.names])
    return rows, np.column_stack([y.column(t).to_numpy() for t in chosen]), chosen


def recommend(
    corpus: Corpus,
    budget: Budget,
    observations: Observations,
    seed: int = 0,
    *,
    objective: Mapping[str, float] | None = None,
    law: Law | None = None,
    noise: float | None = None,
    metric: str = "loss",
) -> Recommendation:
    """The mixture to use after ``observations``: see the head of :mod:`mixlaw.design.adaptive.recommendation`.

    Args:
        observations: the runs so far.
        seed: of the law and of the search among mixtures.
        metric: of the observations, such as ``"loss"`` (nats per token).
        objective: weight per target; default equal weights.
        law: unfitted law; default the Gaussian process with both its members.
        noise: seed noise of the objective (standard deviation, in its unit); default from replicates, and without any
            what the law leaves unexplained, so that nobody is credited with luck. 0 where a run repeats exactly.

    Raises:
        ConfigError: the objective names an unknown target.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.
        TooFewRunsError: fewer runs than the law needs.

    Example:
        >>> import numpy as np
        >>> from mixlaw.laws import LogLinear
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> seen = Observations.from_records(runs, losses)
        >>> found = recommend(corpus, Budget(tokens="1M"), seen, law=LogLinear(), noise=0.0)
        >>> 0.4 < found.mixture["web"] < 0.8
        True
    """
    runs = Runs.of(corpus, budget, 1, observations, seed, objective, law, metric)
    return answer(runs.law, runs.X, runs.Y, runs.weights, runs.start.polytope, runs.start.rng, noise)[1]


def answer(
    law: Law,
    X: Array,
    Y: Array,
    weights: Array,
    polytope: Polytope,
    rng: np.random.Generator,
    noise: float | None = None,
) -> tuple[Array, Recommendation]:
    """(mixture (K,), the same with reasons) over all feasible mixtures, from a law fitted on X (n, K), Y (n, T).

    Args:
        weights: (T,) of the objective.
        noise: standard deviation of the objective between seeds, where known.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> X, Y = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1) - np.log(1.1 - web)  # best at half and half
        >>> law = LogLinear().fit(X, Y)
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 9_000_000}, source="example")
        >>> polytope = Polytope.of(corpus, Budget(tokens="1M"))
        >>> r, found = answer(law, X, Y[:, None], np.ones(1), polytope, np.random.default_rng(0), noise=0.01)
        >>> bool(abs(r[0] - 0.5) < 0.05)
        True
    """
    inside = X[polytope.contains(X)]
    starts = polytope.centre[None]
    if len(inside):
        order = np.argsort(np.asarray(law.predict(inside)).reshape(len(inside), -1) @ weights, kind="stable")
        starts = inside[order[:10]]
    favourite, promised = minimise(law, polytope, weights, rng, starts)
    options = np.vstack([favourite, inside])
    seed, rough = split_noise(law, X, Y, weights, noise)
    expected = (np.asarray(law.predict(options)).reshape(len(options), -1) @ weights)[None]
    values, share = credit(expected, X, Y @ weights, options, seed, rough)

    def draw(rows: Rows) -> Array:
        return law.sample(options[rows], 64, rng) @ weights

    choice = pick(values[0], share, draw)
    error = choice.error
    if choice.index != 0 and np.isnan(share[0]):  # the favourite was not run and is not trusted: say by how much
        error = float(_errors(draw(np.array([choice.index, 0])), share[choice.index])[0])
    names = polytope.domains
    found = Recommendation(
        Mixture.from_array(names, options[choice.index]), choice.objective, choice.tried,
        Mixture.from_array(names, favourite), promised, error,
    )  # fmt: skip
    return options[choice.index], found


def choose_among(
    law: Law,
    X: Array,
    Y: Array,
    weights: Array,
    pool: Array,
    rng: np.random.Generator,
    noise: float | None = None,
    draws: int = 64,
) -> Choice:
    """The mixture to use among ``pool`` (N, K); rows of X that are in it count as tried.

    Args:
        weights: (T,) of the objective.
        noise: standard deviation of the objective between seeds, where known.
        draws: of what the losses could be.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> X, Y = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1) - np.log(1.1 - web)  # best at half and half
        >>> law = LogLinear().fit(X, Y)
        >>> pool = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
        >>> choose_among(law, X, Y[:, None], np.ones(1), pool, np.random.default_rng(0), noise=0.01).index
        1
    """
    seed, rough = split_noise(law, X, Y, weights, noise)
    expected = (np.asarray(law.predict(pool)).reshape(len(pool), -1) @ weights)[None]
    expected, share = credit(expected, X, Y @ weights, pool, seed, rough)
    return pick(expected[0], share, lambda rows: law.sample(pool[rows], draws, rng) @ weights)


def pick(expected: Array, share: Array, draw: Callable[[Rows], Array]) -> Choice:
    """The choice from :func:`credit`'s two arrays; ``draw`` gives the objective
    (S, len(rows)) at rows of the list, in S draws of what the losses could be.

    Example:
        >>> expected, share = np.array([2.50, 2.49, 2.60]), np.array([0.5, np.nan, 0.5])  # the second was not run
        >>> draw = lambda rows: 0.1 * np.random.default_rng(0).standard_normal((64, len(rows)))
        >>> pick(expected, share, draw).index  # it promises too little for how little is known of it
        0
    """
    tried = np.isfinite(share)
    if not tried.any():
        index = int(np.argmin(expected))
        return Choice(index, float(expected[index]), float("nan"), False)
    best = int(np.argmin(np.where(tried, expected, np.inf)))
    rivals = np.flatnonzero(~tried & (expected < expected[best]))
    rivals = rivals[np.argsort(expected[rivals], kind="stable")[:_RIVALS]]
    if len(rivals):
        error = _errors(draw(np.array([best, *rivals])), share[best])
        cautious = expected[rivals] + MARGIN * error
        winner = int(np.argmin(cautious))
        if cautious[winner] < expected[best]:
            index = int(rivals[winner])
            return Choice(index, float(expected[index]), float(error[winner]), False)
    return Choice(best, float(expected[best]), 0.0, True)


def _errors(F: Array, share: float) -> Array:
    """Standard deviation of the law's (each further column - the first, a tried mixture), from draws F (S, 1 + N): of
    the tried one, ``share`` of what the law leaves open is known."""
    return np.asarray(np.sqrt((F[:, 1:] - (1 - share) * F[:, [0]]).var(axis=0)))


def credit(F: Array, X: Array, value: Array, pool: Array, seed: float, rough: float) -> tuple[Array, Array]:
    """Objective F (S, N) at ``pool`` in S draws, tried mixtures credited with their residual; and the share credited
    (N,), NaN where a mixture was not tried. ``value`` (n,) is the objective observed at X.

    Example:
        >>> pool = np.array([[0.2, 0.8], [0.6, 0.4]])
        >>> F, share = credit(np.array([[2.5, 2.4]]), pool[:1], np.array([2.7]), pool, seed=0.1, rough=0.1)
        >>> F.round(2).tolist(), share.round(2).tolist()  # half of what the run was above the law is believed
        ([[2.6, 2.4]], [0.5, nan])
    """
    where: dict[tuple[int, ...], list[int]] = {}
    for row, key in enumerate(map(tuple, rounded(X).tolist())):
        where.setdefault(key, []).append(row)
    F, share = F.copy(), np.full(len(pool), np.nan)
    for i, key in enumerate(map(tuple, rounded(pool).tolist())):
        rows = where.get(key)
        if rows:
            share[i] = rough**2 / (rough**2 + seed**2 / len(rows)) if rough > 0 else 0.0
            F[:, i] += share[i] * (value[rows].mean() - F[:, i])
    return F, share


def split_noise(law: Law, X: Array, Y: Array, weights: Array, noise: float | None = None) -> tuple[float, float]:
    """(seed noise, roughness) of the objective: what the law leaves unexplained is the one, which another seed would
    not repeat, or the other, which belongs to the mixture and which the law is too smooth to follow.

    ``noise`` is the seed noise where known. Otherwise replicates measure it, pooled with the guess that there is no
    roughness; without replicates, that guess stands.

    Returns:
        Standard deviations, in the objective's unit.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> X, Y = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1) - np.log(1.1 - web)  # best at half and half
        >>> law = LogLinear().fit(X, Y)
        >>> seed, rough = split_noise(law, X, Y[:, None], np.ones(1), noise=0.01)
        >>> seed, rough < 0.01  # nothing is left for roughness where the law fits exactly
        (0.01, True)
    """
    total = law.residual_sd_of(weights)
    if noise is None:
        found = seed_noise(X, Y @ weights)
        squares = found.dof * found.sd**2 if found.dof else 0.0
        noise = float(np.sqrt((squares + _LUCK * total**2) / (found.dof + _LUCK)))
    return noise, float(np.sqrt(max(total**2 - noise**2, 0.0)))
