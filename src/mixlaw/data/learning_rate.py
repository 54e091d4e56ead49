"""Learning-rate schedules: the one definition that trainer, laws and verification read.

:class:`LearningRate` is a run's, as its spec states it: fractions of the run, in whole steps. The other classes are the
same curves over steps as laws see them: how much was learned at what rate, and how far it was annealed.

A schedule is a curve of the learning rate over steps, in units of its peak. Laws use three numbers of it:

* ``area(step)``: S1, the sum of the rate so far, in *peak-rate steps* (a warm-up step at half the peak counts half);
* ``gap(step)``: 1 - rate / peak after the warm-up, how far the rate has come down (0 during warm-up);
* ``annealing_area(step, decay)``: S2 of Tissue et al., every drop of the rate times how long it has had to act.

Sources: Tissue, Wang, Wang 2024 (arXiv:2408.11029) for S1 and S2; Haegele et al. 2024 (arXiv:2405.18392) for
warm-up / stable / decay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array

__all__ = [
    "Constant",
    "Cosine",
    "LearningRate",
    "LearningRateSchedule",
    "Linear",
    "Tabulated",
    "WarmupStableDecay",
    "as_schedule",
    "undecayed_fraction",
]


@dataclass(frozen=True)
class LearningRateSchedule:
    """Base: a subclass defines ``rate`` and, where it has one, the closed form of its integral.

    Example:
        >>> cosine = Cosine(total=100_000, warmup=2_000, final=0.1)
        >>> round(float(cosine.rate(100_000)), 3), round(float(cosine.gap(30_000)), 3)
        (0.1, 0.169)
    """

    name: ClassVar[str] = ""

    def rate(self, step: npt.ArrayLike, peak: float = 1.0) -> Array:
        """Learning rate at each step, in units of which the peak is ``peak`` (1: a fraction of the peak).

        Args:
            step: training steps, counted from 0; any shape, which is that of the result.
            peak: largest learning rate.
        """
        raise NotImplementedError

    def area(self, step: npt.ArrayLike) -> Array:
        """S1: the rate summed over steps 1..step, in peak-rate steps; ``step`` and the result have any shape."""
        wanted = np.atleast_1d(np.asarray(step, dtype=float))
        last = int(np.ceil(wanted.max())) if wanted.size else 0
        total = np.concatenate([[0.0], np.cumsum(self.rate(np.arange(1, last + 1)))])
        return np.interp(np.asarray(step, dtype=float), np.arange(last + 1), total)

    def gap(self, step: npt.ArrayLike) -> Array:
        """How far below its peak the rate has come: 1 - rate after the warm-up, 0 before its end; ``step`` and the
        result have any shape.
        """
        s = np.asarray(step, dtype=float)
        return np.where(s <= self.peak_step, 0.0, 1.0 - self.rate(s))

    @property
    def peak_step(self) -> float:
        """The step at which the peak is reached."""
        return float(getattr(self, "warmup", 0))

    def annealing_area(self, step: npt.ArrayLike, decay: float = 0.999) -> Array:
        """S2: sum over steps i <= step of a momentum m_i = decay m_{i-1} + (rate_{i-1} - rate_i).

        Counted from the peak on, in peak-rate units, at steps of any shape; ``decay`` is the lambda of
        arXiv:2408.11029.

        Raises:
            ConfigError: ``decay`` below 0, or 1 or more.

        Source: Tissue, Wang & Wang 2024, arXiv:2408.11029.
        """
        if not 0 <= decay < 1:
            raise ConfigError(f"annealing_area needs 0 <= decay < 1, got {decay!r}.")
        from scipy.signal import lfilter

        wanted = np.atleast_1d(np.asarray(step, dtype=float))
        first, last = int(self.peak_step), int(np.ceil(wanted.max())) if wanted.size else 0
        if last <= first:
            return np.zeros_like(np.asarray(step, dtype=float))
        rates = self.rate(np.arange(first, last + 1))
        momentum = lfilter([1.0], [1.0, -decay], rates[:-1] - rates[1:])
        total = np.concatenate([np.zeros(first + 1), np.cumsum(momentum)])
        return np.interp(np.asarray(step, dtype=float), np.arange(last + 1), total)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; :func:`as_schedule` reads it back."""
        return {"name": self.name, **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}}


