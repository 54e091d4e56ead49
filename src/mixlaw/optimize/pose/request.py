"""What the caller of ``optimize`` wishes: names and numbers checked once, as arrays over targets and domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.data.objective import Objective
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.forms import Repetition
from mixlaw.optimize.pose.objective import Function
from mixlaw.optimize.pose.rows import Rows
from mixlaw.optimize.pose.task import TaskLaw
from mixlaw.optimize.pose.view import LawView, check_weights

__all__ = ["KINDS", "MEASURES", "Kind", "Request", "Robust"]
Kind = Literal["mean", "worst", "guard", "least_change"]
KINDS = ("mean", "worst", "guard", "least_change")
Robust = Literal["mean", "cvar", "regret"]
MEASURES = ("mean", "cvar", "regret")
"""What ``robust=`` may be; see :mod:`mixlaw.optimize.around.robust`."""

_PARAMETRIC, _OTHER = 40, 12
"""Refits for the interval of the gain where nobody asked for a number: refits of parametric laws are cheap."""


@dataclass(frozen=True)
class Request:
    """A question to :func:`mixlaw.optimize.answer`, checked and in arrays; make one with :meth:`of`.

    Everything about the law, the corpus and the runs that the answer needs is read here, once. T targets, K domains.

    Args:
        view: the law as a function of weights over the corpus' domains.
        rows: the runs it was fitted on, if they are known.
        budget: as given.
        constraints: the budget's limits on the K weights.
        unique: (K,) unique tokens of each domain.
        epochs_cap: (K,) most epochs of each domain, inf without a limit.
        weights: ``{set: weight}`` of the objective, summing to one; ``W`` (T,) the same over all targets.
        kind: what is minimised.
        reference: today's mixture; ``today`` (K,) its weights, ``at_reference`` (T,) its predicted losses in nats;
            ``reference_given`` whether the caller named one.
        guards: constraints on losses (and on the KL divergence) beside the objective.
        gain: nats to win (``"least_change"``).
        kl_weight, kl_limit, prior: the KL term, and the mixture (K,) it is counted from.
        repetition: how repeated tokens count, if inside the law.
        tasks: ``{set: TaskLaw}``.
        robust, num_refits, level, near, rank_transfer, starts, seed: as in :func:`mixlaw.optimize.optimize`.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 3 - np.log(web + 0.1)})
        >>> corpus = Corpus.declared({"web": 5_000, "code": 5_000}, source="example")
        >>> request = Request.of(law, "all", Budget(tokens=1_000, max_epochs=2), corpus)
        >>> request.W.tolist(), request.unique.tolist(), request.rows.weights.shape
        ([1.0], [5000.0, 5000.0], (12, 2))
    """

    view: LawView
    rows: Rows | None
    budget: Budget
    constraints: Constraints
    unique: Array
    epochs_cap: Array
    weights: dict[str, float]
    W: Array
    kind: str
    reference: Mixture
    reference_given: bool
    today: Array
    at_reference: Array
    guards: tuple[Function, ...]
    gain: float
    kl_weight: float
    kl_limit: float | None
    prior: Array | None
    repetition: Repetition | None
    tasks: Mapping[str, TaskLaw]
    robust: str | None
    num_refits: int
    level: float
    near: float
    rank_transfer: str | float | None
    starts: int
    seed: int

    @classmethod
    def of(
        cls,
        law: Any,
        objective: str | Sequence[str] | Mapping[str, float] | Objective,
        budget: Budget,
        corpus: Corpus,
        reference: Mixture | Mapping[str, float] | None = None,
        *,
        kind: Kind = "mean",
        guard: Mapping[str, float] | None = None,
        gain: float | None = None,
        task: Mapping[str, TaskLaw] | None = None,
        kl_weight: float = 0.0,
        kl_to: Mixture | Mapping[str, float] | str = "natural",
        kl_limit: float | None = None,
        repetition: bool | float | None = None,
        robust: Robust | None = None,
        runs: tuple[Any, Any] | None = None,
        num_bootstrap: int | None = None,
        level: float = 0.9,
        near: float = 1e-3,
        rank_transfer: str | float | None = None,
        starts: int = 32,
        seed: int = 0,
    ) -> Request:
        """Check the arguments of :func:`mixlaw.optimize.optimize`, which says what they mean.

        Raises:
            ConfigError: unknown names, contradicting arguments.
            DataError: a law that is not fitted or knows no mixtures, or ``runs`` it was not fitted on.
            InfeasibleBudgetError: no mixture satisfies the budget.
        """
        _check_numbers(level, near, starts, seed, num_bootstrap)
        for what, given in (("guard", guard), ("task", task)):
            if given is not None and not isinstance(given, Mapping):
                raise ConfigError(
                    f"{what} must be a mapping from validation set to what is asked of it, got {given!r}."
                )
        objective, kind = _objective(objective, kind)
        constraints = budget.check(corpus)
        domains = corpus.names
        unique = np.array([float(corpus.unique_tokens[n]) for n in domains])
        curve = Repetition.asked(repetition, unique, budget.tokens)
        view = LawView(law, corpus, budget, curve)
        weights = check_weights(objective)
        W = np.zeros(len(view.targets))
        W[view.index(weights, "The objective")] = list(weights.values())
        today = corpus.natural if reference is None else _mixture(reference, domains, "reference")
        at_reference = view.predict(today.array(domains)[None])[0]
        guards = [_guard(view, name, slack, at_reference, W) for name, slack in (guard or {}).items()]
        _check_wishes(kind, guards, gain, robust, kl_limit, kl_weight)
        prior = None
        if kl_weight > 0 or kl_limit is not None:
            known = {"natural": corpus.natural, "uniform": Mixture.uniform(domains), "reference": today}
            prior, name = _prior(kl_to, known, domains)
            if kl_limit is not None:
                guards.append(_kl_guard(kl_limit, name, len(W)))
        if runs is not None and not (isinstance(runs, tuple | list) and len(runs) == 2):
            raise ConfigError("runs must be the pair (X, y) that the law was fitted to.")
        training = runs if runs is not None else view.training
        num = (_PARAMETRIC if view.refits_in_one_batch else _OTHER) if num_bootstrap is None else num_bootstrap
        return cls(
            view=view,
            rows=None if training is None else Rows.of(view, training),
            budget=budget,
            constraints=constraints,
            unique=unique,
            epochs_cap=np.array([np.inf if (e := budget.epochs_cap(n)) is None else e for n in domains]),
            weights=weights,
            W=W,
            kind=kind,
            reference=today,
            reference_given=reference is not None,
            today=today.array(domains),
            at_reference=at_reference,
            guards=tuple(guards),
            gain=float(gain or 0.0),
            kl_weight=float(kl_weight),
            kl_limit=kl_limit,
            prior=prior,
            repetition=curve,
            tasks=_tasks(view, task or {}),
            robust=robust,
            num_refits=max(num, 0),
            level=level,
            near=near,
            rank_transfer=rank_transfer,
            starts=starts,
            seed=seed,
        )

    @property
    def corpus(self) -> Corpus:
        """The corpus as given, for the recipe."""
        return self.view.corpus

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the K domains."""
        return self.constraints.domains

    @property
    def z(self) -> float:
        """Half the width of an interval at ``level`` in standard deviations of a normal error."""
        return NormalDist().inv_cdf((1 + self.level) / 2)

    @property
    def options(self) -> dict[str, Any]:
        """What every problem over these mixtures shares: how repeated data counts, what KL terms are counted from."""
        return {"repetition": self.repetition, "prior": self.prior}

    @property
    def several_tasks(self) -> bool:
        """Whether a mean of several sigmoids, or of sigmoids and losses, is asked for: it is not convex."""
        counted = [t for t in self.tasks if self.weights.get(t, 0) > 0]
        return len(counted) > 1 or (bool(self.tasks) and len(self.weights) > 1)


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and bool(np.isfinite(value))


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0)


