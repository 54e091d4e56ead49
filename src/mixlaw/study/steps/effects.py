"""Which domain helps or hurts which validation set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import need
from mixlaw.study.runs import runs_of_one_size

if TYPE_CHECKING:
    from mixlaw.laws.read.effects import Effects

__all__ = ["effects"]


def effects(study: StudyFolder) -> Effects:
    """The effect of every domain on every validation set, in the unit of the losses.

    Raises:
        DataError: nothing fitted yet, or runs or settings changed since.
        TooFewRunsError: too few runs to tell effects from noise.
    """
    from mixlaw.laws.read.effects import effects_from_runs

    need(study, "fit")
    law, observations = study.law(), runs_of_one_size(study)
    X, y = observations.table([v.name for v in study.corpus.validation] or None)
    units = {r["unit"] for r in observations.values.select(["metric", "unit"]).to_pylist() if r["metric"] == "loss"}
    return effects_from_runs(law, X, y, unit=" and ".join(sorted(units)).replace("_", " "))
