"""From a declaration and a formula to what the fit engine solves: the plain path of a mixture law.

A law declares ``parameters``, says which of them is added to everything (``intercept``) and which multiply the rest
(``amplitudes``), and writes ``loss`` and ``slopes``. Intercept and amplitudes enter linearly, so the engine solves for
them exactly at every step; only the other parameters, theta, are searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.parameters import Layout, Parameter, Positive
from mixlaw.laws.fit.levenberg import Ints
from mixlaw.laws.fit.objective import Model
from mixlaw.laws.fit.separable import Separable

__all__ = ["Parts", "declared_model", "split_declaration"]


class Formula(Protocol):
    """What a law writes; shapes as in :class:`mixlaw.laws.fit.mixture_form.MixtureForm`."""

    def curve(self, p: SimpleNamespace, R: Array) -> Array: ...

    def slopes(self, p: SimpleNamespace, R: Array) -> Mapping[str, npt.ArrayLike]: ...


@dataclass(frozen=True)
class Parts:
    """How a law's parameters are fitted over K domains.

    Example:
        >>> from mixlaw.laws.core.parameters import Free
        >>> slopes, level = Free((0.5, -1.0), "effect of a domain", per="domain"), Free(1.0, "nats")
        >>> parts = Parts(Layout({"t": slopes}, 2), "c", ("k",), Layout({"k": level}, 2))
        >>> parts.names, parts.values(np.array([[0.5, -1.0]]), np.array([[2.0, 3.0]])).c.tolist()
        (('t', 'c', 'k'), [[2.0]])
    """

    theta: Layout
    """The parameters that are searched."""
    intercept: str | None
    """The parameter added to everything, solved exactly and never pulled."""
    amplitudes: tuple[str, ...]
    """The parameters that multiply the rest, solved exactly."""
    linear: Layout
    """The amplitudes side by side."""

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters, those searched first."""
        first = () if self.intercept is None else (self.intercept,)
        return (*self.theta.parameters, *first, *self.amplitudes)

    def values(self, theta: Array, linear: Array) -> SimpleNamespace:
        """Every parameter's values: (B, 1), or (B, K) per domain.

        Args:
            theta: (B, P) as the optimiser moves them.
            linear: (B, 1 + L) intercept and amplitudes, or (B, L) for a law without intercept.
        """
        p = self.theta.split(theta)
        if self.intercept is not None:
            setattr(p, self.intercept, linear[:, :1])
            linear = linear[:, 1:]
        for name, at in self.linear.slices.items():
            setattr(p, name, linear[:, at])
        return p


def split_declaration(
    parameters: Mapping[str, Parameter], intercept: str | None, amplitudes: tuple[str, ...], num_domains: int
) -> Parts:
    """Which parameters are searched and which are solved exactly.

    An intercept or amplitude that its declaration limits cannot be solved by least squares and is searched with the
    rest; a single positive amplitude can. So are the amplitudes of a law that has nothing else.

    Raises:
        ConfigError: an intercept or amplitude that is not declared.

    Example:
        >>> from mixlaw.laws.core.parameters import Free
        >>> declared = {"c": Free(2.0, "nats"), "k": Positive(1.0, "nats"), "t": Free(-1.0, "rate", per="domain")}
        >>> parts = split_declaration(declared, "c", ("k",), num_domains=3)
        >>> list(parts.theta.parameters), parts.intercept, parts.amplitudes
        (['t'], 'c', ('k',))
    """
    for name in (*amplitudes, *(() if intercept is None else (intercept,))):
        if name not in parameters:
            raise ConfigError(f"{name!r} is named as intercept or amplitude but not declared in {list(parameters)}.")
    alone = len(amplitudes) == 1
    solved = tuple(a for a in amplitudes if _unlimited(parameters[a]) or (alone and _only_positive(parameters[a])))
    if intercept is not None and not _unlimited(parameters[intercept]):
        intercept = None
    searched = {n: d for n, d in parameters.items() if n not in solved and n != intercept}
    if not searched:  # a law linear in everything: the engine searches, so the amplitudes are searched
        searched, solved = {n: d for n, d in parameters.items() if n != intercept}, ()
    return Parts(
        Layout(searched, num_domains),
        intercept,
        solved,
        Layout({a: parameters[a] for a in solved}, num_domains),
    )


def _unlimited(parameter: Parameter) -> bool:
    return parameter.low == -np.inf and parameter.high == np.inf


def _only_positive(parameter: Parameter) -> bool:
    return (
        isinstance(parameter, Positive)
        and parameter.low == 0.0
        and parameter.high == np.inf
        and parameter.per == "target"
    )