def _positive(owner: LearningRateSchedule, **values: float) -> None:
    for key, value in values.items():
        if not np.isfinite(value) or value < 0:
            raise ConfigError(f"{type(owner).__name__}: {key} must be a finite number >= 0, got {value!r}.")


def _warm(step: npt.ArrayLike, warmup: float, after: Array, peak: float) -> Array:
    s = np.asarray(step, dtype=float)
    return np.where(s < warmup, _ramp(np.clip(s, 0, None), warmup, peak), after)


def _ramp(step: Any, warmup: float, peak: float) -> Any:
    """The straight line from zero to the peak."""
    return peak * step / max(warmup, 1e-300)


def _cos(angle: Array) -> Any:
    """One step's cosine as every machine's C library gives it, so that a run's rates are the same everywhere."""
    return np.cos(angle) if np.ndim(angle) else math.cos(float(angle))


def _warm_area(step: npt.ArrayLike, warmup: float, after: Array) -> Array:
    """Integral of the warm-up, plus ``after`` (counted from its end)."""
    s = np.asarray(step, dtype=float)
    return np.where(s < warmup, np.clip(s, 0, None) ** 2 / (2 * max(warmup, 1e-300)), warmup / 2 + after)


@dataclass(frozen=True)
class Constant(LearningRateSchedule):
    """Linear warm-up over ``warmup`` steps, then the peak for ever.

    Raises:
        ConfigError: ``warmup`` (steps) is negative or not finite.

    Example:
        >>> Constant(warmup=10).rate([5, 10, 1000]).tolist()
        [0.5, 1.0, 1.0]
        >>> float(Constant(warmup=10).area(100))  # 10 steps of warm-up count half
        95.0
    """

    warmup: float = 0
    name: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        _positive(self, warmup=self.warmup)

    def rate(self, step: npt.ArrayLike, peak: float = 1.0) -> Array:
        return _warm(step, self.warmup, np.full_like(np.asarray(step, dtype=float), peak), peak)

    def area(self, step: npt.ArrayLike) -> Array:
        return _warm_area(step, self.warmup, np.asarray(step, dtype=float) - self.warmup)


@dataclass(frozen=True)
class Cosine(LearningRateSchedule):
    """Warm-up, then half a cosine from the peak to ``final`` x peak at step ``total``; flat afterwards.

    Data Mixing Laws (arXiv:2403.16952) trained with ``Cosine(total=100_000, warmup=2_000, final=0.1)``.

    Args:
        total: steps until the end of the decay, > ``warmup``.
        warmup: steps of the linear warm-up.
        final: last rate over the peak.

    Raises:
        ConfigError: a negative number, or ``total`` not above ``warmup``.

    Example:
        >>> Cosine(total=100, final=0.1).rate([0, 50, 100]).round(3).tolist()
        [1.0, 0.55, 0.1]
    """

    total: float
    warmup: float = 0
    final: float = 0.1
    name: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        _positive(self, total=self.total, warmup=self.warmup, final=self.final)
        if self.total <= self.warmup:
            raise ConfigError(f"Cosine: total ({self.total}) must exceed warmup ({self.warmup}).")

    def _turn(self, step: npt.ArrayLike) -> Array:
        s = np.asarray(step, dtype=float)
        return np.pi * np.clip((s - self.warmup) / (self.total - self.warmup), 0, 1)

    def rate(self, step: npt.ArrayLike, peak: float = 1.0) -> Array:
        after = peak * (self.final + (1 - self.final) * 0.5 * (1 + _cos(self._turn(step))))
        return _warm(step, self.warmup, after, peak)

    def area(self, step: npt.ArrayLike) -> Array:
        s, turn, span = np.asarray(step, dtype=float), self._turn(step), self.total - self.warmup
        inside = self.final * turn + (1 - self.final) * 0.5 * (turn + np.sin(turn))
        beyond = np.clip(s - self.total, 0, None) * self.final
        return _warm_area(s, self.warmup, span / np.pi * inside + beyond)


