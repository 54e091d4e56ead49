"""The decoder against formulas written down independently, and the fast path against the plain one."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mixlaw.errors import ConfigError  # noqa: E402
from mixlaw.models.proxy import kernels  # noqa: E402
from mixlaw.models.proxy.model import Decoder  # noqa: E402
from mixlaw.models.proxy.presets import PRESETS, ModelConfig, model_config, presets  # noqa: E402


def small(**changes):
    values = {"width": 32, "layers": 2, "heads": 2, "mlp_width": 48, "vocab_size": 50, **changes}
    model = Decoder(ModelConfig(**values), seed=1)
    with torch.no_grad():  # gains away from one, so that an error in them shows
        for name, parameter in model.named_parameters():
            if name.endswith("norm"):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return model


def tokens(batch, context, vocab=50):
    return torch.from_numpy(np.random.default_rng(0).integers(0, vocab, (batch, context + 1)))


def reference_logits(model, ids):
    """The decoder in plain NumPy, float64, one head and one position at a time."""
    c, p = model.config, {n: v.detach().double().numpy() for n, v in model.named_parameters()}

    def norm(x, gain):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + c.norm_eps) * gain

    def turned(vector, position):
        out = np.empty_like(vector)
        for i in range(len(vector) // 2):
            angle = position * c.rope_base ** (-2 * i / len(vector))
            a, b = vector[2 * i], vector[2 * i + 1]
            out[2 * i], out[2 * i + 1] = (
                a * math.cos(angle) - b * math.sin(angle),
                b * math.cos(angle) + a * math.sin(angle),
            )
        return out

    x = p["embedding"][ids]
    for layer in range(c.layers):
        w = {n.split(".", 2)[2]: v for n, v in p.items() if n.startswith(f"blocks.{layer}.")}
        q, k, v = np.split(norm(x, w["attention_norm"]) @ w["qkv"].T, 3, axis=-1)
        mixed = np.zeros_like(x)
        for h in range(c.heads):
            part = slice(h * c.head_dim, (h + 1) * c.head_dim)
            keys = [turned(k[s, part], s) for s in range(len(ids))]
            for t in range(len(ids)):
                query = turned(q[t, part], t)
                scores = np.array([query @ keys[s] for s in range(t + 1)]) * math.sqrt(c.base_head_dim) / c.head_dim
                weights = np.exp(scores - scores.max())
                mixed[t, part] = (weights / weights.sum()) @ v[: t + 1, part]
        x = x + mixed @ w["attention_out"].T
        normed = norm(x, w["mlp_norm"])
        gate = normed @ w["gate"].T
        x = x + (gate / (1 + np.exp(-gate)) * (normed @ w["up"].T)) @ w["mlp_out"].T
    readout = p["embedding"] if c.tie_embeddings else p["unembedding"]
    return norm(x, p["final_norm"]) @ readout.T * c.base_width / c.width


@pytest.mark.parametrize("tied", [False, True])
def test_plain_formula_against_numpy(tied):
    model = small(tie_embeddings=tied)
    ids = tokens(1, 11)[0]
    expected = reference_logits(model, ids.numpy())
    np.testing.assert_allclose(model(ids[None])[0].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_future_tokens_do_not_change_past_logits():
    model, ids = small(), tokens(2, 20)
    changed = ids.clone()
    changed[:, 13:] = (changed[:, 13:] + 7) % 50
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :13], after[:, :13])
    assert not torch.allclose(before[:, 13:], after[:, 13:])


@pytest.mark.parametrize("context", [7, 128, 200])  # within one query block, exactly one, and across two
@pytest.mark.parametrize("tied", [False, True])
def test_fast_loss_and_gradients_equal_the_plain_ones(context, tied):
    model, ids = small(tie_embeddings=tied), tokens(3, context)
    gradients = []
    for loss in (
        model.loss(ids[:, :-1], ids[:, 1:]),
        model.fast_loss(ids[:, :-1], ids[:, 1:], torch.float32),
    ):
        model.zero_grad()
        loss.backward()
        gradients.append((loss.item(), {n: p.grad.clone() for n, p in model.named_parameters()}))
    (plain, expected), (fast, found) = gradients
    assert fast == pytest.approx(plain, abs=1e-5)
    for name, gradient in expected.items():
        error = float((found[name] - gradient).norm() / gradient.norm())
        assert error < 1e-4, name


def test_bf16_gradients_point_the_same_way():
    model, ids = small(), tokens(4, 64)
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    loss = model.fast_loss(ids[:, :-1], ids[:, 1:], torch.bfloat16)
    loss.backward()
    assert loss.item() == pytest.approx(model.loss(ids[:, :-1], ids[:, 1:]).item(), abs=2e-3)
    for name, parameter in model.named_parameters():
        cosine = torch.nn.functional.cosine_similarity(parameter.grad.flatten(), expected[name].flatten(), dim=0)
        assert float(cosine) > 0.99, name


def test_cross_entropy_against_torch_in_chunks(monkeypatch):
    monkeypatch.setattr(kernels, "VOCABULARY_CHUNK_ELEMENTS", 3 * 17)  # chunks of 3 rows: 10 rows leave a rest of 1
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 8, generator=generator, requires_grad=True)
    weight = torch.randn(17, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 17, (10,), generator=generator)
    loss = kernels.cross_entropy(x, weight, targets)
    (3.0 * loss).backward()
    x64, w64 = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    expected = torch.nn.functional.cross_entropy(x64 @ w64.t(), targets)
    (3.0 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    torch.testing.assert_close(x.grad.double(), x64.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weight.grad.double(), w64.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_cross_entropy_of_a_large_vocabulary(frozen, monkeypatch):
    """Chunks of a fixed number of rows; a frozen unembedding gets no gradient, and no memory for one."""
    monkeypatch.setattr(kernels, "LARGE_VOCABULARY", 17)
    monkeypatch.setattr(kernels, "ROWS_OF_A_LARGE_VOCABULARY", 4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 8, generator=generator, requires_grad=True)
    weight = torch.randn(17, 8, generator=generator).requires_grad_(not frozen)
    targets = torch.randint(0, 17, (10,), generator=generator)
    made = []
    monkeypatch.setattr(
        kernels.torch, "zeros", lambda *size, **kind: made.append(size) or torch.full(*size, 0.0, **kind)
    )
    loss = kernels.cross_entropy(x, weight, targets)
    assert len(made) == 1 + (not frozen)  # the total, and the gradient of the weights
    loss.backward()
    x64, w64 = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    torch.nn.functional.cross_entropy(x64 @ w64.t(), targets).backward()
    torch.testing.assert_close(x.grad.double(), x64.grad, rtol=1e-5, atol=1e-6)
    if frozen:
        assert weight.grad is None
    else:
        torch.testing.assert_close(weight.grad.double(), w64.grad, rtol=1e-5, atol=1e-6)


def test_cross_entropy_gradient_by_finite_differences():
    generator = torch.Generator().manual_seed(3)
    x, weight = torch.randn(5, 4, generator=generator), torch.randn(9, 4, generator=generator)
    targets = torch.tensor([0, 8, 3, 3, 1])
    x.requires_grad_()
    kernels.cross_entropy(x, weight, targets).backward()
    for i, j in ((0, 0), (2, 3), (4, 1)):
        nudge = torch.zeros_like(x)
        nudge[i, j] = 1e-2
        with torch.no_grad():
            slope = kernels.cross_entropy(x + nudge, weight, targets) - kernels.cross_entropy(
                x - nudge, weight, targets
            )
        assert float(slope) / 2e-2 == pytest.approx(float(x.grad[i, j]), rel=2e-2, abs=1e-4)


def test_cross_entropy_says_when_it_is_broken():
    x, weight, targets = torch.full((2, 4), 100.0), torch.zeros(3, 4), torch.tensor([0, 1])
    weight[2] = 100.0
    assert math.isfinite(float(kernels.cross_entropy(x, weight, targets)))  # hopeless, but a number
    x[0, 0] = torch.nan
    assert math.isnan(float(kernels.cross_entropy(x, weight, targets)))


def test_rms_norm_against_torch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 16, generator=generator, requires_grad=True)
    gain = torch.randn(16, generator=generator, requires_grad=True)
    upstream = torch.randn(6, 16, generator=generator)
    ours = torch.autograd.grad((kernels.rms_norm(x, gain, 1e-6, torch.float32) * upstream).sum(), (x, gain))
    theirs = torch.autograd.grad((torch.nn.functional.rms_norm(x, (16,), gain, 1e-6) * upstream).sum(), (x, gain))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_same_seed_same_weights_and_no_global_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = Decoder(small().config, 3), Decoder(small().config, 3), Decoder(small().config, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.blocks[1].qkv, second.blocks[1].qkv)
    assert not torch.equal(first.blocks[1].qkv, other.blocks[1].qkv)


@pytest.mark.parametrize("width", [32, 128])
def test_initial_scales_follow_mup(width):
    config = ModelConfig(width, 2, 2, 4 * width, vocab_size=2000)
    model = Decoder(config, 0)
    assert float(model.blocks[0].qkv.detach().std()) == pytest.approx(width**-0.5, rel=0.05)
    assert float(model.blocks[0].mlp_out.detach().std()) == pytest.approx((4 * width) ** -0.5 / 2, rel=0.05)
    assert model.logit_scale == 64 / width


# ---- presets -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["d64", "d96", "d128"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameter_counts_are_those_of_the_model(name, tied):
    config = model_config({"preset": name, "tie_embeddings": tied}, 300)
    model = Decoder(config)
    embeddings = model.embedding.numel() * (1 if tied else 2)
    total = sum(p.numel() for p in model.parameters())
    assert config.params_total == total
    assert config.params == total - embeddings


def test_presets_span_the_range_and_match_pythia():
    sizes = presets()
    assert min(sizes.values()) == 100_672
    assert max(sizes.values()) > 410e6
    assert list(sizes.values()) == sorted(sizes.values())
    # Depth, width and heads of Pythia (arXiv:2304.01373, table 1), and its published non-embedding sizes.
    published = {
        "pythia-70m": (6, 512, 8, 18_915_328),
        "pythia-160m": (12, 768, 12, 85_056_000),
        "pythia-410m": (24, 1024, 16, 302_311_424),
    }
    for name, (layers, width, heads, params) in published.items():
        config = PRESETS[name]
        assert (config.layers, config.width, config.heads) == (layers, width, heads)
        assert config.params == pytest.approx(params, rel=5e-3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"preset": "d46"}, "Did you mean"),
        ({"preset": "d64", "layer": 3}, "Did you mean 'layers'"),
        ({"width": 64}, "lacks"),
        ({"width": 64, "layers": 1, "heads": 5}, "even"),
        ({"preset": "d64", "layers": 0}, "positive"),
    ],
)
def test_wrong_models_are_explained(model, words):
    with pytest.raises(ConfigError, match=words):
        model_config(model, 100)


def test_vocabulary_must_be_known():
    with pytest.raises(ConfigError, match="vocab_size"):
        model_config({"preset": "d64"})
    assert model_config({}, 7) == model_config({"preset": "d64", "vocab_size": 7})
