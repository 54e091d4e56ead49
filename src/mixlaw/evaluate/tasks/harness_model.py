"""A model in the form in which the lm-evaluation-harness asks for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixlaw.evaluate.tasks import sequences
from mixlaw.evaluate.tasks.written import prompted, written
from mixlaw.models.contract import Item, Model

__all__ = ["HarnessModel"]

_MAX_TOKENS = 256


class HarnessModel:
    """What ``lm_eval.evaluator.evaluate`` calls: the three kinds of requests of its class ``LM``, on one process.

    It is no subclass of that class, so that this module can be imported without the library.

    Args:
        model: with a tokenizer.
        context: tokens that it sees at once; None: no limit.

    Example:
        >>> sorted(name for name in vars(HarnessModel) if not name.startswith("_"))
        ['generate_until', 'loglikelihood', 'loglikelihood_rolling', 'rank', 'world_size']
    """

    rank = 0
    world_size = 1

    def __init__(self, model: Model, context: int | None = None) -> None:
        self._model, self._context = model, context
        self._tokenizer = sequences.needed(model.tokenizer)

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Of each ``(context, continuation)``: its log-likelihood in nats, and whether it is what is written greedily.

        A request's answer is spelled exactly as it comes, with the blank that it brings or does not bring.
        """
        pairs = [request.args for request in requests]
        if not pairs:
            return []
        items = sequences.after(
            self._tokenizer, [""] * len(pairs), [p for p, _ in pairs], [a for _, a in pairs], self._context
        )
        greedy = iter(self._greedy([piece for pieces in items for piece in pieces]))
        whole = [all([next(greedy) for _ in pieces]) for pieces in items]
        return list(zip(self._sums(items), whole))

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Of each ``(text,)``: the log-likelihood of all of its tokens in nats."""
        texts = [request.args[0] for request in requests]
        if not texts:
            return []
        return self._sums(sequences.whole(self._tokenizer, texts, texts, self._context))

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """What is written after each ``(context, options)``, before the first of the texts in ``until``."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        asked: Counter[str] = Counter()
        for number, request in enumerate(requests):
            options = dict(request.args[1])
            until = options.get("until") or ()
            stop = (until,) if isinstance(until, str) else tuple(until)
            drawn = options.get("do_sample", bool(options.get("temperature")))
            temperature = float(options.get("temperature") or 1.0) if drawn else 0.0
            length = int(options.get("max_gen_toks") or options.get("max_new_tokens") or _MAX_TOKENS)
            if self._context is not None:
                length = min(length, self._context // 2)  # the other half is the prompt's
            # A prompt that comes several times is to be answered anew each time, which takes another seed.
            seed = asked[request.args[0]]
            asked[request.args[0]] += 1
            groups.setdefault((stop, temperature, length, seed), []).append(number)
        out = [""] * len(requests)
        for (stop, temperature, length, seed), rows in groups.items():
            prompts = [requests[row].args[0] for row in rows]
            questions = prompted([{}] * len(rows), prompts, self._tokenizer, self._context, length)
            for row, text in zip(rows, written(self._model, questions, length, stop, temperature, seed)):
                out[row] = text
        return out

    # ---- inside --------------------------------------------------------------------------------------
    def _sums(self, texts: Sequence[tuple[Item, ...]]) -> list[float]:
        flat = [piece for text in texts for piece in text]
        losses = self._model.loss_per_item(flat) * np.array([piece.num_scored for piece in flat])
        starts = np.cumsum([0, *[len(text) for text in texts][:-1]])
        return (-np.add.reduceat(losses, starts)).tolist()

    def _greedy(self, items: Sequence[Item]) -> list[bool]:
        """Whether the scored tokens are the likeliest ones, each after those before it.

        The first token is looked at before the others, which spares most of the writing.
        """
        right = [False] * len(items)
        first = self._model.generate([item.tokens[: item.scored_from] for item in items], 1)
        left = [i for i, text in enumerate(first) if text.tolist() == [int(items[i].tokens[items[i].scored_from])]]
        if not left:
            return right
        longest = max(items[i].num_scored for i in left)
        texts = self._model.generate([items[i].tokens[: items[i].scored_from] for i in left], longest)
        for i, text in zip(left, texts):
            wanted = items[i].tokens[items[i].scored_from :]
            right[i] = text[: len(wanted)].tolist() == wanted.tolist()
        return right
