import gzip
import json
import os
import random

import hypothesis
import pytest
import zstandard

from tiny_tokens import write_tokens
from unexpected_skips import pytest_configure  # noqa: F401, a hook

# How long an example takes says how loaded the machine is, not whether the code is right.
# Continuous integration tries the same examples each time, so that it fails for what a change did; elsewhere new ones
# are searched for.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
hypothesis.settings.load_profile("untimed")

WORDS = [a + b + c for a in "bdfklmnprst" for b in "aeiou" for c in ("n", "r", "st", "lo")]


def sentence(rng: random.Random, length: int = 60) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(length))


@pytest.fixture
def write():
    """Write documents in the format that the file's name says."""

    def write(path, texts, field="text"):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps({field: t}) + "\n" for t in texts).encode()
        if path.name.endswith(".gz"):
            path.write_bytes(gzip.compress(lines))
        elif path.name.endswith(".zst"):
            path.write_bytes(zstandard.compress(lines))
        elif path.name.endswith(".parquet"):
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({field: list(texts)}), path)
        else:
            path.write_bytes(lines)
        return path

    return write


@pytest.fixture
def texts():
    """``texts(n, seed)``: n different documents."""

    def texts(count, seed=0, length=60):
        rng = random.Random(seed)
        return [sentence(rng, length) for _ in range(count)]

    return texts


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """``(corpus, tokens_root)`` of two tiny domains."""
    root = tmp_path_factory.mktemp("tokens")
    return write_tokens(root), root
