"""A whole study on real text: eight domains, 24 mixtures of 2M tokens, recipe verified with five paired seeds.

    python benchmarks/real_text_study.py

The target is uneven (a reader of prose and documentation who also wants code), and one validation set, ``news-en``, is
not a training domain at all. Uses only verbs a user has; continues where it was stopped.
"""

import argparse
import sys
from pathlib import Path

from mixlaw.study.study import Study
from mixlaw.verify.paired import verification_text

from _data import corpora

DOMAINS = ["books-en", "code-c", "code-python", "dialogue-irc", "docs-prose", "encyclopedia-en", "law-us", "web"]
OBJECTIVE = {"docs-prose": 0.35, "web": 0.25, "encyclopedia-en": 0.2, "code-python": 0.1, "news-en": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("studies/real-text"))
    parser.add_argument("--mixtures", type=int, default=24)
    parser.add_argument("--tokens", default="2M")
    parser.add_argument("--quick", action="store_true", help="12 mixtures of 200k tokens")
    args = parser.parse_args()
    if args.quick:
        args.mixtures, args.tokens, args.out = 12, "200k", args.out.with_name("real-text-quick")
    root = corpora("pretraining")
    config = {
        "corpus": {
            "domains": {d: str(root / f"{d}.jsonl.zst") for d in DOMAINS},
            "validation": {"news-en": str(root / "news-en.jsonl.zst")},
            "vocab_size": 2048,
            "validation_tokens": 16_384,
        },
        "objective": OBJECTIVE,
        "budget": {"tokens": args.tokens, "max_epochs": 4},
        "training": {
            "model": {"preset": "d64"},
            "tokens": args.tokens,
            "batch": 8,
            "context": 128,
            "learning_rate": {"name": "wsd", "peak": 6e-3, "warmup": 0.05, "decay": 0.2},
            "evaluations": 12,
        },
        "design": {"sampler": "dirichlet", "num": args.mixtures, "replicates": 3, "seed": 0},
        "verify": {"seeds": 5, "arms": ["natural", "uniform"]},
    }
    study = Study.create(args.out, config, progress=_line())
    natural = study.tokenize().natural
    study.design()
    failures = study.train()
    law, recipe, verification = study.fit(), study.optimize(), study.verify()
    parts = {
        "The natural mixture and the runs": f"{natural}\n{len(study.specs())} runs, {len(failures)} failed",
        "The law": law.summary(),
        "The recipe": recipe,
        "What was measured": verification_text(verification),
    }
    for title, text in parts.items():
        print(f"## {title}\n\n```text\n{text}\n```\n")
    print(study.report(), file=sys.stderr)


def _line():
    last = {}

    def progress(what: str, done: float, total: float) -> None:
        percent = int(100 * done / total) if total else 0
        if percent >= last.get(what, -10) + 10:
            last[what] = percent
            print(f"{what}: {percent}%", file=sys.stderr, flush=True)

    return progress


if __name__ == "__main__":
    main()
