"""The strategy that plans the rest of a run by a law of its own losses, on runs whose law is known."""

import numpy as np
import pytest

from mixlaw.data.mixture import Schedule
from mixlaw.errors import ConfigError
from mixlaw.train.recency_law import History, fit_sets, prior_draws
from mixlaw.train.strategies.replan import Replan

STEPS = 600


def strategy(count=3, objective=None, **options):
    names = [f"d{i}" for i in range(count)]
    objective = objective or dict.fromkeys(names, 1 / count)
    return Replan(
        Schedule.constant(dict.fromkeys(names, 1 / count)),
        STEPS,
        objective,
        {name: name for name in names},
        batch_tokens=1024,
        **options,
    )


def simulated(seed, outside=False, rho=1.0, noise=0.01, **options):
    """Train a made-up model whose losses follow the law with transfer and recency; returns losses and weights."""
    rng, count = np.random.default_rng(seed), 3
    replan = strategy(count, {"x": 1.0} if outside else None, explore=0.35, **options)
    sets = 1 if outside else count
    E, C, a = rng.uniform(1, 2.5, sets), rng.uniform(0.4, 1.6, sets), rng.uniform(0.15, 0.45, sets)
    T = np.exp(rng.normal(np.log(0.15), 1, (sets, count)))
    if not outside:
        np.fill_diagonal(T, 1)
    drawn, recent = np.zeros((STEPS, count)), (np.arange(STEPS) + 0.5) ** rho

    def losses(weights, until):
        mean = recent[:until] @ weights[:until] / recent[:until].sum()
        return E + C * (until / STEPS * (T @ mean)) ** -a

    for step in range(STEPS):
        shown = None
        if replan.asks(step):
            seen = losses(drawn, step) + noise * rng.standard_normal(sets)
            shown = dict(zip(replan.sets, seen.tolist()))
        drawn[step] = replan.update(step, shown).array(replan.domains)
    equal = losses(np.full((STEPS, count), 1 / count), STEPS).mean()
    grid = np.random.default_rng(0).dirichlet(np.ones(count), 4000)
    best = min(np.mean(E + C * (T @ q) ** -a) for q in grid)
    return losses(drawn, STEPS).mean() - equal, best - equal, drawn


def test_a_part_of_what_a_fixed_mixture_could_gain_is_gained_and_none_is_worse():
    """The losses follow a power of the effective tokens, which is not the law that is fitted."""
    results = [simulated(seed, outside=True)[:2] for seed in (1, 2)]
    gained, attainable = np.array(results).T
    assert (gained < 1e-3).all()
    assert gained.sum() < 0.25 * attainable.sum()


def test_where_probes_are_nothing_but_noise_the_weights_stay_near_the_base():
    """Losses that no domain moves: caution keeps what cannot be known from moving the mixture far."""
    replan, rng = strategy(explore=0.35), np.random.default_rng(0)
    weights = []
    for step in range(STEPS):
        shown = {n: float(3 + 0.1 * rng.standard_normal()) for n in replan.domains} if replan.asks(step) else None
        weights.append(replan.update(step, shown).array(replan.domains))
    assert np.abs(np.mean(weights, axis=0) - 1 / 3).max() < 0.12


def test_without_a_set_of_no_domain_nothing_is_explored():
    replan = strategy()
    assert not replan.needs
    assert not any(replan.asks(step) for step in range(STEPS))
    assert replan.update(0) == replan.update(STEPS - 1)


def test_limits_of_the_whole_run_are_kept_exactly():
    limits = {
        "high": {"d0": 0.2},
        "low": {"d2": 0.3},
        "rows": [{"d1": 2.0, "d2": 1.0}],
        "upper": [1.25],
    }
    *_, drawn = simulated(1, limits=limits)
    mean = drawn.mean(axis=0)
    assert mean[0] <= 0.2 + 1e-6
    assert mean[2] >= 0.3 - 1e-6
    assert 2 * mean[1] + mean[2] <= 1.25 + 1e-6


@pytest.mark.parametrize(
    ("rows", "upper"),
    [([{"d0": 1.0, "d1": 1.0}], [0.25]), ([{"d0": 1.0, "d1": 2.0, "d2": 8.0}], [2.0])],
)
def test_a_base_outside_the_limits_of_groups_and_prices_is_moved_into_them_from_the_first_step(rows, upper):
    """Equal weights have 0.667 in the group, and cost 3.67: what is explored must leave the rest possible."""
    *_, drawn = simulated(0, outside=True, limits={"rows": rows, "upper": upper})
    cost = np.array([rows[0].get(f"d{i}", 0.0) for i in range(3)])
    assert drawn.mean(axis=0) @ cost <= upper[0] + 1e-6
    assert drawn[0] @ cost <= upper[0] + 1e-6
    assert np.ptp(drawn[: STEPS // 2], axis=0).max() > 0.1  # it explores still


def test_the_base_follows_the_objective():
    even = strategy().base
    assert even == pytest.approx(np.full(3, 1 / 3), abs=1e-3)
    uneven = strategy(objective={"d0": 0.6, "d1": 0.3, "d2": 0.1}).base
    assert uneven[0] > uneven[1] > uneven[2] > 0


def test_the_mean_mixture_counts_late_tokens_more():
    history = History(np.array([0.5, 1.0]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert history.mean(1.0, 0.0).tolist() == [0.5, 0.5]
    assert history.mean(1.0, 1.0) == pytest.approx([0.25, 0.75])  # the integral of 2 v from 0 to 1/2 is 1/4
    assert history.mean(0.5, 1.0).tolist() == [1.0, 0.0]


def test_a_known_law_is_found():
    """Probes of a varied run without noise: what a share brings, and which domain is worth more to an outside set."""
    rng = np.random.default_rng(0)
    history = History(np.linspace(0.05, 1, 20), rng.dirichlet([0.5, 0.5], 20))
    u, base = np.linspace(0.05, 1, 20), np.full(2, 0.5)
    share = np.array([history.mean(x, 1.0) for x in u]) @ [1.0, 0.1] / (base @ [1.0, 0.1])
    y = 1.5 + u**-0.3 + 2 * 0.5 * (share**-0.5 - 1)
    (own,) = fit_sets(history, u, y[:, None], [0], 1.0, base)
    assert np.exp(own.theta[3]) == pytest.approx(0.5, rel=0.25)
    (outside,) = fit_sets(history, u, y[:, None], [None], 1.0, base)
    assert np.exp(outside.theta[5] - outside.theta[4]) < 0.4


def test_what_is_wrong_is_explained():
    with pytest.raises(ConfigError, match=r"'dd', which is no domain of this run\. Did you mean"):
        strategy(limits={"high": {"dd": 0.5}})
    with pytest.raises(ConfigError, match="No mixture satisfies"):
        strategy(limits={"high": {"d0": 0.2, "d1": 0.2, "d2": 0.2}})
    with pytest.raises(ConfigError, match="satisfies the limits of replan together"):
        strategy(limits={"high": {"d2": 0.5}, "rows": [{"d0": 1.0, "d1": 1.0}], "upper": [0.4]})
    with pytest.raises(ConfigError, match=r"explore=0\.9"):
        strategy(explore=0.9)
    assert prior_draws([0, None], 2).T[0].tolist() == [pytest.approx([1.0, 0.08]), pytest.approx([1.0, 1.0])]