def _check_numbers(level: float, near: float, starts: int, seed: int, num_bootstrap: int | None) -> None:
    for name, value in (("starts", starts), ("seed", seed), ("num_bootstrap", num_bootstrap)):
        if not _whole(value) and not (name == "num_bootstrap" and value is None):
            raise ConfigError(f"{name}={value!r} must be a whole number, 0 or more.")
    if not (_number(level) and 0 < level < 1):
        raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
    if not (_number(near) and near > 0):
        raise ConfigError(f"near={near!r} must be a positive share of the objective, for example 0.001.")


def _objective(
    objective: str | Sequence[str] | Mapping[str, float] | Objective, kind: Kind
) -> tuple[str | Sequence[str] | Mapping[str, float], Kind]:
    """Names or weights of the validation sets, and what is minimised over them."""
    if kind not in KINDS:
        raise ConfigError(f"Unknown kind {kind!r}.{did_you_mean(kind, KINDS)}")
    spelled_out = isinstance(objective, Mapping) and isinstance(objective.get("kind"), str)
    if isinstance(objective, Objective) or spelled_out:
        return _asked(Objective.of(objective), kind)
    return objective, kind


def _tasks(view: LawView, task: Mapping[str, TaskLaw]) -> dict[str, TaskLaw]:
    """The tasks' curves, each of a set that the law predicts."""
    view.index(task, "task")
    for name, curve in task.items():
        if not isinstance(curve, TaskLaw):
            raise ConfigError(f"task[{name!r}] must be a TaskLaw (fit one with TaskLaw.fit), got {curve!r}.")
    return dict(task)


