"""Losses of many sequences through one decoder, fast: no padding to speak of, logits only where a token is scored, and
every thread that torch has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mixlaw.models.contract import Floats, Item

__all__ = ["batches", "item_losses", "token_losses"]

_TOKENS = 1536
"""Tokens of one forward pass on a CPU: more do not fit into its caches, fewer leave its units idle."""
_TOKENS_GPU = 1 << 15
_ROWS = 256
"""Scored tokens whose logits are in memory at once, on a CPU."""
_LOGITS = 1 << 27
"""Logits in memory at once, half a gigabyte: of a large vocabulary fewer scored tokens go together."""


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices of sequences that go through the model together: of like length, with at most ``tokens`` tokens, padding
    included; a longer one goes alone.

    Example:
        >>> list(batches([3, 9, 3, 2, 4], tokens=9))
        [[3, 0, 2], [4], [1]]
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    begin = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end - begin + 1) > tokens:
            yield order[begin:end]
            begin = end


def item_losses(decoder: Any, items: Sequence[Item], vocab_size: int, device: torch.device) -> Floats:
    """(num_items,) mean loss over the scored tokens of each item, in nats per token.

    Args:
        decoder: with ``logits_at(tokens, where)``.
        items: with ids of the vocabulary.
        vocab_size: of the decoder.
        device: where it is.
    """
    out = np.empty(len(items))

    def score(indices: list[int]) -> None:
        lengths = [len(items[i].tokens) for i in indices]
        tokens = np.zeros((len(indices), max(lengths)), np.int64)
        where = np.zeros((len(indices), max(lengths) - 1), bool)
        for row, (i, length) in enumerate(zip(indices, lengths)):
            tokens[row, :length] = items[i].tokens
            where[row, items[i].scored_from - 1 : length - 1] = True
        counts = where.sum(1)
        losses = token_losses(decoder, _tensor(tokens, device), _tensor(where, device), vocab_size)
        out[indices] = np.add.reduceat(losses, np.cumsum(counts) - counts) / counts

    on_cpu = device.type == "cpu"
    # The longest first, so that the threads end together.
    todo = list(batches([len(item.tokens) - 1 for item in items], _TOKENS if on_cpu else _TOKENS_GPU))[::-1]
    workers = min(torch.get_num_threads(), len(todo)) if on_cpu else 1
    if workers > 1:  # a thread per batch scales; several threads within one small batch mostly wait for each other
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(score, todo))
    else:
        for indices in todo:
            score(indices)
    return out


@torch.inference_mode()
def token_losses(decoder: Any, tokens: Tensor, where: Tensor, vocab_size: int) -> Floats:
    """(num_true,) loss in nats of the tokens after the positions ``where`` is true, row by row.

    Args:
        decoder: with ``logits_at(tokens, where)``.
        tokens: (batch, length), padded at the end, where a causal model's earlier losses do not see it.
        where: (batch, length - 1).
        vocab_size: of the decoder.
    """
    rows = max(1, min(_ROWS if tokens.device.type == "cpu" else _LOGITS, _LOGITS // max(vocab_size, 1)))
    wanted = tokens[:, 1:][where].split(rows)
    parts = decoder.logits_at(tokens[:, :-1], where, rows)
    losses = [F.cross_entropy(logits.float(), right, reduction="none") for logits, right in zip(parts, wanted)]
    return torch.cat(losses).double().cpu().numpy() if losses else np.empty(0)


def _tensor(values: Any, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)
