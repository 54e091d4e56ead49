"""The command line as a person types it, in processes of its own."""

import subprocess
import sys

import pytest


def mixlaw(*arguments, cwd=None):
    code = "from mixlaw.cli.app import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def test_help_lists_the_verbs():
    out = mixlaw("--help").stdout
    for verb in [
        "quickstart",
        "tokenize",
        "design",
        "train",
        "fit",
        "optimize",
        "verify",
        "predict",
        "export",
        "report",
        "status",
    ]:
        assert verb in out


@pytest.mark.parametrize("module", ["mixlaw", "mixlaw.cli"])
def test_the_package_runs_as_a_program(module):
    arguments = [sys.executable, "-m", module, "status", "nowhere"]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 1 and "nowhere/study.yaml is not there" in result.stderr
    assert "mixlaw init nowhere" in result.stderr and "mixlaw fit runs.csv" in result.stderr
    misspelt = subprocess.run([*arguments[:3], "statsu"], capture_output=True, text=True)
    assert misspelt.returncode == 2 and "No such command 'statsu'" in misspelt.stderr


def test_help_stays_light():
    code = (
        "import sys; sys.argv = ['mixlaw', '--help']\n"
        "from mixlaw.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'scipy.optimize', 'sklearn', 'lightgbm', 'plotly', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_errors_are_one_message_and_exit_1(tmp_path):
    result = mixlaw("tokenize", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "mixlaw init" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["init", "s", "--domain", "web", "--objective", "web=1", "--tokens", "5M"], "NAME=PATH"),
        (["init", "s", "--domain", "web=x", "--objective", "web=much", "--tokens", "5M"], "NAME=NUMBER"),
        (["init", "s", "--domain", "web=x", "--objective", "web=1", "--tokens", "five"], "'five' is not"),
        (["quickstart", "s", "--corpus", "nowhere"], "nowhere is not a folder"),
        (["quickstart", "s", "--minutes", "0"], "--minutes must be positive"),
        (["fit", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_wrong_input_says_what_where_and_what_next(tmp_path, arguments, message):
    result = mixlaw(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_unknown_options_are_click_errors(tmp_path):
    result = mixlaw("tokenize", tmp_path, "--nonsense")
    assert result.returncode == 2
    assert "nonsense" in result.stderr


def test_fit_on_a_table_needs_no_configuration(tmp_path):
    rows = ["weight_a,weight_b,loss_a,loss_b"]
    for i in range(24):
        w = 0.02 + 0.96 * i / 23
        rows.append(f"{w:.6f},{1 - w:.6f},{3 - 0.4 * w**0.5:.6f},{3 - 0.4 * (1 - w) ** 0.5:.6f}")
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    result = mixlaw("fit", "runs.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "held-out" in result.stdout.lower()
    assert (tmp_path / "runs-fit" / "law.json").exists()
    assert list((tmp_path / "runs-fit" / "plots").glob("*.png"))


@pytest.fixture
def broken_study(tmp_path):
    """A study whose own trainer always fails."""
    for name, word in (("a", "ant"), ("b", "bee")):
        text = "\n".join(f'{{"text": "{" ".join(f"{word}{i * j % 97}" for j in range(60))}"}}' for i in range(120))
        (tmp_path / f"{name}.jsonl").write_text(text)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.yaml").write_text(
        "corpus: {domains: {a: a.jsonl, b: b.jsonl}, vocab_size: 300, validation_tokens: 300}\n"
        "objective: {a: 1, b: 1}\nbudget: {tokens: 4096}\n"
        "training: {trainer: command, command: 'false', tokens: 4096, batch: 4, context: 32}\n"
        "design: {num: 2, replicates: 1}\nexecutor: {workers: 1}\n"
    )
    return tmp_path / "s"


def test_failed_runs_are_an_exit_code(broken_study):
    for verb in ("tokenize", "design"):
        result = mixlaw(verb, broken_study)
        assert result.returncode == 0, result.stderr
    result = mixlaw("train", broken_study)
    assert result.returncode == 1
    assert "0 of 3 runs are done; 3 failed" in result.stdout
    assert "Traceback" not in result.stderr


def test_options_a_study_would_ignore_are_refused(broken_study):
    for option in (["--seed", "3"], ["--target", "a"], ["--repair"]):
        result = mixlaw("fit", broken_study, *option)
        assert result.returncode == 1
        assert f"{option[0]} is for files of runs" in result.stderr


def test_help_shows_brackets_as_they_are():
    from typer.testing import CliRunner

    from mixlaw.cli.app import app

    out = CliRunner().invoke(app, ["design", "--help"], env={"COLUMNS": "250", "TERMINAL_WIDTH": "250"}).output
    assert "levels={news: [web, news]}" in out.replace("\\", "?")


def test_overflows_of_trial_parameters_are_no_warnings(tmp_path):
    code = (
        "import numpy, warnings\nfrom mixlaw.cli.app import _plain_warnings\n_plain_warnings()\n"
        "warnings.warn_explicit('overflow encountered in exp', RuntimeWarning, 'x.py', 1, module='mixlaw.laws.m4')\n"
        "warnings.warn_explicit('theirs', RuntimeWarning, 'own.py', 1, module='their.trainer')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.strip() == "RuntimeWarning: theirs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["design", "--replicates", "-1"], "replicates"), (["power", "--regret", "-1"], "--regret -1: no number of runs")],
)
def test_numbers_below_zero_are_refused(broken_study, arguments, message):
    result = mixlaw(arguments[0], broken_study, *arguments[1:])
    assert result.returncode == 1
    assert message in result.stderr
