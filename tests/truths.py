"""Closed-form truths: laws, mixtures and corpora whose answers are known, to hold the library against.

Nothing here imports mixlaw: a test that compares the two compares independent code. All functions are
deterministic under ``seed``. Losses are nats per token; mixtures are rows of shares of tokens.

    mixtures(n, k, seed)                 Dirichlet mixtures
    Truth                                a loss surface (n, K) -> (n, T) and, where closed, its optimum
    exponential, effective_tokens, power, log_linear, separable_exponential, implicit   truths over mixtures
    chinchilla                           loss of (N, D), and the compute-optimal N, D
    unigram_corpus                       text domains for which a unigram learner's loss is known exactly
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


def mixtures(n: int, k: int, seed: int = 0, strength: float = 1.0) -> np.ndarray:
    """n mixtures of k domains, Dirichlet with concentration ``strength`` per domain; rows sum to 1."""
    rows = np.random.default_rng(seed).dirichlet(np.full(k, float(strength)), size=n)
    return rows / rows.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Truth:
    """A known law over mixtures of ``k`` domains for ``targets`` targets.

    ``optimum(s)`` is the mixture (k,) that minimises ``sum_t s_t loss_t`` where that is known in closed form
    (or by bisection of one number), else None.
    """

    k: int
    targets: int
    loss: Callable[[np.ndarray], np.ndarray]
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    optimum: Callable[[np.ndarray], np.ndarray] | None = None

    def sample(self, n: int, seed: int = 0, noise: float = 0.0, strength: float = 1.0):
        """(X (n, k), Y (n, T)) with independent Gaussian noise of that sd."""
        X = mixtures(n, self.k, seed, strength)
        Y = self.loss(X)
        return X, Y + noise * np.random.default_rng(seed + 10_000).normal(size=Y.shape)


def exponential(k: int = 4, targets: int = 3, seed: int = 0) -> Truth:
    """``c_t + k_t exp(sum_j t_tj r_j)`` (M4 of Data Mixing Laws). One target's optimum is a vertex."""
    rng = np.random.default_rng(seed)
    c, amp = rng.uniform(1.2, 2.2, targets), rng.uniform(0.6, 1.4, targets)
    t = rng.uniform(-0.8, 0.6, (targets, k))
    t[np.arange(targets), np.arange(targets) % k] -= 1.8  # each target's own domain helps most

    def loss(X: np.ndarray) -> np.ndarray:
        return c + amp * np.exp(np.asarray(X) @ t.T)

    def optimum(s: np.ndarray) -> np.ndarray:
        chosen = np.flatnonzero(np.asarray(s) > 0)
        if len(chosen) != 1:
            raise ValueError("closed form only for one target")
        return np.eye(k)[int(np.argmin(t[chosen[0]]))]

    return Truth(k, targets, loss, {"c": c, "k": amp, "t": t}, optimum)


def effective_tokens(k: int = 4, targets: int = 3, seed: int = 0) -> Truth:
    """``c_t + A_t (eps + sum_j w_tj r_j)^-a_t``; domain t is target t's own (w = 1). One target: a vertex."""
    rng = np.random.default_rng(seed)
    c, amp = rng.uniform(1.0, 2.0, targets), rng.uniform(0.5, 1.0, targets)
    a, eps = rng.uniform(0.2, 0.5, targets), 0.02
    w = np.exp(rng.uniform(-4.0, -1.5, (targets, k)))
    w[np.arange(targets), np.arange(targets) % k] = 1.0

    def loss(X: np.ndarray) -> np.ndarray:
        return c + amp * (eps + np.asarray(X) @ w.T) ** -a

    def optimum(s: np.ndarray) -> np.ndarray:
        chosen = np.flatnonzero(np.asarray(s) > 0)
        if len(chosen) != 1:
            raise ValueError("closed form only for one target")
        return np.eye(k)[int(np.argmax(w[chosen[0]]))]

    return Truth(k, targets, loss, {"c": c, "A": amp, "a": a, "w": w, "eps": np.array(eps)}, optimum)


def power(k: int = 4, seed: int = 0, exponent: float = 0.5) -> Truth:
    """``c_i + b_i r_i^-g`` for target i = domain i. Optimum of ``s``: r_j proportional to (s_j b_j)^(1/(1+g))."""
    rng = np.random.default_rng(seed)
    c, b = rng.uniform(1.0, 2.0, k), rng.uniform(0.1, 0.6, k)

    def loss(X: np.ndarray) -> np.ndarray:
        return c + b * np.maximum(np.asarray(X), 1e-12) ** -exponent

    def optimum(s: np.ndarray) -> np.ndarray:
        raw = (np.asarray(s) * b) ** (1.0 / (1.0 + exponent))
        return raw / raw.sum()

    return Truth(k, k, loss, {"c": c, "b": b, "g": np.full(k, exponent)}, optimum)


def log_linear(k: int = 4, targets: int = 3, seed: int = 0, eps: float = 0.0) -> Truth:
    """``c_t - sum_j b_tj log(r_j + eps)``, b > 0. With eps = 0 the optimum of ``s`` is r_j ~ sum_t s_t b_tj."""
    rng = np.random.default_rng(seed)
    c, b = rng.uniform(1.0, 2.0, targets), rng.uniform(0.01, 0.2, (targets, k))

    def loss(X: np.ndarray) -> np.ndarray:
        return c - np.log(np.maximum(np.asarray(X), 1e-12) + eps) @ b.T

    def optimum(s: np.ndarray) -> np.ndarray:
        raw = np.asarray(s) @ b
        return raw / raw.sum()

    return Truth(k, targets, loss, {"c": c, "b": b}, optimum if eps == 0.0 else None)


