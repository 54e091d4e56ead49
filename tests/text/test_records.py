"""Files of records: every form gives the same records, and what cannot be read is named with its line."""

import gzip
import json

import pytest
import zstandard

from mixlaw.errors import DataError
from mixlaw.text.records import read_records, records_hash

RECORDS = [{"question": "a\u2028b", "answer": "1"}, {"question": "c, \"d\"", "answer": "2"}]  # fmt: skip
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_form_gives_the_same_records_and_the_same_hash(tmp_path):
    files = {
        "a.jsonl": LINES,
        "b.jsonl": "\ufeff" + LINES.replace("\n", "\n\n").rstrip(),  # a mark of byte order, and blank lines
        "c.jsonl.gz": gzip.compress(LINES.encode()),
        "d.jsonl.zst": zstandard.compress(LINES.encode()),
        "e.json": json.dumps(RECORDS),
        "f.csv": 'question,answer\r\na\u2028b,1\r\n"c, ""d""",2\r\n',
        "g.jsonl": LINES.replace('"answer"', ' "answer"'),
    }
    found = {name: read_records(written(tmp_path, name, content)) for name, content in files.items()}
    for name, records in found.items():
        assert records == RECORDS, name
    assert len({records_hash(records) for records in found.values()}) == 1
    assert records_hash(RECORDS[::-1]) != records_hash(RECORDS) != records_hash(RECORDS[:1])


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.jsonl", LINES + "\n{broken\n", r"a\.jsonl, line 4 is not JSON"),
        ("a.jsonl", LINES + "[1]\n", r"a\.jsonl, line 3 holds b'\[1\]'; each line must be an object"),
        ("a.jsonl", b'{"a": "\xff"}\n', "line 1 is not JSON: 'utf-8' codec"),
        ("a.jsonl", "\n\n", "holds no record"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl.zst", b"not compressed", "is not Zstandard"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:-9], "ends in the middle of its compressed data"),
        ("a.json", LINES, r"a\.json is not JSON: .* One JSON object per line is \.jsonl"),
        ("a.json", '{"data": []}', "must hold a list of objects"),
        ("a.json", b"\xff\xfe", "is not UTF-8"),
        ("a.csv", "question,answer\na\n", r"a\.csv, line 2 has not the columns of the first line, question, answer"),
        ("a.csv", "question,answer\na,1,2\n", "line 2 has not the columns"),
        ("a.csv", "question\n", "holds no record"),
        ("a.parquet", b"PAR1", "no file of records by its ending"),
        ("a.txt", "a", "no file of records by its ending"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, match):
    with pytest.raises(DataError, match=match):
        read_records(written(tmp_path, name, content))


def test_a_folder_or_nothing_is_no_file_of_records(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_records(tmp_path / "none.jsonl")
    folder = tmp_path / "folder.jsonl"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.jsonl").write_text(LINES)
    with pytest.raises(DataError, match="holds 2 files"):
        read_records(folder)
