"""The site: one lesson with its lab and answers, and the reference; with --all-answers, all of it.

Every page is looked at in a browser, on a phone and a desktop, in light and dark.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import threading
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from playwright.sync_api import Request, expect

from helpers import streams
from helpers.course.authoring.site import changes, prose, reference
from helpers.course.authoring.site.__main__ import build, changed, sphinx
from helpers.course.authoring.site.built import Site
from helpers.course.authoring.site.documents import documents, outside
from helpers.course.authoring.site.faults import faults
from helpers.course.authoring.site.notebooks import METADATA, WIDGET, as_page
from helpers.course.authoring.site.pages import URL, Page, pages
from helpers.course.authoring.site.places import parsed, remote
from helpers.course.home import CHECKOUT
from helpers.course.pace import patient
from tests.accessibility import violations
from tests.browser import in_browser

pytestmark = [pytest.mark.once, pytest.mark.early]

NAME = "04_pending_and_ack"
LESSON, LAB, SOLUTION = (f"{folder}/{NAME}" for folder in ("notebooks", "labs", "solutions"))
ROOT = "/course"  # the site's path on its host
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1600, "height": 900}
AT_400_PERCENT = {"width": 320, "height": 256}  # WCAG's reflow: 1280 by 1024, four times as large


@pytest.fixture(scope="module")
def site(tmp_path_factory: Any, pytestconfig: pytest.Config) -> Site:
    """The site, built from the checkout's own files."""
    output = tmp_path_factory.mktemp("site") / "site"
    everything = pytestconfig.getoption("--all-answers")
    only = () if everything else (LESSON, LAB, SOLUTION, "CHANGES")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL, f"https://example.org{ROOT}")
        patch.chdir(output.parent)
        wrong = build(CHECKOUT, Path("site"), only)
    assert wrong == []
    assert list(output.parent.iterdir()) == [output]
    return Site(output, f"{ROOT}/")


