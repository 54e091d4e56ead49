"""Runs whose mixture a strategy chooses: what it is shown, what is drawn, and that they continue bit for bit."""

import numpy as np
import pyarrow.compute as pc
import pytest

from mixlaw.data.mixture import Mixture
from mixlaw.data.seams import STRATEGIES
from mixlaw.errors import ConfigError, RunError, RunStopped
from mixlaw.tokens.online import OnlineLoader
from mixlaw.train import TorchTrainer
from mixlaw.train.strategy_of import scored_tokens

from tiny_tokens import tiny_spec

torch = pytest.importorskip("torch")


class Scripted:
    """Weights from what it is shown: more of the domain whose shown number is larger. Remembers what it saw."""

    needs = frozenset({"losses", "gradients", "target", "probes", "reference"})
    objective = {"hills": 0.5, "plains": 0.5}
    probe_tokens = 64

    def __init__(self, schedule, num_steps, asked="losses", weighs="sampling", tilt=1.0, reference=""):
        self.needs = frozenset(asked.split()) if asked else frozenset()
        self.names, self.num_steps, self.weighs, self.tilt = schedule.domains, num_steps, weighs, tilt
        self.sampling = Mixture.uniform(self.names)
        self.averaged, self.seen = False, []

    def asks(self, step):
        return self.needs if step else frozenset()

    def update(self, step, losses=None, gradients=None, target=None):
        score = dict(losses or {})
        if gradients is not None:
            score = {name: float(np.linalg.norm(g)) for name, g in gradients.items()}
        if target is not None:
            score = {name: float(g @ target) for name, g in gradients.items()}
        self.seen.append(score)
        raw = np.exp(self.tilt * np.array([score.get(name, 0.0) for name in self.names]))
        return Mixture.from_array(self.names, raw / raw.sum())

    def state(self):
        return {"seen": self.seen}

    def load(self, state):
        self.seen = list(state["seen"])


@pytest.fixture(autouse=True)
def scripted():
    if "scripted" not in STRATEGIES:
        STRATEGIES.register("scripted", Scripted)


def trained(tiny, folder, spec, **hooks):
    from mixlaw.data.observations import Observations

    corpus, root = tiny
    TorchTrainer(corpus, root, device="cpu", curve_points=5).run(spec, folder / spec.id, **hooks)
    return Observations.load(folder / spec.id)


def values(observed, metric):
    rows = observed.values.filter(pc.equal(observed.values["metric"], metric))
    return list(zip(rows["step"].to_pylist(), rows["target"].to_pylist(), rows["value"].to_pylist()))


def online(**options):
    return {"strategy": {"name": "scripted", "options": options}}


ASKED = ["losses", "gradients", "gradients target", "probes"]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("weighs", ["sampling", "loss"])
def test_a_killed_run_continues_bit_for_bit(tiny, tmp_path, asked, weighs):
    spec = tiny_spec(tiny[0], steps=12, **online(asked=asked, weighs=weighs))
    whole = trained(tiny, tmp_path / "whole", spec)
    done = []
    with pytest.raises(RunStopped):
        trained(
            tiny,
            tmp_path / "cut",
            spec,
            progress=lambda s, n: done.append(s),
            should_stop=lambda: bool(done) and done[-1] >= 5,
        )
    again = trained(tiny, tmp_path / "cut", spec)
    assert again.values.equals(whole.values)
    assert again.runs.equals(whole.runs)


def test_what_was_drawn_is_counted_exactly(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=20, **online(asked="losses", tilt=2.0))
    observed = trained(tiny, tmp_path, spec)
    (run,) = observed.runs.to_pylist()
    drawn = sum(p["fraction"] * dict(p["weights"])["hills"] for p in run["realised"]) * 20 * 4
    assert drawn == pytest.approx(round(drawn))
    average = dict((target, value) for _, target, value in values(observed, "average_mixture_weight"))
    assert sum(average.values()) == pytest.approx(1)
    assert abs(drawn - average["hills"] * 80) < 1
    assert run["schedule"] == run["realised"]
    assert dict(run["epochs"])["hills"] == pytest.approx(drawn * 32 / tiny[0]["hills"].unique_tokens)
    logged = [value for _, target, value in values(observed, "mixture_weight") if target == "hills"]
    assert np.mean(logged) == pytest.approx(average["hills"])
    assert np.ptp(logged) > 1e-3


def test_the_gradient_put_together_from_the_domains_is_that_of_the_batch(tiny, tmp_path, precision):
    common = {"optimizer": {"precision": precision}}
    plain = trained(tiny, tmp_path, tiny_spec(tiny[0], steps=8, **common, **online(asked="", tilt=0.0)))
    parts = trained(tiny, tmp_path, tiny_spec(tiny[0], steps=8, **common, **online(asked="gradients", tilt=0.0)))
    there, here = values(plain, "loss"), values(parts, "loss")
    assert [v for *_, v in here] == pytest.approx([v for *_, v in there], rel=2e-2 if precision == "bf16" else 1e-5)


