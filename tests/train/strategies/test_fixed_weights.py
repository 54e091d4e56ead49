"""Mixtures that do not depend on training, against published and hand-computed weights."""

import numpy as np
import pytest

from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.optimize.around.baselines import temperature, unimax
from mixlaw.train.strategies import STRATEGIES

SIZES = {"a": 70, "b": 20, "c": 10}
THREE = Schedule.constant({"a": 0.2, "b": 0.2, "c": 0.6})


def weights(name: str, **options: object) -> np.ndarray:
    return np.array(STRATEGIES.make(name, {"schedule": THREE, "num_steps": 10, **options}).update(3).weights)


@pytest.mark.parametrize(("T", "wanted"), [(2.0, (0.523, 0.279, 0.198)), (5.0, (0.407, 0.317, 0.276))])
def test_temperature(T, wanted):
    assert weights("temperature", sizes=SIZES, temperature=T) == pytest.approx(wanted, abs=5e-4)
    corpus = Corpus.declared(SIZES, source="test")
    assert weights("temperature", sizes=SIZES, temperature=T) == pytest.approx(temperature(corpus, T).array())


def test_natural_is_temperature_one_and_uniform_its_limit():
    assert weights("natural", sizes=SIZES) == pytest.approx([0.7, 0.2, 0.1])
    assert weights("natural", sizes=SIZES) == pytest.approx(weights("temperature", sizes=SIZES, temperature=1.0))
    assert weights("uniform") == pytest.approx([1 / 3] * 3)
    assert weights("temperature", sizes=SIZES, temperature=1e9) == pytest.approx(weights("uniform"))


@pytest.mark.parametrize(
    ("tokens", "epochs", "wanted"),
    [
        (90, 4.0, (1 / 3, 1 / 3, 1 / 3)),  # 30 of each: c is within its 40
        (180, 4.0, (70 / 180, 70 / 180, 40 / 180)),  # c at its limit, the rest shared
        (300, 4.0, (180 / 300, 80 / 300, 40 / 300)),  # b too
        (1e6, 4.0, (0.7, 0.2, 0.1)),  # all of them: natural
    ],
)
def test_uni_max_serves_the_smallest_first(tokens, epochs, wanted):
    assert weights("uni_max", sizes=SIZES, tokens=tokens, epochs=epochs) == pytest.approx(wanted)
    corpus = Corpus.declared(SIZES, source="test")
    assert weights("uni_max", sizes=SIZES, tokens=tokens, epochs=epochs) == pytest.approx(
        unimax(corpus, tokens, epochs).array()
    )


def test_sizes_of_domains_that_the_run_does_not_have_do_not_count():
    assert weights("natural", sizes={**SIZES, "d": 900}) == pytest.approx([0.7, 0.2, 0.1])


def test_recipe_gives_its_weights_and_zero_to_the_others():
    assert weights("recipe", weights={"c": 0.75, "a": 0.25}).tolist() == [0.25, 0.0, 0.75]
