"""What simulated studies are drawn from: losses that a pilot, or a prior law, allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mixlaw.data.corpus import Corpus
from mixlaw.data.observations import Observations
from mixlaw.design.adaptive.recommendation import observed
from mixlaw.design.adaptive.surrogate import fresh, objective_weights, replicate_sd
from mixlaw.design.polytope import Array
from mixlaw.errors import ConfigError
from mixlaw.laws.core.base import Law

__all__ = ["Truth"]


@dataclass(frozen=True)
class Truth:
    """A law whose losses simulated studies try to minimise; T targets count in the objective.

    Args:
        law: fitted; over the corpus' domains in order.
        keep: (T,) which of its targets count.
        weights: (T,) of the objective.
        noise: (T,) standard deviation that another seed would change, in the targets' units.
        correlation: (T, T) of the noise between the targets of a run.
        uncertain: whether the losses of each simulated study are drawn from what the law does not know; else its
            predictions are taken as the truth.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000_000, "code": 9_000_000}, source="example")
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> X, Y = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1) - np.log(1.1 - web)  # best at half and half
        >>> law = LogLinear().fit(dict(zip(corpus.names, X.T)), {"all": Y})
        >>> truth = Truth.from_law(corpus, law, objective=None, noise=0.01)
        >>> truth.weights.tolist(), truth.noise.tolist()
        ([1.0], [0.01])
    """

    law: Law
    keep: tuple[int, ...]
    weights: Array
    noise: Array
    correlation: Array
    uncertain: bool

    @classmethod
    def from_pilot(
        cls,
        corpus: Corpus,
        pilot: Observations,
        law: Law | None,
        objective: Mapping[str, float] | None,
        noise: float | Mapping[str, float] | None,
        seed: int,
        metric: str,
    ) -> Truth:
        """Losses that a pilot allows, under ``law`` fitted to it (default: a Gaussian process whose errors shrink with
        the loss).

        Raises:
            ConfigError: the objective names an unknown target.
            TooFewRunsError: a pilot too small for the law.
        """
        from mixlaw.laws.mixture.gaussian_process import GaussianProcess

        X, Y, weights = observed(corpus, pilot, objective, metric)
        unfitted = GaussianProcess(members=("bc/logc",), seed=seed) if law is None else fresh(law, seed)
        fitted = unfitted.fit(dict(zip(corpus.names, X.T)), dict(zip(weights, Y.T)))
        sds = fitted.residual_sd().copy()
        for t in range(Y.shape[1]):
            measured = replicate_sd(X, Y[:, t])
            sds[t] = sds[t] if measured is None else measured
        return cls._of(fitted, weights, sds if noise is None else _given(noise, weights), True)

    @classmethod
    def from_law(
        cls,
        corpus: Corpus,
        law: Law,
        objective: Mapping[str, float] | None,
        noise: float | Mapping[str, float] | None,
    ) -> Truth:
        """Losses that a fitted prior law predicts, or draws where its form is uncertain.

        Raises:
            ConfigError: a law of other domains, an unknown target, or no noise given.
        """
        names = [str(n) for n in law.feature_names_in_]
        bare = names == [f"x{j}" for j in range(len(corpus.names))]  # fitted on an array: columns taken in order
        unnamed = bare and not set(names) & set(corpus.names)
        if list(corpus.names) != names and not unnamed:
            raise ConfigError(f"The prior law was fitted on {names}, the corpus has {list(corpus.names)}, in order.")
        weights = objective_weights(objective, list(law.target_names_))
        if noise is None:
            raise ConfigError("Without a pilot the seed noise is not known: give noise, e.g. 0.02 nats.")
        return cls._of(law, weights, _given(noise, weights), law.draws_form)

    @classmethod
    def _of(cls, law: Law, weights: Mapping[str, float], noise: Array, uncertain: bool) -> Truth:
        fitted = list(law.target_names_)
        keep = [fitted.index(t) for t in weights]
        correlation = law.residual_correlation() if uncertain else np.eye(len(fitted))
        return cls(
            law, tuple(keep), np.array(list(weights.values())), noise, correlation[np.ix_(keep, keep)], uncertain
        )

    @property
    def targets(self) -> list[str]:
        """Names of the T targets."""
        return [str(self.law.target_names_[t]) for t in self.keep]

    @property
    def all_weights(self) -> Array:
        """The objective's weights over all targets of the law: (targets,), 0 for those it leaves out."""
        full = np.zeros(len(self.law.target_names_))
        full[list(self.keep)] = self.weights
        return full

    def noise_of(self, size: float = 1.0) -> float:
        """Seed noise of the objective, of runs whose noise is ``size`` times that of the pilot."""
        rows = self.weights * self.noise
        return size * float(np.sqrt(np.einsum("s,st,t->", rows, self.correlation, rows)))

    def draw(self, X: Array, rng: np.random.Generator) -> Array:
        """Losses (n, T), in the unit of the targets, without noise at distinct mixtures X (n, K), as they may be.

        What the law of a pilot leaves unexplained is in part noise; the rest is roughness, which it is too smooth to
        follow and which belongs to the mixture. Where a Gaussian process works on a warped loss, roughness shrinks with
        the loss as its noise does.
        """
        keep = list(self.keep)
        rows = self.law.known_runs
        if not self.uncertain or rows is None:
            return np.asarray(self.law.predict(X)).reshape(len(X), -1)[:, keep]
        share = np.zeros(len(self.law.target_names_))
        share[keep] = _roughness(self.law.residual_sd()[keep], self.noise, len(rows.X))
        return self.law.sample(X, 1, rng, share)[0][:, keep]


def _given(noise: float | Mapping[str, float], weights: Mapping[str, float]) -> Array:
    return np.array([float(noise[t]) if isinstance(noise, Mapping) else float(noise) for t in weights])


def _roughness(left: Array, noise: Array, runs: int) -> Array:
    """Share (T,) of the variance that a law of so many runs leaves unexplained, ``left`` (T,) its root, which belongs
    to the mixtures: what is more than ``noise`` (T,), as far as chance does not make it (positive-part shrinkage)."""
    share = np.maximum(1 - (noise / np.maximum(left, 1e-300)) ** 2, 0.0)
    return np.asarray(np.maximum(share - 2 / (runs * np.maximum(share, 1e-300)), 0.0))