def declared_model(formula: Formula, parts: Parts, R: Array) -> Separable | Model:
    """The law over mixtures R (n, K), as the engine fits it.

    Returns:
        A separable model, or a function of all parameters for a law without intercept and amplitudes.

    Raises:
        ConfigError: ``slopes`` lacks a parameter, or intercept and amplitudes do not enter linearly.

    Example:
        >>> from mixlaw.laws.mixture.m2 import M2
        >>> parts = split_declaration(M2.parameters, M2.intercept, M2.amplitudes, num_domains=2)
        >>> model = declared_model(M2(), parts, np.array([[0.5, 0.5], [0.9, 0.1]]))
        >>> model.basis(np.zeros((1, 2)), np.zeros(1, dtype=np.int64)).shape
        (1, 2, 1)
    """
    _check_linear(formula, parts, R)
    if parts.intercept is not None or parts.amplitudes:
        return _DeclaredModel(formula, parts, R)

    def plain(theta: Array, problem: Ints) -> tuple[Array, Array]:
        p = parts.theta.split(theta)
        return np.broadcast_to(formula.curve(p, R), (len(theta), len(R))), parts.theta.jacobian(
            p, formula.slopes(p, R), len(R)
        )

    return plain


def _check_linear(formula: Formula, parts: Parts, R: Array) -> None:
    truth = parts.theta.truth()
    theta = parts.theta.join(truth) if truth else np.zeros((1, 0))
    width = (parts.intercept is not None) + parts.linear.size
    p = parts.values(theta, np.linspace(0.5, 1.5, width)[None])
    some = R[:8]
    slopes = formula.slopes(p, some)
    if set(slopes) != set(parts.names):
        raise ConfigError(
            f"{type(formula).__name__}.slopes must return one entry per parameter, {list(parts.names)}; it returned "
            f"{list(slopes)}."
        )
    if not parts.amplitudes:
        return
    total = sum(_term(p, slopes, name) for name in (parts.intercept, *parts.amplitudes) if name is not None)
    loss = np.broadcast_to(formula.curve(p, some), (1, len(some)))
    if not np.allclose(total, loss, rtol=1e-6, atol=1e-9):
        raise ConfigError(
            f"{type(formula).__name__}: the loss is not a sum of its intercept and amplitudes times their slopes, so "
            f"they cannot be solved for. Take the parameters that enter otherwise out of amplitudes, now "
            f"{parts.amplitudes}."
        )


def _term(p: SimpleNamespace, slopes: Mapping[str, npt.ArrayLike], name: str) -> Array:
    """A parameter times its slope, (B, n)."""
    value, slope = getattr(p, name), np.asarray(slopes[name])
    return np.asarray(value * slope if value.shape[1] == 1 and slope.ndim < 3 else (value[:, None, :] * slope).sum(-1))


class _DeclaredModel(Separable):
    """A declared law as a separable model: amplitudes' slopes are its basis, those of theta its tangent.

    A law with an intercept and no amplitude is the intercept plus a curve of amplitude 1.
    """

    def __init__(self, formula: Formula, parts: Parts, R: Array) -> None:
        self.formula, self.parts, self.R = formula, parts, R
        self.num_params = parts.theta.size
        self.unit = not parts.amplitudes
        self.num_linear = 1 if self.unit else parts.linear.size
        self.intercept = parts.intercept is not None
        self.nonnegative = any(isinstance(d, Positive) for d in parts.linear.parameters.values())
        self._at: tuple[Array, SimpleNamespace, Mapping[str, npt.ArrayLike]] | None = None  # where basis was asked last

    def _values(self, theta: Array, coef: Array) -> SimpleNamespace:
        """Values with the intercept at 0 and amplitudes ``coef`` (B, L)."""
        p = self.parts.theta.split(theta)
        if self.parts.intercept is not None:
            setattr(p, self.parts.intercept, np.zeros((len(theta), 1)))
        for name, at in self.parts.linear.slices.items():
            setattr(p, name, coef[:, at])
        return p

    def basis(self, theta: Array, problem: Ints) -> Array:
        shape = (len(theta), len(self.R))
        p = self._values(theta, np.ones((len(theta), self.parts.linear.size)))
        if self.unit:
            return np.broadcast_to(self.formula.curve(p, self.R), shape)[:, :, None]
        slopes = self.formula.slopes(p, self.R)
        self._at = (theta, p, slopes)
        phi = np.empty((*shape, self.num_linear))
        for name, at in self.parts.linear.slices.items():
            slope = np.asarray(slopes[name])
            phi[:, :, at] = slope if self.parts.linear.parameters[name].per == "domain" else slope[..., None]
        return phi

    def tangent(self, theta: Array, problem: Ints, phi: Array, coef: Array) -> Array:
        searched = self.parts.theta
        if self._at is None or self._at[0] is not theta or self.num_linear > 1:
            p = self._values(theta, coef)
            slopes = self.formula.slopes(p, self.R)
            return searched.jacobian(p, {name: slopes[name] for name in searched.parameters}, len(self.R))
        # all of theta's slopes are in proportion to the one amplitude, which was 1 there
        _, p, slopes = self._at
        self._at = None
        J = np.empty((len(theta), len(self.R), searched.size))
        for name, at in searched.slices.items():
            declared = searched.parameters[name]
            factor = coef * declared.slope(getattr(p, name))  # (B, 1), or (B, K) per domain
            if declared.per == "domain":
                np.multiply(slopes[name], factor[:, None, :], out=J[:, :, at])
            else:
                np.multiply(slopes[name], factor, out=J[:, :, at.start])
        return J
