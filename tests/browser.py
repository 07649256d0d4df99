"""Drive JupyterLab in headless Chromium as a learner would: open, run, click, look."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import BrowserContext, ElementHandle, Page, expect, sync_playwright

from helpers.course.home import CHECKOUT
from helpers.course.pace import patient

START_LIMIT_S = patient(60)
RUN_LIMIT_S = patient(90)
LIMIT_MS = patient(30_000)
TOKEN = "browser-test"


def chromium() -> str | None:
    """The path of a Chromium on this machine, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


in_browser = [
    pytest.mark.once,
    pytest.mark.early,
    pytest.mark.timeout(patient(240)),
    pytest.mark.skipif(chromium() is None, reason="SKIPPED: there is no chromium on this machine"),
]


@contextmanager
def jupyterlab(directory: Path, *options: str) -> Iterator[str]:
    """JupyterLab as `course lab` starts it, on a copy of the course's notebooks; gives its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(directory),
        "JUPYTER_DATA_DIR": str(directory),
    }
    command = [sys.executable, "-m", "helpers.cli", "lab", "--no-browser", f"--port={port}"]
    command += [f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"]
    command += [f"--ServerApp.root_dir={directory}", *options]
    log = (directory / "jupyterlab.log").open("w")
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process, Path(log.name))
        yield url
    finally:
        process.terminate()
        process.wait(patient(30))
        log.close()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urlopen(f"{url}/api/status?token={TOKEN}", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def chromium_at_work() -> Iterator[BrowserContext]:
    """A fresh browser, with pages the size of a small laptop's screen."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=flags)
        yield browser.new_context(viewport={"width": 1280, "height": 900})
        browser.close()


def open_jupyterlab(page: Page, url: str) -> None:
    """Load JupyterLab, without what was open in it."""
    page.goto(f"{url}/lab?token={TOKEN}&reset")
    until(page, _LAB_IS_READY)


def close_notebooks(page: Page) -> None:
    """Close what is open in JupyterLab, and keep nothing of what was changed."""
    page.evaluate(_CLOSE_ALL)


