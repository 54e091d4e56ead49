import fsspec
import pytest

from mixlaw.errors import DataError
from mixlaw.text.readers import ReadCounts, find_files, read_documents


def read(*paths, **options):
    return list(read_documents(find_files(paths), **options))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.json.gz"])
def test_every_format_gives_the_same_documents(tmp_path, write, texts, name):
    documents = [*texts(40), "Grüße, 世界 \U0001f600", "line\nbreak"]
    assert read(write(tmp_path / name, documents)) == documents


def test_folders_are_read_recursively_in_order(tmp_path, write):
    write(tmp_path / "b" / "x.jsonl", ["three"])
    write(tmp_path / "a" / "y.jsonl.zst", ["one"])
    (tmp_path / "a" / "z.txt").write_text("two")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "n.jsonl").write_text("not json")
    (tmp_path / "notes.md").write_text("ignored beside data")
    counts = ReadCounts()
    assert list(read_documents(find_files([tmp_path], counts), counts=counts)) == ["one", "two", "three"]
    assert counts.ignored_files == 1
    assert counts.files == 3


def test_a_folder_of_source_code_is_one_document_per_file(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("print('hello')\n")
    (tmp_path / "src" / "b.h").write_text("#define B 1\n")
    (tmp_path / "src" / "c.pyc").write_bytes(b"\x00\x01\x02")
    (tmp_path / "src" / "d.c").write_bytes("int größe;".encode("latin-1"))
    counts = ReadCounts()
    assert read(tmp_path, counts=counts) == ["print('hello')\n", "#define B 1\n"]
    assert counts.binary_files == 2


def test_any_fsspec_url(write, tmp_path, texts):
    documents = texts(5)
    data = write(tmp_path / "a.jsonl.zst", documents).read_bytes()
    with fsspec.open("memory://readers/a.jsonl.zst", "wb") as handle:
        handle.write(data)
    assert read("memory://readers") == documents
    assert read("memory://readers/*.zst") == documents


def test_concatenated_compressed_files(tmp_path, write):
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        one = write(tmp_path / name, ["one"]).read_bytes()
        two = write(tmp_path / name, ["two"]).read_bytes()
        (tmp_path / name).write_bytes(one + two)
        assert read(tmp_path / name) == ["one", "two"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_truncated_and_damaged_files_are_errors(tmp_path, write, texts, name):
    path = write(tmp_path / name, texts(200))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="ends in the middle"):
        read(path)
    path.write_bytes(data[:20] + bytes(64) + data[84:])
    with pytest.raises(DataError, match=name):
        read(path)


def test_bad_lines_name_file_and_line(tmp_path):
    path = tmp_path / "a.jsonl"
    for line, message in [
        ("{broken", r"a\.jsonl, line 3 is not JSON"),
        ('{"txt": "x"}', "line 3 has no field 'text'.*Did you mean 'txt'"),
        ('{"text": 5}', "line 3.*not text"),
        ('"text"', "line 3 holds.*must be an object"),
    ]:
        path.write_text('{"text": "x"}\n\n' + line + "\n")
        with pytest.raises(DataError, match=message):
            read(path)


def test_text_field_empty_documents_and_missing_newline(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "one"}\n{"body": ""}\n{"body": null}\n{"body": "  "}\n{"body": "two"}')
    counts = ReadCounts()
    assert read(path, text_field="body", counts=counts) == ["one", "two"]
    assert (counts.documents, counts.empty) == (2, 3)


def test_broken_utf8_is_replaced_and_counted(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a\xffb"}\n{"text": "lone \\ud800 half"}\n{"text": "fine"}\n')
    (tmp_path / "b.txt").write_bytes(b"c\xfed")
    counts = ReadCounts()
    assert read(tmp_path, counts=counts) == ["a\ufffdb", "lone \ufffd half", "fine", "c\ufffdd"]
    assert counts.replaced == 3


def test_long_text_files_are_cut_at_blank_lines_and_lose_nothing(tmp_path, texts):
    whole = "\n\n".join(texts(2000))
    (tmp_path / "book.txt").write_text(whole)
    pieces = read(tmp_path / "book.txt")
    assert "".join(pieces) == whole
    assert len(pieces) > 5
    assert max(map(len, pieces)) <= 1 << 16
    assert all(p.endswith("\n\n") for p in pieces[:-1])


def test_missing_paths_and_columns(tmp_path, write):
    with pytest.raises(DataError, match="does not exist"):
        find_files([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files"):
        find_files([tmp_path / "empty"])
    with pytest.raises(DataError, match="no column 'text'"):
        read(write(tmp_path / "a.parquet", ["x"], field="body"))


def test_json_lines_in_a_file_called_json_are_documents(tmp_path, write, texts):
    documents = texts(30)
    lines = write(tmp_path / "a.jsonl", documents).read_bytes()
    (tmp_path / "lines.json").write_bytes(lines)
    assert read(tmp_path / "lines.json") == documents
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "lines.json").write_bytes(lines)
    assert read(tmp_path / "folder") == documents


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pretty.json", b'{\n  "text": "one"\n}\n'),
        ("array.json", b'[{"text": "one"}, {"text": "two"}]'),
        ("table.csv", b"id,text\n1,one\n2,two\n"),
        ("table.tsv", b"id\ttext\n1\tone\n"),
    ],
)
def test_structured_files_are_not_trained_on_as_text(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is a table or JSON.*\.jsonl"):
        read(path)
    (tmp_path / "main.py").write_text("import json\n")
    counts = ReadCounts()
    assert len(read(tmp_path, counts=counts)) == 2  # in a folder of source code it is code like the rest, and counted
    assert counts.structured_files == 1


def test_a_json_file_without_the_text_field_is_told_which_fields_it_has(tmp_path):
    (tmp_path / "a.json").write_text('{"texts": "one"}\n')
    with pytest.raises(DataError, match=r"has no field 'text'\. Did you mean 'texts'"):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_wide_characters_are_refused_by_name(tmp_path, name, encoding):
    (tmp_path / name).write_bytes('{"text": "some words of text"}\n'.encode(encoding) * 3)
    with pytest.raises(DataError, match=rf"{name} is UTF-(16|32), and text must be UTF-8.*iconv"):
        read(tmp_path / name)


def zstandard_frame(data, window_log):
    """One frame with one raw block (RFC 8878, section 3.1.1): sound, whatever window it asks for."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0x00, (window_log - 10) << 3])
    return header + (1 | len(data) << 3).to_bytes(3, "little") + data


def test_zstandard_windows_are_read_or_named(tmp_path):
    line = b'{"text": "one"}\n'
    path = tmp_path / "long.jsonl.zst"
    path.write_bytes(zstandard_frame(line, 28))
    assert read(path) == ["one"]
    path.write_bytes(zstandard_frame(line, 27) + zstandard_frame(line, 30))
    with pytest.raises(DataError, match=r"long\.jsonl\.zst needs a window of 1024 MB .* at most 512 MB"):
        read(path)


@pytest.mark.parametrize(("name", "kind"), [("a.jsonl.gz", "gzip"), ("a.jsonl.zst", "Zstandard")])
def test_a_file_that_was_never_compressed_is_not_called_damaged(tmp_path, name, kind):
    (tmp_path / name).write_text('{"text": "one"}\n')
    with pytest.raises(DataError, match=rf"{name} is not {kind}, though its name ends so"):
        read(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_a_json_file_of_brackets_alone_is_refused(tmp_path, encoding):
    (tmp_path / "deep.json").write_bytes(("[" * 100_000).encode(encoding))
    with pytest.raises(DataError, match=r"deep\.json"):
        read(tmp_path / "deep.json")
