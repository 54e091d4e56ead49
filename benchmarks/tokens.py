"""Tokenising real text: encoding speed against the tokenizers library itself, wall time and memory of a whole corpus.

    python benchmarks/tokens.py [--quick]

The library is measured in the same run, on the same texts, already in memory and cut into the same batches: what it
takes to call `encode_batch_fast` and look at the number of ids. Ours is `Encoder.encode`, which also makes arrays, and
the whole build, which also reads, decompresses, parses, looks for near duplicates and writes.
"""

import argparse
import resource
import statistics
import tempfile
import time
import warnings
from pathlib import Path

from mixlaw import tokens
from mixlaw.text.readers import find_files, read_documents
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

from _data import corpora


def sample(paths: list[Path], size: int) -> list[str]:
    """About ``size`` characters of each file."""
    texts = []
    for path in paths:
        taken = 0
        for text in read_documents(find_files([path])):
            texts.append(text)
            taken += len(text)
            if taken >= size:
                break
    return texts


def batches(texts: list[str], size: int = 1 << 20) -> list[list[str]]:
    """Texts in groups of about ``size`` characters."""
    groups: list[list[str]] = [[]]
    length = 0
    for text in texts:
        groups[-1].append(text)
        length += len(text)
        if length >= size:
            groups.append([])
            length = 0
    return [g for g in groups if g]


def encoding(paths: list[Path], size: int, repeats: int) -> None:
    """Both in turns: medians, and the median ratio of neighbours by wall clock and by processor time, which a busy
    machine disturbs less."""
    texts = sample(paths, size)
    text = train_tokenizer(texts, 8192)
    encoder = Encoder(text)
    library = Encoder(text).tokenizer
    characters = sum(map(len, texts))
    ours, theirs, work_ours, work_theirs = [], [], [], []
    for _ in range(repeats + 1):  # the first turn warms up
        start, work = time.perf_counter(), time.process_time()
        for group in batches(texts):
            sum(len(e) for e in library.encode_batch_fast(group, add_special_tokens=False))
        theirs.append(time.perf_counter() - start)
        work_theirs.append(time.process_time() - work)
        start, work = time.perf_counter(), time.process_time()
        for _ids, _lengths in encoder.encode(texts):
            pass
        ours.append(time.perf_counter() - start)
        work_ours.append(time.process_time() - work)
    ratios = [b / a for a, b in zip(ours[1:], theirs[1:])]
    work_ratio = statistics.median(b / a for a, b in zip(work_ours[1:], work_theirs[1:]))
    print("| | Mchar/s |\n|---|--:|")
    print(f"| tokenizers, encode_batch_fast | {characters / statistics.median(theirs[1:]) / 1e6:.2f} |")
    print(f"| Encoder.encode (arrays, ends) | {characters / statistics.median(ours[1:]) / 1e6:.2f} |")
    print(
        f"\n{characters / 1e6:.1f} Mchar, ratio {statistics.median(ratios):.2f} "
        f"(of {len(ratios)} turns: {min(ratios):.2f} to {max(ratios):.2f}); by processor time {work_ratio:.2f}\n"
    )


def whole(paths: list[Path]) -> None:
    """Build a corpus of all files and say what it took."""
    steps: dict[str, float] = {}
    last = time.perf_counter()

    def progress(what: str, done: float, total: float) -> None:
        nonlocal last
        now = time.perf_counter()
        steps[what] = steps.get(what, 0.0) + now - last
        last = now

    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        domains = {p.name.split(".")[0]: p for p in paths}
        corpus = tokens.build(domains, root, vocab_size=8192, progress=progress)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        again = tokens.build(domains, root, vocab_size=8192)
        repeated = time.perf_counter() - start
        assert again == corpus
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = sum(d.num_bytes or 0 for d in corpus.domains)
    print("| domain | documents | bytes | tokens | near duplicates | validation copies in other domains |")
    print("|---|--:|--:|--:|--:|--:|")
    for d in corpus.domains:
        copies = sum(corpus.extra["contamination"][d.name]["in_training"].values())
        print(
            f"| {d.name} | {d.num_documents:,} | {d.num_bytes:,} | {d.unique_tokens:,} | "
            f"{corpus.extra['near_duplicates'][d.name]:,} | {copies} |"
        )
    print(
        f"\n{size / 1e6:.0f} MB of text in {len(domains)} domains: {seconds:.0f} s ({size / seconds / 1e6:.2f} MB/s), "
        f"peak memory {peak / 1e9:.2f} GB; run again without change: {repeated:.1f} s."
    )
    print("Time by step: " + ", ".join(f"{k} {v:.0f} s" for k, v in steps.items()) + ".")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three domains and fewer turns")
    quick = parser.parse_args().quick
    files = sorted(corpora("pretraining").glob("*.jsonl.zst"))
    chosen = [f for f in files if f.name.split(".")[0] in ("web", "code-rust", "news-en")] if quick else files
    # The whole first: the peak of memory is the process's, and the comparison holds its text in memory.
    whole(chosen)
    print()
    encoding(chosen, 2_000_000 if quick else 600_000, 3 if quick else 5)
