"""What mixlaw wrote and a disk, an editor or a stranger changed: told in words, or the same as before, or used soundly.

The artefacts are those of the first version under ``tests/fixtures``, written anew with today's headers and checksums.
"""

from __future__ import annotations

import functools
import gzip
import json
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fuzz.odd import damaged, mutated
from mixlaw import Corpus, Observations, Recipe
from mixlaw.data import formats
from mixlaw.data.ledger import Ledger
from mixlaw.data.runspec import RunSpec
from mixlaw.data.verification import Verification
from mixlaw.errors import MixlawError
from mixlaw.io.exporters import simulate
from mixlaw.kit.store import Store
from mixlaw.laws import Law
from mixlaw.study.study import Study
from mixlaw.tokens.loader import Loader, validation
from mixlaw.tokens.shards import check_tokens

from tiny_tokens import tiny_spec, write_tokens

_EARLIER = Path(__file__).parents[1] / "fixtures" / "v0_1_0"
_EXPECTED = json.loads((_EARLIER / "laws.expected.json").read_text())
LAWS = tuple(sorted(p.name.removesuffix(".json.gz") for p in (_EARLIER / "laws").glob("*.json.gz")))
KINDS = ("recipe", "corpus", "verification", "spec")


@functools.cache
def law_content(name: str) -> dict[str, Any]:
    """A law's plain data."""
    text = gzip.decompress((_EARLIER / "laws" / f"{name}.json.gz").read_bytes())
    return Law.from_json(text).to_dict()


@functools.cache
def content(kind: str) -> dict[str, Any]:
    """Plain data of an artefact of a study."""
    study = _EARLIER / "study"
    path = {
        "recipe": study / "recipe.json",
        "corpus": study / "corpus.json",
        "verification": study / "verification.json",
        "spec": next((study / "runs").glob("*/spec.json")),
    }[kind]
    return formats.load(path, kind)


def law_kept(given: tuple[str, Any]) -> None:
    """A law whose content was edited and sealed anew: refused, or it predicts numbers or refuses to."""
    name, data = given
    law = Law.from_json(formats.dumps("law", data) if isinstance(data, dict) else json.dumps(data))
    X = {k: np.array(v) for k, v in _EXPECTED[name]["X"].items()}
    law.to_json()
    if law.kind == "joint":
        return  # not tried where it is read: it is fitted anew at each size that is asked for
    prediction = np.asarray(law.predict(X))
    assert prediction.shape[0] == len(next(iter(X.values())))
    law.predict_interval(X)
    assert law.summary()


def artefact_kept(given: tuple[str, Any]) -> None:
    """Content that was edited and sealed anew: refused, or its plain data are the same when read again."""
    kind, data = given
    make: Callable[[dict[str, Any]], Any] = {
        "recipe": Recipe.from_dict,
        "corpus": Corpus.from_dict,
        "verification": Verification.from_dict,
        "spec": RunSpec.from_dict,
    }[kind]
    text = formats.dumps(kind, data) if isinstance(data, dict) else json.dumps(data)
    if kind == "recipe":
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "recipe.json").write_text(text)
            held = Recipe.load(Path(folder) / "recipe.json")
    else:
        held = formats.made(kind, kind, make, formats.loads(kind, text, kind))
    again = make(json.loads(json.dumps(held.to_dict())))
    assert repr(again.to_dict()) == repr(held.to_dict())
    if kind == "recipe":
        assert str(held) and held._repr_html_()
        assert abs(math.fsum(held.mixture.weights) - 1) < 2e-6
        for framework in ("megatron", "huggingface", "nanotron"):
            try:
                simulate(held, framework)
            except MixlawError as error:
                assert str(error).strip()
    if kind == "verification":
        assert held.verdict in ("gain", "loss", "null") and held.measurement()
    if kind == "spec":
        assert len(held.id) == 16


def bytes_kept(given: tuple[str, bytes]) -> None:
    """A sealed file with changed bytes: refused, or exactly what was saved."""
    kind, data = given
    held = formats.loads(kind, data, kind)
    original = law_content(LAWS[0]) if kind == "law" else content(kind)
    assert held == json.loads(json.dumps(original)), "other content than was saved was believed"


