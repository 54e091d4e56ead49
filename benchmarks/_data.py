"""Where the benchmarks find real training records and real text."""

import os
import sys
from pathlib import Path

ROOT = Path(os.environ.get("MIXLAW_SHARED", Path(__file__).resolve().parents[2] / "shared" / "data"))


def _find(*parts: str) -> Path:
    path = ROOT.joinpath(*parts)
    if not path.exists():
        sys.exit(f"{path} is not here: set MIXLAW_SHARED to the folder that holds experiments/ and corpora/.")
    return path


def experiments(name: str) -> Path:
    """A file of published training records, e.g. ``regmix_1m_train.parquet``."""
    return _find("experiments", name)


def corpora(name: str) -> Path:
    """A file or folder of real text, e.g. ``pretraining/web.jsonl.zst``."""
    return _find("corpora", name)
