"""The import graph of the source folders, as rooms, floors and arrows.

A room of a folder is one of its modules, or one of its subfolders seen from outside. An arrow is an import from one
room into another, however many modules import. A floor is the height of a room above those that import nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.syntax import parsed

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("triton_repo", "gateway", "build_scripts", "bench", "launch", "engines")

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """One folder: the arrows between its rooms, by the room that imports."""

    arrows: Graph

    @property
    def num_arrows(self) -> int:
        return sum(len(targets) for targets in self.arrows.values())

    @property
    def upward(self) -> frozenset[tuple[str, str]]:
        """The arrows between rooms that reach each other both ways."""
        return frozenset(
            (room, target)
            for room, targets in self.arrows.items()
            for target in targets
            if room in reachable(self.arrows, target)
        )

    @property
    def num_floors(self) -> int:
        """0 where some arrows point upward."""
        floors, left = 0, dict(self.arrows)
        while ground := {room for room, targets in left.items() if not targets & left.keys()}:
            left = {room: targets for room, targets in left.items() if room not in ground}
            floors += 1
        return 0 if left else floors


def layout(folder: Path) -> Layout:
    """The layout of a folder below `ROOT`, or below the root of another checkout."""
    modules = [*source_files(folder)]
    package = package_name(folder)
    rooms = {room_of(file, folder) for file in modules} - {"__init__"}
    arrows: dict[str, set[str]] = {room: set() for room in rooms}
    for file in modules:
        room = room_of(file, folder)
        for name in imported_modules(file):
            if name.startswith(package + ".") and room in rooms:
                arrows[room] |= {name.removeprefix(package + ".").split(".")[0]} & rooms - {room}
    return Layout({room: frozenset(targets) for room, targets in arrows.items()})


def reachable(arrows: Graph, start: str) -> set[str]:
    """Every room that `start` imports, directly or through others; with itself if it does so."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = arrows[waiting.pop()] - found
        found |= fresh
        waiting += fresh
    return found


def source_files(folder: Path) -> Iterator[Path]:
    """Modules; not the adapters in version directories, which Triton loads by their path, nor built engines."""
    for file in sorted(folder.rglob("*.py")):
        if not {"built", "1", ".venv"} & set(file.parts):
            yield file


def imported_modules(file: Path) -> set[str]:
    """Absolute names; of `from a import b` both a and a.b, as either may be the module."""
    names: set[str] = set()
    for node in ast.walk(parsed(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def package_name(folder: Path) -> str:
    """Packages have an `__init__.py` all the way up to a source folder; namespace ones are found by their name."""
    top = next(index for index, part in enumerate(folder.parts) if part in FOLDERS)
    return ".".join(folder.parts[top:])


def room_of(file: Path, folder: Path) -> str:
    return Path(file.relative_to(folder).parts[0]).stem


def packages() -> list[Path]:
    """Every source folder and every folder with modules below one."""
    tops = [ROOT / name for name in FOLDERS]
    return sorted({*tops, *(file.parent for top in tops for file in source_files(top))})
