"""A study whose runs continue a published model: designed, trained, evaluated and exported from the command line."""

import json
import random

import pytest
from typer.testing import CliRunner

from mixlaw.cli.app import app
from mixlaw.errors import ConfigError, DataError
from mixlaw.models.architecture import architecture
from mixlaw.models.hugging_face import load, write_folder
from mixlaw.study.study import Study
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

WORDS = {"digits": ("one", "two", "three", "four", "five"), "colours": ("red", "green", "blue", "black", "grey")}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 320,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def write_texts(folder):
    paths, rng = {}, random.Random(0)
    for name, words in WORDS.items():
        path = folder / f"{name}.jsonl"
        lines = [json.dumps({"text": " ".join(rng.choice(words) for _ in range(40))}) for _ in range(200)]
        path.write_text("\n".join(lines) + "\n")
        paths[name] = str(path)
    return paths


def configuration(folder, **training):
    return {
        "corpus": {
            "domains": write_texts(folder),
            "tokenizer": str(folder / "model" / "tokenizer.json"),
            "validation_tokens": 512,
        },
        "objective": {"digits": 1.0},
        "budget": {"tokens": 4096, "max_epochs": 50},
        "training": {
            "start": "model",
            "tokens": 4096,
            "batch": 4,
            "context": 32,
            "learning_rate": {"name": "constant", "peak": 1e-3},
            "evaluations": 2,
            **training,
        },
        "design": {"num": 2, "replicates": 0},
        "executor": {"workers": 1},
    }


@pytest.fixture
def folder(tmp_path):
    encoder = Encoder(train_tokenizer([" ".join(word for words in WORDS.values() for word in words)], 300))
    config = architecture({"config": LLAMA})
    generator = torch.Generator().manual_seed(0)
    weights = {n: torch.randn(shape, generator=generator) * 0.2 for n, shape in config.shapes().items()}
    write_folder(tmp_path / "model", {"config": LLAMA}, weights, context=64, tokenizer=encoder.text, end=encoder.end)
    return tmp_path


