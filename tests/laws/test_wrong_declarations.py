"""A law of one's own that is declared or written wrongly, and a saved law that is none: each is refused in words."""

import json

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError, MixlawError
from mixlaw.laws import CapabilityLaw, Chinchilla, Law, MixtureLaw, Positive, ScaleLaw, check_law
from mixlaw.laws.core.contract import ContractError

TOKENS, LOSSES = {"tokens": [1e9, 2e9, 4e9, 8e9]}, [3.0, 2.8, 2.7, 2.6]
E, B = Positive(1.7, "irreducible loss, nats"), Positive(3e8, "data term, nats at one token")


class Power(ScaleLaw):
    """`E + B / D`."""

    columns = ("tokens",)
    parameters = {"E": E, "B": B}

    def loss(self, p, tokens):
        return p.E + p.B / tokens

    def slopes(self, p, tokens):
        return {"E": 1.0, "B": 1 / tokens}


class NoLoss(ScaleLaw):
    """Nothing written."""

    columns = ("tokens",)
    parameters = {"E": E}


class NoSlopes(NoLoss):
    """A loss alone."""

    def loss(self, p, tokens):
        return p.E + 0 * tokens


class OneSlope(Power):
    """A parameter without a slope."""

    def slopes(self, p, tokens):
        return {"E": 1.0}


class OtherShape(Power):
    """A loss that does not belong to the rows."""

    def loss(self, p, tokens):
        return p.E + np.ones(3)


class OtherSlope(Power):
    """A slope that does not belong to the rows."""

    def slopes(self, p, tokens):
        return {"E": np.ones(3), "B": 1 / tokens}


class Undeclared(Power):
    """A number where a declaration is needed."""

    parameters = {"E": E, "B": 3e8}


class NoAccuracy(CapabilityLaw):
    """Nothing written."""

    columns = ("tokens",)
    parameters = {"middle": E}


class MixtureWithoutLoss(MixtureLaw):
    """Slopes alone."""

    parameters = {"E": E}
    intercept = "E"

    def slopes(self, p, R):
        return {"E": 1.0}


def test_the_law_that_the_others_are_made_of_is_right():
    """It is linear in all that it declares, so its fit has no grid to begin from."""
    tokens = np.array(TOKENS["tokens"])
    law = Power().fit(TOKENS, 1.5 + 1e9 / tokens)
    assert law.parameters_ == pytest.approx({"E": 1.5, "B": 1e9}, rel=1e-5)
    check_law(Power, only=["recovery", "slopes", "order", "scale of y", "scale of counts"])


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (NoLoss, r"NoLoss must define loss\(self, p, tokens\)"),
        (NoSlopes, r"NoSlopes must define slopes\(self, p, tokens\)"),
        (OneSlope, r"OneSlope.slopes must return one entry per parameter, \['E', 'B'\]; it returned \['E'\]"),
        (OtherShape, r"OtherShape: the loss has shape \(1, 3\), but must broadcast to \(B, n\) at n=4 rows"),
        (OtherSlope, r"OtherSlope: slopes\['E'\] has shape \(3,\), but must broadcast"),
        (Undeclared, r"parameters must declare each by Positive.*; got \{'B': 300000000.0\}"),
    ],
)
def test_a_law_of_size_written_wrongly(law, message):
    with pytest.raises(ConfigError, match=message):
        law().fit(TOKENS, LOSSES)
    with pytest.raises(MixlawError):
        check_law(law)


def test_a_law_of_another_kind_written_wrongly():
    with pytest.raises(ConfigError, match=r"NoAccuracy must define accuracy\(self, p, tokens\)"):
        NoAccuracy().fit(TOKENS, [0.2, 0.3, 0.4, 0.5])
    rows = np.random.default_rng(0).dirichlet([1, 1], 12)
    with pytest.raises(ConfigError, match=r"MixtureWithoutLoss must write loss\(p, R\)"):
        MixtureWithoutLoss().fit(rows, np.linspace(2, 3, 12))


@pytest.mark.parametrize("start", ["1.7", None, True, ()])
def test_a_start_that_is_no_number(start):
    with pytest.raises(ConfigError, match="must be numbers, for example Positive"):
        Positive(start, "nats")


@pytest.mark.parametrize("law", [dict, 3, "chinchilla", None, Chinchilla()])
def test_check_law_takes_a_class_of_laws(law):
    with pytest.raises(ConfigError, match=r"a class that inherits from Law, such as laws\.M4; got"):
        check_law(law)


def test_check_law_knows_its_checks_and_says_where_a_law_stopped():
    with pytest.raises(ConfigError, match=r"no check 'slope'\. Did you mean 'slopes'"):
        check_law(Chinchilla, only=["slope"])
    with pytest.raises(ContractError, match=r"Law: the check 'recovery' stopped with .*must define _fit"):
        check_law(Law, only=["recovery"])


SAVED = {"class": "chinchilla", "params": {}, "state": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "not a law written by mixlaw: it has no 'class' and no 'params' and no 'state'"),
        (SAVED | {"class": ["m4"]}, "is no law written by mixlaw: TypeError.*Restore it from a copy"),
        (SAVED | {"class": "os:system"}, "'os:system', which is not registered here"),
        (SAVED | {"params": 3}, "not a law 'chinchilla' as mixlaw writes it"),
        (SAVED | {"params": {"no_option": 3}}, "as mixlaw writes it: .*'no_option'.*restore the file from a copy"),
        (SAVED | {"state": {"theta_": {"__array__": [1.0]}}}, "as mixlaw writes it: KeyError: 'dtype'"),
        ({"class": "auto", "params": {}, "state": {}}, "not a law 'auto' as mixlaw writes it"),
    ],
)
def test_a_saved_law_that_is_none(content, message):
    with pytest.raises(DataError, match=message):
        Law.from_json(json.dumps(content))
