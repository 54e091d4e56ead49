"""What must hold before a run continues a published model; without torch, so that a design can refuse it early."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError
from mixlaw.models.gguf_file import GGUFFile
from mixlaw.models.hugging_face.checkpoint_folder import CheckpointFolder
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.proxy.presets import ModelConfig
from mixlaw.models.published import opened
from mixlaw.tokens.tokenizer import Encoder

__all__ = ["check_tokenizer", "checked_start"]


def checked_start(
    spec: RunSpec, config: ModelConfig | DecoderConfig, tokenizer: str, tokenizer_file: Path | None = None
) -> CheckpointFolder | GGUFFile:
    """The folder or GGUF file that ``spec`` starts from.

    Args:
        spec: its start is ``{"checkpoint": path, "hash": ..., ...}``.
        config: of its model.
        tokenizer: content hash of the corpus's tokenizer.
        tokenizer_file: the corpus's tokenizer.json, for a GGUF file, which lists its tokens only.

    Raises:
        ConfigError: the folder's content, architecture or tokenizer is another; or Adam moments are asked of it.
        DataError: the folder is missing or damaged.

    Example:
        >>> from mixlaw import Schedule
        >>> from mixlaw.models.architecture import architecture
        >>> start = {"checkpoint": "no such folder", "hash": "0123456789abcdef"}
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=1000, start=start, stage="continue")
        >>> checked_start(spec, architecture(spec.model, 50), tokenizer="f456c09efbd54a28")
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: There is no checkpoint in 'no such folder': it has no config.json. ...
    """
    assert isinstance(spec.start, Mapping)
    path = spec.start["checkpoint"]
    folder = opened(path)
    if folder.hash != spec.start["hash"]:
        raise ConfigError(
            f"The run starts from the checkpoint {path!r} with the content {spec.start['hash']}, and what is there now "
            f"is {folder.hash}. Restore it, or design again from what is there."
        )
    if folder.config != config:
        raise ConfigError(
            f"The run's model is not the one of {path!r}, which is {folder.config.settings()}. Take both from "
            f"mixlaw.models.hugging_face.starting_from({path!r})."
        )
    if spec.start.get("moments") == "keep":
        raise ConfigError(
            f"The run starts from {path!r} with moments='keep', and a published model comes without Adam moments. Set "
            f"moments to 'reset'."
        )
    check_tokenizer(folder, tokenizer, tokenizer_file)
    return folder


def check_tokenizer(
    folder: CheckpointFolder | GGUFFile, tokenizer: str, tokenizer_file: str | Path | None = None
) -> None:
    """The corpus was tokenised with the model's own tokenizer.

    Args:
        folder: of the model, or its GGUF file.
        tokenizer: content hash of the corpus's tokenizer.
        tokenizer_file: the corpus's tokenizer.json; only a GGUF file needs it.

    Raises:
        ConfigError: it was another one, or the folder does not say which is its own.

    Example:
        >>> import tempfile
        >>> from mixlaw.models.architecture import architecture, build
        >>> from mixlaw.models.hugging_face import write_folder
        >>> from mixlaw.tokens.tokenizer import train_tokenizer
        >>> own = Encoder(train_tokenizer(["a hill, a plain"], 257))
        >>> model = {"width": 16, "layers": 1, "heads": 2, "vocab_size": own.vocab_size}
        >>> weights = build(architecture(model)).state_dict()
        >>> with tempfile.TemporaryDirectory() as path:
        ...     write_folder(path, model, weights, context=64, tokenizer=own.text, end=own.end)
        ...     check_tokenizer(CheckpointFolder(path), own.hash)
    """
    if isinstance(folder, GGUFFile):
        if tokenizer_file is None or not Path(tokenizer_file).is_file():
            raise ConfigError(
                f"The corpus was given tokens and no tokenizer, so nobody can tell whether they are those of "
                f"{folder.path}. Give corpus.tokenizer; `mixlaw export-tokenizer {folder.path} tokenizer.json` makes "
                f"it of the file."
            )
        _same_tokens(folder, str(tokenizer_file), tokenizer)
        return
    if folder.tokenizer_file is None:
        raise ConfigError(
            f"{folder.path} has no tokenizer.json, so nobody can tell whether its tokens are those of the corpus. Put "
            f"the model's tokenizer.json there."
        )
    own = Encoder.load(folder.tokenizer_file).hash
    if not tokenizer:
        raise ConfigError(
            f"The corpus has no tokenizer, so nobody can tell whether its tokens are those of {folder.path}. Give text "
            f"(corpus.domains) and corpus.tokenizer: {folder.tokenizer_file}, then `mixlaw tokenize`."
        )
    if own != tokenizer:
        raise ConfigError(
            f"The corpus was tokenised with the tokenizer {tokenizer!r}, and {folder.path} has another, {own!r}: the "
            f"same ids mean other text. Tokenise with corpus.tokenizer: {folder.tokenizer_file}."
        )


@lru_cache(maxsize=4)
def _same_tokens(file: GGUFFile, path: str, tokenizer: str) -> None:
    """The tokenizer at ``path`` is the corpus's, and has the tokens of the file: seconds of work for a large one."""
    encoder = Encoder.load(path)
    if encoder.hash != tokenizer:
        raise ConfigError(
            f"The corpus was tokenised with the tokenizer {tokenizer!r}, and {path} is another, {encoder.hash!r}. "
            f"Tokenise again."
        )
    file.check_tokenizer(encoder.tokenizer.get_vocab(with_added_tokens=True))
