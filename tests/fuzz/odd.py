"""Odd things that people, spreadsheets and broken disks may hand to mixlaw, as hypothesis strategies.

Numbers, texts, headers and cells of all kinds; tables, configurations and texts made of them, or nearly right ones in
which a few are put.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
import zstandard
from hypothesis import strategies as st

_NUMBERS = """
0 1 -1 0.5 .5 5. 1e9 1e400 -1e400 1e-400 1_000 1,000 0,5 50% 14M 1.4B 2.5e 1e5k ١٢ ٠٫٥ ½ 1:30 0x10 ++1 1e +.5
9007199254740993 99999999999999999999 1e308 inf -inf Infinity nan NaN
"""
ODD_NUMBERS = tuple(_NUMBERS.split())
ODD_TEXTS = (
    "",
    " ",
    "-",
    "n/a",
    "NULL",
    "None",
    "true",
    "error: out of memory",
    "a,b",
    'a"b',
    "a\nb",
    "é",
    "日本",
    "\x00",
    "\ufeff",
)
DOMAINS = ("web", "code", "wiki", "a b", "é", "x/y")

odd_numbers = st.sampled_from(ODD_NUMBERS)
floats = st.floats()
short_texts = st.text(max_size=8) | st.sampled_from(ODD_TEXTS)
odd_texts = odd_numbers | short_texts
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | floats
    | odd_texts
    | st.integers(0, 5)
    | st.floats(0, 1, allow_subnormal=False)
)
plain_data: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short_texts, inner, max_size=3), max_leaves=8
)

_HEADER_WORDS = """
run run_id name index id Name ID State Step _step step tokens params N D seed lr target value metric unit
shots validation_domain unique_tokens train_set corpus weight_web weight_code mix_wiki train_web train_code
ratio/web ratio.code w_web web_weight loss_web loss_code loss_wiki bpb_web acc_code ppl_web val/web/loss
eval_web valid_web/loss valid_code/loss train_the_pile_web train_the_pile_code train_loss loss accuracy time
config summary config.weight_web config.weight_code summary.loss_web metrics.loss_web params.weight_web
tags.mlflow.runName status trainer/global_step Created Tags
"""
_HEADERS = tuple(_HEADER_WORDS.split())
_CHART = ("a - loss/web", "a - loss/web__MIN", "a - loss/web__MAX", "b - loss/web", "b - _step", "Group: c - bpb/code")
headers = st.sampled_from(_HEADERS) | st.sampled_from(_CHART) | odd_texts
_JSON_CELLS = (
    '{"weight_web": 1.0}',
    "{'loss/web': {'value': 3.1}}",
    "{",
    "[1]",
    '{"a": {"b": NaN}}',
    "{" * 400,
    "-" * 3000,
)
cells = st.one_of(
    st.floats(0, 10, allow_subnormal=False).map(repr),
    st.integers(0, 3000).map(str),
    odd_texts,
    floats.map(repr),
    st.sampled_from(_JSON_CELLS),
)

_SHARES = {1: [["1"]], 2: [["0.5", "0.5"], ["1", "0"], ["0.25", "0.75"]], 3: [["0.2", "0.3", "0.5"], ["0", "0", "1"]]}


@st.composite
def tables(draw: Any) -> tuple[list[str], list[list[str]]]:
    """``(columns, rows)`` of texts: a sound table of runs with some of its parts replaced, or any table."""
    if draw(st.integers(0, 7)) == 0:
        columns = draw(st.lists(headers, min_size=1, max_size=6))
        rows = draw(st.lists(st.lists(cells, min_size=len(columns), max_size=len(columns)), max_size=5))
        return columns, rows
    domains = draw(st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=3, unique=True))
    mark = draw(st.sampled_from(("weight_", "mix/", "train_", "config.weight_", "params.weight_", "weights.", "")))
    value = draw(st.sampled_from(("loss_", "bpb_", "acc_", "ppl_", "valid_", "summary.loss_", "metrics.loss_", "val/")))
    layout = draw(st.sampled_from(("wide", "long", "sizes")))
    known = draw(st.lists(st.sampled_from(_HEADERS[:24]), max_size=2, unique=True))
    columns = known + ([] if layout == "sizes" else [mark + d for d in domains])
    columns += ["target", "value"] if layout == "long" else [value + d for d in domains]
    columns += ["params", "tokens"] if layout == "sizes" else []
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        row = [draw(cells if draw(st.integers(0, 9)) == 0 else st.integers(0, 9).map(str)) for _ in known]
        row += [] if layout == "sizes" else draw(st.sampled_from(_SHARES[len(domains)]))
        number = st.floats(0.1, 9, allow_subnormal=False).map("{:.4g}".format)
        row += [draw(st.sampled_from(domains)), draw(number)] if layout == "long" else [draw(number) for _ in domains]
        row += (
            [draw(st.sampled_from(("1e6", "14M", "7000"))), draw(st.sampled_from(("1e8", "2B", "50000")))]
            if layout == "sizes"
            else []
        )
        rows.append(row)
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 2)))):
        where = draw(st.integers(0, len(columns) - 1))
        if draw(st.integers(0, 2)) == 0:
            columns[where] = draw(headers)
        else:
            rows[draw(st.integers(0, len(rows) - 1))][where] = draw(cells)
    return columns, rows


@st.composite
def table_files(draw: Any) -> tuple[str, bytes]:
    """``(ending, bytes)`` of a table as a file, sometimes cut or with bytes changed."""
    ending, data = draw(written(*draw(tables())))
    return ending, draw(damaged(data))


@st.composite
def tables_and_options(draw: Any) -> tuple[list[tuple[str, bytes]], str | None, dict[str, Any]]:
    """``([file], format, options)``; the options mostly name columns that are there."""
    columns, rows = draw(tables())
    file = draw(written(columns, rows, plain=True))
    there = st.sampled_from(columns) if draw(st.integers(0, 4)) else headers
    chosen: dict[str, Any] = {}
    if draw(st.booleans()):
        chosen["ignore"] = draw(st.lists(there, max_size=2))
    if draw(st.integers(0, 2)) == 0:
        chosen["values"] = {draw(there): draw(st.sampled_from(("loss", "higher", "lower", "percent", "ppl", "odd")))}
    if draw(st.integers(0, 2)) == 0:
        chosen["weights"] = {"web": draw(there), "code": draw(there)} if draw(st.booleans()) else [draw(there)]
    if draw(st.booleans()):
        chosen["repair"] = True
    return [file], draw(st.sampled_from((None, "table"))), chosen


@st.composite
def written(draw: Any, columns: list[str], rows: list[list[str]], *, plain: bool = False) -> tuple[str, bytes]:
    """``(ending, bytes)`` of a table as a file; ``plain``: so that every cell is read back as it is."""
    if plain:
        text = io.StringIO(newline="")
        separator = draw(st.sampled_from((",", ",", ";", "\t")))
        csv.writer(text, delimiter=separator, lineterminator=draw(st.sampled_from(("\n", "\r\n")))).writerows(
            [columns, *rows]
        )
        data = text.getvalue().encode(draw(st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16"))))
        return draw(st.sampled_from(((".csv", data), (".csv", data), (".csv.gz", gzip.compress(data, mtime=0)))))
    ending = draw(st.sampled_from((".csv", ".csv", ".csv", ".tsv", ".csv.gz", ".parquet", ".json", ".jsonl")))
    if ending == ".parquet":
        data = _parquet(columns, rows, draw(st.booleans()))
    elif ending in (".json", ".jsonl"):
        records = [dict(zip(columns, row)) for row in rows]
        text = json.dumps(records) if ending == ".json" else "\n".join(map(json.dumps, records))
        data = text.encode()
    else:
        separator = draw(st.sampled_from((",", ",", ";", "\t", "|")))
        quoted = draw(st.booleans())
        newline = draw(st.sampled_from(("\n", "\r\n")))

        def cell(text: str) -> str:
            odd = any(c in text for c in (separator, '"', "\n", "\r"))
            return '"' + text.replace('"', '""') + '"' if quoted and odd else text

        text = newline.join(separator.join(map(cell, row)) for row in [columns, *rows]) + draw(
            st.sampled_from(("", newline))
        )
        text = draw(st.sampled_from(("", "", "", f"sep={separator}{newline}", newline))) + text
        encoding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1")))
        data = text.encode(encoding, "replace")
        if ending.endswith(".gz"):
            data = gzip.compress(data, mtime=0)
    return ending, data


def _parquet(columns: list[str], rows: list[list[str]], typed: bool) -> bytes:
    arrays = []
    for j in range(len(columns)):
        texts = [row[j] for row in rows]
        try:
            arrays.append(pa.array([float(t) for t in texts], pa.float64()) if typed else pa.array(texts, pa.string()))
        except ValueError:
            arrays.append(pa.array(texts, pa.string()))
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, names=columns), out)
    return out.getvalue()


def damaged(data: bytes, often: bool = False) -> st.SearchStrategy[bytes]:
    """Mostly the same bytes; else (or ``often``) cut short, or with some of them changed."""

    @st.composite
    def change(draw: Any) -> bytes:
        kind = draw(st.sampled_from(("cut", "flip", "insert", "bit")))
        at = draw(st.integers(0, max(0, len(data) - 1)))
        if kind == "cut":
            return data[:at]
        if kind == "bit" and data:
            return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        extra = draw(st.binary(min_size=1, max_size=3))
        return data[:at] + extra + data[at + (len(extra) if kind == "flip" else 0) :]

    return st.integers(0, 4).flatmap(lambda n: change() if n == 0 or (often and n < 4) else st.just(data))


_CONFIG_KEYS = (
    "weight_web",
    "weights/code",
    "mixture",
    "weights",
    "params",
    "tokens",
    "seed",
    "lr",
    "model/params",
    "n",
)
_METRIC_KEYS = ("loss/web", "loss/code", "bpb/web", "acc/web", "ppl/web", "tokens", "step", "train/loss", "val_loss")
_mixtures = st.sampled_from(
    ({"web": 1.0}, {"web": 0.5, "code": 0.5}, "web=1", '{"web": 1.0}', [1, 2], {"web": "x"}, {})
)


@st.composite
def run_logs(draw: Any) -> list[dict[str, Any]]:
    """Arguments of a few ``RunLog``, as TensorBoard, MLflow and W&B give them."""
    sound = draw(st.booleans())
    logs = []
    for number in range(draw(st.integers(0, 4))):
        config = draw(st.dictionaries(st.sampled_from(_CONFIG_KEYS) | short_texts, scalars | _mixtures, max_size=4))
        if sound:
            config = {k: v for k, v in config.items() if "weight" not in k and k != "mixture"}
            config |= {"weight_web": 0.25, "weight_code": 0.75}
        value = st.floats(0, 9) | floats if not sound else st.floats(0.1, 9)
        step = st.none() | st.integers(-3, 50) | st.integers(-(2**70), 2**70)
        entry = st.tuples(
            st.sampled_from(_METRIC_KEYS) | short_texts, step, value, st.none() | floats, st.none() | floats
        )
        logs.append(
            {
                "run": draw(st.sampled_from(("a", "b", "")) | short_texts) if not sound else f"run{number}",
                "config": config,
                "metrics": draw(st.lists(entry, max_size=6)),
                "status": draw(st.sampled_from(("done", "partial"))),
            }
        )
    return logs


SOUND_STUDY: dict[str, Any] = {
    "corpus": {
        "domains": {"web": "web.jsonl", "code": ["a", "b"]},
        "validation": {"exam": "exam.txt"},
        "vocab_size": "2k",
    },
    "runs": ["runs.csv", ["a.csv", "b.csv"]],
    "repair": True,
    "run_options": {"weights": {"web": "w"}, "values": {"f1": "higher"}, "ignore": ["x"]},
    "objective": {"web": 3, "code": 1},
    "budget": {
        "tokens": "2.5B",
        "params": "1B",
        "max_epochs": {"web": 4},
        "floors": {"web": 0.1},
        "caps": {"code": 0.9},
        "groups": {"all": {"domains": ["web", "code"], "floor": 0.1, "cap": 1}},
        "limits": {"fees": {"cost_per_token": {"web": 2e-6}, "total": 5000}},
    },
    "training": {
        "tokens": "2M",
        "batch": 8,
        "context": 256,
        "model": {"preset": "d64"},
        "learning_rate": {"peak": 4e-3},
    },
    "design": {
        "sampler": "dirichlet",
        "num": 24,
        "replicates": 2,
        "sizes": [{"num": 4, "tokens": "8M", "model": {"preset": "d128"}}],
    },
    "law": {"name": "auto", "level": 0.9},
    "reference": "natural",
    "verify": {"seeds": 5, "arms": ["natural"]},
    "executor": {"name": "local", "workers": 2},
}


@st.composite
def mutated(draw: Any, data: Any, most: int = 3) -> Any:
    """Plain data with up to ``most`` of its values, keys or branches replaced, added or removed."""
    result = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(0, most))):
        branch = result
        while isinstance(branch, dict | list) and branch:  # down a random way, now and then to its end
            keys = list(branch) if isinstance(branch, dict) else list(range(len(branch)))
            key = draw(st.sampled_from(keys))
            if isinstance(branch[key], dict | list) and branch[key] and draw(st.integers(0, 7)):
                branch = branch[key]
                continue
            what = draw(st.sampled_from(("value", "value", "remove", "add", "rename")))
            if what == "value":
                branch[key] = draw(plain_data)
            elif what == "remove":
                del branch[key]
            elif isinstance(branch, dict):
                branch[draw(st.sampled_from(("tokens", "web", "num", "name", "options")) | short_texts)] = (
                    branch.pop(key) if what == "rename" else draw(plain_data)
                )
            else:
                branch.append(draw(plain_data))
            break
    return result


_YAML_PIECES = (
    "a: 1",
    "a: &x [1]",
    "b: *x",
    "<<: *x",
    "- 1",
    "? [a]",
    "!!python/object:os.system x",
    "a: .nan",
    "a: 1:30",
    "a: 010",
    "%YAML 1.2",
    "---",
    "...",
    "a: |",
    "  text",
    "{a: 1, a: 2}",
    "a: 2026-01-01",
    "\t",
    "a: !!binary x",
    "a: !!set {b}",
    "a: !!timestamp 1",
    "a: !!int x",
    "a: !!float x",
    "'",
    '"',
    "[",
    "}",
    "#",
    "a: ~",
    "a: 1e999",
    "a: 9" + "9" * 5000,
    "? {}",
    "!!omap [a: 1]",
    "a: !!pairs [b: 1]",
    "<<: 3",
    "a: !!bool 7",
    "a: !!null x",
)


@st.composite
def study_texts(draw: Any) -> str:
    """The text of a study.yaml."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.text(max_size=40))
    if kind == 1:
        return "\n".join(draw(st.lists(st.sampled_from(_YAML_PIECES), max_size=6)))
    text = yaml.safe_dump(
        draw(mutated(SOUND_STUDY, most=draw(st.sampled_from((0, 1, 1, 2))))),
        sort_keys=False,
        allow_unicode=draw(st.booleans()),
    )
    if kind == 2:
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.sampled_from(_YAML_PIECES) | st.text(max_size=3)) + text[at:]
    return text


