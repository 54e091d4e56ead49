"""The runs of one study for another whose domains changed: what ``mixlaw reuse`` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.errors import ConfigError
from mixlaw.study.config import load_config
from mixlaw.study.folder import StudyFolder

if TYPE_CHECKING:
    from mixlaw.reuse.new_runs import NewRuns
    from mixlaw.reuse.old_runs import Reuse

__all__ = ["carry_over", "read_corpus"]


def read_corpus(path: Path) -> Corpus:
    """The corpus of a study folder or of a corpus.json file.

    Raises:
        ConfigError: neither is there.
    """
    file = path / "corpus.json" if path.is_dir() else path
    if not file.exists():
        raise ConfigError(f"{file} is not there. Give a study folder or a corpus.json.")
    return Corpus.load(file)


def carry_over(
    before: Path,
    after: Path,
    *,
    split: Mapping[str, tuple[str, ...]] | None = None,
    kept: Mapping[str, float] | None = None,
    max_runs: int = 32,
) -> tuple[Reuse, NewRuns]:
    """Re-express the runs of a study for changed domains, and propose what to train beside them.

    New runs keep to the budget of ``after``, or, where that is a corpus.json, to the budget of ``before``. Untouched
    domains keep the ratios of the last recipe, or of the reference where there is none.

    Args:
        before: study folder with runs.
        after: study folder or corpus.json of the changed domains.
        split, kept: as for :func:`mixlaw.reuse.old_runs`.
        max_runs: most new runs.

    Raises:
        ConfigError: unknown names, or a budget that names domains which are gone.
        DataError: no runs, or corpora that cannot be joined.
        InfeasibleBudgetError: no mixture of the new domains satisfies the budget.
    """
    from mixlaw.reuse import reuse

    study, corpus = StudyFolder(before), read_corpus(after)
    found = reuse(study.observations(), study.corpus, corpus, split=split, kept=kept)
    last = study.recipe().mixture if study.store.exists("recipe.json") else study.reference
    today = found.carried(last)
    return found, found.new_runs(today, _budget(study, after, corpus), max_runs)


def _budget(study: StudyFolder, after: Path, corpus: Corpus) -> Budget:
    if after.is_dir() and (after / "study.yaml").exists():
        return load_config(after / "study.yaml").make_budget()
    try:
        study.budget.constraints(corpus)
    except ConfigError as error:
        raise ConfigError(
            f"The budget of {study.folder} does not fit {after}: {error} Give a study folder whose study.yaml holds "
            f"the new budget."
        ) from None
    return study.budget
