"""Random inputs for every border of mixlaw, for some minutes: ``python tests/fuzz/run.py --minutes 10``.

Rounds of every check, each with a seed of its own that is printed. A failure prints the check, the seed, the smallest
input that shows it and the traceback; the search goes on, and the exit status is 1. ``--seed S --check NAME`` with
the same ``--examples`` repeats one round.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase

Tried = dict[str, Counter[str]]


def search(
    check: Any, seed: int, examples: int, tried: Tried | None = None, refusals: Tried | None = None
) -> dict[str, tuple[Any, str]]:
    """``{kind of failure: (smallest input, traceback)}`` of some examples; empty where all is well.

    Args:
        check: a :class:`fuzz.checks.Check`.
        seed: the same seed gives the same inputs.
        examples: how many inputs.
        tried: ``{name of the check: how many were accepted, refused, crashed}``, counted where given.
        refusals: ``{name of the check: how often each refusal was met}``, counted where given.
    """
    failures: dict[str, tuple[Any, str]] = {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=True,
    )
    @hypothesis.given(check.inputs)
    def attempt(given: Any) -> None:
        mine = Counter[str]() if tried is None else tried.setdefault(check.name, Counter())
        try:
            refusal = check(given)
            mine["refused" if refusal else "accepted"] += 1
            if refusal and refusals is not None:
                refusals.setdefault(check.name, Counter())[re.sub(r"[^a-z ]+", "~", refusal.lower())[:70]] += 1
        except Exception as error:
            mine["crashed"] += 1
            ours = [
                f for f in traceback.extract_tb(error.__traceback__) if "mixlaw" in f.filename or "fuzz" in f.filename
            ]
            # hypothesis replays the smallest input last, so the last of a kind is kept
            kind = f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
            failures[kind] = (given, traceback.format_exc())
            raise

    try:
        attempt()
    except BaseException as error:
        if not failures or isinstance(error, KeyboardInterrupt):
            raise
    return failures


def main() -> int:
    """Search until the time is up; 1 where something was found."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from fuzz.checks import CHECKS, LONGEST

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first round; default: the clock")
    parser.add_argument("--examples", type=int, default=100, help="inputs of a check in a round")
    parser.add_argument("--check", action="append", help="only this one; repeat")
    parser.add_argument("--refusals", type=int, default=0, help="print so many of the commonest refusals of a check")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    wanted = [c for c in CHECKS if not given.check or c.name in given.check]
    if not wanted:
        parser.error(f"no such check; known: {', '.join(c.name for c in CHECKS)}")
    tried: Tried = {}
    refusals: Tried = {}
    start, found = time.monotonic(), Counter[str]()
    seed = given.seed if given.seed is not None else int(time.time())
    while time.monotonic() - start < 60 * given.minutes:
        for check in wanted:
            # a hang inside C is not interrupted by a signal: the check, its seed and where it hangs are printed then
            print(f"\r{check.name}, seed {seed} ...", end="\x1b[K", file=sys.stderr, flush=True)
            faulthandler.dump_traceback_later(given.examples * 4 * LONGEST, exit=True)
            for kind, (smallest, trace) in search(check, seed, given.examples, tried, refusals).items():
                found[f"{check.name}: {kind}"] += 1
                if found[f"{check.name}: {kind}"] == 1:
                    print(f"\n=== {check.name}, seed {seed}: {kind}\ninput: {smallest!r}\n{trace}", flush=True)
            faulthandler.cancel_dump_traceback_later()
        seed += 1
    print("\r", end="\x1b[K", file=sys.stderr)
    print(f"{'check':<32}{'inputs':>8}{'accepted':>10}{'refused':>9}{'crashed':>9}")
    for name, of in tried.items():
        share = f"{of['accepted'] / of.total():.0%}"
        print(f"{name:<32}{of.total():>8}{share:>10}{of['refused']:>9}{of['crashed']:>9}")
        for refusal, times in refusals.get(name, Counter()).most_common(given.refusals):
            print(f"    {times:>6}  {refusal}")
    inputs, minutes = sum(of.total() for of in tried.values()), (time.monotonic() - start) / 60
    print(f"{inputs} inputs in {minutes:.1f} minutes, {len(found)} kinds of failure.")
    for kind, times in found.most_common():
        print(f"  {kind} ({times} rounds)")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
