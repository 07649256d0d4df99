"""Where the `course` command begins: what is in the place of the course's modules is left out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent


def main() -> None:
    """Run the `course` command; nothing but the standard library is imported before."""
    if os.environ.pop("PYTHONINSPECT", ""):  # Python would ask for more when the command is done
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    sys.path.insert(0, str(CHECKOUT))  # this checkout's `helpers`
    try:
        from helpers.course import shadows

        shadows.leave_out()
        from helpers import cli

        cli.main()  # some commands load more
    except KeyboardInterrupt:  # while it was being loaded
        sys.exit(130)
    except SyntaxError as error:
        sys.exit(
            f"The course cannot be loaded, because {error.filename}, line {error.lineno}, isn't "
            f"Python ({error.msg}): correct it, or take the file as it was (`git restore FILE`)."
        )
    except (EOFError, ValueError, TypeError) as error:
        if "marshal" not in str(error):
            raise
        sys.exit(
            f"The course cannot be loaded ({error}): a file that Python compiled was cut off, as "
            f'on a full disk; delete all of them with `find "{CHECKOUT}" -name __pycache__ -prune '
            "-exec rm -r {} +`, then try again."
        )
    except ImportError as error:
        sys.exit(
            f"The course cannot be loaded ({error}): run "
            f'`cd "{CHECKOUT}" && "{sys.executable}" -m pip install -c constraints.txt -e .`. '
            f"If that doesn't help, a package has lost files: delete {sys.prefix}, and run "
            "`make env`."
        )


if __name__ == "__main__":
    main()
