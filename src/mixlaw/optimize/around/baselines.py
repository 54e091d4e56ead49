"""The mixtures every recommendation stands beside: natural, uniform, UniMax, temperature sampling."""

from __future__ import annotations

import numpy as np

from mixlaw.data.budget import Budget, Constraints
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array

__all__ = ["baselines", "feasible", "temperature", "unimax"]


def unimax(corpus: Corpus, tokens: float, max_epochs: float = 4.0) -> Mixture:
    """UniMax: as uniform as ``max_epochs`` allows.

    Domains are served from the smallest: each gets an equal share of what is left of the budget, or
    ``max_epochs`` times its tokens if that is less.

    Args:
        corpus: the domains and their unique tokens.
        tokens: of the target run.
        max_epochs: how often a domain's tokens may be repeated.

    Raises:
        ConfigError: tokens or epochs that are not positive.

    Source: Chung et al. 2023, arXiv:2304.09151.

    Example:
        >>> corpus = Corpus.declared({"web": 900, "wiki": 50}, source="example")
        >>> unimax(corpus, tokens=800, max_epochs=4).to_dict()
        {'web': 0.75, 'wiki': 0.25}
    """
    if tokens <= 0 or max_epochs <= 0:
        raise ConfigError(f"UniMax needs positive tokens and epochs, got {tokens} and {max_epochs}.")
    order = sorted(corpus.domains, key=lambda d: d.unique_tokens)
    left, drawn = float(tokens), {}
    for i, domain in enumerate(order):
        drawn[domain.name] = min(left / (len(order) - i), max_epochs * domain.unique_tokens)
        left -= drawn[domain.name]
    return Mixture.normalized({n: drawn[n] for n in corpus.names})


def temperature(corpus: Corpus, T: float = 2.0) -> Mixture:
    """Weights proportional to unique tokens to the power 1/T: T = 1 is natural, T large is uniform.

    Raises:
        ConfigError: T is not positive.

    Example:
        >>> corpus = Corpus.declared({"a": 70, "b": 20, "c": 10}, source="example")
        >>> [round(w, 3) for w in temperature(corpus, 2).weights]
        [0.523, 0.279, 0.198]
    """
    if not T > 0:
        raise ConfigError(f"Temperature must be positive, got {T}.")
    return Mixture.normalized({n: float(c) ** (1.0 / T) for n, c in corpus.unique_tokens.items()})


def feasible(mixture: Array, constraints: Constraints, slack: float = 1e-9) -> bool:
    """Whether the mixture's weights (K,) satisfy the budget's ``constraints``, to ``slack`` (a share of the tokens).

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> limits = Budget(tokens=4_000, max_epochs=2).check(corpus)
        >>> feasible(np.array([0.5, 0.5]), limits), feasible(np.array([0.4, 0.6]), limits)
        (True, False)
    """
    c = constraints
    rows = c.matrix @ mixture - c.upper
    return bool(
        (mixture >= c.low - slack).all()
        and (mixture <= c.high + slack).all()
        and (rows <= slack * np.maximum(1.0, np.abs(c.upper))).all()
    )


def baselines(corpus: Corpus, budget: Budget, reference: Mixture | None = None) -> dict[str, Mixture]:
    """Natural, uniform, UniMax (1 and 4 epochs), temperature 2 and 5, and the user's own as ``"reference"``.

    Args:
        corpus: the domains and their unique tokens.
        budget: its tokens decide what UniMax allows; its limits are not applied.
        reference: the mixture used today, or None.

    Returns:
        Mixtures by name.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> baselines(corpus, Budget(tokens=4_000))["unimax (1 epoch)"].to_dict()
        {'web': 0.75, 'code': 0.25}
    """
    table = {"natural": corpus.natural, "uniform": Mixture.uniform(corpus.names)}
    for epochs in (1, 4):
        table[f"unimax ({epochs} epoch{'s' * (epochs > 1)})"] = unimax(corpus, budget.tokens, epochs)
    for T in (2, 5):
        table[f"temperature {T}"] = temperature(corpus, T)
    if reference is not None:
        table["reference"] = reference
    return table