def test_weights_of_losses_are_weights_of_the_gradient(tiny):
    """Sequences drawn equally whose losses weigh 3 : 1 give the gradient of a mixture of 3 : 1."""
    from mixlaw.models.architecture import architecture, build
    from mixlaw.train.loop import Training

    corpus, root = tiny
    spec = tiny_spec(corpus, steps=4)
    batch, who = OnlineLoader(spec, corpus, root).draw(0, Mixture.uniform(spec.schedule.domains))
    training = Training(build(architecture(spec.model, 64), seed=0), {}, "fp32")
    each = torch.empty(4 * 32)
    training.backward(batch, np.array([1.5, 0.5])[who], each)
    weighted = training.gradient()
    apart = []
    for j in (0, 1):
        mean = training.backward(batch[who == j])
        assert float(each.view(4, 32)[torch.from_numpy(who == j)].mean()) == pytest.approx(mean, rel=1e-5)
        apart.append(training.gradient())
    assert torch.allclose(weighted, 0.75 * apart[0] + 0.25 * apart[1], atol=1e-6)


def test_a_reference_is_waited_for_and_its_excess_is_shown(tiny, tmp_path):
    corpus, _ = tiny
    base = tiny_spec(corpus, steps=30)
    spec = tiny_spec(corpus, steps=6, **online(asked="reference", reference=base.id))
    with pytest.raises(RunError, match=f"reference run {base.id}"):
        trained(tiny, tmp_path, spec)
    trained(tiny, tmp_path, base)
    seen = []

    class Watching(Scripted):
        def update(self, step, losses=None, gradients=None, target=None):
            seen.append(losses)
            return super().update(step, losses)

    STRATEGIES.register(f"watching{base.id}", Watching)
    watched = {"strategy": {"name": f"watching{base.id}", "options": {"asked": "reference", "reference": base.id}}}
    trained(tiny, tmp_path, spec.replace(**watched))
    assert seen[0] is None and set(seen[1]) == {"hills", "plains"}
    assert all(excess > 0.5 for excess in seen[1].values())  # an untrained model is worse by about ln 64 - ln 3


def test_probes_are_counted_as_spent(tiny, tmp_path):
    observed = trained(tiny, tmp_path, tiny_spec(tiny[0], steps=6, **online(asked="probes")))
    (run,) = observed.runs.to_pylist()
    settings = {key: value["number"] or value["text"] for key, value in run["settings"]}
    assert settings["strategy"] == "scripted"
    assert settings["probe_tokens"] == 5 * 2 * 64


def test_only_the_sets_that_a_strategy_looks_at_are_probed_and_charged(tiny, tmp_path):
    class OneSet(Scripted):
        sets = ("hills",)

    STRATEGIES.register("one_set", OneSet) if "one_set" not in STRATEGIES else None
    spec = tiny_spec(tiny[0], steps=6, strategy={"name": "one_set", "options": {"asked": "probes"}})
    (run,) = trained(tiny, tmp_path, spec).runs.to_pylist()
    spent = next(value["number"] for key, value in run["settings"] if key == "probe_tokens")
    assert spent == 5 * 64
    sizes = {one.name: one.tokens for one in tiny[0].validation}
    assert scored_tokens(spec, sizes) == spent
    both = tiny_spec(tiny[0], steps=6, **online(asked="probes"))
    assert scored_tokens(both, sizes) == 2 * spent
    assert scored_tokens(both, {"hills": 50}) == 5 * 32  # a set of one sequence


def test_any_weights_are_followed_within_two_sequences(tiny):
    corpus, root = tiny
    spec = tiny_spec(corpus, steps=200)
    loader, rng = OnlineLoader(spec, corpus, root), np.random.default_rng(0)
    wanted = np.zeros(2)
    for step in range(200):
        weights = rng.dirichlet([0.4, 0.4])
        loader.draw(step, Mixture.from_array(spec.schedule.domains, weights))
        wanted += 4 * weights
        assert np.abs(np.array(list(loader.tokens().values())) / 32 - wanted).max() < 2


def test_weights_that_fall_to_0_and_return_keep_what_is_owed(tiny):
    """A domain without weight is never drawn, and what it was owed comes with its next weight."""
    corpus, root = tiny
    spec = tiny_spec(corpus, steps=300)
    loader, rng = OnlineLoader(spec, corpus, root), np.random.default_rng(1)
    names, wanted, drawn = spec.schedule.domains, np.zeros(2), np.zeros(2)
    for step in range(300):
        weights = np.eye(2)[step % 2] if step % 3 else rng.dirichlet([1, 1])
        _, who = loader.draw(step, Mixture.from_array(names, weights))
        drawn += np.bincount(who, minlength=2)
        assert not (np.bincount(who, minlength=2)[weights == 0]).any()
        wanted += 4 * weights
        assert np.abs(drawn - wanted).max() < 1.6


def test_what_is_wrong_is_explained(tiny, tmp_path):
    corpus, _ = tiny
    for strategy, words in (
        ({"name": "odmm"}, "Unknown strategy 'odmm'"),
        ({"name": "static", "options": {"rate": 1}}, "has no option 'rate'"),
        ({"name": "static", "options": {"num_steps": 5}}, "from the run"),
        ({"name": "scripted", "options": {"asked": "reference"}}, "option 'reference'"),
    ):
        with pytest.raises(ConfigError, match=words):
            trained(tiny, tmp_path, tiny_spec(corpus, steps=4, strategy=strategy))

    class Astray(Scripted):
        objective = {"hils": 1.0}

    STRATEGIES.register("astray", Astray) if "astray" not in STRATEGIES else None
    with pytest.raises(ConfigError, match=r"'hils', which is no validation set.*'hills'"):
        trained(tiny, tmp_path, tiny_spec(corpus, steps=4, strategy={"name": "astray", "options": {}}))
    with pytest.raises(ConfigError, match="no domain of this run"):
        OnlineLoader(tiny_spec(corpus), *tiny).draw(0, Mixture({"web": 1.0}))
