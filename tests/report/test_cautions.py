"""What is claimed of many sets at once: how often a set is called worse that is not."""

import numpy as np
import pytest

from mixlaw.data.multiplicity import FALSE_CLAIMS
from mixlaw.report.cautions import first_cautions, worse_than_reference
from mixlaw.report.facts import ReportFacts

SETS = [f"set{k}" for k in range(13)]


def check(mine, other, look=1):
    """Facts of a verification that measured ``{set: (seeds,)}`` at the recipe and the natural mixture."""
    sets = {"recipe": mine, "natural": other}
    return ReportFacts("check", verification={"sets": sets, "difference": {"vs natural": {}}, "look": look})


def worlds(num, seeds, rise=0.0):
    """Verifications of 13 sets whose losses move together from seed to seed; by ``rise`` set0 is really worse."""
    rng = np.random.default_rng(7)
    for _ in range(num):
        shared, own = rng.normal(size=(2, 1, seeds)) * 0.02, rng.normal(size=(2, 13, seeds)) * 0.01
        mine, other = 3 + shared + own
        mine[0] += rise
        yield dict(zip(SETS, mine.tolist())), dict(zip(SETS, other.tolist()))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_sets_that_do_not_differ_are_rarely_called_worse(seeds):
    found = [worse_than_reference(check(*world)) for world in worlds(1500, seeds)]
    false = np.mean([bool(w.sets) for w in found])
    assert false <= FALSE_CLAIMS + 3 * np.sqrt(FALSE_CLAIMS * (1 - FALSE_CLAIMS) / len(found))
    # those that end higher are named all the same, as not shown
    assert np.mean([bool(w.higher) for w in found]) > 0.7


def test_looking_again_with_more_seeds_does_not_call_more_sets_worse():
    claimed = []
    for mine, other in worlds(1500, 8):
        looks = [({t: v[:n] for t, v in mine.items()}, {t: v[:n] for t, v in other.items()}) for n in range(3, 9)]
        claimed.append(any(worse_than_reference(check(*look, k)).sets for k, look in enumerate(looks, start=1)))
    assert np.mean(claimed) <= FALSE_CLAIMS + 0.017


def test_a_set_that_is_much_worse_is_named_and_others_are_told_apart():
    found = [worse_than_reference(check(*world)) for world in worlds(200, 3, rise=2.0)]
    assert all([t for t, _ in w.sets][:1] == ["set0"] for w in found)
    facts = check({"a": [4.0, 4.1, 4.05], "b": [3.01, 3.0, 3.02]}, {"a": [3.0, 3.1, 3.04], "b": [3.0, 3.01, 3.0]})
    worse, higher = first_cautions(facts)
    assert worse.startswith("Worse than at the natural mixture (measured, nats per token): a by 1.")
    assert worse.endswith("Of 2 sets compared; at most 5% of checks call any set worse that is not.")
    assert "not shown to be worse (chance does as much among 2 sets; nats per token): b by 0.0067" in higher


def test_one_seed_and_no_difference_show_nothing():
    one = worse_than_reference(check({"a": [4.0]}, {"a": [3.0]}))
    assert one.sets == [] and one.higher == [("a", 1.0)]
    same = worse_than_reference(check({"a": [3.0, 3.1]}, {"a": [3.0, 3.1]}))
    assert same.sets == same.higher == []
    exact = worse_than_reference(check({"a": [3.5, 3.6]}, {"a": [3.0, 3.1]}))
    assert exact.sets == [("a", pytest.approx(0.5))]
