"""Write every drawing, and print its line for a lesson: python -m helpers.views.drawings"""

from __future__ import annotations

import sys

from helpers.views.drawings import FOLDER, drawings, markdown
from helpers.views.drawings.faults import faults


def main() -> int:
    """Write them all, unless one has a fault."""
    drawn = {name: (drawing, drawing.svg()) for name, drawing in drawings().items()}
    found = [f"{name}: {fault}" for name, (_, svg) in drawn.items() for fault in faults(svg)]
    if found:
        print(*found, sep="\n", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    for name, (_, svg) in drawn.items():
        (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")
    print(*(markdown(name, drawing) for name, (drawing, _) in drawn.items()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
