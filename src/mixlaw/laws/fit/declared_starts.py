"""Where a fit begins: a grid of exponents, with the sizes of the terms solved for.

In ``E + B / D^beta`` the loss is a sum of parameters times functions of the rows, for E and B; given beta they follow
from a linear least-squares problem. :func:`linear_parameters` finds out which parameters are of that sort, and
:func:`declared_starts` tries a grid over the others around their declared values, solves for the first, and keeps the
best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.parameters import Layout, Positive, Share

__all__ = ["Formula", "check_formula", "declared_starts", "grid", "linear_parameters", "solved"]

Formula = Callable[[SimpleNamespace], tuple[Array, Mapping[str, Any]]]
"""Losses (B, n) and their slopes by parameter at the rows of a fit, from values by parameter: each (B, 1), or (B, K)
per domain."""

_FACTORS = (0.3, 0.7, 1.2, 1.8, 2.7)  # a declared 0.35 stands for exponents from 0.1 to 0.9
_ODDS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_MOST = 130
_SAME_UNIT = 30.0  # losses within this factor of the declared ones are taken to be in the same unit


def declared_starts(
    layout: Layout, formula: Formula, linear: list[str], y: Array, w: Array, seed: int = 0, keep: int = 3
) -> Array:
    """The ``keep`` best starts (S, P) for one target.

    Args:
        layout: the law's parameters. Those per domain begin alike for all domains, whose order says nothing.
        formula: at the rows of the fit.
        linear: parameters that the loss is linear in (:func:`linear_parameters`).
        y, w: (n,) losses and weights.
        seed: of the values that are drawn where a full grid would have more than 130 points.

    Example:
        >>> x = np.array([1.0, 2.0, 4.0, 8.0])
        >>> layout = Layout({"E": Positive(1.0, "nats"), "B": Positive(1.0, "nats"), "beta": Positive(0.4, "exponent")})
        >>> def formula(p):
        ...     term = x ** -p.beta
        ...     return p.E + p.B * term, {"E": np.ones_like(term), "B": term, "beta": -np.log(x) * p.B * term}
        >>> linear_parameters(layout, formula)
        ['E', 'B']
        >>> starts = declared_starts(layout, formula, ["E", "B"], 2 + 3 * x**-0.28, np.ones(4))
        >>> layout.describe(starts[:1])["beta"].round(2).tolist()
        [0.28]
    """
    rest = {name: _values(layout, name) for name in layout.parameters if name not in linear}
    if any(parameter.per == "domain" for parameter in layout.parameters.values()):
        keep = 2 * keep  # all domains begin alike, and more paths lead away from there
    points = grid(rest, seed)
    unit = _unit(layout, formula, y)
    if not 1 / _SAME_UNIT <= unit <= _SAME_UNIT:  # values behind a parameter that is not linear may be in y's unit
        other = grid({name: _values(layout, name, (1.0, unit, 1 / unit)) for name in rest}, seed, 4 * _MOST)
        keep = 2 * keep
        points = {name: np.concatenate([values, other[name]]) for name, values in points.items()}
    with np.errstate(all="ignore"):  # some corners of the grid may overflow: they are never the best
        if linear:
            values, error = solved(layout, formula, points, linear, y, w)
        else:
            values = points
            error = _error(formula(_namespace(values))[0], y, w)
            keep = 4 * keep
    best = np.argsort(error, kind="stable")[:keep]
    return layout.join({name: values[name][best] for name in layout.parameters})


def _unit(layout: Layout, formula: Formula, y: Array) -> float:
    """How much larger losses y (n,) are than those of the declared values."""
    declared = {n: v[None] if v.size > 1 else v for n, v in layout.truth().items()}
    with np.errstate(all="ignore"):
        ratio = float(np.median(y) / np.median(formula(_namespace(declared))[0]))
    return ratio if np.isfinite(ratio) and ratio > 0 else 1.0


def grid(values: Mapping[str, Array], seed: int = 0, most: int = _MOST) -> dict[str, Array]:
    """All combinations of the values of each parameter, (V,) or (V, K): name to (G,) or (G, K). With more than
    ``most``, as many drawn among them.

    Example:
        >>> grid({"a": np.array([1.0, 2.0]), "b": np.array([5.0, 6.0])})["b"].tolist()
        [5.0, 6.0, 5.0, 6.0]
    """
    counts = [len(v) for v in values.values()]
    if np.prod(counts, dtype=float) <= most:
        every = list(product(*(range(c) for c in counts)))  # of no values, one that is empty
        rows = np.array(every, dtype=np.int64).reshape(len(every), len(counts))
    else:
        rng = np.random.default_rng(seed)
        rows = np.stack([rng.integers(c, size=most) for c in counts], axis=1)
    return {name: np.asarray(v)[rows[:, j]] for j, (name, v) in enumerate(values.items())}


def solved(
    layout: Layout, formula: Formula, points: Mapping[str, Array], linear: list[str], y: Array, w: Array
) -> tuple[dict[str, Array], Array]:
    """Values of all parameters (G,) and the sum of absolute errors of log losses (G,), at points of the others.

    The ``linear`` ones minimise the relative errors. Where that gives a positive one a value below 0 it gets a small
    one instead: a thousandth of the loss, or for a constant term a twentieth (and at most the lowest loss).

    Args:
        points: values (G,) of the other parameters.
        linear: names of those to solve for.
        y, w: (n,) losses and weights.

    Example:
        >>> from mixlaw.laws.core.parameters import Positive
        >>> E, A, alpha = Positive(1.7, "nats"), Positive(400.0, "nats"), Positive(0.3, "exponent")
        >>> layout = Layout({"E": E, "A": A, "alpha": alpha})
        >>> n = np.array([1e7, 1e8, 1e9])
        >>> def chinchilla(p):
        ...     power = n**-p.alpha
        ...     return p.E + p.A * power, {"E": np.ones_like(power), "A": power, "alpha": -p.A * power * np.log(n)}
        >>> losses = 1.7 + 400 * n**-0.3
        >>> values, error = solved(layout, chinchilla, {"alpha": np.array([0.3])}, ["E", "A"], losses, np.ones(3))
        >>> values["E"].round(3).tolist(), values["A"].round(1).tolist(), bool(error[0] < 1e-6)
        ([1.7], [400.0], True)
    """
    G = len(next(iter(points.values()))) if points else 1
    one = {name: np.ones(G) for name in linear}
    value, slopes = formula(_namespace({**points, **one}))
    phi = np.stack([np.broadcast_to(slopes[name], value.shape) for name in linear], axis=1)  # (G, L, n)
    value = np.broadcast_to(value, (G, len(y)))
    offset = value - phi.sum(axis=1)  # what does not depend on the linear ones
    size = np.sqrt((phi * phi) @ w / w.sum())  # (G, L) of raw counts' powers: brought to one scale
    size = np.where(size > 0, size, 1.0)
    root = np.sqrt(w) / y
    scaled = phi * root / size[:, :, None]
    gram = scaled @ np.swapaxes(scaled, 1, 2)
    right = scaled @ ((y - offset) * root)[:, :, None]
    gram += 1e-10 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(len(linear))
    coef = np.linalg.solve(gram, right)[:, :, 0]
    lowest = y.min()
    constant = np.ptp(phi, axis=2).max(axis=0) <= 1e-9 * np.abs(phi).max(axis=(0, 2))
    for j, name in enumerate(linear):
        parameter = layout.parameters[name]
        if isinstance(parameter, Positive):
            least, most = (0.05, 0.999) if constant[j] else (1e-3, np.inf)
            coef[:, j] = np.clip(coef[:, j], least * lowest, most * lowest)
    found = {name: np.clip(coef[:, j] / size[:, j], layout.parameters[name].low, layout.parameters[name].high)
             for j, name in enumerate(linear)}  # fmt: skip
    values = {**points, **found}
    fitted = offset + (np.stack([found[name] for name in linear], axis=1)[:, None, :] @ phi)[:, 0]
    return values, _error(fitted, y, w)


def _error(fitted: Array, y: Array, w: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        error = (w * np.abs(np.log(np.maximum(fitted, 1e-300)) - np.log(y))).sum(axis=1)
    return np.where(np.isfinite(error), error, np.inf)


def _namespace(values: Mapping[str, Array]) -> SimpleNamespace:
    arrays = {name: np.asarray(v, dtype=float) for name, v in values.items()}
    return SimpleNamespace(**{name: v if v.ndim == 2 else v[:, None] for name, v in arrays.items()})


def _values(layout: Layout, name: str, units: tuple[float, ...] = (1.0,)) -> Array:
    """Values to try for a parameter that the loss is not linear in: (V,), or (V, K) per domain; positive ones in each
    of some units."""
    parameter = layout.parameters[name]
    start = float(parameter.value(parameter.theta(parameter.truth(layout.num_domains)).mean()))
    if isinstance(parameter, Share):
        tried = parameter.value(parameter.theta(np.array(start)) + np.array(_ODDS))
    else:
        around = start * np.array(_FACTORS) if start else np.array(_ODDS) / 4
        if isinstance(parameter, Positive):
            around = np.outer(units, around).ravel()
        tried = np.unique(np.clip(around, parameter.low, parameter.high))
    return tried if parameter.per == "target" else np.tile(tried[:, None], layout.num_domains)


def check_formula(law: str, layout: Layout, formula: Formula, num_rows: int) -> None:
    """Refuse a formula that does not give what its declaration says, at the declared values.

    Args:
        law: whose formula it is, for the message.
        num_rows: n, of the fit.

    Raises:
        ConfigError: a parameter without a slope, a slope of no parameter, or losses of another shape than the rows'.

    Example:
        >>> from mixlaw.laws.core.parameters import Positive
        >>> layout = Layout({"E": Positive(1.7, "nats"), "B": Positive(400.0, "nats")})
        >>> check_formula("Mine", layout, lambda p: (p.E + p.B * np.ones(2), {"E": 1.0}), 2)
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: Mine.slopes must return one entry per parameter, ['E', 'B']; it returned ['E'].
    """
    losses, slopes = formula(_namespace({name: value[None] for name, value in layout.truth().items()}))
    names = list(layout.parameters)
    found = list(slopes) if isinstance(slopes, Mapping) else slopes
    if not isinstance(slopes, Mapping) or set(slopes) != set(names):
        raise ConfigError(f"{law}.slopes must return one entry per parameter, {names}; it returned {found!r}.")
    rows = (1, num_rows)
    for what, value in {"the loss": losses, **{f"slopes[{name!r}]": slope for name, slope in slopes.items()}}.items():
        per_domain = value is not losses and _fits(np.shape(value), (*rows, layout.num_domains))
        if not per_domain and not _fits(np.shape(value), rows):
            raise ConfigError(
                f"{law}: {what} has shape {np.shape(value)}, but must broadcast to (B, n) at n={num_rows} rows. "
                f"Parameters are (B, 1) and columns (n,): combine them as they come."
            )


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array of that shape broadcasts to the wanted one."""
    return len(shape) <= len(wanted) and all(a in (1, b) for a, b in zip(shape[::-1], wanted[::-1]))


