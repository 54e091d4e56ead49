"""A study: one folder, one ``study.yaml``, and verbs that read what is there and write what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlaw.kit.lock import exclusive, hold
from mixlaw.study import freshness, progress, runs, templates
from mixlaw.study.folder import StudyFolder
from mixlaw.study.steps import (
    experts,
    export,
    fit,
    models,
    optimize,
    report,
    schedule,
    strategies,
    tokenize,
    train,
    verify,
)
from mixlaw.study.steps.design import Swarm

if TYPE_CHECKING:
    from mixlaw.data.budget import Budget
    from mixlaw.data.comparison import Comparison
    from mixlaw.data.corpus import Corpus
    from mixlaw.data.mixture import Mixture
    from mixlaw.data.observations import Observations
    from mixlaw.data.prediction import Prediction
    from mixlaw.data.recipe import Recipe
    from mixlaw.data.runspec import RunSpec
    from mixlaw.data.verification import Verification
    from mixlaw.errors import RunError
    from mixlaw.report.facts import ReportFacts
    from mixlaw.study.config import DesignConfig
    from mixlaw.verify.transfer import Evidence

__all__ = ["Study"]


class Study(StudyFolder):
    """A :class:`~mixlaw.study.folder.StudyFolder` with its verbs: each calls a step of :mod:`mixlaw.study.steps`, where
    arguments and errors are described. Every verb is safe to run again, and continues what was interrupted.

    Example:
        >>> import tempfile
        >>> config = {"corpus": {"counts": {"web": "3B"}}, "objective": {"web": 1}, "budget": {"tokens": "2B"}}
        >>> study = Study.create(tempfile.mkdtemp(), config)
        >>> study.tokenize().names, study.following()
        (('web',), 'design')
    """

    @exclusive
    def tokenize(self, verify: bool = False) -> Corpus:
        """Text to token shards: ``tokens/`` and ``corpus.json``."""
        return tokenize.tokenize(self, verify)

    def design(self, settings: DesignConfig | None = None) -> list[RunSpec]:
        """Propose the swarm: ``design.json``; one that exists is kept."""
        if self.store.exists("design.json"):  # looking at it disturbs nobody
            return self.swarm.design(settings)
        with hold(self.folder, "design"):
            return self.swarm.design(settings)

    @exclusive
    def extend(self, num: int) -> tuple[list[RunSpec], str]:
        """Add the ``num`` runs that are expected to reduce the regret most."""
        return self.swarm.extend(num)

    @exclusive
    def train(
        self, specs: Sequence[RunSpec] | None = None, what: str = "train", verify: bool = False
    ) -> dict[str, RunError]:
        """Train the designed runs that are not done yet; returns the failures by run id."""
        return train.train(self, specs, what, verify)

    @exclusive
    def compare(self, names: Sequence[str | Mapping[str, Any]], seeds: int = 1, **options: Any) -> Comparison:
        """Train strategies that choose the mixture while a run trains, on one budget: ``strategies.json``."""
        return strategies.compare(self, names, seeds, **options)

    @exclusive
    def fit(self) -> Any:
        """Fit the configured law and compare it with others by held-out error: ``laws/``."""
        return fit.fit(self)

    @exclusive
    def optimize(self, budget: Budget | None = None, **options: Any) -> Recipe:
        """Find the mixture: ``recipe.json``; ``options`` are those of :func:`mixlaw.optimize`."""
        return optimize.optimize(self, budget, **options)

    @exclusive
    def schedule(self) -> Recipe:
        """The best schedule of mixtures over phases: ``recipe-schedule.json``."""
        return schedule.schedule(self)

    @exclusive
    def verify(self, seeds: int | None = None) -> Verification:
        """Train the recipe and the references with paired seeds, compare with the ledger: ``verification.json``."""
        return verify.Verifier(self).run(seeds)

    def export(self, framework: str, path: str | Path, *, schedule: bool = False, **options: Any) -> Any:
        """Write the recipe (with ``schedule`` the one with phases) for a training framework."""
        return export.export(self, framework, path, schedule=schedule, **options)

    def evaluate(self, checkpoint: str | Path, context: int | None = None) -> dict[str, dict[str, float]]:
        """Losses of a checkpoint folder, a GGUF file or a finished run on the study's validation sets."""
        return models.evaluate_checkpoint(self, checkpoint, context)

    def evaluate_tasks(self, checkpoint: str | Path, context: int | None = None) -> Observations:
        """Scores of the same on the tasks of the study's evaluators: ``evaluations/<name>/``."""
        return models.evaluate_tasks(self, checkpoint, context)

    def export_model(self, run: str, path: str | Path) -> None:
        """Write the model of a finished run as a folder that ``transformers`` loads."""
        models.export_model(self, run, path)

    def report(self) -> Path:
        """Write ``report.html``: one self-contained page of what exists so far."""
        return report.report(self)

    def steer(self) -> Path:
        """Write ``steer.html``: sliders, with the optimum solved anew in the browser."""
        return report.steer(self)

    @property
    def swarm(self) -> Swarm:
        """The runs this study trains, how they are chosen, and what they cost."""
        return Swarm(self)

    def template(self) -> RunSpec:
        """A run of the reference mixture, as study.yaml describes it."""
        return templates.template(self)

    def verification_specs(self, seeds: int | None = None) -> dict[tuple[str, int], RunSpec]:
        """Runs of each arm with paired seeds: ``{(arm, seed): spec}``."""
        return verify.Verifier(self).specs(seeds)

    def verification(self) -> Verification | None:
        """The verification of today's recipe, or None; that of an earlier recipe stays in the ledger."""
        return freshness.verification(self)

    def runs_of_one_size(self) -> Observations:
        """What a law of mixtures alone is fitted to; see :func:`mixlaw.study.runs.runs_of_one_size`."""
        return runs.runs_of_one_size(self)

    def fitted_to(self) -> str:
        """Which runs the law explains, in words; empty where it is all of them."""
        return runs.fitted_to(self)

    def equal_tokens_text(self) -> str:
        """How experts and mixtures predict at equal training tokens, in words; empty where there are not both."""
        return fit.equal_tokens_text(self)

    def merged_losses(self, mixture: Mapping[str, float]) -> dict[str, float]:
        """Validation losses of the experts' weights averaged with a mixture as coefficients."""
        return experts.merged_losses(self, mixture)

    def evidence(self) -> Evidence:
        """Whether mixtures rank alike at the sizes that were run."""
        return optimize.evidence(self)

    def predict(self, mixture: Mixture | Mapping[str, float]) -> dict[str, Prediction]:
        """Predicted loss of each validation set for a mixture."""
        return fit.predict(self, mixture)

    def frontier(self, sets: Sequence[str], num: int = 200) -> Any:
        """Pareto-optimal mixtures for two or more validation sets."""
        return optimize.frontier(self, sets, num)

    def facts(self) -> ReportFacts:
        """Everything the study holds so far, as the report shows it."""
        return report.facts(self)

    def stale(self) -> dict[str, str]:
        """``{verb: why what it wrote no longer holds}``."""
        return freshness.stale(self)

    def unsealed(self) -> str:
        """Which files carry no checksum, in words; empty where all do."""
        return freshness.unsealed(self)

    def status(self) -> list[tuple[str, bool, str]]:
        """``(verb, done, detail)`` in order."""
        return progress.status(self)

    def following(self) -> str | None:
        """The verb that comes next, None where everything is done."""
        return progress.following(self)
