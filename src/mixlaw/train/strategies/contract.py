"""What a strategy promises: the weights of the domains for the next steps, from what training has shown so far.

A strategy is one file in this room that holds a class. Its constructor takes ``schedule`` (the planned mixture) and
``num_steps`` (of the run), and then options of its own; a run spec names it as ``{"name": ..., "options": {...}}``. It
holds NumPy arrays only and imports no torch; what it needs from the model is computed by the trainer.

A study fills in these options, where a strategy's constructor has an argument of that name and the user gave none:

* ``sizes``: unique tokens of each domain;
* ``objective``: the weight of each validation set in what the study minimises, summing to one;
* ``own_sets``: for each training domain that has one, the validation set that was held out of it;
* ``limits``: what the budget allows, as shares of the whole run (see :class:`~mixlaw.train.strategies.replan.Replan`);
* ``tokens``, ``batch_tokens``: training tokens of the run, and of one of its steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture

__all__ = ["Need", "Strategy"]

Need = Literal["losses", "reference", "gradients", "target", "probes"]
"""What a strategy asks of the trainer, for the step before the one whose weights it is to choose:

* ``losses``: the training loss of each domain that was in the batch, before the step's update;
* ``reference``: instead of these, the mean over the domain's tokens of ``max(loss - reference loss, 0)``, where the
  reference is the finished run that the strategy's option ``reference`` names by its id;
* ``gradients``: of each domain's training loss, for each domain that was in the batch;
* ``target``: the gradient of the objective's loss on validation tokens, beside ``gradients``;
* ``probes``: the loss of each validation set, measured on a part of its tokens, which count as spent."""


@runtime_checkable
class Strategy(Protocol):
    """Chooses the mixture while a run trains.

    What the trainer reads beside these members, where a class has them:

    * ``weighs`` (``"sampling"`` by default): with ``"loss"``, sequences are drawn from ``sampling`` (a
      :class:`~mixlaw.data.mixture.Mixture`) whatever the weights are, and the weights multiply the domains' losses
      (divided by their sampling weights), as in group distributionally robust optimisation;
    * ``objective``: weights of validation sets; must be there where ``needs`` has ``"target"``;
    * ``sets`` (all by default): the validation sets that probes score, and ``probe_tokens``, how many tokens of each;
    * ``averaged`` (False by default): the result is the average of its weights over the run, on which a further run
      is then trained (DoReMi, DoGE), and not the model that it trained itself.

    Example:
        >>> class Half:
        ...     needs = frozenset()
        ...
        ...     def asks(self, step):
        ...         return frozenset()
        ...
        ...     def update(self, step, losses=None, gradients=None, target=None):
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
        """What the trainer must be able to compute for it. A trainer that cannot refuses the run before it starts.
        Only one of ``losses``, ``reference`` and ``probes`` can be asked for: they share an argument."""

    def asks(self, step: int) -> frozenset[Need]:
        """Which of its needs it wants to have before the weights of ``step`` (from 0) are chosen: what was measured in
        the step before, and probes of the model as it is now. Nothing can be had of training before step 1."""

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights from which the sequences of ``step`` are drawn (or that its losses have).

        Args:
            step: from 0; asked once for each step, in order.
            losses: nats per token, by domain (``losses``, ``reference``) or by validation set (``probes``), where
                ``asks(step)`` named one of them. A domain that was not in the batch is not there.
            gradients: by domain, (num_params,) each; a domain that was not in the batch is not there.
            target: (num_params,) gradient of the objective.

        Raises:
            ConfigError: something that it asked for is missing.
            DataError: losses or gradients that are not finite, or of unknown domains.
        """

    def state(self) -> dict[str, Any]:
        """All that changes while it runs, as plain data for JSON. A checkpoint holds it."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave.

        Raises:
            DataError: it is the state of another strategy, or of other domains.
        """
