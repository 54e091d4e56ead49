"""A hypothesis strategy: corpora with budgets of every kind that are feasible by construction."""

import numpy as np
from hypothesis import strategies as st

from mixlaw import Budget, Corpus
from mixlaw.data.budget import Group, Limit


@st.composite
def budgets(draw):
    """A corpus and a budget that is feasible by construction: a known mixture satisfies it."""
    k = draw(st.integers(2, 6))
    weights = np.array(draw(st.lists(st.floats(0.02, 1), min_size=k, max_size=k)))
    inside = weights / weights.sum()
    room = draw(st.sampled_from([0.0, 0.01, 0.3]))
    names = [f"d{j}" for j in range(k)]
    corpus = Corpus.declared({n: draw(st.integers(100, 10**6)) for n in names}, source="test")
    which = st.lists(st.sampled_from(names), unique=True)
    floors = {n: max(0.0, inside[names.index(n)] - room) for n in draw(which)}
    caps = {n: min(1.0, inside[names.index(n)] + room) for n in draw(which)}
    groups = {}
    if draw(st.booleans()):
        total = min(1.0, float(inside[:2].sum()))  # of two domains in all, the sum may round to above 1
        groups["g"] = Group(("d0", "d1"), max(0.0, total - room), min(1.0, total + room))
    limits = {}
    if draw(st.booleans()):
        cost = {n: draw(st.floats(0, 2)) for n in names}
        limits["fee"] = Limit(cost, 1000 * (float(sum(cost[n] * w for n, w in zip(names, inside))) + room))
    return corpus, Budget(tokens=1000, floors=floors, caps=caps, groups=groups, limits=limits)
