"""Which training domain a target is measured on: ``loss_github`` belongs to ``weight_github``.

A domain's own validation loss answers to that domain far more than to any other, so laws that know the tie
need fewer runs. The tie is read from the names, or given by the caller; where neither speaks there is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array

__all__ = ["own_domains", "own_matrix"]

# Words that say what a column is, not which domain it is about.
_ROLES = frozenset(
    [
        "weight",
        "weights",
        "share",
        "mixture",
        "train",
        "training",
        "loss",
        "losses",
        "val",
        "valid",
        "valid_loss",
        "validation",
        "eval",
        "test",
        "metric",
        "target",
        "nats",
        "bpb",
        "bits",
        "per",
        "byte",
        "ppl",
        "perplexity",
        "ce",
        "the",
        "pile",
    ]
)


def _words(name: str) -> tuple[str, ...]:
    """Lower-case words of a name without its role: ``"train/the_pile_ArXiv"`` gives ``("arxiv",)``."""
    words = [w for w in re.split(r"[^0-9a-z]+", str(name).lower()) if w]
    # "pile_cc" is a domain of The Pile, whose name stands before the others as "the_pile_github".
    while len(words) > 1 and words[0] in _ROLES and words[:2] != ["pile", "cc"]:
        words = words[1:]
    while len(words) > 1 and words[-1] in _ROLES - {"pile", "the", "test", "train"}:
        words = words[:-1]
    return tuple(words)


def own_domains(
    domains: Sequence[str],
    targets: Sequence[str],
    own: Mapping[str, str | Sequence[str] | None] | None = None,
) -> dict[str, list[str]]:
    """Each target's own training domains (an empty list where there is none).

    Args:
        domains: names of the mixture's columns.
        targets: names of the targets.
        own: the caller's word, ``{target: domain}`` (or several domains, or None for "no tie"); it goes
            before the names. Targets it does not mention are matched by name.

    Raises:
        ConfigError: ``own`` names a target or a domain that does not exist.

    Example:
        >>> own_domains(["weight_arxiv", "weight_github"], ["loss_github", "loss_hellaswag"])
        {'loss_github': ['weight_github'], 'loss_hellaswag': []}
    """
    given = dict(own or {})
    for target in given:
        if target not in targets:
            raise ConfigError(f"own= names the target {target!r}, which is not in y.{did_you_mean(target, targets)}")
    words = {d: _words(d) for d in domains}
    result: dict[str, list[str]] = {}
    for target in targets:
        if target in given:
            wanted = given[target]
            chosen = [] if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
            for domain in chosen:
                if domain not in words:
                    raise ConfigError(
                        f"own= ties {target!r} to {domain!r}, which is not a column of X."
                        f"{did_you_mean(domain, domains)}"
                    )
            result[target] = chosen
            continue
        mine = _words(target)
        exact = [d for d in domains if words[d] == mine or "".join(words[d]) == "".join(mine)]
        # "github_python" answers to "github": all words of the domain occur in the target, and no rival does.
        inside = [d for d in domains if set(words[d]) < set(mine)]
        result[target] = exact if len(exact) == 1 else inside if not exact and len(inside) == 1 else []
    return result


def own_matrix(
    domains: Sequence[str],
    targets: Sequence[str],
    own: Mapping[str, str | Sequence[str] | None] | None = None,
) -> Array:
    """:func:`own_domains` as numbers (T, K): 1 where the domain is the target's own, else 0.

    Raises:
        ConfigError: ``own`` names a target or a domain that there is not.

    Example:
        >>> own_matrix(["web", "code"], ["code", "exams"], own={"exams": "web"}).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    ties = own_domains(domains, targets, own)
    return np.array([[float(d in ties[t]) for d in domains] for t in targets]).reshape(len(targets), len(domains))