@functools.cache
def study() -> Path:
    """A study of today with a ledger, a recipe, observations and runs; copied, never written to."""
    folder = Path(tempfile.mkdtemp()) / "study"
    shutil.copytree(_EARLIER / "study", folder)
    (folder / "ledger").rename(folder / "earlier")
    ledger = Ledger(Store(folder))
    for file in sorted((folder / "earlier").glob("*.json")):
        entry = json.loads(file.read_text())
        ledger.append(entry["kind"], entry["body"])
    shutil.rmtree(folder / "earlier")
    for run in (folder / "runs").iterdir():
        Observations.load(run).save(run)
    for kind in ("recipe", "corpus", "verification"):
        formats.write(Store(folder), f"{kind}.json", kind, content(kind))
    return folder


@functools.cache
def study_files() -> tuple[str, ...]:
    """Files of the study, without its tokens."""
    return tuple(
        sorted(
            path.relative_to(study()).as_posix()
            for path in study().rglob("*")
            if path.is_file() and not path.relative_to(study()).as_posix().startswith("tokens/")
        )
    )


def study_file(name: str) -> bytes:
    """The bytes of a file of the study."""
    return (study() / name).read_bytes()


def study_kept(given: tuple[str, bytes | None]) -> None:
    """A study with one file damaged or gone: every reader answers or refuses in words, and writes nothing."""
    name, data = given
    refused: list[MixlawError] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "study"
        shutil.copytree(study(), folder)
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        calls: tuple[Callable[[Any], Any], ...] = (
            lambda study: study.status(),
            lambda study: study.specs(),
            lambda study: study.observations(),
            lambda study: study.recipe(),
            lambda study: study.law(),
            lambda study: study.ledger.verify(),
            lambda study: study.following(),
        )
        for call in calls:
            try:
                call(Study(folder))
            except MixlawError as error:
                assert str(error).strip()
                refused.append(error)
        now = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        changed = [p.name for p in {*now, *before} if now.get(p) != before.get(p)]
        assert not changed, f"readers wrote {changed} in the study"
    if refused:
        raise refused[0]


@functools.cache
def _tokens() -> tuple[Corpus, Path]:
    root = Path(tempfile.mkdtemp())
    return write_tokens(root, train=2000, validation=129), root


@functools.cache
def token_files() -> tuple[str, ...]:
    """Files of the tokens."""
    root = _tokens()[1]
    return tuple(sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()))


def token_file(name: str) -> bytes:
    """The bytes of a file of the tokens."""
    return (_tokens()[1] / name).read_bytes()


def tokens_kept(given: tuple[str, bytes | None]) -> None:
    """Tokens with one file damaged or gone: refused, or every batch is as it was."""
    name, data = given
    corpus, source = _tokens()
    spec = tiny_spec(corpus, steps=4)
    expected = [Loader(spec, corpus, source).batch(step) for step in range(4)]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "tokens"
        shutil.copytree(source, root)
        (root / name).unlink() if data is None else (root / name).write_bytes(data)
        for domain in ("hills", "plains"):
            for part in ("train", "val"):
                check_tokens(root / domain, part, everything=True)
        loader = Loader(spec, corpus, root)
        for step in range(4):
            assert np.array_equal(loader.batch(step), expected[step]), "other tokens than were saved were believed"
        assert {k: v[1] for k, v in validation(corpus, root, 32).items()}


def _broken(files: Callable[[], tuple[str, ...]], read: Callable[[str], bytes]) -> st.SearchStrategy[Any]:
    """``(name, bytes, or None where it is gone)`` of one file that is no longer as it was."""

    def change(name: str) -> st.SearchStrategy[Any]:
        data = read(name)
        odd = st.sampled_from((b"", b"[]", b"{}", b"null", b"{", b"\x00" * len(data), b"\xff\xfe", data * 2))
        return st.tuples(st.just(name), st.none() | odd | damaged(data, often=True))

    return st.deferred(lambda: st.sampled_from(files()).flatmap(change))


broken_studies = _broken(study_files, study_file)
broken_tokens = _broken(token_files, token_file)
edited_laws = st.sampled_from(LAWS).flatmap(lambda name: st.tuples(st.just(name), mutated(law_content(name), most=2)))
edited_artefacts = st.sampled_from(KINDS).flatmap(lambda kind: st.tuples(st.just(kind), mutated(content(kind), most=2)))


def _sealed(kind: str) -> bytes:
    return formats.dumps(kind, law_content(LAWS[0]) if kind == "law" else content(kind)).encode()


changed_bytes = st.sampled_from((*KINDS, "law")).flatmap(
    lambda kind: st.tuples(st.just(kind), damaged(_sealed(kind), often=True))
)
