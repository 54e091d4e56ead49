"""Runs the notebooks in a scratch folder and writes their outputs back: ``python docs/notebooks/run.py [name ...]``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import mixlaw

HERE = Path(__file__).resolve().parent
SOURCE = Path(mixlaw.__file__).parent


def run(name: str) -> nbformat.NotebookNode:
    """The notebook ``name`` with the outputs of a run from top to bottom; an error in a cell is raised."""
    notebook = nbformat.read(HERE / f"{name}.ipynb", as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HERE.parents[1] / "tests" / "data" / "published", Path(folder) / "tests" / "data" / "published")
        before = os.environ.get("IPYTHONDIR")
        os.environ["IPYTHONDIR"] = folder  # no profile of the user's
        try:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
        finally:
            os.environ.pop("IPYTHONDIR") if before is None else os.environ.update(IPYTHONDIR=before)
    for cell in notebook.cells:
        cell.get("metadata", {}).pop("execution", None)
        for output in cell.get("outputs", []):
            for holder, key in ((output, "text"), (output.get("data", {}), "text/plain")):
                if key in holder:  # where this machine keeps things is nobody's business
                    holder[key] = holder[key].replace(str(SOURCE), "mixlaw").replace(str(folder), ".")
    return notebook


if __name__ == "__main__":
    for chosen in sys.argv[1:] or sorted(p.stem for p in HERE.glob("*.ipynb")):
        nbformat.write(run(chosen), HERE / f"{chosen}.ipynb")
        print(f"{chosen}: run from top to bottom")
