"""Models in GGUF files: quantised weights are widened to the fp32 numbers that they stand for.

Needs ``pip install 'mixlaw[gguf]'``.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.extras import require_extra
from mixlaw.models.contract import Tokenizer
from mixlaw.models.gguf_tokenizer import sentencepiece_tokenizer
from mixlaw.models.hugging_face.checkpoint_folder import config_of

if TYPE_CHECKING:
    from mixlaw.models.torch_model import TorchModel

__all__ = ["GGUFFile"]

_TOP = {"embedding": "token_embd.weight", "final_norm": "output_norm.weight", "unembedding": "output.weight"}
_BLOCK = {
    "llama": {
        "attention_norm": "attn_norm",
        "query": "attn_q",
        "key": "attn_k",
        "value": "attn_v",
        "attention_out": "attn_output",
        "mlp_norm": "ffn_norm",
        "gate": "ffn_gate",
        "up": "ffn_up",
        "mlp_out": "ffn_down",
    }
}
_BLOCK["gemma3"] = {
    **_BLOCK["llama"],
    "query_norm": "attn_q_norm",
    "key_norm": "attn_k_norm",
    "after_attention_norm": "post_attention_norm",
    "after_mlp_norm": "post_ffw_norm",
}
_FIELDS = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
}
_REFUSED = ("attn_logit_softcapping", "final_logit_softcapping", "expert_count")
_GEMMA_27B = 62
"""Layers of the one Gemma 3 whose attention scores are scaled by its width per head, and not by the head's size."""


