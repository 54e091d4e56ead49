"""Gradient-boosted trees over mixtures: what RegMix fits, without its look at the test labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.errors import TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.kit.extras import require_extra
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.notes import design_notes

__all__ = ["Trees"]


class Trees(Law):
    """One LightGBM regression per target on the raw weights.

    Needs hundreds of runs: with 32 it predicts a constant, from about 100 it ranks well, and from 500 it is close
    to smooth laws on mixtures like those tried. It is a step function: it cannot extrapolate, its gradient is
    zero almost everywhere, and its optimum over mixtures is a region rather than a point.

    Args:
        num_rounds: boosting rounds; every round is kept. RegMix's notebook stops early on the test rows, which
            is a leak; a small learning rate makes the number of rounds matter little.
        learning_rate: shrinkage of each round.
        num_leaves: leaves of one tree; lowered when runs are few.
        seed: of the column and row sampling.

    X: mixtures (n, K), weights as shares of the training tokens; y: losses (n,) or (n, T) in nats per token.

    Raises:
        MissingExtraError: LightGBM is not installed (``pip install 'mixlaw[trees]'``).

    Example:
        >>> r = np.random.default_rng(0).dirichlet(np.ones(3), 120)
        >>> law = Trees(num_rounds=100).fit(r, 2 - r[:, 0])
        >>> law.predict([[0.9, 0.05, 0.05]]) < law.predict([[0.1, 0.45, 0.45]])
        array([ True])

    Source: Liu et al. 2024, RegMix, arXiv:2407.01492; Ke et al. 2017, LightGBM.
    """

    kind = "mixture"
    name = "trees"
    unexplained, smooth, costly = 0.5, False, True
    allows_missing = True
    permutation_invariant = False  # the sampling of columns is seeded by their places
    source = "RegMix, arXiv:2407.01492; LightGBM (Ke et al. 2017)"

    def __init__(self, num_rounds: int = 600, learning_rate: float = 0.03, num_leaves: int = 16, seed: int = 0) -> None:
        self.num_rounds = num_rounds
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.seed = seed

    def _settings(self, n: int) -> dict[str, Any]:
        """LightGBM's parameters at n runs: leaves of at least 2% of the runs, 3 to 20."""
        return {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "num_leaves": int(np.clip(n // 8, 4, self.num_leaves)),
            "min_data_in_leaf": int(np.clip(n // 100, 3, 20)),
            "min_data_in_bin": 1,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "bagging_freq": 1,
            "lambda_l2": 0.1,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": 1,
            "seed": self.seed,
            "verbosity": -1,
        }

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        lightgbm = require_extra("lightgbm", "trees")
        self.notes_ = design_notes(X, Y, [str(n) for n in self.feature_names_in_], self.target_names_)
        texts: list[str] = []
        # row sampling is seeded by places too: a canonical order makes the fit the same for any order given
        order = np.lexsort(np.column_stack([sample_weight, Y[:, ::-1], X[:, ::-1]]).T)
        X, Y, sample_weight = X[order], Y[order], sample_weight[order]
        gains = np.zeros((Y.shape[1], X.shape[1]))
        for t in range(Y.shape[1]):
            rows = np.isfinite(Y[:, t]) & (sample_weight > 0)
            if rows.sum() < 8:
                raise TooFewRunsError(
                    f"Boosted trees need at least 8 runs of a target; {self.target_names_[t]!r} has {int(rows.sum())}. "
                    f"Use GaussianProcess or EffectiveTokens for so few."
                )
            data = lightgbm.Dataset(
                X[rows], Y[rows, t], weight=sample_weight[rows], params={"verbosity": -1, "min_data_in_bin": 1}
            )
            booster = lightgbm.train(self._settings(int(rows.sum())), data, num_boost_round=self.num_rounds)
            gains[t] = booster.feature_importance(importance_type="gain")
            texts.append(booster.model_to_string())
        self.boosters_ = texts
        share = gains / np.maximum(gains.sum(axis=1, keepdims=True), 1e-300)
        self.parameters_ = {"importance": share.tolist()}
        self.__dict__.pop("_loaded", None)

    def _predict(self, X: Array) -> Array:
        lightgbm = require_extra("lightgbm", "trees")
        loaded: list[Any] = self.__dict__.setdefault("_loaded", [])
        if not loaded:
            loaded += [lightgbm.Booster(model_str=text) for text in self.boosters_]
        return np.column_stack([booster.predict(X, num_threads=1) for booster in loaded])

    def gradient(self, X: Any) -> Array:
        """Zero (n, T, K): a step function is flat almost everywhere."""
        return np.zeros((len(self._align(X)), self.n_targets_, self.n_features_in_))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_loaded", None)  # C++ handles do not travel
        return state
