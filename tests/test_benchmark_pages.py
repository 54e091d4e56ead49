"""The benchmark pages: one per script that has figures, a short summary that links to them, and plain numbers."""

import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUMMARY = ROOT / "docs" / "benchmarks.md"
PAGES = ROOT / "docs" / "benchmarks"


def run_all():
    spec = importlib.util.spec_from_file_location("benchmarks_run_all", ROOT / "benchmarks" / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_summary_is_short_and_links_every_page():
    text = SUMMARY.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    linked = set(re.findall(r"\(benchmarks/(\w+)\.md\)", text))
    assert linked == {path.stem for path in PAGES.glob("*.md")}
    assert linked == set(run_all().BENCHMARKS) - {"tokens"}  # no figures of it are recorded


def test_a_page_keeps_what_was_written_by_hand():
    module = run_all()
    path = PAGES / "design_noise.md"
    old = path.read_text(encoding="utf-8")
    printed = old.partition(module.BEGIN)[2].partition(module.END)[0].strip()
    when, _, output = printed.partition("\n\n")
    assert module.page("design_noise", [], when, output, old) == old
    new = module.page("design_noise", ["--quick"], "Measured today.", "| a |", old)
    assert new.partition(module.END)[2] == old.partition(module.END)[2]
    assert "Measured today.\n\n| a |" in new and output not in new
    assert "design_noise.py --quick" in new


def test_words_with_hyphens_are_not_broken():
    module = run_all()
    for name, benchmark in module.BENCHMARKS.items():
        measures = module.page(name, [], "Measured.", "").split("\n\n")[1]
        assert measures.split() == benchmark.measures.split(), name


def test_pages_name_the_machine_only_where_it_is_another_one():
    module = run_all()
    there = re.search(r"one machine: (.*?)\. ", SUMMARY.read_text(encoding="utf-8"))[1]
    assert there not in module.measured(3.0, there)
    assert " on Another processor, 8 cores;" in module.measured(3.0, "Another processor, 8 cores")


def test_pages_write_numbers_in_full():
    pages = [SUMMARY, *PAGES.glob("*.md")]
    assert len(pages) > 15
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])\.\d", text), path  # 0.0079, not .0079
        assert not re.search(r"\bnan\b|\d\.\d{12}|\b[0-9a-f]{16}\b|\bmn\b", text), path