def said(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_runs_continue_the_model_and_come_out_as_folders(folder):
    study = Study.create(folder / "s", configuration(folder))
    study.tokenize()
    before = study.evaluate(folder / "model")
    printed = said("evaluate", study.folder, folder / "model")
    assert all(f"{losses['loss']:.4f} nats per token" in printed for losses in before.values())
    specs = study.design()
    assert study.train() == {}
    values = study.observations().values.to_pylist()
    for spec in specs:
        at_start = {v["target"]: v["value"] for v in values if v["run"] == spec.id and v["metric"] == "start_loss"}
        assert at_start == {name: losses["loss"] for name, losses in before.items()}
    assert len(study.runs_of_one_size()) == len(specs)

    out = folder / "out"
    assert "from_pretrained" in said("export-model", study.folder, specs[0].id[:9], out)
    ends = {v["target"]: v["value"] for v in values if v["run"] == specs[0].id and v["metric"] == "loss"}
    after = study.evaluate(out)
    for name, losses in after.items():
        assert losses["loss"] == ends[name] and losses["bits_per_byte"] > 0
    for run, says in (("nothing", "none begins with it"), ("", "none begins with it")):
        with pytest.raises(ConfigError, match=says):
            study.export_model(run, folder / "other")


def write_gguf(path, weights, tokens, scores=None, kinds=None, kind="gpt2"):
    gguf = pytest.importorskip("gguf")
    names = {"query": "attn_q", "key": "attn_k", "value": "attn_v", "attention_out": "attn_output"}
    names |= {"attention_norm": "attn_norm", "mlp_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up"}
    names |= {"mlp_out": "ffn_down", "embedding": "token_embd", "final_norm": "output_norm", "unembedding": "output"}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    if scores is not None:
        writer.add_token_scores(scores)
        writer.add_token_types(kinds)
        writer.add_add_space_prefix(False)
        writer.add_add_bos_token(False)
        writer.add_unk_token_id(0)
    for ours, values in weights.items():
        stem, name = ("blk.0." if "." in ours else ""), ours.rpartition(".")[2]
        if name in ("query", "key"):  # halves of each head become neighbours
            values = values.view(2, 2, 4, 16).transpose(1, 2).reshape(16, 16)
        writer.add_tensor(f"{stem}{names[name]}.weight", values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_evaluated_like_the_folder_it_was_made_of(folder):
    study = Study.create(folder / "s", configuration(folder))
    study.tokenize()
    weights = load(folder / "model").decoder.state_dict()
    vocabulary = Encoder.load(folder / "model" / "tokenizer.json").tokenizer.get_vocab()
    spelled = sorted(vocabulary, key=vocabulary.get)
    write_gguf(folder / "m.gguf", weights, spelled)
    found, expected = study.evaluate(folder / "m.gguf"), study.evaluate(folder / "model")
    for name, losses in expected.items():
        assert found[name]["loss"] == pytest.approx(losses["loss"], abs=1e-5)
    write_gguf(folder / "m.gguf", weights, spelled[::-1])
    with pytest.raises(ConfigError, match="the same ids mean other text"):
        study.evaluate(folder / "m.gguf")
    with pytest.raises(ConfigError, match=r"a vocabulary of the kind 'gpt2' from which no tokenizer\.json"):
        from mixlaw.models.gguf_file import GGUFFile

        GGUFFile(folder / "m.gguf").tokenizer_json()


LORA = {"name": "lora", "options": {"rank": 4}}


def test_low_rank_factors_from_the_design_to_a_folder_for_transformers(folder):
    study = Study.create(
        folder / "s", configuration(folder, update=LORA, learning_rate={"name": "cosine", "peak": 0.1})
    )
    study.tokenize()
    before = study.evaluate(folder / "model")
    spec = study.design()[0]
    assert spec.update == LORA and study.train() == {}
    found = [v for v in study.observations().values.to_pylist() if v["run"] == spec.id]
    assert {v["target"]: v["value"] for v in found if v["metric"] == "start_loss"} == {
        name: losses["loss"] for name, losses in before.items()
    }
    ends = {v["target"]: v["value"] for v in found if v["metric"] == "loss"}
    assert all(ends[name] < losses["loss"] - 0.02 for name, losses in before.items())
    out = folder / "out"
    said("export-model", study.folder, spec.id, out)
    for name, losses in study.evaluate(out).items():
        assert losses["loss"] == pytest.approx(ends[name], abs=1e-5)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    ids = torch.tensor([transformers.AutoTokenizer.from_pretrained(out)("one two black")["input_ids"]])
    with torch.inference_mode():
        assert torch.allclose(load(out).decoder(ids), theirs(ids).logits, atol=1e-4)


def test_a_study_starts_from_a_gguf_file_with_the_tokenizer_made_of_it(folder):
    letters = "abcdefghiklnortuvwy"
    merged = ["re", "ee", "on", "th", "▁b", "▁g"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *letters, *merged]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(pieces) - 259)]
    scores = [0.0] * 259 + [-float(i) for i in range(len(pieces) - 259, 0, -1)]
    fields = {**LLAMA, "vocab_size": len(pieces)}
    shapes = architecture({"config": fields}).shapes()
    generator = torch.Generator().manual_seed(0)
    weights = {n: torch.randn(shape, generator=generator) * 0.2 for n, shape in shapes.items()}
    write_gguf(folder / "m.gguf", weights, pieces, scores, kinds, "llama")
    assert "corpus: {tokenizer:" in said("export-tokenizer", folder / "m.gguf", folder / "own.json")
    again = CliRunner().invoke(app, ["export-tokenizer", str(folder / "m.gguf"), str(folder / "own.json")])
    assert again.exit_code != 0

    given = configuration(folder, start="m.gguf", update=LORA, learning_rate={"name": "constant", "peak": 0.1})
    given["corpus"]["tokenizer"] = str(folder / "own.json")
    study = Study.create(folder / "s", given)
    study.tokenize()
    before = study.evaluate(folder / "m.gguf")
    spec = study.design()[0]
    assert spec.start["checkpoint"].endswith("m.gguf") and study.train() == {}
    values = [v for v in study.observations().values.to_pylist() if v["run"] == spec.id]
    assert {v["target"]: v["value"] for v in values if v["metric"] == "start_loss"} == {
        name: losses["loss"] for name, losses in before.items()
    }
    said("export-model", study.folder, spec.id, folder / "out")
    ends = {v["target"]: v["value"] for v in values if v["metric"] == "loss"}
    for name, losses in study.evaluate(folder / "out").items():
        assert losses["loss"] == pytest.approx(ends[name], abs=1e-5) and ends[name] < before[name]["loss"]

    swapped = json.loads((folder / "own.json").read_text())
    vocabulary = swapped["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (folder / "swapped.json").write_text(json.dumps(swapped))
    given["corpus"]["tokenizer"] = str(folder / "swapped.json")
    other = Study.create(folder / "other", given)
    other.tokenize()
    with pytest.raises(ConfigError, match="the same ids mean other text"):
        other.design()


def test_a_proxy_comes_out_as_a_llama_with_its_losses(folder):
    proxy = {"width": 16, "layers": 1, "heads": 2}
    study = Study.create(folder / "s", configuration(folder, start=None, model=proxy))
    study.tokenize()
    spec = study.design()[0]
    with pytest.raises(ConfigError, match="is not the id of one run"):
        study.export_model(spec.id, folder / "out")
    (study.folder / "runs" / spec.id).mkdir(parents=True)
    with pytest.raises(DataError, match="is not done"):
        study.export_model(spec.id, folder / "out")
    assert study.train() == {}
    study.export_model(spec.id, folder / "out")
    values = study.observations().values.to_pylist()
    ends = {v["target"]: v["value"] for v in values if v["run"] == spec.id and v["metric"] == "loss" and v["step"] > 16}
    for name, losses in study.evaluate(folder / "out").items():
        assert losses["loss"] == pytest.approx(ends[name], abs=1e-5)
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "out")
    text = "one two black"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text and tokenizer.eos_token == "<|endoftext|>"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder / "out").eval()
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits
        assert torch.allclose(load(folder / "out").decoder(torch.tensor([ids])), expected, atol=1e-4)


