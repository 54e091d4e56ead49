"""What a strategy promises: the weights of the domains for the next steps, from what training has shown so far.

A strategy is one file in this room that holds a class. Its constructor takes ``schedule`` (the planned mixture) and
``num_steps`` (of the run), and then options of its own; a run spec names it as ``{"name": ..., "options": {...}}``. It
holds NumPy arrays only and imports no torch; what it needs from the model is computed by the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture

__all__ = ["Need", "Strategy"]

Need = Literal["losses", "gradients", "reference", "probes"]
"""What a strategy asks of the trainer: training losses per domain; gradients of the domains' losses; losses of a
reference model on the same tokens; validation losses measured now and then, whose tokens count as spent."""


@runtime_checkable
class Strategy(Protocol):
    """Chooses the mixture while a run trains.

    Example:
        >>> class Half:
        ...     needs = frozenset()
        ...
        ...     def update(self, step, losses=None, gradients=None):
        ...         return Mixture({"web": 0.5, "code": 0.5})
        ...
        ...     def state(self):
        ...         return {}
        ...
        ...     def load(self, state):
        ...         return None
        >>> isinstance(Half(), Strategy), Half().update(0)["web"]
        (True, 0.5)
    """

    @property
    def needs(self) -> frozenset[Need]:
        """What the trainer must compute for it. A trainer that cannot refuses the run before it starts."""

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
    ) -> Mixture:
        """The weights from which the sequences of ``step`` are drawn.

        Args:
            step: from 0; asked once for each step, in order.
            losses: nats per token by domain (or by probe), since the last call; those that ``needs`` names.
            gradients: by domain, vectors of one length (they may be projected), since the last call.

        Raises:
            ConfigError: something that ``needs`` names is missing.
        """

    def state(self) -> dict[str, Any]:
        """All that changes while it runs, as plain data for JSON. A checkpoint holds it."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave.

        Raises:
            DataError: it is the state of another strategy, or of other domains.
        """
