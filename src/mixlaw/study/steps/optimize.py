"""The optimum: writes ``recipe.json``, and its prediction into the ledger before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixlaw.data.budget import Budget
from mixlaw.data.recipe import Recipe
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import made_from, need, recipe_inputs
from mixlaw.study.runs import table
from mixlaw.verify.paired import prediction_of
from mixlaw.verify.transfer import Evidence, rank_evidence

__all__ = ["evidence", "frontier", "optimize", "prediction_entry", "rank_transfer_text"]


def optimize(study: StudyFolder, budget: Budget | None = None, **options: Any) -> Recipe:
    """Find the mixture, and write its prediction into the ledger.

    Args:
        budget: instead of study.yaml's.
        options: of :func:`mixlaw.optimize.optimize`: ``kind``, ``guard``, ``task``, ``kl_limit``, ``robust``, ...

    Raises:
        DataError: nothing fitted yet, or text, runs or settings changed since.
        InfeasibleBudgetError: no mixture satisfies the budget.
    """
    from mixlaw.optimize import optimize as find

    corpus, law, runs = study.corpus, study.law_here(), table(study)
    need(study, "tokenize", "fit")
    inputs = recipe_inputs(study)
    recipe: Recipe = find(
        law,
        objective=study.config.objective_weights(),
        budget=budget or study.budget,
        corpus=corpus,
        reference=study.reference,
        runs=runs,
        level=study.config.law.level,
        rank_transfer=rank_transfer_text(study),
        **options,
    )
    if prediction_of(study.ledger, recipe) is None:
        study.ledger.append("prediction", prediction_entry(study, recipe))
    with made_from(study, "recipe.json", inputs):
        recipe.save(study.folder / "recipe.json")
    return recipe


def frontier(study: StudyFolder, sets: Sequence[str], num: int = 200) -> Any:
    """Pareto-optimal mixtures for two or more validation sets, under the study's law and budget.

    Args:
        sets: validation sets.
        num: points of the frontier.

    Raises:
        DataError: nothing fitted yet, or runs or settings changed since.
    """
    from mixlaw.optimize import frontier as find

    law = study.law_here()
    need(study, "fit")
    return find(law.certifiable_ or law, sets, study.budget, study.corpus, num=num)


def evidence(study: StudyFolder) -> Evidence:
    """Whether mixtures rank alike at the sizes that were run."""
    return rank_evidence(study.observations(), study.config.objective_weights())


def rank_transfer_text(study: StudyFolder) -> str:
    """What to be careful about with ranks at the target's size, in words; empty where they were measured to hold."""
    if study.budget.params is None and study.budget.tokens == study.config.training.tokens:
        return ""  # nothing to be careful about: the target run is as long as the swarm's runs and of their model
    found = evidence(study)
    return "" if found.reassures(study.budget.params) else found.sentence(study.budget.params)


def prediction_entry(study: StudyFolder, recipe: Recipe) -> dict[str, Any]:
    """What the ledger says about a recipe before anything is trained on it."""
    return {
        "recipe": recipe.hash,
        "schedule": recipe.schedule.to_dict(),
        "objective": study.config.objective_weights(),
        "predictions": {k: v.to_dict() for k, v in recipe.predictions.items()},
        "reference": recipe.reference.to_dict() if recipe.reference else None,
        "difference": recipe.difference.to_dict() if recipe.difference else None,
        "certificate": str(recipe.certificate),
        "law_hash": recipe.law_hash,
        "corpus_hash": recipe.corpus.hash,
        "evaluation_hash": recipe.corpus.evaluation_hash,
        "runs": len(study.observations()),
    }
