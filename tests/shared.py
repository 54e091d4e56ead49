"""Where published training records and real text lie.

The tables whose licence allows it are in ``data/published``. What else a test needs is on machines that have the folder
of shared data; elsewhere that test skips, with a reason.
"""

import os
from pathlib import Path

import pytest

PUBLISHED = Path(__file__).parent / "data" / "published"
ROOT = Path(os.environ.get("MIXLAW_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


def _find(*parts: str) -> Path:
    path = ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here; set MIXLAW_SHARED to the folder with experiments/ and corpora/")
    return path


def experiments(name: str) -> Path:
    """A file of published training records, e.g. ``regmix_1m_train.parquet``."""
    shipped = PUBLISHED / name
    return shipped if shipped.exists() else _find("experiments", name)


def corpora(name: str) -> Path:
    """A file or folder of real text, e.g. ``pretraining/web.jsonl.zst``."""
    return _find("corpora", name)


def cases(name: str) -> Path:
    """A file or folder of inputs as people have them, e.g. ``excel/utf16.csv``."""
    return _find("cases", name)
