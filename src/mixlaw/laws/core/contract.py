"""What every law keeps, whatever its kind: checks that ask the law itself what to simulate.

    from mixlaw.laws import check_law
    check_law(MyLaw)

Each check simulates data from what the law declares (``examples``, ``example_rows``, ``example_losses``,
``example_parameters``; for a law with declared ``parameters`` these follow from it), so nothing about a family is
written down here. The project's own laws are checked in ``tests/laws/test_contract.py``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from sklearn.base import clone

from mixlaw.errors import ConfigError, DataError, MixlawError, MixlawWarning, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law

__all__ = ["CHECKS", "STATISTICAL", "ContractError", "check_law"]

Table = dict[str, Array]
Result = TypeVar("Result")
_ROWS = 48
_KINDS = ("mixture", "scale", "joint", "capability", "time")
_NOISE = 0.003
"""Standard deviation of simulated noise, as a share of the loss."""
_ITEMS = 1000
"""Items behind a simulated share of items right."""


class ContractError(MixlawError, AssertionError):
    """A law does not keep the contract; the message says which part, and by how much.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> class Wrong(Chinchilla):
        ...     def loss_and_slopes(self, p, params, tokens):
        ...         value, slopes = super().loss_and_slopes(p, params, tokens)
        ...         return value, {name: -slope for name, slope in slopes.items()}
        >>> try:
        ...     check_law(Wrong, only=["slopes"])
        ... except ContractError as error:
        ...     print("slope" in str(error))
        True
    """


def check_law(law_class: type[Law], only: Sequence[str] | None = None) -> None:
    """Check that a law keeps the contract of all laws.

    Args:
        law_class: the class; register it first (``LAWS.register("mine", MyLaw)``), or its JSON cannot be read back.
        only: names of checks from :data:`CHECKS` (None: all).

    Raises:
        ConfigError: ``law_class`` is not a class of laws, or there is no check of such a name.
        ContractError: the first check that fails, and what was found; the law's own error where it fails to run.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> check_law(Chinchilla, only=["slopes", "json"])
    """
    if not isinstance(law_class, type) or not issubclass(law_class, Law):
        raise ConfigError(f"check_law checks a class that inherits from Law, such as laws.M4; got {law_class!r}.")
    names = list(CHECKS if only is None else [only] if isinstance(only, str) else only)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise ConfigError(f"The contract has no check {unknown[0]!r}.{did_you_mean(str(unknown[0]), CHECKS)}")
    for name in names:
        try:
            CHECKS[name](law_class)
        except MixlawError:
            raise
        except Exception as error:  # the law's own code: whatever it raises, the message says during which check
            raise ContractError(
                f"{law_class.__name__}: the check {name!r} stopped with {type(error).__name__}: {error}"
            ) from error


# ---- helpers ------------------------------------------------------------------------------------------
def _require(ok: Any, law: Law, text: str) -> None:
    if not ok:
        raise ContractError(f"{law!r}: {text}")


def _close(found: Any, wanted: Any, law: Law, what: str, rtol: float = 1e-6, atol: float = 0.0) -> None:
    found, wanted = np.asarray(found, dtype=float), np.asarray(wanted, dtype=float)
    _require(found.shape == wanted.shape, law, f"{what}: shape {found.shape} instead of {wanted.shape}.")
    off = np.abs(found - wanted) - rtol * np.abs(wanted) - atol
    worst = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape) if off.size else ()
    _require(
        not off.size or off[worst] <= 0,
        law,
        f"{what}: {found[worst]:.9g} instead of {wanted[worst]:.9g}." if off.size else "",
    )


def _quiet(law: Law, X: Mapping[str, Array], y: Any) -> Law:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return law.fit(X, y)


def _noisy(law: Law, y: Array, rng: np.random.Generator) -> Array:
    """Measurements of means y (n,), as the law's response says that they scatter."""
    if law.response.likelihood == "binomial":
        return rng.binomial(_ITEMS, y) / _ITEMS
    return y * np.exp(_NOISE * rng.normal(size=len(y)))


def _second(law: Law, y: Array, rng: np.random.Generator) -> Array:
    """Measurements of another target."""
    return _noisy(law, y, rng) if law.response.likelihood == "binomial" else 0.5 + _noisy(law, y, rng)


def _kept(function: Callable[..., Result]) -> Callable[..., Result]:
    """What a function gave for a class is kept: the checks of one law share its data and its fit."""
    known: dict[Any, Result] = {}

    def ask(*arguments: Any) -> Result:
        if arguments not in known:
            known[arguments] = function(*arguments)
        return known[arguments]

    return ask


@_kept
def _examples(law_class: type[Law]) -> tuple[Law, ...]:
    return tuple(law_class.examples())


