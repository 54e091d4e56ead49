"""A trainer of one's own, in one file, without mixlaw: a bigram model that learns by counting.

    python train.py SPEC METRICS

SPEC is the JSON file that mixlaw writes for a run, METRICS the file to write one JSON object per line to. Replace
`Bigrams` by your own model: what mixlaw needs is the last lines of `main`.
"""

import json
import sys

import numpy as np


class Bigrams:
    """Next-token probabilities: counts of pairs, backed off to counts of tokens, backed off to uniform."""

    def __init__(self, vocab_size):
        self.pairs = np.zeros((vocab_size, vocab_size), np.float32)
        self.tokens = np.zeros(vocab_size, np.float64)

    def learn(self, sequences):
        np.add.at(self.pairs, (sequences[:, :-1].ravel(), sequences[:, 1:].ravel()), 1.0)
        self.tokens += np.bincount(sequences[:, 1:].ravel(), minlength=len(self.tokens))

    def loss(self, tokens):
        """Mean loss in nats of predicting each token from the one before."""
        before, after = tokens[:-1], tokens[1:]
        vocab_size = len(self.tokens)
        single = (self.tokens[after] + 1.0) / (self.tokens.sum() + vocab_size)
        seen = self.pairs.sum(axis=1)[before]
        strength = 20.0  # how many sightings of a token its own pairs need to outweigh the back-off
        probability = (self.pairs[before, after] + strength * single) / (seen + strength)
        return float(-np.log(probability).mean())


def main(spec_path, metrics_path):
    with open(spec_path) as handle:
        run = json.load(handle)
    spec, dtype = run["spec"], run["dtype"]
    names = list(spec["schedule"]["phases"][0]["weights"])
    streams = [
        np.memmap(run["domains"][name]["path"], dtype, "r")[: run["domains"][name]["unique_tokens"]] for name in names
    ]
    validation = {name: np.fromfile(s["path"], dtype).astype(np.int64) for name, s in run["validation"].items()}
    order = np.load(run["order"])  # (steps, batch): the domain of each sequence, in the mixture's proportions
    random = np.random.default_rng(spec["seed"])
    model = Bigrams(run["vocab_size"])
    length = spec["context"] + 1

    with open(metrics_path, "w") as metrics:
        for step, domains in enumerate(order, 1):
            starts = [random.integers(max(1, len(streams[d]) - length)) for d in domains]
            model.learn(np.stack([np.resize(streams[d][s : s + length], length) for d, s in zip(domains, starts)]))
            if step in run["evaluate_steps"]:
                for name, tokens in validation.items():
                    row = {"step": step, "target": name, "metric": "loss", "value": model.loss(tokens)}
                    metrics.write(json.dumps(row) + "\n")
                print(f"step {step} of {run['num_steps']}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
