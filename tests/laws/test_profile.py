"""Profile likelihood of reported parameters."""

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.errors import ConfigError, DataError
from mixlaw.laws.core.base import Law
from mixlaw.report import plots

import truths


def line(n=60, noise=0.05, seed=0):
    """A power law of one column: its profile has an answer to compare with."""
    rng = np.random.default_rng(seed)
    N = np.geomspace(1e6, 1e10, n)
    return N[:, None], (1e13 / N) ** 0.08 * np.exp(noise * rng.normal(size=n))


def test_agrees_with_linear_regression():
    """Kaplan's law of one column is a line in logarithms: the profile's interval is regression's own."""
    X, y = line()
    law = laws.Kaplan("N", loss="squared").fit(X, y)
    found = law.profile("a_N", level=0.9)
    x, z = np.log(X[:, 0]), np.log(y)
    slope, cut = np.polyfit(x, z, 1)
    s2 = ((z - slope * x - cut) ** 2).sum() / (len(x) - 2)
    half = 1.6716 * np.sqrt(s2 / ((x - x.mean()) ** 2).sum())  # Student's t, 58 degrees of freedom, 95%
    assert found.closed and not found.flat
    np.testing.assert_allclose([found.low, found.high], [-slope - half, -slope + half], rtol=5e-3)
    assert found.objective.min() == pytest.approx(law.objective_, rel=1e-6)


def test_intervals_hold_the_truth_as_often_as_they_say():
    inside = []
    for seed in range(60):
        X, y = line(25, 0.05, seed)
        found = laws.Kaplan("N").fit(X, y).profile("a_N")
        inside.append(found.low <= 0.08 <= found.high)
    assert 0.8 <= np.mean(inside) <= 0.98


def test_a_parameter_that_is_a_function_of_several():
    """A = exp(theta + alpha c) bends with alpha; every point of the curve is an optimum with A held there."""
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1e10, 6), np.geomspace(2e9, 1e11, 6)))
    loss = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(0.003 * np.random.default_rng(0).normal(size=36))
    law = laws.Chinchilla(loss="squared").fit(np.c_[N, D], loss)
    found = law.profile("A")
    assert found.low < 480 < found.high and found.closed
    held = found.values[len(found.values) // 4]
    # by force: the same law with A fixed, searched by SciPy
    from scipy.optimize import minimize

    def objective(p):
        return (
            0.5
            * (np.log(np.exp(p[0]) + held / N ** p[1] + np.exp(p[2]) / D ** p[3]) - np.log(loss))
            @ (np.log(np.exp(p[0]) + held / N ** p[1] + np.exp(p[2]) / D ** p[3]) - np.log(loss))
        )

    p = law.parameters_
    start = [np.log(p["E"]), p["alpha"] + np.log(held / p["A"]) / 20, np.log(p["B"]), p["beta"]]
    best = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 20000, "xatol": 1e-9, "fatol": 1e-14})
    assert found.objective[len(found.values) // 4] == pytest.approx(best.fun, rel=1e-3)


def test_mixture_laws_by_target_and_domain(tmp_path):
    surface = truths.exponential(k=4, targets=2, seed=1)
    X, Y = surface.sample(40, seed=0, noise=0.01)
    law = laws.M4(ridge=0.0).fit(X, Y)
    t = surface.parameters["t"] - surface.parameters["t"].mean(axis=1, keepdims=True)
    held = []
    for j in range(4):
        found = law.profile("t", target="y1", domain=f"x{j}", level=0.99)
        held.append(found.low <= t[1, j] <= found.high)
        assert found.objective.min() == pytest.approx(law.fit_report_["objective"][1], rel=1e-6)
    assert all(held)
    chart = plots.profile(law.profile("c", target="y0"))
    chart.savefig(tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 5000


def test_a_flat_parameter_is_called_flat():
    """Where no run repeats its data much, R_D could be anything."""
    rng = np.random.default_rng(0)
    N, U = (v.ravel() for v in np.meshgrid(np.geomspace(1e8, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    D = U * 1.01
    loss = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(0.01 * rng.normal(size=25))
    with pytest.warns(UserWarning):
        law = laws.RepeatedData().fit({"params": N, "tokens": D, "unique_tokens": U}, loss)
    found = law.profile("R_D")
    assert found.flat and not found.closed and "flat" in str(found)


def test_given_values_speak_for_themselves_only():
    X, y = line()
    law = laws.Kaplan("N").fit(X, y)
    best = law.parameters_["a_N"]
    found = law.profile("a_N", values=[best * 0.9999, best * 1.0001])
    assert found.given and not found.closed
    assert "do not know" not in str(found) and "beyond them nothing was tried" in str(found)
    assert not law.profile("a_N").given


def test_what_is_asked_wrongly_is_answered():
    surface = truths.exponential(k=3, targets=2, seed=1)
    law = laws.M4().fit(*surface.sample(20, noise=0.01))
    for arguments, words in (
        ({"parameter": "gamma", "target": "y0"}, "Known"),
        ({"parameter": "c"}, "say which"),
        ({"parameter": "c", "target": "y7"}, "y7"),
        ({"parameter": "t", "target": "y0"}, "per domain"),
        ({"parameter": "t", "target": "y0", "domain": "x9"}, "x9"),
        ({"parameter": "c", "target": "y0", "domain": "x0"}, "leave domain"),
        ({"parameter": "c", "target": "y0", "level": 90}, "level"),
        ({"parameter": "c", "target": "y0", "values": [1.0]}, "two or more"),
    ):
        with pytest.raises(ConfigError, match=words):
            law.profile(**arguments)
    with pytest.raises(DataError, match=r"rows"):
        Law.from_json(law.to_json()).profile("c", target="y0")
