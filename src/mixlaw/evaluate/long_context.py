"""Long context: whether a model still knows what it read many tokens ago, by the distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.evaluate.contract import Evaluation, Question, Record
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.models.contract import Item, Model, Tokenizer, Tokens

__all__ = ["LongContext"]

_NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Irene", "Jonas", "Klara", "Leo")
_UNBOUNDED = 1024


@dataclass(frozen=True, eq=False)
class _Asked(Question):
    right: int = field(default=0)


class LongContext:
    """Retrieval of a fact by its distance from the question, scored by likelihood among alternatives.

    A question is a text of the whole context: filler from the records, then one line for each of some names, such as
    ``The code of Anna is 4821.``, then as many tokens of filler as the distance says, then ``The code of Anna is``. The
    alternatives are the codes of all the names in the text, so none of them is likelier by itself, and a guess is right
    once in ``alternatives`` times. All questions of a task are equally long, so only the distance differs. Records have
    a ``text``; those of too few tokens are repeated. The same records, options, tokenizer and context give the same
    questions.

    The metrics are ``retrieval_accuracy`` (equal likelihoods share) and ``answer_loss``, the nats per token of the
    right code, which falls before the accuracy rises. Each distance has its values under ``target/<distance>_tokens``.

    Args:
        distances: in tokens, between the last of the facts and the question; by default 16, 32, 64, ... as far as the
            context goes (1,024 tokens where it is unknown).
        repeats: questions per distance.
        alternatives: names and codes in a text, 2 to 12.
        seed: of names, codes and the places of the filler.

    Raises:
        ConfigError: options out of range.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("long_context", {"distances": [64, 512], "alternatives": 5}).floor
        0.2
    """

    metric = "retrieval_accuracy"
    unit = "fraction"
    direction: Literal["higher"] = "higher"

    def __init__(
        self, distances: Sequence[int] | None = None, repeats: int = 32, alternatives: int = 4, seed: int = 0
    ) -> None:
        if distances is not None and (
            isinstance(distances, str)
            or not isinstance(distances, Sequence)
            or not distances
            or not all(isinstance(d, int) and not isinstance(d, bool) and d >= 0 for d in distances)
            or len(set(distances)) < len(distances)
        ):
            raise ConfigError(f"distances must be a list of different whole numbers of tokens, got {distances!r}.")
        if repeats < 1 or not 2 <= alternatives <= len(_NAMES):
            raise ConfigError(
                f"long_context needs repeats >= 1 and from 2 to {len(_NAMES)} alternatives, got {repeats} and "
                f"{alternatives}."
            )
        self.distances = None if distances is None else sorted(distances)
        self.repeats, self.alternatives, self.seed = repeats, alternatives, seed
        self.floor = 1.0 / alternatives

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[_Asked]:
        """The questions of every distance; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        known = sequences.needed(tokenizer)
        texts = sequences.from_records(records, lambda record: fields.text(record, ("text",), "a text"))
        filler = np.concatenate(sequences.encoded(known, texts))
        if not len(filler):
            raise DataError("The records' texts have no tokens to fill the context with.")
        rng = np.random.default_rng(self.seed)
        drawn = [self._draw(rng, known) for _ in range(self.repeats)]
        # Tokens beside the filler: the end of a document, the facts, the question with its longest answer.
        beside = 1 + max(len(facts) + max(len(item.tokens) for item in asked) for facts, asked, _ in drawn)
        room = (context + 1 if context is not None else _UNBOUNDED + beside) - beside
        distances = self.distances
        if distances is None:
            distances = [d for d in (2**i for i in range(4, 31)) if d <= room]
        if not distances or distances[-1] > room:
            raise DataError(
                f"The context of {context} tokens has room for {max(room, 0)} tokens of filler between the facts and "
                f"the question, beside {beside} tokens of these, and the distance {(distances or [16])[-1]} was asked "
                f"for. Give distances up to {max(room, 0)}, fewer alternatives, or a longer context."
            )
        start = np.array([known.end], np.int64)
        out = []
        for distance in distances:
            for number, (facts, asked, right) in enumerate(drawn):
                before, between = self._filled(rng, filler, [distances[-1] - distance, distance])
                head = np.concatenate([start, before, facts, between])
                name = f"{distance}_tokens/{number}"
                found = tuple(
                    (Item(name, np.concatenate([head, item.tokens]), len(head) + item.scored_from),) for item in asked
                )
                out.append(_Asked(name, {}, found, f"{distance}_tokens", right))
        return out

    def __call__(self, model: Model, targets: Mapping[str, Sequence[_Asked]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            losses = sequences.text_losses(model, questions)
            best = [row == row.min() for row in losses]
            tokens = np.array([question.sequences[question.right][0].num_scored for question in questions])
            found[target] = {
                self.metric: np.array([float(b[q.right]) / b.sum() for b, q in zip(best, questions)]),
                "answer_loss": np.array([row[q.right] for row, q in zip(losses, questions)]) / tokens,
            }
        return scores.evaluation(targets, found, {self.metric: self.unit, "answer_loss": "nats_per_token"})

    def _draw(self, rng: np.random.Generator, tokenizer: Tokenizer) -> tuple[Tokens, list[Item], int]:
        """The facts' tokens, the question with each code after it (without the end of a document), the right one."""
        names = rng.permutation(_NAMES)[: self.alternatives].tolist()
        codes = (rng.permutation(9000)[: self.alternatives] + 1000).tolist()
        facts = "\n" + "".join(f"The code of {name} is {code}.\n" for name, code in zip(names, codes))
        right = int(rng.integers(self.alternatives))
        question = f"\nThe code of {names[right]} is"
        asked = sequences.after(tokenizer, names, [question] * len(codes), [f" {code}" for code in codes], context=None)
        items = [Item(item.id, item.tokens[1:], item.scored_from - 1) for (item,) in asked]
        return sequences.encoded(tokenizer, [facts])[0], items, right

    def _filled(self, rng: np.random.Generator, filler: Tokens, lengths: Sequence[int]) -> list[Tokens]:
        """Consecutive stretches of the filler of these lengths, from a drawn place on, repeated where it is short."""
        places = np.cumsum([int(rng.integers(len(filler))), *lengths]).tolist()
        return [filler.take(range(start, stop), mode="wrap") for start, stop in pairwise(places)]
