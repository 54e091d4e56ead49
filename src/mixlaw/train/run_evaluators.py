"""What a run measures beside its validation losses: the evaluators of its spec, at their points of the run.

What is measured at a step lies in ``evaluations/step-<step>`` in the run's folder until the run is done. A run that was
cut off and continues from an earlier checkpoint measures again what came after it, and writes over what was there; so
nothing is there twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mixlaw.data.corpus import Corpus
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.data.seams import EVALUATORS
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.yaml_text import dump_yaml, load_yaml
from mixlaw.text.records import read_records, records_hash
from mixlaw.train.claim import Claim

if TYPE_CHECKING:
    from mixlaw.models.contract import Model

__all__ = ["RunEvaluators", "check_evaluators", "measure"]

Rows = list[dict[str, Any]]


def check_evaluators(spec: RunSpec, corpus: Corpus, tokens_root: str | Path) -> None:
    """Everything that can be wrong with a spec's evaluators before it trains.

    Raises:
        ConfigError: an unknown evaluator or option, no tasks, a task of a validation set's name, or a task that one
            evaluator is to measure twice.
        DataError: there is no tokenizer, or a task's file is missing, changed, or of another form.

    Example:
        >>> from mixlaw.data.mixture import Schedule
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=1000, evaluators=[{"name": "minimal_pairs"}])
        >>> check_evaluators(spec, Corpus.declared({"web": 9_000}, source="example"), "study/tokens")
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: The evaluator 'minimal_pairs' has nothing to measure: give it tasks, ...
    """
    sets, seen = {v.name for v in corpus.validation}, set[tuple[str, str]]()
    for evaluator in spec.evaluators:
        name = evaluator["name"]
        EVALUATORS.make(name, evaluator["options"])
        if not evaluator.get("tasks"):
            raise ConfigError(
                f"The evaluator {name!r} has nothing to measure: give it tasks, {{target: path of a file of records}}."
            )
        for target in evaluator["tasks"]:
            if target in sets:
                raise ConfigError(
                    f"The task {target!r} of the evaluator {name!r} has the name of a validation set, so their values "
                    f"could not be told apart. Give it another name."
                )
            if (name, target) in seen:
                raise ConfigError(
                    f"The evaluator {name!r} is to measure the task {target!r} twice. Where its options differ, give "
                    f"the task another name, for example {target}_5_shots."
                )
            seen.add((name, target))
        _prepared(evaluator, spec.context, tokens_root)


def _prepared(evaluator: Mapping[str, Any], context: int, tokens_root: str | Path) -> dict[str, list[Any]]:
    """``{target: items}`` of an evaluator's tasks."""
    encoder = Path(tokens_root) / "tokenizer.json"
    if not encoder.is_file():
        raise DataError(
            f"The evaluator {evaluator['name']!r} scores texts, and there is no {encoder}: the corpus was given as "
            f"tokens. Give their tokenizer (corpus.tokenizer), or leave evaluators out."
        )
    found = {}
    for target, file in evaluator["tasks"].items():
        options = dump_yaml(dict(evaluator["options"]))
        where = f"The task {target!r} of the evaluator {evaluator['name']!r}"
        try:
            found[target] = _items(
                evaluator["name"], options, file["path"], file["hash"], _stamp(file["path"]), context, str(encoder)
            )
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    return found


