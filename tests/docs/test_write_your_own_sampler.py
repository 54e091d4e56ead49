"""The page "Write your own sampler", followed to the letter in a folder of its own."""

import subprocess
import sys
import tomllib

import pytest
import yaml

from doc_pages import blocks, own_lines

PAGE = "write-your-own/sampler.md"


@pytest.fixture
def folder(tmp_path):
    for name, text in blocks(PAGE).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder, code):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_the_page_works_as_written(folder):
    assert list(blocks(PAGE)) == ["one_at_a_time.py", "use.py"]
    result = run(folder, "import runpy; runpy.run_path('use.py')")
    assert result.returncode == 0, result.stderr
    assert result.stdout == blocks(PAGE, "text")["output"]
    assert own_lines(blocks(PAGE)["one_at_a_time.py"]) < 40


def test_it_keeps_what_the_page_promises(folder):
    code = """
import runpy
from mixlaw import Observations
from mixlaw.design import Polytope
used = runpy.run_path('use.py')
propose, corpus, budget = used['propose'], used['corpus'], used['budget']
made = propose(corpus, budget, 9, sampler='one_at_a_time', seed=4)
rows = [s.mixture.weights for s in made]
assert len(set(rows)) == 9 and Polytope.of(corpus, budget).contains(rows).all()
assert rows == [s.mixture.weights for s in propose(corpus, budget, 9, sampler='one_at_a_time', seed=4)]
runs = [{'run': str(i), 'schedule': s.mixture.to_dict()} for i, s in enumerate(made)]
seen = Observations.from_records(runs, [{'run': str(i), 'target': 't', 'value': 2.0} for i in range(9)])
again = propose(corpus, budget, 4, seen, sampler='one_at_a_time', seed=4)
assert not {s.mixture.weights for s in again} & set(rows)
"""
    result = run(folder, code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("factr=3.0", "The sampler 'one_at_a_time' has no option 'factr'; it has factor. Did you mean 'factor'?"),
        ("factor=0.5", "factor=0.5 must be above 1"),
    ],
)
def test_what_the_page_says_is_refused(folder, options, message):
    code = f"""
import runpy
used = runpy.run_path('use.py')
used['propose'](used['corpus'], used['budget'], 3, sampler='one_at_a_time', {options})
"""
    result = run(folder, code)
    assert result.returncode and message in result.stderr, result.stderr


def test_a_package_joins_by_the_entry_point_of_the_page(folder):
    project = tomllib.loads(blocks(PAGE, "toml")["pyproject.toml"])["project"]
    info = folder / "one_at_a_time-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    design = yaml.safe_load(blocks(PAGE, "yaml")["study.yaml"])["design"]
    code = f"""
import sys
sys.path.insert(0, {str(folder)!r})
from mixlaw import Budget, Corpus
from mixlaw.design import SAMPLERS, propose
assert 'one_at_a_time' in SAMPLERS.names() and 'one_at_a_time' not in sys.modules
corpus = Corpus.declared({{'web': 6_000, 'code': 3_000}}, source='example')
made = propose(corpus, Budget(tokens=1_000), 2, sampler={design["sampler"]!r}, **{design["options"]!r})
print(sorted(round(s.mixture['web'], 3) for s in made))
"""
    result = run(folder, code)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[0.4, 0.857]\n"
