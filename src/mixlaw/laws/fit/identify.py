"""What the runs of a fit do not know: directions of the parameters along which it gets no worse, in words.

    found = unknown(law, problem, columns, elsewhere)   # None where the runs know the law
    found.text, found.rivals, found.run

Three steps, the same for every law. (1) Singular values of the Jacobian at the optimum, rows weighted and parameters in
coordinates and units in which a change of 1 is large (an exponent by its declared size, a term by a factor of e), say
how far each direction could move before the fit gets worse than the noise. (2) Along those that could move far the
parameters are moved and all others fitted again, which confirms it or not; what fits as well as the optimum is kept,
and so is every other end of the fit's starts that does. (3) These rivals are asked about plausible runs around the
given ones. Only where they disagree there, or on an exponent, is something unknown: parameters that only trade names
are not.

Legend: B, n, P as in :mod:`mixlaw.laws.fit.engine`; R rivals, C candidate runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from mixlaw.data.columns import COUNTS
from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.columns import WEIGHTS
from mixlaw.laws.core.parameters import Free, Layout
from mixlaw.laws.fit.coordinates import uncoupled
from mixlaw.laws.fit.engine import Ints, fit_batch
from mixlaw.laws.fit.objective import Objective
from mixlaw.laws.fit.profile import ProfileProblem, curvature, student

if TYPE_CHECKING:
    from mixlaw.laws.fit.scale_form import ScaleForm

__all__ = ["Unknown", "candidates", "common_line", "moving_together", "unknown", "wrong_signs"]

_LEVEL = 0.98
_FAR = 0.4  # standard deviations of a direction from which a move by 1 may be within the noise
_STEPS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # along a direction, in units of what is large
_SHIFTS = (0.05, 0.15, 0.4, 1.0, 2.5)  # of a prediction, in shares of the runs' range
_LAX = 0.05  # of a unit, or of the runs' range
_PLACES = 4
_OTHERS = 2
_INSIDE = 0.2  # rivals that differ by more than this share of the runs' range at a plausible run disagree
_BEYOND = 0.5  # the same at a run beyond the given ones
_FACTOR = 2.5  # ... or whose exponents differ by more than this factor
_INTERPOLATED = 1e-3  # relative noise to reckon with where there are as many parameters as runs: nothing measures it


_Way = Callable[[Array, Ints, Array], tuple[Array, Array]]
"""Theta (B, P), the path of each (B,) and how far that has to go (B,) to how far it is from there (B,), and the slopes
of that (B, P)."""


@dataclass(frozen=True)
class Unknown:
    """What one target's runs leave free.

    Attributes:
        text: the direction, and the run that would tell, in words.
        rivals: (R, P) internal parameters that fit as well as the optimum.
        run: columns of the candidate run at which the rivals differ most for what it costs.
        exponents: names of exponents whose value the runs do not know.
        spread: how far the rivals' predictions lie apart at ``run``, in the unit of y.

    Example:
        >>> Unknown("alpha is not known", np.zeros((1, 2)), {"params": 1e8}, ("alpha",), 0.2).run
        {'params': 100000000.0}
    """

    text: str
    rivals: Array
    run: dict[str, float]
    exponents: tuple[str, ...]
    spread: float


def unknown(law: ScaleForm, problem: ProfileProblem, columns: Sequence[Array], others: Array) -> Unknown | None:
    """What the rows of one target of a fitted law leave free; None where they know the law.

    Args:
        law: fitted.
        problem: the target's fit.
        columns: of its rows that count, in the law's order: (n,) each, weights (n, K).
        others: (S, P) where the fit's other starts ended.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> X = Chinchilla().example_rows(20, np.random.default_rng(0))
        >>> law = Chinchilla().fit(X, Chinchilla().example_losses(X))
        >>> unknown(law, law._identify_problem(0), tuple(X.values()), law.theta_) is None
        True
    """
    if not np.isfinite(_objective(problem, problem.best[None])).all():
        return None  # no fit was found at all, which is said elsewhere
    H, noise, dof = curvature(problem)
    n = int((problem.weight > 0).sum())
    if n <= len(problem.best):
        noise = max(noise, _INTERPOLATED**2)
    directions, sd = _directions(law, problem, H, noise)
    rise = 0.5 * noise * student(_LEVEL, dof) ** 2
    at_best = _objective(problem, problem.best[None])[0]
    limit = at_best + rise + 1e-12 * abs(at_best)
    found = [problem.best[None]]
    if others.shape[1:] != problem.best.shape:
        others = others[:0, :1] * problem.best
    found.append(others[_objective(problem, others) <= limit])
    far = directions[sd > _FAR]
    inside, beyond = candidates(law, columns)
    if len(far):
        found.append(_moved_along(problem, far, rise, limit))
    rivals = np.concatenate(found)
    if len(rivals) == 1:
        return _by_form_alone(law, rivals, columns, inside)
    places = tuple(np.concatenate(pair) for pair in zip(inside, beyond))
    if len(far) and len(places[0]):
        moved = _moved_at(law, problem, H, rivals, others, columns, places, rise, limit)
        rivals = np.concatenate([rivals, moved])
    found_out = _consequences(law, rivals, columns, places, len(inside[0]))
    return found_out or _by_form_alone(law, rivals, columns, inside)


def _directions(law: ScaleForm, problem: ProfileProblem, H: Array, noise: float) -> tuple[Array, Array]:
    """Linear functions (P, P) of theta, one a row, that the runs know independently, each in a unit in which 1 is
    large, and the standard deviations (P,) to which they know them."""
    coordinates = _coordinates(problem)
    unit = _units(law.layout, len(problem.best))
    back = np.linalg.inv(coordinates) * unit  # theta of coordinates in units of what is large
    values, vectors = np.linalg.eigh(back.T @ H @ back)
    floor = 1e-14 * max(float(values[-1]), 1e-300)
    with np.errstate(over="ignore"):
        sd = np.sqrt(noise / np.maximum(values, floor))
    sd[values <= 1e-12 * max(float(values[-1]), 1e-300)] = np.inf  # rounding: nothing is known at all
    return vectors.T @ (coordinates / unit[:, None]), sd


def _coordinates(problem: ProfileProblem) -> Array:
    """(P, P) in which no two parameters do nearly the same to the predictions at the optimum."""
    f, J = problem.model(problem.best[None], np.zeros(1, dtype=np.int64))
    root = np.sqrt(problem.weight)[:, None] / (f[0][:, None] if problem.log else 1.0)
    J = J[0] * root
    size = np.sqrt((J**2).sum(axis=0))
    left = np.isfinite(problem.bounds[0]) | np.isfinite(problem.bounds[1])
    with np.errstate(all="ignore"):
        return uncoupled(J, left | (size < 1e-3 * size.max()))  # nothing is measured by a term that has all but gone


def _units(layout: Layout, size: int) -> Array:
    """(P,) what is a large change of each internal parameter: 1 in a logarithm, a free one by its declared size."""
    unit = np.ones(size)
    for name, parameter in layout.parameters.items():
        if isinstance(parameter, Free):
            start = np.abs(parameter.theta(parameter.truth(layout.num_domains)))
            unit[layout.slices[name]] = np.where(start > 0, start, 0.3)
    return unit


def _evaluated(problem: ProfileProblem) -> tuple[Array, Objective]:
    seen = problem.weight > 0
    y = np.where(seen, problem.y, 1.0)
    Y = np.log(y)[None] if problem.log else y[None]
    side = None if problem.side is None else problem.side[None]
    none = np.zeros((1, len(problem.best)))
    loss: Any = problem.loss
    return Y, Objective(Y, problem.weight[None], side, loss, problem.delta, problem.log, none, none)


def _objective(problem: ProfileProblem, theta: Array) -> Array:
    """(B,) of theta (B, P), without any prior."""
    objective = _evaluated(problem)[1]
    with np.errstate(all="ignore"):
        f = problem.model(theta, np.zeros(len(theta), dtype=np.int64))[0]
        value = objective.residual(f, np.zeros(len(theta), dtype=np.int64))[0]
    return np.where(np.isfinite(value), value, np.inf)


def _moved_along(problem: ProfileProblem, directions: Array, rise: float, limit: float) -> Array:
    """Theta (M, P) within ``limit`` that were reached along each direction (D, P), to both sides."""
    along = np.concatenate([directions, -directions])
    steps = np.tile(_STEPS, (len(along), 1))
    straight = along / np.maximum((along**2).sum(axis=1, keepdims=True), 1e-300)
    ahead = np.clip(problem.best + steps[:, :, None] * straight[:, None], *problem.bounds)

    def way(theta: Array, path: Ints, step: Array) -> tuple[Array, Array]:
        return ((theta - problem.best) * along[path]).sum(axis=1) - step, along[path]

    return _walk(problem, way, ahead[:, :, None], steps, rise, limit)


def _moved_at(
    law: ScaleForm,
    problem: ProfileProblem,
    H: Array,
    rivals: Array,
    others: Array,
    columns: Sequence[Array],
    places: tuple[Array, ...],
    rise: float,
    limit: float,
) -> Array:
    """As :func:`_moved_along`, for predictions: each of the least known candidates is predicted higher and lower by
    shares of the runs' range, and all parameters are fitted again so that it is."""
    guess = law.values_at(rivals, places)  # (R, C)
    signal = max(float(np.ptp(law.values_at(rivals[:1], columns)[0])), 1e-12)
    J = law.value_and_slopes(rivals[:1], places)[1][0]
    with np.errstate(all="ignore"):
        local = np.sqrt(np.einsum("cp,pq,cq->c", J, np.linalg.pinv(H, rcond=1e-10, hermitian=True), J))
    by_fit = np.argsort(-(np.ptp(guess, axis=0) / signal + 1e-3 * np.nan_to_num(local)), kind="stable")
    by_place = np.argsort(-_distance(law, columns, places), kind="stable")
    unsure = np.unique(np.concatenate([by_fit[:_PLACES], by_place[:_PLACES]]))
    place = np.concatenate([unsure, unsure])
    # outwards from what the rivals found so far already predict
    end = np.concatenate([guess[:, unsure].max(axis=0), guess[:, unsure].min(axis=0)])
    nearest = np.concatenate([guess[:, unsure].argmax(axis=0), guess[:, unsure].argmin(axis=0)])
    step = signal * np.concatenate([np.tile(_SHIFTS, (len(unsure), 1)), np.tile(_SHIFTS, (len(unsure), 1)) * -1.0])

    def way(theta: Array, path: Ints, step: Array) -> tuple[Array, Array]:
        value, slopes = law.value_and_slopes(theta, places)
        row = np.arange(len(theta))
        wanted = np.maximum(end[path] + step, 0.05 * end[path])
        return (value[row, place[path]] - wanted) / signal, slopes[row, place[path]] / signal

    declared = law.layout.join({n: v[None] if v.size > 1 else v for n, v in law.layout.truth().items()})[0]
    declared = np.clip(np.append(declared, problem.best[len(declared) :]), *problem.bounds)
    more = np.concatenate([declared[None], others[:_OTHERS]])
    starts = np.concatenate([rivals[nearest][:, None], np.tile(more, (len(place), 1, 1))], axis=1)
    return _walk(problem, way, starts[:, None], step, rise, limit)


