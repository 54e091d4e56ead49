"""A file that no longer fits in a reader's head is cut by concept before it grows further."""

from pathlib import Path

import mixlaw

LARGEST = 600


def test_no_file_has_more_than_600_lines():
    files = {path: len(path.read_text().splitlines()) for path in Path(mixlaw.__file__).parent.rglob("*.py")}
    assert len(files) > 300
    assert {str(path): lines for path, lines in files.items() if lines > LARGEST} == {}
