"""Checkpoint folders of published families: logits equal to those of `transformers`, and every fault told."""

import json
import warnings

import numpy as np
import pytest

from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.models.architecture import architecture, build
from mixlaw.models.hugging_face import CheckpointFolder, load, starting_from, write_folder

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
LLAMA = {"model_type": "llama", **SIZES}
NEOX = {"model_type": "gpt_neox", **SIZES}
GEMMA = {
    **SIZES,
    "model_type": "gemma3_text",
    "num_key_value_heads": 2,
    "head_dim": 16,
    "query_pre_attn_scalar": 24,
    "sliding_window": 5,
    "sliding_window_pattern": 2,
}
ROPE_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CASES = {
    "llama": LLAMA,
    "llama, shared keys, tied": {**LLAMA, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "llama, biases, wide heads": {**LLAMA, "attention_bias": True, "mlp_bias": True, "head_dim": 12},
    "llama, linear": {**LLAMA, "rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "llama 3": {**LLAMA, "rope_theta": 5e5, "rope_scaling": ROPE_3, "hidden_act": "gelu"},
    "llama, new fields": {**LLAMA, "rope_parameters": {"rope_theta": 300.0, "rope_type": "default"}},
    "pythia": {**NEOX, "rotary_pct": 0.5, "rotary_emb_base": 500.0},
    "neox, one after the other": {**NEOX, "use_parallel_residual": False, "hidden_act": "gelu_new", "rotary_pct": 1.0},
    "neox, no biases, tied": {**NEOX, "attention_bias": False, "tie_word_embeddings": True},
    "gemma 3": GEMMA,
    "gemma 3, scaled": {**GEMMA, "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_local_base_freq": 50.0},
    "gemma 3, untied, kinds": {
        **GEMMA,
        "tie_word_embeddings": False,
        "num_key_value_heads": 1,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
}
TOKENS = np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, 40))


def random_weights(config, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in config.shapes().items()}


def folder_of(tmp_path, fields, name="model"):
    """A folder with random weights, written by us."""
    config = architecture({"config": fields})
    write_folder(tmp_path / name, {"config": fields}, random_weights(config), context=64)
    return tmp_path / name


def change(path, change_tensors=None, **fields):
    """Rewrite a folder's tensors and fields."""
    said = {**json.loads((path / "config.json").read_text()), **fields}
    (path / "config.json").write_text(json.dumps(said))
    if change_tensors is not None:
        tensors = safetensors.load_file(path / "model.safetensors")
        change_tensors(tensors)
        safetensors.save_file(tensors, path / "model.safetensors")
    return path


def logits(model, tokens=TOKENS):
    with torch.inference_mode():
        return model.decoder(torch.from_numpy(tokens)).numpy()


# ---- the same function as in transformers ----------------------------------------------------------------
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case, tmp_path):
    transformers = pytest.importorskip("transformers")
    fields = dict(CASES[case])
    kind = fields.pop("model_type")
    config = transformers.AutoConfig.for_model(kind, **fields)
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # as they start, norms are ones and biases noughts, which hides mistakes
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    theirs.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(TOKENS)).logits.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixlawWarning)
        found = logits(load(tmp_path))
    assert np.abs(expected).max() > 1  # not a uniform guess
    assert np.abs(found - expected).max() < 1e-4
    # ... and with the fields as older versions wrote them, which most folders have
    (tmp_path / "config.json").write_text(json.dumps({**CASES[case], "architectures": said["architectures"]}))
    assert np.abs(logits(load(tmp_path)) - expected).max() < 1e-4
    # ... and back
    write_folder(tmp_path / "again", {"config": CASES[case]}, load(tmp_path).decoder.state_dict(), context=64)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    with torch.inference_mode():
        assert np.abs(again(torch.from_numpy(TOKENS)).logits.numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("width, heads", [(32, 2), (96, 2)])
def test_proxy_is_written_as_a_llama_with_its_logits(tied, width, heads, tmp_path):
    model = {"width": width, "layers": 2, "heads": heads, "mlp_width": 48, "vocab_size": 61, "tie_embeddings": tied}
    decoder = build(architecture(model), seed=1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    with torch.inference_mode():
        expected = decoder(torch.from_numpy(TOKENS)).numpy()
    write_folder(tmp_path / "out", model, decoder.state_dict(), context=64)
    assert np.abs(expected).max() > 1
    assert np.abs(logits(load(tmp_path / "out")) - expected).max() < 1e-4
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.inference_mode():
        assert np.abs(theirs(torch.from_numpy(TOKENS)).logits.numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("fields", [LLAMA, NEOX, GEMMA], ids=["llama", "neox", "gemma"])
def test_training_loss_and_its_gradient_are_those_of_the_plain_formula(fields, tmp_path):
    decoder = load(folder_of(tmp_path, fields)).decoder
    inputs, targets = torch.from_numpy(TOKENS[:, :-1]), torch.from_numpy(TOKENS[:, 1:])
    plain = torch.autograd.grad(decoder.loss(inputs, targets), list(decoder.parameters()))
    fast = torch.autograd.grad(decoder.fast_loss(inputs, targets, torch.float32), list(decoder.parameters()))
    scale = max(float(g.abs().max()) for g in plain)
    assert max(float((a - b).abs().max()) for a, b in zip(plain, fast)) < 1e-4 * scale
    exact = float(decoder.loss(inputs, targets).detach())
    assert float(decoder.fast_loss(inputs, targets, torch.bfloat16).detach()) == pytest.approx(exact, rel=0.03)


# ---- the files -------------------------------------------------------------------------------------------
def test_shards_are_read_like_one_file(tmp_path):
    path = folder_of(tmp_path, LLAMA)
    expected, before = logits(load(path)), CheckpointFolder(path).hash
    tensors = safetensors.load_file(path / "model.safetensors")
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        safetensors.save_file({name: tensors[name] for name in part}, path / file)
    (path / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert np.array_equal(logits(load(path)), expected)
    assert CheckpointFolder(path).hash != before
    (path / "b.safetensors").unlink()
    with pytest.raises(DataError, match=r"lacks b\.safetensors of the 2 files"):
        CheckpointFolder(path)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../b.safetensors"}}))
    with pytest.raises(DataError, match="is no file of this folder"):
        CheckpointFolder(path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_exactly(dtype, tmp_path):
    path = folder_of(tmp_path, LLAMA)
    expected = {n: t.to(dtype).float() for n, t in safetensors.load_file(path / "model.safetensors").items()}
    change(path, lambda tensors: tensors.update({n: t.to(dtype) for n, t in tensors.items()}))
    weights = CheckpointFolder(path).weights()
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    assert torch.equal(weights["blocks.1.up"], expected["model.layers.1.mlp.up_proj.weight"])


def test_a_tied_copy_must_be_the_embedding(tmp_path):
    path = folder_of(tmp_path, {**LLAMA, "tie_word_embeddings": True})
    change(path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    load(path)
    change(path, lambda t: t["lm_head.weight"].mul_(2))
    with pytest.raises(DataError, match=r"lm_head\.weight differs from the embedding"):
        load(path)


def test_tables_of_positions_are_no_weights(tmp_path):
    path = folder_of(tmp_path, NEOX)
    expected = logits(load(path))
    change(path, lambda t: t.update({"gpt_neox.layers.0.attention.masked_bias": torch.zeros(())}))
    assert np.array_equal(logits(load(path)), expected)


@pytest.mark.parametrize(
    "fault, kind, says",
    [
        (lambda p: (p / "config.json").unlink(), DataError, "no config.json"),
        (lambda p: (p / "config.json").write_text("{"), DataError, "not readable JSON"),
        (lambda p: (p / "config.json").write_text("[]"), DataError, "must hold a JSON object"),
        (lambda p: (p / "model.safetensors").unlink(), DataError, "has neither model.safetensors nor.*Download"),
        (lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"), ConfigError, "That is pickle"),
        (lambda p: change(p, model_type="mamba"), ConfigError, "supported are gemma3_text, gpt_neox, llama"),
        (lambda p: change(p, model_type="lama"), ConfigError, "Did you mean 'llama'"),
        (lambda p: change(p, quantization_config={"bits": 4}), ConfigError, "quantised weights"),
        (lambda p: change(p, hidden_act="relu6"), ConfigError, "hidden_act='relu6' is not supported"),
        (lambda p: change(p, rope_scaling={"type": "yarn", "factor": 2}), ConfigError, "kind 'yarn' are not supported"),
        (lambda p: change(p, rope_scaling={"type": "linear"}), DataError, "factor of the rotary positions must be"),
        (lambda p: change(p, num_key_value_heads=3), ConfigError, "must divide the first"),
        (lambda p: change(p, head_dim=7), ConfigError, "must be an even number"),
        (lambda p: change(p, hidden_size="32"), DataError, "hidden_size must be a positive whole number, got '32'"),
        (lambda p: change(p, rms_norm_eps=-1), DataError, "rms_norm_eps must be a positive number"),
        (lambda p: change(p, intermediate_size=None), DataError, "has no field 'intermediate_size'"),
        (lambda p: change(p, intermediate_size=40), DataError, "and config.json says"),
        (lambda p: change(p, num_hidden_layers=4), DataError, "missing are model.layers.3"),
        (lambda p: change(p, num_hidden_layers=2), DataError, "too many are model.layers.2.*others"),
        (lambda p: change(p, lambda t: t.pop("lm_head.weight")), DataError, "missing are lm_head.weight"),
        (lambda p: change(p, lambda t: t.update(more=torch.zeros(2))), DataError, "too many are more"),
        (lambda p: change(p, lambda t: t.update({"lm_head.weight": torch.zeros(61, 32).double()})), DataError, "F64"),
        (lambda p: change(p, lambda t: t["lm_head.weight"].fill_(float("nan"))), DataError, "not finite"),
    ],
)
def test_faults_are_told(fault, kind, says, tmp_path):
    path = folder_of(tmp_path, LLAMA)
    fault(path)
    with pytest.raises(kind, match=says) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_file_of_a_checkpoint_is_told_from_its_folder(tmp_path):
    path = folder_of(tmp_path, LLAMA)
    with pytest.raises(DataError, match=f"is a file, and a checkpoint is a folder.*{path}"):
        load(path / "config.json")


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1, -500])
def test_truncated_and_garbled_files_are_told(keep, tmp_path):
    path = folder_of(tmp_path, LLAMA)
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(DataError, match=r"is not a whole safetensors file.*Download it again"):
        load(path)
    (path / "model.safetensors").write_bytes(whole + b"more")
    with pytest.raises(DataError, match="is not a whole safetensors file"):
        load(path)
    (path / "model.safetensors").write_bytes(whole[:8] + b"\xff" * 20 + whole[28:])
    with pytest.raises(DataError, match="its header cannot be read"):
        load(path)


def test_gemma_features_that_would_change_the_logits_are_refused(tmp_path):
    path = folder_of(tmp_path, GEMMA)
    for fields, says in (
        ({"final_logit_softcapping": 30.0}, "bounded by a tanh"),
        ({"attn_logit_softcapping": 50.0}, "bounded by a tanh"),
        ({"use_bidirectional_attention": True}, "attention to later tokens"),
        ({"layer_types": ["full_attention"]}, "3 layers, and 1 kinds"),
        ({"layer_types": ["chunked_attention"] * 3}, "supported are full_attention and sliding_attention"),
        ({"rope_parameters": {"rope_theta": 1e6}}, "holds full_attention and sliding_attention"),
    ):
        with pytest.raises((ConfigError, DataError), match=says):
            architecture({"config": {**GEMMA, **fields}})
    assert CheckpointFolder(path).config.windows == (5, 0, 5)


def test_unknown_fields_and_dropout_are_reported(tmp_path):
    path = change(folder_of(tmp_path, LLAMA), attention_multiplier=0.5, attention_dropout=0.1)
    with pytest.warns(MixlawWarning, match="does not know and leaves out: attention_multiplier"):
        CheckpointFolder(path)
    with pytest.warns(MixlawWarning, match="goes on without dropout"):
        CheckpointFolder(path)


# ---- the token before every sequence -----------------------------------------------------------------------
def start_tokenizer(start=True):
    from tokenizers import Tokenizer, models, processors

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<s>": 1, "</s>": 2, "<unk>": 3}, unk_token="<unk>"))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer.to_str()


@pytest.mark.parametrize("fields", [LLAMA, NEOX, GEMMA], ids=["llama", "neox", "gemma"])
def test_the_token_that_the_tokenizer_puts_first_stands_before_every_sequence(fields, tmp_path):
    path = folder_of(tmp_path, fields)
    bare = load(path)
    (path / "tokenizer.json").write_text(start_tokenizer(start=False))
    assert np.array_equal(logits(load(path)), logits(bare))
    (path / "tokenizer.json").write_text(start_tokenizer())
    with_it = np.concatenate([np.ones((len(TOKENS), 1), np.int64), TOKENS], axis=1)
    assert np.array_equal(logits(load(path)), logits(bare, with_it)[:, 1:])
    model = starting_from(path)["model"]
    assert model["start_token"] == 1
    assert architecture(model) == CheckpointFolder(path).config
    assert architecture(model).longest == 63
    for start, says in ((61, "vocabulary ends at 60"), ("<s>", "must be the id of a token")):
        with pytest.raises(ConfigError, match=says):
            architecture({**model, "start_token": start})
    (path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizer"):
        load(path)


# ---- as the start of a run -------------------------------------------------------------------------------
def test_a_start_names_the_content_and_not_only_the_place(tmp_path):
    path = folder_of(tmp_path, LLAMA)
    first = starting_from(path)
    assert first == starting_from(path)
    assert architecture(first["model"]) == CheckpointFolder(path).config
    change(path, lambda t: t["lm_head.weight"].mul_(2))
    assert starting_from(path)["start"]["hash"] != first["start"]["hash"]


def test_parameters_are_counted_as_they_are(tmp_path):
    for fields in (LLAMA, NEOX, GEMMA):
        config = architecture({"config": fields})
        decoder = build(config)
        assert {n: tuple(p.shape) for n, p in decoder.named_parameters()} == config.shapes()
        assert config.params_total == sum(p.numel() for p in decoder.parameters())
        assert config.params == sum(p.numel() for n, p in decoder.named_parameters() if "embedding" not in n)


def test_a_folder_that_holds_something_is_not_written_into(tmp_path):
    path = folder_of(tmp_path, LLAMA)
    with pytest.raises(ConfigError, match="is there already and not empty"):
        folder_of(tmp_path, LLAMA)
    with pytest.raises(DataError, match="do not fit"):
        write_folder(tmp_path / "new", {"config": LLAMA}, {}, context=64)
    assert not (tmp_path / "new").exists() and path.exists()