def _distance(law: ScaleForm, columns: Sequence[Array], places: Sequence[Array]) -> Array:
    """(C,) distance of candidates to the nearest run: sizes in logarithms, over each column's range."""
    total = np.zeros((len(places[0]), len(columns[0])))
    for name, run, place in zip(law.columns, columns, places):
        if name == WEIGHTS:
            total += ((place[:, None] - run[None]) ** 2).sum(axis=2)
            continue
        a, b = (np.log(np.maximum(v, 1e-300)) for v in (place, run))
        total += ((a[:, None] - b[None]) / max(float(np.ptp(b)), 1e-9)) ** 2
    return np.asarray(total.min(axis=1))


def _walk(problem: ProfileProblem, way: _Way, starts: Array, steps: Array, rise: float, limit: float) -> Array:
    """Theta (M, P) within ``limit``: paths (D,) go by their steps (D, G), each from where the last step within the
    limit ended, and from starts (D, G or 1, S, P) of their own: a valley that bends is followed, and another found."""
    G = steps.shape[1]
    last = np.tile(problem.best, (len(steps), 1))
    found = [last[:0]]
    for g in range(G):
        step = steps[:, g]

        def held(theta: Array, which: Ints, step: Array = step) -> tuple[Array, Array]:
            return way(theta, which, step[which])

        own = starts[:, min(g, starts.shape[1] - 1)]
        end = _held(problem, held, np.concatenate([last[:, None], own], axis=1), rise)
        ok = _objective(problem, end) <= limit
        found.append(end[ok])
        last = np.where(ok[:, None], end, last)
    return np.concatenate(found)


