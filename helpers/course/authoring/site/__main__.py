"""Build the site: python -m helpers.course.authoring.site [--links] [--output FOLDER]"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from helpers.course.authoring.site.staging import Staging
from helpers.course.authoring.site.pages import SITE
from helpers.course.authoring.site.places import remote
from helpers.course.home import CHECKOUT


def main() -> int:
    """Check what the pages are made from, build them, and check what came out."""
    build = CHECKOUT / "build"
    pages = build / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    Staging(CHECKOUT, pages, remote()).write()
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", str(SITE), "-d", str(build / "trees"), "-q", str(pages), str(build / "site")]
    return subprocess.run(command).returncode

if __name__ == "__main__":
    sys.exit(main())
