"""What the caller of ``optimize`` wishes: names and numbers checked, as arrays over targets and domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.optimize.around.robust import MEASURES
from mixlaw.optimize.pose.forms import Repetition
from mixlaw.optimize.pose.objective import Function
from mixlaw.optimize.pose.task import TaskLaw
from mixlaw.optimize.pose.view import LawView, check_weights

__all__ = ["KINDS", "Kind", "Request", "read_request"]
Kind = Literal["mean", "worst", "guard", "least_change"]
KINDS = ("mean", "worst", "guard", "least_change")


@dataclass(frozen=True)
class Request:
    """The caller's wishes, checked and in arrays."""

    view: LawView
    weights: dict[str, float]
    W: Array
    kind: str
    constraints: Constraints
    reference: Mixture
    at_reference: Array
    guards: tuple[Function, ...]
    gain: float
    kl_weight: float
    prior: Array | None
    repetition: Repetition | None
    tasks: Mapping[str, TaskLaw]
    kl_limit: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What every problem over these mixtures shares: how repeated data counts, what KL terms are counted from."""
        return {"repetition": self.repetition, "prior": self.prior}


def read_request(
    law: Any,
    objective: Any,
    budget: Budget,
    corpus: Corpus,
    reference: Any,
    kind: str,
    guard: Mapping[str, float] | None,
    gain: float | None,
    task: Mapping[str, TaskLaw] | None,
    kl_weight: float,
    kl_to: Any,
    kl_limit: float | None,
    repetition: bool | float | None,
    robust: str | None,
) -> Request:
    """Check the arguments of :func:`mixlaw.optimize.optimize`; raises as it does."""
    if kind not in KINDS:
        raise ConfigError(f"Unknown kind {kind!r}.{did_you_mean(kind, KINDS)}")
    constraints = budget.check(corpus)
    curve = Repetition.asked(repetition, [d.unique_tokens for d in corpus.domains], budget.tokens)
    view = LawView(law, corpus, budget, curve)
    weights = check_weights(objective)
    W = np.zeros(len(view.targets))
    W[view.index(weights, "The objective")] = list(weights.values())
    today = corpus.natural if reference is None else _mixture(reference, corpus, "reference")
    at_reference = view.predict(today.array(corpus.names)[None])[0]
    guards = []
    for name, slack in (guard or {}).items():
        i = view.index([name], "guard")[0]
        if not np.isfinite(slack):
            raise ConfigError(f"guard[{name!r}] must be a finite number of nats, got {slack!r}.")
        one = np.zeros(len(W))
        one[i] = 1.0
        limit = float(at_reference[i]) + float(slack)
        guards.append(
            Function(
                one,
                const=-limit,
                label=f"{name}: at most {slack:+.4g} nats of the reference's {float(at_reference[i]):.4f}",
            )
        )
    if kind == "guard" and not guards:
        raise ConfigError("kind='guard' needs guard={set: nats it may get worse}.")
    if (kind == "least_change") != (gain is not None):
        raise ConfigError(
            f"kind='least_change' and gain=(nats to win) belong together, got kind={kind!r}, gain={gain!r}."
        )
    if gain is not None and not (np.isfinite(gain) and gain >= 0):
        raise ConfigError(f"gain={gain!r} must be a number >= 0: the nats by which the objective is to fall.")
    if robust is not None and robust not in MEASURES:  # before a minute of refits
        raise ConfigError(f"Unknown robust measure {robust!r}.{did_you_mean(robust, MEASURES)}")
    if kl_limit is not None and not (np.isfinite(kl_limit) and kl_limit > 0):
        raise ConfigError(f"kl_limit must be a positive number of nats, got {kl_limit!r}.")
    if not (np.isfinite(kl_weight) and kl_weight >= 0):
        raise ConfigError(f"kl_weight must be a number >= 0, got {kl_weight!r}.")
    prior = None
    if kl_weight > 0 or kl_limit is not None:
        if kind == "least_change" and kl_weight > 0:
            raise ConfigError("kind='least_change' has a distance of its own; leave out kl_weight.")
        if isinstance(kl_to, str):
            known = {"natural": corpus.natural, "uniform": Mixture.uniform(corpus.names), "reference": today}
            if kl_to not in known:
                raise ConfigError(f"kl_to={kl_to!r} is no mixture.{did_you_mean(kl_to, known)}")
            prior = known[kl_to].array(corpus.names)
        else:
            prior = _mixture(kl_to, corpus, "kl_to").array(corpus.names)
        if kl_limit is not None:
            name = kl_to if isinstance(kl_to, str) else "the given mixture"
            label = f"KL to {name}: at most {kl_limit:.4g} nats"
            guards.append(Function(np.zeros(len(W)), const=-float(kl_limit), kl=1.0, label=label))
    tasks = dict(task or {})
    view.index(tasks, "task")
    for name, task_law in tasks.items():
        if not isinstance(task_law, TaskLaw):
            raise ConfigError(f"task[{name!r}] must be a TaskLaw (fit one with TaskLaw.fit), got {task_law!r}.")
    return Request(
        view,
        weights,
        W,
        kind,
        constraints,
        today,
        at_reference,
        tuple(guards),
        float(gain or 0.0),
        float(kl_weight),
        prior,
        curve,
        tasks,
        kl_limit,
    )


def _mixture(value: Any, corpus: Corpus, where: str) -> Mixture:
    mixture = value if isinstance(value, Mixture) else Mixture(value)
    for name in mixture:
        if name not in corpus.names:
            raise ConfigError(f"{where} names {name!r}, which is not a domain.{did_you_mean(name, corpus.names)}")
    return Mixture.from_array(corpus.names, mixture.array(corpus.names))