@dataclass(frozen=True)
class Linear(LearningRateSchedule):
    """Warm-up, then a straight line from the peak to ``final`` x peak at step ``total``; flat afterwards.

    Raises:
        ConfigError: a negative or infinite number, or ``total`` steps that do not exceed ``warmup`` steps.

    Example:
        >>> Linear(total=110, warmup=10).rate([5, 10, 60, 110]).tolist()
        [0.5, 1.0, 0.5, 0.0]
    """

    total: float
    warmup: float = 0
    final: float = 0.0
    name: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        _positive(self, total=self.total, warmup=self.warmup, final=self.final)
        if self.total <= self.warmup:
            raise ConfigError(f"Linear: total ({self.total}) must exceed warmup ({self.warmup}).")

    def rate(self, step: npt.ArrayLike, peak: float = 1.0) -> Array:
        s = np.asarray(step, dtype=float)
        part = np.clip((s - self.warmup) / (self.total - self.warmup), 0, 1)
        return _warm(s, self.warmup, peak * (self.final + (1 - self.final) * (1 - part)), peak)

    def area(self, step: npt.ArrayLike) -> Array:
        s, span = np.asarray(step, dtype=float), self.total - self.warmup
        part = np.clip((s - self.warmup) / span, 0, 1)
        beyond = np.clip(s - self.total, 0, None) * self.final
        return _warm_area(s, self.warmup, span * (part - (1 - self.final) * part**2 / 2) + beyond)


@dataclass(frozen=True)
class WarmupStableDecay(LearningRateSchedule):
    """Warm-up, the peak, then a decay over the last ``decay`` steps to ``final`` x peak.

    ``shape`` is ``"linear"`` or ``"sqrt"`` (1 - square root of the part done).

    Raises:
        ConfigError: a negative or infinite number, an unknown shape, or ``warmup`` and ``decay`` (steps) longer than
            ``total`` together.

    Example:
        >>> WarmupStableDecay(total=100, warmup=10, decay=20).rate([5, 50, 90, 100]).tolist()
        [0.5, 1.0, 0.5, 0.0]
    """

    total: float
    warmup: float = 0
    decay: float = 0
    final: float = 0.0
    shape: str = "linear"
    name: ClassVar[str] = "wsd"

    def __post_init__(self) -> None:
        _positive(self, total=self.total, warmup=self.warmup, decay=self.decay, final=self.final)
        if self.warmup + self.decay > self.total + 1:  # both may be rounded up to whole steps
            raise ConfigError(
                f"WarmupStableDecay: warmup ({self.warmup}) + decay ({self.decay}) exceed total ({self.total})."
            )
        if self.shape not in ("linear", "sqrt"):
            raise ConfigError(f"Unknown decay shape {self.shape!r}.{did_you_mean(self.shape, ('linear', 'sqrt'))}")

    def rate(self, step: npt.ArrayLike, peak: float = 1.0) -> Array:
        s = np.asarray(step, dtype=float)
        part = np.clip((s - (self.total - self.decay)) / max(self.decay, 1e-300), 0, 1)
        done = part if self.shape == "linear" else np.sqrt(part)
        return _warm(s, self.warmup, peak * (self.final + (1 - self.final) * (1 - done)), peak)

    def area(self, step: npt.ArrayLike) -> Array:
        s = np.asarray(step, dtype=float)
        start = self.total - self.decay
        part = np.clip((s - start) / max(self.decay, 1e-300), 0, 1)
        lost = part**2 / 2 if self.shape == "linear" else part**1.5 * (2 / 3)
        stable = np.minimum(s, start) - self.warmup
        beyond = np.clip(s - self.total, 0, None) * self.final
        return _warm_area(s, self.warmup, stable + self.decay * (part - (1 - self.final) * lost) + beyond)


