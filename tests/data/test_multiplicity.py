"""Adjusted p-values: known values, and the rate of any false claim that they promise."""

import numpy as np
import pytest

from mixlaw.data.multiplicity import FALSE_CLAIMS, benjamini_hochberg, by_themselves, holm


def test_holm_by_hand():
    assert holm([0.03, 0.01, 0.04]).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).tolist() == []


def test_holm_holds_the_rate_of_any_false_claim_beside_true_ones():
    """Benjamini and Hochberg's rule promises less: beside many true effects it names more that are not."""
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(4000, 20))
    p[:, :10] = 1e-9  # effects that are there
    for adjust, most in ((holm, FALSE_CLAIMS), (benjamini_hochberg, 1.0)):
        wrong = np.mean([bool((adjust(row)[10:] <= FALSE_CLAIMS).any()) for row in p])
        assert wrong <= most + 3 * np.sqrt(most * (1 - most) / len(p))
    assert np.mean([bool((benjamini_hochberg(row)[10:] <= FALSE_CLAIMS).any()) for row in p]) > 0.1


def test_both_hold_the_rate_where_nothing_is_there():
    p = np.random.default_rng(1).uniform(size=(4000, 20))
    for adjust in (holm, benjamini_hochberg):
        claimed = np.mean([bool((adjust(row) <= FALSE_CLAIMS).any()) for row in p])
        assert claimed == pytest.approx(FALSE_CLAIMS, abs=0.012)


def test_a_list_says_how_many_of_its_intervals_miss():
    assert by_themselves(1, 0.9) == ""
    assert "about 2.0 of them" in by_themselves(20, 0.9) and "about 1.0 of them" in by_themselves(20, 0.95)