def _asked(objective: Objective, kind: Kind) -> tuple[Mapping[str, float], Kind]:
    """Weights and kind of an objective that is spelled out.

    Raises:
        ConfigError: a kind that is asked for in another way, or one that contradicts ``kind``.
    """
    instead = {
        "score": "fit a TaskLaw for each task (loss to accuracy) and pass task={set: TaskLaw} with the sets' weights",
        "guard": "name the sets of the mean as the objective, and pass kind='guard', guard={set: nats}",
        "speed": "minimise the loss at the tokens of the run that is to be faster (kind 'loss'): the mixture with the "
        "lower loss there passes the threshold earlier",
    }
    if objective.kind in instead:
        raise ConfigError(
            f"optimize does not take an objective of kind {objective.kind!r}. Instead, {instead[objective.kind]}."
        )
    if objective.direction != "down" or objective.unit != "nats_per_token":
        raise ConfigError(
            f"optimize minimises losses in nats_per_token, got direction={objective.direction!r}, "
            f"unit={objective.unit!r}. Leave both out."
        )
    if objective.kind == "loss":
        return objective.targets, kind
    if kind not in ("mean", "worst"):
        raise ConfigError(f"The objective is of kind 'worst', which contradicts kind={kind!r}. Give one of the two.")
    return objective.targets, "worst"


def _guard(view: LawView, name: str, slack: float, at_reference: Array, W: Array) -> Function:
    """A bound on the loss of one set, or, under the name ``"objective"``, on the weighted mean W (T,) of them."""
    whole = name == "objective" and name not in view.targets
    counted = W if whole else np.eye(len(at_reference))[view.index([name], "guard")[0]]
    if not _number(slack):
        raise ConfigError(f"guard[{name!r}] must be a finite number of nats, got {slack!r}.")
    before = float(counted @ at_reference)
    label = f"{'weighted mean' if whole else name}: at most {slack:+.4g} nats of the reference's {before:.4f}"
    return Function(counted, const=-(before + float(slack)), label=label)


def _kl_guard(kl_limit: float, name: str, num_targets: int) -> Function:
    """The KL divergence from the mixture called ``name`` is at most ``kl_limit`` nats."""
    label = f"KL to {name}: at most {kl_limit:.4g} nats"
    return Function(np.zeros(num_targets), const=-float(kl_limit), kl=1.0, label=label)


def _check_wishes(
    kind: str,
    guards: Sequence[Function],
    gain: float | None,
    robust: str | None,
    kl_limit: float | None,
    kl_weight: float,
) -> None:
    """Refuse wishes that contradict each other, before any of them costs time."""
    if kind == "guard" and not guards:
        raise ConfigError("kind='guard' needs guard={set: nats it may get worse}.")
    if (kind == "least_change") != (gain is not None):
        raise ConfigError(
            f"kind='least_change' and gain=(nats to win) belong together, got kind={kind!r}, gain={gain!r}."
        )
    if gain is not None and not (_number(gain) and gain >= 0):
        raise ConfigError(f"gain={gain!r} must be a number >= 0: the nats by which the objective is to fall.")
    if robust is not None and robust not in MEASURES:  # before a minute of refits
        raise ConfigError(f"Unknown robust measure {robust!r}.{did_you_mean(robust, MEASURES)}")
    if kl_limit is not None and not (_number(kl_limit) and kl_limit > 0):
        raise ConfigError(f"kl_limit must be a positive number of nats, got {kl_limit!r}.")
    if not (_number(kl_weight) and kl_weight >= 0):
        raise ConfigError(f"kl_weight must be a number >= 0, got {kl_weight!r}.")
    if kind == "least_change" and kl_weight > 0:
        raise ConfigError("kind='least_change' has a distance of its own; leave out kl_weight.")


def _prior(kl_to: Any, known: Mapping[str, Mixture], domains: Sequence[str]) -> tuple[Array, str]:
    """(mixture (K,) that a KL term is counted from, what to call it)."""
    if not isinstance(kl_to, str):
        return _mixture(kl_to, domains, "kl_to").array(domains), "the given mixture"
    if kl_to not in known:
        raise ConfigError(f"kl_to={kl_to!r} is no mixture.{did_you_mean(kl_to, known)}")
    return known[kl_to].array(domains), kl_to


def _mixture(value: Any, domains: Sequence[str], where: str) -> Mixture:
    mixture = value if isinstance(value, Mixture) else Mixture(value)
    for name in mixture:
        if name not in domains:
            raise ConfigError(f"{where} names {name!r}, which is not a domain.{did_you_mean(name, domains)}")
    return Mixture.from_array(domains, mixture.array(domains))
