"""How long BLiMP takes with a 1M proxy, beside a plain loop that scores one sentence at a time.

    python benchmarks/evaluation.py                # all 67,000 pairs
    python benchmarks/evaluation.py --every 10     # a tenth of them, and what all would take
    python benchmarks/evaluation.py --quick        # a hundredth

The proxy is the preset d128 with a vocabulary of 2,048 trained on web text: 1.3M parameters, 0.8M of them without
embeddings. Its weights are as they are drawn; time does not depend on them. Takes one to three minutes.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import islice

import numpy as np
import torch
from torch.nn import functional as F

from mixlaw.evaluate import EVALUATORS
from mixlaw.models.architecture import architecture, build
from mixlaw.models.torch_model import TorchModel
from mixlaw.text.readers import find_files, read_documents
from mixlaw.text.records import read_records
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

from _data import corpora

PRESET, VOCABULARY, SAMPLE, ROUNDS = "d128", 2048, 1000, 3


def timed(work):
    """(result, wall-clock seconds, processor seconds of all threads)."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def one_by_one(model: TorchModel, questions) -> np.ndarray:
    """Loss of each sentence as a plain loop computes it: one forward pass, all logits, one log-softmax."""
    losses = []
    with torch.inference_mode():
        for question in questions:
            for (item,) in question.sequences:
                tokens = torch.from_numpy(item.tokens)
                log = F.log_softmax(model.decoder(tokens[None, :-1])[0], -1)
                losses.append(-float(log[torch.arange(len(tokens) - 1), tokens[1:]].sum()))
    return np.array(losses)


def batched(model: TorchModel, questions) -> np.ndarray:
    """The same through the model's batches."""
    items = [item for question in questions for (item,) in question.sequences]
    return model.loss_per_item(items) * np.array([item.num_scored for item in items])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="score every Nth pair only")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    every = 100 if args.quick else args.every

    everything, reading, reading_processor = timed(lambda: read_records(corpora("eval/blimp.jsonl.zst")))
    records = everything[::every]
    text = islice(read_documents(find_files([str(corpora("pretraining/web.jsonl.zst"))])), 1000)
    encoder = Encoder(train_tokenizer(text, VOCABULARY))
    config = architecture({"preset": PRESET}, VOCABULARY)
    model = TorchModel(config, build(config).state_dict(), encoder)
    evaluator = EVALUATORS.make("minimal_pairs")
    questions, preparing, preparing_processor = timed(lambda: evaluator.prepare(records, encoder, 256))
    tokens = sum(item.num_scored for question in questions for (item,) in question.sequences)

    sample = questions[:: max(1, len(questions) // SAMPLE)][:SAMPLE]
    torch.set_num_threads(1)
    rates = {"one sentence at a time": [], "in batches": []}
    for _ in range(ROUNDS):
        plain, _, seconds = timed(lambda: one_by_one(model, sample))
        rates["one sentence at a time"].append(len(sample) / seconds)
        ours, _, seconds = timed(lambda: batched(model, sample))
        rates["in batches"].append(len(sample) / seconds)
    threads = min(2, os.cpu_count() or 1)
    torch.set_num_threads(threads)
    _, wall, processor = timed(lambda: evaluator(model, {"blimp": questions}))

    print(f"{len(questions):,} pairs, {tokens:,} tokens, {config.params_total:,} parameters\n")
    print("| step | wall-clock seconds | processor seconds |")
    print("|---|--:|--:|")
    print(f"| read the file | {reading:.1f} | {reading_processor:.1f} |")
    print(f"| sentences to tokens, once per study | {preparing:.1f} | {preparing_processor:.1f} |")
    print(f"| score all pairs on {threads} threads | {wall:.1f} | {processor:.1f} |")
    print(f"| **together** | **{reading + preparing + wall:.1f}** | |\n")
    load = os.getloadavg()[0]
    shared = ", so wall-clock seconds say little" if load > 1.5 * threads else ""
    print(f"The machine's load at the end was {load:.1f}{shared}.\n")
    share = len(everything) / len(records)
    idle = reading_processor + share * (preparing_processor + processor / threads)
    print(
        f"All {len(everything):,} pairs on {threads} idle cores, from the processor seconds: **{idle:.0f} seconds**.\n"
    )
    print(f"On one thread, {len(sample):,} pairs, {ROUNDS} rounds in turns (processor time):\n")
    print("| way | pairs/s, median | range |")
    print("|---|--:|---|")
    for way, found in rates.items():
        print(f"| {way} | {np.median(found):,.0f} | {min(found):,.0f} to {max(found):,.0f} |")
    ratios = np.array(rates["in batches"]) / np.array(rates["one sentence at a time"])
    print(f"| ratio of paired rounds | {np.median(ratios):.1f} | {ratios.min():.1f} to {ratios.max():.1f} |\n")
    print(f"Largest difference of a sentence's loss between the two: {np.abs(plain - ours).max():.0e} nats.")


if __name__ == "__main__":
    main()
