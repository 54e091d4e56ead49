"""examples/continual finds a critical proportion between the shares that it tries, and trains there."""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

SCRIPT = Path(__file__).parents[2] / "examples" / "continual" / "run.py"
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def run(monkeypatch, *arguments):
    spec = importlib.util.spec_from_file_location("continual_example", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    module.main()


def write(folder):
    """The old text counts up by one or two, the new one down: what is learned of one is wrong in the other."""
    rng = random.Random(0)
    for name, sign in (("old", 1), ("new", -1)):
        lines = []
        for _ in range(1200):
            at = [rng.randrange(12)]
            for _ in range(60):
                at.append((at[-1] + sign * rng.choice((1, 2))) % 12)
            lines.append(json.dumps({"text": " ".join(WORDS[i] for i in at)}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_the_proportion_is_found_and_trained_at(tmp_path, monkeypatch, capsys):
    write(tmp_path)
    given = ("--corpora", tmp_path, "--base-tokens", 61_440, "--tokens", 20_480, "--seeds", 2, "--tolerance", 0.6)
    run(monkeypatch, tmp_path / "out", *given)
    printed = capsys.readouterr().out
    rows = [[float(cell) for cell in line.strip("| ").split("|")] for line in printed.splitlines() if "| 0." in line]
    assert len(rows) == 6 and all(row[4] < 0 for row in rows)  # every run learns the new text
    found = re.search(r"largest share of new text: ([\d.]+) \[([\d.]+), ([\d.]+)\]", printed)
    share, low, high = map(float, found.groups())
    assert 0.25 < low <= share <= high < 0.85 and high - low < 0.3
    change = float(re.search(r"with 2 seeds, the loss on old text moved by \+([\d.]+)", printed).group(1))
    assert abs(change - 0.6) < 0.15
    runs = len(list((tmp_path / "out" / "continued" / "runs").iterdir()))
    run(monkeypatch, tmp_path / "out", *given)  # a second time there is nothing to train
    assert capsys.readouterr().out == printed
    assert len(list((tmp_path / "out" / "continued" / "runs").iterdir())) == runs == 8


def test_text_that_is_not_there_is_told(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"There is no old\.\* in .*--old and --new"):
        run(monkeypatch, tmp_path / "out", "--corpora", tmp_path)
