"""Sizes that move together: off their line an interval holds what every law allows that falls with both."""

import warnings

import numpy as np
import pytest

from mixlaw.errors import MixlawWarning
from mixlaw.laws import Chinchilla, Kaplan, Law, LogLinear, Nested

N = np.geomspace(1e7, 1e10, 12)
LINES = {"one ratio": 20 * N, "one budget": 1e21 / 6 / N}


def kaplan(n, d):
    return ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103


def chinchilla(n, d):
    return 1.8 + 480 / n**0.35 + 2100 / d**0.37


def quiet(law, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return law(*args)


@pytest.mark.parametrize(
    "law, truth, line",
    [
        (Kaplan("ND"), kaplan, "one ratio"),
        (Kaplan("ND"), chinchilla, "one ratio"),
        (Kaplan("ND"), kaplan, "one budget"),
        (Chinchilla(), kaplan, "one budget"),
        (Chinchilla(), chinchilla, "one budget"),
        (Chinchilla(), kaplan, "one ratio"),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_intervals_off_the_line_hold_other_forms(law, truth, line):
    y = truth(N, LINES[line]) * np.exp(0.002 * np.random.default_rng(0).normal(size=12))
    quiet(law.fit, {"params": N, "tokens": LINES[line]}, y)
    places = {"params": np.array([1e8, 1e9, 1e9]), "tokens": np.array([2e11, 2e9, 3e11])}
    low, high = quiet(law.predict_interval, places)
    value = truth(places["params"], places["tokens"])
    assert ((low <= value) & (value <= high)).all(), (low, value, high)
    assert "Off that line intervals hold" in " ".join(law.notes)
    # along the line nothing changes, and what is known is saved
    on = {"params": N[3:9], "tokens": LINES[line][3:9]}
    again = Law.from_json(law.to_json())
    np.testing.assert_allclose(quiet(again.predict_interval, places), [low, high], rtol=1e-9)
    low, high = quiet(law.predict_interval, on)
    assert ((high - low) / quiet(law.predict, on) < 0.1).all()
    drawn = quiet(law.sample, places, 40, np.random.default_rng(0))
    assert np.ptp(np.asarray(drawn), axis=0).ravel()[1] > 0.1


def test_sizes_and_tokens_that_vary_alone_have_no_line():
    n, d = (v.ravel() for v in np.meshgrid(N[::3], 20 * N[::3]))
    law = quiet(Chinchilla().fit, {"params": n, "tokens": d}, chinchilla(n, d))
    assert law.line_ is None and not law.notes


def test_nested_laws_off_the_line_of_their_runs():
    rows = [(a, m, 20 * m * f) for a in (0.2, 0.4, 0.6, 0.8) for m in (1e7, 3e7, 1e8, 3e8) for f in (0.8, 0.9, 1.0)]
    a, n, d = map(np.array, zip(*rows))

    def truth(a, n, d):
        return 2 - 0.4 * a + 30 * n**-0.25 + 900 * d**-0.35

    y = truth(a, n, d) + 1e-3 * np.random.default_rng(0).normal(size=len(a))
    law = Nested(mixture_law=LogLinear(), backtest=False)
    quiet(law.fit, {"web": a, "code": 1 - a, "params": n, "tokens": d}, y)
    places = {"web": [0.4] * 3, "code": [0.6] * 3, "params": [3e7, 3e8, 3e8], "tokens": [6e9, 6e8, 6e9]}
    low, high = quiet(law.predict_interval, places)
    value = truth(0.4, np.array(places["params"]), np.array(places["tokens"]))
    assert ((low < value) & (value < high)).all()
    assert high[2] - low[2] < 0.1 < high[0] - low[0]  # the last lies on the line


def test_an_exponent_of_a_nested_law_at_its_bound_is_named():
    r, n, d = (v.ravel() for v in np.meshgrid([0.2, 0.4, 0.6, 0.8], [1e7, 3e7, 1e8], [1e9, 2e9, 4e9], indexing="ij"))
    X = {"web": r, "code": 1 - r, "params": n, "tokens": d}
    straight = 2 - 0.4 * r + 30 * n**-0.25 - 0.05 * np.log(d / 1e9)
    law = quiet(Nested(mixture_law=LogLinear(), backtest=False).fit, X, straight)
    assert law.converged_ is None
    assert "b = 0.02 at its bound" in law.summary() and "converged" not in law.summary()
    curved = 2 - 0.4 * r + 30 * n**-0.25 + 900 * d**-0.35
    assert quiet(Nested(mixture_law=LogLinear(), backtest=False).fit, X, curved).converged_
