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
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.parameters import Free, Parameter
from mixlaw.laws.fit.engine import BatchFit, Best
from mixlaw.laws.fit.scale_law import ScaleLaw
from mixlaw.laws.fit.scale_rows import Rows

__all__ = ["Kaplan"]

_FLAT = 1e-5  # least exponent: below, a power law is a constant and its scale overflows
_COLUMNS = {"N": "params", "D": "tokens", "S": "step"}
_FORMS = {  # scale and exponent of each column, as the authors found them
    "N": {"N": (8.8e13, 0.076)},
    "D": {"D": (5.4e13, 0.095)},
    "ND": {"N": (6.4e13, 0.076), "D": (1.8e13, 0.103)},
    "NS": {"N": (8.8e13, 0.076), "S": (2.1e3, 0.76)},
}


class Kaplan(ScaleLaw):
    """Power laws without an irreducible term.

    Args:
        form: ``"N"``, ``"D"``, ``"ND"`` (joint overfitting law) or ``"NS"`` (learning curve).
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`.

    X: the form's columns (``params``, ``tokens``, ``step``), or a plain array (n, 1 or 2) in that
    order; y: losses (n,) or (n, T) in nats per token.
    Fitted: ``parameters_`` N_c, a_N, D_c, a_D, S_c, a_S as the form has them.

    Not for: predicting far beyond the fitted range. Without an irreducible loss the law promises zero; its
    size exponent is inflated by counting only non-embedding parameters at small sizes (arXiv:2406.12907), and by
    leaving the last layer out of the FLOPs, a warm-up too long for small models and untuned rates and batches
    (arXiv:2406.19146). Constants depend on the tokenizer.

    Raises:
        DataError: rows that the law cannot use, such as losses that are not positive.
        NotIdentifiableError: too few different values of a column.
        TooFewRunsError: fewer runs than parameters.
        ConfigError: an unknown form or option.

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
        super().__init__(seed, loss, delta, bootstrap, level)
        self.form = form

    @classmethod
    def examples(cls) -> list[Law]:
        """Every form."""
        return [cls(form) for form in _FORMS]

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the form.

        Raises:
            ConfigError: an unknown form.
        """
        if self.form not in _FORMS:
            raise ConfigError(f"Kaplan has no form {self.form!r}.{did_you_mean(self.form, _FORMS)}")
        return tuple(_COLUMNS[letter] for letter in self.form)

    @property
    def parameters(self) -> dict[str, Parameter]:  # type: ignore[override]
        """Of each column its exponent a, and k = a ln of its scale: the scale itself overflows where a is near 0."""
        declared: dict[str, Parameter] = {}
        for letter, column in zip(self.form, self.columns):
            scale, exponent = _FORMS[self.form][letter]
            declared[f"k_{letter}"] = Free(exponent * np.log(scale), f"a_{letter} ln {letter}_c, logarithm of nats")
            declared[f"a_{letter}"] = Free(exponent, f"exponent of {column}", low=_FLAT, high=10.0)
        return declared

    @property
    def needs(self) -> dict[str, int]:
        """Two values of each column."""
        return dict.fromkeys(self.columns, 2)

    def loss(self, p: Any, *columns: Array) -> Array:
        """(B, n) losses in nats at the form's columns (n,)."""
        return self.loss_and_slopes(p, *columns)[0]

    def loss_and_slopes(self, p: Any, *columns: Array) -> tuple[Array, dict[str, Array]]:
        """Losses (B, n) and their slopes at columns (n,): a power law's slopes are multiples of itself."""
        values = vars(p)
        logs = [np.log(column) for column in columns]
        # logarithms of (N_c / N)^a_N and (D_c / D)^a_D or (S_c / S)^a_S
        terms = [values[f"k_{letter}"] - values[f"a_{letter}"] * x for letter, x in zip(self.form, logs)]
        if self.form != "ND":
            powers = [np.exp(term) for term in terms]
            slopes = {}
            for letter, power, x in zip(self.form, powers, logs):
                slopes[f"k_{letter}"], slopes[f"a_{letter}"] = power, -x * power
            return np.asarray(sum(powers)), slopes
        (s, t), q = terms, p.a_D  # [exp(s / q) + exp(t / q)]^q
        top = np.maximum(s, t)
        es, et = np.exp((s - top) / q), np.exp((t - top) / q)
        total = es + et
        value = np.exp(top) * total**q
        share_s, share_t = es / total, et / total
        inside = np.log(total) - (share_s * (s - top) + share_t * (t - top)) / q  # d ln L / d q at fixed s, t
        by_s, by_t = value * share_s, value * share_t
        slopes = {"k_N": by_s, "a_N": -logs[0] * by_s, "k_D": by_t, "a_D": -logs[1] * by_t + value * inside}
        return value, slopes

    def slopes(self, p: Any, *columns: Array) -> dict[str, Array]:
        """d loss / d parameter."""
        return self.loss_and_slopes(p, *columns)[1]

    def starts(self, y: Array, w: Array, *columns: Array) -> Array:
        """A few exponents; the terms equal in the middle of the data."""
        middle = [np.log(column).mean() for column in columns]
        level = np.log(y).mean()
        if len(columns) == 1:
            letter = self.form
            a = max(-float(np.polyfit(np.log(columns[0]), np.log(y), 1)[0]), 1e-3)
            return self.layout.join({f"k_{letter}": level + a * middle[0], f"a_{letter}": a})
        a, b = np.array([(a, b) for a in (0.03, 0.08, 0.2) for b in (0.05, 0.1, 0.3)]).T
        if self.form == "NS":
            b, half = 3 * b, level - np.log(2)
            first, second = half + np.log(2), half - 1
        else:  # both terms inside the bracket equal: L = (2 t)^a_D
            first = second = level - b * np.log(2)
        last = self.form[1]
        return self.layout.join(
            {"k_N": first + a * middle[0], "a_N": a, f"k_{last}": second + b * middle[1], f"a_{last}": b}
        )

    def report(self, values: dict[str, Array]) -> dict[str, Array]:
        """Scales and exponents."""
        out = {}
        for letter in self.form:
            a = values[f"a_{letter}"]
            out[f"{letter}_c"] = np.exp(np.minimum(values[f"k_{letter}"] / a, 700.0))
            out[f"a_{letter}"] = a
        return out

    def after_fit(self, rows: Rows, fit: BatchFit, best: Best) -> None:
        """Says which column the loss does not fall with: then its exponent or its whole term has gone to nothing."""
        p = self.layout.split(best.theta)
        loss, slopes = self.loss_and_slopes(p, *rows.columns)
        flat = []
        for letter, column in zip(self.form, self.columns):
            elasticity = vars(p)[f"a_{letter}"] * slopes[f"k_{letter}"] / loss  # - d ln loss / d ln column, (T, n)
            if (elasticity.max(axis=1) <= 2 * _FLAT).any():
                flat.append(column)
        if flat:
            text = (
                f"The loss does not fall with {' and '.join(flat)} in these runs: the exponent and the scale that go "
                f"with it say nothing."
            )
            self.notes_ = [*self.notes_, text]
            warnings.warn(f"Kaplan: {text}", MixlawWarning, stacklevel=5)
