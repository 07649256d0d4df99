"""The dashboard as a page of its own, served by Voilà: no notebook to be seen, and no code."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

import nbformat

from helpers.chaos import Process, start
from helpers.course.errors import CourseError
from helpers.course.home import hidden_folder
from helpers.views.changes import zone
from helpers.wiki.counters import Counters
from helpers.wiki.names import WIKI

TITLE = "Changes to wikis"
LIMIT_S = 60.0
LOOK_S = 0.1
CULL_S = 60  # a kernel lives on for so long without a browser, if that never said goodbye
CULL_LOOK_S = 15

# The page needs nothing but this machine: what Voilà's template would fetch from elsewhere, such
# as icons, is not even asked for.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'; "
    "connect-src 'self' ws://127.0.0.1:{port} ws://localhost:{port}"
)
# A screen reader can jump to the main part of a page; Voilà's template marks none.
MAIN = "document.getElementById('rendered_cells').setAttribute('role', 'main')"
# What the widget sends by itself, as a late part of its cell, is no sign that somebody is there.
UNTRACKED = ("execute_request", "comm_open", "comm_msg", "comm_close", "comm_info_request",
             "comm_info_reply", "kernel_info_request", "kernel_info_reply", "stream",
             "display_data", "update_display_data", "execute_input", "execute_result", "error",
             "status", "clear_output")  # fmt: skip


class WikiPage:
    """A dashboard that is being served, until it is closed, or this process ends."""

    def __init__(self, process: Process, url: str, folder: Path) -> None:
        self.process, self.url = process, url
        self._folder = folder

    def close(self) -> None:
        """End the server, and the kernels behind its pages."""
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"A dashboard at {self.url}, {self.process}"


def serve(
    *,
    port: int = 0,
    tz: str = "UTC",
    counters: Counters | None = None,
    target: str = WIKI,
    stale_after_s: float | None = None,
    limit_s: float = LIMIT_S,
) -> WikiPage:
    """Serve the dashboard on loopback; returns when the server answers.

    with serve(tz="Europe/Lisbon") as page:
        webbrowser.open(page.url)

    The URL holds a token, without which the page does not open: other users of this machine
    can reach its loopback too.

    Args:
        port: where; 0 is any free port.
        tz, counters, target, stale_after_s: see `Dashboard`.
        limit_s: how long to wait for the server.

    Raises:
        CourseError: there is no such time zone, the port is taken, or Voilà does not start.
    """
    zone(tz)
    port = _free(port)
    arguments = {"tz": tz, "target": target}
    if stale_after_s is not None:
        arguments["stale_after_s"] = stale_after_s  # type: ignore[assignment]
    token = secrets.token_urlsafe(16)
    folder = _folder(port)
    nbformat.write(page_notebook(counters or Counters(), arguments), folder / "changes.ipynb")
    (folder / "voila.json").write_text(json.dumps(settings(port, token)))
    words = ["-m", "voila", str(folder / "changes.ipynb"), f"--Voila.config_file_paths={folder}"]
    process = start([sys.executable], *words, name="dashboard")
    page = WikiPage(process, f"http://127.0.0.1:{port}/?token={token}", folder)
    try:
        _wait_for(page, port, limit_s)
    except BaseException:
        page.close()
        raise
    return page


def page_notebook(counters: Counters, arguments: dict[str, Any]) -> Any:
    """The notebook behind the page: its heading, and one cell."""
    given = "".join(f", {name}={value!r}" for name, value in arguments.items())
    source = (
        "from helpers.wiki import Counters, Dashboard\n"
        f"Dashboard(counters={counters!r}{given})"
    )  # fmt: skip
    heading = nbformat.v4.new_markdown_cell(f"# {TITLE}\n\n<script>{MAIN}</script>")
    cells = [heading, nbformat.v4.new_code_cell(source)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"title": TITLE, "kernelspec": kernel})


def settings(port: int, token: str) -> dict[str, Any]:
    """Voilà's settings. They stand in a file, since everybody can read a command line."""
    return {
        "Voila": {
            "ip": "127.0.0.1",
            "port": port,
            "port_retries": 0,
            "open_browser": False,
            "token": token,
            "tornado_settings": {
                "headers": {"Content-Security-Policy": POLICY.format(port=port)},
                # A page that is left ends its kernel by a POST that knows no XSRF token; it
                # still needs the cookie, which other sites cannot send along.
                "disable_check_xsrf": True,
            },
        },
        "MappingKernelManager": {
            "cull_idle_timeout": CULL_S,
            "cull_interval": CULL_LOOK_S,
            "untracked_message_types": UNTRACKED,
        },
    }


def _folder(port: int) -> Path:
    """A folder of its own: Voilà hands out pictures that lie beside its notebook."""
    folder = hidden_folder() / "dashboard" / str(port)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _free(port: int) -> int:
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise CourseError(
                f"The port {port} is taken, or may not be used: name another."
            ) from error
        return int(found.getsockname()[1])


def _wait_for(page: WikiPage, port: int, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while page.process.alive and time.monotonic() < deadline:
        with contextlib.suppress(HTTPError, OSError):
            # Not the page itself: that would start a kernel that nobody looks at.
            try:
                urlopen(f"http://127.0.0.1:{port}/voila/static/voila.js", timeout=5).close()
            except HTTPError:
                return
            return
        time.sleep(LOOK_S)
    raise CourseError(f"Voilà did not start: {page.process.output()[-500:].strip() or 'no answer'}")
