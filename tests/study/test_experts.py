"""A study of experts: a trunk, one run per domain, a few mixtures beside them, and what each of them is for."""

import json
import random

import numpy as np
import pytest

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.design.trunk import branch_of, expert_specs, trunk_of
from mixlaw.errors import ConfigError, DataError
from mixlaw.study.config import DesignConfig, design_changes
from mixlaw.study.study import Study

WORDS = {
    "digits": ["one", "two", "three", "four", "five", "six"],
    "colours": ["red", "green", "blue", "yellow", "black", "white"],
}


def config(folder, words=None, **changes):
    rng, paths = random.Random(0), {}
    for name, known in (words or WORDS).items():
        path = folder / f"{name}.jsonl"
        texts = (" ".join(rng.choice(known) for _ in range(40)) for _ in range(120))
        path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
        paths[name] = str(path)
    base = {
        "corpus": {"domains": paths, "vocab_size": 280, "validation_tokens": 256},
        "objective": dict.fromkeys(paths, 1.0),
        "budget": {"tokens": 2560, "max_epochs": 50},
        "training": {
            "model": {"layers": 1, "width": 16, "heads": 2},
            "tokens": 2560,
            "batch": 4,
            "context": 32,
            "learning_rate": {"name": "wsd", "peak": 1e-2, "warmup": 0.1, "decay": 0.2},
            "evaluations": 2,
        },
        "design": {"sampler": "experts", "num": 8, "trunk": 0.4},
        "executor": {"workers": 1},
    }
    return {**base, **changes}


