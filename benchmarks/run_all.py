"""Run the benchmarks and write their tables into docs/benchmarks.md, one section each.

    python benchmarks/run_all.py                    # everything; about two hours on two cores
    python benchmarks/run_all.py --only laws_regmix optimize
    python benchmarks/run_all.py --quick            # small versions, printed only

A section is replaced whole when its script has ended well; a script that fails leaves the old section and is reported.
"""

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs" / "benchmarks.md"

SCRIPTS: dict[str, list[str]] = {
    "laws_regmix": [],
    "laws_dml": [],
    "laws_studies": [],
    "laws_mixture": [],
    "laws_chinchilla": [],
    "laws_scale": [],
    "laws_growth": [],
    "optimize": [],
    "gain_intervals": [],
    "design": [],
    "design_surrogate": [],
    "design_noise": [],
    "design_power": [],
    "tokens": [],
    "throughput": [],
    "quickstart_seeds": [],
    "real_text_study": [],
    "two_phase_study": [],
}
"""Script to its arguments, in the order of the page."""

HEAD = """# Benchmarks

The tables here were printed by the script their section names, on the machine that the section names; `make bench`
runs them all again. A paragraph on misses or circumstances was written by hand. Accuracy is judged on held-out rows.
Choices were made inside training rows, with four exceptions. Two on the records of Data Mixing Laws: one prior width
and two prior means of the Gaussian process (`docs/laws/auto.md`), and the default annealing prior of `Joint`, for
which `laws_scale` therefore prints the prior of the other study beside it. Two on RegMix's 768 runs, which `design` and
`design_power` replay: the margin of the recommendation (half an error; random halves and parts of the same runs and
losses, other objectives and seeds) and the assumed error of power's interval (80%; random pairs of the same losses,
after intervals had been seen to be too narrow on five objectives that are reported). Times are processor times on
shared machines: read the ratios against the peers measured in the same run.
"""


def machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        model = platform.platform()
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def section(name: str, arguments: list[str], output: str, seconds: float) -> str:
    today = datetime.date.today().isoformat()
    command = " ".join(["python", f"benchmarks/{name}.py", *arguments])
    return (
        f"<!-- begin {name} -->\n## {name}\n\n`{command}` — {today}, {machine()}, {seconds:.0f} s\n\n"
        f"{output.strip()}\n<!-- end {name} -->\n"
    )


def replace(text: str, name: str, new: str) -> str:
    pattern = re.compile(rf"<!-- begin {name} -->.*?<!-- end {name} -->\n", re.S)
    if pattern.search(text):
        return pattern.sub(lambda _: new, text)
    order = list(SCRIPTS)
    for later in order[order.index(name) + 1 :]:
        marker = f"<!-- begin {later} -->"
        if marker in text:
            return text.replace(marker, new + "\n" + marker)
    return text.rstrip("\n") + "\n\n" + new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, default=[], help="passed on to the script")
    args = parser.parse_args()
    failed = []
    for name in args.only:
        arguments = [*SCRIPTS[name], *(["--quick"] if args.quick else []), *args.arguments]
        began = time.monotonic()
        print(f"== {name} {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), *arguments], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
        )
        print(done.stdout, flush=True)
        if done.returncode != 0:
            failed.append(name)
        elif not args.quick:
            text = DOCS.read_text(encoding="utf-8") if DOCS.exists() else HEAD
            new = section(name, arguments, done.stdout, time.monotonic() - began)
            DOCS.write_text(replace(text, name, new), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; their old sections stand")


if __name__ == "__main__":
    main()