@_kept
def _data(law_class: type[Law], which: int) -> tuple[Table, Array, Table]:
    """Rows, losses without noise, and rows that no fit sees, of an example."""
    rng = np.random.default_rng(7)
    law = _examples(law_class)[which]
    X = law.example_rows(_ROWS, rng)
    return X, law.example_losses(X), law.example_rows(_ROWS, rng)


@_kept
def _fitted(law_class: type[Law], which: int) -> Law:
    """An example fitted to noisy losses; checks only read it."""
    X, y, _ = _data(law_class, which)
    law = _examples(law_class)[which]
    return _quiet(clone(law), X, _noisy(law, y, np.random.default_rng(1)))


def _each(law_class: type[Law]) -> range:
    return range(len(_examples(law_class)))


# ---- the checks -----------------------------------------------------------------------------------------
def check_declaration(law_class: type[Law]) -> None:
    """It says what it is: kind, docstring, source, examples that are not fitted."""
    law = _examples(law_class)[0]
    _require(law.kind in _KINDS, law, f"kind = {law.kind!r} is not one of {_KINDS}.")
    _require((law_class.__doc__ or "").strip(), law, "has no docstring.")
    for which in _each(law_class):
        X, y, _ = _data(law_class, which)
        _require(
            np.isfinite(y).all() and np.ptp(y) > 0, law, f"example_losses gives {y[:5]}: finite, different numbers."
        )
        _require(all(v.shape == y.shape for v in X.values()), law, "example_rows and example_losses differ in length.")


