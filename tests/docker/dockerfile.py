"""Dockerfiles as instructions, and what their build arguments stand for."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DOCKER = Path(__file__).parents[2] / "docker"
IMAGES = sorted(DOCKER.glob("*.Dockerfile"))
GPU_IMAGES = tuple(DOCKER / f"{name}.Dockerfile" for name in ("compiled", "current"))


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def instructions(dockerfile: Path) -> list[Instruction]:
    """Continued lines joined, comments dropped, global arguments put in."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    found = [Instruction(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line]
    arguments = dict(each.text.split("=", 1) for each in found if each.name == "ARG" and "=" in each.text)
    return [Instruction(each.name, _filled(each.text, arguments)) for each in found]


def last(dockerfile: Path, name: str) -> str:
    """The text of the last instruction of this name, which is the one that counts."""
    return [each.text for each in instructions(dockerfile) if each.name == name][-1]


def base(dockerfile: Path) -> str:
    """The image that the last stage begins with."""
    return last(dockerfile, "FROM").split()[0]


def _filled(text: str, arguments: dict[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: arguments.get(match[1], match[0]), text)