def _held(
    problem: ProfileProblem, way: Callable[[Array, Ints], tuple[Array, Array]], starts: Array, rise: float
) -> Array:
    """Optima (M, P) of fits from starts (M, S, P) in which ``way(theta, which)``, (B,) with slopes (B, P), is held
    near 0. It is one more observation; to miss it by ``_LAX`` costs what the noise allows, so that paths may bend."""
    M = len(starts)
    unit = 0.05 * problem.delta if problem.loss == "huber" else 1.0  # so that Huber's loss sees it as a square
    weight = 2 * max(rise, 1e-24) / (_LAX * unit) ** 2

    def model(theta: Array, which: Ints) -> tuple[Array, Array]:
        with np.errstate(all="ignore"):
            f, J = problem.model(theta, which)
            off, slope = way(theta, which)
            last = np.exp(np.clip(off * unit, -50.0, 50.0)) if problem.log else off * unit
            slope = slope * (unit * last[:, None] if problem.log else unit)
        return np.concatenate([f, last[:, None]], axis=1), np.concatenate([J, slope[:, None, :]], axis=1)

    y = np.where(problem.weight > 0, problem.y, 1.0)
    Y = np.tile(np.append(y, 1.0 if problem.log else 0.0), (M, 1))
    W = np.tile(np.append(problem.weight, weight), (M, 1))
    side = None if problem.side is None else np.tile(np.append(problem.side, 0), (M, 1))
    loss: Any = problem.loss
    return fit_batch(
        model, Y, starts, loss=loss, delta=problem.delta, log=problem.log, weights=W, censored=side,
        bounds=problem.bounds, max_iter=60, gtol=1e-6, coordinates=_coordinates(problem),
    ).best().theta  # fmt: skip


