"""Exports against the frameworks' own sampling rules."""

import json
import runpy
import shlex
import sys
import types

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.data.corpus import Corpus, Domain
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.recipe import Recipe
from mixlaw.errors import ConfigError, ExportError
from mixlaw.io.exporters import EXPORTERS, export, simulate
from mixlaw.io.exporters.megatron import blend_counts
from mixlaw.io.exporters.torchtitan import mix_counts

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


@pytest.mark.parametrize("framework", ["huggingface", "llama_factory", "streaming", "torchtitan"])
def test_declared_counts_are_exported_packed(framework, tmp_path):
    corpus = Corpus.declared({"a": 100_000, "b": 100_000}, source="a table")
    phases = (Phase(0.5, Mixture({"a": 0.7, "b": 0.3})), Phase(0.5, Mixture({"a": 0.2, "b": 0.8})))
    r = Recipe(Schedule(phases), 20_000_000, corpus)
    assert simulate(r, framework, packed=True).shares["a"] == pytest.approx(0.45, abs=0.01)
    assert r.export(framework, tmp_path / "config.out", packed=True).exists()


@pytest.mark.parametrize(
    ("framework", "options", "message"),
    [
        ("megatron", {"sequence_length": 0}, r"sequence_length=0 must be a whole number >= 1"),
        ("olmo_core", {"batch_tokens": "much"}, r"batch_tokens='much' must be a whole number"),
        ("megatron", {"sequence_lenght": 8}, r"Did you mean 'sequence_length'"),
        ("megatron", {"packed": True}, r"no option 'packed'; it has sequence_length, prefix"),
        ("huggingface", {"packed": "yes"}, r"packed='yes' must be true or false"),
    ],
)
def test_wrong_options_are_explained(framework, options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export(recipe(), framework, tmp_path / "x.json", **options)
    with pytest.raises(ConfigError, match=message):
        simulate(recipe(), framework, **options)


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(ExportError, match=r"is a folder. Give the file to write, for example .*megatron"):
        export(recipe(), "megatron", tmp_path)
    assert not list(tmp_path.iterdir())


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


# ---- what was written, read back ------------------------------------------------------------------------
LENGTHS = {"books": 1000.0, "web": 100.0, "chat": 10.0}


def shares_of(pairs, lengths=None):
    """Token shares from (domain, weight of one draw) pairs, as somebody who reads the framework's manual would."""
    tokens = {d: float(w) * (lengths[d] if lengths else 1.0) for d, w in pairs}
    return {d: t / sum(tokens.values()) for d, t in tokens.items()}


def read_back(framework, path):
    """Token shares per phase from the file alone."""
    if framework == "huggingface":
        blocks = json.loads(path.read_text())["interleave_datasets"]
        return [shares_of(zip(b["datasets"], b["probabilities"]), LENGTHS) for b in blocks]
    if framework == "megatron":
        blends = [p["blend"] for p in json.loads(path.read_text())["phases"]]
        return [shares_of(zip((n.removesuffix("_text_document") for n in b[1::2]), b[0::2])) for b in blends]
    if framework == "torchtitan":
        return read_torchtitan(path)
    if framework == "llama_factory":
        several = sorted(path.parent.glob(f"{path.stem}-phase*{path.suffix}"))
        blocks = [yaml.safe_load(p.read_text()) for p in several or [path]]
        return [shares_of(zip(b["dataset"].split(","), b["interleave_probs"].split(",")), LENGTHS) for b in blocks]
    data = yaml.safe_load(path.read_text())
    if framework == "nanotron":
        blocks = [stage["data"]["dataset"] for stage in data["data_stages"]]
        return [shares_of(zip(b["dataset_folder"], b["dataset_weights"])) for b in blocks]
    if framework == "olmo_core":
        lists = [b["source_list"]["sources"] for b in data["phases"]]
        return [shares_of((s["source_name"], s["target_ratio"]) for s in sources) for sources in lists]
    assert framework == "streaming"
    return [shares_of((d, s["proportion"]) for d, s in b["streams"].items()) for b in data["phases"]]


def read_torchtitan(path, lengths=LENGTHS):
    """Run the written module with a stand-in for torchtitan that records what it is handed."""
    names = ["torchtitan", "torchtitan.components", "torchtitan.components.data", "torchtitan.components.data.dataset"]
    modules = {name: types.ModuleType(name) for name in names}
    modules[names[-1]].weighted_interleave = lambda pairs: list(pairs)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        written = runpy.run_path(str(path))
    phases = [f for name, f in sorted(written.items()) if name.startswith("phase_")]
    return [shares_of(phase({d: d for d in lengths}), lengths) for phase in phases]


weights_of_three = st.tuples(*[st.floats(0.02, 1)] * 3).map(lambda w: dict(zip(LENGTHS, np.array(w) / sum(w))))


@pytest.mark.parametrize("framework", EXPORTERS.names())
@settings(max_examples=8, deadline=None)
@given(first=weights_of_three, second=weights_of_three, phases=st.integers(1, 2))
def test_the_file_says_the_token_shares(framework, tmp_path_factory, first, second, phases):
    folder = tmp_path_factory.mktemp("written")
    parts = [Phase(0.6, Mixture(first)), Phase(0.4, Mixture(second))] if phases == 2 else [Phase(1.0, Mixture(first))]
    r = Recipe(Schedule(tuple(parts)), 20_000_000, CORPUS)
    path = EXPORTERS[framework]().write(r, folder / ("mix.py" if framework == "torchtitan" else "mix.yaml"))
    for phase, shares in zip(parts, read_back(framework, path), strict=True):
        assert shares == pytest.approx(phase.mixture.to_dict(), rel=1e-6)


# ---- samplers, against their published rules ------------------------------------------------------------
def test_grain_counts_by_hand():
    # proportions 100 : 100 -> the first child takes the ceiling of its half
    assert mix_counts([0.5, 0.5], 3).tolist() == [2, 1]
    # .5 : .3 : .2 -> 250 : 150 : 100 (149 where 150 is cut); of 10 draws 5, 3, 2
    assert mix_counts([0.5, 0.3, 0.2], 10).tolist() == [5, 3, 2]
    # 1/3 is cut: .1 : .1333 -> 100 : 133, so 233 draws give exactly 100 and 133
    assert mix_counts([0.1, 0.1 * 4 / 3], 233).tolist() == [100, 133]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.integers(0, 5000))
