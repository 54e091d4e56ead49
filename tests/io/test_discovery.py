"""Importers and exporters are found by being there, by registration, and by entry point."""

import importlib.metadata
import inspect

import pytest

from mixlaw import Corpus, Mixture, Observations, Recipe, Schedule
from mixlaw.data.importing import recognise
from mixlaw.data.seams import EXPORTERS, IMPORTERS
from mixlaw.errors import ConfigError, DataError
from mixlaw.io.exporters.base import Exporter, summarize
from mixlaw.kit.registry import Registry


@pytest.fixture
def importers(monkeypatch):
    """The registry of importers, as it was afterwards."""
    monkeypatch.setattr(IMPORTERS, "_given", dict(IMPORTERS._given))
    return IMPORTERS


@pytest.fixture
def exporters(monkeypatch):
    monkeypatch.setattr(EXPORTERS, "_given", dict(EXPORTERS._given))
    return EXPORTERS


def test_the_importers_there_are():
    assert IMPORTERS.names() == ["mlflow", "olmix", "regmix", "study", "table", "tensorboard", "wandb"]


@pytest.mark.parametrize("name", IMPORTERS.files)
def test_every_importers_file_holds_read_and_recognises(name):
    read, recognises = IMPORTERS[name], IMPORTERS.beside(name, "recognises")
    assert read.__module__ == recognises.__module__ == IMPORTERS.files[name]
    first, *options = inspect.signature(read).parameters.values()
    assert first.name == "paths" and all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in options)
    assert list(inspect.signature(recognises).parameters) == ["paths"]


def test_the_exporters_there_are():
    known = ["huggingface", "llama_factory", "megatron", "nanotron", "olmo_core", "streaming", "torchtitan"]
    assert EXPORTERS.names() == known


@pytest.mark.parametrize("name", EXPORTERS.files)
def test_every_exporters_file_holds_its_class(name):
    found = EXPORTERS[name]
    assert issubclass(found, Exporter) and found.__module__ == EXPORTERS.files[name]
    assert found.draws in ("tokens", "samples", "documents") and isinstance(found.switches, bool)
    assert found.write is not Exporter.write and found.simulate is not Exporter.simulate
    assert all(p.default is not p.empty for p in EXPORTERS.options(name).values()), "every option has a default"


def test_nanotron_alone_switches_within_a_run():
    assert [name for name in EXPORTERS if EXPORTERS[name].switches] == ["nanotron"]


def read_notes(paths, *, scale: float = 1.0):
    """A user's format: ``web=0.5 code=0.5 loss=3.0`` on each line."""
    runs, values = [], []
    for number, line in enumerate(paths[0].read_text().split("\n")):
        facts = {k: float(v) for k, v in (part.split("=") for part in line.split())}
        values.append({"run": f"r{number}", "target": "web", "value": scale * facts.pop("loss")})
        runs.append({"run": f"r{number}", "schedule": facts})
    return Observations.from_records(runs, values)


def test_a_users_importer_joins_by_registration(importers, tmp_path):
    file = tmp_path / "runs.notes"
    file.write_text("web=0.5 code=0.5 loss=3.0\nweb=1.0 code=0.0 loss=2.0")
    importers.register("notes", read_notes)
    losses = Observations.read(file, format="notes", scale=2.0).table()[1].column("web").to_pylist()
    assert losses == [6.0, 4.0]
    with pytest.raises(ConfigError, match=r"'notes' has no option 'scal'.*Did you mean 'scale'.*If this is no 'notes'"):
        Observations.read(file, format="notes", scal=2.0)
    assert recognise([file]) == "table"  # it does not say what it recognises
    read_notes.recognises = lambda paths: all(p.suffix == ".notes" for p in paths)
    try:
        assert recognise([file]) == "notes"
        assert len(Observations.read(file)) == 2
    finally:
        del read_notes.recognises


def test_a_users_importer_joins_by_an_entry_point(monkeypatch):
    point = importlib.metadata.EntryPoint("theirs", "mixlaw.io.importers.table:read", "mixlaw.importers")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == "mixlaw.importers" else []
    )
    registry = Registry("importer", rooms=("mixlaw.io.importers",), attribute="read", group="mixlaw.importers")
    assert "theirs" in registry.names() and registry["theirs"] is IMPORTERS["table"]
    assert registry.beside("theirs", "recognises") is IMPORTERS.beside("table", "recognises")


class Plain(Exporter):
    """A user's exporter."""

    def __init__(self, separator: str = " ") -> None:
        self.separator = separator

    def write(self, recipe, path):
        path.write_text("\n".join(f"{d}{self.separator}{w}" for d, w in recipe.mixture.to_dict().items()))
        return path

    def simulate(self, recipe):
        return summarize(recipe, "plain", self.draws, [recipe.domain_tokens])


def test_a_users_exporter_joins_by_registration(exporters, tmp_path):
    exporters.register("plain", Plain)
    recipe = Recipe(
        Schedule.constant(Mixture({"a": 0.75, "b": 0.25})), 1000, Corpus.declared({"a": 9000, "b": 9000}, source="us")
    )
    assert recipe.export("plain", tmp_path / "x", separator=": ").read_text() == "a: 0.75\nb: 0.25"
    with pytest.raises(ConfigError, match="separator=3 must be text, for example ' '"):
        recipe.export("plain", tmp_path / "x", separator=3)


def test_a_users_exporter_joins_by_an_entry_point(monkeypatch):
    point = importlib.metadata.EntryPoint("theirs", "mixlaw.io.exporters.megatron:Megatron", "mixlaw.exporters")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == "mixlaw.exporters" else []
    )
    registry = Registry("exporter", rooms=("mixlaw.io.exporters",), group="mixlaw.exporters")
    assert registry.make("theirs", {"sequence_length": 8}).sequence_length == 8


def test_a_study_with_logs_beside_it_is_a_study(tmp_path):
    (tmp_path / "study.yaml").write_text("")
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"")
    assert recognise([tmp_path]) == "study"


@pytest.mark.parametrize(("names", "message"), [(["nowhere"], "no such file"), ([], "Nothing cannot be read")])
def test_nothing_to_read(names, message, tmp_path):
    with pytest.raises(DataError, match=message):
        recognise([tmp_path / name for name in names])


def test_a_folder_and_a_file_are_no_known_export(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match="are not a study"):
        recognise([tmp_path, tmp_path / "a.csv"])
