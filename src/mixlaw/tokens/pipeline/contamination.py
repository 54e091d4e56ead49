"""Near duplicates of each validation set in each domain's training text, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.kit.arrays import load_array
from mixlaw.text.near_duplicates import has_near_duplicate
from mixlaw.text.sources import Source
from mixlaw.tokens.pipeline.scan import Scan
from mixlaw.tokens.pipeline.workspace import Workspace

__all__ = ["contamination"]


def contamination(
    work: Workspace, domains: Sequence[Source], scans: Callable[[Source], Scan], own: Sequence[Source]
) -> dict[str, Any]:
    """Per validation set, its documents and how many have a near duplicate in each domain's training text.

    Args:
        domains: training domains, whose held-out rows are validation sets themselves.
        scans: the scan of a domain.
        own: validation sets of their own.

    Returns:
        ``{set: {"documents": int, "in_training": {domain: int}}}``; only domains that hold some are listed.
    """
    sets: dict[str, npt.NDArray[np.uint32]] = {}
    for source in domains:
        rows = work.index(source).get("val", {}).get("rows")
        if rows:
            sets[source.name] = scans(source).signatures[rows]
    for source in own:
        sets[source.name] = load_array(work.folder / source.folder / "val-signatures.npy")
    if not sets:
        return {}
    together = np.concatenate(list(sets.values()))
    bounds = np.cumsum([0] + [len(s) for s in sets.values()])
    result: dict[str, Any] = {n: {"documents": len(s), "in_training": {}} for n, s in sets.items()}
    for source in domains:
        rows = work.index(source).get("val", {}).get("rows") or []
        among = np.delete(scans(source).signatures, rows, axis=0)
        found = has_near_duplicate(together, among)
        for k, name in enumerate(sets):
            count = int(found[bounds[k] : bounds[k + 1]].sum())
            if count:
                result[name]["in_training"][source.name] = count
    return result
