"""Simulated epoching: a short proxy repeats each domain as often as the long target run will.

Source: the practice of Olmix (arXiv 2602.12237) and UniMax-style proxies: without it a proxy never sees a second
epoch of anything, and its law is blind to repetition.
"""

from __future__ import annotations

import warnings

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, MixlawWarning

__all__ = ["simulated_epoching", "with_simulated_epoching"]


def simulated_epoching(corpus: Corpus, budget: Budget, proxy_tokens: int, context: int = 1) -> dict[str, int]:
    """Unique tokens of each domain that a proxy of ``proxy_tokens`` may see, for :attr:`RunSpec.unique_tokens`.

    The target run draws ``e = r_j D / U_j`` epochs of domain j, a proxy ``r_j d / u_j``; they agree for every mixture
    when ``u_j = U_j d / D``: one number per domain serves the whole swarm.

    Args:
        proxy_tokens: d, token budget of the proxy.
        context: tokens per sequence; no domain gets less than one sequence (a warning says which would).

    Raises:
        ConfigError: proxy_tokens <= 0, or above the target's tokens, where no subset repeats as rarely.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000_000, "wiki": 1_000_000}, source="example")
        >>> simulated_epoching(corpus, Budget(tokens=20_000_000), 2_000_000)
        {'web': 900000, 'wiki': 100000}
    """
    if proxy_tokens <= 0 or context < 1:
        raise ConfigError(f"proxy_tokens and context must be positive, got {proxy_tokens!r} and {context!r}.")
    if proxy_tokens > budget.tokens:
        raise ConfigError(
            f"A proxy of {proxy_tokens} tokens is longer than the target run of {budget.tokens}: it repeats every "
            f"domain more often whatever it may see. Shorten the proxy, or train it without simulated epoching."
        )
    share = proxy_tokens / budget.tokens
    exact = {d.name: d.unique_tokens * share for d in corpus.domains}
    short = [n for n, count in exact.items() if round(count) < context]
    if short:
        warnings.warn(
            f"Simulated epoching leaves {short} less than one sequence of {context} tokens at {proxy_tokens} proxy "
            f"tokens; they get one sequence and are repeated less often than in the target run. Use longer proxies "
            f"or merge these domains.",
            MixlawWarning,
            stacklevel=2,
        )
    # a domain smaller than one sequence cannot be given more than it has
    return {d.name: min(d.unique_tokens, max(round(exact[d.name]), context)) for d in corpus.domains}


def with_simulated_epoching(spec: RunSpec, corpus: Corpus, budget: Budget) -> RunSpec:
    """``spec`` restricted so that its epochs equal those of the target run of ``budget``.

    Raises:
        ConfigError: the spec's tokens are above those of the target run.

    Example:
        >>> from mixlaw import Budget, Corpus, RunSpec, Schedule
        >>> corpus = Corpus.declared({"web": 9_000, "wiki": 1_000}, source="example")
        >>> spec = RunSpec(Schedule.constant({"web": 0.5, "wiki": 0.5}), tokens=1_000, context=10)
        >>> with_simulated_epoching(spec, corpus, Budget(tokens=10_000, max_epochs=8)).unique_tokens
        {'web': 900, 'wiki': 100}
    """
    return spec.replace(unique_tokens=simulated_epoching(corpus, budget, spec.tokens, spec.context))
