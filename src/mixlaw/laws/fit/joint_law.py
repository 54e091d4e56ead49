"""The seam for laws of the mixture and of sizes together.

    class Additive(JointLaw):
        columns = ("weights", "params", "tokens")
        parameters = {
            "E": Positive(1.6, "irreducible loss, nats"),
            "A": Positive(400.0, "size term, nats at one parameter"),
            "alpha": Free(0.34, "size exponent"),
            "C": Positive((1.0, 3.0), "what a domain takes off the mixture term, per nat", per="domain"),
        }

        def loss(self, p, R, params, tokens): ...      # R (n, K), p.E (B, 1), p.C (B, K)  ->  (B, n)

        def slopes(self, p, R, params, tokens): ...    # (B, n), or (B, n, K) for a parameter per domain

It is a :class:`mixlaw.laws.fit.scale_law.ScaleLaw` one of whose columns is a block, ``"weights"``: every column of X
that is no size is the share of a domain, whatever its name.
"""

from __future__ import annotations

from typing import Any, ClassVar

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.columns import WEIGHTS
from mixlaw.laws.core.held import Held
from mixlaw.laws.fit.scale_law import ScaleLaw

__all__ = ["JointLaw"]


class JointLaw(ScaleLaw):
    """Base of laws of mixture, size and tokens with a formula that is fitted as it stands.

    X holds one column per domain (shares of tokens) and the other columns that the law names; a plain array is read in
    the order of ``columns``. Arguments, fitted attributes and hooks are those of
    :class:`mixlaw.laws.ScaleLaw`; parameters declared ``per="domain"`` have one value per target and domain, so
    ``parameters_`` holds them as lists (K,), with several targets (T, K).

    Raises:
        DataError, NotIdentifiableError, TooFewRunsError: as ScaleLaw; at least as many different mixtures as domains
            are needed.

    Example:
        >>> from mixlaw.laws.core.parameters import Free, Positive
        >>> class Linear(JointLaw):
        ...     columns = ("weights", "tokens")
        ...     parameters = {
        ...         "E": Positive((2.0, 3.0), "loss of each domain alone, nats", per="domain"),
        ...         "B": Positive(400.0, "data term, nats at one token"),
        ...         "beta": Free(0.3, "data exponent"),
        ...     }
        ...
        ...     def loss(self, p, R, tokens):
        ...         return p.E @ R.T + p.B * tokens**-p.beta
        ...
        ...     def slopes(self, p, R, tokens):
        ...         power = tokens**-p.beta
        ...         return {"E": R, "B": power, "beta": -p.B * power * np.log(tokens)}
        >>> import numpy as np
        >>> web, tokens = np.tile([0.2, 0.5, 0.9], 4), np.repeat([1e9, 4e9, 2e10, 9e10], 3)
        >>> X = {"web": web, "code": 1 - web, "tokens": tokens}
        >>> law = Linear().fit(X, 2.2 * web + 2.8 * (1 - web) + 500 * tokens**-0.32)
        >>> [round(value, 3) for value in law.parameters_["E"]]
        [2.2, 2.8]
        >>> law.at(tokens=1e12).predict({"web": [0.7], "code": [0.3]}).round(2).tolist()
        [2.45]
    """

    kind: ClassVar[Any] = "joint"
    permutation_invariant = True

    def at(self, **sizes: float) -> Law:
        """The law of the mixture at one size and length, as an optimiser of the mixture wants it.

        Args:
            sizes: every column that is not a weight, such as ``params=1e9, tokens=2e11``.

        Raises:
            ConfigError: a column that the law does not have, or one that is missing.
        """
        self._check_fitted()
        wanted = [name for name in self.columns if name != WEIGHTS]
        for name in sizes:
            if name not in wanted:
                raise ConfigError(f"{type(self).__name__}.at: there is no column {name!r}.{did_you_mean(name, wanted)}")
        missing = [name for name in wanted if name not in sizes]
        if missing:
            raise ConfigError(f"{type(self).__name__}.at needs {', '.join(f'{name}=' for name in missing)} too.")
        names = [str(n) for n in self.feature_names_in_]
        order, domains = self._order(names, len(names)), self.domain_names
        places = iter(i for i in order if names[i] not in domains)
        return Held.of(self, {names[next(places)]: float(sizes[name]) for name in wanted})
