"""A notebook as a page: predictions folded, widgets as pictures, answers behind a click."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from html import escape

import nbformat
from nbformat import NotebookNode

from helpers.course.authoring import reading
from helpers.course.authoring.labs import BEGIN, BLANK, END, LEFT_OUT
from helpers.course.authoring.site import prose
from helpers.course.authoring.site.pages import Page

FOLDED = "hide-output"  # the tag that folds a cell's output on the page
WIDGET = "application/vnd.jupyter.widget-view+json"
# All that a page needs; a notebook's own may be missing, or ask for a run.
METADATA = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
_EXERCISE = re.compile(r"## (\d+) · ")


def as_page(
    page: Page,
    notebook: NotebookNode,
    *,
    lead: Callable[[str], str | None],
    opened: Mapping[str, str],
    used: str = "",
) -> NotebookNode:
    """What Sphinx gets for a notebook.

    Args:
        page: where it stands.
        notebook: as it is committed; it stays as it is.
        lead: where a link to a path of the checkout leads: see `prose.relinked`.
        opened: the services that open it, with their addresses.
        used: Markdown for its end: what of the reference it uses.
    """
    made = copy.deepcopy(notebook)
    made.metadata = nbformat.from_dict(METADATA)
    for cell in made.cells:
        if cell.cell_type == "code":
            _static(cell)
        else:
            cell.source = prose.relinked(cell.source, page.path.rpartition("/")[0], lead)
    if page.kind == "solution":
        made.cells = list(_answers_folded(page, made.cells))
    first = made.cells[0]
    first.source = f"{first.source.rstrip()}\n\n{_opening(page, opened)}"
    if used:
        made.cells.append(_markdown(used))
    return made


def alt(output: NotebookNode) -> str:
    """What an output says in words beside its picture: what was given as its caption."""
    said = output.get("data", {}).get("text/plain", "")
    return "" if said.startswith("<") else " ".join(said.split())


def pictures(cell: NotebookNode) -> list[NotebookNode]:
    """The outputs of a cell that are shown as a picture."""
    return [
        output
        for output in cell.get("outputs", ())
        if any(kind.startswith("image/") for kind in output.get("data", ()))
    ]


def _static(cell: NotebookNode) -> None:
    """Fold what answers a prediction; show a widget's picture; give each picture its words."""
    tags = set(cell.metadata.get("tags", ()))
    if cell.metadata.get("jupyter", {}).get("outputs_hidden"):
        tags.add(FOLDED)
    cell.metadata["tags"] = sorted(tags)
    for output in cell.outputs:
        output.get("data", {}).pop(WIDGET, None)
    for output in pictures(cell):
        cell.metadata["mystnb"] = {"image": {"alt": alt(output)}}


def _opening(page: Page, opened: Mapping[str, str]) -> str:
    """A line below the title: where to get the notebook, and where to open it."""
    file = page.path.rpartition("/")[2]
    ways = [f'<a href="{escape(file)}" download>Download this notebook</a>']
    ways += [f'<a href="{escape(url)}">{escape(words)}</a>' for words, url in opened.items()]
    items = "".join(f"<li>{way}</li>" for way in ways)
    return f'<ul class="ways" aria-label="This notebook">{items}</ul>'


def _answers_folded(page: Page, cells: list[NotebookNode]) -> Iterator[NotebookNode]:
    """The cells of a solution, what answers an exercise behind a click."""
    number, is_open = "", False
    for cell in cells:
        if cell.cell_type == "markdown" and LEFT_OUT in reading.tags(cell) and not number:
            continue  # it speaks of marks that the page does not show
        if cell.cell_type == "markdown" and prose.headings(cell.source):
            if is_open:
                yield _markdown("</details>")
            is_open = False
            match = _EXERCISE.match(cell.source)
            number = match[1] if match else ""
            if cell.source.startswith("# "):
                cell.source = _titled(page, cell.source)
        elif number and not is_open and _answers(cell):
            is_open = True
            yield _markdown(
                f'<details class="answer"><summary>Show an answer to exercise {number}</summary>'
            )
        if cell.cell_type == "code":
            cell.source = answered(cell.source)
        yield cell
    if is_open:
        yield _markdown("</details>")


def _answers(cell: NotebookNode) -> bool:
    return BEGIN in cell.source or LEFT_OUT in reading.tags(cell)


def answered(source: str) -> str:
    """A solution's code with its answer, and without the marks and the blank.

    >>> answered("a = (\\n    ### BEGIN SOLUTION\\n    1\\n    ### BLANK\\n    # ____\\n"
    ...          "    ### END SOLUTION\\n)")
    'a = (\\n    1\\n)'
    """
    kept, shown = [], True
    for line in source.splitlines():
        mark = line.strip()
        if mark in (BEGIN, BLANK, END):
            shown = mark != BLANK
        elif shown:
            kept.append(line)
    return "\n".join(kept)


def _titled(page: Page, source: str) -> str:
    lab = f"../labs/{page.file.name}"
    title, _, rest = source.partition("\n")
    warning = f"> Try [the lab]({lab}) first: each answer here is behind a click."
    return f"{title.replace('# Lab', '# Solutions', 1)}\n\n{warning}\n{rest}"


def _markdown(source: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(source)
