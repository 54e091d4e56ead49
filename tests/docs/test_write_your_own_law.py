"""The page "Write your own law", followed to the letter in a folder of its own, outside the repository."""

import subprocess
import sys

import pytest

from doc_pages import blocks, own_lines

PAGE = "write-your-own/law.md"


@pytest.fixture
def folder(tmp_path):
    for name, text in blocks(PAGE).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)


def test_a_law_of_size_works_as_written(folder):
    assert list(blocks(PAGE)) == [
        "hestness.py", "use.py", "one_exponential.py", "use_mixture.py", "additive.py", "use_joint.py",
        "loss_to_accuracy.py", "use_capability.py", "test_hestness.py",
    ]  # fmt: skip
    result = run(folder, "use.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip() == blocks(PAGE, "text")["output"].rstrip()


def test_a_law_of_the_mixture_works_as_written(folder):
    result = run(folder, "use_mixture.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "the contract holds\n"


@pytest.mark.parametrize("kind", ["joint", "capability"])
def test_a_law_of_another_kind_works_as_written(folder, kind):
    result = run(folder, f"use_{kind}.py")
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip() == blocks(PAGE, "text")[f"output_{kind}"].rstrip()


def test_the_contract_is_a_test_of_ones_own(folder):
    result = run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hestness.py")
    assert result.returncode == 0, result.stdout
    assert "failed" not in result.stdout and "passed" in result.stdout


@pytest.mark.parametrize("name", ["hestness.py", "one_exponential.py", "additive.py", "loss_to_accuracy.py"])
def test_each_is_one_file_of_at_most_40_lines(name):
    assert own_lines(blocks(PAGE)[name]) <= 40


def test_a_slip_in_a_slope_is_found_out(folder):
    text = blocks(PAGE)["hestness.py"]
    assert '"beta": -np.log(tokens)' in text
    (folder / "hestness.py").write_text(text.replace('"beta": -np.log(tokens)', '"beta": np.log(tokens)'))
    result = run(folder, "-c", "from hestness import Hestness; from mixlaw.laws import check_law; check_law(Hestness)")
    assert result.returncode and "ContractError" in result.stderr, result.stderr
