"""What strategies share that move weights by what training shows: checks of what they are given, and their state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.train.strategies.contract import Need

__all__ = ["Adaptive", "softmax", "target_weights", "token_shares", "within"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def within(strategy: str, option: str, value: float, low: float, high: float, ends: str = "[]") -> float:
    """The option's value, if it lies in the interval; ``ends`` says which ends belong to it.

    Raises:
        ConfigError: it does not.

    Example:
        >>> within("doremi", "eta", 1.0, 0, math.inf, "()")
        1.0
        >>> within("doremi", "eta", -1.0, 0, math.inf, "()")
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: The strategy doremi was given eta=-1.0; give one in (0, inf).
    """
    above = value >= low if ends[0] == "[" else value > low
    below = value <= high if ends[1] == "]" else value < high
    if not (above and below):
        raise ConfigError(
            f"The strategy {strategy} was given {option}={value!r}; give one in {ends[0]}{low:g}, {high:g}{ends[1]}."
        )
    return value


def softmax(logits: Floats) -> Floats:
    """Weights (K,) proportional to the exponentials of ``logits`` (K,), of any size.

    Example:
        >>> softmax(np.array([1000.0, 1000.0])).tolist()
        [0.5, 0.5]
    """
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum())


def token_shares(strategy: str, sizes: Mapping[str, float] | None, domains: Sequence[str]) -> Floats:
    """Share (K,) that each domain has of the unique tokens of ``domains``; others that ``sizes`` holds do not count.

    Args:
        strategy: for the message.
        sizes: unique tokens of each domain.
        domains: their order.

    Raises:
        ConfigError: no sizes, none of a domain, or sizes that are not finite and non-negative with a positive sum.

    Example:
        >>> token_shares("natural", {"web": 300, "code": 100}, ["web", "code"]).tolist()
        [0.75, 0.25]
    """
    if sizes is None:
        raise ConfigError(
            f"The strategy {strategy} needs the option sizes, {{domain: unique tokens}}. A study fills it in; a run of "
            f"your own states it."
        )
    if not isinstance(sizes, Mapping) or (lost := [d for d in domains if d not in sizes]):
        where = f"has none of {lost}" if isinstance(sizes, Mapping) else "is no mapping"
        raise ConfigError(
            f"The strategy {strategy} was given sizes={sizes!r}, which {where}. Give those of {list(domains)}."
        )
    try:
        values = np.array([float(sizes[d]) for d in domains])
    except (TypeError, ValueError, OverflowError):
        values = np.array([math.nan])
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise ConfigError(
            f"The strategy {strategy} was given sizes={dict(sizes)!r}; they must be tokens, finite and non-negative, "
            f"with a positive sum."
        )
    return np.asarray(values / values.sum())


def target_weights(strategy: str, objective: Mapping[str, float] | None) -> dict[str, float]:
    """The weights of an objective's validation sets, those above 0.

    Args:
        strategy: for the message.
        objective: ``{validation set: weight}``.

    Raises:
        ConfigError: no objective, or weights that are not finite and non-negative with a positive sum.

    Example:
        >>> target_weights("tikmix", {"exam": 0.5, "code": 0.5, "web": 0.0})
        {'exam': 0.5, 'code': 0.5}
    """
    help_ = "It is {validation set: weight}; a study fills it in."
    if not objective:
        raise ConfigError(f"The strategy {strategy} needs the option objective; got {objective!r}. {help_}")
    try:
        weights = {str(name): float(weight) for name, weight in objective.items()}
    except (AttributeError, TypeError, ValueError, OverflowError):
        weights = {}
    if not weights or not all(0 <= w < math.inf for w in weights.values()) or not sum(weights.values()) > 0:
        raise ConfigError(
            f"The strategy {strategy} was given objective={objective!r}, in which no set has a weight, or one has none "
            f"that is a finite number from 0 up. {help_}"
        )
    return {name: weight for name, weight in weights.items() if weight > 0}


class Adaptive:
    """Base of a strategy whose weights depend on what was measured.

    A subclass states what it ``needs`` and, in ``changing``, its attributes that change while it runs: arrays, numbers,
    texts or lists of them. It is asked for its needs before every step but the first.

    Args:
        schedule: the planned mixture.
        num_steps: optimiser steps of the run.

    Raises:
        ConfigError: ``num_steps`` is not positive.

    Example:
        >>> class Last(Adaptive):
        ...     '''All weight on the domain of the highest loss.'''
        ...
        ...     needs = frozenset({"losses"})
        ...     changing = ("highest",)
        ...
        ...     def __init__(self, schedule, num_steps):
        ...         super().__init__(schedule, num_steps)
        ...         self.highest = np.full(len(self.domains), 0.5)
        ...
        ...     def update(self, step, losses=None, gradients=None, target=None):
        ...         if self.asks(step):
        ...             values, present = self.measured(step, losses)
        ...             self.highest = np.eye(len(values))[values.argmax()]
        ...         return self.mixture(self.highest)
        >>> last = Last(Schedule.constant({"web": 0.5, "code": 0.5}), num_steps=10)
        >>> last.update(0)["web"], last.update(1, {"web": 3.0, "code": 2.0})["web"]
        (0.5, 1.0)
        >>> last.state()["highest"]
        [1.0, 0.0]
    """

    needs: frozenset[Need] = frozenset()
    changing: tuple[str, ...] = ()

    def __init__(self, schedule: Schedule, num_steps: int) -> None:
        if num_steps < 1:
            raise ConfigError(f"A strategy needs num_steps of at least 1, got {num_steps!r}.")
        self.schedule, self.num_steps, self.domains = schedule, num_steps, schedule.domains

    @property
    def title(self) -> str:
        """Its name in messages."""
        return type(self).__name__

    def asks(self, step: int) -> frozenset[Need]:
        """Its needs, from step 1 on: nothing can be had of training before."""
        return self.needs if step >= 1 else frozenset()

    # ---- what it is given ----------------------------------------------------------------------------
    def measured(
        self, step: int, losses: Mapping[str, float] | None, names: Sequence[str] | None = None
    ) -> tuple[Floats, Bools]:
        """Losses (n,) in the order of ``names`` (the domains by default), and which are there; the others are 0.

        Raises:
            ConfigError: there are none.
            DataError: a loss that is not finite, or of a name that is not among them.
        """
        kind = "domain" if names is None else "set"
        names = list(self.domains if names is None else names)
        if not losses:
            raise ConfigError(
                f"{self.title} asked for losses before step {step} and was given {losses!r}. Train with a trainer that "
                f"measures them, or with a fixed mixture."
            )
        values, present = np.zeros(len(names)), np.zeros(len(names), dtype=bool)
        for name, value in losses.items():
            if name not in names:
                raise DataError(
                    f"{self.title} was given the loss of an unknown {kind}, {name!r}, before step {step}."
                    f"{did_you_mean(name, names)}"
                )
            at = names.index(name)
            try:
                values[at], present[at] = value, True
            except (TypeError, ValueError):
                values[at] = math.nan
        if not np.isfinite(values).all():
            bad = {n: float(v) for n, v in zip(names, values) if not math.isfinite(v)}
            raise DataError(
                f"{self.title} was given losses that are not finite before step {step}: {bad}. The run has "
                f"diverged: lower its learning rate, or look at the {kind}'s tokens."
            )
        return values, present

    def measured_sets(self, step: int, losses: Mapping[str, float] | None, names: Sequence[str]) -> Floats:
        """Losses (n,) of the validation sets ``names``; those of other sets are passed over.

        Raises:
            ConfigError: there are none.
            DataError: one is missing, or is not finite.
        """
        lost = [n for n in names if losses and n not in losses]
        if losses and lost:
            raise DataError(
                f"{self.title} needs the losses of {list(names)} before step {step}, and was given none of {lost[0]!r}."
                f"{did_you_mean(lost[0], losses)}"
            )
        return self.measured(step, {n: losses[n] for n in names} if losses else None, names)[0]

    def measured_gradients(self, step: int, gradients: Mapping[str, Floats] | None) -> dict[str, Floats]:
        """Gradients (num_params,) by domain, of one length, without those that are not there.

        Raises:
            ConfigError: there are none.
            DataError: a gradient that is not finite, of another length than the first, or of an unknown domain.
        """
        if not gradients:
            raise ConfigError(
                f"{self.title} asked for gradients before step {step} and was given {gradients!r}. Train with a "
                f"trainer that computes them (torch), or with a strategy that needs only losses (doremi, odm, ado)."
            )
        size = np.size(next(iter(gradients.values())))
        for name in gradients:
            if name not in self.domains:
                raise DataError(
                    f"{self.title} was given the gradient of an unknown domain, {name!r}, before step {step}."
                    f"{did_you_mean(name, self.domains)}"
                )
        whole = {d: np.asarray(gradients[d]) for d in self.domains if d in gradients}
        for name, gradient in whole.items():
            self._check_gradient(step, f"of the domain {name!r}", gradient, size)
        return whole

    def measured_target(self, step: int, target: Floats | None, size: int) -> Floats:
        """The objective's gradient (size,).

        Raises:
            ConfigError: there is none.
            DataError: it is not finite, or of another length.
        """
        if target is None:
            raise ConfigError(
                f"{self.title} asked for the gradient of the objective before step {step} and was given none. Train "
                f"with a trainer that computes it (torch)."
            )
        whole = np.asarray(target)
        self._check_gradient(step, "of the objective", whole, size)
        return whole

    def _check_gradient(self, step: int, whose: str, gradient: Floats, size: int) -> None:
        if gradient.shape != (size,):
            raise DataError(
                f"{self.title} was given a gradient {whose} of shape {gradient.shape} before step {step}; "
                f"all must be of one length, {size}."
            )
        if not math.isfinite(float(gradient @ gradient)):  # one pass, and no array of flags
            raise DataError(
                f"{self.title} was given a gradient {whose} that is not finite before step {step}. The run has "
                f"diverged: lower its learning rate."
            )

    def mixture(self, weights: Floats) -> Mixture:
        """``weights`` (K,) as a mixture of its domains."""
        return Mixture.from_array(self.domains, weights / weights.sum())

    # ---- state ---------------------------------------------------------------------------------------
    def state(self) -> dict[str, Any]:
        """What changes while it runs, and whose it is, as plain data for JSON."""
        values = {field: getattr(self, field) for field in self.changing}
        plain = {f: v.tolist() if isinstance(v, np.ndarray) else v for f, v in values.items()}
        return {"strategy": self.title, "domains": list(self.domains), **plain}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave.

        Raises:
            DataError: it is the state of another strategy, or of other domains.
        """
        if state.get("strategy") != self.title or set(state) != {"strategy", "domains", *self.changing}:
            raise DataError(
                f"{self.title} continues from its own state ({', '.join(self.changing)}), and was given that of "
                f"another strategy: {state.get('strategy')!r} with {sorted(state)}."
            )
        if list(state["domains"]) != list(self.domains):
            raise DataError(
                f"{self.title} mixes {list(self.domains)}, and was given the state of a run with {state['domains']!r}."
            )
        for field in self.changing:
            now, value = getattr(self, field), state[field]
            if isinstance(now, np.ndarray):
                value = np.array(value, dtype=now.dtype)
                if value.shape != now.shape:
                    raise DataError(
                        f"{self.title} was given a state whose {field} has the shape {value.shape}; with its options "
                        f"it is {now.shape}. Continue with the options that the run began with."
                    )
            setattr(self, field, value)
