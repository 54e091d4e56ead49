"""Token shards of two tiny domains with known structure, for tests that train real models in seconds.

Each domain is a noisy walk on 64 token ids with a step rule of its own: a model that has seen a domain predicts it well
(the noise is uniform over 3 outcomes, so its entropy is ln 3 nats) and one that has not does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.data.mixture import Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.kit.store import Store
from mixlaw.tokens.shards import publish

VOCABULARY = 64
RULES = {"hills": (3, 5), "plains": (5, 1)}
MODEL = {"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}


def walk(domain: str, length: int, seed: int) -> np.ndarray:
    """A noisy walk of ``length`` token ids."""
    factor, shift = RULES[domain]
    noise = np.random.default_rng(seed).integers(0, 3, length)
    tokens = np.zeros(length, "<u2")
    for i in range(1, length):
        tokens[i] = (int(tokens[i - 1]) * factor + shift + int(noise[i])) % VOCABULARY
    return tokens


def write_tokens(root: Path, train: int = 20_000, validation: int = 513) -> Corpus:
    """Write shards under ``root`` and return their corpus; one token spells two bytes."""
    np.save(root / "token_bytes.npy", np.full(VOCABULARY, 2, np.uint8))
    domains, sets = [], []
    for number, name in enumerate(RULES):
        hashes = {}
        for part, length in (("train", train), ("val", validation)):
            tokens = walk(name, length, 10 * number + len(part))
            hashes[part] = publish(root / name / f"{part}.bin", [tokens])[1]
        index = {
            "dtype": "<u2",
            "train": {"tokens": train, "hash": hashes["train"]},
            "val": {"tokens": validation, "hash": hashes["val"]},
        }
        Store(root / name).write_json("index.json", index)
        domains.append(Domain(name, train, 2 * train, hash=hashes["train"]))
        sets.append(ValidationSet(name, validation, 2 * validation, hashes["val"], domain=name))
    return Corpus(tuple(domains), tuple(sets), tokenizer="tiny", vocab_size=VOCABULARY)


def tiny_spec(corpus: Corpus, hills: float = 0.5, steps: int = 30, **changes: object) -> RunSpec:
    """A run of ``steps`` steps of 4 x 32 tokens on a one-layer model."""
    values: dict[str, object] = {
        "model": MODEL,
        "batch": 4,
        "context": 32,
        "learning_rate": {"name": "wsd", "peak": 1e-2},
        "corpus_hash": corpus.hash,
        "evaluation_hash": corpus.evaluation_hash,
        "evaluate_at": (0.5, 1.0),
        **changes,
    }
    schedule = Schedule.constant({"hills": hills, "plains": 1 - hills})
    return RunSpec(schedule, tokens=steps * 4 * 32, **values)  # type: ignore[arg-type]
