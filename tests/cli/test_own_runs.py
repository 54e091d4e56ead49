"""Own runs to a recipe in two commands: fit a table, optimise the folder it wrote; no text, and no second fit."""

import csv
import re
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from mixlaw.cli.app import app
from mixlaw.data.recipe import Recipe
from mixlaw.laws import Law
from mixlaw.study.fit_folder import predict_fit

DOMAINS = ("web", "code, & maths", "wiki")
COUNTS = ["--counts", "web=3T", "--counts", "code, & maths=400B", "--counts", "wiki=20B"]


def mixlaw(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """(folder of the fit, what the command printed)."""
    folder = tmp_path_factory.mktemp("own")
    R = np.random.default_rng(0).dirichlet(np.ones(3), 24)
    exam, bugs = 3 - np.log(R + 0.1) @ [0.2, 0.05, 0.1], 3 - np.log(R + 0.1) @ [0.05, 0.3, 0.02]
    with (folder / "runs.csv").open("w") as out:
        writer = csv.writer(out)
        writer.writerow([*(f"weight_{d}" for d in DOMAINS), "loss_exam", "loss_bugs"])
        writer.writerows(np.column_stack([R, exam, bugs]).tolist())
    said = mixlaw("fit", folder / "runs.csv", "--out", folder / "runs-fit")
    assert said.exit_code == 0, said.output
    return folder / "runs-fit", said.output


def test_a_fit_of_files_ends_with_the_command_that_makes_a_recipe(fitted):
    folder, text = fitted
    *_, explained, last = text.strip().splitlines()
    assert "--tokens" in explained and "--counts" in explained and "300B" in explained
    command = last.partition("Next: ")[2]
    words = shlex.split(command)
    assert words[:3] == ["mixlaw", "optimize", str(folder)]
    assert [w.partition("=")[0] for w in words if w.endswith("=TOKENS")] == list(DOMAINS)
    filled = [w.replace("=TOKENS", "=1T") if "=" in w else "300B" if w == "TOKENS" else w for w in words[1:]]
    assert mixlaw(*filled).exit_code == 0  # the command works as soon as the counts are in it


def test_the_recipe_comes_from_the_law_as_fitted_and_no_text(fitted):
    folder, _ = fitted
    before = (folder / "law.json").read_bytes()
    options = ["--max-epochs", "4", "--objective", "exam=0.7", "--objective", "bugs=0.3"]
    said = mixlaw("optimize", folder, "--tokens", "300B", *COUNTS, *options)
    assert said.exit_code == 0, said.output
    recipe = Recipe.load(folder / "recipe.json")
    assert (folder / "law.json").read_bytes() == before
    assert recipe.tokens == 300 * 10**9
    assert recipe.corpus.unique_tokens == {"web": 3 * 10**12, "code, & maths": 4 * 10**11, "wiki": 2 * 10**10}
    assert recipe.epochs["wiki"] <= 4 + 1e-6
    assert recipe.objective["weights"] == {"exam": 0.7, "bugs": 0.3}
    assert recipe.difference.low < recipe.difference.high  # the folder's runs are behind the interval
    assert re.search(r"exam: .*reference \d", said.output)
    exported = mixlaw("export", folder, "streaming", folder / "blend.py")
    assert exported.exit_code == 0, exported.output
    assert "code, & maths" in (folder / "blend.py").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (COUNTS, "Add --tokens"),
        (["--tokens", "300B", *COUNTS[:4]], "--counts lacks wiki"),
        (["--tokens", "300B", *COUNTS, "--counts", "wikis=3B"], "Did you mean 'wiki'"),
        (["--tokens", "300B", *COUNTS, "--limit", "fees=3"], "must look like NAME=TOTAL:DOMAIN=COST"),
        (["--tokens", "300B", *COUNTS, "--task", "exam"], "no run measured both loss and accuracy"),
        (["--tokens", "many", *COUNTS], "many"),
    ],
)
def test_what_is_missing_is_said(fitted, options, message):
    said = mixlaw("optimize", fitted[0], *options)
    assert said.exit_code != 0
    assert message in str(said.output) + str(said.exception)


def test_a_fit_without_a_recipe_says_what_makes_one(tmp_path):
    (tmp_path / "law.json").write_text("{}")
    said = mixlaw("export", tmp_path, "megatron", tmp_path / "blend.json")
    assert said.exit_code != 0
    assert f"mixlaw optimize {tmp_path} --tokens" in said.output + str(said.exception)


def test_options_of_a_fit_are_refused_for_a_folder_that_is_none(tmp_path):
    said = mixlaw("optimize", tmp_path, "--tokens", "300B")
    assert "holds neither law.json nor study.yaml" in said.output + str(said.exception)
    (tmp_path / "runs.csv").write_text("weight_web,loss_web\n1,3\n")
    said = mixlaw("optimize", tmp_path / "runs.csv", "--tokens", "300B")
    assert "is a file and no study folder" in said.output + str(said.exception)


