"""Settings that JupyterLab rejects: a value of another kind, or a class that cannot be imported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

from helpers.course.lab.configuration import Configuration, Setting

_GIVEN = ("ServerApp.port", "ServerApp.root_dir", "LabApp.default_url")  # on its command line


def rejected(config: Configuration) -> Iterator[tuple[Setting, str]]:
    """Each with the reason, as JupyterLab itself would say it when it starts."""
    known = _classes() if config.settings else {}
    for setting in config.settings.values():
        section, _, name = setting.name.partition(".")
        ours = setting.name in _GIVEN or section not in known
        if not ours and (why := _refusal(known[section], name, setting.value)):
            yield setting, why


def _refusal(kind: type, name: str, value: object) -> str:
    from traitlets import HasTraits, TraitError
    from traitlets.config.loader import LazyConfigValue

    assert issubclass(kind, HasTraits)
    trait = kind.class_traits().get(name)
    if trait is None or isinstance(value, LazyConfigValue):  # one that is only added to
        return ""
    holder = kind.__new__(kind)  # not initialized: nothing starts
    try:
        with holder.cross_validation_lock:
            trait._validate(holder, value)
    except (TraitError, ImportError) as error:
        shown = re.sub(r"<[\w.]*\.(\w+) object at \w+>", r"a \1", str(error))
        return " ".join(shown.split()).rstrip(".")
    return ""


def _classes() -> dict[str, type]:
    """The classes that settings are of, by name."""
    from traitlets.config import Configurable

    import_module("jupyterlab.labapp")  # all that it starts

    found: dict[str, type] = {}
    left: list[type] = [Configurable]
    while left:
        kind = left.pop()
        found[kind.__name__] = kind
        left += kind.__subclasses__()
    return found
