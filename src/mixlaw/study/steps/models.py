"""Models outside the design: losses of a checkpoint on the study's validation sets, and a run's model as a folder."""

from __future__ import annotations

from pathlib import Path

from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.units import bits_per_byte
from mixlaw.models.gguf_file import GGUFFile
from mixlaw.models.hugging_face import load, write_folder
from mixlaw.models.published import opened
from mixlaw.study.folder import StudyFolder
from mixlaw.train.contract import is_done
from mixlaw.train.published_start import check_tokenizer
from mixlaw.train.trained_weights import trained_weights
from mixlaw.train.validation_losses import evaluate, logits_at_once

__all__ = ["evaluate_checkpoint", "export_model"]


def evaluate_checkpoint(
    study: StudyFolder, path: str | Path, context: int | None = None
) -> dict[str, dict[str, float]]:
    """Losses of a published model on the study's validation sets, in fp32; writes nothing.

    Args:
        study: tokenised with the model's own tokenizer.
        path: a checkpoint folder with its tokenizer.json, or a GGUF file.
        context: tokens per sequence; by default ``training.context``, so that the losses are those that a run which
            continues the checkpoint measures before its first step.

    Returns:
        ``{set: {"loss": nats per token, "bits_per_byte": ...}}``; the second where the bytes are known.

    Raises:
        ConfigError: an architecture that is not supported, another tokenizer, or a context that is too long.
        DataError: not tokenised yet, or a folder that is missing or damaged.
        MissingExtraError: torch, safetensors or, for a GGUF file, gguf is not installed.
    """
    from mixlaw.tokens.loader import validation

    corpus, length = study.corpus, context or study.config.training.context
    found_model = opened(path)
    check_tokenizer(found_model, corpus.tokenizer, study.folder / "tokens" / "tokenizer.json")
    config = found_model.config
    if length > config.longest:
        raise ConfigError(
            f"The model in {path} was made for sequences of at most {config.longest} tokens, and {length} are "
            f"asked for. Lower the context."
        )
    sets = validation(corpus, study.folder / "tokens", length)
    model = found_model.load() if isinstance(found_model, GGUFFile) else load(path)
    losses = evaluate(model.decoder, sets, min(8, logits_at_once(length, config.vocab_size)))
    found = {}
    for name, loss in losses.items():
        sequences, num_bytes = sets[name]
        found[name] = {"loss": loss}
        if num_bytes:
            predicted = len(sequences) * (sequences.shape[1] - 1)
            found[name]["bits_per_byte"] = bits_per_byte(loss, predicted, num_bytes)
    return found


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

    runs = study.folder / "runs"
    found = sorted(p.name for p in runs.glob("*") if p.name.startswith(run) and p.is_dir()) if run else []
    if len(found) != 1:
        says = f"{len(found)} runs begin with it: {', '.join(found[:3])}" if found else "none begins with it"
        raise ConfigError(f"{str(run)!r} is not the id of one run in {runs}: {says}. `mixlaw design` prints the ids.")
    folder = runs / found[0]
    if not is_done(folder):
        raise DataError(f"The run {found[0]} is not done. Train it first: mixlaw train {study.folder}.")
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