def check_recovery(law_class: type[Law]) -> None:
    """From losses without noise it finds its own surface at rows it has not seen, and its own parameters."""
    for which in _each(law_class):
        law, (X, y, there) = clone(_examples(law_class)[which]), _data(law_class, which)
        _quiet(law, X, y)
        truth = law.example_losses(there)
        missed = float(((law.predict(there) - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
        _require(
            missed <= law.unexplained,
            law,
            f"leaves {missed:.2g} of its own variance unexplained (<= {law.unexplained}).",
        )
        for name, value in law.example_parameters().items():
            _close(law.parameters_[name], value, law, f"recovered parameter {name}", rtol=5e-3)


def check_slopes(law_class: type[Law]) -> None:
    """Its slopes in the parameters are the differences of its losses."""
    for which in _each(law_class):
        law = clone(_examples(law_class)[which])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)
            pair = law.example_slopes(np.random.default_rng(3))
        if pair is None:
            continue
        given, found = pair
        scale = np.abs(found).max(axis=(0, 1))
        for k in range(given.shape[2]):
            _close(
                given[..., k], found[..., k], law, f"slope in internal parameter {k} against differences",
                rtol=1e-4, atol=1e-6 + 1e-5 * float(scale[k]),
            )  # fmt: skip


def check_gradient(law_class: type[Law]) -> None:
    """d prediction / d column is the difference of predictions."""
    for which in _each(law_class):
        law, (_, _, there) = _fitted(law_class, which), _data(law_class, which)
        X = {name: values[:12] for name, values in there.items()}
        for name in law.domain_names:  # away from the edges, where a difference to both sides exists
            X[name] = 0.5 * X[name] + 0.5 * X[name].mean()
        gradient = law.gradient(X)
        columns = [str(n) for n in law.feature_names_in_]
        _require(
            gradient.shape == (12, 1, len(columns)) and np.isfinite(gradient).all(), law, f"gradient {gradient.shape}"
        )
        if not law.smooth:
            continue
        for j, name in enumerate(columns):
            h = 1e-4 * (np.abs(X[name]) if np.abs(X[name]).max() > 1 else np.ones(12))
            up, down = law.predict({**X, name: X[name] + h}), law.predict({**X, name: X[name] - h})
            slope = (up - down) / (2 * h)
            _close(
                gradient[:, 0, j], slope, law, f"gradient in {name}",
                rtol=1e-3, atol=2e-3 * (float(np.abs(slope).max()) + 1e-9),
            )  # fmt: skip


def check_order(law_class: type[Law]) -> None:
    """The order of rows and of named columns does not matter; nor that of domains, where the law says so."""
    for which in _each(law_class):
        law, (X, y, there) = _fitted(law_class, which), _data(law_class, which)
        rng = np.random.default_rng(2)
        seen = _noisy(law, y, np.random.default_rng(1))
        rows = rng.permutation(len(y))
        predicted = law.predict(there)
        shuffled = dict(reversed(list(there.items())))
        _close(law.predict(shuffled), predicted, law, "predictions with columns in another order", rtol=1e-12)
        other = _quiet(clone(law), {name: v[rows] for name, v in X.items()}, seen[rows])
        _close(other.predict(there), predicted, law, "predictions after a fit to rows in another order", rtol=1e-5)
        if law.permutation_invariant or law.kind == "scale":
            names = [list(X)[i] for i in rng.permutation(len(X))]
            other = _quiet(clone(law), {name: X[name] for name in names}, seen)
            _close(
                other.predict(there), predicted, law, "predictions after a fit to columns in another order", rtol=1e-5
            )


def check_refit(law_class: type[Law]) -> None:
    """A second fit of the same object, and a fit of a clone, give the same predictions to the last digit."""
    for which in _each(law_class):
        law, (X, y, there) = _fitted(law_class, which), _data(law_class, which)
        seen, predicted = _noisy(law, y, np.random.default_rng(1)), law.predict(there)
        again = _quiet(clone(law), X, seen)
        _close(again.predict(there), predicted, law, "predictions of a clone", rtol=0.0)
        if not law.costly:
            _close(_quiet(again, X, seen).predict(there), predicted, law, "predictions of a second fit", rtol=0.0)


def check_json(law_class: type[Law]) -> None:
    """Saved and read back it is the same law, intervals and parameters included."""
    for which in _each(law_class):
        law, (_, _, there) = _fitted(law_class, which), _data(law_class, which)
        text = law.to_json()
        back = Law.from_json(text)
        _require(
            json.loads(back.to_json()) == json.loads(text), law, "saved again, the law read back gives another text."
        )
        _close(back.predict(there), law.predict(there), law, "predictions of the saved law", rtol=0.0)
        for a, b in zip(back.predict_interval(there, 0.8), law.predict_interval(there, 0.8)):
            _close(a, b, law, "intervals of the saved law", rtol=1e-12)


def check_scale_of_y(law_class: type[Law]) -> None:
    """Losses a thousand times larger or smaller give predictions a thousand times larger or smaller."""
    for which in _each(law_class):
        law, (X, y, there) = _fitted(law_class, which), _data(law_class, which)
        seen, predicted = _noisy(law, y, np.random.default_rng(1)), law.predict(there)
        if not law.unit_free or np.isfinite(law.response.range[1]):  # a share has no unit
            continue
        for factor in (1e-3, 1e3):
            other = _quiet(clone(law), X, factor * seen)
            _close(
                other.predict(there) / factor, predicted, law, f"predictions of losses times {factor:g}",
                rtol=1e-3, atol=0.02 * float(np.ptp(seen)) if law.costly else 0.0,
            )  # fmt: skip


def check_scale_of_counts(law_class: type[Law]) -> None:
    """Sizes and token counts in another unit, up to 1e13, give the same predictions."""
    for which in _each(law_class):
        law, (X, y, there) = _fitted(law_class, which), _data(law_class, which)
        columns = [name for name in law.count_columns if name in X]
        if not columns or not law.unit_free:
            continue
        factor = 1e13 / max(float(X[name].max()) for name in columns)
        raw, away = ({**rows, **{n: factor * rows[n] for n in columns}} for rows in (X, there))
        other = _quiet(clone(law), raw, _noisy(law, y, np.random.default_rng(1)))
        _close(other.predict(away), law.predict(there), law, f"predictions of counts times {factor:.3g}", rtol=1e-4)


def check_targets(law_class: type[Law]) -> None:
    """One target gives (n,), several give (n, T), of predictions and intervals alike; intervals nest and are finite."""
    law, (X, y, there) = clone(_examples(law_class)[0]), _data(law_class, 0)
    n = len(next(iter(there.values())))
    one = _fitted(law_class, 0)
    rng = np.random.default_rng(1)
    two = law if law.costly else _quiet(law, X, {"first": _noisy(law, y, rng), "second": _second(law, y, rng)})
    for fitted, shape in ((one, (n,)), (two, (n, 2))):
        if fitted is law and law.costly:
            continue
        low, high = fitted.predict_interval(there, 0.9)
        _require(fitted.predict(there).shape == low.shape == high.shape == shape, law, f"shapes are not {shape}.")
        _require(
            np.isfinite(low).all() and np.isfinite(high).all() and (high > low).all(), law, "an interval is empty."
        )
        wider = fitted.predict_interval(there, 0.99)
        _require((wider[0] <= low + 1e-12).all() and (wider[1] >= high - 1e-12).all(), law, "99% lies inside 90%.")


def check_summary(law_class: type[Law]) -> None:
    """Its summary names it and holds no NaN."""
    for which in _each(law_class):
        law = _fitted(law_class, which)
        text = law.summary()
        _require(type(law).__name__ in text and "nan" not in text.lower().split(), law, f"summary: {text}")


def check_refusals(law_class: type[Law]) -> None:
    """What cannot be used is refused by an error that says why."""
    law, (X, y, there) = _examples(law_class)[0], _data(law_class, 0)
    first = next(iter(X))
    hole = {**X, first: np.where(np.arange(len(y)) == 3, np.nan, X[first])}
    negative = {**X, first: np.where(np.arange(len(y)) == 3, -1.0, X[first])}
    few = {name: v[:1] for name, v in X.items()}
    lacking = {name: v for name, v in there.items() if name != first}
    cases: list[tuple[str, type[Exception], Callable[[], Any]]] = [
        ("NaN in X", DataError, lambda: clone(law).fit(hole, y)),
        ("a negative number in X", DataError, lambda: clone(law).fit(negative, y)),
        ("fewer losses than rows", DataError, lambda: clone(law).fit(X, y[:-1])),
        ("one row", MixlawError, lambda: clone(law).fit(few, y[:1])),
        ("a prediction before the fit", DataError, lambda: clone(law).predict(there)),
        ("a missing column", DataError, lambda: _fitted(law_class, 0).predict(lacking)),
    ]  # fmt: skip
    for what, error, call in cases:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MixlawWarning)
                call()
        except error as said:
            _require(len(str(said)) > 20, law, f"{what} is refused without saying why: {said}")
        else:
            _require(False, law, f"{what} is not refused.")


def check_atoms(law_class: type[Law]) -> None:
    """Its atoms, where it has them, are the law; targets called convex have no direction of negative curvature."""
    law, (_, _, there) = _fitted(law_class, 0), _data(law_class, 0)
    atoms = law.atoms()
    if atoms is None:
        return
    R = np.column_stack([there[str(n)] for n in law.feature_names_in_])
    _close(atoms.value(R)[:, 0], law.predict(there), law, "value of the atoms", rtol=0.0, atol=1e-9)
    for r in R[:5]:
        for t in np.flatnonzero(atoms.convex()):
            least = float(np.linalg.eigvalsh(atoms.hessian(r)[t]).min())
            _require(least > -1e-9, law, f"target {t} is called convex but has curvature {least:.2g}.")


def check_interval_coverage(law_class: type[Law]) -> None:
    """Its 90% intervals hold new observations in 78% to 100% of cases over simulated data sets."""
    law = _examples(law_class)[0]
    _interval_coverage(law, 2 if law.costly else 12)


def check_parameter_coverage(law_class: type[Law]) -> None:
    """90% intervals of the parameters hold the truth in 70% of cases and more over simulated data sets."""
    law = _examples(law_class)[0]
    _parameter_coverage(law, 4 if law.costly else 30)


def check_other_examples(law_class: type[Law]) -> None:
    """Both coverages, of the examples after the first."""
    for law in _examples(law_class)[1:]:
        _interval_coverage(law, 2 if law.costly else 8)
        _parameter_coverage(law, 4 if law.costly else 15)


def _interval_coverage(law: Law, num: int) -> None:
    inside: list[float] = []
    for seed in range(num):
        rng = np.random.default_rng(100 + seed)
        X, there = law.example_rows(40, rng), law.example_rows(40, rng)
        fitted = _quiet(clone(law), X, _noisy(law, law.example_losses(X), rng))
        low, high = fitted.predict_interval(there, 0.9)
        seen = _noisy(law, law.example_losses(there), rng)
        inside.append(float(np.mean((seen >= low) & (seen <= high))))
    coverage = float(np.mean(inside))
    _require(coverage >= 0.78, law, f"90% intervals hold {coverage:.0%} of new observations.")


def _parameter_coverage(law: Law, num: int) -> None:
    truth, options = law.example_truth(), law.coverage_options
    if not truth or options is None:
        return
    inside: list[bool] = []
    for seed in range(num):
        rng = np.random.default_rng(200 + seed)
        X = law.example_rows(_ROWS, rng)
        fitted = _quiet(clone(law).set_params(**options), X, _noisy(law, law.example_losses(X), rng))
        for name, value in truth.items():  # a number, or one per domain
            low, high = map(np.ravel, fitted.intervals_[name])
            inside += ((low <= np.ravel(value)) & (np.ravel(value) <= high)).tolist()
    coverage = float(np.mean(inside))
    _require(coverage >= 0.7, law, f"90% intervals hold the true parameters in {coverage:.0%} of cases.")


STATISTICAL: dict[str, Callable[[type[Law]], None]] = {
    "interval coverage": check_interval_coverage,
    "parameter coverage": check_parameter_coverage,
    "coverage of other examples": check_other_examples,
}
"""Checks that simulate many data sets."""

CHECKS: dict[str, Callable[[type[Law]], None]] = {
    "declaration": check_declaration,
    "recovery": check_recovery,
    "slopes": check_slopes,
    "gradient": check_gradient,
    "order": check_order,
    "refit": check_refit,
    "json": check_json,
    "scale of y": check_scale_of_y,
    "scale of counts": check_scale_of_counts,
    "targets": check_targets,
    "summary": check_summary,
    "refusals": check_refusals,
    "atoms": check_atoms,
    **STATISTICAL,
}
"""Name to check; each takes the class and raises :class:`ContractError`."""
