"""A law of size fitted to c times the losses predicts c times as much: no start, prior or tolerance is in nats."""

import warnings

import numpy as np
import pytest

from mixlaw import laws
from mixlaw.errors import MixlawWarning
from mixlaw.laws import Kaplan, Nested

LAWS = [
    laws.Chinchilla(), laws.Chinchilla(tied=True), laws.Chinchilla(loss="squared"), laws.RepeatedData(),
    laws.BrokenPowerLaw(), *(Kaplan(form) for form in ("N", "D", "ND", "NS")),
    laws.LearningRateAnnealing.examples()[0],
]  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize("factor", [1.4427, 0.01, 100.0])
def test_predictions_scale_with_the_unit(law, factor):
    rng = np.random.default_rng(3)
    X = law.example_rows(40, rng)
    y = law.example_losses(X) * np.exp(0.01 * rng.normal(size=40))
    options = law.get_params(deep=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        one, other = type(law)(**options).fit(X, y), type(law)(**options).fit(X, factor * y)
        np.testing.assert_allclose(other.predict(X), factor * one.predict(X), rtol=1e-6)


def test_the_nested_law_scales_with_the_unit():
    r, n, d = (v.ravel() for v in np.meshgrid([0.2, 0.4, 0.6, 0.8], [1e7, 3e7, 1e8], [1e9, 2e9, 4e9], indexing="ij"))
    y = (2 - 0.4 * r + 30 * n**-0.25 + 900 * d**-0.35) * np.exp(0.002 * np.random.default_rng(0).normal(size=len(r)))
    X = {"web": r, "code": 1 - r, "params": n, "tokens": d}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        one, other = (Nested(mixture_law=laws.LogLinear(), backtest=False).fit(X, c * y) for c in (1.0, 1.4427))
        np.testing.assert_allclose(other.predict(X), 1.4427 * one.predict(X), rtol=1e-6)
