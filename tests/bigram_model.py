"""A model whose probabilities can be worked out by hand: the next byte depends on the last one only.

Its tokenizer has one token per byte and the end of a document, so every number of a test follows from the counts of
pairs of bytes in the training text.
"""

from itertools import pairwise

import numpy as np

from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

ENCODER = Encoder(train_tokenizer(["a"], 257))
SIZE = 257


class Bigrams:
    """Bytes follow each other as often as in ``text``, each pair counted once more than it occurs."""

    hash = "bigrams"

    def __init__(self, text: str, tokenizer: Encoder | None = ENCODER) -> None:
        self.tokenizer = tokenizer
        counts = np.ones((SIZE, SIZE))
        tokens, _ = next(iter(ENCODER.encode([text])))
        np.add.at(counts, (tokens[:-1], tokens[1:]), 1.0)
        self.log_probability = np.log(counts / counts.sum(1, keepdims=True))

    def logprobs(self, tokens):
        tokens = np.asarray(tokens)
        return self.log_probability[tokens[:, :-1], tokens[:, 1:]]

    def loss_per_item(self, items):
        return np.array([-self.logprobs(item.tokens[None])[0, item.scored_from - 1 :].mean() for item in items])

    def nats(self, before: str, text: str) -> float:
        """Loss of ``text`` after ``before`` (the end of a document where that is empty), summed by hand."""
        ids = [ENCODER.end, *next(iter(ENCODER.encode([before + text])))[0][:-1]]
        pairs = list(pairwise(ids))[len(before.encode()) :]
        return -sum(float(self.log_probability[one, next_one]) for one, next_one in pairs)