_lines = st.one_of(
    st.text(max_size=20).map(lambda t: json.dumps({"text": t}).encode()),
    st.text(max_size=20).map(lambda t: json.dumps({"text": t}, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    plain_data.map(lambda d: json.dumps({"text": d}).encode()),
    plain_data.map(lambda d: json.dumps(d).encode()),
    st.binary(max_size=12),
    st.sampled_from(
        (b"", b" ", b"{", b"[" * 3000, b'{"text": "\\ud800"}', b'{"text": 1' + b"0" * 5000 + b"}", b"\xef\xbb\xbf{}")
    ),
)


@st.composite
def text_files(draw: Any) -> tuple[str, bytes]:
    """``(name, bytes)`` of a file of text, or of what its name says is one."""
    ending = draw(st.sampled_from((".jsonl", ".txt", ".md", ".json", ".csv", ".parquet", ".ndjson", ".json.gz", "")))
    if ending == ".parquet":
        kind = draw(st.sampled_from(("text", "bytes", "numbers", "lists", "dictionary", "null", "struct", "dates")))
        texts = draw(st.lists(st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=10), max_size=5))
        array = {
            "text": lambda: pa.array(texts, pa.string()),
            "bytes": lambda: pa.array([None if t is None else t.encode("utf-16") for t in texts], pa.binary()),
            "numbers": lambda: pa.array(list(range(len(texts)))),
            "lists": lambda: pa.array([[t] for t in texts], pa.list_(pa.string())),
            "dictionary": lambda: pa.array(texts, pa.string()).dictionary_encode(),
            "null": lambda: pa.nulls(len(texts)),
            "struct": lambda: pa.array([{"t": t} for t in texts], pa.struct([("t", pa.string())])),
            "dates": lambda: pa.array([0] * len(texts), pa.timestamp("s")),
        }[kind]()
        name = draw(st.sampled_from(("text", "text", "text", "Text", "", "body")))
        out = io.BytesIO()
        names = [name, *draw(st.sampled_from(([], ["id"], [name])))]
        pq.write_table(pa.Table.from_arrays([array] * len(names), names=names), out)
        data = out.getvalue()
    else:
        data = b"\n".join(draw(st.lists(_lines, max_size=6)))
        data = draw(st.sampled_from((b"", b"", b"", b"\xef\xbb\xbf", b"\xff\xfe"))) + data
        if draw(st.integers(0, 9)) == 0:
            data = data.decode("utf-8", "replace").encode(draw(st.sampled_from(("utf-16", "utf-32", "utf-16-le"))))
        packing = draw(st.sampled_from(("", "", ".gz", ".zst"))) if not ending.endswith(".gz") else ""
        if packing == ".gz" or ending.endswith(".gz"):
            data = gzip.compress(data, mtime=0) * draw(st.sampled_from((1, 1, 2)))
        elif packing == ".zst":
            data = zstandard.compress(data) * draw(st.sampled_from((1, 1, 2)))
        ending += packing
    return "file" + ending, draw(damaged(data))


pairs = st.builds(
    "{}{}{}".format, st.sampled_from(DOMAINS) | short_texts, st.sampled_from(("=", "=", "", ":")), odd_texts
)
option_texts = pairs | st.lists(pairs, max_size=3).map(",".join) | st.text(max_size=12)
