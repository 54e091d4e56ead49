"""Keys and values of the tokens a decoder has seen, so that a further token costs one position and not a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Letters in the shape comments: B batch, T new tokens, S slots in use, H heads, G heads of keys and values, e head
# dimension.

__all__ = ["KeyValueCache"]


class KeyValueCache:
    """One slot per position, layer and sequence; sequences of a batch may have different lengths.

    Shorter prompts are padded at their end. A token's keys and values lie in the slot of its position, and a query sees
    the slots up to its own position only. So what the padding left is never seen: the tokens that are written later
    overwrite it first.

    Args:
        layers: of the decoder.
        slots: positions of the longest sequence at its end.

    Example:
        >>> cache = KeyValueCache(layers=1, slots=4)
        >>> cache.place(torch.tensor([[0, 1]]))
        >>> q = k = v = torch.ones(1, 1, 2, 8)
        >>> cache.attend(0, q, k, v, scale=1.0).shape
        torch.Size([1, 1, 2, 8])
    """

    def __init__(self, layers: int, slots: int) -> None:
        self.slots = slots
        self.positions = torch.empty(0, 0, dtype=torch.int64)
        """(B, T) of the tokens that go through the decoder now."""
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers
        self._masks: dict[int, Tensor] = {}
        self._used = 0

    def place(self, positions: Tensor) -> None:
        """Say where the next tokens stand: ``positions`` (B, T) int64, counted from 0."""
        self.positions = positions
        self._used = int(positions.max()) + 1
        self._masks = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int = 0) -> Tensor:
        """Keep the new keys and values, and attend to all of the sequence up to each query.

        Args:
            layer: whose attention this is.
            q: (B, H, T, e), turned by its positions.
            k, v: (B, G, T, e); G divides H.
            scale: multiplies the scores.
            window: how many tokens a token sees, itself included; 0: all before it.

        Returns:
            (B, H, T, e).
        """
        kept_keys, kept_values = self._keys[layer], self._values[layer]
        if kept_keys is None or kept_values is None:
            shape = (*k.shape[:2], self.slots, k.shape[3])
            kept_keys, kept_values = k.new_zeros(shape), v.new_zeros(shape)
            self._keys[layer], self._values[layer] = kept_keys, kept_values
        place = self.positions[:, None, :, None].expand_as(k)
        kept_keys.scatter_(2, place, k)
        kept_values.scatter_(2, place, v)
        keys, values = kept_keys[:, :, : self._used], kept_values[:, :, : self._used]  # (B, G, S, e)
        shared = q.shape[1] // k.shape[1]
        if shared > 1:
            keys, values = keys.repeat_interleave(shared, 1), values.repeat_interleave(shared, 1)  # (B, H, S, e)
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=self._mask(window), scale=scale)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these sequences of the batch only, in this order."""
        chosen = torch.tensor(rows, device=self.positions.device)
        self._keys = [None if kept is None else kept[chosen] for kept in self._keys]
        self._values = [None if kept is None else kept[chosen] for kept in self._values]

    def _mask(self, window: int) -> Tensor:
        """(B, 1, T, S): which slots each query sees."""
        if window not in self._masks:
            distance = self.positions[:, None, :, None] - torch.arange(self._used, device=self.positions.device)
            seen = distance >= 0
            self._masks[window] = seen & (distance < window) if window else seen
        return self._masks[window]
