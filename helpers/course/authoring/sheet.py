"""Write the cheat sheet as a page to print: python -m helpers.course.authoring.sheet

`cheatsheet.html` holds all that it needs, and prints on two sides of A4 from any browser. Cells
tagged `screen-only` are left out.
"""

from __future__ import annotations

from pathlib import Path

from nbconvert import HTMLExporter
from traitlets.config import Config

from helpers.course.home import CHECKOUT

SHEET = CHECKOUT / "notebooks" / "cheatsheet.ipynb"
PAGE = CHECKOUT / "cheatsheet.html"
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


def main() -> None:
    """Write it."""
    PAGE.write_text(page(SHEET))
    print(f"{PAGE.relative_to(CHECKOUT)} written: open it in a browser and print it, on A4")


def page(notebook: Path) -> str:
    """The page of a notebook, without its code."""
    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_cell_tags = {SCREEN_ONLY}
    exporter = HTMLExporter(config=config, template_name="basic", exclude_input=True)
    exporter.register_preprocessor("nbconvert.preprocessors.TagRemovePreprocessor", enabled=True)
    body, _ = exporter.from_filename(str(notebook))
    head = f'<meta charset="utf-8"><title>Redis Streams on two sides</title>{STYLE}'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


if __name__ == "__main__":
    main()
