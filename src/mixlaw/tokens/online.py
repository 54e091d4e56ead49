"""Batches whose mixture is chosen while the run trains, with exact counts of what was drawn.

**Credit.** Every sequence of the run adds each domain's weight to its credit; the domain with the most credit gives the
sequence and pays 1. So after any number of sequences each domain has been drawn as often as the sum of its weights so
far says, to within less than one sequence for two domains and two for many (1.6 at most in simulations with up to 40
domains, all but two or three of which have no weight at a time). With equal weights each batch holds the domains as
equally as whole sequences allow: it is *stratified*.

Which sequence of its domain comes next is decided as in :mod:`mixlaw.tokens.loader`: epochs, subsets and order are the
same, and later sequences continue where the domain stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.tokens.loader import check_corpus, check_ids, open_stream

__all__ = ["OnlineLoader"]


class OnlineLoader:
    """The batches of one run, each from the weights that it is given.

    Args:
        spec: the run; its domains are those of its schedule, and tokens, batch, context, seed and ``unique_tokens``
            decide the rest.
        corpus: what was tokenised.
        tokens_root: folder of the token shards, ``<study>/tokens``.
        windows: parts of the run for which the counts are kept apart: phases of :meth:`realised`.

    Raises:
        ConfigError: the schedule names a domain that the corpus lacks.
        DataError: the shards are missing, are not those of ``corpus``, or are damaged.

    Example:
        >>> loader = OnlineLoader(spec, corpus, "study/tokens")                       # doctest: +SKIP
        >>> batch, domains = loader.draw(0, Mixture({"web": 0.5, "code": 0.5}))       # doctest: +SKIP
        >>> batch.shape, domains.shape                                                # doctest: +SKIP
        ((8, 257), (8,))
    """

    def __init__(self, spec: RunSpec, corpus: Corpus, tokens_root: str | Path, windows: int = 40) -> None:
        self.spec = spec
        self.domains = spec.schedule.domains
        self._vocab_size = corpus.vocab_size
        check_corpus(spec, corpus)
        self._streams = [open_stream(spec, corpus, tokens_root, name) for name in self.domains]
        # Seeded, so that runs of equal weights do not all begin with the domain that is named first.
        start = np.array([int(content_hash(["credit", spec.seed, name])[:8], 16) / 2**32 for name in self.domains])
        self._credit = start - start.mean()
        self._counts = np.zeros((max(1, min(windows, spec.num_steps)), len(self.domains)), np.int64)

    def draw(self, step: int, weights: Mixture) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The batch of ``step`` (from 0), to be drawn once for each step in order.

        Args:
            step: decides only to which window the counts belong.
            weights: of the run's domains; a domain it does not name has weight 0.

        Returns:
            Token ids (batch, context + 1), and the index into :attr:`domains` of each sequence (batch,).

        Raises:
            ConfigError: weights of domains that the run does not have.
        """
        if unknown := [name for name in weights if name not in self.domains and weights[name] > 0]:
            raise ConfigError(
                f"The weights of step {step} name {unknown[0]!r}, which is no domain of this run: {self.domains}."
            )
        given = {name: weights[name] for name in weights}
        share = np.array([given.get(name, 0.0) for name in self.domains])
        turns = self._counts.sum(axis=0)
        window = self._counts[min(step * len(self._counts) // self.spec.num_steps, len(self._counts) - 1)]
        batch = np.empty((self.spec.batch, self.spec.context + 1), np.int64)
        who = np.empty(self.spec.batch, np.int64)
        for row in range(self.spec.batch):
            self._credit += share
            # A domain whose weight fell to 0 may still be owed a sequence: it gets it when it has a weight again.
            j = int(np.argmax(np.where(share > 0, self._credit, -np.inf)))
            self._credit[j] -= 1
            batch[row] = self._streams[j].sequence(int(turns[j]))
            who[row] = j
            turns[j] += 1
            window[j] += 1
        check_ids(batch, self._vocab_size, step)
        return batch, who

    def tokens(self) -> dict[str, int]:
        """Tokens drawn from each domain so far."""
        return {name: int(c) * self.spec.context for name, c in zip(self.domains, self._counts.sum(axis=0))}

    def epochs(self) -> dict[str, float]:
        """Epochs of each domain so far: tokens drawn / unique tokens that the run may see."""
        drawn = self.tokens()
        return {name: drawn[name] / stream.unique_tokens for name, stream in zip(self.domains, self._streams)}

    def realised(self) -> Schedule | None:
        """What was drawn so far, in whole sequences: a phase for each window; None before the first step."""
        total = int(self._counts.sum())
        phases = [
            Phase(count.sum() / total, Mixture.from_array(self.domains, count / count.sum()))
            for count in self._counts
            if count.sum()
        ]
        return Schedule(tuple(phases)) if phases else None

    def state(self) -> dict[str, Any]:
        """Where it stands, as plain data for JSON."""
        return {"domains": list(self.domains), "credit": self._credit.tolist(), "counts": self._counts.tolist()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state` gave.

        Raises:
            DataError: it is the state of other domains, or of a run of another length.
        """
        counts = np.array(state.get("counts", []), np.int64)
        if list(state.get("domains", [])) != list(self.domains) or counts.shape != self._counts.shape:
            raise DataError(
                f"The checkpoint's batches are of the domains {state.get('domains')} in {len(counts)} windows, and "
                f"this run has {list(self.domains)} in {len(self._counts)}. Delete the checkpoint to begin again."
            )
        self._counts, self._credit = counts, np.array(state["credit"], float)
