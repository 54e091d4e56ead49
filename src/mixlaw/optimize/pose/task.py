"""From loss to accuracy: the sigmoid that lets a downstream metric be the objective.

``accuracy = a / (1 + exp(-k (L - L0))) + b`` with ``a`` in [-1, 0] and ``b`` in [0, 1]: step 2 of the OLMo ladder
(Bhagia et al. 2024, arXiv:2412.04403). It falls with the loss, so the best accuracy of one task is where its loss is
lowest, and a certified optimum of the loss is one of the accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError, TooFewRunsError
from mixlaw.kit.arrays import Array

__all__ = ["TaskLaw"]


@dataclass(frozen=True)
class TaskLaw:
    """Accuracy as a falling sigmoid of loss; make one with :meth:`fit`.

    Args:
        a, k, L0, b: parameters of ``a / (1 + exp(-k (loss - L0))) + b``; ``b`` is the ceiling and ``a + b`` the floor
            (chance), both fractions; ``L0`` is in nats per token and ``k`` per nat.
        residual: standard deviation of measured accuracy around the curve, a fraction.
        num_pairs: pairs it was fitted on.
        low_loss, high_loss: range of losses among them, nats per token.

    Example:
        >>> law = TaskLaw(a=-0.6, k=4.0, L0=1.0, b=0.85)
        >>> round(float(law.predict(1.0)), 3)
        0.55
        >>> round(float(law.inverse(0.55)), 3)
        1.0
    """

    a: float
    k: float
    L0: float
    b: float
    residual: float = 0.0
    num_pairs: int = 0
    low_loss: float = -np.inf
    high_loss: float = np.inf

    @classmethod
    def fit(cls, loss: npt.ArrayLike, accuracy: npt.ArrayLike, ideal: bool = True) -> TaskLaw:
        """Least squares from (loss, accuracy) pairs: arrays of one length, nats per token and fractions in [0, 1].

        Args:
            ideal: append the ladder's ideal point (loss 0, the task's best possible accuracy 1).

        Raises:
            DataError: not pairs, not finite, accuracies outside [0, 1], or accuracy does not fall with the loss.
            TooFewRunsError: fewer than five pairs.
        """
        from scipy.optimize import least_squares

        x, y = np.asarray(loss, dtype=float).ravel(), np.asarray(accuracy, dtype=float).ravel()
        if x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise DataError(f"Loss and accuracy must be equally many finite numbers, got {x.shape} and {y.shape}.")
        if (y < 0).any() or (y > 1).any():
            raise DataError(f"Accuracy must be a fraction in [0, 1], got {y.min():.3g} to {y.max():.3g}.")
        if len(x) < 5:
            raise TooFewRunsError(f"A task law has four parameters; {len(x)} pairs are too few. Give five or more.")
        xs, ys = (np.append(x, 0.0), np.append(y, 1.0)) if ideal else (x, y)

        def residual(theta: Array) -> Array:
            a, k, L0, b = theta
            return np.asarray(a / (1 + np.exp(np.clip(-k * (xs - L0), -500, 500))) + b - ys)

        best: Any = None
        for slope in (3.0, 10.0, 1.0):
            for middle in (0.9, float(np.median(x))):
                begin = [max(float(y.min()) - 1.0, -0.999), middle, slope, float(np.clip(y.max(), 0.01, 0.99))]
                found = least_squares(
                    residual,
                    [begin[0], begin[2], begin[1], begin[3]],
                    bounds=([-1.0, 1e-6, -np.inf, 0.0], [-1e-9, 1e3, np.inf, 1.0]),
                )
                if best is None or found.cost < best.cost:
                    best = found
        a, k, L0, b = (float(v) for v in best.x)
        law = cls(a, k, L0, b)
        left = y - law.predict(x)
        sd = float(np.sqrt((left**2).sum() / max(len(x) - 4, 1)))
        if abs(a) < 1e-6 or float(np.ptp(law.predict(x))) < 1e-9:
            raise DataError(
                "Accuracy does not fall with the loss in these pairs, so this loss cannot stand for the task. Use "
                "another validation set, or pairs that reach above chance."
            )
        return cls(a, k, L0, b, sd, len(x), float(x.min()), float(x.max()))

    def predict(self, loss: npt.ArrayLike) -> Array:
        """Accuracy (a fraction) at ``loss`` (nats per token; any shape)."""
        u = np.clip(-self.k * (np.asarray(loss, dtype=float) - self.L0), -500, 500)
        return np.asarray(self.a / (1 + np.exp(u)) + self.b)

    def slope(self, loss: npt.ArrayLike) -> Array:
        """d accuracy / d loss, per nat, <= 0; any shape."""
        s = 1 / (1 + np.exp(np.clip(-self.k * (np.asarray(loss, dtype=float) - self.L0), -500, 500)))
        return np.asarray(self.a * self.k * s * (1 - s))

    def inverse(self, accuracy: npt.ArrayLike) -> Array:
        """The loss (nats per token) at which this accuracy (a fraction) is reached; any shape.

        Raises:
            DataError: outside the curve's range.
        """
        share = (np.asarray(accuracy, dtype=float) - self.b) / self.a
        if (share <= 0).any() or (share >= 1).any():
            raise DataError(
                f"Accuracy {accuracy!r} is outside what this task law can reach, {self.a + self.b:.3f} to {self.b:.3f}."
            )
        return np.asarray(self.L0 - np.log(1 / share - 1) / self.k)

    def __str__(self) -> str:
        return (
            f"accuracy = {self.a:.3f} / (1 + exp(-{self.k:.3g} (loss - {self.L0:.3f}))) + {self.b:.3f} "
            f"(+- {self.residual:.3f}, {self.num_pairs} pairs, loss {self.low_loss:.3f} to {self.high_loss:.3f})"
        )
