"""How much targets err together, from few residuals."""

import numpy as np
import pytest

from mixlaw.laws.core.residuals import residual_correlation


def mean_of_pairs(R: np.ndarray) -> float:
    return float((R.sum() - len(R)) / (len(R) * (len(R) - 1)))


def shared(n: int, targets: int, rho: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sqrt(rho) * rng.standard_normal((n, 1)) + np.sqrt(1 - rho) * rng.standard_normal((n, targets))


def test_a_common_correlation_is_found_and_few_runs_say_little_about_pairs():
    for n in (16, 200):
        R = residual_correlation(shared(n, 10, 0.4))
        assert mean_of_pairs(R) == pytest.approx(0.4, abs=0.15)
        sample = np.corrcoef(shared(n, 10, 0.4).T)
        off = ~np.eye(10, dtype=bool)
        assert np.sqrt(((R - 0.4)[off] ** 2).mean()) < 0.75 * np.sqrt(((sample - 0.4)[off] ** 2).mean())
    assert abs(mean_of_pairs(residual_correlation(shared(12, 6, 0.0)))) < 0.1
    assert residual_correlation(shared(5, 1, 0.0)).tolist() == [[1.0]]


def test_pairs_that_differ_stay_different_where_runs_are_many():
    blocks = np.hstack([shared(400, 3, 0.8, 1), shared(400, 3, 0.8, 2)])
    R = residual_correlation(blocks)
    assert R[:3, :3].min() > 0.7 and R[3:, 3:].min() > 0.7 and np.abs(R[:3, 3:]).max() < 0.15


def test_it_is_a_correlation_also_with_gaps_and_outliers():
    residuals = shared(30, 5, 0.0)
    wild = residuals.copy()
    wild[0] = 40.0  # one run went wrong in every target
    assert mean_of_pairs(residual_correlation(wild)) < 0.35 < mean_of_pairs(np.corrcoef(wild.T))
    gaps = shared(30, 5, 0.6)
    gaps[:15, 0] = np.nan
    gaps[15:, 1] = np.nan  # targets 0 and 1 were never measured on the same run
    R = residual_correlation(gaps)
    assert np.diag(R).tolist() == [1.0] * 5 and np.linalg.eigvalsh(R).min() > 0
    assert 0.3 < R[0, 1] < 0.9
    assert residual_correlation(np.full((4, 3), np.nan)).tolist() == np.eye(3).tolist()
