"""Which tokens a run sees at each step: exact quotas, any step at once, the same whoever asks.

**Sequences.** A domain is a ring of its unique tokens. Sequence ``i`` holds tokens ``i * context`` to
``(i + 1) * context`` (the last one only as a target); the last sequence runs over the end into the beginning. So every
token is trained on, and a domain shorter than one sequence is repeated until it fills it: it counts the epochs that
this takes, and is never dropped.

**Quotas.** Each phase gets its fraction of the run's sequences, each domain its weight of each phase, and each domain
its share of the whole run: all of these differ from the exact share by less than one sequence, at the same time. A
domain with positive weight whose quota rounds to no sequence at all is warned about.

**Order.** Within a phase, a domain with ``c`` sequences has one in each ``c``-th of the phase, at a random place in
it; so after any number of sequences, each domain has had its share to within ``1 + weight * number of domains``
sequences. An epoch of a domain visits each of its sequences once, in a random order, another in each epoch. Later
phases continue where the domain stands.

**Subsets.** ``spec.unique_tokens`` limits a domain to that many tokens, whole sequences chosen at random, the same for
every seed and every run, and a smaller subset lies inside a larger one. Then its epochs are those of a run that has
only those tokens.

Everything is computed from the spec by integer hashing, so no state needs saving: ``batch(step)`` is the same in any
process, in any order, on any machine.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Phase, Schedule, quotas
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import folder_name
from mixlaw.text.near_duplicates import mix64
from mixlaw.tokens.shards import check_tokens, open_shard, read_index, token_sizes

__all__ = ["Loader", "schedule_quotas", "validation"]


def _random(count: int, *labels: Any) -> npt.NDArray[np.uint64]:
    """``count`` 64-bit integers that depend on the labels alone, and not on any library's generator."""
    seed = np.uint64(int(content_hash(list(labels)), 16))
    return mix64(mix64(np.arange(count, dtype=np.uint64) ^ seed) + seed)


def _permutation(count: int, *labels: Any) -> npt.NDArray[np.int64]:
    return np.argsort(_random(count, *labels), kind="stable")


