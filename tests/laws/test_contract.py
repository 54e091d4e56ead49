"""What every registered law keeps, whatever its kind, checked automatically for each (also one added tomorrow).

The checks are :mod:`mixlaw.laws.core.contract`; what they simulate is declared by each law. Here stand the registry,
and what only a test of this project needs (scikit-learn's own checks, mixture designs that are awkward on purpose).
"""

import importlib.util
import os
import warnings

import numpy as np
import pytest
from sklearn.utils import estimator_checks

from mixlaw.errors import MixlawWarning
from mixlaw.laws import LAWS
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.contract import CHECKS, STATISTICAL, ContractError, check_law
from mixlaw.laws.core.examples import DOMAINS
from mixlaw.laws.core.parameters import Positive
from mixlaw.laws.fit.scale_law import ScaleLaw

import truths

NAMES = LAWS.names()
ALIASES = {
    "gp": "gaussian_process",
    "loglinear": "log_linear",
    "bimix": "bi_mix",
    "autoscale": "auto_scale",
    "annealing": "learning_rate_annealing",
    "broken": "broken_power_law",
}
# The only law that needs an extra to be fitted, excused in the run of the core alone and nowhere else.
EXCUSED = {"trees"} if os.environ.get("MIXLAW_CORE_ONLY") and importlib.util.find_spec("lightgbm") is None else set()


def law_class(name: str) -> type[Law]:
    if name in EXCUSED:
        pytest.skip(f"{name}: needs the [trees] extra")
    return LAWS[name]


def slow(name: str, check: str) -> bool:
    """Laws of costly fits, and examples after the first, are simulated for many data sets in the slow suite."""
    if check == "coverage of other examples":
        return True
    return check == "parameter coverage" and name not in EXCUSED and LAWS[name].costly


CASES = [
    pytest.param(name, check, marks=[pytest.mark.slow] if slow(name, check) else [], id=f"{name}-{check}")
    for name in NAMES
    for check in CHECKS
]


@pytest.mark.parametrize(("name", "check"), CASES)
def test_law(name, check):
    CHECKS[check](law_class(name))


# ---- the registry ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_every_file_holds_its_class(name):
    cls = LAWS[name]  # an entry that cannot be imported is a failure
    assert isinstance(cls, type) and issubclass(cls, Law)
    assert LAWS.name_of(cls) == cls.name == name
    if name in LAWS.files:
        assert cls.__module__ == LAWS.files[name]


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_names_of_the_first_version_are_aliases(alias, name):
    assert LAWS[alias] is LAWS[name] and alias not in LAWS.names()


def test_every_kind_of_law_is_checked():
    assert {LAWS[name].kind for name in NAMES} >= {"mixture", "scale", "joint"}
    assert set(STATISTICAL) <= set(CHECKS)


@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_get_params_invariance",
        "check_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_scikit_learn_contract(name, check):
    """Those of scikit-learn's checks that do not feed a law numbers no mixture could be."""
    cls = law_class(name)
    getattr(estimator_checks, check)(cls.__name__, cls())


# ---- the contract can fail ----------------------------------------------------------------------------------
class Hestness(ScaleLaw):
    """``L(D) = E + B / D^beta``: the loss against data alone. Not for: runs of several sizes.

    Source: Hestness et al. 2017, arXiv:1712.00409.
    """

    columns = ("tokens",)
    parameters = {
        "E": Positive(1.7, "irreducible loss, nats"),
        "B": Positive(410, "data term, nats at one token"),
        "beta": Positive(0.28, "data exponent"),
    }
    source = "Hestness et al. 2017, arXiv:1712.00409"

    def loss(self, p, tokens):  # p.E (B, 1), tokens (n,)  ->  (B, n)
        return p.E + p.B * tokens**-p.beta

    def slopes(self, p, tokens):  # d loss / d parameter; the contract holds it to differences
        term = p.B * tokens**-p.beta
        return {"E": 1.0, "B": tokens**-p.beta, "beta": -np.log(tokens) * term}


@pytest.fixture(scope="module")
def hestness():
    """A newcomer's law, written as the page says, known under a name for as long as these tests run."""
    LAWS.register("hestness_of_the_test", Hestness)
    return Hestness


