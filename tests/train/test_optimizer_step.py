"""The optimiser step against torch's own AdamW on separate parameters."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mixlaw.errors import ConfigError  # noqa: E402
from mixlaw.models.proxy.model import Decoder  # noqa: E402
from mixlaw.models.proxy.presets import ModelConfig  # noqa: E402
from mixlaw.train.loop import Training, choose_precision  # noqa: E402
from mixlaw.train.optimizer_options import optimizer_options  # noqa: E402

CONFIG = ModelConfig(32, 1, 2, 48, vocab_size=40)


def batches(count):
    return np.random.default_rng(0).integers(0, 40, (count, 3, 17))


def test_equals_adamw_with_width_scaled_rates_and_plain_clipping():
    options = {"weight_decay": 0.3, "clip": 0.05, "betas": (0.8, 0.9), "eps": 1e-3}
    training = Training(Decoder(CONFIG, 0), options, "fp32")
    model = Decoder(CONFIG, 0)
    factor = 64 / 32
    groups = []
    for name, parameter in model.named_parameters():
        hidden = name.startswith("blocks.") and parameter.ndim == 2
        # Decay per step is learning rate x weight_decay whatever the width.
        decay = 0.3 / factor if hidden else 0.0
        groups.append({"params": [parameter], "lr": 1e-2 * (factor if hidden else 1.0), "weight_decay": decay})
    adam = torch.optim.AdamW(groups, betas=(0.8, 0.9), eps=1e-3)
    for batch in batches(4):
        value, norm = training.step(batch, 1e-2)
        adam.zero_grad()
        ids = torch.from_numpy(batch)
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        expected_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        adam.step()
        assert value == pytest.approx(loss.item(), abs=1e-5)
        assert norm == pytest.approx(float(expected_norm), rel=1e-4)
    for (name, ours), (_, theirs) in zip(training.model.named_parameters(), model.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_learns(precision):
    training = Training(Decoder(CONFIG, 0), {}, precision)
    batch = batches(1)[0]
    losses = [training.step(batch, 1e-2)[0] for _ in range(30)]
    assert losses[0] == pytest.approx(np.log(40), abs=0.2)
    assert losses[-1] < 0.5 * losses[0]


def test_a_step_that_is_not_finite_changes_nothing(precision):
    training = Training(Decoder(CONFIG, 0), {}, precision)
    training.step(batches(1)[0], 1e-3)
    before = {n: t.clone() for n, t in training.tensors().items()}
    with torch.no_grad():
        training.model.final_norm[0] = float("nan")
    value, _ = training.step(batches(1)[0], 1e-3)
    assert not np.isfinite(value)
    after = training.tensors()
    for name in before:
        if name != "model.final_norm":
            assert torch.equal(before[name], after[name]), name


@pytest.mark.parametrize("moments", [True, False])
def test_state_round_trip(moments, precision):
    first = Training(Decoder(CONFIG, 0), {}, precision)
    data = batches(6)
    for batch in data[:3]:
        first.step(batch, 1e-2)
    second = Training(Decoder(CONFIG, 9), {}, precision)
    second.load({n: t.clone() for n, t in first.tensors().items()}, moments)
    for batch in data[3:]:
        a, b = first.step(batch, 1e-2), second.step(batch, 1e-2)
        if moments:
            assert a == b
    same = all(torch.equal(t, second.tensors()[n]) for n, t in first.tensors().items())
    assert same is moments


def test_a_checkpoint_of_another_architecture_is_refused():
    tensors = Training(Decoder(CONFIG, 0), {}, "fp32").tensors()
    other = Training(Decoder(ModelConfig(32, 2, 2, 48, vocab_size=40), 0), {}, "fp32")
    with pytest.raises(ConfigError, match=r"blocks\.1"):
        other.load(tensors)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "adam"}, "Did you mean 'adamw'"),
        ({"wd": 0.1}, "Unknown optimizer field 'wd'"),
        ({"betas": [0.9]}, "betas"),
        ({"clip": 0}, "clip"),
        ({"precision": "fp16"}, "precision"),
    ],
)
def test_wrong_options_are_explained(options, words):
    with pytest.raises(ConfigError, match=words):
        optimizer_options(options)


def test_precision_is_decided_by_the_device_alone():
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"
    assert choose_precision("auto", cpu) in ("bf16", "fp32")