# ---- what it means --------------------------------------------------------------------------------------
def _consequences(
    law: ScaleForm, rivals: Array, columns: Sequence[Array], places: tuple[Array, ...], num_inside: int
) -> Unknown | None:
    signal = float(np.ptp(law.values_at(rivals[:1], columns)[0]))
    values = law.values_at(rivals, places)
    spread = np.ptp(values, axis=0)
    spread_in, spread_out = spread[:num_inside], spread[num_inside:]
    free = _free_exponents(law, rivals)
    apart = bool((spread_in > _INSIDE * signal).any())
    far = bool((spread_out > _BEYOND * signal).any())
    if not (apart or far or free):
        return None
    outside = far and (not apart or spread_out.max() > 3 * spread_in.max())
    if not outside and num_inside:
        best = _telling(law, tuple(c[:num_inside] for c in places), spread_in)
    else:
        best = num_inside + _telling(law, tuple(c[num_inside:] for c in places), spread_out)
    run = _as_row(law, places, best)
    where = moving_together(law, columns)
    said = _ranges(law, rivals, free)
    text = f"{where} {said}" if where else said
    text += f" The run that would tell most for its cost: {_shown(run)}"
    text += f", where laws that fit alike differ by {spread[best]:.3g}."
    if apart:
        text += " Trust predictions along the runs only; intervals elsewhere are widened."
    elif far:
        text += " Trust predictions among the runs only; intervals beyond them are widened."
    return Unknown(text, _kept(law, rivals, values), run, tuple(free), float(spread[best]))


