"""Training speed of the whole machine, and whether the fast loop learns as well as the plain one.

    python benchmarks/throughput.py [--quick]

Both sides train the same decoder with the same AdamW on batches of 8 x 256 tokens, vocabulary 2048:

- *plain*: one process, eager fp32, ``scaled_dot_product_attention``, ``F.cross_entropy``, ``torch.optim.AdamW``,
  ``clip_grad_norm_``, torch's default threads;
- *fast*: what ``mixlaw train`` runs, one single-thread worker process per core.

Speeds are measured in turns (plain, fast, plain, fast, ...), because other work on the machine moves both. Losses are
compared on real text, the Python standard library's own sources: every seed trains both on the same tokens from the
same initial weights, and the difference of their final validation losses (fp32, same evaluator) is set against the
spread between seeds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from _spread import deviation, standard_error

VOCABULARY, BATCH, CONTEXT = 2048, 8, 256
MODELS = ("d64", "d128")
PEAK = 6e-3


class PlainLoop:
    """The loop one would write first."""

    def __init__(self, preset: str, seed: int) -> None:
        import torch

        from mixlaw.models.proxy.model import Decoder
        from mixlaw.models.proxy.presets import model_config

        self.model = Decoder(model_config({"preset": preset}, VOCABULARY), seed)
        hidden = [p for n, p in self.model.named_parameters() if p.ndim == 2 and n.startswith("blocks.")]
        known = {id(p) for p in hidden}
        other = [p for p in self.model.parameters() if id(p) not in known]
        factor = self.model.config.base_width / self.model.config.width
        self.adam = torch.optim.AdamW(
            [
                {"params": hidden, "factor": factor, "weight_decay": 0.1 / factor},
                {"params": other, "factor": 1.0, "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=(0.9, 0.95),
        )

    def step(self, batch: np.ndarray, learning_rate: float) -> float:
        import torch

        tokens = torch.from_numpy(batch)
        self.adam.zero_grad(set_to_none=True)
        loss = self.model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.adam.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.adam.step()
        return float(loss.detach())


def _speed_of_plain(pipe: Any, preset: str, seconds: float) -> None:
    """Tokens per second of the plain loop in this process."""
    loop = PlainLoop(preset, 0)
    batches = np.random.default_rng(0).integers(0, VOCABULARY, (8, BATCH, CONTEXT + 1), dtype=np.int64)
    for batch in batches[:3]:
        loop.step(batch, 1e-3)
    steps, began = 0, time.monotonic()
    while (elapsed := time.monotonic() - began) < seconds or steps == 0:
        loop.step(batches[steps % 8], 1e-3)
        steps += 1
    pipe.send(steps * BATCH * CONTEXT / elapsed)


def plain_speed(preset: str, seconds: float) -> float:
    """The plain loop in a fresh process, with torch's default threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.pop(name, None)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_speed_of_plain, args=(theirs, preset, seconds))
    process.start()
    theirs.close()
    speed = float(ours.recv())
    process.join()
    return speed


def speeds(preset: str, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Tokens per second of the whole machine, plain and fast, in turns."""
    from mixlaw.data.mixture import Schedule
    from mixlaw.data.runspec import RunSpec
    from mixlaw.train.throughput import measure_parts

    spec = RunSpec(Schedule.constant({"x": 1.0}), BATCH * CONTEXT, {"preset": preset}, batch=BATCH, context=CONTEXT)
    plain, fast = [], []
    for _ in range(rounds):
        plain.append(plain_speed(preset, seconds))
        fast.append(measure_parts(spec, VOCABULARY, seconds=seconds / 0.75).train)
    return plain, fast


def losses(preset: str, corpus: Any, tokens_root: Path, steps: int, seed: int) -> tuple[float, float]:
    """Final validation losses of the plain and the fast loop on the same tokens."""
    import torch

    from mixlaw.data.learning_rate import LearningRate
    from mixlaw.data.mixture import Schedule
    from mixlaw.data.runspec import RunSpec
    from mixlaw.models.proxy.model import Decoder
    from mixlaw.models.proxy.presets import model_config
    from mixlaw.tokens.loader import Loader, validation
    from mixlaw.train.loop import Training, choose_precision
    from mixlaw.train.validation_losses import evaluate

    torch.set_num_threads(1)  # losses do not depend on it, time does
    spec = RunSpec(
        Schedule.constant(corpus.natural), steps * BATCH * CONTEXT, {"preset": preset}, context=CONTEXT, seed=seed
    )
    sets = validation(corpus, tokens_root, CONTEXT)
    rate = LearningRate({"name": "wsd", "peak": PEAK}, steps)
    decoder = Decoder(model_config({"preset": preset}, VOCABULARY), seed)
    fast = Training(decoder, {}, choose_precision("auto", torch.device("cpu")))
    plain = PlainLoop(preset, seed)
    results = []
    for loop in (plain, fast):
        loader = Loader(spec, corpus, tokens_root)
        for step in range(steps):
            loop.step(loader.batch(step), rate(step))
        results.append(float(np.mean(list(evaluate(loop.model, sets).values()))))
    return results[0], results[1]


def standard_library(folder: Path) -> tuple[Any, Path]:
    """Tokens of the standard library's sources."""
    from mixlaw import tokens

    root = Path(sysconfig.get_path("stdlib"))
    text = folder / "text"
    text.mkdir()
    with open(text / "code.txt", "w", encoding="utf-8") as out:
        for path in sorted(root.glob("*.py")) + sorted(root.glob("[a-z]*/*.py")):
            if "site-packages" not in path.parts and "test" not in path.parts:
                out.write(path.read_text(encoding="utf-8", errors="ignore") + "\n\n")
    corpus = tokens.build({"code": [str(text)]}, folder, vocab_size=VOCABULARY, validation_tokens=65_536)
    return corpus, folder / "tokens"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, seeds and steps")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", type=int, help="runs per model and loop in the comparison of losses; 0 for none")
    parser.add_argument("--steps", type=int, help="steps of those runs")
    parser.add_argument("--rounds", type=int, help="rounds of the comparison of speeds; 0 for none")
    options = parser.parse_args()
    rounds, seconds, seeds, steps = (2, 3.0, 3, 150) if options.quick else (5, 6.0, 5, 600)
    rounds = rounds if options.rounds is None else options.rounds
    seeds = seeds if options.seeds is None else options.seeds
    steps = options.steps or steps
    if rounds:
        print("| model | plain, tokens/s | fast, tokens/s | ratio (median of paired rounds) | range |")
        print("|---|---|---|---|---|")
        for preset in options.models:
            plain, fast = speeds(preset, rounds, seconds)
            ratios = [f / p for f, p in zip(fast, plain, strict=True)]
            print(
                f"| {preset} | {statistics.median(plain):,.0f} | {statistics.median(fast):,.0f} | "
                f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |",
                flush=True,
            )
    if not seeds:
        return
    print(f"\nFinal validation loss after {steps} steps, nats per token, {seeds} seeds\n")
    print("| model | plain | fast | fast - plain, mean | its standard error | spread between seeds (plain, sd) |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        corpus, tokens_root = standard_library(Path(folder))
        for preset in options.models:
            pairs = [losses(preset, corpus, tokens_root, steps, seed) for seed in range(seeds)]
            plain, fast = zip(*pairs, strict=True)
            differences = [f - p for p, f in pairs]
            print(
                f"| {preset} | {statistics.mean(plain):.4f} | {statistics.mean(fast):.4f} | "
                f"{statistics.mean(differences):+.4f} | {standard_error(differences)} | {deviation(plain)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
