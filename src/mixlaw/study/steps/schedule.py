"""The best mixture per phase: writes ``recipe-schedule.json``."""

from __future__ import annotations

from mixlaw.data.recipe import Recipe
from mixlaw.errors import DataError
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import made_from, schedule_inputs
from mixlaw.study.steps.optimize import rank_transfer_text

__all__ = ["schedule"]


def schedule(study: StudyFolder) -> Recipe:
    """The best schedule of mixtures over phases, against the best constant mixture.

    Needs runs with phases (``design.sampler: phases``), and fits a law of its own to them.

    Raises:
        DataError: no run has more than one phase.
    """
    from mixlaw.optimize import PhaseLaw, best_schedule

    observations, inputs = study.observations(), schedule_inputs(study)
    several = [r for r, s in observations.schedules().items() if s.num_phases > 1]
    if not several:
        raise DataError(
            f"No run of {study.folder} has phases. Set design.sampler to 'phases' in a new study, then train it."
        )
    chosen = observations.select(several)
    fractions = [p.fraction for p in next(iter(chosen.schedules().values())).phases]
    X, y = chosen.table([v.name for v in study.corpus.validation] or None, features="phases")
    recipe = best_schedule(
        PhaseLaw(fractions=fractions).fit(X, y),
        study.config.objective_weights(),
        study.budget,
        study.corpus,
        level=study.config.law.level,
        rank_transfer=rank_transfer_text(study),
    )
    with made_from(study, "recipe-schedule.json", inputs):
        recipe.save(study.folder / "recipe-schedule.json")
    return recipe