class _Quiet(SimpleHTTPRequestHandler):
    """A plain host for static pages, which shows 404.html for an address that it doesn't have."""

    def translate_path(self, path: str) -> str:
        """The file of an address."""
        return super().translate_path(path.removeprefix(ROOT))

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The page for a missing address."""
        body = Path(self.directory, "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def host(site: Site) -> Iterator[str]:
    """The site's address, on a host that serves it."""
    handler = functools.partial(_Quiet, directory=str(site.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{ROOT}"
        server.shutdown()


def shown(site: Site, look: str, everything: bool) -> list[str]:
    """The pages to look at: all; or one of those that show code, and few where colours differ."""
    names = [str(page.relative_to(site.folder)) for page in site.pages]
    if everything and look == "phone":
        return names
    if everything:
        return [name for name in names if not name.startswith("_modules/")]
    if look == "desktop":
        return ["index.html", f"{LESSON}.html"]
    sources = [name for name in names if name.startswith("_modules/helpers/")]
    sources.sort(key=lambda name: (site.folder / name).stat().st_size)
    alike = {*sources[1:], "genindex.html", "py-modindex.html", "reference/course.html"}
    return [name for name in names if name not in alike]


# ------------------------------------------------------------------ what is on the pages


def test_predictions_are_folded_and_every_output_is_there(site):
    text = (site.folder / f"{LESSON}.html").read_text()
    cells = nbformat.read(CHECKOUT / f"{LESSON}.ipynb", as_version=4).cells
    hidden = [cell for cell in cells if cell.metadata.get("jupyter", {}).get("outputs_hidden")]
    assert text.count('<details class="fold"><summary>Click to see the answer</summary>') == len(
        hidden
    )
    pictures = [cell for cell in cells if "image/png" in str(cell.get("outputs"))]
    assert text.count("_images/") >= len(pictures) > 0
    assert "<svg" in text or ".svg" in text  # its drawings
    assert "widget-view" not in text


def test_answers_are_behind_a_click_and_without_the_marks(site):
    text = (site.folder / f"{SOLUTION}.html").read_text()
    before, *answers = re.split(r'<details class="answer">', text)
    exercises = re.findall(r"<summary>Show an answer to exercise (\d)</summary>", text)
    assert exercises == [str(n) for n in range(1, len(answers) + 1)]
    assert "xautoclaim" not in before
    assert "<title>Solutions 04 · " in before
    assert f'Try <a class="reference internal" href="../{LAB}.html">' in before
    assert not re.search(r"BEGIN SOLUTION|BLANK|END SOLUTION", text)


def test_lesson_and_reference_lead_to_each_other(site):
    lesson = (site.folder / f"{LESSON}.html").read_text()
    entries = site.pages[site.folder / "reference" / "streams.html"]
    assert 'href="../reference/streams.html#helpers.streams.Consumer"' in lesson
    assert {"helpers.streams.Consumer", "helpers.streams.DeadLetters"} <= entries.ids
    assert f"../{LESSON}.html" in entries.links
    mention = (
        '<a class="reference internal" href="../reference/streams.html#helpers.streams.Consumer"'
    )
    assert lesson.count(mention) == 2  # the first in its prose, and the one at its end


def test_promises_come_first(site):
    text = (site.folder / "reference" / "streams.html").read_text()
    assert text.index("What each class promises") < text.index('id="helpers.streams.Producer"')
    _, _, producer = text.partition('id="helpers.streams.Producer"')
    assert producer.index("<strong>Promise:</strong>") < producer.index("Parameters")


def test_the_reference_has_all_that_is_exported_and_all_that_lessons_import():
    names = [name.rpartition(".")[2] for name in reference.documented()]
    assert set(streams.__all__) - {"StreamsError"} <= set(names)  # that one is with the errors
    made = "\n".join(reference.pages(pages()).values())
    missing = [name for name in reference.uses(pages()) if not re.search(rf":: {name}$", made, re.M)
               and not name.startswith(reference.ERRORS)]  # fmt: skip
    assert missing == []


def test_each_notebook_can_be_downloaded_as_it_is(site):
    for folder in (LESSON, LAB, SOLUTION):
        assert (site.folder / f"{folder}.ipynb").read_bytes() == (
            CHECKOUT / f"{folder}.ipynb"
        ).read_bytes()


def test_a_notebook_cannot_ask_to_be_run_or_bring_a_broken_widget():
    own = {"mystnb": {"execution_mode": "force"}, "widgets": []}
    notebook = nbformat.v4.new_notebook(cells=[words("# 01")], metadata=own)
    page = Page(CHECKOUT / f"{LESSON}.ipynb", f"{LESSON}.ipynb", "lesson")
    assert as_page(page, notebook, lead=str, opened={}).metadata == METADATA


# ------------------------------------------------------------------ in a browser


# Large pages, of which `make test` looks at a part that has a bit of everything.
PARTS = {
    ("phone", "reference/streams.html"): "#append",
    ("phone", f"{LESSON}.html"): "#all-of-it-live",
    ("desktop", f"{LESSON}.html"): "#can-i-remove-a-consumer",
}
LOOKS = {"phone": (PHONE, "light"), "desktop": (DESKTOP, "dark")}


@pytest.mark.parametrize("look", LOOKS)
class TestEachPage:
    pytestmark = in_browser

    @pytest.mark.timeout(patient(900))  # with --all-answers there are a hundred
    def test_is_open_to_everyone_and_needs_no_other_host(
        self, site, host, page, look, pytestconfig
    ):
        size, scheme = LOOKS[look]
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request))
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        wrong = []
        everything = pytestconfig.getoption("--all-answers")
        for name in shown(site, look, everything):
            page.goto(f"{host}/{name}")
            part = None if everything else PARTS.get((look, name))
            wrong += [f"{name}: {one}" for one in violations(page, part)]
            wide = page.evaluate("document.documentElement.scrollWidth")
            wrong += [f"{name}: {wide} pixels wide"] * (wide > size["width"])
        assert wrong == []
        assert [one.url for one in asked if not one.url.startswith((host, "data:"))] == []