class GGUFFile:
    """One model of a GGUF file, checked but not loaded.

    Args:
        path: the file; of the architectures ``llama`` and ``gemma3``.

    Raises:
        ConfigError: an architecture, or something in it, that is not supported.
        DataError: the file is missing or damaged, or its tensors are not those of its architecture.
        MissingExtraError: the ``gguf`` library is not installed.

    Example:
        >>> GGUFFile("gemma.gguf").load().logprobs(tokens)  # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        gguf = require_extra("gguf", "gguf")
        if not self.path.is_file():
            raise DataError(f"There is no file {str(path)!r}. Give the path of a GGUF file.")
        try:
            self._reader = gguf.GGUFReader(self.path)
        except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
            raise DataError(f"{path} is not a whole GGUF file ({error}). Download it again.") from None
        self._architecture = self._value("general.architecture")
        if self._architecture not in _BLOCK:
            raise ConfigError(
                f"{path}: the architecture {self._architecture!r} is not supported; supported are {', '.join(_BLOCK)}."
            )
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        config, self.fields = config_of(self._fields(), str(path))
        self.start_token = self._start_token()
        """Id of the token that stands before every text; None where there is none."""
        self.config = replace(config, start_token=self.start_token)
        self._names = self._checked()

    @cached_property
    def hash(self) -> str:
        """Content hash of the file."""
        with open(self.path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()[:16]

    @cached_property
    def tokens(self) -> list[str]:
        """The text of each token, by id; empty where the file has none."""
        field = self._reader.get_field("tokenizer.ggml.tokens")
        return [] if field is None else [str(token) for token in field.contents()]

    def listed(self, key: str) -> list[Any]:
        """A list of the file's metadata by its key, such as ``"tokenizer.ggml.scores"``; empty where it has none."""
        return list(self._value(key) or [])

    def check_tokenizer(self, vocabulary: dict[str, int]) -> None:
        """Refuse a tokenizer whose ids mean other text than the file's.

        Args:
            vocabulary: ids by token, added ones included.

        Raises:
            ConfigError: a token is another one, or the file has no list of them.
        """
        own = [token.replace("▁", " ") for token in self.tokens]  # converters write some blanks as blanks
        for token, number in vocabulary.items():
            if number >= len(own) or own[number] != token.replace("▁", " "):
                there = repr(own[number]) if number < len(own) else "none"
                raise ConfigError(
                    f"The tokenizer's token {number} is {token!r}, and that of {self.path} is {there}: the same ids "
                    f"mean other text. Tokenise the corpus with the tokenizer.json of this model (corpus.tokenizer)."
                )

    def tokenizer_json(self) -> str:
        """Content of the tokenizer.json that its vocabulary makes.

        Raises:
            ConfigError: the vocabulary is not SentencePiece's byte-pair encoding, so the file does not say how it cuts
                text; or it is one that a tokenizer.json cannot express.

        Example:
            >>> Path("tokenizer.json").write_text(GGUFFile("gemma.gguf").tokenizer_json())  # doctest: +SKIP
        """
        kind = self._value("tokenizer.ggml.model")
        more = ("precompiled_charsmap", "remove_extra_whitespaces")
        beyond = next((key for key in more if self._value(f"tokenizer.ggml.{key}")), None)
        if kind != "llama" or beyond is not None:
            what = f"a vocabulary of the kind {kind!r}" if kind != "llama" else f"a rule for text, {beyond},"
            raise ConfigError(
                f"{self.path} has {what} from which no tokenizer.json can be made exactly. Give the model's own "
                f"tokenizer.json (corpus.tokenizer), from where the file was made."
            )
        prefix = self._value("tokenizer.ggml.add_space_prefix")
        return sentencepiece_tokenizer(
            self.tokens,
            self.listed("tokenizer.ggml.scores"),
            self.listed("tokenizer.ggml.token_type"),
            str(self.path),
            start=self.start_token,
            unknown=self._value("tokenizer.ggml.unknown_token_id"),
            space_prefix=True if prefix is None else bool(prefix),
        )

    def load(self, tokenizer: Tokenizer | None = None, device: str = "cpu") -> TorchModel:
        """The model, in fp32.

        Args:
            tokenizer: what its tokens mean.
            device: where it computes.

        Raises:
            DataError: weights of a type that cannot be widened, or that are not finite.
            MissingExtraError: torch is not installed.
        """
        from mixlaw.models.torch_model import TorchModel

        return TorchModel(self.config, self.weights(), tokenizer, device)

    def weights(self) -> dict[str, Any]:
        """fp32 tensors by the names of :meth:`DecoderConfig.shapes`.

        Raises:
            DataError: weights of a type that cannot be widened, or that are not finite.
            MissingExtraError: torch is not installed.
        """
        torch = require_extra("torch", "train")
        gguf = require_extra("gguf", "gguf")
        weights, shapes = {}, self.config.shapes()
        for ours, theirs in self._names.items():
            tensor = self._tensors[theirs]
            try:
                numbers = gguf.dequantize(tensor.data, tensor.tensor_type)
            except NotImplementedError as error:
                raise DataError(f"{self.path}: {theirs} cannot be widened to fp32 ({error}).") from None
            values = torch.from_numpy(numbers.copy()).to(torch.float32).reshape(shapes[ours])
            if not bool(torch.isfinite(values).all()):
                raise DataError(
                    f"{self.path}: {theirs} holds numbers that are not finite (NaN or infinity). Such a model cannot "
                    f"be used: take another file of it."
                )
            weights[ours] = self._in_our_order(ours.rpartition(".")[2], values)
        return weights

    # ---- inside --------------------------------------------------------------------------------------
    def _value(self, key: str) -> Any:
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def _fields(self) -> dict[str, Any]:
        """What the file says, in the fields of a config.json."""
        kind = self._architecture
        for key in _REFUSED:
            if self._value(f"{kind}.{key}"):
                raise ConfigError(f"{self.path}: {key}={self._value(f'{kind}.{key}')!r} is not supported.")
        fields = {theirs: self._value(f"{kind}.{key}") for key, theirs in _FIELDS.items()}
        embedding = self._tensors.get(_TOP["embedding"])
        if embedding is None:
            raise DataError(f"{self.path} has no tensor {_TOP['embedding']!r}.")
        fields["vocab_size"] = int(embedding.shape[-1])
        fields["tie_word_embeddings"] = _TOP["unembedding"] not in self._tensors
        scaling = self._value(f"{kind}.rope.scaling.type")
        if scaling not in (None, "none"):
            fields["rope_scaling"] = {"type": scaling, "factor": self._value(f"{kind}.rope.scaling.factor")}
        if kind == "llama":
            return {**fields, "model_type": "llama", "sliding_window": None}
        # A file of Gemma 3 leaves out what all its sizes have in common.
        layers, width, heads = (fields[n] for n in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
        scalar = width / heads if layers == _GEMMA_27B and width and heads else fields["head_dim"]
        return {**fields, "model_type": "gemma3_text", "query_pre_attn_scalar": scalar}

    def _start_token(self) -> int | None:
        """Id of the token before every text; where the file does not say whether there is one, the usual."""
        usual = self._value("tokenizer.ggml.model") == "llama"
        said = self._value("tokenizer.ggml.add_bos_token")
        start = self._value("tokenizer.ggml.bos_token_id")
        return int(start) if start is not None and (usual if said is None else said) else None

    def _checked(self) -> dict[str, str]:
        """Names of the file's tensors by ours, where all are there in the right shapes and nothing else is."""
        block, names = _BLOCK[self._architecture], {}
        for ours in self.config.shapes():
            _, _, rest = ours.partition(".")
            layer, _, name = rest.partition(".")
            names[ours] = _TOP[ours] if not rest else f"blk.{layer}.{block[name]}.weight"
        missing = [theirs for theirs in names.values() if theirs not in self._tensors]
        extra = sorted({*self._tensors} - {*names.values()})
        if missing or extra:
            raise DataError(
                f"{self.path} does not hold the tensors of a {self._architecture} model: missing are "
                f"{missing[:3] or 'none'}, too many are {extra[:3] or 'none'}."
            )
        for ours, shape in self.config.shapes().items():
            there = tuple(int(size) for size in reversed(self._tensors[names[ours]].shape))
            if there != shape:
                raise DataError(f"{self.path}: {names[ours]} has shape {there}, and the file's fields say {shape}.")
        return names

    def _in_our_order(self, name: str, values: Any) -> Any:
        """Weights as a checkpoint folder has them."""
        if self._architecture == "gemma3":  # files hold the whole gain of a norm, folders what it has beyond 1
            return values - 1.0 if name.endswith("norm") else values
        if name not in ("query", "key"):
            return values
        # Files of Llama keep the two features that turn together side by side, folders in the two halves of a head.
        pairs = values.view(-1, self.config.head_dim // 2, 2, values.shape[-1])
        return pairs.transpose(1, 2).reshape(values.shape)
