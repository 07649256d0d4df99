"""What a page asks for and gets: the board with its view, for the instructor or for the room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from helpers.course.authoring.runsheet import Route
from helpers.room.view import Board, Catalogue, look, without_seats


def told(
    board: Board, catalogue: Catalogue, routes: Sequence[Route], asked: Mapping[str, str]
) -> dict[str, Any]:
    """The board as a page shows it.

    Args:
        board: what was counted; what it has beside that goes to the page too.
        catalogue: exercise → number → what a mistake is.
        routes: the run-sheets.
        asked: the words of the page's address: `route` and `began`, of which a wrong value is like
            none, and `projector`, for what all may see.
    """
    began = asked.get("began", "")
    view = look(
        board,
        catalogue,
        routes,
        route=asked.get("route"),
        began=int(began) if began.isascii() and began.isdecimal() and len(began) < 16 else None,
    )
    data = {**board, "view": view}
    return without_seats(data) if asked.get("projector") else data