def test_limits_and_tasks_work_on_a_fit_as_on_a_study(fitted):
    """They were refused as things for studies."""
    folder, _ = fitted
    plain = ["optimize", folder, "--tokens", "300B", *COUNTS]
    assert mixlaw(*plain).exit_code == 0
    free = Recipe.load(folder / "recipe.json").mixture["code, & maths"]
    said = mixlaw(*plain, "--limit", f"pay={0.5 * free * 300e9}:code, & maths=1")
    assert said.exit_code == 0, said.output
    assert Recipe.load(folder / "recipe.json").mixture["code, & maths"] == pytest.approx(0.5 * free, rel=1e-4)
    assert "keeps no ledger" in said.output
    loss = np.linspace(2.5, 4.5, 12)
    table = np.column_stack([loss, 0.25 + 0.7 / (1 + np.exp(3 * (loss - 3.4)))])
    np.savetxt(folder / "pairs.csv", table, delimiter=",", header="loss,accuracy", comments="")
    said = mixlaw(*plain, "--task", f"exam={folder / 'pairs.csv'}")
    assert said.exit_code == 0, said.output
    assert "Accuracy instead of loss, through a task law: exam" in said.output


def test_a_mixture_is_predicted_by_the_law_of_a_fit(fitted):
    folder, _ = fitted
    weights = ["--weight", "web=0.5", "--weight", "code, & maths=0.5"]
    said = mixlaw("predict", folder, *weights)
    assert said.exit_code == 0, said.output
    mean = float(re.search(r"exam +(\d\.\d+) \[", said.output)[1])
    assert mean == pytest.approx(3 - np.log([0.6, 0.6, 0.1]) @ [0.2, 0.05, 0.1], abs=0.05)
    for more, words in [(["--params", "1B"], "does not know params"), (["--weight", "wikis=0"], "Did you mean 'wiki'")]:
        said = mixlaw("predict", folder, *weights, *more)
        assert said.exit_code != 0 and words in str(said.output) + str(said.exception)


def test_where_no_run_was_the_predicted_interval_allows_for_a_wrong_form(fitted, tmp_path):
    folder, _ = fitted
    assert mixlaw("fit", folder.parent / "runs.csv", "--out", tmp_path / "m4", "--law", "m4").exit_code == 0
    law = Law.from_json((tmp_path / "m4" / "law.json").read_text())
    low, high = law.predict_interval({"web": [0.0], "code, & maths": [0.0], "wiki": [1.0]})
    found = predict_fit(tmp_path / "m4", {"wiki": 1.0})
    truth = 3 - np.log([0.1, 0.1, 1.1]) @ np.array([[0.2, 0.05, 0.1], [0.05, 0.3, 0.02]]).T  # no form of M4
    for t, (name, loss) in enumerate(zip(("exam", "bugs"), truth)):
        assert law.target_names_[t] == name and not low[0, t] <= loss <= high[0, t]
        assert found[name].low <= loss <= found[name].high


def test_the_law_of_a_fit_can_be_chosen(fitted, tmp_path):
    """The summary named a law that could be certified, and no option chose it."""
    folder, text = fitted
    name = re.search(r"fit that law by itself: --law (\S+)\.", text)[1]
    said = mixlaw("fit", folder.parent / "runs.csv", "--out", tmp_path / "own", "--law", name)
    assert said.exit_code == 0, said.output
    assert (tmp_path / "own" / "league.json").exists()
    said = mixlaw("optimize", tmp_path / "own", "--tokens", "300B", *COUNTS)
    assert said.output.startswith("certified optimum"), said.output
    for law, words in [("m22", "Unknown law 'm22'"), ("chinchilla", "of the kind 'scale'"), ("joint", "params")]:
        said = mixlaw("fit", folder.parent / "runs.csv", "--out", tmp_path / "no", "--law", law)
        assert said.exit_code != 0 and words in str(said.output) + str(said.exception)


@pytest.mark.slow
def test_runs_of_three_sizes_and_several_lengths_give_a_recipe_at_a_larger_size(tmp_path):
    """Evaluations along runs have steps; a budget states none, and tokens say the same."""
    rows = []
    for web in (0.2, 0.4, 0.6, 0.8):
        for params in (10_000_000, 30_000_000, 100_000_000):
            for step in (1_000, 2_000, 4_000):
                tokens = step * 1_000_000
                loss = 2 + (web - 0.5) ** 2 + 30 * params**-0.25 + 900 * tokens**-0.35
                rows.append([f"{web}-{params}", web, 1 - web, params, step, tokens, loss])
    with (tmp_path / "runs.csv").open("w") as out:
        writer = csv.writer(out)
        writer.writerow(["run", "weight_web", "weight_code", "params", "step", "tokens", "loss_exam"])
        writer.writerows(rows)
    said = mixlaw("fit", tmp_path / "runs.csv", "--out", tmp_path / "runs-fit")
    assert said.exit_code == 0, said.output
    counts = ["--counts", "web=3T", "--counts", "code=3T"]
    said = mixlaw("optimize", tmp_path / "runs-fit", "--tokens", "8B", "--params", "200M", *counts)
    assert said.exit_code == 0, said.output
    recipe = Recipe.load(tmp_path / "runs-fit" / "recipe.json")
    assert recipe.mixture.to_dict()["web"] == pytest.approx(0.5, abs=0.1)
    assert "No evidence was given" not in said.output and "larger than any of them" in said.output
