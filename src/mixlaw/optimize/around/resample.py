"""Laws that could have been: the same family refitted to runs that were drawn or weighed anew.

*Drawn* runs (with replacement) leave a third of them out of every refit, so their spread holds what a law with few runs
per parameter gets wrong on rows it has not seen: intervals of the gain use them. *Weighed* runs (a Bayesian bootstrap,
Rubin 1981; independent exponential weights) are all there in every refit, so no refit is wilder than the runs: robust
optima use them, which otherwise chase the wildest law. Their spread alone is too narrow for an interval.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.pose.rows import Rows
from mixlaw.optimize.pose.view import LawView

__all__ = ["bootstrap_laws", "drawn", "refits_for", "weighed"]


Weights = Callable[[int, int, int], Array]
"""``weights(n, num, seed)``: (num, n) weights of n runs, each row summing to n; the same for the same seed."""


def drawn(n: int, num: int, seed: int = 0) -> Array:
    """How often each run is drawn in n draws with replacement: counts (num, n), one row for each resample.

    Example:
        >>> drawn(5, 2).sum(axis=1).tolist()
        [5.0, 5.0]
    """
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=num).astype(float)


def weighed(n: int, num: int, seed: int = 0) -> Array:
    """Positive weights of all runs, as noisy in the mean as drawing.

    Example:
        >>> bool((weighed(5, 2) > 0).all())
        True
    """
    draws = np.random.default_rng(seed).exponential(size=(num, n))
    return np.asarray(draws / draws.mean(axis=1, keepdims=True))


def bootstrap_laws(rows: Rows, num: int, seed: int = 0, weights: Weights = drawn) -> list[LawView]:
    """``num`` refits of the law under :func:`drawn` or :func:`weighed` runs (law options kept; a ridge chosen by
    cross-validation is kept at what was chosen).

    Raises:
        DataError: fewer than half of the refits succeeded.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = {"web": web, "code": 1 - web}, {"all": 3 - np.log(web + 0.1)}
        >>> corpus = Corpus.declared({"web": 5_000, "code": 5_000}, source="example")
        >>> view = LawView(LogLinear().fit(*runs), corpus, Budget(tokens=1_000))
        >>> len(bootstrap_laws(Rows.of(view, runs), 8))
        8
    """
    views = rows.refits(weights(len(rows.X), num, seed))
    if len(views) < num / 2:
        raise DataError(
            f"Only {len(views)} of {num} bootstrap refits of {rows.view.name} succeeded; {len(rows.X)} runs "
            f"are too few to resample. Add runs, or leave out the bootstrap (num_bootstrap=0)."
        )
    return views


def refits_for(q: Request, warnings: list[str]) -> tuple[list[LawView], list[LawView]]:
    """(refits to drawn runs, for the gain's interval; refits to weighed runs, for a robust optimum).

    Raises:
        ConfigError: a robust optimum without runs or without refits.
        DataError: as :func:`bootstrap_laws`.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=1_000), corpus, num_bootstrap=4)
        >>> drawn_laws, weighed_laws = refits_for(q, warnings=[])
        >>> len(drawn_laws), len(weighed_laws)  # weighed ones only where robust= was asked for
        (4, 0)
    """
    if q.num_refits == 0 or q.rows is None:
        if q.robust is not None:
            raise ConfigError("robust= needs runs=(X, y) and num_bootstrap > 0.")
        if q.rows is None:
            warnings.append(
                "No runs were given, so the gain's interval comes from the law's intervals, not from refits."
            )
        return [], []
    several = bootstrap_laws(q.rows, q.num_refits, q.seed)
    if q.robust is None:
        return several, []
    return several, bootstrap_laws(q.rows, len(several), q.seed, weighed)