def train(folder, **design):
    pytest.importorskip("torch")
    study = Study.create(folder / "s", config(folder, design={"sampler": "experts", "trunk": 0.4, **design}))
    study.tokenize()
    study.design()
    assert study.train() == {}
    return study


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Experts alone."""
    return train(tmp_path_factory.mktemp("experts"))


@pytest.fixture(scope="module")
def with_mixtures(tmp_path_factory):
    """Experts and eight mixtures."""
    return train(tmp_path_factory.mktemp("mixtures"), num=8)


# ---- the design -----------------------------------------------------------------------------------------
def test_trunk_and_branch_together_are_the_run_and_its_learning_rate():
    base = RunSpec(
        Schedule.constant({"a": 0.5, "b": 0.5}), tokens=100 * 2048,
        learning_rate={"name": "wsd", "peak": 1e-3, "warmup": 0.1, "decay": 0.2},
    )  # fmt: skip
    trunk = trunk_of(base, 0.25, Mixture({"a": 1.0, "b": 0.0}), seed=7)
    branch = branch_of(base, trunk, 0.25)
    assert (trunk.num_steps, branch.num_steps, branch.start) == (25, 75, trunk.id)
    assert trunk.learning_rate == {"name": "constant", "peak": 1e-3, "warmup": pytest.approx(0.4)}  # 10 of 25 steps
    assert branch.learning_rate["warmup"] == 0 and branch.learning_rate["decay"] == pytest.approx(20 / 75)
    for share in (0.0, 1.0, 0.001, True):
        with pytest.raises(ConfigError, match="trunk"):
            trunk_of(base, share, Mixture({"a": 1.0}))
    with pytest.raises(ConfigError, match=r"only \['a'\]"):
        expert_specs(base, ["a"], None, 0.0, 0)


def test_a_design_of_experts_is_one_run_per_domain_and_a_trunk(tmp_path):
    study = Study.create(tmp_path / "s", config(tmp_path))
    study.tokenize()
    specs, shared = study.design(), study.shared()
    assert len(specs) == 1 + 2 + 8 and set(shared.experts) == set(WORDS)
    by = {s.id: s for s in specs}
    trunk = by[shared.trunk]
    for domain, run in shared.experts.items():
        assert by[run].schedule.mixture[domain] == 1 and by[run].start == trunk.id
        assert by[run].tokens + trunk.tokens == 2560 and by[run].unique_tokens == {}
    others = study.mixtures()  # neither trunk nor experts are fitted as mixtures
    assert len(others) == 8 and all(s.start is None and s.tokens == 2560 for s in others)
    assert study.stale() == {}
    changed = Study(study.folder)
    changed.config = changed.config.model_copy(
        update={"training": changed.config.training.model_copy(update={"batch": 2})}
    )
    with pytest.raises(DataError, match="designed with other settings"):
        changed.train()


def test_experts_alone_are_k_plus_one_runs_and_on_the_command_line_so_too():
    alone = DesignConfig(sampler="experts")
    assert (alone.num, alone.replicates, alone.trunk.share) == (0, 0, 0.5)
    assert DesignConfig(sampler="experts", trunk=0).trunk is None
    assert DesignConfig(**alone.model_dump(mode="json")) == alone
    asked = design_changes(DesignConfig(num=24, replicates=3), "experts")
    assert (asked.num, asked.replicates, asked.trunk.share) == (0, 0, 0.5)
    assert design_changes(DesignConfig(), "experts", num=6, trunk=0).num == 6
    assert (
        design_changes(DesignConfig(trunk={"share": 0.5, "mixture": "uniform"}), trunk=0.3).trunk.mixture == "uniform"
    )
    with pytest.raises(ConfigError, match="less than 1"):
        design_changes(DesignConfig(), trunk=1.5)


# ---- scores -----------------------------------------------------------------------------------------------
def test_scores_are_the_experts_own_losses_and_are_not_made_twice(trained):
    from mixlaw.study.steps.experts import expert_scores

    scores = expert_scores(trained)
    for domain, run in trained.shared().experts.items():
        path = trained.folder / "experts" / f"{run}.npz"
        before = path.stat().st_mtime_ns
        values = trained.observations([s for s in trained.specs() if s.id == run]).table().y
        for name in WORDS:
            measured = values.column(name).to_numpy()[0]
            column = scores.domains.index(domain)
            assert scores.losses()[name][column] == pytest.approx(measured, abs=1e-5)
        expert_scores(trained)
        assert path.stat().st_mtime_ns == before


def test_the_average_of_one_expert_is_that_expert(trained):
    from mixlaw.study.steps.experts import expert_scores

    own = expert_scores(trained).losses()
    merged = trained.merged_losses({"digits": 1.0, "colours": 0.0})
    for name in WORDS:
        assert merged[name] == pytest.approx(own[name][list(WORDS).index("digits")], abs=1e-5)
    both = trained.merged_losses({"digits": 0.5, "colours": 0.5})
    assert all(np.isfinite(v) for v in both.values()) and both != merged
    with pytest.raises(DataError, match="'maths'"):
        trained.merged_losses({"maths": 1.0})


def named(study, name):
    asked = Study(study.folder)
    law = asked.config.law.model_copy(update={"name": name})
    asked.config = asked.config.model_copy(update={"law": law})
    return asked


def test_experts_alone_give_a_law_and_a_recipe_that_says_what_it_does_not_know(trained):
    law = trained.fit()  # study.yaml says auto
    assert law.name == "mixmin" and trained.equal_tokens_text() == ""
    recipe = trained.optimize()
    assert sum(recipe.mixture.to_dict().values()) == pytest.approx(1)
    assert any("cannot see transfer" in text for text in recipe.warnings)
    found = trained.predict({"digits": 0.5, "colours": 0.5})["digits"]
    assert found.low < found.mean < found.high
    trained.report()


@pytest.mark.slow
def test_fit_prints_experts_and_mixtures_at_equal_tokens_and_optimize_follows(with_mixtures):
    study = with_mixtures
    assert len(study.observations()) == 8
    study.fit()
    text = study.equal_tokens_text()
    assert "mixmin with experts" in text and "log_linear" in text and "4.10k" in text  # 1,024 + 2 x 1,536 tokens
    assert sum(study.optimize().mixture.to_dict().values()) == pytest.approx(1)
    study.report()
    assert "Experts and mixtures at equal tokens" in (study.folder / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mixmin", "mde"])
def test_a_law_of_experts_can_be_asked_for_by_name(with_mixtures, name):
    asked = named(with_mixtures, name)
    law = asked.fit()
    assert law.name == name and asked.law().predict([[0.5, 0.5]]).shape == (1, 2)


# ---- a swarm that branches ------------------------------------------------------------------------------------
def test_a_swarm_that_branches_from_a_trunk_starts_there(tmp_path):
    study = Study.create(
        tmp_path / "s",
        config(tmp_path, design={"num": 3, "replicates": 1, "trunk": {"share": 0.5, "mixture": "uniform"}}),
    )
    study.tokenize()
    specs = study.design()
    trunk = study.shared().trunk
    assert len(specs) == 5 and specs[0].id == trunk and specs[0].schedule.mixture["digits"] == 0.5
    assert all(s.start == trunk for s in specs[1:]) and sum({s.tokens for s in specs}) == 1280
    assert len(study.mixtures()) == 4 and study.stale() == {}


# ---- bad input --------------------------------------------------------------------------------------------------
def test_what_would_stop_experts_is_said_before_any_run(tmp_path):
    cases = [
        ({"words": {"digits": WORDS["digits"]}}, "at least two domains"),
        ({"training": {"options": {"keep": "none"}}}, "keep is 'none'"),
        ({"training": {"options": {"keep": "weights"}}}, "Adam moments"),
        ({"training": {"trainer": "command", "command": "true {spec} {metrics}"}}, "only the trainer 'torch' keeps"),
        ({"design": {"sampler": "experts", "trunk": {"share": 0.5, "mixture": {"digts": 1.0}}}}, "'digits'"),
    ]
    for i, (changes, message) in enumerate(cases):
        folder = tmp_path / str(i)
        folder.mkdir()
        base = config(folder, changes.get("words"))
        base["training"] |= changes.get("training", {})
        base["design"] = changes.get("design", base["design"])
        study = Study.create(folder / "s", base)
        study.tokenize()
        with pytest.raises(ConfigError, match=message):
            study.design()
    with pytest.raises(ConfigError, match="leave out trunk and experts"):
        Study.create(tmp_path / "t", config(tmp_path, design={
            "trunk": 0.5, "sizes": [{"num": 2, "tokens": 5120, "model": {"preset": "d64"}}]
        }))  # fmt: skip


def test_an_expert_that_is_missing_or_without_weights_is_named(trained, tmp_path):
    import shutil

    from mixlaw.study.steps.experts import expert_scores

    shutil.copytree(trained.folder, tmp_path / "s")
    study = Study(tmp_path / "s")
    run = study.shared().experts["digits"]
    scores, folder = study.folder / "experts" / f"{run}.npz", study.folder / "runs" / run
    data = bytearray(scores.read_bytes())
    with np.load(scores) as held:
        arrays = {name: held[name] for name in held.files}
    arrays["set0"] = arrays["set0"] - 1
    np.savez_compressed(scores, **arrays)
    with pytest.raises(DataError, match="do not give their checksum"):
        expert_scores(study)
    scores.write_bytes(data[:100])
    with pytest.raises(DataError, match="cannot be read"):
        expert_scores(study)
    scores.unlink()
    (folder / "checkpoint.safetensors").rename(folder / "gone")
    with pytest.raises(DataError, match=r"'digits'.*keep: none"):
        expert_scores(study)
    (folder / "gone").rename(folder / "checkpoint.safetensors")
    (folder / "DONE").unlink()
    with pytest.raises(DataError, match=r"expert of 'digits'.*not trained yet"):
        expert_scores(study)


def test_a_mistyped_option_is_told_where_no_mixture_is_proposed(tmp_path):
    study = Study.create(
        tmp_path / "s", config(tmp_path, design={"sampler": "experts", "options": {"strength": [1, 2]}})
    )
    study.tokenize()
    with pytest.raises(ConfigError, match=r"'strength'.*Did you mean 'strengths'"):
        study.swarm.propose()
