"""Laws with the constants of papers, each with its source and with who fitted them, ready to predict.

    law = published("muennighoff2023");  law.predict([[6.34e9, 242e9, 25e9]])

Most constants are the authors' own, read in their repository or in a transcription of the paper. Others are refits:
``besiroglu2024`` is what its authors fitted to points digitised from Hoffmann's figure, ``hoffmann2022`` holds
Hoffmann's constants with the digits that this replication gives and the paper does not print, and ``gadre2024_*`` are
fits of this project to the authors' records. ``law.fitted_by_`` and ``summary()`` say which.
Each predicts what the publication says it does (tests/laws/test_scaling_families.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mixlaw.errors import ConfigError, FitError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.columns import check_counts
from mixlaw.laws.core.table import as_matrix
from mixlaw.laws.scale.chinchilla import Allocation, optimal_allocation

__all__ = ["PUBLISHED", "PublishedLaw", "published"]


def _chinchilla(p: dict[str, float], Z: Array) -> Array:
    return p["E"] + p["A"] / Z[:, 0] ** p["alpha"] + p["B"] / Z[:, 1] ** p["beta"]


def _repeated(p: dict[str, float], Z: Array) -> Array:
    N, D, U = Z.T
    U = np.minimum(U, D)
    alpha, beta = p["alpha"], p["beta"]
    G = (alpha * p["A"] / (beta * p["B"])) ** (1 / (alpha + beta))
    M = np.minimum(N, (U * G) ** (beta / alpha) * G)
    fresh = U + U * p["R_D"] * (1 - np.exp(-(D / U - 1) / p["R_D"]))
    useful = M + M * p["R_N"] * (1 - np.exp(-(N / M - 1) / p["R_N"]))
    return p["E"] + p["A"] / useful**alpha + p["B"] / fresh**beta


def _size(p: dict[str, float], Z: Array) -> Array:
    return (p["N_c"] / Z[:, 0]) ** p["a_N"]


def _data(p: dict[str, float], Z: Array) -> Array:
    return (p["D_c"] / Z[:, 0]) ** p["a_D"]


def _size_and_data(p: dict[str, float], Z: Array) -> Array:
    return ((p["N_c"] / Z[:, 0]) ** (p["a_N"] / p["a_D"]) + p["D_c"] / Z[:, 1]) ** p["a_D"]


def _experts(p: dict[str, float], Z: Array) -> Array:
    N, experts = Z.T
    spread = 1 / (experts - 1 + 1 / (1 / p["E_start"] - 1 / p["E_max"])) + 1 / p["E_max"]
    routed = np.log10(1 / spread)
    return 10 ** (p["a"] * np.log10(N) + p["b"] * routed + p["c"] * np.log10(N) * routed + p["d"])


def _over_trained(p: dict[str, float], Z: Array) -> Array:
    """Loss of N parameters on D tokens, one exponent shared by both terms (C = 6 N D)."""
    N, D = Z.T
    return p["E"] + p["A"] * N ** p["exponent"] + p["B"] * 6 ** (p["exponent"] / 2) * D ** p["exponent"]


@dataclass(frozen=True)
class _Entry:
    columns: tuple[str, ...]
    constants: dict[str, float]
    formula: Callable[[dict[str, float], Array], Array]
    text: str
    source: str
    fitted_by: str = "its authors"


def _logs(a: float, b: float, e: float, alpha: float, beta: float) -> dict[str, float]:
    return {"E": float(np.exp(e)), "A": float(np.exp(a)), "B": float(np.exp(b)), "alpha": alpha, "beta": beta}


_ND = ("params", "tokens")
_CHINCHILLA = "E + A / N^alpha + B / D^beta"
_KAPLAN = "Kaplan et al. 2020, arXiv:2001.08361"
_CLARK = "10^(a lg N + b lg X + c lg N lg X + d), X the saturating number of experts"
_GADRE = "E + A N^x + B 6^(x/2) D^x"
_GADRE_SOURCE = (
    "form and records of Gadre et al. 2024, arXiv:2403.08540; constants refitted by this project to the authors' five "
    "fitting runs, trained on {}, C4 validation loss"
)

PUBLISHED: dict[str, _Entry] = {
    "kaplan2020": _Entry(
        _ND,
        {"N_c": 6.4e13, "a_N": 0.076, "D_c": 1.8e13, "a_D": 0.103},
        _size_and_data,
        "[(N_c / N)^(a_N / a_D) + D_c / D]^a_D",
        f"{_KAPLAN}, joint fit",
    ),
    "kaplan2020_params": _Entry(("params",), {"N_c": 8.8e13, "a_N": 0.076}, _size, "(N_c / N)^a_N", _KAPLAN),
    "kaplan2020_tokens": _Entry(("tokens",), {"D_c": 5.4e13, "a_D": 0.095}, _data, "(D_c / D)^a_D", _KAPLAN),
    "hoffmann2022": _Entry(
        _ND,
        _logs(6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083),
        _chinchilla,
        _CHINCHILLA,
        "Hoffmann et al. 2022, arXiv:2203.15556, approach 3, unrounded (epoch-research/analyzing-chinchilla)",
        "its authors; unrounded as Besiroglu et al. 2024, arXiv:2404.10102, give them, not as the paper prints them",
    ),
    "hoffmann2022_rounded": _Entry(
        _ND,
        {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
        _chinchilla,
        _CHINCHILLA,
        "Hoffmann et al. 2022, arXiv:2203.15556, approach 3, as printed",
    ),
    "besiroglu2024": _Entry(
        _ND,
        _logs(6.17796, 7.64273, 0.59711, 0.34781, 0.36585),
        _chinchilla,
        _CHINCHILLA,
        "Besiroglu et al. 2024, arXiv:2404.10102, notebook optimum (epoch-research/analyzing-chinchilla)",
        "Besiroglu et al. 2024, a refit to points digitised from a figure of Hoffmann et al. 2022",
    ),
    "muennighoff2023": _Entry(
        ("params", "tokens", "unique_tokens"),
        _logs(6.255414, 7.3049974, 0.6254804, 0.3526596, 0.3526596) | {"R_D": 15.387756, "R_N": 5.309743},
        _repeated,
        "E + A / N'^alpha + B / D'^beta (see RepeatedData)",
        "Muennighoff et al. 2023, arXiv:2305.16264 (huggingface/datablations README)",
    ),
    **{
        f"clark2022_{kind}": _Entry(
            ("params", "experts"),
            dict(zip(("a", "b", "c", "d", "E_start", "E_max"), values)),
            _experts,
            _CLARK,
            f"Clark et al. 2022, arXiv:2202.01169, {kind}, 130B training tokens",
        )
        for kind, values in {
            "sbase": (-0.082, -0.108, 0.009, 1.104, 1.847, 314.478),
            "rlr": (-0.083, -0.126, 0.012, 1.111, 1.880, 469.982),
            "hash": (-0.087, -0.136, 0.012, 1.157, 4.175, 477.741),
        }.items()
    },
    **{
        f"gadre2024_{kind}": _Entry(
            _ND,
            dict(zip(("A", "B", "exponent", "E"), values)),
            _over_trained,
            _GADRE,
            _GADRE_SOURCE.format(kind),
            "this project, a refit to the authors' records",
        )
        for kind, values in {
            "c4": (113.7, 189.5, -0.24247, 1.5083),
            "redpajama": (166.2, 366.7, -0.27285, 1.8366),
            "refinedweb": (125.1, 246.2, -0.25439, 1.7345),
        }.items()
    },
}


class PublishedLaw(Law):
    """A law with the constants of a paper. ``predict(X)`` works at once; ``fit`` refuses.

    Args:
        which: a name in :data:`PUBLISHED`, such as ``"hoffmann2022"``.

    X: columns by name, or an array (n, columns) in the order of ``feature_names_in_``; predictions (n,) in nats per
    token.

    Attributes: ``parameters_``, ``formula_``, ``source_``, ``fitted_by_`` (the authors, or whose refit the constants
    are), ``feature_names_in_`` (columns a plain array has).

    Example:
        >>> law = PublishedLaw("hoffmann2022")
        >>> round(float(law.predict({"params": [70e9], "tokens": [1.4e12]})[0]), 2)  # Chinchilla itself, nats per token
        1.92
    """

    kind: ClassVar = "scale"
    name = "published"
    permutation_invariant = False

    def __init__(self, which: str = "hoffmann2022") -> None:
        self.which = which
        if which in PUBLISHED:
            entry = PUBLISHED[which]
            self.parameters_ = dict(entry.constants)
            self.formula_, self.source_, self.fitted_by_ = entry.text, entry.source, entry.fitted_by
            self.feature_names_in_ = np.array(entry.columns, dtype=object)
            self.target_names_ = ["loss"]
            self.n_features_in_, self.n_targets_, self.num_runs_ = len(entry.columns), 1, 0
            self.single_target_ = True

    def fit(self, X: Any, y: Any, sample_weight: Any = None, censored: Any = None) -> Law:
        """Constants of a paper are not fitted."""
        raise FitError(
            f"{self.which!r} has fixed constants (fitted by {self.fitted_by_}) and is not fitted. To fit the "
            f"family to your own runs use laws.Chinchilla, laws.Kaplan or laws.RepeatedData."
        )

    def _align(self, X: Any) -> Array:
        matrix, names = as_matrix(X)
        if names is None or set(self.feature_names_in_) <= set(names):
            matrix = super()._align(
                X if names is None else {n: matrix[:, names.index(n)] for n in self.feature_names_in_}
            )
        else:
            matrix = super()._align(X)
        for j, column in enumerate(self.feature_names_in_):
            if column != "experts":
                check_counts(matrix[:, j], str(column))
        return matrix

    def _predict(self, X: Array) -> Array:
        return PUBLISHED[self.which].formula(dict(self.parameters_), X)[:, None]

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """Publications give constants, not the errors of new runs.

        Raises:
            FitError: always.
        """
        raise FitError(f"{self.which!r} was published without an error model, so it has no prediction interval.")

    def optimal_allocation(self, C: Any) -> Allocation:
        """Compute-optimal size and tokens, for the laws of Chinchilla's form.

        Args:
            C: training FLOPs, a number or an array.

        Raises:
            FitError: a law of another form.
        """
        if PUBLISHED[self.which].formula is not _chinchilla:
            raise FitError(f"{self.which!r} is not of the form {_CHINCHILLA}; use one that is, e.g. 'besiroglu2024'.")
        return optimal_allocation(C, **self.parameters_)

    def summary(self) -> str:
        """Formula, constants, source, and who fitted them."""
        constants = ", ".join(f"{k} = {v:.6g}" for k, v in self.parameters_.items())
        return (
            f"{self.which}: loss = {self.formula_}\n{constants}\n{self.source_}\nConstants fitted by {self.fitted_by_}."
        )


def published(name: str) -> PublishedLaw:
    """A published law by name.

    Raises:
        ConfigError: unknown name, with the nearest known one.

    Example:
        >>> round(float(published("hoffmann2022_rounded").predict([[70e9, 1.4e12]])[0]), 4)
        1.9366
    """
    if name not in PUBLISHED:
        raise ConfigError(f"No published law {name!r}.{did_you_mean(name, PUBLISHED)}")
    return PublishedLaw(name)