@pytest.mark.usefixtures("site")
class TestAReader:
    pytestmark = in_browser

    def test_finds_a_word(self, host, page):
        page.goto(f"{host}/search.html?q=XAUTOCLAIM")
        expect(page.locator(f'a[href*="{LESSON}.html"]').first).to_be_visible()

    def test_comes_from_the_search_to_the_place_that_matches(self, host, page):
        page.set_viewport_size(PHONE)
        page.goto(f"{host}/search.html?q=XAUTOCLAIM")
        page.locator(f'.search a[href*="{LESSON}.html"]').first.click()
        expect(page.locator("article .highlighted").first).to_be_in_viewport()

    def test_who_came_to_a_missing_address_finds_the_way_back(self, host, page):
        page.goto(f"{host}/deep/er/than/it/was.html")
        expect(page.get_by_role("heading", name="This page isn’t here")).to_be_visible()
        assert page.evaluate(
            "getComputedStyle(document.body).getPropertyValue('--color-brand-primary')"
        )
        assert violations(page) == []
        page.get_by_role("link", name="the contents").click()
        expect(page.get_by_role("heading", name="The lessons", exact=False)).to_be_visible()

    def test_without_javascript_unfolds_an_output(self, host, browser):
        context = browser.browser.new_context(java_script_enabled=False)
        with context.new_page() as page:
            page.goto(f"{host}/{LESSON}.html")
            fold = page.locator("details.fold").first
            expect(fold.locator(".cell_output")).not_to_be_visible()
            fold.locator("summary").click()
            expect(fold.locator(".cell_output")).to_be_visible()
        context.close()

    def test_with_a_keyboard_alone_unfolds_and_scrolls(self, host, page):
        page.set_viewport_size(PHONE)
        page.goto(f"{host}/{LESSON}.html")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        summary = page.locator("details.fold > summary").first
        summary.focus()
        page.keyboard.press("Enter")
        assert page.locator("details.fold").first.evaluate("fold => fold.open")
        too_wide = page.locator("article pre").evaluate_all(
            "all => all.filter(one => one.offsetParent && one.scrollWidth > one.clientWidth)"
            ".map(one => one.tabIndex)"
        )
        assert too_wide
        assert set(too_wide) == {0}

    def test_with_a_keyboard_alone_opens_the_contents_of_a_narrow_page(self, host, page):
        page.set_viewport_size(AT_400_PERCENT)
        page.goto(f"{host}/{LESSON}.html")
        expect(page.locator(".sidebar-search")).not_to_be_visible()  # and so not reached by Tab
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".sidebar-search")).to_be_visible()
        expect(page.locator(".sidebar-drawer a").first).to_be_focused()
        assert violations(page) == []
        page.keyboard.press("Escape")
        expect(page.locator(".sidebar-search")).not_to_be_visible()
        expect(page.locator(".nav-overlay-icon .icon")).to_be_focused()
        page.set_viewport_size(PHONE)  # who chose a heading sees it
        page.locator(".toc-header-icon .icon").click()
        page.locator(".toc-drawer a").last.click()
        expect(page.locator(".toc-drawer")).not_to_be_visible()
        expect(page.locator("h2").last).to_be_in_viewport()

    def test_on_a_phone_reads_what_each_number_of_the_tables_means(self, host, page):
        page.set_viewport_size(PHONE)
        page.goto(f"{host}/index.html")
        said = page.locator("#the-lessons .table-wrapper").evaluate_all(
            "all => all.map(one => ['4', '5'].map(nr => getComputedStyle("
            "one.querySelector(`tr:last-child td:nth-child(${nr}) p`), '::before').content))"
        )
        assert said == [
            ['"core + deeper: "', '"lab: "'],
            ['"reading and running: "', '"exercises: "'],
        ]

    def test_at_400_percent_reads_down_and_never_sideways(self, host, page):
        page.set_viewport_size(AT_400_PERCENT)
        for name in (LESSON, LAB, SOLUTION, "reference/streams", "index"):
            page.goto(f"{host}/{name}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, name

    def test_copies_code_and_not_its_prompt(self, host, page):
        page.goto(f"{host}/{LESSON}.html")
        assert page.locator(".cell_input button.copybtn").count() > 20
        button = page.locator(".cell_input button.copybtn").first
        button.press("Shift")  # a keyboard is at work, and sees what it is at
        expect(button).to_have_css("opacity", "1")
        expect(button).to_have_css("outline-style", "solid")
        assert (
            page.locator(".output.text_plain button.copybtn, .stream button.copybtn").count() == 0
        )

    def test_prints_what_was_folded(self, host, page):
        page.goto(f"{host}/{LESSON}.html")
        page.emulate_media(media="print")
        expect(page.locator("details.fold .cell_output").first).to_be_visible()


# ------------------------------------------------------------------ what is beside the pages


def test_the_feed_has_an_entry_for_each_version(site):
    root = ET.parse(site.folder / changes.FEED).getroot()
    space = {"a": changes.ATOM}
    versions = changes.versions((CHECKOUT / "CHANGES.md").read_text())
    assert [one.text for one in root.findall("a:entry/a:title", space)] == [
        v.name for v in versions
    ]
    assert root.findall("a:entry/a:content", space)[-1].text
    anchors = site.pages[site.folder / "CHANGES.html"].ids
    assert {one.anchor for one in versions} <= anchors
    assert 'type="application/atom+xml"' in (site.folder / f"{LESSON}.html").read_text()


def test_version_and_changes_and_citation_agree():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    newest = changes.versions((CHECKOUT / "CHANGES.md").read_text())[0]
    assert cited["version"] == newest.name == project["version"]
    assert str(cited["date-released"]) == newest.date
    assert {"cff-version", "message", "title", "authors"} <= set(cited)


def test_the_workflow_builds_with_make_and_publishes_what_it_built():
    steps = yaml.safe_load((CHECKOUT / ".github/workflows/site.yml").read_text())["jobs"]
    build_steps = steps["build"]["steps"]
    (made,) = [one for one in build_steps if one.get("run") == "make site"]
    assert "SITE_URL" in made["env"]
    (uploaded,) = [one for one in build_steps if "upload-pages-artifact" in one.get("uses", "")]
    assert uploaded["with"]["path"] == "build/site"
    assert "deploy-pages" in steps["publish"]["steps"][0]["uses"]


def test_readme_leads_to_it():
    assert "`make site`" in (CHECKOUT / "README.md").read_text()


def test_an_anchor_is_made_as_the_site_makes_it(site):
    headings = {
        prose.anchor(words)
        for cell in nbformat.read(CHECKOUT / f"{LESSON}.ipynb", as_version=4).cells
        if cell.cell_type == "markdown"
        for _, words in prose.headings(cell.source)
    }
    assert headings <= site.pages[site.folder / f"{LESSON}.html"].ids


# ------------------------------------------------------------------ bad input


PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg"
    "=="
)


