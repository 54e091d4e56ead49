"""Runs that train low-rank factors beside weights that stay: the update by hand, going on, merging, refusals."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, RunError, RunStopped
from mixlaw.models.architecture import architecture
from mixlaw.models.hugging_face import CheckpointFolder, load, starting_from, write_folder
from mixlaw.models.lora_options import lora_options
from mixlaw.tokens.loader import validation
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

from tiny_tokens import tiny_spec

torch = pytest.importorskip("torch")

from mixlaw.models.architecture import build  # noqa: E402
from mixlaw.models.lora import add_low_rank, merged, whole_weights  # noqa: E402
from mixlaw.train import TorchTrainer, checkpoint, flops  # noqa: E402
from mixlaw.train.contract import refuse  # noqa: E402
from mixlaw.train.loop import Training  # noqa: E402
from mixlaw.train.throughput import checkpoint_bytes  # noqa: E402
from mixlaw.train.trained_weights import trained_weights  # noqa: E402
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
LORA = {"name": "lora", "options": {"rank": 3, "alpha": 6}}


@pytest.fixture(scope="module")
def encoder():
    return Encoder(train_tokenizer(["hill plain river " * 60], 270))


@pytest.fixture
def setting(tiny, encoder):
    """``(corpus tokenised with the model's tokenizer, root)``."""
    corpus, root = tiny
    return replace(corpus, tokenizer=encoder.hash), root


def published(tmp_path, encoder, family="llama"):
    fields = FAMILIES[family]
    generator = torch.Generator().manual_seed(0)
    shapes = architecture({"config": fields}).shapes()
    weights = {n: torch.randn(shape, generator=generator) * 0.2 for n, shape in shapes.items()}
    given = {"context": 64, "tokenizer": encoder.text, "end": encoder.end}
    write_folder(tmp_path / "model", {"config": fields}, weights, **given)
    return tmp_path / "model"


def spec_of(corpus, path, **changes):
    values = {"learning_rate": {"name": "constant", "peak": 1e-2}, "optimizer": {"precision": "fp32"}, "update": LORA}
    return tiny_spec(corpus, **{**values, **starting_from(path), **changes})


def curve(folder):
    return {(v["step"], v["target"], v["metric"]): v["value"] for v in Observations.load(folder).values.to_pylist()}


def test_one_step_is_the_update_by_hand():
    """A matrix W beside up @ down, in NumPy: gradients of sum((W x + s up down x) . g), then AdamW's first step.

    Adam's first step is the sign of the gradient times the learning rate (its moments are bias-corrected to the
    gradient itself), after the weights decayed by learning rate x 0.1.
    """
    config = architecture({"width": 64, "layers": 1, "heads": 2, "mlp_width": 64}, 64)  # the width of the full rate
    options = lora_options({"rank": 2, "alpha": 4, "targets": ["gate"]}, config)
    model = build(config, 0)
    before = copy.deepcopy(model.state_dict())
    add_low_rank(model, before, options, seed=5)
    rank = model.blocks[0].low_rank["gate"]
    down = rank.down.detach().numpy().copy()
    assert down.shape == (2, 64) and not rank.up.any()
    x, g = torch.randn(7, 64), torch.randn(7, 64)
    (model.blocks[0].linear(x, "gate") * g).sum().backward()
    # d/d up = s g^T (x down^T); d/d down = s up^T g^T x = 0 while up is 0
    expected = 2.0 * g.numpy().T @ (x.numpy() @ down.T)
    np.testing.assert_allclose(rank.up.grad.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert not rank.down.grad.any() and model.blocks[0].gate.grad is None

    model.zero_grad()
    training = Training(model, {}, "fp32")
    batch = np.random.default_rng(0).integers(0, 64, (4, 17))
    loss = model.fast_loss(torch.from_numpy(batch[:, :-1]), torch.from_numpy(batch[:, 1:]), torch.float32)
    (gradient,) = torch.autograd.grad(loss, [rank.up])
    training.step(batch, 1e-2)
    large = gradient.abs() > 1e-5  # below, the division's epsilon shows
    assert large.float().mean() > 0.9
    np.testing.assert_allclose(rank.up.detach()[large], -1e-2 * gradient.sign()[large], rtol=2e-3)
    np.testing.assert_allclose(rank.down.detach(), down * (1 - 1e-2 * 0.1), rtol=1e-6)
    after = model.state_dict()
    assert all((after[name] == values).all() for name, values in before.items())


@pytest.mark.parametrize("kind", [*FAMILIES, "proxy"])
def test_factors_beside_the_weights_are_the_merged_model(kind):
    """Logits and training losses of both; the factors' gradients are those that the merged matrices give."""
    plain = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "vocab_size": 300}
    config = architecture(plain if kind == "proxy" else {"config": FAMILIES[kind]})
    generator = torch.Generator().manual_seed(1)
    shapes = {name: tuple(p.shape) for name, p in build(config).named_parameters()}
    weights = {n: torch.randn(shape, generator=generator) * 0.2 for n, shape in shapes.items()}
    options = lora_options({"rank": 3, "alpha": 2}, config)
    model, whole = build(config), build(config)
    add_low_rank(model, weights, options, seed=0)
    for name, parameter in model.named_parameters():
        if name.endswith(".up") and parameter.requires_grad:
            parameter.data.normal_(0.0, 0.3, generator=generator)
    factors = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    whole.load_state_dict(merged(weights, factors, options))
    again = whole_weights(model)
    assert all(torch.equal(again[name], values) for name, values in whole.state_dict().items())
    tokens = torch.randint(0, 300, (2, 21), generator=generator)
    expected = whole(tokens)
    assert (model(tokens) - expected).abs().max() < 1e-4 * expected.abs().max()
    losses = [m.fast_loss(tokens[:, :-1], tokens[:, 1:], torch.float32) for m in (model, whole)]
    for loss in losses:
        loss.backward()
    assert abs(losses[0].item() - losses[1].item()) < 1e-5
    name = options.targets[0]
    pair, gradient = model.blocks[1].low_rank[name], getattr(whole.blocks[1], name).grad
    scale = options.alpha / options.rank
    torch.testing.assert_close(pair.up.grad, scale * gradient @ pair.down.detach().T, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(pair.down.grad, scale * pair.up.detach().T @ gradient, rtol=1e-3, atol=1e-6)
    assert [n for n, p in model.named_parameters() if p.grad is not None] == list(factors)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_begins_at_its_start_learns_and_is_merged(family, setting, tmp_path, encoder):
    corpus, root = setting
    path = published(tmp_path, encoder, family)
    spec = spec_of(corpus, path)
    folder = tmp_path / spec.id
    TorchTrainer(corpus, root).run(spec, folder)
    sets, measured = validation(corpus, root, 32), curve(folder)
    for name, loss in evaluate(load(path).decoder, sets).items():
        assert measured[0, name, "start_loss"] == loss
        assert measured[30, name, "loss"] < loss - 0.01  # the unembedding, which is random, stays
    held = checkpoint.load(folder)[1]
    options = lora_options(LORA["options"], architecture(spec.model))
    assert sum(t.numel() for n, t in held.items() if n.startswith("model.")) == options.num_parameters
    assert sum(t.numel() for t in held.values()) == 3 * options.num_parameters + 1
    weights, base = trained_weights(folder), CheckpointFolder(path).weights()
    moved = {name for name in base if not torch.equal(base[name], weights[name])}
    assert moved == {f"blocks.{i}.{name}" for i in range(2) for name in options.targets}
    write_folder(tmp_path / "after", spec.model, weights, context=32)
    for name, loss in evaluate(load(tmp_path / "after").decoder, sets).items():
        assert loss == pytest.approx(measured[30, name, "loss"], abs=1e-5)
    row = dict(Observations.load(folder).runs.to_pylist()[0]["settings"])
    assert row["update"]["text"] == "lora" and row["rank"]["number"] == 3
    assert spec.id != spec.replace(update="full").id != spec.replace(update={**LORA, "options": {"rank": 2}}).id


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_run_goes_on_bit_for_bit(precision, setting, tmp_path, encoder):
    corpus, root = setting
    spec = spec_of(corpus, published(tmp_path, encoder), optimizer={"precision": precision})
    trainer = TorchTrainer(corpus, root)
    trainer.run(spec, tmp_path / "whole")
    steps = iter(range(100))
    with pytest.raises(RunStopped):
        trainer.run(spec, tmp_path / "cut", should_stop=lambda: next(steps) == 11)
    trainer.run(spec, tmp_path / "cut")
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    ends = [checkpoint.load(tmp_path / name)[1] for name in ("cut", "whole")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_a_proxys_run_is_continued_with_factors_and_these_again_with_all_weights(tiny, tmp_path):
    corpus, root = tiny
    trainer = TorchTrainer(corpus, root)
    first = tiny_spec(corpus, hills=1.0)
    trainer.run(first, tmp_path / first.id)
    fresh = {"start": first.id, "stage": "continue", "seed": 1}
    second = tiny_spec(corpus, hills=0.0, update=LORA, **fresh)
    trainer.run(second, tmp_path / second.id)
    before, after = curve(tmp_path / first.id), curve(tmp_path / second.id)
    assert after[30, "plains", "loss"] < before[30, "plains", "loss"] - 0.05
    base, weights = (trained_weights(tmp_path / spec.id) for spec in (first, second))
    assert torch.equal(base["embedding"], weights["embedding"])
    assert not torch.equal(base["blocks.0.qkv"], weights["blocks.0.qkv"])
    third = tiny_spec(corpus, hills=0.0, **{**fresh, "start": second.id})
    with pytest.raises(RunError, match="Set optimizer moments to 'reset'"):
        trainer.run(third, tmp_path / third.id)
    third = third.replace(optimizer={"moments": "reset"})
    trainer.run(third, tmp_path / third.id)
    assert curve(tmp_path / third.id)[30, "plains", "loss"] < after[30, "plains", "loss"]
    with pytest.raises(ConfigError, match="no Adam moments to keep"):
        trainer.check(second.replace(optimizer={"moments": "keep"}))


def test_the_factors_start_is_needed_where_it_was(tiny, tmp_path):
    corpus, root = tiny
    trainer = TorchTrainer(corpus, root)
    first = tiny_spec(corpus)
    second = tiny_spec(corpus, update=LORA, start=first.id, stage="continue")
    with pytest.raises(RunError, match="has no finished checkpoint"):
        trainer.run(second, tmp_path / second.id)
    trainer.run(first, tmp_path / first.id)
    trainer.run(second, tmp_path / second.id)
    (tmp_path / first.id / checkpoint.NAME).unlink()
    with pytest.raises(DataError, match="There is no checkpoint"):
        trained_weights(tmp_path / second.id)


def test_its_costs_are_those_of_factors(setting, tmp_path, encoder):
    """By hand for the Llama: a layer has matrices 16x16, 8x16 twice, 16x16, 24x16 twice and 16x24."""
    corpus, _ = setting
    spec = spec_of(corpus, published(tmp_path, encoder))
    per_layer = 16 * 16 + 2 * 8 * 16 + 16 * 16 + 3 * 24 * 16
    factors = 2 * 3 * ((16 + 16) * 2 + (8 + 16) * 2 + (24 + 16) * 3)
    assert checkpoint_bytes(spec) == 12 * factors
    assert checkpoint_bytes(spec.replace(update="full")) > 12 * (2 * per_layer + 300 * 16)
    norms = 2 * 2 * 16 + 16
    products = 2 * per_layer + norms + 300 * 16  # norms are counted as if they were products
    attention = 6 * 2 * 16 * 32
    assert flops(spec) == (4 * products + 6 * factors + attention) * spec.num_steps * 4 * 32
    assert flops(spec) < flops(spec.replace(update="full"))


def test_what_does_not_fit_the_model_is_refused(setting, tmp_path, encoder):
    corpus, root = setting
    spec, trainer = spec_of(corpus, published(tmp_path, encoder)), TorchTrainer(corpus, root)
    trainer.check(spec)

    def changed(**options):
        return spec.replace(update={"name": "lora", "options": options})

    for asked, says in (
        (changed(targets=["q_proj"]), "they have query, key, value, attention_out, gate, up, mlp_out"),
        (changed(targets="query"), "must be a list of matrices among query"),
        (changed(targets=[]), "must be a list of matrices"),
        (changed(rank=9), "rank 9 is larger than the smaller side of key, which is 8 x 16"),
        (changed(rank=0), "whole number of at least 1"),
        (changed(rank=True), "whole number of at least 1"),
        (changed(alpha=0), "alpha must be a number above 0"),
        (changed(ranks=8), "no option 'ranks'. Did you mean 'rank'"),
        (spec.replace(start=None, stage="pretrain", model={"preset": "d64"}), "this run has no start"),
    ):
        with pytest.raises(ConfigError, match=says):
            trainer.check(asked)
    trainer.check(changed(rank=9, targets=["gate"]))
    with pytest.raises(ConfigError, match=r"The trainer 'command' cannot do what this run asks for: update=.*lora"):
        refuse(changed(), "command", can=("checkpoint",))