def schedule_quotas(schedule: Schedule, total: int) -> npt.NDArray[np.int64]:
    """Whole sequences (phases, domains) that sum to ``total``.

    Every entry, every phase's sum and every domain's sum is its exact share rounded down or up. That such a table
    always exists is the controlled rounding theorem (Bacharach 1966); it is a vertex of a transportation polytope.
    """
    exact = total * np.stack([p.fraction * p.mixture.array(schedule.domains) for p in schedule.phases])
    if len(exact) == 1:
        return quotas(schedule.phases[0].mixture.array(), total)[None, :]
    from scipy.optimize import linprog

    def whole(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        near = np.rint(values)
        close = np.abs(values - near) < 1e-6
        low = np.where(close, near, np.floor(values)).astype(np.int64)
        return low, low + ~close

    phases, domains = exact.shape
    low, high = whole(exact)
    rows = np.kron(np.eye(phases), np.ones(domains))
    columns = np.kron(np.ones(phases), np.eye(domains))
    row_low, row_high = whole(exact.sum(axis=1))
    column_low, column_high = whole(exact.sum(axis=0))
    result = linprog(
        -(exact - low).ravel(),  # round up where most is lost by rounding down
        A_ub=np.vstack([rows, -rows, columns, -columns]),
        b_ub=np.concatenate([row_high, -row_low, column_high, -column_low]),
        A_eq=np.ones((1, phases * domains)),
        b_eq=[total],
        bounds=list(zip(low.ravel(), high.ravel())),
        method="highs-ds",
    )
    if result.status != 0:
        raise ConfigError(f"No whole sequences follow the schedule over {total} sequences: {schedule.to_dict()}.")
    table = np.rint(np.asarray(result.x)).astype(np.int64).reshape(phases, domains)
    return table


class Loader:
    """The batches of one run, by step.

    Args:
        spec: the run; its schedule, tokens, batch, context, seed and ``unique_tokens`` decide everything.
        corpus: what was tokenised.
        tokens_root: folder of the token shards, ``<study>/tokens``.

    Raises:
        ConfigError: the schedule names a domain that the corpus lacks.
        DataError: the shards are missing, are not those of ``corpus``, or are damaged (some blocks are compared, others
            for each run; see :func:`mixlaw.tokens.shards.check_tokens`).

    Example:
        >>> loader = Loader(spec, corpus, "study/tokens")      # doctest: +SKIP
        >>> loader.batch(0).shape                              # doctest: +SKIP
        (8, 257)
    """

    def __init__(self, spec: RunSpec, corpus: Corpus, tokens_root: str | Path) -> None:
        self.spec = spec
        self.num_steps = spec.num_steps
        self.domains = spec.schedule.domains
        self._vocab_size = corpus.vocab_size
        check_corpus(spec, corpus)
        self._streams: dict[int, Stream] = {}
        table = schedule_quotas(spec.schedule, self.num_steps * spec.batch)
        self.quotas = table
        """Sequences (phases, domains)."""
        share = spec.schedule.mixture.array()
        for j, name in enumerate(self.domains):
            corpus[name]
            if table[:, j].sum():
                self._streams[j] = open_stream(spec, corpus, tokens_root, name)
            elif share[j] > 0:
                warnings.warn(
                    f"{name!r} has weight {share[j]:.3g}, which is {share[j] * table.sum():.2g} of this run's "
                    f"{table.sum()} sequences of {spec.context} tokens: it gets none. Train on more tokens, use a "
                    f"shorter context, or give it more weight.",
                    MixlawWarning,
                    stacklevel=2,
                )
        self._order, self._turn = self._interleave(table)

    def _interleave(self, table: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int32]]:
        """Domain of each sequence of the run, and how many of that domain came before it."""
        order = np.empty(int(table.sum()), np.int16)
        turn = np.empty(len(order), np.int32)
        start, done = 0, np.zeros(len(self.domains), np.int64)
        for number, counts in enumerate(table):
            size = int(counts.sum())
            when, who = np.empty(size), np.empty(size, np.int16)
            at = 0
            for j in np.flatnonzero(counts):
                count = int(counts[j])
                jitter = _random(count, "order", self.spec.seed, number, self.domains[j]) / np.float64(2**64)
                when[at : at + count] = (np.arange(count) + jitter) / count
                who[at : at + count] = j
                at += count
            who = who[np.argsort(when, kind="stable")]
            order[start : start + size] = who
            for j in np.flatnonzero(counts):
                turn[start : start + size][who == j] = done[j] + np.arange(counts[j])
            start += size
            done += counts
        return order, turn

    def _slice(self, step: int) -> slice:
        if not 0 <= step < self.num_steps:
            raise ConfigError(f"Step {step} is outside the run's {self.num_steps} steps (0 to {self.num_steps - 1}).")
        return slice(step * self.spec.batch, (step + 1) * self.spec.batch)

    def domains_of(self, step: int) -> npt.NDArray[np.int16]:
        """Index into ``spec.schedule.domains`` of each sequence of the batch (batch,)."""
        return self._order[self._slice(step)].copy()

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Token ids (batch, context + 1) of step ``step``: inputs ``[:, :-1]``, targets ``[:, 1:]``."""
        where = self._slice(step)
        result = np.empty((self.spec.batch, self.spec.context + 1), np.int64)
        for row, (j, turn) in enumerate(zip(self._order[where], self._turn[where])):
            result[row] = self._streams[int(j)].sequence(int(turn))
        check_ids(result, self._vocab_size, step)
        return result

    def tokens(self) -> dict[str, int]:
        """Tokens drawn from each domain over the whole run."""
        drawn = self.quotas.sum(axis=0) * self.spec.context
        return {name: int(count) for name, count in zip(self.domains, drawn)}

    def realised(self, steps: int | None = None) -> Schedule | None:
        """The schedule as it is drawn, in whole sequences, over the first ``steps`` steps (default all); None before
        the first."""
        drawn = self._order[: (self.num_steps if steps is None else steps) * self.spec.batch]
        ends = np.cumsum(self.quotas.sum(axis=1))
        counts = [np.bincount(part, minlength=len(self.domains)) for part in np.split(drawn, ends[:-1])]
        phases = [
            Phase(count.sum() / len(drawn), Mixture.from_array(self.domains, count / count.sum()))
            for count in counts
            if count.sum()
        ]
        return Schedule(tuple(phases)) if phases else None

    def epochs(self) -> dict[str, float]:
        """Epochs of each domain over the whole run: tokens drawn / unique tokens that the run may see."""
        drawn = self.tokens()
        return {
            name: drawn[name] / self._streams[j].unique_tokens if j in self._streams else 0.0
            for j, name in enumerate(self.domains)
        }


def check_corpus(spec: RunSpec, corpus: Corpus) -> None:
    """Whether a run was specified for this corpus, and limits only domains that it has.

    Raises:
        DataError: another corpus.
        ConfigError: an unknown domain in ``unique_tokens``.
    """
    if spec.corpus_hash and spec.corpus_hash != corpus.hash:
        raise DataError(
            f"Run {spec.id} was specified for corpus {spec.corpus_hash}, but this corpus is {corpus.hash}. "
            f"Train it on its own corpus, or design again."
        )
    for name in spec.unique_tokens:
        corpus[name]


def check_ids(batch: npt.NDArray[np.int64], vocab_size: int | None, step: int) -> None:
    """Whether all token ids of a batch are of the vocabulary.

    Raises:
        DataError: they are not: the token files are damaged.
    """
    if vocab_size is not None and batch.size and int(batch.max()) >= vocab_size:
        raise DataError(
            f"The tokens of step {step} hold the id {batch.max()}, and the corpus has {vocab_size} tokens: "
            f"the token files are damaged. Run `mixlaw tokenize --verify` again."
        )


def open_stream(spec: RunSpec, corpus: Corpus, tokens_root: str | Path, name: str) -> Stream:
    """One domain's sequences for a run, with some blocks of its token file compared with their hashes.

    Raises:
        ConfigError: the corpus lacks the domain, or the run may use none of its tokens.
        DataError: its shard is missing, is of another corpus, or is damaged.
    """
    domain = corpus[name]
    limit = int(spec.unique_tokens.get(name, domain.unique_tokens))
    stream = Stream(Path(tokens_root), name, domain.hash, limit, spec.context, spec.seed)
    check_tokens(Path(tokens_root) / folder_name(name), "train", seed=spec.id)
    return stream


class Stream:
    """One domain's endless sequence of sequences."""

    def __init__(self, root: Path, name: str, expected: str, limit: int, context: int, seed: int) -> None:
        index = read_index(root / folder_name(name))
        if index is None:
            raise DataError(
                f"{root / folder_name(name)} holds no complete tokens of domain {name!r}. Run `mixlaw tokenize` first."
            )
        if expected and index["train"]["hash"] != expected:
            raise DataError(
                f"{root / folder_name(name)} holds other tokens ({index['train']['hash']}) of domain {name!r} than the "
                f"corpus ({expected}). Run `mixlaw tokenize` again."
            )
        self.data = open_shard(root / folder_name(name), "train")
        self.name, self.context, self.seed = name, context, seed
        total = len(self.data)
        self.unique_tokens = min(limit, total)
        if self.unique_tokens < 1:
            raise ConfigError(f"Domain {name!r} may use {limit} of its {total} unique tokens; it needs at least one.")
        whole, self.rest = divmod(self.unique_tokens, context)
        self.num_sequences = whole + (self.rest > 0)
        blocks = total // context
        if self.unique_tokens == total:
            self.blocks: npt.NDArray[np.int64] | None = None
        else:  # one block more than whole ones, for the rest; the corpus' own short tail is the last resort
            chosen = _permutation(blocks, "subset", name)[: whole + 1]
            self.blocks = np.append(chosen, blocks) if len(chosen) < whole + 1 else chosen
        self._epoch, self._visit = -1, np.zeros(0, np.int64)

    def sequence(self, turn: int) -> npt.NDArray[Any]:
        """The tokens (context + 1,) that the domain gives at its ``turn``-th turn, from 0."""
        epoch, place = divmod(turn, self.num_sequences)
        if epoch != self._epoch:
            self._visit = _permutation(self.num_sequences, "epoch", self.seed, self.name, epoch)
            self._epoch = epoch
        i = int(self._visit[place])
        whole = self.unique_tokens // self.context
        start = i * self.context if self.blocks is None else int(self.blocks[i]) * self.context
        if i < whole:
            return self._ring(start, self.context + 1)
        rest = self._ring(start, self.rest)
        if not whole:
            return np.resize(rest, self.context + 1)
        first = 0 if self.blocks is None else int(self.blocks[0]) * self.context
        return np.concatenate([rest, self._ring(first, self.context + 1 - self.rest)])

    def _ring(self, start: int, count: int) -> npt.NDArray[Any]:
        piece = self.data[start : start + count]
        return piece if len(piece) == count else np.concatenate([piece, self.data[: count - len(piece)]])