def test_grain_counts_grow_one_by_one_and_keep_proportions(raw, num):
    before, after = mix_counts(raw, num), mix_counts(raw, num + 1)
    assert before.sum() == num
    assert sorted(after - before) == [0] * (len(raw) - 1) + [1]
    weights = np.array(raw) / sum(raw)
    # integers cost one hundredth of the smallest weight each, ceilings one draw per child
    assert np.abs(before - weights * num).max() <= len(raw) * (1 + 0.01 * weights.min() * num)


def test_mixes_that_repeat_as_a_whole_repeat_every_domain(tmp_path):
    r = recipe({"books": 0.8, "web": 0.1, "chat": 0.1}, tokens=5_000_000)
    plain = simulate(r, "megatron").epochs
    assert plain["books"] == pytest.approx(4.0, rel=0.01)
    assert plain["web"] == pytest.approx(0.5, rel=0.01)
    mixed = simulate(r, "torchtitan").epochs  # ends when books is read once, then starts again
    assert mixed["web"] == pytest.approx(4.0, rel=0.01)
    index = simulate(r, "nanotron").epochs  # one index is 3,000,000 tokens, a tenth of it web
    assert index["web"] == pytest.approx(5 / 3, rel=0.01)
    capped = Recipe(r.schedule, r.tokens, CORPUS, budget={"max_epochs": {"web": 1.0}})
    assert export(capped, "megatron", tmp_path / "a.json").exists()
    for framework in ("torchtitan", "nanotron"):
        with pytest.raises(ExportError, match=r"web.*above its cap of 1 epochs"):
            export(capped, framework, tmp_path / "b")


