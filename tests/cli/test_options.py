"""What ``mixlaw optimize`` understands: tasks, prior mixtures, further budgets, near-optimal ranges, misspelt names."""

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mixlaw.cli import options
from mixlaw.cli.app import app
from mixlaw.errors import ConfigError
from mixlaw.optimize import price
from mixlaw.optimize.pose.task import TaskLaw
from mixlaw.study.study import Study

import truths

NAMES, SETS = ["web", "code", "books"], ["web", "exam"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("wishes")
    X, Y = truths.exponential(3, 2, seed=2).sample(24, noise=0.003)
    task = TaskLaw(a=-0.5, k=4.0, L0=float(Y[:, 1].mean()), b=0.8)
    header = ["run", "target", "metric", "value", *(f"weight_{n}" for n in NAMES)]
    rows = [",".join(header)]
    for i, (x, y) in enumerate(zip(X, Y)):
        told = [("web", "loss", y[0]), ("exam", "loss", y[1]), ("exam", "accuracy", float(task.predict(y[1])))]
        rows += [",".join(map(str, (f"r{i}", *what, *map(repr, map(float, x))))) for what in told]
    (root / "runs.csv").write_text("\n".join(rows))
    study = {
        "corpus": {"counts": {"web": 8000, "code": 2000, "books": 1000}},
        "runs": ["runs.csv"],
        "objective": {"web": 1.0, "exam": 1.0},
        "budget": {"tokens": 8000, "max_epochs": 6},
        "law": {"name": "m4"},
    }
    (root / "s").mkdir()
    (root / "s" / "study.yaml").write_text(yaml.safe_dump(study))
    for verb in ("tokenize", "fit"):
        assert CliRunner().invoke(app, [verb, str(root / "s")]).exit_code == 0
    return root / "s"


def optimized(folder, *arguments):
    result = CliRunner().invoke(app, ["optimize", str(folder), *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)
    return Study(folder).recipe(), result.output


def test_near_optimal_ranges_are_printed_and_widen(folder):
    narrow, out = optimized(folder)
    wide, _ = optimized(folder, "--near", 0.01)
    assert "weights that stay within 0.10% of the objective:" in out
    for name in NAMES:
        assert wide.near_optimal[name][1] - wide.near_optimal[name][0] >= np.ptp(narrow.near_optimal[name]) - 1e-9


def test_a_further_budget_binds_and_is_priced(folder):
    free, _ = optimized(folder)
    bought = free.domain_tokens["code"] * 0.5
    recipe, out = optimized(folder, "--limit", f"fees={bought}:code=1")
    assert recipe.domain_tokens["code"] == pytest.approx(bought, rel=1e-6)
    assert f"price of limit fees: at most {bought:g}: objective -" in out and " per unit more" in out
    for name in ("code", "fees", "limit fees"):  # the only limit that binds the domain is its price
        assert price(recipe, name)["kind"] == "limit"
    with pytest.raises(ConfigError, match="Did you mean 'fees'"):
        price(recipe, "fee")
    assert any(p["kind"] == "limit" and p["loss_per_unit"] < 0 for p in recipe.shadow_prices)


def test_a_limit_of_divergence_to_a_typed_mixture(folder):
    prior = {"web": 0.5, "code": 0.3, "books": 0.2}
    typed = ",".join(f"{k}={v}" for k, v in prior.items())
    recipe, _ = optimized(folder, "--kl-to", typed, "--kl-limit", 0.01)
    r = np.array([recipe.mixture[n] for n in NAMES])
    assert (r * np.log(r / list(prior.values()))).sum() <= 0.01 + 1e-6
    pulled, _ = optimized(folder, "--kl-to", typed, "--kl-weight", 100)
    assert [pulled.mixture[n] for n in NAMES] == pytest.approx(list(prior.values()), abs=0.01)


def test_a_task_is_read_from_the_runs_or_from_pairs(folder, tmp_path):
    recipe, _ = optimized(folder, "--task", "exam")
    assert "accuracy: exam" in recipe.predictions
    table = Study(folder).observations().values.to_pandas()
    wide = table[table.target == "exam"].pivot(index="run", columns="metric", values="value")
    wide[["loss", "accuracy"]].to_csv(tmp_path / "pairs.csv", index=False)
    again, _ = optimized(folder, "--task", f"exam={tmp_path / 'pairs.csv'}")
    one, two = (r.predictions["accuracy: exam"].mean for r in (recipe, again))
    assert one == pytest.approx(two, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kind", "wrst"), "Did you mean 'worst'"),
        (("--robust", "cvr"), "Did you mean 'cvar'"),
        (("--guard", "exm=0.1"), "Did you mean 'exam'"),
        (("--kl-to", "naturl", "--kl-limit", 0.1), "Did you mean 'natural'"),
        (("--kl-to", "web=.5,cod=.5", "--kl-limit", 0.1), "Did you mean 'code'"),
        (("--task", "exm"), "Did you mean 'exam'"),
        (("--task", "web"), "no run measured both"),
        (("--task", "exam=nowhere.csv"), "nowhere.csv is not a file"),
        (("--limit", "fees=5"), "must look like NAME=TOTAL:DOMAIN=COST"),
        (("--limit", "fees=5:code=1", "--limit", "fees=6:code=1"), "an earlier --limit is called 'fees'"),
        (("--kind", "least_change", "--gain", -1), "gain=-1.0 must be a number >= 0"),
        (("--limit", "fees=5:cod=1"), "Did you mean 'code'"),
        (("--limit", "fees=much:code=1"), "'much' is not a number"),
    ],
)
def test_misspelt_options_are_answered(folder, arguments, message):
    result = CliRunner().invoke(app, ["optimize", str(folder), *map(str, arguments)])
    assert result.exit_code == 1 and message in str(result.exception), result.exception


def test_declared_counts_are_exported_with_options(folder, tmp_path):
    optimized(folder)

    def exported(*arguments):
        return CliRunner().invoke(app, ["export", str(folder), *arguments])

    path = str(tmp_path / "mix.json")
    plain = exported("huggingface", path)
    assert plain.exit_code == 1 and "--option packed=true" in str(plain.exception)
    packed = exported("huggingface", path, "--option", "packed=true", "--option", "seed=3")
    assert packed.exit_code == 0 and '"seed": 3' in (tmp_path / "mix.json").read_text(), packed.exception
    written = exported("megatron", path, "--option", "sequence_length=10")
    assert written.exit_code == 0 and '"sequence_length": 10' in (tmp_path / "mix.json").read_text()
    assert "must look like NAME=VALUE" in str(exported("megatron", path, "--option", "packed").exception)
    assert "has no option 'packed'" in str(exported("megatron", path, "--option", "packed=true").exception)


def test_the_same_study_is_fresh_from_any_directory(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert Study(folder.name).stale() == Study(folder).stale() == {}

    assert len(Study(folder.name).facts().observations) == 24  # imported runs are shown as well


def test_a_frontier_is_told_by_its_ends(folder):
    result = CliRunner().invoke(app, ["frontier", str(folder), "--target", "web", "--target", "exam", "--points", "9"])
    assert result.exit_code == 0, result.exception
    assert "9 certified points" in result.output and "Lowest loss of each set" in result.output
    assert result.output.count("  at  ") == 2


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1_0", "١", "0x1", "", " ", "1e999", "1:30"])
def test_numbers_of_the_command_line_are_finite_and_plain(text):
    with pytest.raises(ConfigError, match="must look like NAME=NUMBER"):
        options.pairs([f"web={text}"], "objective")
    if text != "1_0":  # which counts may be written as
        with pytest.raises(ConfigError, match="is not a number"):
            options.mixture_or_name(f"web={text}", "--kl-to")
    with pytest.raises(ConfigError, match="must look like NAME=VALUE"):
        options.values(["x={a: &a [*a]}"])