@dataclass(frozen=True)
class Tabulated(LearningRateSchedule):
    """Any schedule, as rates at given steps, joined by straight lines (a log of a real run).

    Args:
        steps: rising, at least two.
        rates: one rate per step, in any unit: they are divided by the largest.

    Raises:
        ConfigError: steps that do not rise, another number of rates, or a rate that is negative or not finite.

    Example:
        >>> logged = Tabulated(steps=(0, 100, 200), rates=(0.0, 3e-4, 1.5e-4))
        >>> logged.rate([50, 100, 200]).tolist(), logged.peak_step
        ([0.5, 1.0, 0.5], 100.0)
    """

    steps: tuple[float, ...]
    rates: tuple[float, ...]
    name: ClassVar[str] = "tabulated"

    def __post_init__(self) -> None:
        steps, rates = np.asarray(self.steps, dtype=float), np.asarray(self.rates, dtype=float)
        if steps.ndim != 1 or steps.shape != rates.shape or len(steps) < 2 or (np.diff(steps) <= 0).any():
            raise ConfigError(
                f"Tabulated needs at least two rising steps with one rate each, got {len(np.atleast_1d(steps))} steps "
                f"and {len(np.atleast_1d(rates))} rates."
            )
        if (rates < 0).any() or rates.max() <= 0 or not np.isfinite(rates).all():
            raise ConfigError("Tabulated: rates must be finite, >= 0 and not all zero.")
        object.__setattr__(self, "steps", tuple(steps.tolist()))
        object.__setattr__(self, "rates", tuple(rates.tolist()))

    def rate(self, step: npt.ArrayLike, peak: float = 1.0) -> Array:
        return peak * np.interp(np.asarray(step, dtype=float), self.steps, np.asarray(self.rates) / max(self.rates))

    @property
    def peak_step(self) -> float:
        return self.steps[int(np.argmax(self.rates))]


_KNOWN: dict[str, type[LearningRateSchedule]] = {
    c.name: c for c in (Constant, Cosine, Linear, WarmupStableDecay, Tabulated)
}


