"""Exports against the frameworks' own sampling rules."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.corpus import Corpus, Domain
from mixlaw.errors import ConfigError, ExportError
from mixlaw.io.exporters import EXPORTERS, export, simulate
from mixlaw.io.exporters.megatron import blend_counts
from mixlaw.mixture import Mixture, Phase, Schedule
from mixlaw.recipe import Recipe

# documents of very different lengths: 1000, 100 and 10 tokens
CORPUS = Corpus(
    (
        Domain("books", 1_000_000, num_documents=1_000),
        Domain("web", 1_000_000, num_documents=10_000),
        Domain("chat", 1_000_000, num_documents=100_000),
    )
)
WEIGHTS = {"books": 0.5, "web": 0.3, "chat": 0.2}


def recipe(weights=WEIGHTS, tokens=2_000_000, **budget):
    return Recipe(Schedule.constant(Mixture(weights)), tokens, CORPUS, budget=budget)


@pytest.mark.parametrize("framework", EXPORTERS.names())
def test_every_exporter_delivers_the_token_shares(framework):
    drawn = simulate(recipe(tokens=20_000_000), framework).shares
    for domain, weight in WEIGHTS.items():
        assert drawn[domain] == pytest.approx(weight, abs=0.01)


@pytest.mark.parametrize("framework", EXPORTERS.names())
def test_two_phases_are_kept_apart(framework, tmp_path):
    second = Mixture({"books": 0.1, "web": 0.0, "chat": 0.9})
    r = Recipe(Schedule((Phase(0.75, Mixture(WEIGHTS)), Phase(0.25, second))), 20_000_000, CORPUS)
    result = simulate(r, framework)
    assert len(result.phase_tokens) == 2
    last = result.phase_tokens[1]
    assert last["web"] == 0
    assert last["chat"] / sum(last.values()) == pytest.approx(0.9, abs=0.01)
    assert sum(result.tokens.values()) == pytest.approx(20_000_000, rel=0.01)
    assert export(r, framework, tmp_path / "config").exists()


def test_document_probabilities_undo_document_lengths(tmp_path):
    path = export(recipe(), "huggingface", tmp_path / "hf.json")
    block = json.loads(path.read_text())["interleave_datasets"][0]
    p = dict(zip(block["datasets"], block["probabilities"]))
    # by hand: .5/1000 : .3/100 : .2/10
    assert p["books"] == pytest.approx(0.0005 / 0.0235)
    assert p["chat"] == pytest.approx(0.02 / 0.0235)


def test_packed_datasets_need_no_conversion():
    exporter = EXPORTERS["huggingface"](packed=True)
    assert exporter.probabilities(recipe())[0] == pytest.approx(WEIGHTS)


def test_megatron_blend_reads_as_its_command_line(tmp_path):
    path = export(recipe(), "megatron", tmp_path / "blend.json")
    data = json.loads(path.read_text())
    parts = data["data_path"].split()
    weights = [float(w) for w in parts[0::2]]
    assert parts[1::2] == ["books_text_document", "web_text_document", "chat_text_document"]
    assert weights == pytest.approx(list(WEIGHTS.values()))
    assert data["phases"][0]["train_samples"] == 2_000_000 // 4096


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=6), st.integers(1, 400))
def test_blending_index_never_lags_by_a_sample(raw, num):
    weights = np.array(raw) / sum(raw)
    counts = blend_counts(weights, num)
    assert counts.sum() == num
    assert np.abs(counts - weights * num).max() < len(weights)


def test_extreme_weights_survive_the_blend():
    counts = blend_counts([0.001, 0.999], 10_000)
    assert counts.tolist() == [10, 9_990]


def test_an_epoch_cap_the_framework_would_break_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"books.*above its cap of 0.4 epochs"):
        export(recipe(tokens=2_000_000, max_epochs=0.4), "megatron", tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_declared_counts_cannot_convert_to_documents(tmp_path):
    corpus = Corpus.declared({"a": 100_000, "b": 100_000}, source="a table")
    r = Recipe(Schedule.constant(Mixture({"a": 0.5, "b": 0.5})), 10_000, corpus)
    with pytest.raises(ExportError, match=r"how many documents 'a' has"):
        export(r, "huggingface", tmp_path / "x.json")


def test_unknown_framework_is_suggested(tmp_path):
    with pytest.raises(ConfigError, match=r"Did you mean 'megatron'"):
        export(recipe(), "megatrom", tmp_path / "x.json")


def test_a_weight_megatron_would_lose_is_refused(tmp_path):
    r = recipe({"books": 1 - 1e-7, "web": 1e-7, "chat": 0.0}, tokens=200_000)
    with pytest.raises(ExportError, match="floor"):
        EXPORTERS["megatron"]().write(r, tmp_path / "x.json")


@pytest.mark.slow
def test_the_real_hugging_face_sampler_draws_the_token_shares(tmp_path):
    datasets = pytest.importorskip("datasets")
    block = json.loads(export(recipe(), "huggingface", tmp_path / "hf.json").read_text())["interleave_datasets"][0]
    lengths = {"books": 1000, "web": 100, "chat": 10}
    parts = [
        datasets.Dataset.from_dict({"tokens": [lengths[name]] * 60_000, "domain": [name] * 60_000})
        for name in block["datasets"]
    ]
    mixed = datasets.interleave_datasets(
        parts,
        probabilities=block["probabilities"],
        seed=block["seed"],
        stopping_strategy=block["stopping_strategy"],
    )
    rows = mixed.select(range(100_000)).to_dict()
    tokens = dict.fromkeys(WEIGHTS, 0)
    for name, count in zip(rows["domain"], rows["tokens"]):
        tokens[name] += count
    total = sum(tokens.values())
    for name, weight in WEIGHTS.items():
        # books are 2% of the draws: 3 standard deviations of 100,000 draws are about .03 of the tokens
        assert tokens[name] / total == pytest.approx(weight, abs=0.03)