def linear_parameters(layout: Layout, formula: Formula) -> list[str]:
    """Parameters per target whose slopes stay the same when they move, alone and together: the loss is linear in them.

    Example:
        >>> from mixlaw.laws.core.parameters import Positive
        >>> E, A, alpha = Positive(1.7, "nats"), Positive(400.0, "nats"), Positive(0.3, "exponent")
        >>> layout = Layout({"E": E, "A": A, "alpha": alpha})
        >>> n = np.array([1e8, 1e9])
        >>> def chinchilla(p):  # E + A n^-alpha, and its slopes
        ...     power = n**-p.alpha
        ...     return p.E + p.A * power, {"E": np.ones(2), "A": power, "alpha": -p.A * power * np.log(n)}
        >>> linear_parameters(layout, chinchilla)
        ['E', 'A']
    """
    p = {n: v[None] if layout.parameters[n].per == "domain" else v for n, v in layout.truth().items()}
    before = formula(_namespace(p))[1]
    found: list[str] = []
    for name, parameter in layout.parameters.items():
        if parameter.per == "domain":  # searched: one target may have a dozen of them
            continue
        moved = {**p, **{other: _other(layout, p, other) for other in [*found, name]}}
        after = formula(_namespace(moved))[1]
        if all(_same(after[other], before[other]) for other in [*found, name]):
            found.append(name)
    return found


def _same(a: Any, b: Any) -> bool:
    return bool((np.abs(np.subtract(a, b)) <= 1e-9 * np.abs(b)).all())


def _other(layout: Layout, p: Mapping[str, Array], name: str) -> Array:
    """Another value that the parameter may take."""
    parameter = layout.parameters[name]
    theta = parameter.theta(p[name])
    moved = parameter.value(theta + 0.3)
    return np.where(moved <= parameter.high, moved, parameter.value(theta - 0.3))
