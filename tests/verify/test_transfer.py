"""When ranks between sizes are a reason to be careful, and when they are none."""

import pytest

from mixlaw.data.observations import Observations
from mixlaw.verify.transfer import Evidence, rank_evidence


def evidence(large):
    runs = [
        {"run": f"{w}-{n}", "schedule": {"a": w, "b": 1 - w}, "params": n, "tokens": 1e9}
        for n in (1e7, 1e8)
        for w in (0.2, 0.5, 0.8)
    ]
    losses = [3.0, 3.1, 3.2, *large]
    values = [{"run": r["run"], "target": "a", "value": v, "tokens": 1e9} for r, v in zip(runs, losses)]
    return rank_evidence(Observations.from_records(runs, values))


@pytest.mark.parametrize(
    ("large", "target", "calm"),
    [
        ([2.4, 2.5, 2.6], 1e8, True),
        ([2.4, 2.5, 2.6], 1e9, False),  # larger than what was run
        ([2.4, 2.5, 2.6], None, False),
        ([2.5, 2.4, 2.6], 1e8, False),  # another mixture is best there
    ],
)
def test_ranks_that_hold_are_no_caution(large, target, calm):
    assert evidence(large).reassures(target) is calm


def test_what_is_not_known_is_a_caution():
    assert not Evidence(reason="all runs have one size").reassures(1e7)
