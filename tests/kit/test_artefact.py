"""Every file that mixlaw writes for itself says what it is, in which format, and whether it is as it was written."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mixlaw
from mixlaw import Corpus, Ledger, Mixture, Recipe, RunSpec, Schedule, Selection, Store, Study
from mixlaw.data import formats
from mixlaw.data.migrations import law_0
from mixlaw.data.seams import LAWS, MIGRATIONS
from mixlaw.errors import DataError, MixlawError
from mixlaw.kit.artefact import HEADER, checksum, seal, unseal
from mixlaw.laws import Law

EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0"
CORPUS = Corpus.declared({"web": 9000, "code": 1000}, source="us")
RECIPE = Recipe(Schedule.constant(Mixture({"web": 0.7, "code": 0.3})), 1000, CORPUS)


def law():
    rng = np.random.default_rng(0)
    X = rng.dirichlet([2, 2], 24)
    return LAWS["m1"]().fit({"web": X[:, 0], "code": X[:, 1]}, {"loss": 3 + 0.5 * np.exp(-2 * X[:, 0])})


WRITERS = {
    "corpus": lambda path: CORPUS.save(path),
    "recipe": lambda path: RECIPE.save(path),
    "selection": lambda path: Selection(("a", "b"), "c").save(path),
    "spec": lambda path: RunSpec(RECIPE.schedule, tokens=1000).save(path),
    "law": lambda path: path.write_text(law().to_json()),
}
READERS = {
    "corpus": Corpus.load,
    "recipe": Recipe.load,
    "selection": Selection.load,
    "spec": RunSpec.load,
    "law": lambda path: Law.from_json(path.read_text()),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_read_as_it_was_written_and_in_no_other_way(kind, tmp_path):
    path = tmp_path / "x.json"
    WRITERS[kind](path)
    data = json.loads(path.read_text())
    header = data[HEADER]
    assert header["kind"] == kind and header["number"] == formats.KINDS[kind].number
    assert header["version"] == mixlaw.__version__
    READERS[kind](path)
    path.write_text(json.dumps(dict(reversed(data.items())), indent=4))  # laid out otherwise, nothing changed
    READERS[kind](path)

    def refused(changed, message):
        path.write_text(json.dumps(changed))
        with pytest.raises(DataError, match=message):
            READERS[kind](path)

    key = next(k for k in data if k != HEADER)
    refused({**data, key: None}, "was changed after mixlaw .* wrote it.*Restore it from a copy")
    refused({**data, "more": 1}, "was changed after")
    refused({k: v for k, v in data.items() if k != key}, "was changed after")
    refused({**data, HEADER: {**header, "number": 99}}, "format 99, .* reads up to format 1. Install a newer")
    refused({**data, HEADER: {**header, "kind": "league"}}, f"is a league, not a {kind}")
    refused({**data, HEADER: "law"}, "a header that mixlaw did not write")
    refused([data], f"is no {kind} written by mixlaw: it holds a list")
    path.write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        READERS[kind](path)


def test_swapped_weights_of_a_recipe_are_noticed(tmp_path):
    RECIPE.save(tmp_path / "recipe.json")
    text = (tmp_path / "recipe.json").read_text()
    swapped = text.replace("0.7", "SEVEN").replace("0.3", "0.7").replace("SEVEN", "0.3")
    (tmp_path / "recipe.json").write_text(swapped)
    with pytest.raises(DataError, match=r"recipe\.json was changed after .* run `mixlaw optimize` again"):
        Recipe.load(tmp_path / "recipe.json")


def test_headers_change_no_hash(tmp_path):
    RECIPE.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json").hash == RECIPE.hash
    spec = RunSpec(RECIPE.schedule, tokens=1000)
    spec.save(tmp_path / "spec.json")
    assert RunSpec.load(tmp_path / "spec.json").id == spec.id
    ledger = Ledger(Store(tmp_path))
    entry = ledger.append("prediction", {"loss": 2.5})
    assert [e.hash for e in ledger] == [entry.hash] and "format" in json.loads(
        (tmp_path / "ledger" / "000001.json").read_text()
    )


def test_the_last_entry_of_a_ledger_cannot_be_edited_either(tmp_path):
    ledger = Ledger(Store(tmp_path))
    ledger.append("prediction", {"loss": 2.5})
    file = tmp_path / "ledger" / "000001.json"
    file.write_text(file.read_text().replace("2.5", "2.4"))
    with pytest.raises(DataError, match=r"000001\.json was changed after"):
        ledger.verify()


def test_content_with_a_key_of_the_headers_name_is_refused():
    with pytest.raises(DataError, match="has a key 'format' of its own"):
        seal({"format": "mine"}, "recipe", 1)


def test_a_checksum_is_of_what_is_read_back():
    content = {"b": (1, 2.5, None), 10: {"x": float("inf")}, 9: "é"}
    assert checksum(content) == checksum(json.loads(json.dumps(content)))
    assert checksum(content) != checksum({**content, 9: "e"})
    again, number = unseal(json.loads(json.dumps(seal(content, "x", 3))), "x", 3, "x.json", "")
    assert number == 3 and again["b"] == [1, 2.5, None]


# ---- what the first version wrote: format 0 -------------------------------------------------------------
def test_files_without_a_header_are_format_0(tmp_path):
    study = shutil.copytree(EARLIER / "study", tmp_path / "study")
    found = {
        "corpus.json": "corpus",
        "design.json": "design",
        "failures.json": "failures",
        "made-from.json": "made-from",
        "recipe.json": "recipe",
        "verification.json": "verification",
        "laws/league.json": "league",
        "laws/auto.json": "law",
        "ledger/000001.json": "ledger entry",
        "runs/0d3d8aab66511b6f/spec.json": "spec",
    }
    for name, kind in found.items():
        raw = json.loads((study / name).read_text())
        assert HEADER not in raw
        if kind != "law":
            assert formats.load(study / name, kind) == raw
    opened = Study(study)
    known = json.loads((EARLIER / "study" / "ledger" / "000002.json").read_text())
    assert list(opened.ledger)[1].previous == known["previous"], "the chain is the one of the first version"


def test_hashes_of_the_first_version_stay():
    recipe = Recipe.load(EARLIER / "study" / "recipe.json")
    first = json.loads((EARLIER / "study" / "ledger" / "000001.json").read_text())
    assert first["body"]["recipe"] == recipe.hash
    assert Corpus.load(EARLIER / "study" / "corpus.json").hash == "4238f9c1bf09077b"


def test_the_migration_of_laws_names_the_registry():
    assert "law_0" in MIGRATIONS and MIGRATIONS["law_0"] is law_0.migrate
    assert set(law_0.FORMER.values()) <= {*LAWS, *LAWS.aliases}
    text = gzip.decompress((EARLIER / "laws" / "restricted.json.gz").read_bytes())
    assert b'"mixlaw.' in text, "a law inside a law, by the path of its class"
    migrated = json.dumps(formats.loads("law", text, "restricted.json"))
    assert '"class": "mixlaw.' not in migrated and '"class": "restricted"' in migrated


def test_a_law_of_today_does_not_go_through_it(monkeypatch):
    def never(content):
        raise AssertionError("migrated")

    monkeypatch.setitem(MIGRATIONS._loaded, "law_0", never)
    Law.from_json(law().to_json())
    with pytest.raises(DataError, match="migrated"):
        Law.from_json(json.dumps(law().to_dict()))


@pytest.mark.parametrize(
    "name",
    ["os:system", "mine:Law", "mixlaw.laws.m1:Nothing", "tests.kit.x", "", "__import__", "mixlaw.laws.mixture.m1:M1"],
)
def test_nothing_is_imported_because_a_file_names_it(name, tmp_path, monkeypatch):
    """A module of that name lies in the current folder, and would leave a file behind when it is imported."""
    (tmp_path / "mine.py").write_text("open('imported', 'w').close()\nclass Law: ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = law().to_dict()
    within = {**data, "state": {**data["state"], "other_": {"__law__": {**data, "class": name}}}}
    for content in ({**data, "class": name}, within):
        for text in (formats.dumps("law", content), json.dumps(content)):
            with pytest.raises(DataError, match="is not registered here"):
                Law.from_json(text)
    assert not (tmp_path / "imported").exists()


def test_names_in_other_files_and_in_study_yaml_are_registry_names(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("open('imported', 'w').close()\ndef propose(*_): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    base = {"corpus": {"counts": {"web": "3B", "code": "1B"}}, "objective": {"web": 1}, "budget": {"tokens": "2B"}}
    for number, (section, name) in enumerate((("design", "sampler"), ("training", "trainer"), ("law", "name"))):
        study = Study.create(tmp_path / str(number), {**base, section: {name: "mine:propose"}})
        study.tokenize()
        for verb in (study.design, study.fit):
            with pytest.raises(MixlawError):
                verb()
    with pytest.raises(MixlawError, match="mine:export"):
        RECIPE.export("mine:export", tmp_path / "x.json")
    with pytest.raises(MixlawError, match="mine:read"):
        mixlaw.Observations.read(EARLIER / "runs.csv", format="mine:read")
    assert not (tmp_path / "imported").exists()


def test_a_state_that_would_replace_a_method_is_refused(tmp_path):
    data = law().to_dict()
    for key in ("predict", "__class__", "_training", "fit"):
        with pytest.raises(DataError, match="which no law learns"):
            Law.from_json(formats.dumps("law", {**data, "state": {**data["state"], key: 1.0}}))


def test_a_header_under_another_name_is_no_file_of_the_first_version():
    sealed = seal({"web": 1.0}, "mixture", 1)
    with pytest.raises(DataError, match="its header is called 'gormat', not 'format'"):
        unseal({"gormat": sealed["format"], "web": 1.0}, "mixture", 1, "mixture.json", "")


@pytest.mark.parametrize("part", ["theta_", "target_names_"])
@pytest.mark.parametrize("value", [None, "1,000", [], {"__dict__": []}])
def test_a_state_that_predicts_nothing_is_told_where_the_law_is_read(part, value):
    content = law().to_dict()
    assert part in content["state"]
    content["state"][part] = value
    for text in (formats.dumps("law", content), json.dumps(content)):
        with pytest.raises(DataError, match=r"laws/auto\.json"):
            Law.from_json(text, "laws/auto.json")
