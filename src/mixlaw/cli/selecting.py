"""``mixlaw select NAME``: one command per way to choose documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixlaw.cli.shared import echo, progress_bar
from mixlaw.errors import ConfigError

__all__ = ["dsir"]


def dsir(
    raw: Annotated[
        list[str],
        typer.Argument(help="The pool: files or folders of text (JSON lines, Parquet, text; compressed too)."),
    ],
    target: Annotated[
        list[str], typer.Option(help="PATH or NAME=PATH of text that the chosen documents should be like; repeat.")
    ],
    num: Annotated[int, typer.Option(help="How many documents to choose.")],
    out: Annotated[Path, typer.Option(help="Folder for selection.json, ids.txt and report.txt.")],
    write_text: Annotated[
        bool,
        typer.Option(
            "--write-text", help="Also write the chosen documents, OUT/documents.jsonl: a domain for a study."
        ),
    ] = False,
    per_length: Annotated[
        bool, typer.Option("--per-length", help="Weigh documents as if all were of the pool's median length.")
    ] = False,
    top_k: Annotated[bool, typer.Option("--top-k", help="Take the largest weights instead of a random draw.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    min_words: Annotated[int, typer.Option(help="Leave out documents of fewer words.")] = 100,
    num_buckets: Annotated[int, typer.Option(help="Buckets that words and pairs of words are hashed into.")] = 10_000,
    text_field: Annotated[str, typer.Option(help="Field of JSON lines and Parquet that holds the text.")] = "text",
) -> None:
    """Documents that are like a target: importance resampling by words and pairs of words (DSIR)."""
    from mixlaw.select import resample
    from mixlaw.select.importance import NgramImportance
    from mixlaw.select.selectors.dsir import DSIR
    from mixlaw.text.named import DocumentFiles

    with progress_bar() as progress:
        pool = DocumentFiles(raw, text_field, lambda done, size: progress("pool", done, size))
        targets = {name: DocumentFiles([path], text_field).texts for name, path in _targets(target).items()}
        _, report = resample(
            pool,
            targets,
            num,
            NgramImportance(num_buckets, min_words, per_length),
            DSIR(seed, top_k),
            folder=out,
            write_text=write_text,
        )
    echo(report.text())
    echo(f"Wrote {out / 'selection.json'}, {out / 'ids.txt'} and {out / 'report.txt'}.")
    if write_text:
        echo(f"The documents are in {out / 'documents.jsonl'}: a domain for study.yaml, or `mixlaw init`.")


def _targets(given: list[str]) -> dict[str, str]:
    """``["books=b.jsonl", "news.jsonl.zst"]`` -> ``{"books": "b.jsonl", "news": "news.jsonl.zst"}``.

    A path without a name is called after its file, up to the first dot.
    """
    found: dict[str, str] = {}
    for text in given:
        name, sign, path = text.partition("=")
        if not sign:
            name, path = Path(text).name.split(".")[0], text
        if not name or not path:
            raise ConfigError(f"--target {text!r} must look like PATH or NAME=PATH.")
        if name in found:
            raise ConfigError(f"--target {text!r}: another target is called {name!r} too. Name it: NAME={path}.")
        found[name] = path
    return found