def code(source: str, *outputs: Any, ran: int | None = 1, **metadata: Any) -> Any:
    """A cell of code, with its outputs."""
    return nbformat.v4.new_code_cell(
        source, outputs=list(outputs), execution_count=ran, metadata=metadata
    )


def said(text: str) -> Any:
    return nbformat.v4.new_output("stream", text=text)


def drawn(**beside: str) -> Any:
    return nbformat.v4.new_output("display_data", {"image/png": PICTURE, **beside})


def displayed(html: str) -> Any:
    return nbformat.v4.new_output("display_data", {"text/html": html, "text/plain": "it"})


def words(source: str) -> Any:
    return nbformat.v4.new_markdown_cell(source)


def notebook(**parts: Any) -> bytes:
    """A file of a notebook, right or wrong."""
    return json.dumps(nbformat.v4.new_notebook() | parts).encode()


def course(folder: Path, *cells: Any) -> Path:
    """A checkout with one lesson: a title, and these cells."""
    lesson = nbformat.v4.new_notebook(cells=[words("# 01 · A lesson\n\n## The first"), *cells])
    (folder / "notebooks").mkdir()
    nbformat.write(lesson, folder / "notebooks" / "01_a_lesson.ipynb")
    return folder


HOME = "/ho" + "me/ada"  # in two parts: a test looks for such paths in every file
BAD = {
    "not run": (code("1 + 1", ran=None), "it was not run"),
    "run in another order": (code("1 + 1", ran=7), "it ran as 7 and not as 1"),
    "failed": (
        code("1 / 0", nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="")),
        "it failed with ZeroDivisionError",
    ),
    "a machine's own path": (code("x", said(f"saved in {HOME}/x.txt")), f"machine, {HOME}/x.txt"),
    "a path of macOS": (code("x", said("/Us" + "ers/ada/x")), "a path of one machine"),
    "a path of Windows": (code("x", said("C:\\Users\\ada\\x")), "a path of one machine"),
    "a path in a drawing": (
        code(
            "x",
            nbformat.v4.new_output(
                "display_data", {"image/svg+xml": f"<text>{HOME}</text>", "text/plain": "It rises."}
            ),
        ),
        "a path of one machine",
    ),
    "a path in an error": (
        code(
            "x",
            nbformat.v4.new_output("error", ename="OSError", evalue=f"no {HOME}/x"),
            tags=["raises-exception"],
        ),
        "a path of one machine",
    ),
    "a picture without words": (
        code("x", drawn(**{"text/plain": "<Figure size 600x300 with 1 Axes>"})),
        "its picture has no alt text",
    ),
    "two pictures": (
        code("x", drawn(**{"text/plain": "one"}), drawn(**{"text/plain": "two"})),
        "it shows two pictures",
    ),
    "a drawing without words": (words("![](../notebooks/01_a_lesson.ipynb)"), "no alt text"),
    "an img without words": (words('<img src="01_a_lesson.ipynb">'), "no alt text"),
    "an img with a blank": (words('<img src="01_a_lesson.ipynb" alt=" ">'), "no alt text"),
    "an img in an output": (
        code("x", displayed('<img src="01_a_lesson.ipynb">')),
        "the picture 01_a_lesson.ipynb has no alt text",
    ),
    "a link in HTML": (words('See <a href="none.ipynb">it</a>.'), "none.ipynb leads to no file"),
    "a link in an output": (
        code("x", displayed('<a href="none.ipynb">it</a>')),
        "none.ipynb leads to no file",
    ),
    "a picture of another host": (
        words('<img src="https://example.org/x.png" alt="It rises.">'),
        "it needs https://example.org/x.png, of another host",
    ),
    "a script of another host": (
        code("x", displayed('<script src="//example.org/x.js"></script>')),
        "it needs //example.org/x.js, of another host",
    ),
    "a heading as HTML": (words("<h1>Another</h1>"), "<h1>: write it with #"),
    "a machine's own path in prose": (
        words(f"It is in {HOME}/course."),
        f"machine, {HOME}/course",
    ),
    "a link to nowhere": (words("[next](02_none.ipynb)"), "02_none.ipynb leads to no file"),
    "a link out of the checkout": (words("[up](../../x.md)"), "leads to no file"),
    "a broken anchor": (words("[there](#the-second)"), "#the-second leads to no heading"),
    "a broken anchor of a file": (
        words("[there](01_a_lesson.ipynb#the-second)"),
        "leads to no heading",
    ),
    "a level that is skipped": (words("#### Deep"), "skips a level"),
    "a second title": (words("# Another"), "is a second title"),
    "a link with a title": (
        words('[next](02_none.ipynb "Next")'),
        "02_none.ipynb leads to no file",
    ),
    "a link by reference": (words("[next][it]\n\n[it]: 02_none.ipynb"), "leads to no file"),
    "a link with a space": (words("[next](<02 none.ipynb>)"), "02%20none.ipynb leads to no file"),
    "a file as a folder": (words("[up](01_a_lesson.ipynb/)"), "leads to no file"),
    "a link in an output's Markdown": (
        code("x", nbformat.v4.new_output("display_data", {"text/markdown": "[it](none.md)"})),
        "none.md leads to no file",
    ),
    "a drawing of another host": (
        words("![It rises.](https://example.org/x.png)"),
        "it needs https://example.org/x.png, of another host",
    ),
    "styles of another host": (
        code("x", displayed("<style>@import '//example.org/x.css';</style>")),
        "it needs //example.org/x.css, of another host",
    ),
    "a picture inside of the notebook": (
        words("![It rises.](attachment:x.png)"),
        "the site can't show attachment:x.png",
    ),
    "a picture that is broken": (
        code("x", drawn(**{"text/plain": "It rises.", "image/png": "iVBORw0KGgo"})),
        "its picture isn't whole",
    ),
    "a formula": (words("It takes $n^2$ steps."), "the site can't show the formula n^2"),
    "a formula in an output": (
        code("x", nbformat.v4.new_output("display_data", {"text/latex": "$n^2$"})),
        "the site can't show its text/latex",
    ),
    "a script": (code("x", displayed("<script>draw()</script>")), "it has a script"),
    "HTML that does not end": (words("<details><summary>Why?</summary>"), "its <details> begins"),
    "HTML that ends twice": (code("x", displayed("<b>1</b></div>")), "its <div> begins and ends"),
    "an output without end": (code("x", said("1" * 300_000)), "its output has 300,001 characters"),
    "an output of another run": (
        code("x", nbformat.v4.new_output("execute_result", {}, execution_count=7)),
        "its output is that of another run",
    ),
    "a raw cell": (nbformat.v4.new_raw_cell("x"), "it is a raw cell"),
    "a path in a URL": (code("x", said(f"file://{HOME}/x")), f"machine, {HOME}/x"),
    "a widget alone": (
        code("x", nbformat.v4.new_output("display_data", {WIDGET: {"model_id": "1"}})),
        "nothing static to show",
    ),
}