def _by_form_alone(
    law: ScaleForm, rivals: Array, columns: Sequence[Array], inside: tuple[Array, ...]
) -> Unknown | None:
    """Of columns that move together, though the fit has one optimum: the law's form is all that tells them apart."""
    where = moving_together(law, columns)
    if not where or not len(inside[0]):
        return None
    values = law.values_at(rivals[:1], inside)[0]
    at_rows = law.values_at(rivals[:1], columns)[0]
    J = law.value_and_slopes(rivals[:1], inside)[1][0]
    known = law.value_and_slopes(rivals[:1], columns)[1][0]
    unsure = np.sqrt(np.einsum("cp,pq,cq->c", J, np.linalg.pinv(known.T @ known, rcond=1e-14, hermitian=True), J))
    best = _telling(law, inside, np.nan_to_num(unsure))
    run = _as_row(law, inside, best)
    text = (
        f"{where} Only the law's form tells their effects apart. The run that would tell most for its cost: "
        f"{_shown(run)}, where {values[best]:.4g} is predicted (in the runs {at_rows.min():.4g} to "
        f"{at_rows.max():.4g})."
    )
    return Unknown(text, np.zeros((0, rivals.shape[1])), run, (), 0.0)


def _shown(run: Mapping[str, float]) -> str:
    return ", ".join(f"{k}={v:.3g}" for k, v in run.items())


def _exponents(law: ScaleForm, described: Mapping[str, Array]) -> list[str]:
    """Parameters that the family calls exponents and declares to be positive, and what was fitted beside those that it
    declares (a memory)."""
    beside = [name for name in described if name not in law.layout.parameters]
    return beside + [
        name
        for name, declared in law.layout.parameters.items()
        if "exponent" in declared.meaning and declared.per == "target" and float(np.min(declared.start)) > 0
    ]


def _free_exponents(law: ScaleForm, rivals: Array) -> list[str]:
    described = law.described(rivals)
    out = []
    for name in _exponents(law, described):
        low, high = float(described[name].min()), float(described[name].max())
        if low <= 0 < high or (low > 0 and high > _FACTOR * low):
            out.append(name)
    return out


def _ranges(law: ScaleForm, rivals: Array, free: Sequence[str]) -> str:
    """The parameters that move most among the rivals, with their ranges."""
    layout = law.layout
    unit = _units(layout, rivals.shape[1])
    moved = np.ptp(rivals, axis=0) / unit
    described = law.described(rivals)
    names = list(free)
    for name in sorted(layout.parameters, key=lambda k: -float(moved[layout.slices[k]].max())):
        if name not in names and float(moved[layout.slices[name]].max()) > 0.3 and len(names) < 5:
            names.append(name)
    shown = []
    for name in names:
        values = described[name]
        if values.ndim > 1:
            k = int(np.argmax(np.ptp(values, axis=0)))
            shown.append(f"{name} of {law.domain_names[k]} {_between(values[:, k])}")
        else:
            shown.append(f"{name} {_between(values)}")
    known = "these change together, and none is known by itself" if len(shown) > 1 else "it is not known"
    return f"The fit is as good with {', '.join(shown)}: {known}."


