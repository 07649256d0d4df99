"""Run notebooks from top to bottom and save them: python -m helpers.authoring.rerun [FILE …]

An output that says the same as the committed one, but for IDs, times and ports, keeps the
committed text, so that a run changes only what really changed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbval.plugin import get_sanitize_patterns

from helpers.home import CHECKOUT
from helpers.server import OwnServer

SANITIZE = CHECKOUT / "tests" / "sanitize.cfg"
CELL_TIMEOUT_S = 60


def main() -> int:
    """Run the notebooks named, or all lessons and solutions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    files = parser.parse_args().files or [
        *sorted((CHECKOUT / "notebooks").glob("*.ipynb")),
        *sorted((CHECKOUT / "solutions").glob("*.ipynb")),
    ]
    with tempfile.TemporaryDirectory() as home:  # never the author's own database
        os.environ["COURSE_HOME"] = home
        os.environ["PATH"] = str(Path(sys.executable).parent)  # so the embedded server is taken
        try:
            failed = [file for file in files if not rerun(file)]
        finally:
            OwnServer(Path(home)).stop()
    return 1 if failed else 0


def rerun(file: Path) -> bool:
    """Run one notebook and save it; False, and the file as it was, if a cell failed."""
    before = nbformat.read(file, as_version=4)
    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": str(file.parent)}}
    )
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"✗ {file.name}: {error}", file=sys.stderr)
        return False
    known = {cell.id: cell for cell in before.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        _tidy(cell)
        old = known.get(cell.get("id"))
        if old is not None and cell.cell_type == "code" and same(old.outputs, cell.outputs):
            cell.outputs = old.outputs
            _renumber(cell)
    notebook.metadata = before.metadata
    nbformat.write(notebook, file)
    print(f"✓ {file.name}")
    return True


def same(old: list[Any], new: list[Any]) -> bool:
    """Whether two lists of outputs say the same, as nbval will compare them."""
    return sanitized(old) == sanitized(new)


def sanitized(outputs: list[Any]) -> str:
    """Outputs as one text, with what changes from run to run replaced."""
    text = "\n".join(str(_comparable(output)) for output in outputs)
    for pattern, replacement in get_sanitize_patterns(SANITIZE.read_text()):
        text = re.sub(pattern, replacement, text)
    return text


def _comparable(output: Any) -> Any:
    return {key: value for key, value in output.items() if key != "execution_count"}


def _renumber(cell: Any) -> None:
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count = cell.execution_count


def _tidy(cell: Any) -> None:
    """Leave out what differs in every run and nobody reads: when a cell ran."""
    cell.metadata.pop("execution", None)


if __name__ == "__main__":
    sys.exit(main())