@pytest.mark.parametrize(("cell", "sentence"), BAD.values(), ids=BAD)
def test_a_fault_is_told_with_its_file_and_cell(tmp_path, cell, sentence):
    (fault,) = map(str, faults(course(tmp_path, words("More."), cell)))
    assert fault.startswith("notebooks/01_a_lesson.ipynb, cell 2: ")
    assert sentence in fault


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notebooks/01_a_lesson.ipynb", b"", "it isn't a whole notebook"),
        ("notebooks/01_a_lesson.ipynb", b"<<<<<<< HEAD\n{}", "it isn't a whole notebook"),
        ("notebooks/01_a_lesson.ipynb", b"[]", "it isn't a whole notebook"),
        ("notebooks/01_a_lesson.ipynb", notebook(cells=None), "it isn't a whole notebook"),
        (
            "notebooks/01_a_lesson.ipynb",
            notebook(cells=[words("# 01"), {"cell_type": "code", "source": "", "metadata": {}}]),
            "cell 1: it isn't a whole notebook",
        ),
        (
            "notebooks/01_a_lesson.ipynb",
            notebook(cells=[code(""), words("# 01")]),
            "cell 0: it comes before the title",
        ),
        (
            "notebooks/01_a_lesson.ipynb",
            notebook(cells=[words("# 01") | {"id": "a"}, words("") | {"id": "a"}]),
            "two of its cells have the same ID",
        ),
        (
            "notebooks/01_a_lesson.ipynb",
            notebook(nbformat=3, nbformat_minor=0, worksheets=[]),
            "it has the notebook format 3, not 4",
        ),
        (
            "notebooks/01_a_lesson.ipynb",
            notebook(cells=[words("# \ud800")]),
            "it isn't text in UTF-8",
        ),
        ("CHANGES.md", b"# What changed \xff", "it isn't text in UTF-8"),
        ("CHANGES.md", b"# What changed", "it has no version"),
        ("CHANGES.md", b"# It\n\n## 1.0, 2026-13-45\n", "2026-13-45, of 1.0, is no date"),
        ("CHANGES.md", b"# It\n\n## 1, 2026-11-27\n\n## 1, 2026-11-27\n", "it has 1 2 times"),
        ("CHANGES.md", b"# It\n\n## 1, 2026-11-27\n\n## 2, 2026-11-28\n", "the newest version"),
        (
            "CHANGES.md",
            b"\xef\xbb\xbf# It\n\n## 1, 2026-11-27\n",
            "it has a character that no page",
        ),
        ("CHANGES.md/x", b"", "it can't be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_without_a_traceback(tmp_path, name, content, sentence):
    file = course(tmp_path) / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    (fault,) = build(tmp_path, tmp_path / "site")
    assert re.match(rf"{name.removesuffix('/x')}(: |, ){sentence}", fault)


def test_a_failure_of_sphinx_is_one_sentence(tmp_path):
    (fault,) = sphinx(tmp_path / "none", tmp_path / "site", tmp_path / "trees")
    assert re.match(r"Sphinx failed: .*Cannot find source directory .*whole traceback", fault)


def test_what_is_right_is_no_fault(tmp_path):
    expected = nbformat.v4.new_output("error", ename="ResponseError", evalue="BUSYGROUP")
    cells = [
        words("## The second\n\n### Deeper\n\n## The third, `code`\n\n```\n# no title\n```"),
        words("[up](#the-first), [down](01_a_lesson.ipynb#the-third-code), `[no](link.md)`"),
        code("x", expected, tags=["raises-exception"]),
        code("x", said("an entry of /stream/home, 50/tmp/s"), ran=2),
        code("x", drawn(**{"text/plain": "It rises."}), ran=3),
        code("", ran=None),
        code("def (:", expected, ran=4, tags=["raises-exception"]),
        words("<!-- # An older title, [of](none.md) -->\n\nIt costs $5 or $6, or `$`."),
    ]
    root = course(tmp_path, *cells)
    for name in ("Untitled.ipynb", "01_a_lesson-Copy1.ipynb", "02_mine (1).ipynb"):
        (root / "notebooks" / name).write_text("a learner's own")
    assert faults(root) == []
    assert [page.name for page in pages(root)] == ["notebooks/01_a_lesson"]


def test_the_build_ends_with_the_first_faults(tmp_path):
    root = course(tmp_path, code("1 + 1", ran=None))
    assert "holds something else than a site" in build(root, root)[0]
    wrong = build(root, tmp_path / "site")
    assert wrong == [
        "notebooks/01_a_lesson.ipynb, cell 1: it was not run: run it with `make lessons`."
    ]
    assert not (tmp_path / "site").exists()


def test_a_learner_is_told_which_files_are_not_as_they_were_committed(tmp_path):
    ran = course(tmp_path, code("1 + 1")) / "notebooks" / "01_a_lesson.ipynb"
    mine = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for git in (["init"], ["add", "."], [*mine, "commit", "-m", "x", "--no-gpg-sign"]):
        subprocess.run(["git", *git], cwd=tmp_path, check=True, capture_output=True)
    wrong = ["notebooks/01_a_lesson.ipynb, cell 1: it ran as 7", "CHANGES.md: no", "Sphinx failed"]
    assert changed(wrong, tmp_path) == []
    ran.write_text(ran.read_text().replace("1 + 1", "1 + 2"))
    assert changed(wrong, tmp_path) == ["notebooks/01_a_lesson.ipynb"]


@pytest.mark.parametrize("url", ["example.org", "/course", "file:///x", "https://example.org/?x#y"])
def test_an_address_that_is_none_is_told(tmp_path, monkeypatch, url):
    monkeypatch.setenv(URL, url)
    (fault,) = build(tmp_path, tmp_path / "site")
    assert fault.startswith(f"SITE_URL is {url!r}, no address of a site")


def test_what_sphinx_warns_of_has_its_file_and_cell_too(tmp_path):
    course(tmp_path, words("More."), words("{nosuchrole}`x`"))
    (tmp_path / "index.md").write_text("# Here\n\n```{toctree}\nnotebooks/01_a_lesson\n```\n")
    wrong = sphinx(tmp_path, tmp_path / "site", tmp_path / "trees")
    assert any("notebooks/01_a_lesson.ipynb, cell 2" in one for one in wrong)


def test_faults_of_built_pages_are_told_with_the_page(tmp_path):
    (tmp_path / "a.css").write_text("@import '//fonts.example/x.css'; b { background: url(x.png) }")
    (tmp_path / "big.js").write_bytes(b" " * 1_600_000)
    (tmp_path / "b.html").write_text('<p id="here"><img src="x"><script src="big.js"></script>')
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="https://cdn.example/x.css"><a href="b.html#here">1</a>'
        '<a href="b.html#gone">2</a><a href="c.html">3</a><a href="https://example.org">4</a>'
    )
    assert sorted(Site(tmp_path).faults()) == [
        "a.css: it needs //fonts.example/x.css, of another host.",
        "a.html: it needs https://cdn.example/x.css, of another host.",
        "a.html: the link to b.html#gone is broken.",
        "a.html: the link to c.html is broken.",
        "b.html: 1,600,056 bytes with all that it needs; at most 1,500,000.",
        "b.html: the link to x is broken.",
        "b.html: the picture x has no alt text.",
    ]


