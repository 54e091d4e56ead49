"""What a study does not believe: a forged verification, a ledger that was changed, files that were damaged."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixlaw import Study
from mixlaw.cli.app import app
from mixlaw.data import formats
from mixlaw.errors import DataError, MixlawWarning
from mixlaw.study.freshness import schedule_inputs

EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "study"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(EARLIER, tmp_path / "study"))


def row(study, verb):
    return next((done, detail) for name, done, detail in study.status() if name == verb)


def forge(folder, change, sealed):
    """Change verification.json as someone would who wants another result."""
    data = formats.load(folder / "verification.json", "verification")
    change(data)
    if sealed:
        formats.write(Study(folder).store, "verification.json", "verification", data)
    else:
        (folder / "verification.json").write_text(json.dumps(data))


def written_today(study, result):
    """A verification as `mixlaw verify` writes it, file and ledger."""
    formats.write(study.store, "verification.json", "verification", json.loads(json.dumps(result.to_dict())))
    study.ledger.append("measurement", result.measurement())


def larger_gain(data):
    data["difference"]["vs natural"] |= {"mean": -0.9, "low": -1.0, "high": -0.8}


def other_losses(data):
    data["arms"]["recipe"]["losses"] = [1.0, 1.0, 1.0]


def blind(data):
    data["predicted_first"] = not data["predicted_first"]


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("change", [larger_gain, other_losses, blind])
def test_a_forged_verification_is_not_shown_as_measured(folder, change, sealed):
    assert row(Study(folder), "verify") == (True, "gain, 3 seeds")
    forge(folder, change, sealed)
    study = Study(folder)
    done, why = row(study, "verify")
    assert not done and "does not say what was measured (entry 2 of the ledger)" in why
    assert study.verification() is None
    page = study.report().read_text()
    assert "verified gain" not in page and "Not verified yet" in page and "does not say what was measured" in page


def test_a_verification_that_the_ledger_does_not_know_is_not_believed(folder):
    (folder / "ledger" / "000002.json").unlink()
    done, why = row(Study(folder), "verify")
    assert not done and "no measurement" in why
    assert "verified gain" not in Study(folder).report().read_text()


def test_curves_cannot_be_changed_behind_the_ledger_of_today(folder):
    study = Study(folder)
    written_today(study, study.verification())
    assert row(Study(folder), "verify")[0]
    data = formats.load(folder / "verification.json", "verification")
    next(iter(data["arms"]["recipe"]["curves"].values()))[0][1] += 1.0
    formats.write(study.store, "verification.json", "verification", data)
    assert not row(Study(folder), "verify")[0]


def test_status_and_report_print_the_head_and_ledger_verify_compares_it(folder):
    study = Study(folder)
    study.ledger.append("prediction", {"loss": 2.5})
    head = study.ledger.head
    run = CliRunner()
    assert head[:16] in run.invoke(app, ["status", str(folder)]).output
    assert head in study.report().read_text()
    said = run.invoke(app, ["ledger", "verify", str(folder), head[:16]])
    assert said.exit_code == 0 and "The ledger is whole: 3 entries" in said.output and head in said.output
    file = folder / "ledger" / "000003.json"
    text = file.read_text()
    file.unlink()
    for command in (["status", str(folder)], ["ledger", "verify", str(folder)], ["report", str(folder)]):
        found = run.invoke(app, command)
        assert isinstance(found.exception, DataError) and "the last ones were removed" in str(found.exception)
    file.write_text(text)
    with pytest.raises(DataError, match="not in this ledger"):
        study.ledger.verify("0123456789abcdef")


def test_the_report_says_blind_only_of_blind_checks(folder):
    assert "before any of these runs was measured" in Study(folder).report().read_text()
    forge(folder, blind, True)
    study = Study(folder)
    data = formats.load(folder / "verification.json", "verification")
    from mixlaw.data.verification import Verification

    written_today(study, Verification.from_dict(data))
    page = study.report().read_text()
    assert "no blind check" in page and "before any of these runs" not in page


def test_repair_makes_a_schedule_stale(folder):
    before = schedule_inputs(Study(folder))
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text.replace("repair: false", "repair: true"))
    assert schedule_inputs(Study(folder)) != before


def test_verify_compares_all_tokens_before_training_and_on_tokenize(tmp_path, write, texts):
    pytest.importorskip("torch")
    domains = {name: str(write(tmp_path / f"{name}.jsonl", texts(200, seed))) for seed, name in enumerate(("a", "b"))}
    config = {
        "corpus": {"domains": domains, "vocab_size": 300, "validation_tokens": 256},
        "objective": {"a": 1.0},
        "budget": {"tokens": 4096},
        "training": {"model": {"layers": 1, "width": 16, "heads": 2}, "tokens": 1024, "batch": 2, "context": 32},
        "design": {"num": 3, "replicates": 0},
    }
    study = Study.create(tmp_path / "s", config)
    study.tokenize()
    study.design()
    file = study.folder / "tokens" / "a" / "train.bin"
    whole = file.read_bytes()
    file.write_bytes(bytes(len(whole)))
    run = CliRunner()
    found = run.invoke(app, ["train", str(study.folder), "--verify"])
    assert isinstance(found.exception, DataError) and "train.bin is not as it was written" in str(found.exception)
    assert not list((study.folder / "runs").glob("*/DONE"))
    with pytest.warns(MixlawWarning, match="so it is built again"):
        done = run.invoke(app, ["tokenize", str(study.folder), "--verify"])
    assert done.exit_code == 0 and file.read_bytes() == whole


def test_a_file_that_no_verb_writes_is_not_shown(folder):
    (folder / "laws" / "effects.json").write_text('{"forged": true}')
    assert Study(folder).facts().effects is None


def test_status_and_report_name_files_without_checksums(tmp_path):
    """It was said by a warning alone, which is gone when the page is read."""
    folder = tmp_path / "s"
    shutil.copytree(EARLIER, folder)
    study = Study(folder)
    said = study.unsealed()
    assert said.startswith("Without checksums") and "corpus.json" in said and "recipe.json" in said
    page = study.report().read_text()
    assert "Without checksums (whether they were changed cannot be told): corpus.json" in page
    out = CliRunner().invoke(app, ["status", str(folder)])
    assert out.exit_code == 0 and said in out.output
