"""Mixtures, schedules and budgets: most of them sound, some with a fault or two, the rest anything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fuzz.odd import mutated, plain_data, scalars, short_texts
from fuzz.sound_runs import DOMAINS


@st.composite
def sound_mixtures(draw: Any, domains: tuple[str, ...] = ()) -> dict[str, float]:
    """Weights that sum to one within what rounding leaves."""
    names = domains or tuple(draw(st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=5, unique=True)))
    parts = [draw(st.sampled_from((0, 0, 1, 2, 3, 7, 1000))) for _ in names]
    if not sum(parts):
        parts[-1] = 1
    digits = draw(st.sampled_from((17, 17, 9, 7)))
    return {name: round(part / sum(parts), digits) for name, part in zip(names, parts)}


mixtures = st.one_of(
    sound_mixtures(),
    sound_mixtures(),
    sound_mixtures().flatmap(lambda m: mutated(m, most=1)),
    sound_mixtures().map(lambda m: list(m.items())),
    st.dictionaries(short_texts, scalars, max_size=3),
    plain_data,
)


@st.composite
def _sound_schedules(draw: Any) -> dict[str, Any]:
    domains = tuple(draw(st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=4, unique=True)))
    fractions = draw(st.sampled_from(((1.0,), (0.5, 0.5), (0.8, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.1,) * 10, (1,))))
    return {"phases": [{"fraction": f, "weights": draw(sound_mixtures(domains))} for f in fractions]}


schedules = st.one_of(
    _sound_schedules(), _sound_schedules(), _sound_schedules().flatmap(lambda s: mutated(s, most=2)), plain_data
)

_COUNTS = {"web": 10**13, "code": 4 * 10**11, "wiki": 5 * 10**9, "a b": 10**9}


@st.composite
def budgets(draw: Any) -> tuple[Any, dict[str, int]]:
    """``(plain data of a budget, unique tokens)``."""
    names = draw(st.lists(st.sampled_from(sorted(_COUNTS)), min_size=2, max_size=4, unique=True))
    budget: dict[str, Any] = {"tokens": draw(st.sampled_from(("2.5B", "300B", 10**9, "1e12")))}
    share = st.sampled_from((0.0, 0.05, 0.1, 0.25, 0.3, 1 / 3))
    if draw(st.booleans()):
        budget["max_epochs"] = draw(st.sampled_from((4, 1, 0.5, 16.0, {names[0]: 4, names[1]: 0.5})))
    if draw(st.booleans()):
        budget["floors"] = {name: draw(share) for name in draw(st.lists(st.sampled_from(names), max_size=2))}
    if draw(st.booleans()):
        budget["caps"] = {draw(st.sampled_from(names)): draw(st.sampled_from((0.4, 0.5, 0.9, 1.0)))}
    if draw(st.booleans()):
        budget["groups"] = {
            "some": {"domains": names[:2], "floor": draw(share), "cap": draw(st.sampled_from((0.6, 0.9, 1)))}
        }
    if draw(st.booleans()):
        cost = draw(st.sampled_from((2e-6, 1e-9, 1.0, 0.0)))
        budget["limits"] = {
            "fees": {"cost_per_token": {names[0]: cost}, "total": draw(st.sampled_from((5000, 1e6, 0, 1e13)))}
        }
    if draw(st.integers(0, 3)) == 0:
        budget = draw(mutated(budget, most=2))
    counts = {name: _COUNTS[name] for name in names}
    if draw(st.integers(0, 4)) == 0:
        counts[draw(st.sampled_from(names))] = draw(st.sampled_from((1, 1000, 10**6, 10**16)))
    return budget, counts
