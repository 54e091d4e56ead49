"""Which runs to train next, and whether they are still worth it.

The regret of a design is what the mixture chosen from it loses against the best one. Losses that the
observations allow are drawn from the law; runs are chosen that, in expectation over these draws, let us choose better.

Sources: Frazier, Powell and Dayanik 2009 (knowledge gradient: a run is worth what it improves the choice by);
Villemonteix, Vazquez and Walter 2009 (runs that tell where the optimum is); Evensen 1994 (an ensemble conditioned by
its own covariances).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.observations import Observations
from mixlaw.design.adaptive.recommendation import MARGIN, Runs, answer, credit, pick, split_noise
from mixlaw.design.adaptive.surrogate import mutate
from mixlaw.design.polytope import APART, Array, Polytope, begin, finish, unique_rows
from mixlaw.design.samplers.maximin import spread
from mixlaw.errors import ConfigError, MixlawWarning
from mixlaw.laws.core.base import Law

__all__ = ["Plan", "Worth", "plan", "propose"]

_FEWEST = 8
"""With fewer observed mixtures than this a law says little about where the optimum lies: spread out first."""


@dataclass(frozen=True)
class Worth:
    """What a batch of further runs is expected to bring, in the objective's unit.

    Attributes:
        runs: number of runs in the batch.
        gain, gain_sd: reduction of the objective at the mixture we would then choose; mean and standard deviation
            over draws of what the losses could be.
        regret: expected regret of choosing now against the best of the candidates, a lower bound of that against all
            mixtures (with many domains a few hundred candidates miss the optimum); ``gain`` can never exceed it by
            more than chance.
        objective: predicted objective of today's choice.

    Example:
        >>> Worth(runs=8, gain=0.001, gain_sd=0.002, regret=0.003, objective=2.5).stop()
        True
    """

    runs: int
    gain: float
    gain_sd: float
    regret: float
    objective: float

    def stop(self, worthwhile: float = 0.001) -> bool:
        """Whether the batch is expected to bring less than ``worthwhile`` (a share of the objective)."""
        return self.gain < worthwhile * abs(self.objective)

    def __str__(self) -> str:
        unit = abs(self.objective)
        return (
            f"{self.runs} more runs are worth {self.gain / unit:.2%} \u00b1 {self.gain_sd / unit:.2%} of loss; "
            f"choosing today costs {self.regret / unit:.2%} against the best mixture considered, in expectation."
        )


@dataclass(frozen=True)
class Plan:
    """The next runs, what they are worth, and the mixture one would choose today.

    ``schedules``: next runs; ``worth``: see :class:`Worth`; ``best``: today's choice; ``law``: the fitted law.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> seen = Observations.from_records(runs, losses)
        >>> found = plan(corpus, Budget(tokens="1M"), 2, seen, law=LogLinear(), candidates=20, worlds=8)
        >>> len(found.schedules), 0.4 < found.best["web"] < 0.8
        (2, True)
    """

    schedules: list[Schedule]
    worth: Worth
    best: Mixture
    law: Law


def propose(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations | None = None,
    seed: int = 0,
    *,
    objective: Mapping[str, float] | None = None,
    law: Law | None = None,
    candidates: int = 300,
    worlds: int = 128,
    noise: float | None = None,
    metric: str = "loss",
) -> list[Schedule]:
    """The next ``num`` runs by expected reduction of regret; see :func:`plan`, which
    explains the arguments.

    Without observations, or with fewer than eight observed mixtures, the runs are spread over the feasible set
    (:mod:`~mixlaw.design.samplers.dirichlet`) instead.

    Raises:
        ConfigError: num <= 0, or the objective names an unknown target.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> seen = Observations.from_records(runs, losses)
        >>> len(propose(corpus, Budget(tokens="1M"), 2, seen, law=LogLinear(), candidates=20, worlds=8))
        2
    """
    start = begin(corpus, budget, num, observations, seed)
    if observations is None or len(unique_rows(start.observed)) < _FEWEST or start.polytope.dimension == 0:
        from mixlaw.design.samplers import dirichlet

        return dirichlet.propose(corpus, budget, num, observations, seed)
    found = plan(
        corpus,
        budget,
        num,
        observations,
        seed,
        objective=objective,
        law=law,
        candidates=max(candidates, 4 * num),
        worlds=worlds,
        noise=noise,
        metric=metric,
    )
    return found.schedules


def plan(
    corpus: Corpus,
    budget: Budget,
    num: int,
    observations: Observations,
    seed: int = 0,
    *,
    objective: Mapping[str, float] | None = None,
    law: Law | None = None,
    candidates: int = 300,
    worlds: int = 128,
    noise: float | None = None,
    metric: str = "loss",
) -> Plan:
    """Fit, draw what the losses could be, choose a batch, price it.

    The batch is built one run at a time, in turn a mixture that may win itself and one that best tells the possible
    winners from today's choice, always given the runs chosen before it, so a batch does not ask the same question
    twice. Its worth is what the choice after the batch gains over today's, with the noise of runs in the account.

    Args:
        num: runs in the batch, > 0.
        observations: the runs so far.
        metric: of the observations, such as ``"loss"`` (nats per token).
        objective: weight per target; default equal weights.
        law: unfitted law; default the Gaussian process, whose uncertainty covers its form as well. Draws from
            another law are refits to reweighted runs.
        candidates: mixtures considered (they are moved towards where the draws have their optima).
        worlds: how many draws from the law.
        noise: seed noise of the objective (standard deviation, in its unit); default measured on replicates, else what
            the law leaves unexplained.

    Raises:
        ConfigError: num <= 0, too few draws, or the objective names an unknown target.
        InfeasibleBudgetError: no mixture satisfies the budget.
        DataError: observations over other domains.
        TooFewRunsError: fewer runs than the law needs.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in enumerate(web)]
        >>> losses = [{"run": f"r{i}", "target": "all", "value": 3 + (w - 0.6) ** 2} for i, w in enumerate(web)]
        >>> seen = Observations.from_records(runs, losses)
        >>> found = plan(corpus, Budget(tokens="1M"), 2, seen, law=LogLinear(), candidates=20, worlds=8)
        >>> found.worth.runs, 0.4 < found.best["web"] < 0.8
        (2, True)
    """
    start = begin(corpus, budget, num, observations, seed)
    if worlds < 8 or candidates < 4 * num:
        raise ConfigError(f"plan needs at least 8 worlds and {4 * num} candidates, got {worlds=} and {candidates=}.")
    runs = Runs.of(corpus, budget, num, observations, seed, objective, law, metric)
    found = choose(
        runs.law,
        runs.X,
        runs.Y,
        runs.weights,
        start.polytope,
        num,
        start.rng,
        candidates,
        worlds,
        noise,
        start.observed,
    )
    worth, batch, best = found
    if worth.gain < 2e-4 * abs(worth.objective):
        warnings.warn(
            f"The law is flat where these runs would go: {worth} Consider stopping.", MixlawWarning, stacklevel=2
        )
    return Plan(finish(start, batch), worth, Mixture.from_array(corpus.names, best), runs.law)


def choose(
    law: Law,
    X: Array,
    Y: Array,
    weights: Array,
    polytope: Polytope,
    num: int,
    rng: np.random.Generator,
    candidates: int = 300,
    draws: int = 128,
    noise: float | None = None,
    avoid: Array | None = None,
) -> tuple[Worth, Array, Array]:
    """(worth, batch (num, K), today's choice (K,)) from a law fitted on X (n, K), Y (n, T); arrays throughout."""
    best, why = answer(law, X, Y, weights, polytope, rng, noise)
    inside = X[polytope.contains(X)]
    pool = np.vstack([best, why.favourite.array(polytope.domains), spread(polytope, candidates, rng)])
    if len(inside):
        order = np.argsort(np.asarray(law.predict(inside)).reshape(len(inside), -1) @ weights)
        pool = np.insert(pool, 2, inside[order[:10]], axis=0)
    for step in (0.5, 0.15):  # move the candidates to where draws have their optima
        F = law.sample(pool, draws, rng) @ weights
        winners = np.unique(np.argmin(F, axis=1))
        likely = np.argsort(np.quantile(F, 0.1, axis=0), kind="stable")[: candidates // 4]
        keep = np.unique(np.concatenate([[0], winners, likely]))
        each = max(1, (candidates - len(keep)) // len(keep))
        pool = np.vstack([pool[keep], mutate(pool[keep], polytope, rng, each, step)])[: max(candidates, len(keep))]
    worth, chosen, _ = choose_from(law, X, Y, weights, pool, num, rng, draws, noise, avoid, today=0)
    return worth, pool[chosen], best


def choose_from(
    law: Law,
    X: Array,
    Y: Array,
    weights: Array,
    pool: Array,
    num: int,
    rng: np.random.Generator,
    draws: int = 128,
    noise: float | None = None,
    avoid: Array | None = None,
    today: int | None = None,
) -> tuple[Worth, list[int], int]:
    """(worth, indices of the batch, index of today's choice) among the given mixtures ``pool`` (N, K).

    Today's choice follows :func:`~mixlaw.design.adaptive.recommendation.choose_among` where not given.
    """
    F = law.sample(pool, draws, rng) @ weights
    seed, rough = split_noise(law, X, Y, weights, noise)
    if today is None:
        mean = (np.asarray(law.predict(pool)).reshape(len(pool), -1) @ weights)[None]
        expected, share = credit(mean, X, Y @ weights, pool, seed, rough)
        smooth = F
        today = pick(expected[0], share, lambda rows: smooth[:, rows]).index
    F, share = credit(F, X, Y @ weights, pool, seed, rough)
    usable = np.zeros(len(pool), dtype=bool)
    usable[unique_rows(pool, avoid)] = True
    sd = float(np.hypot(seed, rough))  # what a run does not tell about its neighbours
    chosen = _batch(F, today, usable, sd, num, pool)
    return _price(F, chosen, today, sd, rng, np.isnan(share)), chosen, today


def _batch(
    F: Array, today: int, usable: npt.NDArray[np.bool_], noise: float, num: int, pool: Array, share: float = 0.1
) -> list[int]:
    """Indices of ``num`` runs of ``pool`` (N, K), in turn one that may win itself and one that tells winners apart.

    The first kind has the largest expected improvement over today's choice and over the runs before it. The second
    kind most reduces the variance of (winner's loss - today's loss), winners weighted by how often and by how much
    they win. Runs chosen before are taken as done, so a batch does not ask the same question twice.
    """
    gap = F[:, [today]] - F  # (S, N) what each mixture would gain
    best = F.min(axis=1, keepdims=True)
    near = best + share * F.std() >= F
    mass = (np.maximum(gap, 0.0) * near / near.sum(axis=1, keepdims=True)).sum(axis=0)  # (N,) gain credited to each
    winners = np.flatnonzero(mass > 0)
    centred = F - F.mean(axis=0)
    covariance = centred.T @ centred / (len(F) - 1)
    reached = np.zeros(len(F))
    chosen: list[int] = []
    free = usable.copy()
    for turn in range(min(num, int(usable.sum()))):
        shift = covariance[winners] - covariance[today]  # (W, N) covariance of the difference with every run
        told = mass[winners] @ shift**2 if len(winners) else covariance.diagonal() ** 2
        score = told / (covariance.diagonal() + noise**2 + 1e-15)
        if turn % 2 == 0:
            gain = np.maximum(gap, reached[:, None]).mean(axis=0) - reached.mean()
            score = gain if gain[free].max() > 0 else score
        pick = int(np.argmax(np.where(free, score, -np.inf)))
        chosen.append(pick)
        apart = free & (np.abs(pool - pool[pick]).max(axis=1) >= APART)
        free[pick] = False
        free = apart if apart.sum() >= num - len(chosen) else free  # near copies only where there is no room
        reached = np.maximum(reached, gap[:, pick])
        column = covariance[:, pick].copy()
        covariance -= np.outer(column, column) / (column[pick] + noise**2 + 1e-15)
    return chosen


def _price(
    F: Array,
    batch: list[int],
    today: int,
    noise: float,
    rng: np.random.Generator,
    untried: npt.NDArray[np.bool_] | None = None,
) -> Worth:
    """Worth of running ``batch``: in every draw simulate its losses, condition the others on them, choose again.

    Choosing again follows today's rule: a mixture still untried must beat today's choice by more than its error.
    """
    mean = F.mean(axis=0)
    centred = F - mean
    rows = centred[:, batch]
    cross = centred.T @ rows / (len(F) - 1)  # (N, q)
    inner = rows.T @ rows / (len(F) - 1) + (noise**2 + 1e-12) * np.eye(len(batch))
    seen = rows + noise * rng.standard_normal(rows.shape)
    weights = np.linalg.solve(inner, cross.T)  # (q, N)
    after = mean + seen @ weights  # (S, N)
    if untried is not None:
        told = np.einsum("nq,qn->n", cross - cross[today], weights - weights[:, [today]])
        left = (centred - centred[:, [today]]).var(axis=0, ddof=1) - told
        unsure = untried.copy()
        unsure[[*batch, today]] = False
        after += MARGIN * np.where(unsure, np.sqrt(np.maximum(left, 0.0)), 0.0)
    then = np.argmin(after, axis=1)
    gain = F[:, today] - F[np.arange(len(F)), then]
    regret = F[:, today] - F.min(axis=1)
    return Worth(len(batch), float(gain.mean()), float(gain.std()), float(regret.mean()), float(mean[today]))
