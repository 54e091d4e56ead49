"""Operations and disk by formula, against counts made another way."""

import pytest

from mixlaw.models.proxy.presets import model_config
from mixlaw.train.throughput import checkpoint_bytes, flops, measure_parts

from tiny_tokens import tiny_spec


def test_flops_count_every_matrix_product(tiny):
    """Against torch's own counter on the plain formula: backward is twice forward; attention half where masked."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from mixlaw.models.proxy.model import Decoder

    spec = tiny_spec(tiny[0], steps=1)
    config = model_config(spec.model, 64)
    ids = torch.zeros(spec.batch, spec.context, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        Decoder(config)(ids)
    tokens = spec.batch * spec.context
    norms = config.width * (2 * config.layers + 1)  # parameters that are in no matrix product
    # The counter sees the linear layers only: attention on a CPU is one operation to it.
    assert set(map(str, counter.get_flop_counts()["Global"])) <= {"aten.mm", "aten.addmm", "aten.bmm"}
    linear = 3 * counter.get_total_flops() + 6 * norms * tokens
    # Scores and their mixing: 2 products of 2 operations per pair of positions and feature, half of the pairs masked.
    attention = 3 * 2 * 2 * config.layers * config.width * spec.context * tokens / 2
    assert flops(spec, 64) == pytest.approx(linear + attention, rel=1e-9)


def test_checkpoints_take_the_disk_they_are_said_to(tiny, tmp_path):
    pytest.importorskip("torch")
    from mixlaw.train import TorchTrainer

    spec = tiny_spec(tiny[0], steps=2)
    TorchTrainer(*tiny).run(spec, tmp_path / spec.id)
    size = (tmp_path / spec.id / "checkpoint.safetensors").stat().st_size
    said = checkpoint_bytes(spec, 64)
    assert said <= size < said + 20_000  # names and the curve come on top


@pytest.mark.slow
def test_measuring_this_machine(tiny):
    pytest.importorskip("torch")
    parts = measure_parts(tiny_spec(tiny[0]), 64, workers=2, seconds=0.4)
    assert parts.workers == 2
    assert parts.train > 0
    assert parts.evaluate > 0
    assert parts.seconds(10 * parts.train, 5 * parts.evaluate) == pytest.approx(15)
