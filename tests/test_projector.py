"""`course lab --projector`: larger type and no side bars, and a learner's own settings stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.course import projector
from helpers.course.home import CHECKOUT
from tests.browser import TOKEN, Notebook, chromium, jupyterlab, until

pytestmark = [pytest.mark.once]

THEMES = "@jupyterlab/apputils-extension/themes.jupyterlab-settings"
SHORTCUTS = "@jupyterlab/shortcuts-extension/shortcuts.jupyterlab-settings"
DARK = '{\n  // at night\n  "theme": "JupyterLab Dark", "theme-scrollbars": true,\n}'
KEYS = '{"shortcuts": [{"command": "notebook:run-all-cells", "keys": ["F8"]}]}'


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's settings of JupyterLab."""
    folder = tmp_path / "own"
    for name, said in ((THEMES, DARK), (SHORTCUTS, KEYS)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(said)
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(folder))
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "home"))
    return folder


def test_the_projectors_settings_are_on_top_of_the_learners_own(own):
    for _ in range(2):  # the second time replaces what the first has left
        variables = projector.for_projector()
        settings = Path(variables["JUPYTERLAB_SETTINGS_DIR"])
        assert settings != own
        themes = json.loads((settings / THEMES).read_text())
        assert themes["theme"] == "JupyterLab Light"
        assert themes["theme-scrollbars"] is True
        assert (settings / SHORTCUTS).read_text() == KEYS
        (settings / SHORTCUTS).write_text("{}")
    assert (own / THEMES).read_text() == DARK
    assert (own / SHORTCUTS).read_text() == KEYS


@pytest.mark.parametrize("spoilt", ["{", "[]", "", "\0"])
def test_settings_that_cannot_be_read_are_no_obstacle(own, spoilt):
    (own / THEMES).write_text(spoilt)
    settings = Path(projector.for_projector()["JUPYTERLAB_SETTINGS_DIR"])
    assert json.loads((settings / THEMES).read_text())["theme"] == "JupyterLab Light"


def test_settings_lie_on_top_of_each_other():
    below = {"a": 1, "b": {"c": 2, "d": 3}, "e": {"f": 4}}
    assert projector.on_top(below, {"b": {"c": 5}, "e": 6, "g": {"h": 7}}) == {
        "a": 1, "b": {"c": 5, "d": 3}, "e": 6, "g": {"h": 7},
    }  # fmt: skip


LESSON = "00_start_here.ipynb"
SEEN = """() => ({
  code: parseFloat(getComputedStyle(document.querySelector(".cm-line")).fontSize),
  prose: parseFloat(getComputedStyle(document.querySelector(".jp-RenderedMarkdown")).fontSize),
  bars: [...document.querySelectorAll(".jp-SideBar, #jp-left-stack, #jp-bottom-panel")]
    .filter(one => one.offsetWidth * one.offsetHeight > 0).length,
  light: document.body.dataset.jpThemeLight,
})"""


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The projector's JupyterLab, on one lesson."""
    if not request.config.getoption("--all-answers"):
        pytest.skip("the projector's JupyterLab is looked at in `make test-all`")
    directory = tmp_path_factory.mktemp("projector")
    shutil.copy(CHECKOUT / "notebooks" / LESSON, directory)
    with jupyterlab(directory, "--projector") as address:
        yield address


@pytest.mark.skipif(chromium() is None, reason="SKIPPED: there is no chromium on this machine")
@pytest.mark.parametrize(("width", "code"), [(1280, 19), (1920, 24.9)])
def test_type_is_large_and_nothing_is_beside_the_notebook(url, browser, width, code):
    with browser.new_page() as page:
        page.set_viewport_size({"width": width, "height": width * 9 // 16})
        page.goto(f"{url}/lab/tree/{LESSON}?token={TOKEN}")
        until(page, "() => window.jupyterapp?.shell.currentWidget?.context?.isReady ?? false")
        Notebook(page, LESSON)  # its kernel answers
        seen = page.evaluate(SEEN)
        assert seen["code"] >= code
        assert seen["prose"] > seen["code"]
        assert seen["bars"] == 0
        assert seen["light"] == "true"