def until(page: Page, condition: str, given: Any = None) -> None:
    """Ask again and again until a piece of JavaScript says true."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while time.monotonic() < deadline:
        page.wait_for_timeout(200)
        if page.evaluate(condition, given):
            return
    raise AssertionError(f"Not within {RUN_LIMIT_S} s: {condition}")


def picture(page: Page, *texts: str) -> None:
    """Wait until the text of a picture on the page says all this."""
    for text in texts:
        shown = page.locator(f'img[alt*="{text}"]')
        expect(shown).to_be_visible(timeout=LIMIT_MS)


def status(page: Page, said: str) -> None:
    """Wait until the line that tells how it goes says this."""
    expect(page.get_by_role("status")).to_contain_text(said, timeout=LIMIT_MS)


class Notebook:
    """One notebook, open in JupyterLab."""

    def __init__(self, page: Page, path: str) -> None:
        self.page = page
        self._command("docmanager:open", {"path": path, "factory": "Notebook"})
        until(page, _KERNEL_ANSWERS, path)

    def run_all(self) -> None:
        """Run all cells, and wait until the last one has ended."""
        self._command("notebook:run-all-cells")
        until(self.page, _ALL_CELLS_RAN)

    def set_cell(self, number: int, source: str) -> None:
        """Replace the source of a cell."""
        self.page.evaluate(
            "([number, source]) => window.jupyterapp.shell.currentWidget.content"
            ".model.cells.get(number).sharedModel.setSource(source)",
            [number, source],
        )

    def run_cell(self, number: int) -> str:
        """Run one cell, and give the text of its output."""
        self.start_cell(number)
        until(self.page, _KERNEL_IS_IDLE)
        return self.output(number)

    def start_cell(self, number: int) -> None:
        """Run one cell, and do not wait for it."""
        self.page.evaluate(
            "number => { const notebook = window.jupyterapp.shell.currentWidget.content;"
            "notebook.activeCellIndex = number; notebook.deselectAll(); }",
            number,
        )
        self._command("notebook:run-cell")

    def interrupt(self) -> None:
        """Press the stop button, and wait for the kernel to be free."""
        self._command("notebook:interrupt-kernel")
        until(self.page, _KERNEL_IS_IDLE)

    def images(self, number: int) -> int:
        """How many pictures with something in them a cell shows."""
        return self.page.evaluate(
            "number => [...window.jupyterapp.shell.currentWidget.content.widgets[number].node"
            ".querySelectorAll('img')].filter(image => image.naturalWidth > 300).length",
            number,
        )

    def output(self, number: int) -> str:
        """The text of a cell's output, as it is on the screen."""
        self.scroll_to(number)  # JupyterLab leaves out what is far from the window
        self.page.wait_for_function(_OUTPUT_IS_SHOWN, arg=number, timeout=LIMIT_MS)
        return self.page.evaluate(
            "number => {"
            "const cell = window.jupyterapp.shell.currentWidget.content.widgets[number];"
            "return cell.node.querySelector('.jp-OutputArea')?.innerText ?? ''; }",
            number,
        )

    def placeholder(self, number: int) -> ElementHandle:
        """What stands in place of a cell's folded output."""
        self.scroll_to(number)
        cell = self.page.evaluate_handle(
            "number => window.jupyterapp.shell.currentWidget.content.widgets[number].node", number
        ).as_element()
        found = cell and cell.wait_for_selector(".jp-OutputPlaceholder", timeout=LIMIT_MS)
        assert found
        return found

    def sources(self) -> list[str]:
        """The sources of all cells."""
        return self.page.evaluate(
            "() => [...window.jupyterapp.shell.currentWidget.content.model.cells]"
            ".map(cell => cell.sharedModel.getSource())"
        )

    def errors(self) -> list[str]:
        """The texts of all error outputs."""
        return self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap(cell =>"
            "cell.model.type === 'code' ? cell.model.outputs.toJSON()"
            ".filter(output => output.output_type === 'error')"
            ".map(output => output.ename + ': ' + output.evalue) : [])"
        )

    def find(self, pattern: str) -> int:
        """The number of the first cell whose source matches."""
        return next(n for n, source in enumerate(self.sources()) if re.search(pattern, source))

    def scroll_to(self, number: int) -> None:
        """Bring a cell to the top of the window."""
        self.page.evaluate(
            "number => { const notebook = window.jupyterapp.shell.currentWidget.content;"
            "notebook.activeCellIndex = number; return notebook.scrollToItem(number, 'start'); }",
            number,
        )
        self.page.wait_for_timeout(500)

    def _command(self, name: str, given: dict[str, str] | None = None) -> None:
        """Start a command; its promise may never settle, so nobody waits for it."""
        self.page.evaluate(
            "([name, given]) => { window.jupyterapp.commands.execute(name, given); }",
            [name, given or {}],
        )


_LAB_IS_READY = """async () => {
    await window.jupyterapp?.restored;
    return window.jupyterapp?.commands.hasCommand('notebook:run-all-cells') ?? false;
}"""

_CLOSE_ALL = """() => {
    for (const widget of [...window.jupyterapp.shell.widgets('main')]) {
        if (widget.context) widget.context.model.dirty = false;
        widget.close();
    }
}"""

# A light that says idle is not enough: the kernel has to answer a question.
_KERNEL_ANSWERS = """async path => {
    const shown = window.jupyterapp.shell.currentWidget;
    if (shown?.context?.path !== path) return false;
    const session = shown.sessionContext;
    const kernel = session?.session?.kernel;
    if (!session?.isReady || kernel?.connectionStatus !== 'connected') return false;
    const late = new Promise(resolve => setTimeout(() => resolve(null), 2000));
    const reply = await Promise.race([kernel.requestKernelInfo(), late]);
    return reply?.content.status === 'ok';
}"""

_ALL_CELLS_RAN = """() => {
    const cells = window.jupyterapp.shell.currentWidget.content.widgets;
    const code = cells.filter(cell => cell.model.type === 'code' && cell.model.sharedModel.source);
    return code.every(cell => cell.model.executionState !== 'running')
        && code.at(-1).model.executionCount !== null
        && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle';
}"""

_OUTPUT_IS_SHOWN = """number => {
    const cell = window.jupyterapp.shell.currentWidget.content.widgets[number];
    if (!cell.node.isConnected) return false;
    const shows = cell.model.outputs?.length > 0 && !cell.outputHidden;
    return !shows || cell.outputArea.node.offsetHeight > 0;
}"""
_KERNEL_IS_IDLE = """() => {
    const notebook = window.jupyterapp.shell.currentWidget;
    return notebook.content.activeCell.model.executionState !== 'running'
        && notebook.sessionContext.session.kernel.status === 'idle';
}"""
