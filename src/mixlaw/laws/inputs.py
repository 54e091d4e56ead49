"""What is unusual about the rows a law is given, said in words before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixlaw.laws.base import Array
from mixlaw.laws.folds import replicate_groups

__all__ = ["design_notes"]


def design_notes(X: Array, Y: Array, domains: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Sentences about sums, zero domains, collinear domains, replicates and missing targets."""
    notes: list[str] = []
    total = X.sum(axis=1)
    off = np.abs(total - 1.0) > 1e-6
    if off.any():
        notes.append(
            f"{int(off.sum())} of {len(X)} mixtures do not sum to 1 (sums {total.min():.4g} to {total.max():.4g}); "
            f"they are used as given."
        )
    span = np.ptp(X, axis=0)
    zero = [domains[j] for j in np.flatnonzero((np.abs(X) <= 1e-12).all(axis=0)).tolist()]
    if zero:
        notes.append(
            f"Domains never used in these runs: {zero}. Nothing is known of their effect; predictions with them "
            f"rest on the prior."
        )
    fixed = [domains[j] for j in np.flatnonzero((span <= 1e-12) & (np.abs(X).max(axis=0) > 1e-12)).tolist()]
    if fixed:
        notes.append(f"Domains whose weight never changes: {fixed}. Their effect cannot be told from the constant.")
    moving = np.flatnonzero(span > 1e-12).tolist()
    tied = _tied(X[:, moving], [domains[j] for j in moving])
    if tied:
        notes.append(
            f"Domains that always move together: {'; '.join(' with '.join(t) for t in tied)}. Only their joint "
            f"effect is known."
        )
    elif len(moving) and len(X) > len(moving):
        centred = X[:, moving] - X[:, moving].mean(axis=0)
        rank = int((np.linalg.svd(centred, compute_uv=False) > 1e-9 * max(1e-12, np.abs(centred).max())).sum())
        sums_to_constant = np.ptp(total) <= 1e-6
        if rank < len(moving) - (1 if sums_to_constant else 0):
            notes.append(
                f"The {len(moving)} varying domains span only {rank} independent directions in these runs: some "
                f"combinations of their effects are not known."
            )
    groups = replicate_groups(X)
    counts = np.bincount(groups)
    if (counts > 1).any():
        notes.append(
            f"{int((counts > 1).sum())} mixtures were run more than once ({int(counts[counts > 1].sum())} runs): "
            f"they share a fold, and their spread measures the noise."
        )
    missing = np.isnan(Y).sum(axis=0)
    if missing.any():
        some = {targets[t]: int(missing[t]) for t in np.flatnonzero(missing)[:5].tolist()}
        notes.append(f"Targets missing in some runs (left out there): {some}.")
    return notes


def _tied(X: Array, domains: Sequence[str]) -> list[tuple[str, ...]]:
    """Groups of columns that are perfectly correlated, except the pair that must be (two domains summing to 1)."""
    if X.shape[1] < 3 or len(X) < 3:
        return []
    centred = X - X.mean(axis=0)
    unit = centred / np.sqrt((centred**2).sum(axis=0))
    close = unit.T @ unit > 1 - 1e-9
    seen: set[int] = set()
    groups = []
    for j in range(len(domains)):
        members = [i for i in np.flatnonzero(close[j]).tolist() if i not in seen]
        if j not in seen and len(members) > 1:
            groups.append(tuple(domains[i] for i in members))
        seen.update(members)
    return groups
