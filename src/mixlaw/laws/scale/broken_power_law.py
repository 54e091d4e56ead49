"""Broken power laws: a curve whose slope changes, smoothly or sharply, at a few places.

    y(x) = a + b x^-c0 * prod_i (1 + (x / d_i)^(1 / f_i))^(-c_i f_i)

Legend: x size, tokens or steps; a the limit, b and c0 the first segment, d_i where the i-th break lies, c_i by how
much the slope steepens there, f_i how wide the break is (in e-folds: smaller is sharper).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.scale_law import ScaleLaw

__all__ = ["BrokenPowerLaw"]


class BrokenPowerLaw(ScaleLaw):
    """One quantity against one scale, with ``breaks`` changes of slope.

    Args:
        breaks: number of breaks (0 is a power law with a limit).
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`; the default is squared error of log y.

    X: one column of any name (size, tokens, steps ...), positive; y positive.
    Fitted: ``parameters_`` a, b, c0 and c1, d1, f1, ... by rising d.

    Not for: foreseeing a break that lies beyond the data (no law can); fewer than two points on either side of
    a break. Prefer it to a power law only if held-out error says so.

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

    def __init__(
        self,
        breaks: int = 1,
        seed: int = 0,
        loss: str = "squared",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        self.breaks = breaks
        self.seed = seed
        self.loss = loss
        self.delta = delta
        self.bootstrap = bootstrap
        self.level = level

    @property
    def num_free(self) -> int:  # type: ignore[override]
        """3 and 3 for every break."""
        return 3 + 3 * self.breaks

    def _columns(self) -> tuple[str, ...]:
        return ("x",)

    def _needs(self) -> dict[str, int]:
        return {"x": self.num_free}

    def _order(self, names: Any, num: int) -> list[int]:
        if num != 1:
            raise DataError(f"BrokenPowerLaw reads one column (a size, tokens or steps), got {num}.")
        return [0]

    def _check_columns(self, Z: Array) -> None:
        if not isinstance(self.breaks, int) or self.breaks < 0:
            raise ConfigError(f"breaks must be a whole number >= 0, got {self.breaks!r}.")
        if (Z <= 0).any():
            raise DataError(f"x must be positive; rows {np.flatnonzero(Z[:, 0] <= 0)[:5].tolist()} are not.")

    def _set_scale(self, Z: Array) -> None:
        logs = np.log(Z[:, 0])
        self.centre_ = np.array([logs.mean(), logs.min(), logs.max()])

    def _bounds(self) -> Any:
        low, high = np.full(self.num_free, -np.inf), np.full(self.num_free, np.inf)
        low[0], high[0] = -30.0, np.inf
        for i in range(self.breaks):  # a break lies inside the data, and is neither a step nor a second power law
            low[3 + 3 * i : 6 + 3 * i] = [-np.inf, self.centre_[1], np.log(0.005)]
            high[3 + 3 * i : 6 + 3 * i] = [np.inf, self.centre_[2], np.log(3.0)]
        return low, high

    def _starts(self, Z: Array, y: Array, w: Array) -> Array:
        """A grid of limits, break places and widths; slopes by least squares on the logarithm."""
        x = np.log(Z[:, 0])
        t = x - self.centre_[0]
        places = np.linspace(self.centre_[1], self.centre_[2], 14)[1:-1]
        out, scores = [], []
        limits = [y.min() * f for f in (0.02, 0.4, 0.8, 0.97)]
        from itertools import combinations

        chosen = list(combinations(places, self.breaks))
        if len(chosen) > 60:
            chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, 60).astype(int)]
        for a in limits:
            target = np.log(y - a)
            for where in chosen:
                for width in (0.05, 0.3, 1.0) if self.breaks else (1.0,):
                    columns = [np.ones(len(x)), -t]
                    columns += [-width * np.logaddexp(0, (x - d) / width) for d in where]
                    coef, *_ = np.linalg.lstsq(np.stack(columns, axis=1), target, rcond=None)
                    fitted = a + np.exp(np.clip(np.stack(columns, axis=1) @ coef, -50, 50))
                    scores.append(float(((np.log(fitted) - np.log(y)) ** 2).sum()))
                    start = [np.log(a), coef[0], coef[1]]
                    for d, c in zip(where, coef[2:]):
                        start += [c, d, np.log(width)]
                    out.append(start)
        best = np.argsort(scores, kind="stable")[:12]
        return np.array(out)[best]

    def _evaluate(self, theta: Array, Z: Array) -> tuple[Array, Array]:
        x = np.log(Z[:, 0])
        t = x - self.centre_[0]
        a = np.exp(theta[:, :1]) * np.ones(len(x))
        log_curve = theta[:, 1:2] - theta[:, 2:3] * t
        parts: list[Array] = []
        for i in range(self.breaks):
            c, d, f = (theta[:, 3 + 3 * i + k : 4 + 3 * i + k] for k in range(3))
            f = np.exp(f)
            u = (x - d) / f
            soft = np.logaddexp(0, u)
            on = 0.5 * (1 + np.tanh(u / 2))  # d soft / d u, without overflow
            log_curve = log_curve - c * f * soft
            parts += [-f * soft, c * on, -c * f * (soft - u * on)]
        curve = np.exp(np.minimum(log_curve, 700.0))
        J = np.stack([a, curve, -t * curve, *[curve * p for p in parts]], axis=2)
        return a + curve, J

    def _describe(self, theta: Array) -> dict[str, Array]:
        order = np.argsort(theta[:, 4::3], axis=1) if self.breaks else np.zeros((len(theta), 0), dtype=int)
        rows = np.arange(len(theta))
        with np.errstate(over="ignore"):
            out = {
                "a": np.exp(theta[:, 0]),
                "b": np.exp(theta[:, 1] + theta[:, 2] * self.centre_[0]),
                "c0": theta[:, 2],
            }
            for i in range(self.breaks):
                at = 3 + 3 * order[:, i]
                out[f"c{i + 1}"] = theta[rows, at]
                out[f"d{i + 1}"] = np.exp(theta[rows, at + 1])
                out[f"f{i + 1}"] = np.exp(theta[rows, at + 2])
        return out
