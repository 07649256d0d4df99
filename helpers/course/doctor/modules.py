"""Where a kernel takes `helpers`, `redis` and the rest from, and what stands in their place."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from helpers.course import shadows
from helpers.course.doctor.finding import Finding, note, problem
from helpers.course.doctor.kernel import NAME, NOTEBOOKS, Answer
from helpers.course.home import CHECKOUT

OURS = ("helpers", "redis", "hiredis", "httpx", "filelock", "matplotlib", "numpy", "ipywidgets",
        "IPython", "ipykernel", "tornado", "rich", "psutil", "uvloop", "cloudpickle")  # fmt: skip
_FROZEN = ("built-in", "frozen")


@dataclass(frozen=True)
class Seen:
    """A kernel's answer, and what is needed to explain it."""

    answer: Answer
    origins: Mapping[str, str]  # where the course's modules are
    prefix: str  # of the course's Python
    user_site: str
    python_path: tuple[str, ...]  # what PYTHONPATH names for the kernel
    without_startup: Answer | None = None  # asked again, if the first answer was wrong
    startup: tuple[str, ...] = ()  # the files that were left out then


def names() -> dict[str, str]:
    """The modules to ask for, with the files that they should come from."""
    loaded = {name.partition(".")[0] for name in sys.modules}
    wanted = sorted((loaded & sys.stdlib_module_names) | set(OURS))
    found = {}
    for name in wanted:
        try:
            spec = util.find_spec(name)
        except (ImportError, ValueError):  # `__main__` has none
            continue
        origin = spec.origin if spec else None
        if origin and origin not in _FROZEN:
            found[name] = origin
    return found | {"helpers": str(CHECKOUT / "helpers" / "__init__.py")}


def look(
    environment: Mapping[str, str], ask: Callable[[Mapping[str, str], list[str]], Answer]
) -> Seen:
    """Ask a kernel; if its answer is wrong, ask another one without the learner's startup files."""
    origins = names()
    answer = ask(environment, list(origins))
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    seen = Seen(
        answer,
        origins,
        os.path.realpath(sys.prefix),
        shadows.user_site(),
        tuple(str(Path(NOTEBOOKS, one)) for one in folders if one),
    )
    startup = startup_files(environment)
    if not startup or not (answer.silent or others(seen) or answer.errors):
        return seen
    bare = {k: v for k, v in environment.items() if k != "PYTHONSTARTUP"}
    with tempfile.TemporaryDirectory() as folder:
        again = ask(bare | {"IPYTHONDIR": folder}, list(origins))
    return Seen(**vars(seen) | {"without_startup": again, "startup": startup})


