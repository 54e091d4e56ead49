"""Files of runs as :class:`~mixlaw.data.observations.Observations`: one format per file of this folder.

Each file holds ``read(paths, *, ...) -> Observations``, whose keyword-only arguments are its options, and
``recognises(paths) -> bool``. :func:`read` asks them in turn; ``format=`` names one where that is ambiguous. Weights
that do not sum to one are reported and rejected, and rescaled only where ``repair=True`` asks for it.

A user's own joins by ``IMPORTERS.register("mine", my_read)`` or by an entry point of the group ``mixlaw.importers``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixlaw.data.importing import recognise
from mixlaw.data.observations import Observations
from mixlaw.data.seams import IMPORTERS

__all__ = ["IMPORTERS", "read", "takes"]


def read(path: str | Path | Sequence[str | Path], *, format: str | None = None, **options: Any) -> Observations:
    """The same as :meth:`mixlaw.Observations.read`.

    Example:
        ``read(["train_mixture_1m.csv", "train_pile_loss_1m.csv"])``
    """
    return Observations.read(path, format=format, **options)


def takes(paths: Sequence[str | Path], option: str) -> bool:
    """Whether the importer that recognises these paths has this option (a folder of a study's has no ``repair``).

    Raises:
        DataError: paths that no importer recognises.
    """
    return option in IMPORTERS.options(recognise([Path(p) for p in paths]))
