"""What importance resampling (DSIR) is worth on real text: small models trained on selections for two targets.

    python benchmarks/dsir.py [--quick]

Seven domains are the pool, and two others the targets. Documents of equal total length are chosen at random, by DSIR
from whole documents, and by DSIR from pieces of equal length; models trained on each, and on the whole pool, are
compared on text of the targets that the selection has not seen. Continues where it was stopped.
"""

import argparse
import io
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import zstandard

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.select import Candidates, NgramImportance
from mixlaw.select.importance import effective_sample_size
from mixlaw.select.ngrams import words
from mixlaw.select.selectors.dsir import DSIR
from mixlaw.select.selectors.random_choice import RandomChoice
from mixlaw.study.study import Study
from mixlaw.text.document import Document
from mixlaw.verify.paired import paired_difference

from _data import corpora

POOL = ["books-en", "code-python", "dialogue-irc", "encyclopedia-en", "law-us", "papers-latex", "web"]
TARGETS = ["news-en", "docs-prose"]
PIECE = 256
"""Words of a piece, by blanks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("studies/dsir"))
    parser.add_argument("--megabytes", type=float, default=8, help="of text of each domain of the pool")
    parser.add_argument("--words", type=int, default=1_400_000, help="words of a selection")
    parser.add_argument("--tokens", default="2M", help="of a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1 MB of each domain, runs of 200k tokens, 2 seeds")
    args = parser.parse_args()
    if args.quick:
        args.megabytes, args.words, args.tokens, args.seeds = 1, 150_000, "200k", 2
        args.out = args.out.with_name("dsir-quick")
    text = (args.out.parent / f"{args.out.name}-text").resolve()
    text.mkdir(parents=True, exist_ok=True)

    pool = [d for name in POOL for d in documents(name, args.megabytes)]
    targets, held_out = {}, {}
    for name in TARGETS:
        found = documents(name, args.megabytes)
        targets[name] = [d.text for d in found[::2]]
        held_out[name] = str(write(text / f"held-out-{name}.jsonl", found[1::2]))
    domains = {"natural": write(text / "natural.jsonl", pool)}
    domains |= select(pool, targets, args.words, text)

    study = Study.create(
        args.out,
        {
            "corpus": {
                "domains": {name: str(path) for name, path in domains.items()},
                "validation": held_out,
                "vocab_size": 2048,
                "validation_tokens": 65_536,
            },
            "objective": dict.fromkeys(TARGETS, 0.5),
            "budget": {"tokens": args.tokens, "max_epochs": 4},
            "training": {
                "model": {"preset": "d64"},
                "tokens": args.tokens,
                "batch": 8,
                "context": 128,
                "learning_rate": {"name": "wsd", "peak": 6e-3, "warmup": 0.05, "decay": 0.2},
                "evaluations": 1,
            },
            "executor": {"workers": 1},
        },
    )
    corpus = study.tokenize()
    train(study, list(domains), args.seeds)
    short = {d.name: d.unique_tokens for d in corpus.domains if d.unique_tokens < study.budget.tokens}
    if short:
        print("\nSeen more than once in a run:", ", ".join(f"{k} ({v:,} tokens)" for k, v in short.items()))


def documents(name: str, megabytes: float) -> list[Document]:
    """The first documents of a domain, in a random order."""
    found, size = [], 0
    with open(corpora(f"pretraining/{name}.jsonl.zst"), "rb") as handle:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(handle), encoding="utf-8"):
            text = json.loads(line)["text"]
            size += len(text.encode())
            if text.strip():
                found.append(Document(f"{name}/{len(found)}", text, {"source": name}))
            if size > megabytes * 1e6:
                break
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def pieces(document: Document) -> list[Document]:
    """A document in pieces that end at a blank after 256 words; the last one is as long or shorter."""
    parts, start, seen = [], 0, 0
    for end, sign in enumerate(document.text):
        seen += sign.isspace() and end > 0 and not document.text[end - 1].isspace()
        if seen == PIECE:
            parts.append(document.text[start:end])
            start, seen = end, 0
    parts.append(document.text[start:])
    return [Document(f"{document.id}.{k}", part, document.meta) for k, part in enumerate(parts) if part.strip()]


def write(path: Path, found: list[Document]) -> Path:
    """JSON lines in an order that has nothing to do with how they were chosen."""
    order = np.random.default_rng(1).permutation(len(found))
    content = "".join(json.dumps({"text": found[i].text}) + "\n" for i in order)
    if not path.exists() or path.read_text(encoding="utf-8") != content:  # a changed file would be tokenised again
        path.write_text(content, encoding="utf-8")
    return path


def select(pool: list[Document], targets: dict[str, list[str]], budget: int, folder: Path) -> dict[str, Path]:
    """Selections of ``budget`` words by name, written; prints what they are."""
    kinds = {"documents": pool, "pieces": [part for d in pool for part in pieces(d)]}
    megabytes = sum(len(d.text.encode()) for d in pool) / 1e6
    chosen: dict[str, list[Document]] = {}
    print("## What is chosen\n")
    print(f"Pool: {megabytes:.0f} MB, {len(pool)} documents, {len(kinds['pieces'])} pieces of {PIECE} words.\n")
    print(
        "| selection | chosen | median words | effective sample size | correlation of log weight and length | "
        "KL reduction, nats per n-gram | most from |\n|---|--:|--:|--:|--:|--:|---|"
    )
    speeds = []
    for kind, found in kinds.items():
        began = time.process_time()
        weights = NgramImportance().fit(found, targets)
        speeds.append(megabytes / (time.process_time() - began))
        by_id = {d.id: d for d in found}
        items = Candidates(weights.ids, weights.corpus_hash, weights.num_words)
        draws = {f"dsir {t}, {kind}": (t, DSIR()(items, (t,), budget, weights)) for t in TARGETS}
        if kind == "documents":
            draws = {"random": (None, RandomChoice()(items, (), budget)), **draws}
        for name, (target, selection) in draws.items():
            chosen[name] = [by_id[i] for i in selection.kept]
            log_weights = weights(weights.ids, (target,)).ravel() if target else np.zeros(len(weights.ids))
            effective = effective_sample_size(log_weights)
            follows = f"{np.corrcoef(log_weights, weights.num_ngrams)[0, 1]:+.2f}" if target else "-"
            kl = weights.kl_reduction(selection.kept)
            reduction = "; ".join(f"{kl[t][0] - kl[t][1]:+.3f} ({t})" for t in ([target] if target else TARGETS))
            median = np.median([len(words(d.text)) for d in chosen[name]])
            most = Counter(d.meta["source"] for d in chosen[name]).most_common(3)
            sources = ", ".join(f"{s} {n / len(chosen[name]):.0%}" for s, n in most)
            print(
                f"| {name} | {len(chosen[name])} of {len(items)} | {median:.0f} | {effective:.1f} | {follows} | "
                f"{reduction} | {sources} |"
            )
    print(f"\nHashed at {min(speeds):.1f} to {max(speeds):.1f} MB of text per processor second.")
    return {name: write(folder / f"{name.replace(', ', '-').replace(' ', '-')}.jsonl", d) for name, d in chosen.items()}


def train(study: Study, arms: list[str], seeds: int) -> None:
    """Train on each arm with the same seeds; print losses and differences to random documents."""
    template = study.template()
    specs = {
        (arm, seed): template.replace(
            schedule=Schedule.constant(Mixture({name: float(name == arm) for name in arms})), seed=seed
        )
        for seed in range(seeds)
        for arm in arms
    }
    if failed := study.train(list(specs.values()), what="train"):
        sys.exit(f"runs failed: {failed}")
    last: dict[tuple[str, str], float] = {}
    for row in sorted(study.observations(list(specs.values())).values.to_pylist(), key=lambda r: r["step"]):
        if row["metric"] == "loss":
            last[row["run"], row["target"]] = row["value"]
    print(f"\n## Losses on text of the targets that was not seen, nats per token, {seeds} seeds\n")
    for target in TARGETS:
        print(f"| trained on | {target} | each seed | difference to random documents |\n|---|--:|---|--:|")
        finals = {arm: [last[specs[arm, seed].id, target] for seed in range(seeds)] for arm in arms}
        for arm, losses in finals.items():
            difference = "-" if arm == "random" else paired_difference(losses, finals["random"])
            print(f"| {arm} | {np.mean(losses):.4f} | {', '.join(f'{v:.4f}' for v in losses)} | {difference} |")
        print()


if __name__ == "__main__":
    main()
