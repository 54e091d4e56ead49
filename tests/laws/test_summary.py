"""What a law says of its own fit."""

import numpy as np

from mixlaw.laws.core.summary import _certificate


def test_an_optimum_that_few_starts_reach_is_the_lowest_of_them_all():
    said = _certificate(True, {"gradient_norm": np.array([2e-9]), "agreeing_starts": np.array([1, 9]), "starts": 10})
    assert said == "certified optimum (gradient 2.0e-09, the lowest of 10 starts, reached by 1 to 9 of them, by target)"
    assert "reached by 4 of them)" in _certificate(True, {"agreeing_starts": 4, "starts": 10})
