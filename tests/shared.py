"""Where real training records and real text lie; tests that need them skip, with a reason, without them."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("MIXLAW_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


def _find(*parts: str) -> Path:
    path = ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here; set MIXLAW_SHARED to the folder with experiments/ and corpora/")
    return path


def experiments(name: str) -> Path:
    """A file of published training records, e.g. ``regmix_1m_train.parquet``."""
    return _find("experiments", name)


def corpora(name: str) -> Path:
    """A file or folder of real text, e.g. ``pretraining/web.jsonl.zst``."""
    return _find("corpora", name)
