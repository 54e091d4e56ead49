"""A model whose answers are known: it writes what it is told to write after a prompt that holds a given text."""

import numpy as np

from mixlaw.models.contract import Model
from mixlaw.tokens.tokenizer import Encoder, train_tokenizer

TOKENIZER = Encoder(train_tokenizer(["a text of a few words, and numbers 0 1 2 3"] * 20, 300))


class ScriptedModel:
    """Writes the answer of the first key that stands in the prompt; several answers are written in turn of the seed."""

    hash = "scripted"
    tokenizer = TOKENIZER

    def __init__(self, answers, default=""):
        self.answers, self.default = answers, default
        self.asked = []

    def logprobs(self, tokens):
        raise NotImplementedError

    def loss_per_item(self, items):
        raise NotImplementedError

    def gradients(self, items, projection):
        raise NotImplementedError

    def generate(self, prompts, max_tokens, temperature=0.0, seed=0):
        out = []
        for prompt in prompts:
            text = TOKENIZER.decode(prompt)
            self.asked.append(text)
            answer = next((answer for key, answer in self.answers.items() if key in text), self.default)
            if not isinstance(answer, str):
                answer = answer[seed % len(answer)]
            ids, _ = next(iter(TOKENIZER.encode([answer])))
            out.append(np.asarray(ids, np.int64)[:max_tokens])
        return out


assert isinstance(ScriptedModel({}), Model)