def _between(values: Array) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"


def moving_together(law: ScaleForm, columns: Sequence[Array]) -> str:
    """Columns that hold one value, or move together, in these rows, in words; empty where there are none.

    Args:
        columns: in the law's order, (n,) each and weights (n, K).

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> N = np.array([1e7, 1e8, 1e9])
        >>> moving_together(Chinchilla(), (N, 20 * N))
        'params and tokens move together: the runs fix E + A / N^alpha + B / D^beta along tokens = 20 params only.'
    """
    names = [n for n in law.columns if n != WEIGHTS]
    values = {n: np.log(np.maximum(c, 1e-300)) for n, c in zip(law.columns, columns) if n != WEIGHTS and (c > 0).all()}
    said = []
    for name in values:
        if float(np.ptp(values[name])) < 1e-9:
            said.append(f"{name} has one value in these runs: what it does by itself is not known.")
    moving = [n for n in names if n in values and float(np.ptp(values[n])) >= 1e-9]
    told: set[str] = set()
    for i, a in enumerate(moving):
        for b in [n for n in moving[i + 1 :] if n not in told]:
            line = common_line(a, values[a], b, values[b])
            if not line:
                continue
            told.add(b)
            fixed = law.formula.partition("=")[2].strip() or "the loss"
            said.append(f"{a} and {b} move together: the runs fix {fixed} along {line} only.")
    if WEIGHTS in law.columns:
        said += _weights_together(columns[list(law.columns).index(WEIGHTS)], _domains(law, columns))
    return " ".join(said)


def common_line(a: str, x: Array, b: str, y: Array) -> str:
    """The power law on which two columns move together, in words; empty where they do not.

    Args:
        a, b: their names.
        x, y: (n,) their logarithms.

    Example:
        >>> x = np.log([1e7, 1e8, 1e9])
        >>> common_line("params", x, "tokens", x + np.log(20)), common_line("params", x, "tokens", x[[1, 0, 2]])
        ('tokens = 20 params', '')
    """
    u, v = x - x.mean(), y - y.mean()
    if not (u @ u > 1e-18 and v @ v > 1e-18):
        return ""
    slope = float(u @ v / (u @ u))
    if float(((v - slope * u) ** 2).sum()) > 0.02 * float((v**2).sum()):
        return ""
    if abs(slope - 1) < 0.05:
        return f"{b} = {float(np.exp((y - x).mean())):.3g} {a}"
    return f"{b} = {float(np.exp(y.mean() - slope * x.mean())):.3g} {a}^{slope:.2f}"


def _domains(law: ScaleForm, columns: Sequence[Array]) -> list[str]:
    if law.fitted:
        return law.domain_names
    return [f"x{k}" for k in range(columns[list(law.columns).index(WEIGHTS)].shape[1])]


def _weights_together(W: Array, domains: Sequence[str]) -> list[str]:
    spread = np.ptp(W, axis=0)
    said = [
        f"{domains[int(k)]} has the same share in all runs: what it does is not known."
        for k in np.flatnonzero(spread < 1e-9)
    ]
    away = W - W.mean(axis=0)
    for i, j in product(range(W.shape[1]), repeat=2):
        if i >= j or min(spread[i], spread[j]) < 1e-9 or W.shape[1] < 3:
            continue
        a, b = away[:, i], away[:, j]
        if a @ b > 0 and (a @ b) ** 2 > (1 - 1e-6) * (a @ a) * (b @ b):
            said.append(f"{domains[i]} and {domains[j]} move together: the runs fix what both do, not what each does.")
    return said


