"""The fields of a config.json: each is asked for by name and kind, and what nobody asked for is reported."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, Literal, cast

from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.models.hugging_face.decoder_config import Rope

__all__ = ["Fields"]

_WITHOUT_EFFECT = frozenset(
    (
        "_name_or_path", "_attn_implementation_autoset", "architectures", "auto_map", "bos_token_id",
        "cache_implementation", "chunk_size_feed_forward", "classifier_dropout", "dtype", "eos_token_id", "id2label",
        "initializer_range", "is_decoder", "label2id", "model_type", "output_attentions", "output_hidden_states",
        "pad_token_id", "pretraining_tp", "problem_type", "return_dict", "torch_dtype", "transformers_version",
        "unsloth_version", "use_cache", "_sliding_window_pattern", "unsloth_fixed",
    )
)  # fmt: skip
"""Fields that change neither logits nor training: of the library that wrote them, of generation, of initial weights."""

_DROPOUTS = ("attention_dropout", "hidden_dropout")


class Fields:
    """The fields of one config.json.

    Args:
        values: its content.
        where: the file, for messages.

    Example:
        >>> fields = Fields({"hidden_size": 64}, "config.json")
        >>> fields.count("hidden_size")
        64
        >>> fields.count("num_hidden_layers")
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: config.json has no field 'num_hidden_layers', ...
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self.where = where
        self.used: dict[str, Any] = {}
        """What was asked for and is there: with it the same architecture is read again."""

    def get(self, name: str, default: Any = None) -> Any:
        """The value as it stands, or ``default`` where it is absent or null."""
        if self._values.get(name) is None:
            return default
        self.used[name] = self._values[name]
        return self._values[name]

    def count(self, name: str, default: int | None = None) -> int:
        """A positive whole number."""
        value = self.get(name, default)
        if value is None:
            raise DataError(f"{self.where} has no field {name!r}, which the architecture needs.")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DataError(f"{self.where}: {name} must be a positive whole number, got {value!r}.")
        return value

    def positive(self, name: str, default: float) -> float:
        """A positive number."""
        return self.number(self.get(name, default), name)

    def number(self, value: Any, name: str) -> float:
        """``value`` as a positive number, for a field within a field."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise DataError(f"{self.where}: {name} must be a positive number, got {value!r}.")
        return float(value)

    def switch(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise DataError(f"{self.where}: {name} must be true or false, got {value!r}.")
        return value

    def activation(self, name: str, default: str) -> Literal["silu", "gelu", "gelu_tanh"]:
        """One of the supported activation functions."""
        value = self.get(name, default)
        known = {
            "silu": "silu",
            "swish": "silu",
            "gelu": "gelu",
            "gelu_pytorch_tanh": "gelu_tanh",
            "gelu_new": "gelu_tanh",
        }
        if value not in known:
            raise ConfigError(f"{self.where}: {name}={value!r} is not supported; supported are {', '.join(known)}.")
        return cast(Literal["silu", "gelu", "gelu_tanh"], known[value])

    def refuse(self, name: str, accepted: Any, what: str) -> None:
        """Refuse a field that says another than ``accepted``; ``what`` it would ask for."""
        value = self.get(name, accepted)
        if value != accepted:
            raise ConfigError(f"{self.where}: {name}={value!r} asks for {what}, which is not supported.")

    def rope_values(self) -> dict[str, Any]:
        """What the file says of rotary positions: ``rope_scaling`` of older files, else ``rope_parameters``; a copy."""
        newer, older = self.get("rope_parameters", {}), self.get("rope_scaling", {})
        for name, value in (("rope_parameters", newer), ("rope_scaling", older)):
            if not isinstance(value, Mapping):
                raise DataError(f"{self.where}: {name} must be a JSON object, got {value!r}.")
        return dict(older or newer)

    def rope(self, values: Mapping[str, Any], base: float, context: int) -> Rope:
        """Rotary positions from ``rope_parameters`` or the older ``rope_scaling``.

        Args:
            values: the field's value, or the part of it that is meant; empty: no scaling.
            base: where ``values`` do not say.
            context: of the model, where ``values`` do not say for which context its frequencies were made.

        Raises:
            ConfigError: a kind of scaling that is not supported.
        """
        given = dict(values)
        if given.get("partial_rotary_factor", 1.0) != 1.0:
            raise ConfigError(
                f"{self.where}: partial_rotary_factor={given['partial_rotary_factor']!r} is not supported in this "
                f"family."
            )
        kind = given.get("rope_type", given.get("type", "default"))
        base = self.number(given.get("rope_theta", base), "rope_theta")
        if kind == "default":
            return Rope(base)
        if kind not in ("linear", "llama3"):
            raise ConfigError(
                f"{self.where}: rotary positions of the kind {kind!r} are not supported; supported are default, linear "
                f"and llama3."
            )
        needed = {"linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor")}[kind]
        numbers = {name: self.number(given.get(name), f"{name} of the rotary positions") for name in needed}
        if kind == "linear":
            return Rope(base, "linear", numbers["factor"])
        low, high = numbers["low_freq_factor"], numbers["high_freq_factor"]
        if not high > low:
            raise DataError(f"{self.where}: high_freq_factor must be above low_freq_factor, got {high} and {low}.")
        original = given.get("original_max_position_embeddings") or context
        if not isinstance(original, int) or isinstance(original, bool) or original < 1:
            raise DataError(f"{self.where}: original_max_position_embeddings must be a whole number, got {original!r}.")
        return Rope(base, "llama3", numbers["factor"], low, high, original)

    def finish(self) -> None:
        """Warn of fields that nobody asked for and that are not known to have no effect."""
        for name in _DROPOUTS:
            if self._values.get(name):
                warnings.warn(
                    f"{self.where}: {name}={self._values[name]!r}. Training goes on without dropout; evaluation never "
                    f"has any.",
                    MixlawWarning,
                    stacklevel=2,
                )
        unknown = sorted(
            name
            for name, value in self._values.items()
            if value is not None and name not in self.used and name not in _WITHOUT_EFFECT and name not in _DROPOUTS
        )
        if unknown:
            warnings.warn(
                f"{self.where} has fields that mixlaw does not know and leaves out: {', '.join(unknown)}. Where one of "
                f"them changes what the model computes, its losses here are not its own.",
                MixlawWarning,
                stacklevel=2,
            )
