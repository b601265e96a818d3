"""The images and compose files, as far as that can be said without building them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from build_scripts.tensorrt_llm.argv import IMAGE
from launch.cli import app

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
IMAGES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSES = sorted(DOCKER.glob("compose.*.yaml"))
REPLACED = ("command", "entrypoint", "test")  # the lists that Compose does not append to: commands of a shell


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instruction and its text, continued lines joined, comments dropped."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


@dataclass(frozen=True)
class Override:
    """A value with Compose's tag `!override`."""

    value: Any


class ComposeLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    pass


ComposeLoader.add_constructor("!override", lambda loader, node: Override(loader.construct_sequence(node, deep=True)))


def compose(file: Path) -> dict[str, Any]:
    """The service of a compose file, with what it extends."""
    service = yaml.load(file.read_text(), ComposeLoader)["services"]["conch"]  # noqa: S506 - a SafeLoader
    base = service.pop("extends", None)
    result: dict[str, Any] = merged(compose(DOCKER / base["file"]) if base else {}, service)
    return result


def merged(base: Any, own: Any, key: str = "") -> Any:
    """What a service says over what it extends, as Compose merges them: a list is appended to the one of its key."""
    if isinstance(own, Override):
        return own.value
    if isinstance(own, dict):
        known = base or {}
        return {**known, **{name: merged(known.get(name), value, name) for name, value in own.items()}}
    if isinstance(own, list) and key not in REPLACED:
        return [*(base or []), *own]
    return own


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_everything_that_is_copied_is_there(image: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [word for name, text in instructions(image) if name == "COPY" for word in shlex.split(text)[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert path not in ignored


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_every_base_is_pinned_and_every_image_knows_its_health(image: Path) -> None:
    names = [name for name, _ in instructions(image)]
    (base,) = [text for name, text in instructions(image) if name == "FROM"]
    assert re.search(r":[\w.-]*\d", base), base
    assert not base.endswith(":latest")
    assert {"HEALTHCHECK", "EXPOSE", "ENTRYPOINT", "CMD"} <= set(names)


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_the_health_check_is_a_program(image: Path) -> None:
    (check,) = [text for name, text in instructions(image) if name == "HEALTHCHECK"]
    program = yaml.safe_load(check.partition("CMD ")[2])[-1]
    compile(program, str(image), "exec")
    assert re.search(r"/health/(live|ready)", program)


def test_the_gpu_image_is_the_container_that_compiles() -> None:
    assert ("FROM", IMAGE) in instructions(DOCKER / "gpu.Dockerfile")


def test_the_gateway_image_has_nothing_heavy() -> None:
    text = (DOCKER / "gateway.Dockerfile").read_text()
    copied = [
        line.split()[1] for line in text.splitlines() if line.startswith("COPY") and line.split()[1].isidentifier()
    ]
    assert copied == ["triton_repo", "gateway"]
    assert "[gateway]" in text


@pytest.mark.parametrize("file", COMPOSES, ids=lambda path: path.stem)
def test_a_compose_file_builds_an_image_of_ours_with_room_in_shared_memory(file: Path) -> None:
    service = compose(file)
    assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert re.fullmatch(r"\d+gb", service["shm_size"])
    assert service["ports"] == ["9000:9000"]


@pytest.mark.parametrize("file", COMPOSES, ids=lambda path: path.stem)
def test_a_compose_file_mounts_every_volume_of_its_image(file: Path) -> None:
    """Else Docker mounts a new one after each `down`: what it held is lost, what a mount above it holds is hidden."""
    service = compose(file)
    image = DOCKER / service["build"]["context"] / service["build"]["dockerfile"]
    volumes = {path for name, text in instructions(image) if name == "VOLUME" for path in json.loads(text)}
    assert volumes <= {mount.split(":")[1] for mount in service.get("volumes", [])}


@pytest.mark.parametrize("name", ["gpu", "gpus"])
def test_gpus_are_reserved_and_memory_may_be_locked(name: str) -> None:
    service = compose(DOCKER / f"compose.{name}.yaml")
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": {"gpu": 1, "gpus": "all"}[name], "capabilities": ["gpu"]}
    assert service["ulimits"] == {"memlock": -1, "stack": 67108864}


@pytest.mark.parametrize("file", [*IMAGES, *COMPOSES], ids=lambda path: path.name)
def test_the_commands_are_those_of_conch(file: Path) -> None:
    if file in IMAGES:
        (text,) = [text for name, text in instructions(file) if name == "CMD"]
        entry = [text for name, text in instructions(file) if name == "ENTRYPOINT"]
        if json.loads(entry[0])[-1] != "conch":
            return
        words = yaml.safe_load(text)
    else:
        words = compose(file).get("command", ["serve"])
    serve = typer.main.get_command(app)
    assert isinstance(serve, click.Group)
    options = {option for parameter in serve.commands[words[0]].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options | {"--help"}
