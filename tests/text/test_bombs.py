"""Small files that stand for gigabytes, and pipes: read in bounded memory, and told.

Each reader runs in a process of its own that may not have more than a certain memory, however large the machine is.
"""

import gzip
import io
import os
import struct
import subprocess
import sys
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mixlaw import Observations
from mixlaw.errors import DataError
from mixlaw.io.frames import read_frame
from mixlaw.kit import parquet
from mixlaw.text.readers import ReadCounts, find_files, read_documents

from processes import child_environment

READ = """
import resource, sys
from mixlaw.errors import DataError
from mixlaw.text.readers import find_files, read_documents
import zstandard, pyarrow.parquet
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (int(sys.argv[2]) << 20),) * 2)
try:
    print("read", sum(1 for _ in read_documents(find_files([sys.argv[1]]))))
except DataError as error:
    print("told", error)
"""


def read_within(path, megabytes):
    """What a process says that reads ``path`` and has so much memory beyond what it starts with."""
    command = [sys.executable, "-c", READ, str(path), str(megabytes)]
    done = subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def zst_of_zeros(megabytes):
    """A Zstandard frame of repeated blocks: 4 bytes for each 128 kB of one character."""
    block = (1 << 17 << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    last = (1 << 17 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"a"
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b00000000, (21 - 10) << 3])  # no size, a window of 2 MB
    return frame + block * (8 * megabytes - 1) + last


def test_a_zst_of_one_huge_line_is_told(tmp_path):
    data = zst_of_zeros(700)
    assert len(data) < 23_000
    assert zstandard.ZstdDecompressor().decompressobj().decompress(zst_of_zeros(1)) == b"a" * (1 << 20)
    (tmp_path / "a.jsonl.zst").write_bytes(data)
    said = read_within(tmp_path / "a.jsonl.zst", 400)
    assert said.startswith("told") and "line 1 is longer than 64 MB" in said


def test_a_zst_of_endless_text_is_told(tmp_path):
    (tmp_path / "a.txt.zst").write_bytes(zst_of_zeros(700))
    said = read_within(tmp_path / "a.txt.zst", 300)
    assert said.startswith("told") and "decompress to more than 1000 times as many" in said


def test_a_gz_of_one_long_line_is_read_in_linear_time(tmp_path):
    """40 MB of one line: a reader that copied the rest for every piece would copy 25 GB."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"abcdefgh" * 5_000_000, 1))
    counts = ReadCounts()
    largest = max(len(text) for text in read_documents(find_files([path]), counts=counts))
    assert counts.documents == -(-40_000_000 // (1 << 16)) and largest == 1 << 16
    assert read_within(path, 200).startswith("read")


def test_many_small_members_are_read(tmp_path):
    """Every member of a gzip file, and every frame of a Zstandard file, ends and begins one."""
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join(gzip.compress(b'{"text": "x"}\n') for _ in range(3000)))
    (tmp_path / "b.jsonl.zst").write_bytes(b"".join(zstandard.compress(b'{"text": "x"}\n') for _ in range(3000)))
    assert sum(1 for _ in read_documents(find_files([tmp_path]))) == 6000


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_cutting_compressed_text_anywhere_is_told_or_reads_a_prefix(tmp_path, ending):
    text = b"".join(b'{"text": "document %d"}\n' % i for i in range(400))
    whole = gzip.compress(text) if ending == "gz" else zstandard.compress(text)
    path = tmp_path / f"a.jsonl.{ending}"
    for cut in (*range(0, 40), len(whole) // 2, len(whole) - 5, len(whole) - 1):
        path.write_bytes(whole[:cut])
        if cut:
            with pytest.raises(DataError):
                list(read_documents(find_files([path])))
    path.write_bytes(whole)
    assert sum(1 for _ in read_documents(find_files([path]))) == 400


def parquet_of(table, **options):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", **options)
    return buffer.getvalue()


def many_rows_of_one_text(rows, length):
    indices = pa.array([0], pa.int32()).take(pa.array(memoryview(bytes(4 * rows)).cast("i"), pa.int32()))
    return pa.table({"text": pa.DictionaryArray.from_arrays(indices, pa.array(["x" * length]))})


def test_a_parquet_of_a_few_bytes_is_told(tmp_path):
    table = many_rows_of_one_text(1_000_000, 100_000)
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_of(table, row_group_size=1_000_000))
    with pytest.raises(DataError, match="would unpack to 100000000000"):  # as categories
        read_frame(path)
    data = parquet_of(table, row_group_size=1_000_000, store_schema=False)
    assert len(data) < 3000, "100 GB of text"
    path.write_bytes(data)
    said = read_within(path, 500)
    assert said.startswith("told") and "unpack to more than 1000 times as many" in said
    with pytest.raises(DataError, match="would unpack to 100000000000"):
        read_frame(path)


def test_a_parquet_of_nothing_but_rows_is_told(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_of(pa.table({"text": pa.nulls(3_000_000, pa.string())}), row_group_size=3_000_000))
    with pytest.raises(DataError, match="says that it holds 3000000 rows"):
        list(read_documents(find_files([path])))
    with pytest.raises(DataError, match="says that it holds 3000000 rows"):
        read_frame(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 64 + b"PAR1", b"{}"])
def test_a_torn_parquet_is_told(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    for read in (lambda: list(read_documents(find_files([path]))), lambda: read_frame(path)):
        with pytest.raises(DataError, match=r"a\.parquet"):
            read()


def test_damage_inside_a_parquet_is_told(tmp_path, texts):
    path = tmp_path / "a.parquet"
    whole = parquet_of(pa.table({"text": texts(300)}))
    for place in range(8, len(whole) - 8, len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place : place + 4] = b"\xff\xff\xff\xff"
        path.write_bytes(bytes(damaged))
        try:
            list(read_documents(find_files([path])))
        except DataError as error:
            assert "a.parquet" in str(error)


def test_long_documents_of_a_parquet_are_read_a_few_at_a_time(tmp_path):
    table = pa.table({"text": ["y" * 3_000_000, "z" * 10, None, "w" * 2_000_000]})
    path = tmp_path / "a.parquet"
    path.write_bytes(parquet_of(table, use_dictionary=False))
    assert 1 <= parquet.rows_at_once(pq.ParquetFile(path), "text") < 256
    assert [len(t) for t in read_documents(find_files([path]))] == [3_000_000, 10, 2_000_000]


def test_pipes_and_devices_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    counts = ReadCounts()
    assert [f.name for f in find_files([tmp_path], counts)] == ["a.jsonl"] and counts.ignored_files == 4
    with pytest.raises(DataError, match="is a pipe or a device"):
        find_files([tmp_path / "pipe.jsonl"])
    os.mkfifo(tmp_path / "runs.csv")
    for options in ({}, {"format": "table"}):
        with pytest.raises(DataError, match="is a pipe or a device"):
            Observations.read(tmp_path / "runs.csv", **options)


def test_deeply_nested_json_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_text("[" * 200_000 + "\n")
    with pytest.raises(DataError, match="line 1 is not JSON"):
        list(read_documents(find_files([tmp_path / "a.jsonl"])))


def test_a_gz_that_lies_about_its_checksum_is_told(tmp_path):
    raw = zlib.compressobj(wbits=-15)
    body = raw.compress(b'{"text": "x"}\n') + raw.flush()
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(6) + b"\xff" + body + struct.pack("<II", 0, 14))
    with pytest.raises(DataError, match="damaged"):
        list(read_documents(find_files([path])))
