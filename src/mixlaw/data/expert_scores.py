"""What one expert per domain says of every token of every validation set: the log-probabilities that laws of experts
mix."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError, did_you_mean
from mixlaw.kit.arrays import Array

__all__ = ["ExpertScores"]

_STEP = 1024
"""Packed log-probabilities are whole multiples of 1/1024 nat: a mean over thousands of tokens does not notice."""


@dataclass(frozen=True, eq=False)
class ExpertScores:
    """Log-probabilities of the tokens of each validation set under one expert per domain.

    Args:
        domains: one expert each.
        logprobs: validation set to (num_tokens, num_domains), in nats, at most 0; minus infinity where an expert holds
            a token to be impossible.

    Raises:
        DataError: fewer than two domains, or numbers that are no log-probabilities of so many experts.

    Example:
        >>> half = np.log([[0.5, 0.25], [0.5, 0.25]])
        >>> scores = ExpertScores(("web", "code"), {"exam": half})
        >>> {name: found.round(3).tolist() for name, found in scores.losses().items()}
        {'exam': [0.693, 1.386]}
        >>> ExpertScores.unpacked(scores.packed()).domains
        ('web', 'code')
    """

    domains: tuple[str, ...]
    logprobs: Mapping[str, Array]

    def __post_init__(self) -> None:
        object.__setattr__(self, "domains", tuple(map(str, self.domains)))
        if len(self.domains) < 2 or len(set(self.domains)) < len(self.domains):
            raise DataError(
                f"Experts stand for domains that are mixed: at least two different ones, got {list(self.domains)}."
            )
        if not self.logprobs:
            raise DataError("The experts were scored on no validation set. Give at least one.")
        checked = {}
        for name, values in self.logprobs.items():
            array = np.asarray(values, dtype=float)
            if array.ndim != 2 or array.shape[1] != len(self.domains) or not len(array):
                raise DataError(
                    f"Scores on {name!r} must be (num_tokens, {len(self.domains)}), a column per expert, got shape "
                    f"{array.shape}."
                )
            if np.isnan(array).any() or (array > 1e-6).any():
                worst = self.domains[int(np.argmax((np.isnan(array) | (array > 1e-6)).any(axis=0)))]
                raise DataError(
                    f"The expert of {worst!r} gives {name!r} log-probabilities that are NaN or above 0. Was it trained "
                    f"to its end?"
                )
            if np.isneginf(array).all(axis=1).any():
                raise DataError(
                    f"{name!r} has tokens that every expert holds to be impossible, so no mixture of them has a loss."
                )
            checked[str(name)] = array
        object.__setattr__(self, "logprobs", checked)

    def losses(self) -> dict[str, Array]:
        """Validation set to (num_domains,): each expert's own mean loss, in nats per token."""
        return {name: -values.mean(axis=0) for name, values in self.logprobs.items()}

    def of(self, domains: Sequence[str], sets: Sequence[str]) -> list[Array]:
        """(num_tokens, num_domains) of each of ``sets``, columns in the order of ``domains``.

        Raises:
            DataError: there is no expert of a domain, or the experts were not scored on a set.
        """
        for name in domains:
            if name not in self.domains:
                raise DataError(
                    f"There is no expert of the domain {name!r}.{did_you_mean(name, self.domains)} Train one run for "
                    f"each domain (`mixlaw design --sampler experts`)."
                )
        for name in sets:
            if name not in self.logprobs:
                raise DataError(
                    f"The experts were not scored on {name!r}, only on {list(self.logprobs)}. Score them on the sets "
                    f"that the runs were measured on, or leave that set out of y."
                )
        columns = [self.domains.index(name) for name in domains]
        return [self.logprobs[name][:, columns] for name in sets]

    def packed(self, max_tokens: int = 16_384) -> dict[str, Any]:
        """As plain data that a law can be saved with: log-probabilities in steps of 1/1024 nat (below -31 nats: -31),
        of at most ``max_tokens`` tokens of each set, evenly spaced."""
        sets = {}
        for name, values in self.logprobs.items():
            rows = np.unique(np.linspace(0, len(values) - 1, min(len(values), max_tokens)).round().astype(int))
            whole = np.rint(np.maximum(values[rows], -31.0) * _STEP).astype("<i2")
            sets[name] = [len(rows), base64.b64encode(zlib.compress(whole.tobytes(), 6)).decode()]
        return {"domains": list(self.domains), "packed": sets}

    @classmethod
    def unpacked(cls, data: Mapping[str, Any]) -> Self:
        """From what :meth:`packed` gave, or from ``{set: {domain: log-probabilities (num_tokens,)}}``.

        Raises:
            DataError: neither of the two.
        """
        if not isinstance(data, Mapping):
            raise DataError(f"Scores of experts are a mapping of sets to domains to numbers, got {data!r:.80}.")
        if "packed" in data:
            sets = tuple((name, int(n), text) for name, (n, text) in data["packed"].items())
            return cls(tuple(data["domains"]), _unpack(tuple(data["domains"]), sets))
        first = next(iter(data.values()), None)
        if not isinstance(first, Mapping):
            raise DataError("Scores of experts are {set: {domain: log-probabilities}}, or what packed() gave.")
        domains = tuple(first)
        for name, columns in data.items():
            if set(columns) != set(domains):
                raise DataError(f"The scores on {name!r} are of the experts {list(columns)}, not of {list(domains)}.")
        arrays = {n: np.column_stack([np.asarray(c[d], dtype=float) for d in domains]) for n, c in data.items()}
        return cls(domains, arrays)


@lru_cache(maxsize=4)
def _unpack(domains: tuple[str, ...], sets: tuple[tuple[str, int, str], ...]) -> dict[str, npt.NDArray[np.float64]]:
    """Kept: a law is asked, copied and refitted many times with the same scores."""
    out = {}
    for name, rows, text in sets:
        try:
            whole = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i2").reshape(rows, len(domains))
        except (ValueError, zlib.error) as error:
            raise DataError(f"The packed scores of experts on {name!r} are damaged: {error}.") from None
        out[name] = whole / _STEP
    return out
