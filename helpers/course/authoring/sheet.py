"""Write what is to be printed: python -m helpers.course.authoring.sheet

`cheatsheet.html` is the cheat sheet, on two sides of A4, without the cells tagged `screen-only`.
`handout.html` is the page for each attendee of a class, on one side of A4 or Letter. Both hold all
that they need, and print from any browser.
"""

from __future__ import annotations

from pathlib import Path

from nbconvert import HTMLExporter
from nbconvert.filters.markdown import markdown2html
from traitlets.config import Config

from helpers.course.home import CHECKOUT

SHEET = CHECKOUT / "notebooks" / "cheatsheet.ipynb"
PAGE = CHECKOUT / "cheatsheet.html"
HANDOUT = CHECKOUT / "teaching" / "handout.md"
HANDOUT_PAGE = CHECKOUT / "handout.html"
SCREEN_ONLY = "screen-only"

STYLE = """
<style>
  @page { size: A4; margin: 9mm 10mm; }
  body { font: 8.3pt/1.25 system-ui, sans-serif; color: #000; max-width: 190mm; margin: 0 auto; }
  h1 { font-size: 13pt; margin: 0 0 1mm; }
  h2 { font-size: 10.5pt; margin: 2.2mm 0 0.8mm; break-after: avoid; }
  p, ul, ol { margin: 0.8mm 0; }
  ul, ol { padding-left: 4.5mm; }
  table { border-collapse: collapse; width: 100%; break-inside: avoid; }
  th, td { border-bottom: 0.2mm solid #999; padding: 0.35mm 1.5mm 0.35mm 0; text-align: left;
           vertical-align: top; }
  th { border-bottom-color: #000; }
  td:first-child code { white-space: nowrap; }
  code { font: 0.96em ui-monospace, monospace; }
  .anchor-link { display: none; }
</style>
"""

LARGER = """
<style>
  @page { margin: 13mm 15mm; }
  body { font-size: 10.2pt; line-height: 1.35; max-width: 185mm; }
  h1 { font-size: 17pt; }
  h2 { font-size: 12pt; margin-top: 3.4mm; }
  th, td { padding: 0.7mm 2.5mm 0.7mm 0; }
  th:empty { display: none; }
  pre { margin: 1.2mm 0; }
</style>
"""


def main() -> None:
    """Write them."""
    for file, text in ((PAGE, page(SHEET)), (HANDOUT_PAGE, handout())):
        file.write_text(text)
        print(f"{file.relative_to(CHECKOUT)} written: open it in a browser and print it")


def handout() -> str:
    """The page for each attendee."""
    body = markdown2html(HANDOUT.read_text("utf-8"))
    return _whole("Redis Streams: the handout", STYLE + LARGER, body)


def page(notebook: Path) -> str:
    """The page of a notebook, without its code."""
    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {SCREEN_ONLY}
    exporter = HTMLExporter(config=config, template_name="basic", exclude_input=True)
    exporter.register_preprocessor("nbconvert.preprocessors.TagRemovePreprocessor", enabled=True)
    body, _ = exporter.from_filename(str(notebook))
    return _whole("Redis Streams: the cheat sheet", STYLE, body)


def _whole(title: str, style: str, body: str) -> str:
    head = f'<meta charset="utf-8"><title>{title}</title>{style}'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


if __name__ == "__main__":
    main()
