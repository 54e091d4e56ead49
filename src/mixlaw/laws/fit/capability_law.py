"""The seam for laws of a capability: from the loss of a model, or its size, to the share of items that it gets right.

class LossToAccuracy(CapabilityLaw):
    columns = ("loss",)
    response = probability(floor=0.25)             # four answers to choose from
    parameters = {
        "middle": Positive(2.6, "loss at which half of what guessing leaves is known, nats"),
        "slope": Positive(4.0, "logits per nat"),
    }

    def accuracy(self, p, loss):                   # p.middle (B, 1), loss (n,)  ->  (B, n)
        return self.response.from_link(p.slope * (p.middle - loss))

    def slopes(self, p, loss):                     # d accuracy / d parameter
        steep = self.response.slope(p.slope * (p.middle - loss))
        return {"middle": p.slope * steep, "slope": (p.middle - loss) * steep}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.response import Response, probability
from mixlaw.laws.fit.engine import Ints
from mixlaw.laws.fit.scale_law import ScaleLaw
from mixlaw.laws.fit.scale_rows import Criterion

__all__ = ["CapabilityLaw"]

_LEAST = 0.01  # a share of nothing right is taken for this where only starts are looked for


class CapabilityLaw(ScaleLaw):
    """Base of laws of the share of items that a model gets right, as a function of its loss, its size or the like.

    Fitted by maximum likelihood: each y is a share of items of which every one is right with the predicted probability
    (binomial). Give the numbers of items behind the shares as ``fit(X, y, sample_weight=num_items)``; without them all
    shares count alike.

    Args:
        seed: of the bootstrap.
        bootstrap: number of resamples of the rows for ``intervals_`` (0: none, else at least 20).
        level: of those intervals.

    X: columns by name, or a plain array in the order of ``columns`` (``"loss"`` in nats is a known one); y: (n,) or
    (n, T) shares from 0 to 1, NaN where a task was not measured. Fitted: ``parameters_``, ``intervals_`` (with
    ``bootstrap``), ``objective_`` (half the deviance), ``theta_`` (T, P).

    A family declares ``columns``, ``parameters``, ``response`` (:func:`mixlaw.laws.core.response.probability` with the
    score of guessing as ``floor``) and ``source``, and writes :meth:`accuracy` and :meth:`slopes`; the hooks are those
    of :class:`mixlaw.laws.ScaleLaw`. A prediction interval is for a further measurement with as many items as those
    given have; it lies between 0 and 1, and may reach below the floor, as measurements do.

    Raises:
        DataError: shares outside [0, 1], columns that cannot be used. NotIdentifiableError, TooFewRunsError: too few.

    Example:
        >>> from mixlaw.laws.core.parameters import Positive
        >>> class LossToAccuracy(CapabilityLaw):
        ...     columns = ("loss",)
        ...     response = probability(floor=0.25)
        ...     parameters = {"middle": Positive(2.6, "nats"), "slope": Positive(4.0, "logits per nat")}
        ...
        ...     def accuracy(self, p, loss):
        ...         return self.response.from_link(p.slope * (p.middle - loss))
        ...
        ...     def slopes(self, p, loss):
        ...         steep = self.response.slope(p.slope * (p.middle - loss))
        ...         return {"middle": p.slope * steep, "slope": (p.middle - loss) * steep}
        >>> loss = np.linspace(2.0, 3.2, 9)
        >>> law = LossToAccuracy().fit({"loss": loss}, 0.25 + 0.75 / (1 + np.exp(-5 * (2.5 - loss))))
        >>> {name: round(value, 3) for name, value in law.parameters_.items()}
        {'middle': 2.5, 'slope': 5.0}
    """

    kind: ClassVar[Any] = "capability"
    response: ClassVar[Response] = probability()
    accepts_censored = False
    coverage_options = {"bootstrap": 80, "level": 0.9}

    accuracy: Any
    """A family's method ``accuracy(self, p, *columns) -> (B, n)``: the mean share of items right. ``p`` holds each
    declared parameter as (B, 1), columns are (n,)."""

    def __init__(self, seed: int = 0, bootstrap: int = 0, level: float = 0.9) -> None:
        self.seed = seed
        self.bootstrap = bootstrap
        self.level = level

    def curve(self, p: SimpleNamespace, *columns: Array) -> Array:
        """Mean shares of items right (B, n): the family's method ``accuracy``."""
        return np.asarray(self.accuracy(p, *columns), dtype=float)

    def slopes(self, p: Any, *columns: Any) -> Mapping[str, Any]:
        """d accuracy / d parameter by name, each (B, n) or what broadcasts to it; arguments as of ``accuracy``."""
        return super().slopes(p, *columns)

    def starts(self, y: Array, w: Array, *columns: Array) -> Array:
        """As for any law of this seam: a grid around the declared values."""
        return super().starts(np.maximum(y, _LEAST), w, *columns)

    def _check_options(self) -> None:
        if self.bootstrap and self.bootstrap < 20:
            raise ConfigError(f"bootstrap={self.bootstrap} resamples say nothing; use at least 20, or 0 for none.")
        if self.response.likelihood != "binomial":
            raise ConfigError(
                f"{type(self).__name__}: response must be a probability (mixlaw.laws.core.response.probability). "
                f"A score without limits is a law of another kind; write it as a ScaleLaw."
            )

    def _check_losses(self, Y: Array) -> None:
        """Any share will do; Response.check has seen to it that they are shares."""

    def _criterion(self, columns: Sequence[Array], Y: Array) -> Criterion:
        """The deviance: its signed roots are what is squared, so that least squares is maximum likelihood."""
        plain, measured = self._model(columns), np.where(np.isfinite(Y), Y, 0.5)  # what is missing has weight 0

        def roots(theta: Array, problem: Ints) -> tuple[Array, Array]:
            mean, J = plain(theta, problem)
            root, slope = self.response.residual(measured[problem if len(measured) > 1 else [0]], mean)
            return root, J * slope[:, :, None]

        return Criterion(roots, np.zeros_like(Y), "squared", 1.0, False)
