"""Kaplan's power laws of size, data and steps.

    "N"   L(N)    = (N_c / N)^a_N
    "D"   L(D)    = (D_c / D)^a_D
    "ND"  L(N, D) = [ (N_c / N)^(a_N / a_D) + D_c / D ]^a_D
    "NS"  L(N, S) = (N_c / N)^a_N + (S_c / S)^a_S

Legend: N non-embedding parameters, D training tokens (early-stopped, repeats counted), S optimiser steps at a batch
far below the critical one, N_c, D_c, S_c scales, a_N, a_D, a_S exponents. There is no irreducible loss.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mixlaw.errors import ConfigError, MixlawWarning, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.columns import check_counts
from mixlaw.laws.fit.engine import BatchFit, Best
from mixlaw.laws.fit.scale_law import ScaleLaw

__all__ = ["Kaplan"]

_FLAT = 1e-5  # least exponent: below, a power law is a constant and its scale overflows
_COLUMNS = {"N": ("params",), "D": ("tokens",), "ND": ("params", "tokens"), "NS": ("params", "step")}


class Kaplan(ScaleLaw):
    """Power laws without an irreducible term.

    Args:
        form: ``"N"``, ``"D"``, ``"ND"`` (joint overfitting law) or ``"NS"`` (learning curve).
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`.

    X: the form's columns (``params``, ``tokens``, ``step``), or a plain array in that order.
    Fitted: ``parameters_`` N_c, a_N, D_c, a_D, S_c, a_S as the form has them.

    Not for: predicting far beyond the fitted range. Without an irreducible loss the law promises zero; its
    size exponent is inflated by fixed-length cosine schedules and by counting embeddings (arXiv:2404.10102,
    2406.12907). Constants depend on the tokenizer.

    Source: Kaplan et al. 2020, arXiv:2001.08361.

    Example:
        >>> N = np.array([1e6, 1e7, 1e8, 1e9])
        >>> law = Kaplan("N").fit(N[:, None], (8.8e13 / N) ** 0.076)
        >>> round(law.parameters_["a_N"], 6)
        0.076
    """

    name = "kaplan"
    source = "Kaplan et al. 2020, arXiv:2001.08361"

    def __init__(
        self,
        form: str = "ND",
        seed: int = 0,
        loss: str = "huber",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        self.form = form
        self.seed = seed
        self.loss = loss
        self.delta = delta
        self.bootstrap = bootstrap
        self.level = level

    @property
    def num_free(self) -> int:  # type: ignore[override]
        """Parameters of the form."""
        return 2 * len(self._columns())

    def _columns(self) -> tuple[str, ...]:
        if self.form not in _COLUMNS:
            raise ConfigError(f"Kaplan has no form {self.form!r}.{did_you_mean(self.form, _COLUMNS)}")
        return _COLUMNS[self.form]

    def _needs(self) -> dict[str, int]:
        return {c: 2 for c in self._columns()}

    def _check_columns(self, Z: Array) -> None:
        for j, name in enumerate(self._columns()):
            if name == "step":
                check_counts(Z[:, j] * 1e4, name)  # steps are small numbers: only their sign can be wrong
            else:
                check_counts(Z[:, j], name)

    def _starts(self, Z: Array, y: Array, w: Array) -> Array:
        logs = np.log(Z) - self.centre_
        level = np.log(y).mean()
        if len(self._columns()) == 1:
            slope = np.polyfit(logs[:, 0], np.log(y), 1)[0]
            return np.array([[level, np.log(max(-slope, 1e-3))]])
        grid = [(p, q) for p in (0.03, 0.08, 0.2) for q in (0.05, 0.1, 0.3)]
        half = level - np.log(2)
        if self.form == "NS":
            return np.array([[level, np.log(p), half - 1, np.log(q * 3)] for p, q in grid])
        # both terms inside the bracket equal at the centre: L = (2 t)^a_D
        return np.array([[level - q * np.log(2), np.log(p), level - q * np.log(2), np.log(q)] for p, q in grid])

    def _bounds(self) -> Any:
        free = np.tile([-np.inf, np.log(_FLAT)], len(self._columns()))
        return free, np.tile([np.inf, np.log(10.0)], len(self._columns()))

    def _after_fit(self, Z: Array, Y: Array, W: Array, fit: BatchFit, best: Best) -> None:
        flat = [c for i, c in enumerate(self._columns()) if (best.theta[:, 2 * i + 1] <= np.log(2 * _FLAT)).any()]
        if flat:
            text = (
                f"The loss does not fall with {' and '.join(flat)} in these runs: the exponent is held at its least "
                f"value, {_FLAT:g}, and the scale that goes with it says nothing."
            )
            self.notes_ = [*self.notes_, text]
            warnings.warn(f"Kaplan: {text}", MixlawWarning, stacklevel=5)

    def _evaluate(self, theta: Array, Z: Array) -> tuple[Array, Array]:
        logs = np.log(Z).T - self.centre_[:, None]
        u, p = theta[:, :1], np.exp(theta[:, 1:2])
        first = np.exp(u - p * logs[0])  # (N_c / N)^a_N, and a single column's law
        if len(logs) == 1:
            return first, np.stack([first, -p * logs[0] * first], axis=2)
        v, q = theta[:, 2:3], np.exp(theta[:, 3:4])
        if self.form == "NS":
            second = np.exp(v - q * logs[1])
            J = np.stack([first, -p * logs[0] * first, second, -q * logs[1] * second], axis=2)
            return first + second, J
        # ND: [first^(1/q) + second^(1/q)]^q with second = (D_c / D)^a_D
        s, t = u - p * logs[0], v - q * logs[1]
        top = np.maximum(s, t)
        es, et = np.exp((s - top) / q), np.exp((t - top) / q)
        total = es + et
        value = np.exp(top) * total**q
        share_s, share_t = es / total, et / total
        inside = np.log(total) - (share_s * (s - top) + share_t * (t - top)) / q  # d ln L / d q at fixed s, t
        J = np.stack(
            [
                value * share_s,
                value * share_s * (-p * logs[0]),
                value * share_t,
                value * (share_t * (-q * logs[1]) + q * inside),
            ],
            axis=2,
        )
        return value, J

    def _describe(self, theta: Array) -> dict[str, Array]:
        names = {"N": "N", "D": "D", "ND": "ND", "NS": "NS"}[self.form]
        out: dict[str, Any] = {}
        for i, letter in enumerate(names):
            exponent = np.exp(theta[:, 2 * i + 1])
            with np.errstate(over="ignore"):
                out[f"{letter}_c"] = np.exp(np.minimum(theta[:, 2 * i] / exponent + self.centre_[i], 700.0))
            out[f"a_{letter}"] = exponent
        return out
