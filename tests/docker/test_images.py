"""The images and compose files, as far as that can be said without building them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from launch.cli import app
from tests.docker.dockerfile import DOCKER, IMAGES, base, instructions, last

ROOT = DOCKER.parent
COMPOSES = sorted(DOCKER.glob("compose.*.yaml"))
SCRIPTS = (*sorted(DOCKER.glob("*.sh")), ROOT / ".ci" / "run")
REPLACED = ("command", "entrypoint", "test")  # the lists that Compose does not append to: commands of a shell


@dataclass(frozen=True)
class Override:
    """A value with Compose's tag `!override`."""

    value: Any


class ComposeLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    pass


ComposeLoader.add_constructor("!override", lambda loader, node: Override(loader.construct_sequence(node, deep=True)))


def compose(file: Path, **environment: str) -> dict[str, Any]:
    """The service of a compose file, with what it extends, where these variables are set."""
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: environment.get(match[1], match[2]), file.read_text())
    service = yaml.load(text, ComposeLoader)["services"]["conch"]  # noqa: S506 - a SafeLoader
    extended = service.pop("extends", None)
    result: dict[str, Any] = merged(compose(DOCKER / extended["file"], **environment) if extended else {}, service)
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


def image_of(service: dict[str, Any]) -> Path:
    build = service["build"]
    return DOCKER.joinpath(build["context"], build["dockerfile"]).resolve()


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_everything_that_is_copied_is_there(image: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copies = [each.words for each in instructions(image) if each.name == "COPY" and not each.text.startswith("--from")]
    copied = [word for words in copies for word in words[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert path.split("/")[0] not in ignored


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_every_base_is_pinned_and_every_image_knows_its_health(image: Path) -> None:
    names = {each.name for each in instructions(image)}
    for text in (each.text for each in instructions(image) if each.name == "FROM"):
        assert re.search(r":[\w.-]*\d", text), text
        assert ":latest" not in text
    assert {"HEALTHCHECK", "EXPOSE", "ENTRYPOINT", "CMD"} <= names


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_no_image_runs_as_root(image: Path) -> None:
    assert last(image, "USER").partition(":")[0] not in {"0", "root"}


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_the_health_check_is_a_program(image: Path) -> None:
    program = yaml.safe_load(last(image, "HEALTHCHECK").partition("CMD ")[2])[-1]
    compile(program, str(image), "exec")
    assert re.search(r"/health/(live|ready)", program)


def test_the_gateway_image_has_nothing_heavy() -> None:
    gateway = DOCKER / "gateway.Dockerfile"
    copied = [word for each in instructions(gateway) if each.name == "COPY" for word in each.words[:-1]]
    assert [word for word in copied if word.isidentifier() and word != "LICENSE"] == ["triton_repo", "gateway"]
    assert "[gateway]" in last(gateway, "RUN")
    assert base(gateway).startswith("python:")


@pytest.mark.parametrize("file", COMPOSES, ids=lambda path: path.stem)
@pytest.mark.parametrize("chosen", [{}, {"CONCH_IMAGE": "compiled"}], ids=["default", "compiled"])
def test_a_compose_file_builds_an_image_of_ours_with_room_in_shared_memory(file: Path, chosen: dict[str, str]) -> None:
    service = compose(file, **chosen)
    assert image_of(service) in IMAGES
    assert service["image"] == f"conch-{image_of(service).stem}"
    assert re.fullmatch(r"\d+gb", service["shm_size"])
    assert service["ports"] == ["9000:9000"]


@pytest.mark.parametrize("file", COMPOSES, ids=lambda path: path.stem)
def test_a_compose_file_mounts_every_volume_of_its_image(file: Path) -> None:
    """Else Docker mounts a new one after each `down`: what it held is lost, what a mount above it holds is hidden."""
    service = compose(file)
    volumes = {
        path for each in instructions(image_of(service)) if each.name == "VOLUME" for path in json.loads(each.text)
    }
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
        if json.loads(last(file, "ENTRYPOINT"))[-1] != "conch":
            return
        words = json.loads(last(file, "CMD"))
    else:
        words = compose(file).get("command", ["serve"])
    serve = typer.main.get_command(app)
    assert isinstance(serve, click.Group)
    options = {option for parameter in serve.commands[words[0]].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options | {"--help"}


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say_of_a_dockerfile(image: Path) -> None:
    """It also has shellcheck look at what RUN runs."""
    assert findings("hadolint", "--failure-threshold", "style", str(image)) == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say_of_a_script(script: Path) -> None:
    assert findings("shellcheck", str(script)) == ""


def findings(linter: str, *arguments: str) -> str:
    """What a linter says; both are installed with `dev` where there are wheels of them (Linux on x86-64)."""
    program = Path(sys.executable).with_name(linter)
    if not program.is_file():
        pytest.skip(f"{linter} is not installed")
    return subprocess.run([program, *arguments], capture_output=True, encoding="utf-8", check=False).stdout
