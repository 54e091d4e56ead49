import multiprocessing
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.kit.store import Store
from mixlaw.tokens.loader import Loader, schedule_quotas, validation
from mixlaw.tokens.shards import publish

SIZES = {"a": 1000, "b": 333, "c": 5000, "short": 7}
"""Domain ``i`` holds the ids 10000 i, 10000 i + 1, ...: every token says where it is from."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("shards")
    domains = []
    for i, (name, size) in enumerate(SIZES.items()):
        tokens = (10_000 * i + np.arange(size)).astype("<u2")
        count, digest = publish(root / name / "train.bin", [tokens])
        Store(root).write_json(f"{name}/index.json", {"dtype": "<u2", "train": {"tokens": count, "hash": digest}})
        domains.append(Domain(name, size, hash=digest))
    return root, Corpus(tuple(domains))


def loader(shards, schedule, steps=20, batch=4, context=16, **options):
    root, corpus = shards
    if isinstance(schedule, dict):
        schedule = Schedule.constant(Mixture(schedule))
    spec = RunSpec(schedule, tokens=steps * batch * context, batch=batch, context=context, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return Loader(spec, corpus, root)


def everything(made):
    return np.concatenate([made.batch(s) for s in range(made.num_steps)])


def of_domain(rows, i):
    return rows[rows[:, 0] // 10_000 == i] % 10_000


weights = st.lists(st.integers(0, 12), min_size=4, max_size=4).filter(any)


@st.composite
def schedules(draw, max_phases=4):
    cuts = draw(st.lists(st.integers(1, 20), min_size=1, max_size=max_phases))
    phases = [Phase(c / sum(cuts), Mixture.normalized(dict(zip(SIZES, map(float, draw(weights)))))) for c in cuts]
    return Schedule(tuple(phases))


@settings(max_examples=60, deadline=None)
@given(schedules(), st.integers(1, 3000))
def test_quotas_are_exact_to_one_sequence_per_phase_per_domain_and_in_all(schedule, total):
    table = schedule_quotas(schedule, total)
    exact = total * np.array([p.fraction * p.mixture.array() for p in schedule.phases])
    assert table.sum() == total
    assert np.all(np.abs(table - exact) < 1)
    assert np.all(np.abs(table.sum(axis=0) - exact.sum(axis=0)) < 1)
    assert np.all(np.abs(table.sum(axis=1) - exact.sum(axis=1)) < 1)
    assert np.all(table[exact == 0] == 0)


@settings(max_examples=25, deadline=None)
@given(schedules(), st.integers(1, 40), st.integers(1, 5), st.integers(1, 40), st.integers(0, 3))
def test_what_is_drawn_is_what_was_promised(shards, schedule, steps, batch, context, seed):
    made = loader(shards, schedule, steps, batch, context, seed=seed)
    rows = everything(made)
    assert rows.shape == (steps * batch, context + 1)
    assert rows.dtype == np.int64
    domain = np.concatenate([made.domains_of(s) for s in range(steps)])
    assert np.array_equal(rows[:, 0] // 10_000, domain)
    assert np.all(rows // 10_000 == domain[:, None])
    share = steps * batch * schedule.mixture.array()
    counts = np.bincount(domain, minlength=4)
    assert np.all(np.abs(counts - share) < 1)
    for j, (name, size) in enumerate(SIZES.items()):
        assert made.tokens()[name] == counts[j] * context
        assert made.epochs()[name] == pytest.approx(counts[j] * context / size)
        mine = of_domain(rows, j)
        # Every sequence is text as it stands in the domain, read as a ring.
        assert np.all((mine[:, 1:] - mine[:, :-1] - 1) % size == 0)
        per_epoch = -(-size // context)
        for start in range(0, len(mine), per_epoch):
            visited = mine[start : start + per_epoch, 0]
            assert len(set(visited.tolist())) == len(visited)
            if len(visited) == per_epoch:
                assert set(mine[start : start + per_epoch, :-1].ravel().tolist()) == set(range(size))


@settings(max_examples=15, deadline=None)
@given(schedules(), st.integers(1, 30), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_any_step_any_time_gives_the_same_batch(shards, schedule, steps, seed, random):
    made = loader(shards, schedule, steps, seed=seed)
    expected = [made.batch(s) for s in range(steps)]
    resumed = loader(shards, schedule, steps, seed=seed)
    order = list(range(steps))
    random.shuffle(order)
    for s in order:
        assert np.array_equal(resumed.batch(s), expected[s])


@settings(max_examples=40, deadline=None)
@given(schedules(1), st.integers(50, 400), st.integers(0, 5))
def test_every_prefix_of_a_phase_has_the_right_proportions(shards, schedule, steps, seed):
    made = loader(shards, schedule, steps, 2, 8, seed=seed)
    domain = np.concatenate([made.domains_of(s) for s in range(steps)])
    share = made.quotas[0] / made.quotas[0].sum()
    for j in range(4):
        drift = np.cumsum(domain == j) - share[j] * np.arange(1, len(domain) + 1)
        assert np.abs(drift).max() <= 1 + share[j] * 4


def test_the_realised_schedule_is_counted_from_what_is_drawn(shards):
    schedule = Schedule((Phase(0.3, Mixture({"a": 0.62, "b": 0.38})), Phase(0.7, Mixture({"a": 0.11, "b": 0.89}))))
    run = loader(shards, schedule, steps=7, batch=3)
    for steps in (7, 5, 2, 1):
        drawn = np.concatenate([run.domains_of(step) for step in range(steps)])
        realised = run.realised(steps)
        assert realised.mixture.array() == pytest.approx(np.bincount(drawn, minlength=2) / len(drawn))
        assert realised.num_phases == (2 if len(drawn) > run.quotas[0].sum() else 1)
    assert run.realised() == run.realised(7) and run.realised(0) is None
    assert run.realised().phases[0].fraction == run.quotas[0].sum() / 21


def test_seeds_and_epochs_have_orders_of_their_own(shards):
    def starts(seed):
        return of_domain(everything(loader(shards, {"a": 1.0}, 100, 4, 20, seed=seed)), 0)[:, 0]

    one, two = starts(0), starts(1)
    assert not np.array_equal(one, two)
    assert np.array_equal(one, starts(0))
    first, second = one[:50], one[50:100]
    assert not np.array_equal(first, second)
    assert set(first.tolist()) == set(second.tolist()) == set(range(0, 1000, 20))
    assert not np.array_equal(first, np.sort(first))


def test_phases_continue_where_the_domain_stands(shards):
    phases = tuple(Phase(0.5, Mixture({"a": w, "b": 1 - w, "c": 0, "short": 0})) for w in (0.25, 0.75))
    rows = of_domain(everything(loader(shards, Schedule(phases), 25, 2, 20)), 0)
    assert len(rows) == 25
    assert len(set(rows[:, 0].tolist())) == 25  # half an epoch over both phases: nothing twice


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0), (1.0, 1000), (0.001, 1), (0.999, 999)])
def test_extreme_weights(shards, weight, expected):
    made = loader(shards, {"a": weight, "b": 1 - weight}, 250, 4, 8)
    assert made.tokens()["a"] == expected * 8
    assert (made.epochs()["a"] == 0) == (expected == 0)


def test_a_weight_too_small_for_one_sequence_is_said(shards):
    root, corpus = shards
    spec = RunSpec(Schedule.constant(Mixture({"a": 0.999, "b": 0.001})), tokens=6400, batch=4, context=16)
    with pytest.warns(MixlawWarning, match=r"'b' has weight 0.001.*0.4 of this run's 400 sequences"):
        Loader(spec, corpus, root)


def test_a_domain_shorter_than_a_sequence_is_repeated(shards):
    made = loader(shards, {"short": 1.0}, 3, 2, 16)
    assert np.array_equal(made.batch(0)[0] % 10_000, np.arange(17) % 7)
    assert made.epochs()["short"] == pytest.approx(6 * 16 / 7)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5200), st.integers(7, 90), st.integers(0, 3))
def test_subsets_hold_exactly_their_tokens_and_grow_inside_each_other(shards, limit, context, seed):
    def seen(limit, seed):
        made = loader(shards, {"c": 1.0}, -(-5000 // context) + 1, 2, context, seed=seed, unique_tokens={"c": limit})
        rows = of_domain(everything(made), 2)
        assert made.epochs()["c"] == pytest.approx(len(rows) * context / min(limit, 5000))
        return set(rows[:, :-1].ravel().tolist())

    mine = seen(limit, seed)
    assert len(mine) == min(limit, 5000)
    assert mine == seen(limit, seed + 1)
    assert mine >= seen(max(1, limit // 3), seed)


def _first(arguments):
    root, corpus, spec, step = arguments
    return Loader(spec, corpus, root).batch(step)


@pytest.mark.slow
def test_worker_processes_see_the_same(shards):
    root, corpus = shards
    spec = RunSpec(Schedule.constant(Mixture({"a": 0.4, "c": 0.6})), tokens=10_240, batch=4, context=16)
    whole = Loader(spec, corpus, root)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        parts = pool.map(_first, [(root, corpus, spec, s) for s in range(0, whole.num_steps, 20)])
    for part, s in zip(parts, range(0, whole.num_steps, 20)):
        assert np.array_equal(part, whole.batch(s))


def test_misuse_is_named(shards, tmp_path):
    root, corpus = shards
    good = RunSpec(Schedule.constant(Mixture({"a": 1.0})), tokens=640, batch=4, context=16)
    with pytest.raises(ConfigError, match="outside the run's 10 steps"):
        Loader(good, corpus, root).batch(10)
    with pytest.raises(DataError, match="mixlaw tokenize"):
        Loader(good, corpus, tmp_path)
    with pytest.raises(DataError, match="was specified for corpus"):
        Loader(good.replace(corpus_hash="0" * 16), corpus, root)
    with pytest.raises(ConfigError, match="No domain 'd'"):
        Loader(good.replace(schedule=Schedule.constant(Mixture({"d": 1.0}))), corpus, root)
    with pytest.raises(ConfigError, match="Did you mean 'short'"):
        Loader(good.replace(unique_tokens={"shor": 5}), corpus, root)
    other = Corpus((Domain("a", 1000, hash="f" * 16),))
    with pytest.raises(DataError, match="holds other tokens"):
        Loader(good, other, root)


def test_validation_covers_every_token_once_and_counts_their_bytes(tmp_path):
    tokens = np.arange(100, dtype="<u2")
    count, digest = publish(tmp_path / "v" / "val.bin", [tokens])
    Store(tmp_path).write_json("v/index.json", {"dtype": "<u2", "val": {"tokens": count, "hash": digest}})
    corpus = Corpus((Domain("a", 1),), (ValidationSet("v", 100, 1000, digest),))
    sequences, num_bytes = validation(corpus, tmp_path, 10)["v"]
    assert np.array_equal(sequences[:, 1:].ravel(), np.arange(1, 91))
    assert np.array_equal(sequences[:, :-1].ravel(), np.arange(90))
    assert num_bytes == 900
    np.save(tmp_path / "token_bytes.npy", np.arange(100, dtype=np.uint16))
    assert validation(corpus, tmp_path, 10)["v"][1] == sum(range(1, 91))
    assert validation(corpus, tmp_path, 1000)["v"][0].shape == (1, 100)
    (tmp_path / "v" / "val.bin").write_bytes(b"\0" * 10)
    with pytest.raises(DataError, match="no complete val tokens"):
        validation(corpus, tmp_path, 10)
