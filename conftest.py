"""What the examples in the docstrings of ``src`` need, run by ``make doctest``."""

import importlib.util
import re
from pathlib import Path

NEEDS_TORCH = re.compile(r"^(import|from) torch\b", re.MULTILINE)

# Where torch is not installed, a module that imports it at its top has no examples to run.
collect_ignore = (
    []
    if importlib.util.find_spec("torch")
    else [str(p) for p in Path(__file__).parent.glob("src/mixlaw/**/*.py") if NEEDS_TORCH.search(p.read_text("utf-8"))]
)
