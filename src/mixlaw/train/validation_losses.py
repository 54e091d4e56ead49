"""Validation losses in fp32, on the same fixed tokens for every mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.kit.units import bits_per_byte

__all__ = ["Validation", "evaluate", "logits_at_once", "value_rows"]

_LOGITS = 1 << 28
"""Logits of one forward pass at most: a gigabyte, and as much again for their probabilities."""

Validation = Mapping[str, tuple[npt.NDArray[np.int64], int]]
"""``{set: (sequences (n, context + 1), bytes they spell)}``."""


def evaluate(model: Any, validation: Validation, batch: int = 8) -> dict[str, float]:
    """Mean next-token loss (nats per token) of each set, in fp32, summed in fp64.

    Args:
        model: callable from tokens (batch, context) to logits, a ``torch.nn.Module``.
        validation: the sets.
        batch: sequences per forward pass; does not change the result beyond rounding.

    Example:
        >>> import torch
        >>> class Uniform(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.bias = torch.nn.Parameter(torch.zeros(8))
        ...     def forward(self, tokens):
        ...         return self.bias.expand(*tokens.shape, 8)
        >>> losses = evaluate(Uniform(), {"web": (np.zeros((2, 5), np.int64), 16)})
        >>> round(losses["web"], 4)  # ln 8 nats: a uniform guess among eight tokens
        2.0794
    """
    import torch
    from torch.nn import functional as F

    device = next(model.parameters()).device
    losses: dict[str, float] = {}
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for name, (sequences, _) in validation.items():
            total, count = 0.0, 0
            for start in range(0, len(sequences), batch):
                tokens = torch.from_numpy(np.ascontiguousarray(sequences[start : start + batch])).to(device)
                logits = model(tokens[:, :-1]).float()
                per_token = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
                total += float(per_token.sum(dtype=torch.float64))
                count += per_token.numel()
            losses[name] = total / count if count else math.nan
    model.train(was_training)
    return losses


def logits_at_once(context: int, vocab_size: int) -> int:
    """How many sequences of ``context`` tokens to score in one forward pass, so that their logits fit into memory.

    Example:
        >>> logits_at_once(256, 2048), logits_at_once(512, 262_144)
        (512, 2)
    """
    return max(1, _LOGITS // (context * vocab_size))


def value_rows(
    run: str,
    step: int,
    tokens: int,
    losses: Mapping[str, float],
    validation: Validation,
    hashes: Mapping[str, str],
    censored: str = "none",
) -> list[dict[str, Any]]:
    """Rows for the values table: ``loss`` and, where bytes are known, ``bits_per_byte`` of every set.

    Args:
        run: id of the run.
        step, tokens: how far it was trained.
        losses: nats per token of each set.
        validation: the sets, as :data:`Validation` describes them.
        hashes: content hash of each set.
        censored: ``"none"``, or of which kind of bound the losses are.

    Example:
        >>> rows = value_rows("run-1", 10, 640, {"web": 2.0}, {"web": (np.zeros((2, 5), np.int64), 16)}, {"web": "abc"})
        >>> [(row["metric"], round(row["value"], 3)) for row in rows]
        [('loss', 2.0), ('bits_per_byte', 1.443)]
    """
    rows = []
    for name, loss in losses.items():
        sequences, num_bytes = validation[name]
        common = {
            "run": run,
            "step": step,
            "tokens": float(tokens),
            "target": name,
            "target_hash": hashes.get(name, ""),
            "censored": censored,
        }
        rows.append({**common, "metric": "loss", "unit": "nats_per_token", "value": loss})
        if num_bytes:
            predicted = len(sequences) * (sequences.shape[1] - 1)
            bits = bits_per_byte(loss, predicted, num_bytes)
            rows.append({**common, "metric": "bits_per_byte", "unit": "bits_per_byte", "value": bits})
    return rows