def as_schedule(value: Any) -> LearningRateSchedule | None:
    """A schedule from itself, from ``{"name": "cosine", "total": ..., ...}`` or from None.

    Raises:
        ConfigError: an unknown name or argument, with the nearest known one.

    Example:
        >>> as_schedule({"name": "cosine", "total": 1000})
        Cosine(total=1000, warmup=0, final=0.1)
        >>> as_schedule({"name": "cosin", "total": 1000})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        mixlaw.errors.ConfigError: Unknown learning-rate schedule 'cosin'. ...
    """
    if value is None or isinstance(value, LearningRateSchedule):
        return value
    if not isinstance(value, Mapping) or "name" not in value:
        raise ConfigError(
            f"A learning-rate schedule is an object such as Cosine(total=100_000) or a mapping with 'name', "
            f"got {value!r}."
        )
    data = dict(value)
    name = str(data.pop("name"))
    if name not in _KNOWN:
        raise ConfigError(f"Unknown learning-rate schedule {name!r}.{did_you_mean(name, _KNOWN)}")
    fields = _KNOWN[name].__dataclass_fields__
    unknown = [key for key in data if key not in fields]
    if unknown:
        raise ConfigError(f"Schedule {name!r} has no argument {unknown[0]!r}.{did_you_mean(unknown[0], fields)}")
    return _KNOWN[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


_FIELDS: dict[str, dict[str, Any]] = {
    "wsd": {"peak": 4e-3, "warmup": 0.05, "decay": 0.2, "shape": "linear", "final": 0.0},
    "cosine": {"peak": 4e-3, "warmup": 0.05, "final": 0.1, "horizon": 1.0},
    "constant": {"peak": 4e-3, "warmup": 0.05},
}
_SHAPES = {"linear": "linear", "1-sqrt": "sqrt"}


class LearningRate:
    """Learning rate at each step of a run of ``num_steps``.

    Args:
        spec: ``{"name": "wsd" | "cosine" | "constant", "peak": ..., ...}``; empty means ``wsd`` with its defaults.
            ``warmup`` and ``decay`` are fractions of the run. ``final`` is the end value over the peak. ``shape`` of
            the decay is ``"linear"`` or ``"1-sqrt"``. ``horizon`` stretches a cosine beyond the run: with 3.33 the
            run stops at 30% of its decay.
        num_steps: steps of the run.

    Sources: ``wsd`` (warm-up, constant, decay) Haegele et al. 2024, arXiv:2405.18392. ``constant``, without decay,
    removes a confound where proxies are tiny.

    Raises:
        ConfigError: unknown name or field, or a value out of range.

    Example:
        >>> rate = LearningRate({"name": "wsd", "peak": 1.0, "warmup": 0.1, "decay": 0.5}, 10)
        >>> [round(rate(step), 2) for step in range(10)]
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    """

    def __init__(self, spec: Mapping[str, Any], num_steps: int) -> None:
        given = dict(spec)
        self.name = given.pop("name", "wsd")
        if self.name not in _FIELDS:
            raise ConfigError(f"Unknown learning-rate schedule {self.name!r}.{did_you_mean(str(self.name), _FIELDS)}")
        allowed = _FIELDS[self.name]
        for key in given:
            if key not in allowed:
                raise ConfigError(f"Learning rate {dict(spec)!r}: unknown field {key!r}.{did_you_mean(key, allowed)}")
        values = {**allowed, **given}
        self.shape = values.pop("shape", "linear")
        if self.shape not in _SHAPES:
            raise ConfigError(f"Learning rate {dict(spec)!r}: unknown shape.{did_you_mean(str(self.shape), _SHAPES)}")
        for key, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ConfigError(f"Learning rate {dict(spec)!r}: {key} must be a number >= 0, got {value!r}.")
        self.peak = float(values["peak"])
        self.final = float(values.get("final", 1.0))
        self.horizon = float(values.get("horizon", 1.0))
        warmup, decay = float(values["warmup"]), float(values.get("decay", 0.0))
        if self.peak <= 0 or self.final > 1 or warmup + decay > 1 or self.horizon < 1:
            raise ConfigError(
                f"Learning rate {dict(spec)!r}: needs peak > 0, final <= 1, warmup + decay <= 1 and horizon >= 1."
            )
        self.num_steps = num_steps
        self.warmup_steps = round(warmup * num_steps)
        self.decay_steps = round(decay * num_steps) if self.name == "wsd" else 0
        self.schedule = self._schedule()
        """The same in units of its peak, as laws see it."""

    def _schedule(self) -> LearningRateSchedule:
        if self.name == "cosine":
            total = max(self.horizon * self.num_steps, self.warmup_steps + 1)
            return Cosine(total=total, warmup=self.warmup_steps, final=self.final)
        if self.name == "wsd":
            return WarmupStableDecay(
                total=self.num_steps,
                warmup=self.warmup_steps,
                decay=self.decay_steps,
                final=self.final,
                shape=_SHAPES[self.shape],
            )
        return Constant(warmup=self.warmup_steps)

    def __call__(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0). The first step of a warm-up trains at one step's share of the peak,
        and the first step of a decay still at the peak."""
        if step < self.warmup_steps:
            return float(_ramp(step + 1, self.warmup_steps, self.peak))
        return float(self.schedule.rate(step, self.peak))


def undecayed_fraction(spec: Mapping[str, Any]) -> float:
    """Share of a run before the rate decays at its end; 1.0 for a schedule without such a part, or of a user's own.

    Losses measured in the decay do not lie on the curve of a shorter run.

    Example:
        >>> undecayed_fraction({"name": "wsd", "decay": 0.25}), undecayed_fraction({"name": "cosine"})
        (0.75, 1.0)
    """
    fields = _FIELDS.get(spec.get("name", "wsd"), {})
    return 1.0 - float(spec.get("decay", fields["decay"])) if "decay" in fields else 1.0
