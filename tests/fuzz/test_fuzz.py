"""A short run of the search in ``run.py``, always with the same inputs; and that the search finds what is wrong."""

import time

import pytest
from hypothesis import strategies as st

from fuzz import checks
from fuzz.run import search
from mixlaw.errors import ConfigError


@pytest.mark.slow
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.name)
def test_random_inputs_are_answered_or_refused_in_words(check):
    found = search(check, seed=1, examples=60)
    assert not found, "\n".join(f"{kind}: {smallest!r}\n{trace}" for kind, (smallest, trace) in found.items())


def _refuse(number):
    if number > 10:
        raise ConfigError(f"{number} is above 10.")


def _crash(number):
    [0] * 10
    return {}[number] if number > 10 else None


def _warn(number):
    import numpy as np

    np.log(np.float64(-number))


def test_the_search_finds_the_smallest_crash_and_no_refusal():
    numbers = st.integers(0, 1000)
    assert not search(checks.Check("refuses", numbers, _refuse), seed=1, examples=50)
    ((kind, (smallest, trace)),) = search(checks.Check("crashes", numbers, _crash), seed=1, examples=50).items()
    assert smallest == 11
    assert kind.startswith("KeyError at test_fuzz.py") and "_crash" in trace
    assert search(checks.Check("warns", numbers, _warn), seed=1, examples=10)


def test_a_hang_is_a_failure(monkeypatch):
    monkeypatch.setattr(checks, "LONGEST", 0.25)
    hanging = checks.Check("hangs", st.just(0), lambda given: time.sleep(3600))
    with pytest.raises(checks.TooLong, match=r"longer than 0\.25 s"):
        hanging(0)