def candidates(law: ScaleForm, columns: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Plausible runs around the given ones, in the law's columns: inside the range of each column (all combinations of
    a few of its values), and beyond the range of the runs (every size and count grown by half of its range).

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> N = np.array([1e7, 1e8, 1e9])
        >>> inside, beyond = candidates(Chinchilla(), (N, 20 * N))
        >>> len(inside[0]), beyond[0].tolist()
        (9, [10000000000.0])
    """
    names = list(law.columns)
    blocks, top = [], []
    many = len(names) <= 2
    for name, c in zip(names, columns):
        if name == WEIGHTS:
            mean = c.mean(axis=0)
            mixed = np.vstack([mean, 0.5 * mean + 0.5 * np.eye(c.shape[1]) * max(float(mean.sum()), 1e-9)])
            blocks.append(list(mixed))
            top.append([mean])
            continue
        distinct = np.unique(c)
        wanted = np.quantile(distinct, np.linspace(0, 1, 5 if many else 3), method="nearest")
        blocks.append(list(np.unique(wanted)))
        grown = distinct[-1] * np.sqrt(distinct[-1] / distinct[0]) if distinct[0] > 0 else distinct[-1]
        may_grow = name in COUNTS or (len(names) == 1 and name != "step")  # a schedule's steps come to an end
        top.append([grown] if may_grow else [distinct[-1]])
        if may_grow and len(names) == 1 and distinct[0] > 0:
            top[-1].append(distinct[0] * np.sqrt(distinct[0] / distinct[-1]))
    return _valid(law, list(product(*blocks))), _valid(law, list(product(*top)))


def _valid(law: ScaleForm, rows: list[tuple[Any, ...]]) -> tuple[Array, ...]:
    """The rows that the law can be asked about."""
    kept = []
    for row in rows:
        one = tuple(np.atleast_2d(v) if n == WEIGHTS else np.atleast_1d(float(v)) for n, v in zip(law.columns, row))
        try:
            law.check_rows(*one)
        except DataError:
            continue
        kept.append(one)
    if not kept:
        return tuple(np.zeros((0, 1)) if n == WEIGHTS else np.zeros(0) for n in law.columns)
    return tuple(np.concatenate(parts) for parts in zip(*kept))


def _telling(law: ScaleForm, rows: tuple[Array, ...], spread: Array) -> int:
    """The cheapest run at which the rivals differ by at least two thirds of the most that they do."""
    cost = np.ones(len(spread))
    for name, c in zip(law.columns, rows):
        if name in COUNTS or name == "step":
            cost = cost * c if name != "unique_tokens" else cost
    enough = spread >= spread.max() * 2 / 3
    order = np.lexsort((-spread, np.round(np.log(np.maximum(cost, 1e-300)), 6)))
    return int(next(i for i in order if enough[i]))


def _as_row(law: ScaleForm, rows: tuple[Array, ...], at: int) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, c in zip(law.columns, rows):
        if name == WEIGHTS:
            out |= {d: float(v) for d, v in zip(law.domain_names, c[at])}
        else:
            out[name] = float(c[at])
    return out


def _kept(law: ScaleForm, rivals: Array, values: Array) -> Array:
    """The rivals that are extreme somewhere: in a prediction (R, C) at a candidate, or in an
    exponent."""
    keep: set[int] = set()
    described = law.described(rivals)
    tables = [values] + [described[name][:, None] for name in _exponents(law, described)]
    for table in tables:
        keep |= {int(i) for i in table.argmin(axis=0)} | {int(i) for i in table.argmax(axis=0)}
    return rivals[sorted(keep - {0})]


def wrong_signs(law: ScaleForm, theta: Array) -> list[str]:
    """Exponents of one target's optimum (P,) that have the wrong sign, or stand where they may no longer fall.

    Example:
        >>> from mixlaw.laws import Chinchilla
        >>> law = Chinchilla()
        >>> wrong_signs(law, law.layout.join({**law.layout.truth(), "alpha": -0.1})[0])
        ['alpha']
    """
    described = law.described(theta[None])
    return [name for name in _exponents(law, described) if float(described[name][0]) <= 0]
