"""A whole study whose runs are trained by somebody else's script: no torch, no import of mixlaw in the trainer."""

import json
import random
import sys
from pathlib import Path

import pytest

from mixlaw.study.study import Study

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_trainer" / "train.py"


def corpus(folder):
    rng, paths = random.Random(1), {}
    for name, letters in (("vowels", "aeiou"), ("stops", "pbtdkg"), ("hisses", "szfvh")):
        lines = []
        for _ in range(250):
            words = ["".join(rng.choice(letters) for _ in range(rng.randrange(2, 6))) for _ in range(30)]
            lines.append(json.dumps({"text": " ".join(words)}))
        paths[name] = str(folder / f"{name}.jsonl")
        Path(paths[name]).write_text("\n".join(lines))
    return paths


@pytest.mark.parametrize("style", ["list", "text"])
def test_a_study_through_the_example_trainer(tmp_path, style):
    command = [sys.executable, str(EXAMPLE), "{spec}", "{metrics}"]
    study = Study.create(
        tmp_path / "s",
        {
            "corpus": {"domains": corpus(tmp_path), "vocab_size": 300, "validation_tokens": 512},
            "objective": {"vowels": 0.8, "hisses": 0.2},
            "budget": {"tokens": 8192},
            "training": {
                "trainer": "command",
                "command": command if style == "list" else " ".join(command),
                "timeout": 60,
                "tokens": 8192,
                "batch": 4,
                "context": 32,
                "evaluations": 4,
            },
            "design": {"sampler": "low_discrepancy", "num": 8, "replicates": 1},
            "law": {"name": "effective_tokens"},
            "verify": {"seeds": 2, "arms": ["natural"]},
            "executor": {"workers": 1},
        },
    )
    study.tokenize()
    study.design()
    assert study.train() == {}
    study.fit()
    recipe = study.optimize()
    assert recipe.mixture["vowels"] > recipe.mixture["stops"]
    result = study.verify()
    assert result.differences["natural"].mean < 0
    assert study.report().exists()
    assert [entry.kind for entry in study.ledger] == ["prediction", "measurement"]
