"""The page "Write your own exporter", followed to the letter in a folder of its own."""

import subprocess
import sys
import tomllib

from doc_pages import blocks, own_lines

PAGE = "write-your-own/exporter.md"


def run(folder, code):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_the_page_works_as_written(tmp_path):
    code = blocks(PAGE)
    assert list(code) == ["percent_loader.py", "use.py"]
    for name, text in code.items():
        (tmp_path / name).write_text(text)
    result = run(tmp_path, "import runpy; runpy.run_path('use.py')")
    assert result.returncode == 0, result.stderr
    assert result.stdout.rstrip() == blocks(PAGE, "text")["output"].rstrip()
    assert own_lines(code["percent_loader.py"]) < 40


def test_what_the_page_says_is_refused(tmp_path):
    for name, text in blocks(PAGE).items():
        (tmp_path / name).write_text(text)
    start = "import runpy; recipe = runpy.run_path('use.py')['recipe']; import dataclasses; "
    for code, message in {
        "recipe.export('percent_loader', 'x', sequence_length='long')": "sequence_length='long' must be a whole number",
        "recipe.export('percent_loader', 'x', sequence_length=0)": "sequence_length=0 must be a whole number >= 1",
        "recipe.export('percent_loader', 'x', length=3)": "has no option 'length'; it has sequence_length",
        "dataclasses.replace(recipe, tokens=12_000_000).export('percent_loader', 'x')": "would repeat 'web' 1.2 times",
    }.items():
        result = run(tmp_path, start + code)
        assert result.returncode and message in result.stderr, result.stderr
        assert not (tmp_path / "x").exists()


def test_the_entry_point_names_the_registrys_group():
    from mixlaw.data.seams import EXPORTERS

    points = tomllib.loads(blocks(PAGE, "toml")["pyproject.toml"])["project"]["entry-points"]
    assert list(points) == [EXPORTERS.group]
    assert points[EXPORTERS.group] == {"percent_loader": "percent_loader:PercentLoader"}
