"""How a law declares its parameters: one line each, from which bounds, starts, intervals and tests follow.

::

    parameters = {
        "E": Positive(1.7, "irreducible loss, nats"),
        "B": Positive(410.0, "data term, nats at one token"),
        "beta": Positive(0.28, "data exponent"),
    }

A declaration says how the parameter may move (:class:`Positive`, :class:`Free`, :class:`Share`), what it means and in
which unit, and one plausible value. That value is the truth from which the contract test simulates data, and where a
fit begins unless the law knows better. A parameter has one number per target, or with ``per="domain"`` one per target
and domain.

Legend: B problems fitted side by side (targets, starts, resampled runs), n rows, K domains, P numbers in all.
**value** is what the formula holds and what users read; **theta** is what the optimiser moves: the logarithm of a
positive value, the value itself of a free one, the log odds of a share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array

__all__ = ["Free", "Layout", "Parameter", "Positive", "Share"]

_LARGEST = 700.0  # exp of more is no number


@dataclass(frozen=True)
class Parameter:
    """One declared parameter; see :class:`Free`, :class:`Positive` and :class:`Share`, of which a law declares some.

    Args:
        start: a plausible value in the unit of ``meaning``. The contract test simulates data from it. With
            ``per="domain"`` several values may be given: they are repeated to as many domains as there are.
        meaning: what it is, and its unit: ``"irreducible loss, nats"``.
        low, high: between which values it is kept.
        per: ``"target"`` for one number per target, ``"domain"`` for one per target and domain.

    Raises:
        ConfigError: no number, ``start`` does not lie inside ``low`` and ``high``, or several values without
            ``per="domain"``.

    Example:
        >>> floor = Parameter(1.8, "irreducible loss, nats", low=0.0)
        >>> slopes = Parameter((0.5, 1.0), "effect of a domain", per="domain")
        >>> floor.count(3), slopes.truth(3).tolist()
        (1, [0.5, 1.0, 0.5])
    """

    start: float | tuple[float, ...]
    meaning: str
    low: float = -np.inf
    high: float = np.inf
    per: Literal["target", "domain"] = "target"

    def __post_init__(self) -> None:
        values = self.start if isinstance(self.start, tuple) else (self.start,)
        numbers = (*values, self.low, self.high)
        if not values or not all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in numbers):
            raise ConfigError(
                f"{type(self).__name__}({self.start!r}, {self.meaning!r}): the starting value, low= and high= must be "
                f"numbers, for example {type(self).__name__}(0.5, 'what it is, and its unit')."
            )
        if not all(self.low <= value <= self.high for value in values):
            raise ConfigError(
                f"{type(self).__name__}({self.start!r}, {self.meaning!r}): the starting value must lie between "
                f"{self.low:g} and {self.high:g}. Give another start, or other low= and high=."
            )
        if len(values) > 1 and self.per != "domain":
            raise ConfigError(
                f"{type(self).__name__}({self.start!r}, {self.meaning!r}): several values need per='domain'."
            )

    def truth(self, num_domains: int = 0) -> Array:
        """The declared value: shape (1,), or (K,) for a parameter per domain."""
        return np.resize(np.asarray(self.start, dtype=float), self.count(num_domains))

    def count(self, num_domains: int = 0) -> int:
        """How many numbers of one target it is: 1, or K."""
        return num_domains if self.per == "domain" else 1

    # ---- theta and value: what a subclass writes -----------------------------------------------------
    def value(self, theta: Array) -> Array:
        """The values, in the unit of the parameter, that internal numbers stand for; any shape."""
        raise NotImplementedError

    def theta(self, value: Array) -> Array:
        """The internal numbers, without a unit, of values of any shape: the inverse of :meth:`value`."""
        raise NotImplementedError

    def slope(self, value: Array) -> Array:
        """d value / d theta, from the value; any shape."""
        raise NotImplementedError

    def theta_bounds(self) -> tuple[float, float]:
        """``low`` and ``high`` as the optimiser sees them."""
        low, high = self.theta(np.array([self.low, self.high]))
        return float(low), float(high)


@dataclass(frozen=True)
class Free(Parameter):
    """Any number; ``low`` and ``high`` may limit it. ``scale``: the size of a usual change, for numbers far from 1.

    Example:
        >>> Free(0.35, "size exponent", low=0.01, high=3.0).theta_bounds()
        (0.01, 3.0)
    """

    scale: float = 1.0

    def value(self, theta: Array) -> Array:
        """theta times scale."""
        return theta * self.scale

    def theta(self, value: Array) -> Array:
        """value over scale."""
        return np.asarray(value, dtype=float) / self.scale

    def slope(self, value: Array) -> Array:
        """scale."""
        return np.full_like(value, self.scale)


@dataclass(frozen=True)
class Positive(Parameter):
    """A number above 0, fitted on a logarithmic scale: a scale, a loss, an exponent. ``low`` and ``high`` may
    limit it.

    Example:
        >>> E = Positive(1.7, "irreducible loss, nats")
        >>> float(E.value(E.theta(np.array(1.7))).round(6))
        1.7
    """

    low: float = 0.0

    def value(self, theta: Array) -> Array:
        """exp(theta)."""
        return np.exp(np.minimum(theta, _LARGEST))

    def theta(self, value: Array) -> Array:
        """log(value)."""
        with np.errstate(divide="ignore"):
            return np.log(value)

    def slope(self, value: Array) -> Array:
        """The value."""
        return value


@dataclass(frozen=True)
class Share(Parameter):
    """A number strictly between ``low`` and ``high`` (0 and 1), fitted on the scale of log odds.

    Example:
        >>> Share(0.25, "share of web text that counts as code").theta(np.array([0.25, 0.5])).round(3).tolist()
        [-1.099, 0.0]
    """

    low: float = 0.0
    high: float = 1.0

    def value(self, theta: Array) -> Array:
        """low + (high - low) / (1 + exp(-theta))."""
        return self.low + (self.high - self.low) * 0.5 * (1.0 + np.tanh(0.5 * np.asarray(theta)))

    def theta(self, value: Array) -> Array:
        """log((value - low) / (high - value))."""
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(value) - self.low) - np.log(self.high - np.asarray(value))

    def slope(self, value: Array) -> Array:
        """(value - low) (high - value) / (high - low)."""
        return (value - self.low) * (self.high - value) / (self.high - self.low)


class Layout:
    """All parameters of a law side by side in one vector theta (B, P), and back.

    Args:
        parameters: name to declaration, in the order in which theta holds them.
        num_domains: K, for parameters with ``per="domain"``.

    Example:
        >>> layout = Layout({"E": Positive(1.7, "nats"), "t": Free((-1.0, 2.0), "rate", per="domain")}, num_domains=2)
        >>> layout.size
        3
        >>> p = layout.split(layout.join({"E": 1.7, "t": [-1.0, 2.0]}))
        >>> p.E.shape, p.t.tolist()
        ((1, 1), [[-1.0, 2.0]])
    """

    def __init__(self, parameters: Mapping[str, Parameter], num_domains: int = 0) -> None:
        wrong = {name: p for name, p in parameters.items() if not isinstance(p, Parameter)}
        if wrong:
            raise ConfigError(
                f"parameters must declare each by Positive(...), Free(...) or Share(...); got {wrong!r}. Write for "
                f"example {{{next(iter(wrong))!r}: Positive(1.7, 'what it is, and its unit')}}."
            )
        self.parameters = dict(parameters)
        self.num_domains = num_domains
        self.slices: dict[str, slice] = {}
        at = 0
        for name, parameter in self.parameters.items():
            count = parameter.count(num_domains)
            self.slices[name] = slice(at, at + count)
            at += count
        self.size = at
        # most parameters are logarithms or the values themselves: those are transformed in one step
        self._logs = np.zeros(self.size, dtype=bool)
        self._itself: set[str] = set()
        self._others: list[str] = []
        for name, parameter in self.parameters.items():
            if type(parameter) is Positive:
                self._logs[self.slices[name]] = True
            elif type(parameter) is Free and parameter.scale == 1.0:
                self._itself.add(name)
            else:
                self._others.append(name)

    def split(self, theta: Array) -> SimpleNamespace:
        """Values by name from theta (B, P): each (B, 1), or (B, K) per domain."""
        values = np.array(theta[:, : self.size], dtype=float)
        np.exp(np.minimum(values, _LARGEST), out=values, where=self._logs)
        for name in self._others:
            values[:, self.slices[name]] = self.parameters[name].value(theta[:, self.slices[name]])
        return SimpleNamespace(**{name: values[:, at] for name, at in self.slices.items()})

    def join(self, values: Mapping[str, npt.ArrayLike]) -> Array:
        """theta (B, P) from values by name: (B,) or a number for one per target, (B, K) or (K,) per domain."""
        parts = []
        for name, parameter in self.parameters.items():
            value = np.asarray(values[name], dtype=float)
            value = value.reshape(-1, 1) if parameter.per == "target" else np.atleast_2d(value)
            parts.append(parameter.theta(value))
        rows = max(len(part) for part in parts)
        return np.concatenate([np.broadcast_to(part, (rows, part.shape[1])) for part in parts], axis=1)

    def truth(self) -> dict[str, Array]:
        """The declared values by name, each (1,) or (K,)."""
        return {name: parameter.truth(self.num_domains) for name, parameter in self.parameters.items()}

    def jacobian(self, p: SimpleNamespace, slopes: Mapping[str, npt.ArrayLike], num_rows: int) -> Array:
        """d loss / d theta (B, n, P) from d loss / d value by name.

        ``p`` is what :meth:`split` gave; each slope broadcasts to (B, n), or to (B, n, K) per domain.

        Raises:
            ConfigError: a parameter without a slope, or a slope of no parameter.
        """
        if slopes.keys() != self.parameters.keys():
            raise ConfigError(
                f"slopes() must return one entry per parameter, {list(self.parameters)}; it returned {list(slopes)}."
            )
        B = len(getattr(p, next(iter(self.parameters))))
        # one parameter's slopes lie together in memory: much faster to write, and for what is done with them later
        J = np.empty((B, self.size, num_rows)).transpose(0, 2, 1)
        for name, parameter in self.parameters.items():
            at = self.slices[name]
            if name in self._itself:
                J[:, :, at if parameter.per == "domain" else at.start] = slopes[name]
                continue
            factor = parameter.slope(getattr(p, name))  # (B, 1) or (B, K)
            if parameter.per == "domain":
                np.multiply(slopes[name], factor[:, None, :], out=J[:, :, at])
            else:
                np.multiply(slopes[name], factor, out=J[:, :, at.start])
        return J

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest theta (P,) each."""
        low, high = np.empty(self.size), np.empty(self.size)
        for name, at in self.slices.items():
            low[at], high[at] = self.parameters[name].theta_bounds()
        return low, high

    def describe(self, theta: Array) -> dict[str, Array]:
        """Values by name as a user reads them: (B,) each, or (B, K) per domain."""
        p = self.split(theta)
        return {
            name: getattr(p, name) if parameter.per == "domain" else getattr(p, name)[:, 0]
            for name, parameter in self.parameters.items()
        }