@lru_cache(maxsize=128)
def _items(name: str, options: str, path: str, expected: str, stamp: Any, context: int, tokenizer: str) -> list[Any]:
    """Items of a file: read, checked and prepared once in a process, for all runs and checkpoints."""
    records = read_records(path)
    found = records_hash(records)
    if found != expected:
        raise DataError(
            f"{path} holds other records than when the run was designed (content {found}, not {expected}). Restore it, "
            f"or design the runs again in a new folder."
        )
    evaluator = EVALUATORS.make(name, load_yaml(options, "options"))
    try:
        return list(evaluator.prepare(records, _encoder(tokenizer), context))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _stamp(path: str) -> tuple[int, int] | None:
    file = Path(path)
    return (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else None


@lru_cache(maxsize=2)
def _encoder(path: str) -> Any:
    from mixlaw.tokens.tokenizer import Encoder

    return Encoder.load(path)


def measure(
    evaluators: Any, model: Model, context: int, tokens_root: str | Path, run: str, step: int, tokens: float
) -> tuple[Rows, Rows]:
    """``(values, items)`` of evaluators as a spec has them, as ``Observations.from_records`` takes them.

    Args:
        evaluators: ``[{name, options, tasks}]``.
        model: with the tokenizer of the study.
        context: tokens that the model sees at once.
        tokens_root: folder with ``tokenizer.json``.
        run, step, tokens: what the rows say of the model.

    Raises:
        DataError, ConfigError: see :func:`check_evaluators`.

    Example:
        >>> import tempfile, json
        >>> from mixlaw.models.architecture import architecture, build
        >>> from mixlaw.models.torch_model import TorchModel
        >>> from mixlaw.tokens.tokenizer import train_tokenizer
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "tokenizer.json").write_text(train_tokenizer(["the cat sat"], 260))
        >>> pair = {"sentence_good": "the cat sat", "sentence_bad": "the sat cat"}
        >>> _ = (folder / "pairs.jsonl").write_text(json.dumps(pair))
        >>> task = {"path": str(folder / "pairs.jsonl"), "hash": records_hash([pair])}
        >>> model = TorchModel(config := architecture({"preset": "d64"}, 260), build(config).state_dict())
        >>> asked = [{"name": "minimal_pairs", "options": {}, "tasks": {"pairs": task}}]
        >>> values, items = measure(asked, model, context=256, tokens_root=folder, run="a", step=1, tokens=2048.0)
        >>> values[0]["metric"], values[0]["num_items"], items[0]["item"]
        ('accuracy', 1, '0')
    """
    values: Rows = []
    items: Rows = []
    for evaluator in evaluators:
        targets = _prepared(evaluator, context, tokens_root)
        hashes = {target: file["hash"] for target, file in evaluator["tasks"].items()}
        made = EVALUATORS.make(evaluator["name"], evaluator["options"])
        more, further = made(model, targets).records(run, step)
        values += [{"tokens": tokens, "target_hash": _hash_of(row["target"], hashes), **row} for row in more]
        items += further
    return values, items


def _hash_of(target: str, hashes: Mapping[str, str]) -> str | None:
    """Of a task, or of the task that a group ``task/group`` belongs to."""
    return next((digest for task, digest in hashes.items() if target == task or target.startswith(f"{task}/")), None)


class RunEvaluators:
    """The evaluators of one run while it trains.

    Args:
        spec: the run.
        folder: the run's own.
        tokens_root: folder with ``tokenizer.json``.
        config: the model's architecture.
        claim: by which the run's process publishes.

    Example:
        >>> import tempfile
        >>> from mixlaw.data.mixture import Schedule
        >>> pairs = {"name": "minimal_pairs", "at": [0.5, 1.0]}
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=204_800, evaluators=[pairs])
        >>> folder = Path(tempfile.mkdtemp())
        >>> list(RunEvaluators(spec, folder, "study/tokens", None, Claim(folder)).due)
        [50, 100]
    """

    def __init__(self, spec: RunSpec, folder: Path, tokens_root: str | Path, config: Any, claim: Claim) -> None:
        self.spec, self.folder, self.tokens_root, self.config, self.claim = spec, folder, tokens_root, config, claim
        self.due: dict[int, list[Mapping[str, Any]]] = {}
        """The evaluators after each step that has any."""
        for evaluator in spec.evaluators:
            for step in sorted({max(1, round(fraction * spec.num_steps)) for fraction in evaluator["at"]}):
                self.due.setdefault(step, []).append(evaluator)

    def measure(self, step: int, decoder: Any) -> str:
        """Run what is due after a step, and keep what it measured.

        Returns:
            In words what was measured; empty where nothing is due.
        """
        if step not in self.due:
            return ""
        from mixlaw.models.lora import whole_weights
        from mixlaw.models.torch_model import TorchModel

        spec = self.spec
        device = str(next(decoder.parameters()).device)
        encoder = _encoder(str(Path(self.tokens_root) / "tokenizer.json"))
        model = TorchModel(self.config, whole_weights(decoder), encoder, device)
        tokens = float(step * spec.batch * spec.context)
        rows = measure(self.due[step], model, spec.context, self.tokens_root, spec.id, step, tokens)
        with self.claim.publishing():
            Observations.from_records([{"run": spec.id}], rows[0], items=rows[1]).save(self._place(step))
        shown = [f"{row['target']} {row['metric']} {row['value']:.4f}" for row in rows[0] if "/" not in row["target"]]
        return ", ".join(shown)

    def added_to(self, observations: Observations, step: int) -> Observations:
        """The run's observations, with what its evaluators measured until it ended after ``step``."""
        diverged = observations.runs["status"].to_pylist() == ["diverged"]
        found = [Observations.load(self._place(at)) for at in sorted(self.due) if at < step + (not diverged)]
        if not found:
            return observations
        values, items = (
            pa.concat_tables([getattr(part, what) for part in (observations, *found)]) for what in ("values", "items")
        )
        return Observations(observations.runs, values, items, observations.columns)

    def clear(self) -> None:
        """Remove what is in the run's observations now."""
        shutil.rmtree(self.folder / "evaluations", ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self.folder / "evaluations" / f"step-{step}"