def startup_files(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The files that IPython runs when a kernel starts, its configuration among them."""
    home = environment.get("IPYTHONDIR") or str(Path.home() / ".ipython")
    profile = Path(home, "profile_default")
    found = [*sorted(profile.glob("*_config.*")), *sorted(profile.glob("startup/*.*py"))]
    of_python = environment.get("PYTHONSTARTUP", "")
    return (*([of_python] if os.path.isfile(of_python) else []), *map(str, found))


def others(seen: Seen, answer: Answer | None = None) -> dict[str, str]:
    """The modules that do not come from where they should, with where they come from."""
    said = (answer or seen.answer).origins
    return {
        name: said[name]
        for name, origin in seen.origins.items()
        if name in said and os.path.realpath(said[name]) != os.path.realpath(origin)
    }


def findings(seen: Seen) -> Iterator[Finding]:
    """What is wrong with a kernel, and where its modules come from."""
    for shadow in shadows.LEFT_OUT:
        files = ", ".join(shadow.files[:3]) + (" and more" if shadow.files[3:] else "")
        yield note(
            "path",
            f"{shadow.where} leads to {shadow.folder}, whose {files} would take the place of what "
            "the course needs: `course` leaves it out. In another Jupyter, unset it yourself.",
        )
    answer = seen.answer
    if answer.silent:
        yield from _silent(seen)
    elif answer.prefix != seen.prefix:
        yield problem(
            "kernel",
            f"The kernel {NAME} runs {answer.executable}, and the course is installed for "
            f"{sys.executable}: delete the kernel that names it (`jupyter kernelspec list`), or "
            "choose another in JupyterLab.",
        )
    elif moved := others(seen):
        yield from _shadowed(seen, moved)
    else:
        for name, error in answer.errors.items():
            gone = error.startswith("ModuleNotFoundError")
            again = f": a file is missing; delete {sys.prefix}, and run `make env`" if gone else ""
            cut = ": delete the folders `__pycache__`, of which a full disk cut off a file"
            remedy = _startup(seen) or again or cut * ("marshal" in error)
            yield problem("kernel", f"A notebook cannot import {name} ({error}){remedy}.")


def _silent(seen: Seen) -> Iterator[Finding]:
    answer = seen.answer
    program = answer.argv[0] if answer.argv else ""
    what = f"A kernel does not start in notebooks/ ({answer.silent})"
    strangers = sorted(set(shadows.modules_in(str(NOTEBOOKS)).items()), key=str)
    in_place = [file for name, file in strangers if name in seen.origins]
    again = seen.without_startup
    if again and not again.silent:
        yield problem("kernel", f"{what}{_startup(seen)}.")
    elif in_place:
        yield problem(
            "kernel",
            f"{what}, and notebooks/ has {', '.join(in_place)} in place of a module that Python "
            "needs: rename that file, and delete `__pycache__` beside it.",
        )
    else:
        other = f", or correct the kernel that names {program}" if program[:1] == "/" else ""
        yield problem(
            "kernel",
            f"{what}: run `{sys.executable} -m ipykernel_launcher` in notebooks/ to see all that "
            f"it says{other}.",
        )


def _startup(seen: Seen) -> str:
    """What the learner's startup files have to do with it, as far as was tried."""
    again = seen.without_startup
    better = again and not again.silent and not again.errors and not others(seen, again)
    if not better:
        return ""
    which = seen.startup[0] if len(seen.startup) == 1 else f"one of {', '.join(seen.startup)}"
    return f", which it does without your startup files: correct {which}, or move it away"


def _shadowed(seen: Seen, moved: Mapping[str, str]) -> Iterator[Finding]:
    """One sentence for each folder that modules come from, and should not."""
    by_startup = _startup(seen)
    for folder in dict.fromkeys(map(_home, moved.values())):
        names = [name for name, origin in moved.items() if _home(origin) == folder]
        first = next((name for name in OURS if name in names), names[0])
        file = _file(moved[first])
        more = f" (and {len(names) - 1} more)" if names[1:] else ""
        if not moved[first] or moved[first].startswith("!"):
            said = f"A notebook does not find {first}{more}"
            yield problem("kernel", f"{said}{by_startup or _gone()}.")
        elif by_startup:
            yield problem("kernel", f"A notebook takes {first}{more} from {file}{by_startup}.")
        else:
            said = f"A notebook takes {first}{more} from {file}, and not from the course"
            yield problem("kernel", f"{said}: {_remedy(seen, folder, file)}.")


def _remedy(seen: Seen, folder: str, file: str) -> str:
    if folder == os.path.realpath(NOTEBOOKS):
        return "rename or move what you have in notebooks/ under that name"
    if folder in map(os.path.realpath, seen.python_path):
        return f"take {folder} out of PYTHONPATH"
    if folder == os.path.realpath(seen.user_site or "-"):
        return "set PYTHONNOUSERSITE=1, or uninstall it there with `pip uninstall --user`"
    if Path(folder, "helpers", "course").is_dir():
        return (
            f"another checkout of it, {folder}, was installed here later; run "
            f'`cd "{CHECKOUT}" && "{sys.executable}" -m pip install -c constraints.txt -e .`'
        )
    for custom in seen.answer.customs:
        if folder in Path(custom).read_text(errors="ignore"):
            return f"{custom} puts {folder} on the path; take it out there"
    for home in shadows.homes():
        for line in Path(home).glob("*.pth"):
            if folder in line.read_text(errors="ignore"):
                return f"{line} puts {folder} on the path; delete that file"
    return f"take {folder} off the path of your kernels"


def _gone() -> str:
    return f': run `"{sys.executable}" -m pip install -c constraints.txt -e "{CHECKOUT}"`'


def _home(origin: str) -> str:
    """The folder of the path that a module comes from."""
    file = Path(origin)
    if file.name.startswith("__init__."):
        file = file.parent
    return os.path.realpath(file.parent)


def _file(origin: str) -> str:
    shown = origin.removesuffix("/__init__.py")
    return str(Path(shown).relative_to(CHECKOUT)) if Path(shown).is_relative_to(CHECKOUT) else shown
