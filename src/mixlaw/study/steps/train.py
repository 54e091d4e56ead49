"""Training of runs: writes ``runs/<run-id>/``, and ``failures.json`` with the runs that failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mixlaw.data import formats
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.data.seams import EXECUTORS, TRAINERS
from mixlaw.errors import RunError
from mixlaw.kit.store import folder_name
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import need
from mixlaw.study.progress import check_trainable
from mixlaw.study.steps.experts import score_experts
from mixlaw.train.training_task import TrainingTask

__all__ = ["train", "trainer"]


def train(
    study: StudyFolder, specs: Sequence[RunSpec] | None = None, what: str = "train", verify: bool = False
) -> dict[str, RunError]:
    """Train the designed runs (or ``specs``) that are not done yet.

    Args:
        what: what the progress is called.
        verify: compare all token files with their hashes first; each run compares some blocks of them anyway.

    Returns:
        The failures by run id, which are also in ``failures.json``.

    Raises:
        ConfigError: there is no text to train on.
        DataError: nothing designed yet, text or settings changed since, or token files that are damaged.
    """
    wanted = study.specs() if specs is None else specs
    check_trainable(study)
    need(study, "tokenize", "design")
    if verify:
        _check_tokens(study)
    failures = {spec.id: result for spec, result in _map(study, wanted, what) if isinstance(result, RunError)}
    ids = {spec.id for spec in wanted}
    earlier = formats.read(study.store, "failures.json", "failures") if study.store.exists("failures.json") else {}
    others = {k: v for k, v in earlier.items() if k not in ids}
    formats.write(study.store, "failures.json", "failures", {**others, **{k: str(v) for k, v in failures.items()}})
    if specs is None:
        score_experts(study)
    return failures


def trainer(study: StudyFolder) -> Any:
    """The configured trainer, bound to this study's corpus and tokens.

    Raises:
        ConfigError: an unknown trainer, or options that it does not have.
        DataError: not tokenised yet.
    """
    t = study.config.training
    options = t.trainer_options()
    return TRAINERS[t.trainer](corpus=study.corpus, tokens_root=study.folder / "tokens", **options)


def _check_tokens(study: StudyFolder) -> None:
    from mixlaw.tokens.shards import check_tokens

    files = [(d.name, "train") for d in study.corpus.domains] + [(v.name, "val") for v in study.corpus.validation]
    for done, (name, part) in enumerate(files):
        study.progress("verify tokens", done, len(files))
        check_tokens(study.folder / "tokens" / folder_name(name), part, everything=True)
    study.progress("verify tokens", len(files), len(files))


def _map(study: StudyFolder, specs: Sequence[RunSpec], what: str) -> Iterator[tuple[RunSpec, Observations | RunError]]:
    chosen = study.config.executor
    executor = EXECUTORS.make(chosen.name, {**chosen.options, "workers": chosen.workers})
    task = TrainingTask(trainer(study))
    steps = {spec.id: 0 for spec in specs}
    total = sum(spec.num_steps for spec in specs)

    def progress(spec: RunSpec, step: int, num_steps: int) -> None:
        steps[spec.id] = step
        study.progress(what, sum(steps.values()), total)

    for spec, result in executor.map(task, specs, lambda spec: spec.id, study.folder / "runs", progress=progress):
        steps[spec.id] = spec.num_steps
        study.progress(what, sum(steps.values()), total)
        yield spec, result
