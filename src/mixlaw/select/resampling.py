"""From a pool of documents and a target to a selection, with what a reader must know before training on it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TextIO

import numpy as np

from mixlaw.data import formats
from mixlaw.data.selection import Selection
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.kit.store import Store, temporary_beside
from mixlaw.select.importance import Explanation, NgramImportance, effective_sample_size
from mixlaw.select.ngrams import ngrams
from mixlaw.select.selectors.dsir import DSIR
from mixlaw.text.document import Document

__all__ = ["ResamplingReport", "resample"]

_TAIL = 5
"""Documents of either tail that are explained."""
_BY_LENGTH = 0.8
"""Share of the kept documents among as many longest (or shortest) from which the selection is called one of length,
and the correlation of log weight with length from which it is said to follow it."""
_SAME = 0.01
"""KL divergence of the target from the pool, in nats per n-gram, below which the two are called the same."""


@dataclass(frozen=True)
class ResamplingReport:
    """What came of :func:`resample`.

    Args:
        num_pool, num_candidates, num_kept: documents.
        words_candidates, words_kept: words of the documents that can be chosen, and of those kept.
        effective: effective sample size of the weights that were drawn with, in documents.
        effective_as_published, effective_at_median, effective_per_ngram: the same of the weights as published, of those
            that the documents would have at the pool's median length, and of their means per n-gram.
        kl: ``{target: (KL(target || pool), KL(target || kept))}``, nats per n-gram.
        length_correlation: Pearson correlation of log weight, as drawn with, and length in n-grams; 0 where either
            does not vary.
        longest, shortest: share of the kept documents that are among as many longest, or shortest, candidates.
        median_candidates, median_kept: median words.
        negative: share of the kept documents with a negative log weight, likelier in the pool than in the target.
        by_source: ``{source: (kept, candidates)}``.
        largest, smallest: the explained documents with the largest and the smallest log weights, the outermost first.
        seen: how often each n-gram of the explanations is in the targets, by target.
        notes: what to be careful about, sentences.
    """

    num_pool: int
    num_candidates: int
    num_kept: int
    words_candidates: int
    words_kept: int
    effective: float
    effective_as_published: float
    effective_at_median: float
    effective_per_ngram: float
    kl: Mapping[str, tuple[float, float]]
    length_correlation: float
    longest: float
    shortest: float
    median_candidates: float
    median_kept: float
    negative: float
    by_source: Mapping[str, tuple[int, int]]
    largest: tuple[Explanation, ...]
    smallest: tuple[Explanation, ...]
    seen: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]

    @property
    def kl_reduction(self) -> float:
        """Mean over targets of KL(target || pool) - KL(target || kept), nats per n-gram; more is better."""
        return float(np.mean([pool - kept for pool, kept in self.kl.values()]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**dataclasses.asdict(self), "kl_reduction": self.kl_reduction}

    def text(self) -> str:
        """All of it as lines for a person."""
        lines = [
            f"Kept {self.num_kept} of {self.num_candidates} documents ({self.words_kept:,} of "
            f"{self.words_candidates:,} words). Left out before: {self.num_pool - self.num_candidates} of "
            f"{self.num_pool}.",
            f"Effective sample size of the weights: {self.effective:.1f} documents. As published "
            f"{self.effective_as_published:.1f}; were all of the median length {self.effective_at_median:.1f}; "
            f"of means per n-gram {self.effective_per_ngram:.1f}.",
            f"KL reduction: {self.kl_reduction:+.4f} nats per n-gram.",
        ]
        lines += [f"  {t}: {pool:.4f} from the pool, {kept:.4f} from those kept" for t, (pool, kept) in self.kl.items()]
        lines.append(
            f"Length: correlation with the log weight {self.length_correlation:+.2f}; median {self.median_kept:.0f} "
            f"words kept, {self.median_candidates:.0f} of all; {self.longest:.0%} of those kept are among as many "
            f"longest, {self.shortest:.0%} among as many shortest."
        )
        if self.by_source:
            lines.append("Kept by source:")
            names = {s: PurePath(s).name for s in self.by_source}
            if len(set(names.values())) < len(names):
                names = {s: s for s in names}
            width = max(len(s) for s in names.values())
            lines += [
                f"  {names[s]:<{width}} {kept:>8} of {of:>8} ({kept / max(self.num_kept, 1):.1%} of those kept)"
                for s, (kept, of) in self.by_source.items()
            ]
        for title, tail in (("Largest log weights:", self.largest), ("Smallest log weights:", self.smallest)):
            lines.append(title)
            lines += [f"  {e.id}\n    {e.words(self.seen.get(e.target))}." for e in tail]
        return "\n".join([*lines, *(f"Caution: {note}" for note in self.notes)])


def resample(
    raw: Iterable[Document],
    targets: Mapping[str, Iterable[str]],
    num: int,
    importance: NgramImportance | None = None,
    selector: DSIR | None = None,
    folder: str | os.PathLike[str] | None = None,
    write_text: bool = False,
) -> tuple[Selection, ResamplingReport]:
    """Choose ``num`` documents of a pool that are like the targets, by DSIR, and say what was chosen and why.

    The pool is read twice: once for the weights, once for the explanations (and the text that is written). Targets are
    read twice as well, since an explanation says how often each n-gram really is in the target.

    Args:
        raw: the pool; a list, or another collection that can be read again and again.
        targets: name to texts, each a collection that can be read again.
        num: how many documents.
        importance: the weights, not fitted; by default as published.
        selector: by default one that draws, with seed 0.
        folder: a folder to write into, created if needed: ``selection.json``, ``report.json``, ``report.txt``,
            ``ids.txt`` and, with ``write_text``, ``documents.jsonl``.
        write_text: also write the documents that are kept, in the order of the pool, as JSON lines with ``id``,
            ``text`` and ``log_weight``: a domain for a study.

    Returns:
        The selection, with reasons for documents that could not be chosen and for the explained ones, and the report.

    Raises:
        ConfigError: more documents than there are, a collection that can be read only once, or a folder that holds a
            selection.
        DataError: as :meth:`NgramImportance.fit`; no document can be chosen; or the pool changed while it was read.

    Example:
        >>> pool = [Document(f"r{i}", "rivers carry silt " * 40) for i in range(3)]
        >>> pool += [Document(f"p{i}", "prices rise and fall " * 40) for i in range(3)]
        >>> selection, report = resample(pool, {"rivers": ["all rivers carry silt"]}, num=2)
        >>> all(name.startswith("r") for name in selection.kept), report.kl_reduction > 0
        (True, True)
    """
    importance, selector = importance or NgramImportance(), selector or DSIR()
    for name, given in {"the pool": raw, **{f"the target {t!r}": v for t, v in targets.items()}}.items():
        if isinstance(given, str | bytes) or iter(given) is given:
            raise ConfigError(
                f"{name} must be a list, or another collection that can be read twice; got {given!r:.80}."
            )
    if isinstance(num, bool) or not isinstance(num, int) or num < 1:
        raise ConfigError(f"A selection is of a whole number of documents, at least 1; got {num!r}.")
    if write_text and folder is None:
        raise ConfigError("write_text needs a folder to write into. Give folder=...")
    if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
        raise ConfigError(f"{os.fspath(folder)} is a file, and a selection is a folder. Give another name.")
    if folder is not None and (Path(folder) / "selection.json").exists():
        raise ConfigError(f"{os.fspath(folder)} holds a selection already. Choose another folder, or remove it first.")

    importance.fit(raw, targets)
    items = importance.candidates()
    if num > len(items):
        few = Counter("no text" if r == "it holds no words" else "short" for r in importance.excluded.values())
        raise ConfigError(
            f"{num} documents are asked for, and {len(items)} can be chosen: of {len(items) + few.total()} in the pool "
            f"{few['short']} have fewer than {importance.min_words} words and {few['no text']} have none. "
            + (f"Ask for at most {len(items)}, or lower min_words." if items.ids else "Lower min_words.")
        )
    selection = selector(items, importance.targets, float(num), importance)
    weights = np.array([selection.scores[name] for name in importance.ids])
    order = np.lexsort((np.array(importance.ids), -weights))
    high = [importance.ids[i] for i in order[:_TAIL]]
    low = [importance.ids[i] for i in order[::-1][: min(_TAIL, len(order) - len(high))]]

    path = None if folder is None else Path(folder)
    with _lines(path / "documents.jsonl" if path is not None and write_text else None) as out:
        explained = _second_pass(raw, selection, importance, {*high, *low}, out)
    seen = _seen(targets, explained.values())
    reasons = dict(importance.excluded)
    reasons |= {name: e.words(seen[e.target]) for name, e in explained.items()}
    made_with = {
        **selection.selector,
        "scorer": {"name": "ngram_importance", "options": importance.options},
        "targets": importance.target_hashes,
    }
    selection = dataclasses.replace(selection, reasons=reasons, selector=made_with)
    report = _report(selection, importance, weights, [explained[n] for n in high], [explained[n] for n in low], seen)
    if path is not None:
        store = Store(path)
        store.write_bytes("ids.txt", "".join(f"{name}\n" for name in selection.kept).encode())
        store.write_bytes("report.txt", f"{report.text()}\n".encode())
        formats.write(store, "report.json", "selection report", report.to_dict())
        selection.save(path / "selection.json")
    return selection, report


def _second_pass(
    raw: Iterable[Document],
    selection: Selection,
    importance: NgramImportance,
    tails: set[str],
    out: TextIO | None,
) -> dict[str, Explanation]:
    """Explanations of the tails, while the text of what is kept is written."""
    kept, explained, written = set(selection.kept), {}, 0
    for document in raw:
        if document.id in tails:
            explained[document.id] = importance.explain(document)
        if document.id in kept:
            written += 1
            if out is not None:
                record = {"id": document.id, "text": document.text, "log_weight": selection.scores[document.id]}
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
    if explained.keys() != tails or written != len(kept):
        raise DataError("The pool's documents changed while they were read. Leave the files alone and select again.")
    return explained


@contextmanager
def _lines(path: Path | None) -> Iterator[TextIO | None]:
    """A text file that is there when it is whole, or nothing."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(temporary_beside(path))
    try:
        with open(temporary, "w", encoding="utf-8", errors="replace") as handle:
            yield handle
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _seen(targets: Mapping[str, Iterable[str]], explained: Iterable[Explanation]) -> dict[str, dict[str, int]]:
    """How often the n-grams of the explanations really are in the targets: a bucket is shared, an n-gram is not."""
    wanted: dict[str, dict[str, int]] = {name: {} for name in targets}
    for explanation in explained:
        wanted[explanation.target] |= {ngram: 0 for ngram, _, _ in explanation.ngrams}
    for name, counts in wanted.items():
        for text in targets[name] if counts else ():
            found = ngrams(text)
            for ngram in counts:
                counts[ngram] += found[ngram]
    return wanted


