"""State how long lessons and labs take, by rule: python -m helpers.course.authoring.times

With --check it lists what each lesson lacks, and with --sections the minutes up to each heading.
Times are written only where a lesson marks its parts: see `reading`, `rule` and `stating`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise

from helpers.course.authoring import reading, runsheet
from helpers.course.authoring.lacks import lacks, readme_lacks
from helpers.course.authoring.rule import Lesson, lessons, minutes
from helpers.course.authoring.stating import routes, stated, write
from helpers.course.home import CHECKOUT

README = CHECKOUT / "README.md"


def main() -> int:
    """Write the times, or print what is lacking."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="their numbers; all, if none is given")
    parser.add_argument("--check", action="store_true", help="list what each lesson lacks")
    parser.add_argument("--sections", action="store_true", help="minutes up to each heading")
    parser.add_argument("--routes", action="store_true", help="print README's table of routes")
    options = parser.parse_args()
    everything = lessons()
    chosen = [one for one in everything if not options.lessons or one.number in options.lessons]
    if options.sections:
        return _print_sections(chosen)
    if options.routes:
        print(routes(everything))
        return 0
    if options.check:
        return _print_lacks(chosen, everything)
    for lesson in chosen:
        if lesson.stands:
            write(lesson)
    if all(lesson.stands for lesson in everything):
        README.write_text(stated(README.read_text(), everything))
        for page in runsheet.pages():
            page.write_text(runsheet.stated(page.read_text("utf-8"), everything), "utf-8")
    return 0


def _print_lacks(chosen: Sequence[Lesson], everything: Sequence[Lesson]) -> int:
    number = 0
    for lesson in chosen:
        core, deeper = (minutes(lesson.part(part)) for part in ("core", "deeper"))
        print(f"{lesson.name}: core {core:.1f} minutes, deeper {deeper:.1f}; ", end="")
        print(f"lab: musts {lesson.lab_takes('must')}, all {lesson.lab_takes()}")
        for lack in lacks(lesson, everything):
            number += 1
            print(f"  ✗ {lack}")
    for lack in readme_lacks(README.read_text(), everything):
        number += 1
        print(f"README.md\n  ✗ {lack}")
    print(f"{number} lacking.")
    return 1 if number else 0


def _print_sections(chosen: Sequence[Lesson]) -> int:
    for lesson in chosen:
        print(f"{lesson.name}\n  up to  takes  section")
        cells = reading.in_pieces(lesson.cells)
        begins = [i for i, cell in enumerate(cells) if i == 0 or reading.heading(cell)]
        for a, b in pairwise([*begins, len(cells)]):
            if cells[a].cell_type == "markdown":
                print(f"  {minutes(cells[:b]):5.1f}  {minutes(cells[a:b]):5.1f}  ", end="")
                print(cells[a].source.partition("\n")[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