def test_every_file_of_the_course_is_without_fault():
    assert list(map(str, faults())) == []


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("https://github.com/owner/course.git", "https://github.com/owner/course"),
        ("https://token@github.com/owner/course", "https://github.com/owner/course"),
        ("git@github.com:owner/course.git", "https://github.com/owner/course"),
        ("ssh://git@github.com/owner/course.git", "https://github.com/owner/course"),
        ("git@github.com:/owner/course.git/", "https://github.com/owner/course"),
        ("https://name:to@ken@github.com/owner/course", None),
        ("https://github.com/owner/course?token=1", None),
        ("git@gitlab.com:group/sub/course.git", "https://gitlab.com/group/sub/course"),
        ("https://git.example.org/owner/course.git", None),
        ("/srv/git/course.git", None),
        ("file:///srv/course.git", None),
        ("../course", None),
        ("", None),
    ],
)
def test_a_public_remote_gives_addresses_and_no_other_does(url, at):
    found = parsed(url)
    assert (found.url if found else None) == at


def test_a_folder_in_anothers_repository_has_no_remote(tmp_path):
    for words in (["init"], ["remote", "add", "origin", "https://github.com/ada/private"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)
    inside = tmp_path / "course"
    inside.mkdir()
    assert remote(inside) is None
    found = remote(tmp_path)
    assert found
    assert found.url == "https://github.com/ada/private"


def test_a_notebook_opens_at_binder_and_codespaces():
    remote = parsed("git@github.com:owner/course.git", "main")
    assert remote
    assert remote.opened("notebooks/01.ipynb") == {
        "Open in Binder": "https://mybinder.org/v2/gh/owner/course/main"
        "?urlpath=lab%2Ftree%2Fnotebooks%2F01.ipynb",
        "Open in Codespaces": "https://codespaces.new/owner/course?quickstart=1",
    }
    elsewhere = parsed("https://gitlab.com/group/sub/course.git", "main")
    assert elsewhere
    (binder,) = elsewhere.opened("labs/01.ipynb").values()
    assert binder.startswith("https://mybinder.org/v2/gl/group%2Fsub%2Fcourse/main")


def test_links_outside_are_listed_with_their_places(tmp_path):
    root = course(tmp_path, words("[a](https://example.org/a), <https://example.org/b>"))
    place = ["notebooks/01_a_lesson.ipynb, cell 1"]
    found = outside(documents(root))
    assert found == {"https://example.org/a": place, "https://example.org/b": place}
