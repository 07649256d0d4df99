"""The machines that a bundle is for: what their wheels are called, what their markers say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("linux-x86_64", "linux-arm64", "macos-arm64", "macos-x86_64")
# Older ones first: of two wheels that would do, the one that more machines can use is taken.
GLIBC = (5, 12, 17, 24, 26, 27, 28)  # of 2018; what asks for a newer one has a plain wheel too
MACOS = {
    "arm64": ("11_0", "12_0", "13_0", "14_0"),
    "x86_64": ("10_13", "11_0", "12_0", "13_0", "14_0"),
}


@dataclass(frozen=True)
class Target:
    """A kind of machine, with a Python."""

    system: str
    machine: str
    python: str

    def __str__(self) -> str:
        return f"{self.system} on {self.machine}, Python {self.python}"

    @property
    def platforms(self) -> list[str]:
        """What pip calls it, the oldest system first."""
        if self.system == "macos":
            return [f"macosx_{version}_{self.machine}" for version in MACOS[self.machine]]
        machine = "aarch64" if self.machine == "arm64" else self.machine
        names = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC]
        names.insert(GLIBC.index(17) + 1, f"manylinux2014_{machine}")
        return names

    def markers(self) -> Iterable[dict[str, str]]:
        """What a requirement's conditions are compared with: in the first release, and later."""
        linux = self.system == "linux"
        for minor in ("0", "99"):
            yield {
                "implementation_name": "cpython",
                "implementation_version": f"{self.python}.{minor}",
                "os_name": "posix",
                "platform_machine": self.platforms[0].split("_", 3)[-1],
                "platform_python_implementation": "CPython",
                "platform_release": "",
                "platform_system": "Linux" if linux else "Darwin",
                "platform_version": "",
                "python_full_version": f"{self.python}.{minor}",
                "python_version": self.python,
                "sys_platform": "linux" if linux else "darwin",
            }

    def wants(self, requirement: Requirement, extras: Iterable[str]) -> bool:
        """Whether a requirement counts here, for a package that was asked for with these extras."""
        if requirement.marker is None:
            return True
        return any(
            requirement.marker.evaluate(environment | {"extra": extra})
            for environment in self.markers()
            for extra in (*extras, "")
        )

    def tags(self) -> list[Tag]:
        """The tags of wheels that run here."""
        version = tuple(int(part) for part in self.python.split("."))
        short = "cp" + self.python.replace(".", "")
        names = self.platforms
        if self.system == "macos":
            newest = tuple(int(part) for part in MACOS[self.machine][-1].split("_"))
            names = list(mac_platforms((newest[0], newest[1]), self.machine))[::-1]
        return [
            *cpython_tags(version, [short], names),
            *compatible_tags(version, short, names),
        ]


def every_target(machines: Iterable[str], pythons: Iterable[str]) -> list[Target]:
    """All combinations."""
    pairs = [(*machine.split("-"), python) for machine in machines for python in pythons]
    return [Target(system, machine, python) for system, machine, python in pairs]


def best(target: Target, names: Iterable[str]) -> dict[str, str]:
    """For each package the wheel that fits a target best."""
    order = {tag: place for place, tag in enumerate(target.tags())}
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        package, _, _, tags = parse_wheel_filename(name)
        places = [order[tag] for tag in tags if tag in order]
        if places:
            found[package] = min(found.get(package, (len(order), "")), (min(places), name))
    return {package: name for package, (_, name) in found.items()}


def least_library(target: Target, names: Iterable[str]) -> tuple[str, list[int]]:
    """The oldest C library, or macOS, on which all these wheels run; none where all are plain."""
    least: list[int] = []
    for name in names:
        tags = [tag for tag in parse_wheel_filename(name)[3] if tag in set(target.tags())]
        versions = [
            [int(one) for one in found.groups()]
            for tag in tags
            if (found := re.match(r"(?:manylinux|macosx)_(\d+)_(\d+)_", tag.platform))
        ]
        if versions:
            least = max(least, min(versions))
    name = "glibc" if target.system == "linux" else "macOS"
    return (name, least) if least else ("", [])
