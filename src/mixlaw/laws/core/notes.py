"""What is unusual about the rows a law is given, said in words before anything is fitted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mixlaw.data.columns import COUNTS
from mixlaw.errors import MixlawWarning
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.folds import Ints, replicate_groups

__all__ = ["below_zero", "design_notes", "mixed_counts", "mixed_units", "warn_of_mixed_units"]


def below_zero(lowest: npt.ArrayLike, targets: Sequence[str]) -> list[str]:
    """A sentence where the irreducible loss of a fitted law is negative; none elsewhere.

    Args:
        lowest: the irreducible loss: a number, (T,), or (T, K) per domain.
        targets: names of the T targets.

    Example:
        >>> below_zero([1.7, -0.25], ["web", "code"])[0][:57]
        'The irreducible loss is below zero for code (-0.25), whic'
    """
    values = np.asarray(lowest, dtype=float)
    least = values.reshape(len(targets), -1).min(axis=1) if values.size % len(targets) == 0 else values.reshape(1, -1)
    bad = [(name, value) for name, value in zip(targets, least.ravel()) if value < 0]
    if not bad:
        return []
    bad.sort(key=lambda item: item[1])
    shown = ", ".join(f"{name} ({value:.2g})" for name, value in bad[:5])
    shown += f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    return [
        f"The irreducible loss is below zero for {shown}, "
        f"which no loss can be: the runs do not determine it. Between the runs the law may be right; beyond them, at "
        f"more tokens or larger shares, it promises too much."
    ]


def design_notes(X: Array, Y: Array, domains: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Sentences about sums, zero domains, collinear domains, replicates and missing targets.

    Args:
        X: (n, K) mixture weights.
        Y: (n, T), NaN where not measured.
        domains, targets: names of the columns.

    Example:
        >>> X = np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.9, 0.1, 0.0]])
        >>> design_notes(X, np.ones((3, 1)), ["web", "code", "legal"], ["loss"])[0][:42]
        "Domains never used in these runs: ['legal'"
    """
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
            f"Mixtures that were run more than once: {int((counts > 1).sum())} ({int(counts[counts > 1].sum())} runs). "
            f"Runs of one mixture share a fold, and their spread measures the noise."
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


_FAR = float(np.log(20.0))  # losses of comparable runs do not differ by so much with nothing in between


def warn_of_mixed_units(X: Array, Y: Array, columns: Sequence[str], targets: Sequence[str]) -> None:
    """A MixlawWarning for every target, and every column of sizes or tokens, that seems to hold two units.

    Example:
        >>> losses = np.array([[2.1], [2.3], [2.2], [2.0], [2150.0], [2050.0]])
        >>> with warnings.catch_warnings(record=True) as said:
        ...     warnings.simplefilter("always")
        ...     warn_of_mixed_units(np.ones((6, 1)), losses, ["web"], ["loss"])
        >>> str(said[0].message)[:38]
        "'loss' seems to hold two units at once"
    """
    said = [mixed_units(Y[:, t], name) for t, name in enumerate(targets)]
    said += [mixed_counts(X[:, j], name) for j, name in enumerate(columns) if name in COUNTS]
    for text in filter(None, said):
        warnings.warn(text, MixlawWarning, stacklevel=3)


def mixed_units(values: Array, name: str) -> str | None:
    """A sentence where a column of positive numbers seems to hold two units at once, naming the rows; else None.

    Two groups with a wide gap between them and each narrow beside it: one 20 times the other or more (another unit,
    or runs that diverged), or one that is the exponential of the other (perplexities among losses above two nats).

    Args:
        values: (n,) one target; NaN is left out.
        name: of the target.

    Example:
        >>> mixed_units(np.array([2.1, 2.3, 2.2, 2.0, 2150.0, 2050.0]), "loss")[:50]
        "'loss' seems to hold two units at once: rows [4, 5"
    """
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) < 4 or (values[rows] <= 0).any():
        return None
    order = rows[np.argsort(values[rows], kind="stable")]
    logs = np.log(values[order])
    gaps = np.diff(logs)
    cut = int(np.argmax(gaps)) + 1
    gap, low, high = float(gaps[cut - 1]), order[:cut], order[cut:]
    spread_low, spread_high = float(logs[cut - 1] - logs[0]), float(logs[-1] - logs[cut])
    if values[high].max() > 1.0 and gap >= _FAR and gap >= 1.5 * max(spread_low, spread_high):
        return (
            f"{name!r} seems to hold two units at once: {_apart(values, low, high)}. Bring all runs to one unit "
            f"(nats per token), or leave out runs that diverged."
        )
    back = np.log(values[high])
    least, most = values[low].min(), values[low].max()
    # below two nats exp(loss) is a loss that a domain without its own data can have
    inside = least >= 2.0 and (back >= 0.97 * least).all() and (back <= 1.03 * most).all()
    # losses of domains never trained on crowd at ln(vocabulary); perplexities spread as the losses beside them do
    crowd = {2: 0.0, 3: 0.1}.get(len(high), 0.3) * float(np.ptp(values[low]))
    crowded = crowd > 0 and spread_high <= crowd
    if len(low) >= 3 and len(high) >= 2 and inside and not crowded and gap >= 2.0 * spread_low:
        return (
            f"{name!r} seems to mix losses with perplexities: {_apart(values, low, high)}, about the exponential. "
            f"Take logarithms of the perplexities."
        )
    return None


def _apart(values: Array, low: Ints, high: Ints) -> str:
    """Which rows are the smaller of two groups, and what both hold."""
    few, many = (high, low) if len(high) <= len(low) else (low, high)
    rows = np.sort(few)
    shown = f"rows {rows[:8].tolist()}{f' and {len(rows) - 8} more' if len(rows) > 8 else ''}"
    return f"{shown} hold {_range(values[few])}, the other {len(many)} {_range(values[many])}"


def _range(values: Array) -> str:
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low} to {high}"


def mixed_counts(values: Array, name: str) -> str | None:
    """As :func:`mixed_units` for ``values`` (n,) of sizes and token counts: rows that a factor of 1,000, a million or a
    billion would put among the others, with nothing in between.

    Example:
        >>> "rows [3, 4]" in mixed_counts(np.array([2e10, 5e10, 1e11, 5e7, 2e7]), "tokens")
        True
    """
    if len(values) < 4 or (values <= 0).any():
        return None
    order = np.argsort(values, kind="stable")
    sizes = values[order]
    cut = int(np.argmax(np.diff(np.log(sizes)))) + 1
    low, high = sizes[:cut], sizes[cut:]
    if high[0] < 100 * low[-1]:
        return None
    for unit, (few, many) in ((u, pair) for u in (1e3, 1e6, 1e9) for pair in ((low * u, high), (high / u, low))):
        if len(np.unique(many)) >= 3 and few.min() >= many.min() and few.max() <= many.max():
            rows = np.sort(order[:cut] if many is high else order[cut:])
            return (
                f"{name!r} seems to hold two units at once: rows {rows[:8].tolist()} hold {values[rows[:3]].tolist()}, "
                f"the others {many.min():.4g} to {many.max():.4g}, a factor of {unit:.0e} apart. Give plain counts in "
                f"every row."
            )
    return None
