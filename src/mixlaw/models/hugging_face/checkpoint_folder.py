"""A checkpoint folder in the format of Hugging Face: config.json, safetensors files, and a tokenizer.json.

Everything but the weights themselves is read and checked without torch: what the architecture is, which tensors the
files hold, in which shapes and types, and whether they are as long as they say. Pickle files are never opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mixlaw.data.seams import FAMILIES
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.hashing import content_hash
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.hugging_face.families.contract import Family
from mixlaw.models.hugging_face.fields import Fields

__all__ = ["CheckpointFolder", "config_of", "family_of"]

_TYPES = {"F32": 4, "F16": 2, "BF16": 2}
"""Types of numbers that fp32 holds exactly, with their bytes."""

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor stands: its file, type and shape."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def family_of(model_type: Any, where: str) -> Family:
    """The family that a config.json names.

    Raises:
        ConfigError: it is not supported; lists those that are.
    """
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ConfigError(
            f"{where}: model_type {model_type!r} is not supported; supported are {', '.join(FAMILIES.names())}."
            f"{did_you_mean(str(model_type), FAMILIES.names())}"
        )
    found: Family = FAMILIES[model_type]
    return found


def config_of(values: Mapping[str, Any], where: str) -> tuple[DecoderConfig, dict[str, Any]]:
    """The architecture that the content of a config.json describes, and the part of it that says so.

    Raises:
        ConfigError: a family, or a field of one, that is not supported.
        DataError: a field is missing or no sound value.
    """
    if values.get("quantization_config"):
        raise ConfigError(f"{where}: quantised weights are not supported. Use the unquantised checkpoint.")
    family = family_of(values.get("model_type"), where)
    fields = Fields(values, where)
    try:
        config = family.config(fields)
    except ConfigError as error:  # numbers that do not go together are told by the architecture, which knows no file
        raise ConfigError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    fields.finish()
    return config, {"model_type": values["model_type"], **fields.used}


class CheckpointFolder:
    """One checkpoint, checked but not loaded.

    Args:
        path: the folder.

    Raises:
        ConfigError: an architecture, or something in it, that is not supported; only pickle files.
        DataError: files are missing, damaged or too short; tensors are missing, too many, or of another shape or type.

    Example:
        >>> CheckpointFolder("no such folder")
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: There is no checkpoint in 'no such folder': it has no config.json. ...
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise DataError(
                f"{str(path)!r} is a file, and a checkpoint is a folder with config.json, safetensors files and "
                f"tokenizer.json. Give the folder, such as {str(self.path.parent)!r}, or a file that ends in .gguf."
            )
        if not (self.path / "config.json").is_file():
            raise DataError(
                f"There is no checkpoint in {str(path)!r}: it has no config.json. Give the folder with config.json, "
                f"safetensors files and tokenizer.json."
            )
        self.config, self.fields = config_of(_json(self.path / "config.json"), str(self.path / "config.json"))
        self.start_token = _start_token(self.tokenizer_file)
        """Id of the token that the folder's tokenizer puts before every text; None where it puts none."""
        self.config = replace(self.config, start_token=self.start_token)
        self._held = family_of(self.fields["model_type"], "").tensors(self.config)
        self._tensors = self._checked(self._listed())

    @cached_property
    def hash(self) -> str:
        """Content hash of the architecture, the weights' files and the tokenizer."""
        files = sorted({tensor.file for tensor in self._tensors.values()})
        return content_hash(
            {
                "config": self.fields,
                "weights": {file.name: _sha256(file) for file in files},
                "tokenizer": _sha256(self.tokenizer_file) if self.tokenizer_file else "",
            }
        )

    @property
    def tokenizer_file(self) -> Path | None:
        """The tokenizer.json that says what the model's tokens mean; None where the folder has none."""
        path = self.path / "tokenizer.json"
        return path if path.is_file() else None

    def weights(self) -> dict[str, Any]:
        """fp32 tensors by the names of :meth:`DecoderConfig.shapes`.

        Raises:
            DataError: a weight that is not finite, or a file that cannot be read.
            MissingExtraError: torch or safetensors is not installed.
        """
        from mixlaw.models.hugging_face.tensors import read, split

        found: dict[str, Any] = {}
        tied: dict[str, Any] = {}  # a second copy of the embedding
        for file in sorted({tensor.file for tensor in self._tensors.values()}):
            for name, values in read(file, [n for n, t in self._tensors.items() if t.file == file]):
                if name in self._held:
                    found |= split(values, self._held[name], self.config)
                else:
                    tied[name] = values
        for name, values in tied.items():
            if not bool((values == found["embedding"]).all()):
                raise DataError(
                    f"{self.path}: {name} differs from the embedding, and config.json says that the two are one "
                    f"(tie_word_embeddings). Set tie_word_embeddings to false if the model was trained with both."
                )
        return found

    # ---- checks --------------------------------------------------------------------------------------
    def _files(self) -> list[Path]:
        if (self.path / _INDEX).is_file():
            content = _json(self.path / _INDEX).get("weight_map")
            if not isinstance(content, dict) or not content:
                raise DataError(f"{self.path / _INDEX} has no weight_map of tensors to files. Download it again.")
            files = sorted({str(file) for file in content.values()})
            outside = [file for file in files if Path(file).name != file]
            if outside:
                raise DataError(
                    f"{self.path / _INDEX} names {outside[0]!r}, which is no file of this folder. Download it again."
                )
            missing = [file for file in files if not (self.path / file).is_file()]
            if missing:
                raise DataError(
                    f"{self.path} lacks {', '.join(missing)} of the {len(files)} files that {_INDEX} names. Download "
                    f"the rest."
                )
            return [self.path / file for file in files]
        if (self.path / _WEIGHTS).is_file():
            return [self.path / _WEIGHTS]
        pickles = sorted(p.name for p in self.path.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        if pickles:
            raise ConfigError(
                f"{self.path} has its weights as {', '.join(pickles[:3])}. That is pickle, which can run any program "
                f"when it is opened, so mixlaw never does. Save the model as safetensors with transformers "
                f"(`save_pretrained`), where you trust the file."
            )
        raise DataError(
            f"{self.path} has neither {_WEIGHTS} nor {_INDEX}, so there are no weights. Download the model's "
            f"safetensors files into it."
        )

    def _listed(self) -> dict[str, _Tensor]:
        """All tensors of all files."""
        found: dict[str, _Tensor] = {}
        for file in self._files():
            for name, tensor in _header(file).items():
                if name in found:
                    raise DataError(f"{name!r} is in {found[name].file.name} and in {file.name} of {self.path}.")
                found[name] = tensor
        return found

    def _checked(self, listed: dict[str, _Tensor]) -> dict[str, _Tensor]:
        """The tensors that are to be read, where all of the architecture are there and nothing else is."""
        family = family_of(self.fields["model_type"], "")
        # `lm_head` is what newer versions of transformers call every unembedding, and what a tied one is kept under.
        output = next((theirs for theirs, ours in self._held.items() if ours == ("unembedding",)), "lm_head.weight")
        if output not in listed and "lm_head.weight" in listed:
            self._held = {("lm_head.weight" if k == output else k): v for k, v in self._held.items()}
            output = "lm_head.weight"
        shapes, wanted = self.config.shapes(), {}
        for theirs, ours in self._held.items():
            first = shapes[ours[0]]
            wanted[theirs] = (sum(shapes[name][0] for name in ours), *first[1:])
        tied = {"lm_head.weight", "embed_out.weight"} if self.config.tie_embeddings else set()
        ignored = re.compile(family.ignored)
        missing = [name for name in wanted if name not in listed]
        extra = [n for n in listed if n not in wanted and n not in tied and not ignored.search(n)]
        if missing or extra:
            raise DataError(
                f"{self.path} does not hold the tensors of its config.json ({family.architecture}): "
                + "; ".join(
                    f"{what} are {', '.join(names[:3])}{f' and {len(names) - 3} others' if len(names) > 3 else ''}"
                    for what, names in (("missing", missing), ("too many", extra))
                    if names
                )
                + ". Is it another architecture, an adapter, or an unfinished download?"
            )
        chosen = {name: listed[name] for name in listed if name in wanted or name in tied}
        for name, tensor in chosen.items():
            shape = wanted.get(name, shapes["embedding"])
            if tensor.shape != shape:
                raise DataError(
                    f"{tensor.file}: {name} has shape {tensor.shape}, and config.json says {shape}. Are both of the "
                    f"same model?"
                )
            if tensor.dtype not in _TYPES:
                raise DataError(
                    f"{tensor.file}: {name} is of type {tensor.dtype}; {', '.join(_TYPES)} can be read. Convert it "
                    f"where it came from."
                )
        return chosen


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}. Download it again.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(content).__name__}. Download it again.")
    return content