def _report(
    selection: Selection,
    importance: NgramImportance,
    weights: Any,
    largest: list[Explanation],
    smallest: list[Explanation],
    seen: dict[str, dict[str, int]],
) -> ResamplingReport:
    kept_names = set(selection.kept)
    kept = np.array([name in kept_names for name in importance.ids])
    num, length = int(kept.sum()), importance.num_ngrams.astype(float)
    by_length = np.argsort(length, kind="stable")
    varies = len(weights) > 1 and np.ptp(weights) > 0 and np.ptp(length) > 0
    kl = importance.kl_reduction(selection.kept)
    sources = Counter(importance.sources.values())
    chosen = Counter(importance.sources[name] for name in selection.kept if name in importance.sources)
    report = ResamplingReport(
        num_pool=len(importance.ids) + len(importance.excluded),
        num_candidates=len(importance.ids),
        num_kept=num,
        words_candidates=int(importance.num_words.sum()),
        words_kept=int(importance.num_words[kept].sum()),
        effective=effective_sample_size(weights),
        effective_as_published=effective_sample_size(_pooled(importance, np.ones(len(length)))),
        effective_at_median=effective_sample_size(_pooled(importance, importance.median_ngrams / length)),
        effective_per_ngram=effective_sample_size(_pooled(importance, 1 / length)),
        kl=kl,
        length_correlation=float(np.corrcoef(weights, length)[0, 1]) if varies else 0.0,
        longest=float(kept[by_length[len(length) - num :]].mean()),
        shortest=float(kept[by_length[:num]].mean()),
        median_candidates=float(np.median(importance.num_words)),
        median_kept=float(np.median(importance.num_words[kept])),
        negative=float((weights[kept] < 0).mean()),
        by_source={name: (chosen[name], of) for name, of in sources.most_common()},
        largest=tuple(largest),
        smallest=tuple(smallest),
        seen=seen,
        notes=(),
    )
    return dataclasses.replace(report, notes=tuple(_notes(report, importance)))


