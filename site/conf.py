"""How Sphinx builds the course's site; `make site` prepares its pages in build/pages."""

import os
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]

project = "Redis Streams, hands on"
author = "The authors of Redis Streams, hands on"
copyright = f"2026, {author}"
version = release = PROJECT["version"]
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

# Nothing is run: the outputs are those that are committed and tested.
nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Click to see the answer"  # as in JupyterLab; only predictions are folded
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"inherited-members": "tuple, Exception"}
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = project
html_baseurl = os.environ.get("SITE_URL", "")
html_static_path = ["_static"]
templates_path = ["_templates"]
html_search_scorer = str(HERE / "scorer.js")
html_css_files = ["course.css"]
html_js_files = [("course.js", {"defer": "defer"})]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_selector = ".cell_input pre, div.highlight-python pre, div.highlight-default pre"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app):
    """Docstrings as the reference shows them, and a fold that says what it hides."""
    from myst_nb.sphinx_ import HideCodeCellNode

    from helpers.course.authoring.site import docstrings

    def show(app, what, name, thing, options, lines):
        lines[:] = docstrings.as_rst(lines)

    app.connect("autodoc-process-docstring", show, priority=400)
    app.add_node(HideCodeCellNode, override=True, html=(_fold, _end_of_fold))


def _fold(translator, node):
    translator.body.append(f'<details class="fold"><summary>{node["prompt_show"]}</summary>')


def _end_of_fold(translator, node):
    translator.body.append("</details>")
