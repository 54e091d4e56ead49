"""Broken power laws: a curve whose slope changes, smoothly or sharply, at a few places.

    y(x) = a + b x^-c0 * prod_i (1 + (x / d_i)^(1 / f_i))^(-c_i f_i)

Legend: x size, tokens or steps; a the limit, b and c0 the first segment, d_i where the i-th break lies, c_i by how
much the slope steepens there, f_i how wide the break is (in e-folds: smaller is sharper).
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.parameters import Free, Parameter, Positive
from mixlaw.laws.fit.scale_law import ScaleLaw

__all__ = ["BrokenPowerLaw"]


class BrokenPowerLaw(ScaleLaw):
    """One quantity against one scale, with ``breaks`` changes of slope.

    Args:
        breaks: number of breaks (0 is a power law with a limit).
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`; the default is squared error of log y.

    X: one column of any name (size, tokens, steps ...), (n,) or (n, 1), positive; y: (n,) or (n, T), positive, in any
    unit, which a and b share.
    Fitted: ``parameters_`` a, b, c0 and c1, d1, f1, ... by rising d.

    Not for: foreseeing a break that lies beyond the data (no law can); fewer than two points on either side of
    a break. Prefer it to a power law only if held-out error says so.

    Raises:
        DataError: rows that the law cannot use, such as losses that are not positive.
        NotIdentifiableError: too few different values of a column.
        TooFewRunsError: fewer runs than parameters.
        ConfigError: a number of breaks, or another option, that is not allowed.

    Source: Caballero et al. 2022, arXiv:2210.14891.

    Example:
        >>> x = np.geomspace(1, 1e6, 40)
        >>> y = .5 + 2 * x ** -.1 * (1 + (x / 1e3) ** 2) ** -.2
        >>> law = BrokenPowerLaw(breaks=1).fit(x[:, None], y)
        >>> round(law.parameters_["d1"])
        1000
    """

    name = "broken_power_law"
    source = "Caballero et al. 2022, arXiv:2210.14891"

    columns = ("x",)
    ranges: ClassVar = {"x": (1.0, 1e6)}

    def __init__(
        self,
        breaks: int = 1,
        seed: int = 0,
        loss: str = "squared",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        super().__init__(seed, loss, delta, bootstrap, level)
        self.breaks = breaks

    @property
    def parameters(self) -> dict[str, Parameter]:  # type: ignore[override]
        """Three, and three for every break.

        Raises:
            ConfigError: ``breaks`` is not a whole number from 0.
        """
        if not isinstance(self.breaks, int) or self.breaks < 0:
            raise ConfigError(f"breaks must be a whole number >= 0, got {self.breaks!r}.")
        declared: dict[str, Parameter] = {
            "a": Positive(0.5, "limit, in the unit of y", low=float(np.exp(-30.0))),
            "b": Positive(2.0, "size of the first segment at x = 1, in the unit of y"),
            "c0": Free(0.1, "slope of the first segment"),
        }
        for i in range(1, self.breaks + 1):
            declared[f"c{i}"] = Free(0.4, "how much the slope steepens at the break")
            declared[f"d{i}"] = Positive(1e6 ** (i / (self.breaks + 1)), "where the break lies, in the unit of x")
            # neither a step nor a second power law
            declared[f"f{i}"] = Positive(0.5, "width of the break, e-folds of x", low=0.005, high=3.0)
        return declared

    @property
    def needs(self) -> dict[str, int]:
        """As many different x as parameters."""
        return {"x": self.num_free}

    def _order(self, names: Any, num: int) -> list[int]:
        if num != 1:
            raise DataError(f"BrokenPowerLaw reads one column (a size, tokens or steps), got {num}.")
        return [0]  # of any name

    def bounds(self, x: Array) -> dict[str, tuple[float, float]]:  # type: ignore[override]
        """A break lies inside the data x (n,)."""
        return {f"d{i}": (float(x.min()), float(x.max())) for i in range(1, self.breaks + 1)}

    def starts(self, y: Array, w: Array, x: Array) -> Array:  # type: ignore[override]
        """A grid of limits, break places and widths; slopes by least squares on the logarithm."""
        ln, layout = np.log(x), self.layout
        places = np.linspace(ln.min(), ln.max(), 14)[1:-1]
        chosen = list(combinations(places, self.breaks))
        if len(chosen) > 60:
            chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, 60).astype(int)]
        out, scores = [], []
        for a in (y.min() * f for f in (0.02, 0.4, 0.8, 0.97)):
            target = np.log(y - a)
            for where in chosen:
                for width in (0.05, 0.3, 1.0) if self.breaks else (1.0,):
                    columns = [np.ones(len(ln)), -ln] + [-width * np.logaddexp(0, (ln - d) / width) for d in where]
                    coef, *_ = np.linalg.lstsq(np.stack(columns, axis=1), target, rcond=None)
                    fitted = a + np.exp(np.clip(np.stack(columns, axis=1) @ coef, -50, 50))
                    scores.append(float(((np.log(fitted) - np.log(y)) ** 2).sum()))
                    out.append((a, coef, where, width))
        starts = []
        for a, coef, where, width in (out[i] for i in np.argsort(scores, kind="stable")[:12]):
            start = {"a": a, "b": np.exp(coef[0]), "c0": coef[1]}
            for i, (d, c) in enumerate(zip(where, coef[2:]), start=1):
                start |= {f"c{i}": c, f"d{i}": np.exp(d), f"f{i}": width}
            starts.append(layout.join(start)[0])
        return np.array(starts)

    def loss(self, p: Any, x: Array) -> Array:
        """(B, n) values, in the unit of y, at x (n,)."""
        return self.loss_and_slopes(p, x)[0]

    def loss_and_slopes(self, p: Any, x: Array) -> tuple[Array, dict[str, Any]]:  # type: ignore[override]
        """Values (B, n) and slopes by parameter, (B, n) each, at x (n,): all slopes are multiples of the curve."""
        ln, values = np.log(x), vars(p)
        log_curve = np.log(p.b) - p.c0 * ln
        parts = {"b": 1 / p.b, "c0": -ln}
        for i in range(1, self.breaks + 1):
            c, d, f = values[f"c{i}"], values[f"d{i}"], values[f"f{i}"]
            u = (ln - np.log(d)) / f
            soft = np.logaddexp(0, u)
            on = 0.5 * (1 + np.tanh(u / 2))  # d soft / d u, without overflow
            log_curve = log_curve - c * f * soft
            parts |= {f"c{i}": -f * soft, f"d{i}": c * on / d, f"f{i}": -c * (soft - u * on)}
        curve = np.exp(np.minimum(log_curve, 700.0))
        return p.a + curve, {"a": 1.0, **{name: part * curve for name, part in parts.items()}}

    def slopes(self, p: Any, x: Array) -> dict[str, Any]:  # type: ignore[override]
        """d loss / d parameter."""
        return self.loss_and_slopes(p, x)[1]

    def report(self, values: dict[str, Array]) -> dict[str, Array]:
        """Breaks by rising place."""
        if self.breaks < 2:
            return values
        order = np.argsort(np.stack([values[f"d{i + 1}"] for i in range(self.breaks)], axis=1), axis=1)
        out = {name: values[name] for name in ("a", "b", "c0")}
        for i in range(self.breaks):
            for letter in "cdf":
                every = np.stack([values[f"{letter}{j + 1}"] for j in range(self.breaks)], axis=1)
                out[f"{letter}{i + 1}"] = np.take_along_axis(every, order[:, [i]], axis=1)[:, 0]
        return out
