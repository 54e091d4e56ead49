"""A law that cannot know says so: what is said, what is refused, and that good runs are left in peace."""

import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixlaw.data.learning_rate import Cosine, Tabulated, WarmupStableDecay
from mixlaw.errors import DataError, MixlawWarning, NotIdentifiableError
from mixlaw.laws import LAWS, M2, BrokenPowerLaw, Chinchilla, Joint, Kaplan, LearningRateAnnealing, RepeatedData
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.parameters import Positive
from mixlaw.laws.core.response import probability
from mixlaw.laws.fit.capability_law import CapabilityLaw
from mixlaw.laws.fit.joint_law import JointLaw
from mixlaw.laws.fit.scale_law import ScaleLaw
from mixlaw.laws.scale.chinchilla import optimal_allocation

from shared import experiments

N = np.geomspace(1e7, 1e10, 12)
GRID = np.array([(n, d) for n in (1e8, 3e8, 1e9, 3e9) for d in (2e9, 6e9, 2e10, 6e10)])


def loss_of(params, tokens):
    return 1.8 + 480 / params**0.35 + 2100 / tokens**0.37


def noisy(values, seed=0, sd=0.002):
    return values * (1 + sd * np.random.default_rng(seed).standard_normal(len(values)))


def fitted(law, X, y, **given):
    """The law, and what its fit warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", MixlawWarning)
        law.fit(X, y, **given)
    return law, " ".join(str(w.message) for w in said)


def quiet_interval(law, X, level=0.9):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        return law.predict_interval(X, level)


# ---- sizes ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_runs_of_one_ratio_fix_the_law_along_that_ratio_only(seed):
    law, said = fitted(Chinchilla(), {"params": N, "tokens": 20 * N}, noisy(loss_of(N, 20 * N), seed))
    (note,) = law.notes
    assert "params and tokens move together: the runs fix E + A / N^alpha + B / D^beta along tokens = 20 params" in note
    assert "The run that would tell most" in note and note in said and note in law.summary()
    assert not law.identifiability_["identified"]
    # the run lies off the line: its ratio is far from 20
    run = law.identifiability_["runs"]["y0"]
    assert abs(np.log(run["tokens"] / run["params"] / 20)) > np.log(5)
    with pytest.raises(NotIdentifiableError, match="move together"):
        law.optimal_allocation(1e21)
    # off the line intervals hold the truth, on it they stay narrow
    X = {"params": np.array([1e10, 3e7, 1e9]), "tokens": np.array([2e8, 2e11, 2e10])}
    low, high = quiet_interval(law, X)
    truth = loss_of(X["params"], X["tokens"])
    assert (low <= truth).all() and (truth <= high).all()
    assert (high - low)[2] < 0.12 < 1.0 < (high - low)[:2].min()
    with pytest.warns(MixlawWarning, match=r"rows \[0, 1\]"):
        law.predict(X)
    draws = law.sample(X, 200, np.random.default_rng(0))[:, :, 0]
    assert draws.std(axis=0)[0] > 20 * draws.std(axis=0)[2]


def test_what_is_not_known_is_saved_with_the_law():
    law, _ = fitted(Chinchilla(), {"params": N, "tokens": 20 * N}, noisy(loss_of(N, 20 * N)))
    read = Law.from_json(law.to_json())
    X = {"params": [1e10], "tokens": [2e8]}
    np.testing.assert_allclose(quiet_interval(read, X), quiet_interval(law, X))
    with pytest.raises(NotIdentifiableError):
        read.optimal_allocation(1e21)


def test_intervals_of_parameters_hold_those_that_fit_as_well():
    law, _ = fitted(Chinchilla(bootstrap=40), {"params": N, "tokens": 20 * N}, noisy(loss_of(N, 20 * N)))
    assert {"E", "A", "B", "alpha", "beta"} <= set(law.intervals_)
    for name, ends in law.intervals_.items():
        every = law.equally_good()[name]
        assert ends[0] <= every.min() and every.max() <= ends[1]


def test_the_suggested_run_is_what_was_missing():
    """With it and a neighbour, the same runs identify the law."""
    y = noisy(loss_of(N, 20 * N), 1)
    law, _ = fitted(Chinchilla(), {"params": N, "tokens": 20 * N}, y)
    run = law.identifiability_["runs"]["y0"]
    more = np.array([run["params"], 2 * run["params"], run["params"]])
    tokens = np.array([run["tokens"], run["tokens"], 2 * run["tokens"]])
    X = {"params": np.append(N, more), "tokens": np.append(20 * N, tokens)}
    law, _ = fitted(Chinchilla(), X, np.append(y, noisy(loss_of(more, tokens), 2)))
    assert law.rivals_ is None
    assert law.optimal_allocation(1e21)["tokens_per_param"] == pytest.approx(19.4, rel=0.5)


@pytest.mark.parametrize("law", [Chinchilla(tied=True), RepeatedData(), Kaplan("ND")], ids=repr)
def test_every_law_of_two_sizes_names_the_line(law):
    X = {"params": N, "tokens": 20 * N, "unique_tokens": 5 * N}
    law, _ = fitted(law, {name: X[name] for name in law.columns}, noisy(loss_of(N, 20 * N)))
    assert any("params and tokens move together" in note and "run that would tell" in note for note in law.notes)


def test_a_column_that_hardly_varies():
    X = np.array([(n, d) for n in (1e8, 3e8, 1e9, 3e9) for d in (5e9, 5.2e9, 5.4e9, 5.6e9)])
    law, _ = fitted(Chinchilla(), X, noisy(loss_of(*X.T)))
    assert any("beta" in note and "run that would tell" in note for note in law.notes)


def test_a_term_that_the_runs_do_not_show():
    law, _ = fitted(Chinchilla(), GRID, noisy(2.5 + 2100 / GRID[:, 1] ** 0.37))
    assert any("alpha" in note for note in law.notes) and "beta" not in law.notes[0].split("A ")[0]


def test_exponents_of_the_wrong_sign():
    """A loss that rises with size, of a law whose size term alone can say so."""
    law, said = fitted(Chinchilla(), GRID, 2.0 + 0.05 * (GRID[:, 0] / 1e8) ** 0.5 + 2100 / GRID[:, 1] ** 0.37)
    assert law.parameters_["alpha"] < 0
    assert "alpha" in said and "wrong sign" in said and "wrong sign" in law.summary()
    with pytest.raises(NotIdentifiableError, match="not both positive"):
        law.optimal_allocation(1e21)


def test_the_helper_refuses_what_has_no_optimum():
    with pytest.raises(DataError, match="No finite optimum"):
        optimal_allocation(1e21, E=1.8, A=480, B=2100, alpha=-0.1, beta=0.3)


# ---- mixtures and sizes, capabilities ------------------------------------------------------------------------
class Additive(JointLaw):
    """A loss of its own for each domain, a size term and a data term."""

    columns = ("weights", "params", "tokens")
    parameters = {
        "E": Positive((2.0, 3.0, 2.5), "loss of a domain alone, nats", per="domain"),
        "A": Positive(480.0, "size term, nats at one parameter"),
        "alpha": Positive(0.35, "size exponent"),
        "B": Positive(2100.0, "data term, nats at one token"),
        "beta": Positive(0.37, "data exponent"),
    }

    def loss(self, p, R, params, tokens):
        return p.E @ R.T + p.A * params**-p.alpha + p.B * tokens**-p.beta

    def slopes(self, p, R, params, tokens):
        a, b = params**-p.alpha, tokens**-p.beta
        by = {"E": R, "A": a, "alpha": -p.A * a * np.log(params), "B": b, "beta": -p.B * b * np.log(tokens)}
        return by


def joint(R, params, tokens):
    y = R @ [2.0, 3.0, 2.5] + 480 * params**-0.35 + 2100 * tokens**-0.37
    X = {"web": R[:, 0], "code": R[:, 1], "books": R[:, 2], "params": params, "tokens": tokens}
    return fitted(Additive(), X, noisy(y))[0]


def test_joint_laws_say_it_of_domains_and_of_sizes():
    rng = np.random.default_rng(0)
    R, params, tokens = rng.dirichlet([1, 1, 1], 48), 10 ** rng.uniform(7.5, 10, 48), 10 ** rng.uniform(9, 11, 48)
    assert joint(R, params, tokens).notes == []
    together = np.column_stack([R[:, 0], 0.6 * (1 - R[:, 0]), 0.4 * (1 - R[:, 0])])
    assert "code and books move together" in joint(together, params, tokens).notes[0]
    fixed = np.column_stack([0.9 * R[:, :2] / R[:, :2].sum(axis=1, keepdims=True), np.full(48, 0.1)])
    law = joint(fixed, params, tokens)
    assert "books has the same share in all runs" in law.notes[0]
    # what is asked of more books is wide, what lies among the runs is not
    X = {"web": [0.3, 0.3], "code": [0.6, 0.2], "books": [0.1, 0.5], "params": [1e9] * 2, "tokens": [1e10] * 2}
    low, high = quiet_interval(law, X)
    assert (high - low)[0] < 0.1 and (high - low)[1] > 1.0
    assert "params and tokens move together" in joint(R, params, 20 * params).notes[-1]


def test_the_joint_law_names_the_line_too():
    sizes = np.geomspace(1e7, 1e9, 5)
    R, params = np.repeat([0.2, 0.5, 0.8], 5), np.tile(sizes, 3)

    def fit(tokens):
        y = 2 - 0.4 * R + 30 * params**-0.25 + 900 * tokens**-0.35
        X = {"web": R, "code": 1 - R, "params": params, "tokens": tokens}
        return fitted(Joint(backtest=False), X, y)

    law, said = fit(20 * params)
    assert "params and tokens move together: the runs fix the loss along tokens = 20 params only" in law.notes[0]
    assert "params=1e+07, tokens=2e+10" in said and law.notes[0] in law.summary()
    law, said = fit(np.tile(10 * sizes[[3, 0, 4, 1, 2]], 3))
    assert not any("together" in note for note in law.notes) and "together" not in said


class LossToAccuracy(CapabilityLaw):
    """A logistic curve of the share of items right."""

    columns = ("loss",)
    response = probability(floor=0.25)
    parameters = {"middle": Positive(2.6, "nats"), "slope": Positive(4.0, "logits per nat")}

    def accuracy(self, p, loss):
        return self.response.from_link(p.slope * (p.middle - loss))

    def slopes(self, p, loss):
        steep = self.response.slope(p.slope * (p.middle - loss))
        return {"middle": p.slope * steep, "slope": (p.middle - loss) * steep}


def test_a_capability_at_its_floor_is_not_known_above_it():
    rng, loss = np.random.default_rng(0), np.linspace(3.4, 3.8, 9)
    right = rng.binomial(1000, 0.25 + 0.75 / (1 + np.exp(-5 * (2.5 - loss)))) / 1000
    _, said = fitted(LossToAccuracy(), {"loss": loss}, right, sample_weight=np.full(9, 1000.0))
    assert "not identified" in said and "slope" in said
    loss = np.linspace(2.0, 3.2, 9)
    right = rng.binomial(1000, 0.25 + 0.75 / (1 + np.exp(-5 * (2.5 - loss)))) / 1000
    assert fitted(LossToAccuracy(), {"loss": loss}, right, sample_weight=np.full(9, 1000.0))[0].notes == []


def test_mixture_laws_name_domains_that_never_vary_or_move_together():
    rng = np.random.default_rng(0)
    R = rng.dirichlet([1, 1, 1], 24)
    fixed = np.column_stack([0.9 * R[:, :2] / R[:, :2].sum(axis=1, keepdims=True), np.full(24, 0.1)])
    together = np.column_stack([R[:, 0], 0.6 * (1 - R[:, 0]), 0.4 * (1 - R[:, 0])])
    names = ("web", "code", "books")
    for rows, words in (
        (fixed, "weight never changes: ['books']"),
        (together, "always move together: code with books"),
    ):
        law = M2().fit(dict(zip(names, rows.T)), noisy(2 + np.exp(-2 * rows[:, 0])))
        assert any(words in note for note in law.notes)
        assert words in law.summary()


# ---- no false alarms -----------------------------------------------------------------------------------------
SEAM = [n for n in LAWS.names() if n not in {"trees"} and issubclass(LAWS[n], ScaleLaw)]


@pytest.mark.parametrize("name", SEAM)
def test_examples_of_laws_are_left_in_peace(name):
    for example in LAWS[name].examples():
        X = example.example_rows(48, np.random.default_rng(7))
        law, said = fitted(example, X, noisy(example.example_losses(X), 1, 0.003))
        assert law.notes == [] and "not identified" not in said


def test_a_plain_grid_is_left_in_peace():
    for sd in (0.002, 0.01):
        law, said = fitted(Chinchilla(), GRID, noisy(loss_of(*GRID.T), sd=sd))
        assert law.notes == [] and said == ""
        assert law.optimal_allocation(1e21)["params"] > 0


def test_public_records_are_not_refused():
    points = pq.read_table(experiments("chinchilla_points.parquet")).to_pydict()
    law, said = fitted(Chinchilla(), {k: np.array(points[k]) for k in ("params", "tokens")}, np.array(points["loss"]))
    assert said == "" and law.optimal_allocation(5.76e23)["tokens_per_param"] > 1
    table = pq.read_table(experiments("data_constrained.parquet")).to_pydict()
    X = {k: np.array(table[k], dtype=float) for k in ("params", "tokens", "unique_tokens")}
    loss = np.array(table["loss"])
    law, _ = fitted(RepeatedData(), {k: v[loss < 5] for k, v in X.items()}, loss[loss < 5])
    assert np.isfinite(law.parameters_["R_D"])
    curves = pq.read_table(experiments("lr_schedule_curves.parquet")).to_pydict()
    rows = (np.array(curves["schedule"]) == "cosine_24000") & (np.array(curves["params"]) == 25e6)
    step, rate = np.array(curves["step"], dtype=float)[rows], np.array(curves["lr"])[rows]
    schedule = Tabulated((0.0, *step.tolist()), (0.0, *rate.tolist()))
    late = step > schedule.peak_step
    law, _ = fitted(LearningRateAnnealing(schedule), {"step": step[late]}, np.array(curves["loss"])[rows][late])
    assert np.abs(law.predict({"step": step[late]}) - np.array(curves["loss"])[rows][late]).mean() < 0.02


# ---- annealing: any memory ---------------------------------------------------------------------------------
@pytest.mark.parametrize("total", [20_000, 100_000])
@pytest.mark.parametrize("decay", [0.99, 0.999])
@pytest.mark.parametrize("shape", ["cosine", "wsd"])
def test_exact_curves_give_back_any_memory(total, decay, shape):
    """The published memories, .99 to .999 per step; a hundredth of the run was the least that could be fitted, and half
    of C was lost."""
    schedule = Cosine(total, 500) if shape == "cosine" else WarmupStableDecay(total, 500, decay=total // 5)
    step = np.arange(total / 20, total + 1, total / 40)
    C = 0.4 * (1 - decay)
    y = 2.5 + 20 * schedule.area(step) ** -0.5 - C * schedule.annealing_area(step, decay)
    law, said = fitted(LearningRateAnnealing(schedule), {"step": step}, y)
    assert law.converged_ and "certified" not in said
    assert law.decay_ == pytest.approx(decay, abs=1e-5)
    assert law.parameters_["C"] == pytest.approx(C, rel=1e-3)
    np.testing.assert_allclose(law.predict({"step": step}), y, rtol=1e-7)


def test_a_short_memory_under_sparse_noisy_rows_is_said_to_be_unknown():
    """Only C times the memory shows there, and predictions need no more."""
    schedule = Cosine(20_000, 500)
    step = np.arange(1_000.0, 20_001.0, 500.0)
    y = 2.5 + 20 * schedule.area(step) ** -0.5 - 4e-4 * schedule.annealing_area(step, 0.99)
    law, said = fitted(LearningRateAnnealing(schedule), {"step": step}, noisy(y))
    assert "memory" in said and "C " in said
    memory = 1 / (1 - law.decay_)
    assert law.parameters_["C"] * memory == pytest.approx(0.04, rel=0.4)
    other = WarmupStableDecay(20_000, 500, decay=4_000)
    truth = 2.5 + 20 * other.area(step) ** -0.5 - 4e-4 * other.annealing_area(step, 0.99)
    assert np.abs(law.under(other).predict({"step": step}) - truth).max() < 0.02


# ---- broken power laws without a limit -----------------------------------------------------------------------
def test_a_limit_of_zero_is_a_certified_fit():
    x = np.geomspace(1, 1e6, 40)
    y = 2 * x**-0.1 * (1 + (x / 1e3) ** 2) ** -0.2
    law, said = fitted(BrokenPowerLaw(breaks=1), x[:, None], y)
    assert law.converged_ and "certified" not in said
    np.testing.assert_allclose(law.predict(x[:, None]), y, rtol=1e-6)
    assert law.parameters_["d1"] == pytest.approx(1e3, rel=1e-2) and law.parameters_["a"] < 1e-3
    plain, said = fitted(BrokenPowerLaw(breaks=0), x[:, None], 2 * x**-0.1)
    assert plain.converged_ and said == "" and plain.parameters_["c0"] == pytest.approx(0.1, rel=1e-4)
