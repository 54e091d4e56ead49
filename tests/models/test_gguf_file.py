"""GGUF files: the same logits as the folder they were made of, and as transformers reads them."""

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.models.architecture import architecture
from mixlaw.models.gguf_file import GGUFFile

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

from mixlaw.models.torch_model import TorchModel  # noqa: E402

SIZES = {
    "vocab_size": 64,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FIELDS = {
    "llama": {**SIZES, "model_type": "llama", "rope_theta": 500.0},
    "gemma3": {
        **SIZES,
        "model_type": "gemma3_text",
        "head_dim": 32,
        "query_pre_attn_scalar": 32,
        "sliding_window": 5,
        "rope_theta": 5000.0,
    },
}
TOKENS = np.random.default_rng(0).integers(0, 64, (2, 30))
NAMES = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "unembedding": "output",
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "attention_out": "attn_output",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "mlp_out": "ffn_down",
    "query_norm": "attn_q_norm",
    "key_norm": "attn_k_norm",
    "after_attention_norm": "post_attention_norm",
    "after_mlp_norm": "post_ffw_norm",
}


def weights_of(config):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in config.shapes().items()}


def written(path, kind, quantised=None, skip=(), more=(), **changes):
    """A file as converters write it; returns its config and weights."""
    fields = FIELDS[kind]
    config = architecture({"config": fields})
    weights = weights_of(config)
    writer = gguf.GGUFWriter(path, changes.get("architecture", kind))
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(changes.get("layers", 7))
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(fields["rope_theta"])
    writer.add_vocab_size(64)
    writer.add_token_list([f"▁t{i}" for i in range(64)])
    writer.add_tokenizer_model("llama")
    if kind == "llama":
        writer.add_rope_dimension_count(16)
    else:
        writer.add_key_length(32)
        writer.add_value_length(32)
        writer.add_sliding_window(5)
    if "softcap" in changes:
        writer.add_final_logit_softcapping(changes["softcap"])
    for ours, values in weights.items():
        name = ours.rpartition(".")[2]
        theirs = f"blk.{ours.split('.')[1]}.{NAMES[name]}.weight" if "." in ours else f"{NAMES[name]}.weight"
        if theirs in skip:
            continue
        numbers = values.numpy()
        if kind == "gemma3" and name.endswith("norm"):
            numbers = numbers + 1
        if kind == "llama" and name in ("query", "key"):  # halves of each head become neighbours
            heads = numbers.shape[0] // 16
            numbers = numbers.reshape(heads, 2, 8, 64).swapaxes(1, 2).reshape(numbers.shape)
        if quantised is not None and numbers.ndim == 2:
            writer.add_tensor(theirs, gguf.quantize(numbers, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(theirs, np.ascontiguousarray(numbers))
    for name in more:
        writer.add_tensor(name, np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return config, weights


@pytest.mark.parametrize("kind", FIELDS)
def test_a_file_gives_the_log_probabilities_of_its_folder(kind, tmp_path):
    config, weights = written(tmp_path / "m.gguf", kind)
    expected = TorchModel(config, weights).logprobs(TOKENS)
    assert expected.std() > 0.2
    assert np.abs(GGUFFile(tmp_path / "m.gguf").load().logprobs(TOKENS) - expected).max() < 1e-4


@pytest.mark.parametrize("kind", FIELDS)
def test_quantised_weights_are_the_numbers_that_they_stand_for(kind, tmp_path):
    config, weights = written(tmp_path / "m.gguf", kind, quantised=gguf.GGMLQuantizationType.Q8_0)
    model = GGUFFile(tmp_path / "m.gguf").load()
    worst = max(float((model.decoder.state_dict()[n] - w).abs().max()) for n, w in weights.items())
    assert 1e-5 < worst < 0.005  # eight bits of numbers below 1
    expected = TorchModel(config, weights).logprobs(TOKENS)
    assert 1e-4 < np.abs(model.logprobs(TOKENS) - expected).max() < 0.5


@pytest.mark.parametrize("kind", FIELDS)
def test_transformers_reads_the_same_model(kind, tmp_path):
    pytest.importorskip("transformers")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    written(tmp_path / "m.gguf", kind)
    fields = load_gguf_checkpoint(str(tmp_path / "m.gguf"), return_tensors=False)["config"]
    config = GGUFFile(tmp_path / "m.gguf").config
    assert fields["rope_theta"] == config.rope.base and fields["num_key_value_heads"] == config.key_value_heads
    assert fields["head_dim"] == config.head_dim and fields["hidden_size"] == config.width


def test_faults_are_told(tmp_path):
    path = tmp_path / "m.gguf"
    with pytest.raises(DataError, match="There is no file"):
        GGUFFile(path)
    path.write_bytes(b"no model")
    with pytest.raises(DataError, match="is not a whole GGUF file"):
        GGUFFile(path)
    for changes, kind, says in (
        ({"architecture": "mamba"}, ConfigError, "supported are llama, gemma3"),
        ({"softcap": 30.0}, ConfigError, "final_logit_softcapping=30.0 is not supported"),
        ({"skip": ("blk.3.ffn_up.weight",)}, DataError, r"missing are \['blk.3.ffn_up.weight'\]"),
        ({"more": ("rope_freqs.weight",)}, DataError, r"too many are \['rope_freqs.weight'\]"),
        ({"layers": 6}, DataError, r"too many are \['blk.6"),
    ):
        path.unlink()
        written(path, "llama" if "softcap" not in changes else "gemma3", **changes)
        with pytest.raises(kind, match=says):
            GGUFFile(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is not a whole GGUF file"):
        GGUFFile(path)


def test_a_tokenizer_of_other_tokens_is_refused(tmp_path):
    written(tmp_path / "m.gguf", "llama")
    file = GGUFFile(tmp_path / "m.gguf")
    file.check_tokenizer({"▁t3": 3, "▁t9": 9})
    for vocabulary in ({"▁t3": 4}, {"▁t64": 64}):
        with pytest.raises(ConfigError, match="the same ids mean other text"):
            file.check_tokenizer(vocabulary)