def _header(file: Path) -> dict[str, _Tensor]:
    """What a safetensors file says it holds, where it is as long as that takes."""
    damaged = f"{file} is not a whole safetensors file"
    size = file.stat().st_size
    with open(file, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > size - 8:
            header_size = f"its header alone should have {length}" if size >= 8 else "no such file is that short"
            raise DataError(f"{damaged}: it has {size} bytes, and {header_size}. Download it again.")
        try:
            header = json.loads(handle.read(length))
            tensors = {name: value for name, value in header.items() if name != "__metadata__"}
            found = {n: _Tensor(file, str(v["dtype"]), tuple(map(int, v["shape"]))) for n, v in tensors.items()}
            ends = [int(v["data_offsets"][1]) for v in tensors.values()]
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            raise DataError(f"{damaged}: its header cannot be read ({error!r}). Download it again.") from None
    if (said := 8 + length + max(ends, default=0)) != size:
        raise DataError(f"{damaged}: it has {size} bytes and should have {said}. Download it again.")
    return found


def _start_token(file: Path | None) -> int | None:
    """Id of what a tokenizer puts before every text."""
    if file is None:
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
        with_it, without = (tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False))
    except Exception as error:  # the library raises plain Exception for every malformed file
        raise DataError(f"{file} is not a tokenizer the tokenizers library can read: {error}.") from error
    put = next((i for i in range(len(with_it)) if with_it[i : i + len(without)] == without), 0) if without else 0
    if put > 1:
        raise ConfigError(f"{file} puts {put} tokens before every text, {with_it[:put]}; one at most is supported.")
    return int(with_it[0]) if put else None


def _sha256(file: Path) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