def separable_exponential(k: int = 4, seed: int = 0) -> Truth:
    """``c_i + k_i exp(-t_i r_i)`` for target i = domain i; the optimum by bisection on the multiplier."""
    rng = np.random.default_rng(seed)
    c, amp, t = rng.uniform(1.0, 2.0, k), rng.uniform(0.5, 1.5, k), rng.uniform(1.0, 4.0, k)

    def loss(X: np.ndarray) -> np.ndarray:
        return c + amp * np.exp(-t * np.asarray(X))

    def optimum(s: np.ndarray) -> np.ndarray:
        s = np.asarray(s, dtype=float)
        low, high = 1e-12, float((s * amp * t).max())
        for _ in range(200):  # s k t exp(-t r) = mu where r > 0
            mu = math.sqrt(low * high)
            r = np.maximum(np.log(np.maximum(s * amp * t, 1e-300) / mu) / t, 0.0)
            low, high = (mu, high) if r.sum() > 1 else (low, mu)
        return r / r.sum()

    return Truth(k, k, loss, {"c": c, "k": amp, "t": t}, optimum)


def implicit(k: int = 4, hidden: int = 3, seed: int = 0) -> Truth:
    """One target, the average of ``hidden`` latent domains: ``c + sum_h s_h exp(o_h + sum_j t_hj r_j)``."""
    rng = np.random.default_rng(seed)
    s, o = rng.dirichlet(np.full(hidden, 4.0)), rng.uniform(-0.3, 0.3, hidden)
    t = rng.uniform(-0.5, 0.5, (hidden, k))
    t[np.arange(hidden), np.arange(hidden) % k] -= 2.0

    def loss(X: np.ndarray) -> np.ndarray:
        return (1.5 + np.exp(np.asarray(X) @ t.T + o) @ s)[:, None]

    return Truth(k, 1, loss, {"s": s, "o": o, "t": t})


@dataclass(frozen=True)
class ScaleTruth:
    """``E + A N^-alpha + B D^-beta`` and its compute-optimal allocation under C = 6 N D."""

    E: float = 1.8
    A: float = 480.0
    B: float = 2000.0
    alpha: float = 0.35
    beta: float = 0.37

    def loss(self, N: np.ndarray, D: np.ndarray) -> np.ndarray:
        return self.E + self.A * np.asarray(N, float) ** -self.alpha + self.B * np.asarray(D, float) ** -self.beta

    def optimum(self, flops: float) -> tuple[float, float]:
        """(N*, D*)."""
        a, b = self.alpha, self.beta
        G = (a * self.A / (b * self.B)) ** (1 / (a + b))
        N = G * (flops / 6) ** (b / (a + b))
        return N, flops / 6 / N

    def sample(self, n: int, seed: int = 0, noise: float = 0.0):
        """(N, D, loss): sizes 1e7..1e10 and 5..100 tokens per parameter, multiplicative log-normal noise."""
        rng = np.random.default_rng(seed)
        N = np.exp(rng.uniform(math.log(1e7), math.log(1e10), n))
        D = N * np.exp(rng.uniform(math.log(5), math.log(100), n))
        return N, D, self.loss(N, D) * np.exp(noise * rng.normal(size=n))


def chinchilla(**constants: float) -> ScaleTruth:
    """A :class:`ScaleTruth`; the defaults lie near published fits."""
    return ScaleTruth(**constants)


@dataclass(frozen=True)
class UnigramCorpus:
    """Text of domains over disjoint vocabularies.

    A unigram learner that sees mixture r knows, for words of domain i, ``p(word) = r_i q_i(word)``, so its loss
    on domain i is exactly ``entropy_i - log r_i``: log-linear in its own weight, and the optimum of
    ``sum_i s_i loss_i`` is ``r = s``.
    """

    folder: Path
    domains: tuple[str, ...]
    entropy: np.ndarray

    def loss(self, X: np.ndarray) -> np.ndarray:
        return self.entropy - np.log(np.maximum(np.asarray(X), 1e-12))

    def optimum(self, s: np.ndarray) -> np.ndarray:
        return np.asarray(s, dtype=float) / np.sum(s)


def unigram_corpus(
    folder: Path, domains: int = 3, words: int = 40, documents: int = 60, length: int = 200, seed: int = 0
) -> UnigramCorpus:
    """Write ``<folder>/<domain>/<domain>.txt`` (one document per line) and return what is known about them.

    Word ranks follow a Zipf law whose exponent differs by domain; words of domain i start with its letter.
    """
    rng = np.random.default_rng(seed)
    names, entropy = [], []
    for i in range(domains):
        name = f"domain_{chr(97 + i)}"
        p = (1.0 + np.arange(words)) ** -(0.6 + 0.4 * i)
        p /= p.sum()
        lexicon = [chr(97 + i) + format(w, "03d") for w in range(words)]
        lines = [" ".join(rng.choice(lexicon, size=length, p=p)) for _ in range(documents)]
        path = Path(folder) / name / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        names.append(name)
        entropy.append(float(-(p * np.log(p)).sum()))
    return UnigramCorpus(Path(folder), tuple(names), np.array(entropy))
