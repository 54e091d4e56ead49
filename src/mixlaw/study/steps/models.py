"""Models after training, or from elsewhere: their losses and scores, and a run's model as a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.units import bits_per_byte
from mixlaw.models.architecture import architecture
from mixlaw.models.contract import Tokenizer
from mixlaw.models.gguf_file import GGUFFile
from mixlaw.models.hugging_face import load, write_folder
from mixlaw.models.published import opened
from mixlaw.study.evaluators import evaluators_of
from mixlaw.study.folder import StudyFolder
from mixlaw.train.contract import is_done
from mixlaw.train.published_start import check_tokenizer
from mixlaw.train.run_evaluators import measure
from mixlaw.train.trained_weights import trained_weights
from mixlaw.train.validation_losses import evaluate, logits_at_once

if TYPE_CHECKING:
    from mixlaw.models.torch_model import TorchModel

__all__ = ["evaluate_checkpoint", "evaluate_tasks", "export_model"]


def evaluate_checkpoint(
    study: StudyFolder, path: str | Path, context: int | None = None
) -> dict[str, dict[str, float]]:
    """Losses of a model on the study's validation sets, in fp32; writes nothing.

    Args:
        study: tokenised with the model's own tokenizer.
        path: a checkpoint folder with its tokenizer.json, a GGUF file, or the id of a finished run of the study (or
            the first digits of it that no other run has).
        context: tokens per sequence; by default that of the run, or ``training.context``, so that the losses are those
            that a run which continues the checkpoint measures before its first step.

    Returns:
        ``{set: {"loss": nats per token, "bits_per_byte": ...}}``; the second where the bytes are known.

    Raises:
        ConfigError: an architecture that is not supported, another tokenizer, a context that is too long, or no such
            run.
        DataError: not tokenised yet, a folder that is missing or damaged, or a run that is not done or whose weights
            were not kept.
        MissingExtraError: torch, safetensors or, for a GGUF file, gguf is not installed.
    """
    from mixlaw.tokens.loader import validation

    found_model = _found(study, path, context)
    sets = validation(study.corpus, study.folder / "tokens", found_model.context)
    model = found_model.load(None)
    at_once = logits_at_once(found_model.context, model.config.vocab_size)
    losses = evaluate(model.decoder, sets, min(8, at_once))
    found = {}
    for name, loss in losses.items():
        sequences, num_bytes = sets[name]
        found[name] = {"loss": loss}
        if num_bytes:
            predicted = len(sequences) * (sequences.shape[1] - 1)
            found[name]["bits_per_byte"] = bits_per_byte(loss, predicted, num_bytes)
    return found


def evaluate_tasks(study: StudyFolder, path: str | Path, context: int | None = None) -> Observations:
    """The study's evaluators (``evaluators:`` of study.yaml) on a model, whatever their points of a run.

    Writes ``evaluations/<name>/`` in the study's folder, in the form that ``Observations.load`` reads. What a run
    measured while it trained stays as it is, and no law and no report reads what is written here: a run that was
    evaluated afterwards is told from one that was evaluated in training by where it stands, and by its source.

    Args:
        study, path, context: as for :func:`evaluate_checkpoint`.

    Returns:
        One run (the run's id, or the name of the folder or file with the first digits of the model's hash), its values
        and items; no values where the study has no evaluators.

    Raises:
        ConfigError, DataError, MissingExtraError: see :func:`evaluate_checkpoint`; or a task's file is missing or of
            another form.
    """
    from mixlaw.tokens.tokenizer import Encoder

    evaluators = evaluators_of(study)
    if not evaluators:
        return Observations.empty()
    tokenizer = study.folder / "tokens" / "tokenizer.json"
    found = _found(study, path, context)
    model = found.load(Encoder.load(tokenizer) if tokenizer.is_file() else None)
    spec = found.spec
    name = f"{Path(path).stem}-{model.hash[:8]}" if spec is None else spec.id
    step = 0 if spec is None else spec.num_steps
    tokens = 0.0 if spec is None else float(step * spec.batch * spec.context)
    values, items = measure(evaluators, model, found.context, study.folder / "tokens", name, step, tokens)
    measured = Observations.from_records([{"run": name}], values, source="measured after training", items=items)
    measured.save(study.folder / "evaluations" / name)
    return measured


@dataclass(frozen=True)
class _Found:
    """A model that was found and checked, and is not loaded yet."""

    load: Callable[[Tokenizer | None], TorchModel]
    context: int
    spec: RunSpec | None = None


def _found(study: StudyFolder, path: str | Path, context: int | None) -> _Found:
    corpus = study.corpus
    if not Path(path).exists() and Path(path).name == str(path) and Path(path).suffix != ".gguf":
        try:
            folder = _run_folder(study, str(path))
        except ConfigError as error:
            raise ConfigError(f"There is no file or folder {str(path)!r}, and {error}") from None
        spec = RunSpec.load(folder / "spec.json")

        def load_run(tokenizer: Tokenizer | None) -> TorchModel:
            from mixlaw.models.torch_model import TorchModel

            architecture_of_run = architecture(spec.model, corpus.vocab_size)
            return TorchModel(architecture_of_run, trained_weights(folder), tokenizer)

        return _Found(load_run, context or spec.context, spec)
    length = context or study.config.training.context
    found = opened(path)
    check_tokenizer(found, corpus.tokenizer, study.folder / "tokens" / "tokenizer.json")
    if length > found.config.longest:
        raise ConfigError(
            f"The model in {path} was made for sequences of at most {found.config.longest} tokens, and {length} are "
            f"asked for. Lower the context."
        )
    return _Found(found.load if isinstance(found, GGUFFile) else lambda tokenizer: load(path, tokenizer), length)


def _run_folder(study: StudyFolder, run: str) -> Path:
    """The folder of a finished run.

    Raises:
        ConfigError: no such run, or several.
        DataError: the run is not done.
    """
    runs = study.folder / "runs"
    found = sorted(p.name for p in runs.glob("*") if p.name.startswith(run) and p.is_dir()) if run else []
    if len(found) != 1:
        says = f"{len(found)} runs begin with it: {', '.join(found[:3])}" if found else "none begins with it"
        raise ConfigError(f"{str(run)!r} is not the id of one run in {runs}: {says}. `mixlaw design` prints the ids.")
    if not is_done(runs / found[0]):
        raise DataError(f"The run {found[0]} is not done. Train it first: mixlaw train {study.folder}.")
    return runs / found[0]


def export_model(study: StudyFolder, run: str, path: str | Path) -> None:
    """Write the model of a finished run, with the study's tokenizer, as a folder that ``transformers`` loads.

    Args:
        study: which trained it.
        run: the run's id, or the first digits of it that no other run has.
        path: a folder that is not there, or empty.

    Raises:
        ConfigError: no such run, several, or the folder holds something.
        DataError: the run is not done, or its weights were not kept.
        MissingExtraError: torch or safetensors is not installed.
    """
    from mixlaw.tokens.tokenizer import Encoder

    folder = _run_folder(study, run)
    spec, corpus = RunSpec.load(folder / "spec.json"), study.corpus
    tokenizer = study.folder / "tokens" / "tokenizer.json"
    encoder = Encoder.load(tokenizer) if tokenizer.is_file() else None
    model = dict(spec.model) if "config" in spec.model else {**spec.model, "vocab_size": corpus.vocab_size}
    write_folder(
        path,
        model,
        trained_weights(folder),
        context=spec.context,
        tokenizer=None if encoder is None else encoder.text,
        end=None if encoder is None else encoder.end,
    )
