"""What all runs of a study have in common: the run that ``study.yaml`` describes, and one per further size."""

from __future__ import annotations

import numpy as np

from mixlaw.data import formats
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.data.seams import TRAINERS
from mixlaw.design.trunk import trunk_of
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.models.hugging_face import starting_from
from mixlaw.study.config import DesignConfig
from mixlaw.study.evaluators import evaluators_of
from mixlaw.study.folder import StudyFolder
from mixlaw.study.seeds import SEEDS
from mixlaw.train.contract import version_of

__all__ = ["made_with", "template", "templates", "trunk_template", "unique_tokens"]


def template(study: StudyFolder) -> RunSpec:
    """A run of the reference mixture with the study's model and training; the swarm varies its schedule.

    Raises:
        ConfigError: an unknown trainer, or a start that is not supported.
        DataError: not tokenised yet, or a start or the file of a task that is missing or damaged.
    """
    corpus, t = study.corpus, study.config.training
    published = {} if t.start is None else starting_from(study.resolve([t.start])[0])
    points = np.linspace(0, 1, t.evaluations + 1)[1:]
    return RunSpec(
        Schedule.constant(study.reference),
        tokens=t.tokens,
        **{"model": t.model, **published},
        update=t.update,
        optimizer=t.optimizer,
        learning_rate=t.learning_rate,
        batch=t.batch,
        context=t.context,
        tokenizer=corpus.tokenizer,
        corpus_hash=corpus.hash,
        evaluation_hash=corpus.evaluation_hash,
        unique_tokens=unique_tokens(study, corpus, t.tokens),
        evaluate_at=tuple(points.tolist()),
        trainer=t.trainer,
        trainer_version=version_of(TRAINERS[t.trainer], t.trainer_options()),
        evaluators=tuple(evaluators_of(study)),
    )


def templates(study: StudyFolder, settings: DesignConfig | None = None) -> list[RunSpec]:
    """The template, and one per further size of ``settings`` (by default those that the design was made with)."""
    base, corpus = template(study), study.corpus
    sizes = (settings or made_with(study) or study.config.design).sizes
    return [
        base,
        *(
            base.replace(
                tokens=size.tokens,
                model=size.model,
                learning_rate=size.learning_rate or base.learning_rate,
                optimizer=size.optimizer or base.optimizer,
                batch=size.batch or base.batch,
                unique_tokens=unique_tokens(study, corpus, size.tokens),
            )
            for size in sizes
        ),
    ]


def trunk_template(study: StudyFolder, settings: DesignConfig) -> RunSpec | None:
    """The run that the swarm or the experts of ``settings`` start from; None where they start from scratch.

    Raises:
        ConfigError: its mixture names a domain that the corpus lacks, or its share leaves somebody without a step.
    """
    trunk, corpus = settings.trunk, study.corpus
    if trunk is None:
        return None
    if isinstance(trunk.mixture, dict):
        for name in trunk.mixture:
            if name not in corpus.names:
                raise ConfigError(f"design.trunk.mixture names {name!r}.{did_you_mean(name, corpus.names)}")
        mixture = Mixture({name: trunk.mixture.get(name, 0.0) for name in corpus.names})
    else:
        mixture = corpus.natural if trunk.mixture == "natural" else Mixture.uniform(corpus.names)
    return trunk_of(template(study), trunk.share, mixture, seed=SEEDS * settings.seed)


def made_with(study: StudyFolder) -> DesignConfig | None:
    """The settings that ``design.json`` was made with; None where nothing is designed, or they were not noted."""
    if not study.store.exists("design.json"):
        return None
    content = formats.read(study.store, "design.json", "design")
    if content.get("design") is None:
        return None
    return formats.made("design", study.folder / "design.json", lambda c: DesignConfig(**c["design"]), content)


def unique_tokens(study: StudyFolder, corpus: Corpus, tokens: int) -> dict[str, int]:
    """Simulated epoching: shrink every domain by proxy tokens / target tokens, so that epochs agree."""
    share = tokens / study.budget.tokens
    if not study.config.training.simulated_epoching or share >= 1:
        return {}
    return {name: max(1, round(count * share)) for name, count in corpus.unique_tokens.items()}