def test_settings_that_do_not_go_with_a_start_are_refused(folder):
    for training, says in (
        ({"model": {"preset": "d96"}}, "start brings its own model"),
        ({"learning_rate": {"name": "wsd", "peak": 4e-3}}, "start needs a learning_rate of its own"),
        ({"start": None, "update": LORA}, "update: lora needs a start"),
        ({"update": "lowra"}, "'lowra' names neither. Did you mean 'lora'"),
        ({"update": {"rank": 8}}, r"update must be full, or \{name: lora"),
    ):
        with pytest.raises(ConfigError, match=says):
            Study.create(folder / "s", configuration(folder, **training))
    given = configuration(folder)
    given["design"]["sizes"] = [{"num": 1, "tokens": 8192, "model": {"preset": "d96"}}]
    with pytest.raises(ConfigError, match="leave one out"):
        Study.create(folder / "s", given)


def test_another_tokenizer_is_told_before_anything_is_trained(folder):
    given = configuration(folder)
    given["corpus"] |= {"tokenizer": None, "vocab_size": 280}
    study = Study.create(folder / "s", given)
    study.tokenize()
    with pytest.raises(ConfigError, match=r"has another.*Tokenise with corpus\.tokenizer"):
        study.design()
    with pytest.raises(ConfigError, match="has another"):
        study.evaluate(folder / "model")
    assert not (study.folder / "design.json").exists()


def test_a_context_beyond_the_models_is_refused(folder):
    study = Study.create(folder / "s", configuration(folder))
    study.tokenize()
    with pytest.raises(ConfigError, match="at most 64 tokens, and 65 are asked for"):
        study.evaluate(folder / "model", context=65)
