"""Whatever a file of a study holds, there is an answer in words that names it, and never a traceback."""

import json
import random
import shutil
import warnings
from pathlib import Path

import pytest

from mixlaw import Observations, Study
from mixlaw.data import formats
from mixlaw.errors import DataError, MixlawError

EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "study"
KINDS = {
    "corpus.json": "corpus",
    "design.json": "design",
    "failures.json": "failures",
    "made-from.json": "made-from",
    "recipe.json": "recipe",
    "verification.json": "verification",
    "laws/auto.json": "law",
    "laws/league.json": "league",
}
ALWAYS_READ = {"corpus.json", "design.json", "made-from.json", "recipe.json", "verification.json"}
TORN = ["", "{", "[]", "null", '"x"', "7", "[" * 100_000, "\x00", '{"format": []}', '{"format": {"kind": 3}}']
ODD = [None, [], {}, "x", -1, 1e308, [None], {"x": None}, True]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """The study of the first version as today's version writes it."""
    folder = Path(shutil.copytree(EARLIER, tmp_path_factory.mktemp("sealed") / "study"))
    study = Study(folder)
    with warnings.catch_warnings(action="ignore"):
        for name, kind in KINDS.items():
            formats.write(study.store, name, kind, formats.load(folder / name, kind))
        formats.write(study.store, "failures.json", "failures", {"0123456789abcdef": "ran out of 16 GB at step 31"})
        for run in (folder / "runs").iterdir():
            Observations.load(run).save(run)
    return folder


@pytest.fixture
def study(sealed, tmp_path):
    return Study(shutil.copytree(sealed, tmp_path / "study"))


def answers(study):
    """Everything that reads files of the study; the errors that it gave."""
    errors = []
    mixture = {"prose": 0.5, "code": 0.5, "headers": 0.0, "sums": 0.0}
    for ask in (study.status, study.facts, study.law, study.recipe, study.specs, lambda: study.predict(mixture)):
        try:
            with warnings.catch_warnings(action="ignore"):
                ask()
        except MixlawError as error:
            errors.append(str(error))
    return errors


def test_a_whole_study_says_nothing(study):
    with warnings.catch_warnings(action="error"):
        study.status()
        study.facts()
        study.law()


@pytest.mark.parametrize("name", KINDS)
def test_torn_and_foreign_files_are_named(study, name):
    path = study.folder / name
    whole = path.read_text()
    for content in (*TORN, whole[: len(whole) // 2], whole[:-2], whole.replace(":", "", 1)):
        path.write_text(content)
        errors = answers(study)
        assert errors and all(name in error for error in errors), content[:40]


@pytest.mark.parametrize("name", KINDS)
def test_a_changed_character_is_told(study, name):
    path = study.folder / name
    whole = path.read_text()
    generator = random.Random(name)
    digits = [i for i, c in enumerate(whole) if c in "12345678" and i > whole.index('"checksum"') + 90]
    for place in generator.sample(digits, 3):
        path.write_text(whole[:place] + str(int(whole[place]) + 1) + whole[place + 1 :])
        errors = answers(study)
        assert errors and all("was changed after" in error and name in error for error in errors)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "without a checksum"])
def test_content_that_cannot_be_is_told(study, name, is_sealed):
    """By a program that seals what it writes, or by hand in a file without a header."""
    kind, path, generator = KINDS[name], study.folder / name, random.Random(name)
    content = formats.load(path, kind)
    changed = [{}, {"x": 1}]
    for key in generator.sample(sorted(content), min(5, len(content))):
        changed += [{**content, key: odd} for odd in generator.sample(ODD, 3)]
        changed.append({k: v for k, v in content.items() if k != key})
    for data in changed:
        if is_sealed:
            formats.write(study.store, name, kind, data)
        else:
            path.write_text(json.dumps(data))
        answers(study)


@pytest.mark.parametrize("name", ["values.parquet", "runs.parquet", "checksums.json", "spec.json"])
def test_damaged_runs_are_named(study, name):
    run = next((study.folder / "runs").iterdir())
    whole = (run / name).read_bytes()
    for content in (b"", whole[:-9], whole[:50], b"[]"):
        (run / name).write_bytes(content)
        if name != "spec.json":  # which is for people; the design is what is read
            with pytest.raises(DataError, match=name.replace(".", r"\.")):
                study.observations()
    (run / name).unlink()
    answers(study)
