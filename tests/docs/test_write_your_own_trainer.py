"""The page "Write your own trainer", followed to the letter in a folder of its own."""

import json
import subprocess
import sys

from doc_pages import blocks, own_lines


def test_the_page_works_as_written(tmp_path):
    code = blocks("write-your-own/trainer.md")
    assert list(code) == ["unigrams.py", "use.py", "register.py"]
    for name, text in code.items():
        (tmp_path / name).write_text(text)
    result = subprocess.run([sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    losses = json.loads(result.stdout.replace("'", '"'))
    assert set(losses) == {"vowels", "consonants"}
    # all tokens are letters of 11 kinds and a few merges: far below a uniform guess over 300
    assert all(0.5 < value < 5.0 for value in losses.values())
    assert own_lines(code["unigrams.py"]) <= 40
    check = "import register, mixlaw as ml; assert ml.train.TRAINERS['unigrams'] is register.Unigrams"
    result = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