@pytest.mark.parametrize("check", CHECKS)
def test_a_law_of_a_declaration_and_two_functions_keeps_the_contract(hestness, check):
    check_law(hestness, only=[check])


def test_such_a_law_has_all_that_the_others_have(hestness):
    law = hestness(bootstrap=40, seed=1)
    rng = np.random.default_rng(0)
    X = law.example_rows(40, rng)
    law.fit(X, law.example_losses(X) * np.exp(0.002 * rng.normal(size=40)))
    assert law.converged_ and set(law.intervals_) == {"E", "B", "beta"}
    found = law.profile("beta")
    assert found.closed and found.low < 0.28 < found.high
    assert law.sample(X, 5, rng).shape == (5, 40, 1)


class WrongSlope(Hestness):
    """A slip in one slope."""

    def slopes(self, p, tokens):
        return {**super().slopes(p, tokens), "beta": np.log(tokens) * p.B * tokens**-p.beta}


class Overconfident(Hestness):
    """Intervals a tenth as wide as they should be."""

    def predict_interval(self, X, level=0.9):
        low, high = super().predict_interval(X, level)
        middle = (low + high) / 2
        return middle - 0.1 * (middle - low), middle + 0.1 * (high - middle)


class Forgetful(Hestness):
    """Predictions that depend on the order of rows in the fit."""

    def _fit(self, X, Y, sample_weight):
        super()._fit(X, Y, sample_weight)
        self.theta_ = self.theta_ + 1e-3 * np.sign(X[0, 0] - X[-1, 0])


class Sure(LAWS["m2"]):
    """Intervals of parameters without width."""

    @property
    def intervals_(self):
        return {name: (value, value) for name, value in self.parameters_.items()}


@pytest.mark.parametrize(
    ("broken", "check"),
    [(WrongSlope, "slopes"), (Overconfident, "interval coverage"), (Forgetful, "order"), (Sure, "parameter coverage")],
)
def test_a_law_that_breaks_the_contract_is_found_out(broken, check):
    with pytest.raises(ContractError):
        check_law(broken, only=[check])


# ---- mixtures ------------------------------------------------------------------------------------------------
def reads_mixtures(law: Law) -> bool:
    return law.kind == "mixture" and list(law.example_rows(2, np.random.default_rng(0))) == list(DOMAINS)


# Laws of experts (tests/laws/test_mixmin.py) read the domains that there is an expert of, and no others.
MIXTURES = [n for n in NAMES if reads_mixtures(LAWS[n].examples()[0]) and "experts" not in LAWS.options(n)]


@pytest.mark.parametrize("name", MIXTURES)
def test_awkward_designs_never_give_nan(name):
    """A constant target, a domain never used, two that move together, repeated rows: all at once."""
    law = law_class(name)()
    base = truths.mixtures(14, 3, seed=8)
    base = np.vstack([base, base[:4]])
    X = np.column_stack([0.5 * base[:, 0], 0.5 * base[:, 0], base[:, 1], base[:, 2], np.zeros(len(base))])
    Y = np.column_stack([2 + np.exp(-3 * X[:, 2]), np.full(len(X), 1.25)])
    Y[:, 0] += 0.01 * np.random.default_rng(0).normal(size=len(X))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        law.fit(X, Y)
    there = np.vstack([X, np.eye(5)])
    assert np.isfinite(law.predict(there)).all()
    np.testing.assert_allclose(law.predict(there)[:, 1], 1.25, atol=1e-3)
    assert all(np.isfinite(end).all() for end in law.predict_interval(there))


def test_a_summary_tells_long_names_apart_that_share_an_end():
    X = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    domains = ["common_crawl:2024:high", "common_crawl:2024:low", "books_of_the_common_crawl:2024:high"]
    loss = 2 + 0.5 * np.exp(-3 * X[:, 0])
    law = LAWS["m4"]().fit(dict(zip(domains, X.T)), {"validation_of_common_crawl_web": loss})
    header = next(line for line in law.summary().splitlines() if "\u2026" in line)
    assert len(set(header.split())) == 3
