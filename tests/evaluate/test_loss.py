"""The loss evaluator, and with it the contract of evaluators: from a model to observations."""

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate import EVALUATORS, Evaluator
from mixlaw.models.contract import Item
from mixlaw.models.proxy.presets import model_config
from mixlaw.tokens.loader import validation

from tiny_tokens import MODEL, RULES, VOCABULARY

torch = pytest.importorskip("torch")

from mixlaw.models.proxy.model import Decoder  # noqa: E402
from mixlaw.models.torch_model import TorchModel  # noqa: E402
from mixlaw.train.validation_losses import evaluate  # noqa: E402

CONFIG = model_config(MODEL, VOCABULARY)
NEEDED = {"callable": {"function": "math:sqrt"}, "pass_at_k": {"run_code": True}}
"""Options without which an evaluator is refused."""


@pytest.fixture(scope="module")
def model():
    return TorchModel(CONFIG, Decoder(CONFIG, seed=1).state_dict())


def test_every_evaluator_keeps_the_contract():
    assert "loss" in EVALUATORS.names()
    for name in EVALUATORS:
        evaluator = EVALUATORS.make(name, NEEDED.get(name))
        assert isinstance(evaluator, Evaluator), name
        assert evaluator.direction in ("lower", "higher")


def test_a_validation_set_as_items_has_the_loss_that_the_trainer_measures(model, tiny):
    sets = validation(*tiny, 32)
    targets = {name: [Item(f"{name}-{i}", row) for i, row in enumerate(sets[name][0])] for name in RULES}
    result = EVALUATORS.make("loss")(model, targets)
    measured = evaluate(Decoder(CONFIG, seed=1), sets)
    for row in result.values:
        assert row["value"] == pytest.approx(measured[row["target"]], abs=1e-5)
        assert row["num_items"] == len(targets[row["target"]])
    values, items = result.records("run-1", step=7)
    observations = Observations.from_records([{"run": "run-1", "schedule": None}], values, items=items)
    assert observations.items.num_rows == sum(map(len, targets.values()))
    assert set(observations.values["unit"].to_pylist()) == {"nats_per_token"}


def test_a_target_weighs_items_by_their_scored_tokens(model):
    rng = np.random.default_rng(0)
    items = [Item(str(n), rng.integers(0, VOCABULARY, n), scored_from=2) for n in (4, 9, 30)]
    result = EVALUATORS.make("loss")(model, {"mixed": items})
    single = np.array([row["value"] for row in result.items])
    assert result.values[0]["value"] == pytest.approx(np.average(single, weights=[2, 7, 28]))
    assert single.tolist() == pytest.approx(model.loss_per_item(items).tolist())


def test_the_standard_error_is_that_of_the_mean_over_items(model):
    """Against the scatter of the value over resampled sets of items."""
    rng = np.random.default_rng(2)
    items = [Item(str(i), rng.integers(0, VOCABULARY, int(rng.integers(3, 25)))) for i in range(60)]
    evaluator = EVALUATORS.make("loss")
    stated = evaluator(model, {"x": items}).values[0]["std"]
    losses, tokens = model.loss_per_item(items), np.array([i.num_scored for i in items])
    drawn = [rng.integers(0, 60, 60) for _ in range(2000)]
    scatter = np.std([losses[d] @ tokens[d] / tokens[d].sum() for d in drawn])
    assert stated == pytest.approx(scatter, rel=0.15)
    assert evaluator(model, {"x": items[:1]}).values[0]["std"] is None


def test_an_empty_target_and_an_unknown_option_are_explained(model):
    with pytest.raises(DataError, match="'web' has no items"):
        EVALUATORS.make("loss")(model, {"web": []})
    with pytest.raises(ConfigError, match="has no option"):
        EVALUATORS.make("loss", {"per": "item"})