def _pooled(importance: NgramImportance, scale: Array) -> Array:
    """Log weights of all targets together, each times a factor."""
    pooled: Array = np.logaddexp.reduce(scale[:, None] * importance.log_weights, axis=1)
    return pooled


def _notes(report: ResamplingReport, importance: NgramImportance) -> Iterator[str]:
    """What a reader must know, each a sentence or two."""
    half = report.num_kept <= report.num_candidates / 2
    for name, (pool, _) in report.kl.items():
        if pool < _SAME:
            yield (
                f"the target {name!r} has nearly the n-grams of the pool (KL {pool:.4f} nats per n-gram), so its "
                f"documents are told apart by chance, if at all."
            )
        if shared := importance.shared[name]:
            yield (
                f"{shared} of the pool's documents {'is' if shared == 1 else 'are'} in the target {name!r} too, word "
                f"for word. A loss on that text says nothing after training on them; measure on other text."
            )
        if importance.empty[name] > 0.1:
            yield (
                f"{importance.empty[name]:.0%} of the pool's n-grams are in buckets that the target {name!r} never "
                f"uses, and each costs about 9 nats. Give more text of the target, or use fewer buckets."
            )
    if half and report.effective < report.num_kept / 2:
        yield (
            f"the weights are worth {report.effective:.1f} documents, and {report.num_kept} are kept: nearly the same "
            f"ones come under every seed, so this is a ranking and no sample from the target."
        )
    if report.negative >= 0.5:
        yield (
            f"{report.negative:.0%} of the kept documents have a negative log weight: by their n-grams they are "
            f"likelier in the pool than in the target. The pool holds too little that is like the target, and short "
            f"documents come first because their weights are sums of fewer n-grams."
        )
    for share, which in ((report.longest, "longest"), (report.shortest, "shortest")):
        if half and share >= _BY_LENGTH:
            yield (
                f"the selection is essentially a choice of length: {share:.0%} of the kept documents are among the "
                f"{report.num_kept} {which}. Cut the documents into pieces of equal length, or use weights per length."
            )
    if abs(report.length_correlation) >= _BY_LENGTH:
        yield (
            f"the log weight follows length (correlation {report.length_correlation:+.2f}): it is a sum over n-grams. "
            f"Cut the documents into pieces of equal length, or use weights per length."
        )
