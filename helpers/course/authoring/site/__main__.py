"""Build the site: python -m helpers.course.authoring.site [--links] [--output FOLDER]

It is built again each time, into `build/site`, and every fault of a file or of a page is named.
The environment variable SITE_URL says at which address it will be.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.course.authoring.site import changes
from helpers.course.authoring.site.built import Site
from helpers.course.authoring.site.documents import documents, outside
from helpers.course.authoring.site.faults import faults
from helpers.course.authoring.site.finish import finish, root_of
from helpers.course.authoring.site.pages import SITE, URL
from helpers.course.authoring.site.places import git, remote
from helpers.course.authoring.site.staging import Staging
from helpers.course.home import CHECKOUT

BUILD = CHECKOUT / "build"
SIGN = "objects.inv"  # that Sphinx has made a folder, so that it may be replaced


def main() -> int:
    """Build it, or list the links that lead outside."""
    parser = argparse.ArgumentParser("python -m helpers.course.authoring.site")
    parser.add_argument("--links", action="store_true", help="list the links that lead outside")
    parser.add_argument("--output", type=Path, default=BUILD / "site", help="where to write it")
    options = parser.parse_args()
    if options.links:
        for target, places in sorted(outside(documents()).items()):
            print(target, *(f"    {place}" for place in places), sep="\n")
        return 0
    try:
        output = options.output.resolve()
        return report(build(CHECKOUT, output), output)
    except KeyboardInterrupt:
        print("\nStopped before the site was whole; `make site` builds it again.", file=sys.stderr)
        return 130


def build(checkout: Path, output: Path, only: Sequence[str] = ()) -> list[str]:
    """Build the site of a checkout; gives what is wrong with it, in sentences.

    Args:
        checkout: the course's files.
        output: the site's folder, which is replaced once a new one without faults is whole.
        only: the pages to make, by their names; all by default.
    """
    output, url = output.resolve(), os.environ.get(URL, "")
    if url and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        return [
            f"{URL} is {url!r}, no address of a site: write it like https://example.org/course."
        ]
    kept = output.is_file() or (output.is_dir() and any(output.iterdir()))
    if kept and not (output / SIGN).is_file():
        return [f"{output} holds something else than a site: name a folder that isn't there yet."]
    if wrong := [str(one) for one in faults(checkout)]:
        return wrong
    work = output.with_name(f"{output.name}-pages")
    shutil.rmtree(work, ignore_errors=True)
    staging, fresh = Staging(checkout, work / "pages", remote(checkout), only), work / "site"
    staging.write()
    if wrong := sphinx(work / "pages", fresh, work / "trees"):
        return wrong
    for page in staging.pages:
        if page.file.suffix == ".ipynb":
            shutil.copy2(page.file, fresh / page.path)
    changes.write_feed(checkout, fresh, url)
    finish(fresh, url)
    if wrong := list(Site(fresh, root_of(url)).faults()):
        return wrong
    shutil.rmtree(output, ignore_errors=True)
    fresh.rename(output)
    shutil.rmtree(work, ignore_errors=True)  # it may be in another version's site
    return []


def report(wrong: Sequence[str], output: Path) -> int:
    """Say how it went."""
    for one in wrong:
        print(f"✗ {one}", file=sys.stderr)
    if wrong:
        if those := changed(wrong):
            print(
                f"You have changed {', '.join(those)}: `git stash` puts that aside, and "
                "`git stash pop` brings it back.",
                file=sys.stderr,
            )
        return 1
    site = Site(output)
    heaviest = max(map(site.weight, site.pages.values()))
    print(f"{len(site.pages)} pages, the heaviest {heaviest / 1e6:.1f} MB with all that it needs.")
    print(f"Open {output / 'index.html'}")
    return 0


def changed(wrong: Sequence[str], checkout: Path = CHECKOUT) -> list[str]:
    """The files of faults that aren't as they were committed: a learner has run or edited them."""
    names = sorted({re.split("[,:]", one)[0] for one in wrong})
    return git(checkout, "diff", "--name-only", "HEAD", "--", *names).splitlines()


def sphinx(source: Path, output: Path, trees: Path) -> list[str]:
    """Run Sphinx on pages; gives its warnings, each with its file and cell."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", str(SITE), "-d", str(trees)]
    done = subprocess.run(
        [*command, "-q", "-W", "--keep-going", "-N", str(source), str(output)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not done.returncode:
        return []
    lines = [line for line in done.stderr.splitlines() if line]
    if crash := [
        n for n, line in enumerate(lines) if line == "The full traceback has been saved in:"
    ]:
        last, log = lines[crash[0] - 1], lines[crash[0] + 1]
        return [f"Sphinx failed: {last.strip()} ({log} has the whole traceback)."]
    return [placed(line.replace(f"{source}/", "")) for line in lines]


def placed(warning: str) -> str:
    """A warning of Sphinx's, with the number of the cell where it has one of a line.

    >>> placed("labs/01.ipynb:50003: WARNING: no such role")
    'labs/01.ipynb, cell 4: WARNING: no such role'
    """
    return re.sub(
        r"(\.ipynb):(\d+)(?=:)",
        lambda match: f"{match[1]}, cell {int(match[2]) // 10_000 - 1}",
        warning,
    )


if __name__ == "__main__":
    sys.exit(main())
