"""The weighted average of several models' weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.errors import DataError

__all__ = ["merged"]


def merged(models: Sequence[Mapping[str, Any]], coefficients: Sequence[float]) -> dict[str, Any]:
    """``sum_k coefficient_k weights_k``, parameter by parameter.

    The models should have begun from one checkpoint: those that began apart have no common meaning of a weight.

    Args:
        models: tensors by name, of one architecture.
        coefficients: one per model, not negative, summing to one: the mixture.

    Raises:
        DataError: no model, coefficients that are no mixture, or models with other parameters.

    Example:
        >>> import torch
        >>> a, b = {"gain": torch.tensor([1.0, 0.0])}, {"gain": torch.tensor([3.0, 4.0])}
        >>> merged([a, b], [0.75, 0.25])["gain"].tolist()
        [1.5, 1.0]

    Source: Wortsman et al. 2022 (model soups), arXiv:2203.05482; as a proxy for a mixture of data, MergeMix,
    arXiv:2601.17858.
    """
    share = np.asarray(coefficients, dtype=float)
    if not models or share.shape != (len(models),):
        raise DataError(f"{len(models)} models need {len(models)} coefficients, got {list(coefficients)}.")
    if not np.isfinite(share).all() or (share < 0).any() or abs(share.sum() - 1) > 1e-6:
        raise DataError(f"Coefficients of an average must not be negative and must sum to 1, got {list(coefficients)}.")
    first = models[0]
    for i, other in enumerate(models[1:], 1):
        odd = {n for n in set(first) ^ set(other)} | {
            n for n in set(first) & set(other) if first[n].shape != other[n].shape
        }
        if odd:
            raise DataError(
                f"Model {i} differs from model 0 in {sorted(odd)[:3]}: only models of one architecture merge."
            )
    return {name: sum(float(w) * m[name] for w, m in zip(share, models)) for name in first}
