"""Run notebooks from top to bottom and save them: python -m helpers.course.authoring.rerun [FILE …]

An output that says the same as the committed one, but for IDs, times and ports, keeps the
committed text, so that a run changes only what really changed. A picture that its own run
contradicts (`show_figure(…, holds=False)`) is not kept.
"""

from __future__ import annotations

import argparse
import copy
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.plugin import coalesce_streams, get_sanitize_patterns

from helpers.course.home import CHECKOUT
from helpers.course.pace import patient
from helpers.course.server import OwnServer

SANITIZE = CHECKOUT / "tests" / "sanitize.cfg"
CELL_TIMEOUT_S = 60  # on a quiet machine
CONTRADICTED = (
    "not saved, because a picture does not show what its caption says. Measure longer or in more "
    "rounds, or say what is so:"
)
VARYING = {"execution_count", "application/vnd.jupyter.widget-view+json"}


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
        for name in ("REDIS_URL", "COURSE_SERVER"):
            os.environ.pop(name, None)
        os.environ["PATH"] = str(Path(sys.executable).parent)  # so the embedded server is taken
        try:
            failed = [file for file in files if not rerun(file)]
        finally:
            OwnServer(Path(home)).stop()
    return 1 if failed else 0


def rerun(file: Path) -> bool:
    """Run one notebook and save it.

    Returns:
        False if a cell failed or a picture contradicts its caption; then the file is as it was.
    """
    before = nbformat.read(file, as_version=4)
    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=int(patient(CELL_TIMEOUT_S)),
        startup_timeout=int(patient(CELL_TIMEOUT_S)),
        coalesce_streams=True,
        resources={"metadata": {"path": str(file.parent)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"✗ {file.name}: {error}", file=sys.stderr)
        return False
    if claims := contradicted(notebook):
        print(f"✗ {file.name}: {CONTRADICTED}", *claims, sep="\n  ", file=sys.stderr)
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


def contradicted(notebook: Any) -> list[str]:
    """The captions of the pictures that their own run's numbers contradict."""
    return [
        output.data["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.get("metadata", {}).get("holds") is False
    ]


def same(old: list[Any], new: list[Any]) -> bool:
    """Whether two lists of outputs say the same, but for what changes from run to run."""
    return _comparable(_whole(old)) == _comparable(_whole(new))


def sanitized(text: str) -> str:
    """A text as nbval compares it: IDs, times and ports are replaced."""
    for pattern, replacement in get_sanitize_patterns(SANITIZE.read_text()):
        text = re.sub(pattern, replacement, text)
    return text


def _whole(outputs: list[Any]) -> list[Any]:
    """Printed lines may come in one piece or in several: put them together."""
    return list(coalesce_streams(copy.deepcopy(outputs)))


def _comparable(value: Any) -> Any:
    """An output, or a part of one: each text by itself, because `\\b` looks at its neighbours."""
    if isinstance(value, dict):
        return {key: _comparable(part) for key, part in value.items() if key not in VARYING}
    if isinstance(value, list):
        return [_comparable(part) for part in value]
    return sanitized(value) if isinstance(value, str) else value


def _renumber(cell: Any) -> None:
    for output in cell.outputs:
        if "execution_count" in output:
            output.execution_count = cell.execution_count


def _tidy(cell: Any) -> None:
    """Leave out what differs in every run and nobody reads: when a cell ran."""
    cell.metadata.pop("execution", None)


if __name__ == "__main__":
    sys.exit(main())