def validation(corpus: Corpus, tokens_root: str | Path, context: int) -> dict[str, tuple[npt.NDArray[np.int64], int]]:
    """The fixed tokens every run is scored on: ``{set: (tokens (n, context + 1), num_bytes)}``.

    Every token but a tail shorter than ``context`` is a target once; a set shorter than one sequence gives one shorter
    sequence. ``num_bytes`` is what those targets spell: exact for byte-level tokenizers, in proportion for others.

    Raises:
        DataError: a set's tokens are missing, changed or damaged, or the set has fewer than two tokens.
    """
    root = Path(tokens_root)
    sizes = token_sizes(root)
    result = {}
    for entry in corpus.validation:
        tokens = open_shard(root / folder_name(entry.name), "val")
        index = read_index(root / folder_name(entry.name))
        if index is None or (entry.hash and index["val"]["hash"] != entry.hash):
            raise DataError(
                f"{root / folder_name(entry.name)} holds other validation tokens than the corpus says. Tokenise again."
            )
        check_tokens(root / folder_name(entry.name), "val")
        if len(tokens) < 2:
            raise DataError(f"Validation set {entry.name!r} has {len(tokens)} tokens; it needs at least two.")
        length = min(context, len(tokens) - 1)
        count = (len(tokens) - 1) // length
        rows = np.arange(count)[:, None] * length + np.arange(length + 1)
        sequences = np.asarray(tokens[: count * length + 1], np.int64)[rows]
        if sizes is not None:
            num_bytes = int(sizes[sequences[:, 1:]].sum(dtype=np.int64))
        else:
            num_bytes = round((entry.num_bytes or 0) * count * length / len(tokens))
        result[entry.name] = (sequences, num_bytes)
    return result
