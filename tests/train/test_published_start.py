"""Runs that continue a published checkpoint: they begin at its losses, go on bit for bit, and refuse others."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, RunStopped
from mixlaw.models.architecture import architecture
from mixlaw.models.hugging_face import load, starting_from, write_folder
from mixlaw.tokens.loader import validation
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

from tiny_tokens import tiny_spec

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from mixlaw.train import TorchTrainer, checkpoint, flops  # noqa: E402
from mixlaw.train.validation_losses import evaluate  # noqa: E402

SIZES = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
FAMILIES = {
    "llama": {**SIZES, "model_type": "llama", "num_key_value_heads": 1},
    "pythia": {**SIZES, "model_type": "gpt_neox", "rotary_pct": 0.5},
    "gemma": {**SIZES, "model_type": "gemma3_text", "head_dim": 8, "num_key_value_heads": 1, "sliding_window": 7},
}


@pytest.fixture(scope="module")
def encoder():
    words = random.Random(0)
    return Encoder(train_tokenizer([" ".join(words.choice(["hill", "plain", "river"]) for _ in range(200))], 270))


@pytest.fixture
def setting(tiny, encoder):
    """``(corpus tokenised with the model's tokenizer, root)``."""
    corpus, root = tiny
    return replace(corpus, tokenizer=encoder.hash), root


def published(tmp_path, encoder, fields=FAMILIES["llama"], name="model"):
    config = architecture({"config": fields})
    generator = torch.Generator().manual_seed(0)
    weights = {n: torch.randn(shape, generator=generator) * 0.2 for n, shape in config.shapes().items()}
    given = {"context": 64, "tokenizer": encoder.text, "end": encoder.end}
    write_folder(tmp_path / name, {"config": fields}, weights, **given)
    return tmp_path / name


def spec_of(corpus, path, **changes):
    return tiny_spec(corpus, **{"learning_rate": {"name": "constant", "peak": 3e-3}, **starting_from(path), **changes})


def losses_of(path, corpus, root, context=32):
    return evaluate(load(path).decoder, validation(corpus, root, context))


def curve(folder):
    return {(v["step"], v["target"], v["metric"]): v["value"] for v in Observations.load(folder).values.to_pylist()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_begins_at_the_losses_of_its_checkpoint_and_learns(family, setting, tmp_path, encoder):
    corpus, root = setting
    path = published(tmp_path, encoder, FAMILIES[family])
    spec = spec_of(corpus, path, optimizer={"precision": "fp32"})
    TorchTrainer(corpus, root).run(spec, tmp_path / spec.id)
    measured, before = curve(tmp_path / spec.id), losses_of(path, corpus, root)
    for name, loss in before.items():
        assert measured[0, name, "start_loss"] == loss
        assert measured[30, name, "loss"] < loss - 0.1
    row = Observations.load(tmp_path / spec.id).runs.to_pylist()[0]
    config = architecture(spec.model)
    assert row["start"] == spec.start["hash"] and row["params"] == config.params
    assert dict(row["settings"])["family"]["text"] == config.family
    assert flops(spec) > 6 * config.params * spec.tokens
    # ... and the trained weights are a checkpoint again, with the losses that the run ended at
    weights = checkpoint.load_weights(tmp_path / spec.id)
    write_folder(tmp_path / "after", spec.model, weights, context=32)
    for name, loss in losses_of(tmp_path / "after", corpus, root).items():
        assert loss == measured[30, name, "loss"]


def test_a_stopped_run_goes_on_bit_for_bit(setting, tmp_path, encoder):
    corpus, root = setting
    spec = spec_of(corpus, published(tmp_path, encoder))
    TorchTrainer(corpus, root).run(spec, tmp_path / "whole")
    steps = iter(range(100))
    with pytest.raises(RunStopped):
        TorchTrainer(corpus, root).run(spec, tmp_path / "cut", should_stop=lambda: next(steps) == 11)
    TorchTrainer(corpus, root).run(spec, tmp_path / "cut")
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


def test_a_run_goes_on_from_a_run_that_continued_a_checkpoint(setting, tmp_path, encoder):
    corpus, root = setting
    first = spec_of(corpus, published(tmp_path, encoder))
    TorchTrainer(corpus, root).run(first, tmp_path / first.id)
    second = first.replace(start=first.id, seed=1)
    TorchTrainer(corpus, root).run(second, tmp_path / second.id)
    ends = [curve(tmp_path / s.id)[30, "hills", "loss"] for s in (first, second)]
    assert ends[1] < ends[0]


def test_the_place_of_a_checkpoint_is_no_part_of_a_run(setting, tmp_path, encoder):
    corpus, _ = setting
    here, there = published(tmp_path, encoder), published(tmp_path, encoder, name="moved")
    assert spec_of(corpus, here).id == spec_of(corpus, there).id
    other = published(tmp_path, encoder, {**FAMILIES["llama"], "rope_theta": 500.0}, name="other")
    assert spec_of(corpus, here).id != spec_of(corpus, other).id


def test_what_is_not_the_checkpoints_is_refused(setting, tmp_path, encoder):
    corpus, root = setting
    path = published(tmp_path, encoder)
    spec, trainer = spec_of(corpus, path), TorchTrainer(corpus, root)
    trainer.check(spec)
    for changed, says in (
        (spec.replace(start=None, stage="pretrain"), "trained from a checkpoint only"),
        (spec.replace(start={**spec.start, "moments": "keep"}), "comes without Adam moments"),
        (spec.replace(start={**spec.start, "hash": "0" * 16}), "what is there now is"),
        (spec.replace(model={"preset": "d64"}), "The run's model is not the one of"),
        (spec.replace(model={**spec.model, "layers": 2}), "Unknown model field 'layers'"),
        (spec.replace(model={"config": "llama"}), "must be the fields of a config.json"),
        (spec.replace(context=128), "at most 64 tokens, and context is 128"),
        (spec.replace(loss_on="answer"), "loss_on="),
    ):
        with pytest.raises(ConfigError, match=says):
            trainer.check(changed)
    with pytest.raises(ConfigError, match="has another"):
        TorchTrainer(replace(corpus, tokenizer="tiny"), root).check(spec.replace(corpus_hash=""))
    with pytest.raises(ConfigError, match="vocabulary ends at 299"):
        TorchTrainer(replace(corpus, vocab_size=301), root).check(spec.replace(corpus_hash=""))
    (path / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json"):
        trainer.check(spec_of(corpus, path))
    (path / "config.json").unlink()
    with pytest.raises(DataError, match="There is no checkpoint in"):
        trainer.check(spec)


def test_diverged_weights_are_told_as_a_result(setting, tmp_path, encoder):
    corpus, root = setting
    spec = spec_of(corpus, published(tmp_path, encoder), learning_rate={"name": "constant", "peak": 1e4})
    TorchTrainer(corpus, root).run(spec, tmp_path / spec.id)
    row = Observations.load(tmp_path / spec.id).runs.to_pylist()[0]
    assert row["status"] == "diverged"
    assert np.isfinite(curve(tmp_path / spec.id)[0, "hills", "start_loss"])
    assert json.loads((tmp_path / spec.id / "machine.json").read_text())["device"]