def test_nanotron_draws_what_its_file_says(tmp_path):
    """Stages begin at whole steps: the file's rounding is part of what is drawn, and of the check against caps."""
    corpus = Corpus.declared({"web": 1_000_000_000, "wiki": 5_000_000}, source="test")
    phases = (Phase(0.725, Mixture({"web": 1.0, "wiki": 0.0})), Phase(0.275, Mixture({"web": 0.0, "wiki": 1.0})))
    r = Recipe(Schedule(phases), 20_000_000, corpus, budget={"max_epochs": {"wiki": 1.08}})
    stages = yaml.safe_load(export(r, "nanotron", tmp_path / "n.yaml").read_text())["data_stages"]
    first = (stages[1]["start_training_step"] - 1) * 1_048_576
    drawn = simulate(r, "nanotron")
    assert drawn.phase_tokens[0] == {"web": first, "wiki": 0.0}
    assert drawn.phase_tokens[1]["wiki"] == pytest.approx(20_000_000 - first, abs=4096)
    assert drawn.epochs["wiki"] == pytest.approx(1.064, abs=0.001)  # 1.1 of the schedule's own 27.5%
    late = Recipe(Schedule((Phase(0.7, phases[0].mixture), Phase(0.3, phases[1].mixture))), 20_000_000, corpus)
    assert export(late, "nanotron", tmp_path / "a.yaml").exists()
    capped = Recipe(late.schedule, late.tokens, corpus, budget={"max_epochs": 1.2})  # 1.2 as planned, 1.27 as rounded
    with pytest.raises(ExportError, match=r"wiki.*above its cap of 1.2"):
        export(capped, "nanotron", tmp_path / "b.yaml")
    with pytest.raises(ExportError, match="no multiple of"):
        simulate(late, "nanotron", sequence_length=3000)
    with pytest.raises(ExportError, match="smaller batch_tokens"):
        simulate(late, "nanotron", batch_tokens=100 * 4096 * 1024)


def test_streaming_rounds_as_its_seed_says():
    r = recipe({"books": 0.34, "web": 0.33, "chat": 0.33}, tokens=2048 * 10)
    tokens = simulate(r, "streaming").tokens
    extra = np.random.default_rng(9176).choice(3, 1, replace=False)[0]  # int(3.4), int(3.3), int(3.3) leave one
    assert [tokens[d] / 2048 for d in LENGTHS] == [3 + (k == extra) for k in range(3)]


def test_olmo_core_fills_whole_batches_and_allows_them(tmp_path):
    r = recipe({"books": 0.5, "web": 0.3, "chat": 0.2}, tokens=3_000_000)
    tokens = simulate(r, "olmo_core").tokens
    assert sum(tokens.values()) == 23 * 131_072  # 22.9 batches
    block = yaml.safe_load(export(r, "olmo_core", tmp_path / "mix.yaml").read_text())["phases"][0]
    assert block["global_batch_size"] == 131_072
    for source in block["source_list"]["sources"]:
        assert source["max_repetition_ratio"] >= max(1.0, tokens[source["source_name"]] / 1_000_000)
        # OLMo-core refuses a source whose cap is below int(requested * ratio)
        needed = int(block["requested_tokens"] * source["target_ratio"])
        assert int(1_000_000 * source["max_repetition_ratio"]) >= needed
    with pytest.raises(ConfigError, match="no multiple of sequence_length"):
        EXPORTERS["olmo_core"](batch_tokens=5000)


# ---- names as people give them ---------------------------------------------------------------------------
ODD = ("web, en", "code 2", "o'brien", 'quo"te', "wiki/zh 中文", "a:b #c", "50%", "{x}")


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("framework", EXPORTERS.names())
def test_odd_names_are_refused_or_read_back_whole(framework, name, tmp_path):
    """The shares of the file, read as the framework reads it, belong to the names of the recipe."""
    corpus = Corpus((Domain(name, 1_000_000, num_documents=1_000), Domain("web", 1_000_000, num_documents=10_000)))
    r = Recipe(Schedule.constant(Mixture({name: 0.6, "web": 0.4})), 2_000_000, corpus)
    splits = {"megatron": " ", "llama_factory": ","}.get(framework)
    path = tmp_path / ("mix.py" if framework == "torchtitan" else "mix.out")
    if splits and splits in name:
        with pytest.raises(ExportError, match=r"cannot be written: .* would be misread.*Rename"):
            export(r, framework, path)
        assert not path.exists()
        return
    export(r, framework, path)
    if framework == "megatron":
        blend = json.loads(path.read_text())["phases"][0]["blend"]
        assert shlex.split(json.loads(path.read_text())["data_path"]) == blend  # as a shell hands it over
        assert " ".join(blend).split() == blend  # as --data-args-path is read
        assert blend[1::2] == [f"{name}_text_document", "web_text_document"]
    elif framework == "llama_factory":
        block = yaml.safe_load(path.read_text())
        names = [n.strip() for n in block["dataset"].split(",")]  # LLaMA-Factory 0.9, hparams/data_args.py
        assert names == [name, "web"]
        assert len(block["interleave_probs"].split(",")) == len(names)
    elif framework == "torchtitan":
        assert read_torchtitan(path, {name: 1000.0, "web": 100.0})[0] == pytest.approx({name: 0.6, "web": 0.4})
    else:
        assert name in json.dumps(yaml.safe_load(path.read_text()), ensure_ascii=False).replace('\\"', '"')
