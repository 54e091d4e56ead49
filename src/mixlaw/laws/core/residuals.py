"""How much the targets of one run err together.

A law that is fitted per target knows the error of each; a weighted sum of targets needs to know how they move together:
a run that is worse than predicted on one validation set is mostly worse on the others too.
"""

from __future__ import annotations

import numpy as np

from mixlaw.kit.arrays import Array

__all__ = ["residual_correlation"]

_CUT = 3.0  # standard deviations: one run that went wrong in all targets must not say that all runs err together


def residual_correlation(residuals: Array) -> Array:
    """Correlation (T, T) between the columns of ``residuals`` (n, T), in units of their expected spread; NaN where
    not measured. Positive definite.

    Sample correlations of few runs are noise, so they are drawn towards the correlation that all pairs have in
    common, by as much as their spread around it is what chance alone would make; and that one towards none.

    Example:
        >>> shared = np.random.default_rng(0).standard_normal((200, 1))
        >>> own = np.random.default_rng(1).standard_normal((200, 3))
        >>> R = residual_correlation(shared + own)
        >>> bool(abs(R[0, 1] - 0.5) < 0.1 and R[0, 0] == 1)
        True

    Source: Ledoit & Wolf 2004, Honey, I shrunk the sample covariance matrix (the target); Schaefer & Strimmer 2005,
    doi:10.2202/1544-6115.1175 (the strength); variance of the common correlation after Fisher 1925.
    """
    columns = residuals.shape[1]
    if columns == 1:
        return np.ones((1, 1))
    seen = np.isfinite(residuals).astype(float)
    cut = np.where(seen > 0, np.clip(np.nan_to_num(residuals), -_CUT, _CUT), 0.0)
    squares = np.maximum((cut**2).T @ seen, 1e-150)  # of a column, over the runs a second one was measured in as well
    sample = np.clip(cut.T @ cut / np.sqrt(squares * squares.T), -1.0, 1.0)
    counts = seen.T @ seen
    one, two = np.triu_indices(columns, 1)
    have = counts[one, two] >= 3
    if not have.any():
        return np.eye(columns)
    r, n = sample[one, two][have], counts[one, two][have]
    common = float(np.average(r, weights=n))
    chance = 2 * ((1 - common) * (1 + (columns - 1) * common)) ** 2 / (columns * (columns - 1) * n.mean())
    common *= common**2 / max(common**2 + float(chance), 1e-300)
    spread = ((r - common) ** 2).sum()
    strength = float(min(1.0, ((1 - r**2) ** 2 / n).sum() / spread)) if spread > 0 else 1.0
    out = np.where(counts >= 3, (1 - strength) * sample + strength * common, common)
    np.fill_diagonal(out, 1.0)
    values, vectors = np.linalg.eigh(out)
    out = (vectors * np.maximum(values, 1e-3)) @ vectors.T
    scale = np.sqrt(np.diag(out))
    out /= np.outer(scale, scale)
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)
