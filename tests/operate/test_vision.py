"""Other models beside an engine, on the real stack: the vision example with its upload, and models that do not load."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from examples.vision.app import MAX_FILE_BYTES, MAX_FILES
from examples.vision.build import build
from tests.conftest import CONCH, ROOT, Stack, free_port, serving
from tests.waiting import wait_for

pytestmark = pytest.mark.operate

pytest.importorskip("onnxruntime", reason="run `pip install -e .[operate]`: the example's classifier needs it")
Image = pytest.importorskip("PIL.Image", reason="run `pip install -e .[operate]`: the example's images need it")

BROKEN = 'backend: "python"\ninput [ { name: "a" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
BROKEN += 'output [ { name: "b" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
TEXT = "The quick brown fox jumps over the lazy dog, and reads the news of today in peace."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vision") / "models"
    build(directory)
    return directory


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of models that cannot be loaded, each for a reason of its own."""
    directory = tmp_path_factory.mktemp("broken")
    for name, config in (("code", BROKEN), ("backend", BROKEN.replace("python", "none")), ("config", "nonsense")):
        (directory / name / "1").mkdir(parents=True)
        (directory / name / "config.pbtxt").write_text(config, encoding="utf-8")
    (directory / "code" / "1" / "model.py").write_text('raise RuntimeError("no good")\n', encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "serve.log"


@pytest.fixture(scope="module")
def stack(models: Path, broken: Path, log: Path) -> Iterator[Stack]:
    repositories = ("--model-repository", str(models), "--model-repository", str(broken))
    flags = ("--required-models", "page_angle", "--model-control", "explicit")
    with serving("replay", *repositories, *flags, log=log) as running:
        yield running


@pytest.fixture(scope="module")
def upload(stack: Stack) -> Iterator[httpx.Client]:
    """The example, as its own process."""
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", "--app-dir", "examples/vision", "app:app", "--port", str(port)]
    server = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "CONCH_URL": stack.gateway})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            wait_for(lambda: answers(client))
            yield client
    finally:
        server.terminate()
        server.wait(60)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/openapi.json").status_code == 200
    except httpx.TransportError:
        return False


def page(angle: int, size: tuple[int, int] = (400, 500)) -> bytes:
    """A JPEG of a page of text, turned clockwise."""
    from PIL import ImageDraw, ImageFont

    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(36)
    for line, top in enumerate(range(20, size[1] - 46, 54)):
        draw.text((20, top), TEXT[line * 7 :][: 19 - line % 5 * 2], "black", font)
    content = io.BytesIO()
    image.rotate(-angle, expand=True).save(content, "JPEG", quality=85)
    return content.getvalue()


def post(upload: httpx.Client, *jpegs: bytes) -> httpx.Response:
    return upload.post("/angles", files=[("files", (f"{number}.jpg", each)) for number, each in enumerate(jpegs)])


def statistics(stack: Stack, model: str) -> Any:
    (found,) = httpx.get(f"{stack.gateway}/v2/models/{model}/stats").json()["model_stats"]
    return found


def chat(stack: Stack) -> int:
    body = {"model": "replay", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    return httpx.post(f"{stack.gateway}/v1/chat/completions", json=body).status_code


def test_pages_are_told_by_their_angle(upload: httpx.Client) -> None:
    given = [0, 90, 180, 270, 0, 180]
    answer = post(upload, *map(page, given)).raise_for_status().json()
    assert [image["file"] for image in answer["images"]] == [f"{number}.jpg" for number in range(len(given))]
    assert [image["angle"] for image in answer["images"]] == given
    assert all(0.99 < sum(image["scores"].values()) < 1.01 for image in answer["images"])


def test_requests_at_the_same_time_are_computed_together(stack: Stack, upload: httpx.Client) -> None:
    before = statistics(stack, "classify")
    jpegs = [page(angle) for angle in (0, 90, 180, 270)] * 12
    with ThreadPoolExecutor(24) as threads:
        found = [*threads.map(lambda jpeg: post(upload, jpeg).raise_for_status().json()["images"][0]["angle"], jpegs)]
    assert found == [0, 90, 180, 270] * 12
    after = statistics(stack, "classify")
    assert after["inference_count"] - before["inference_count"] == len(jpegs)
    assert after["execution_count"] - before["execution_count"] < len(jpegs)


def test_an_upload_has_limits(upload: httpx.Client) -> None:
    jpeg = page(0)
    assert post(upload, *[jpeg] * MAX_FILES).status_code == 200
    many = post(upload, *[jpeg] * (MAX_FILES + 1))
    assert (many.status_code, many.json()["detail"]) == (413, f"17 files; at most {MAX_FILES} in one request")
    assert post(upload, jpeg, jpeg + bytes(MAX_FILE_BYTES)).status_code == 413
    assert post(upload, *[jpeg + bytes(MAX_FILE_BYTES - len(jpeg))] * 5).status_code == 413
    assert post(upload, jpeg, b"GIF89a" + bytes(100)).json() == {"detail": "image 1: not a JPEG"}
    assert upload.post("/angles", content=iter([b"x"])).status_code == 411


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """The same picture, whose header says that it has this size: what it decompresses to would be as large."""
    frame = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :]


@pytest.mark.parametrize(
    ("jpeg", "words"),
    [
        (lambda: with_size(page(0), 65_000, 65_000), "image 1: "),
        (lambda: with_size(page(0), 8_000, 8_000), "image 1: 8000 x 8000 are more than"),
        (lambda: page(0)[:3000], "image 1: not a whole JPEG"),
        (lambda: b"\xff\xd8\xff" + os.urandom(3000), "image 1: not a whole JPEG"),
    ],
)
def test_a_bad_picture_is_told_by_its_number_and_harms_no_other(
    stack: Stack, upload: httpx.Client, jpeg: Callable[[], bytes], words: str
) -> None:
    answer = post(upload, page(0), jpeg())
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(words)
    assert post(upload, page(90)).json()["images"][0]["angle"] == 90


def test_models_that_cannot_be_loaded_are_named_and_the_others_serve(stack: Stack, log: Path) -> None:
    text = log.read_text(encoding="utf-8")
    for name, reason in (("code", "no good"), ("backend", "backend"), ("config", "failed to read text proto")):
        (line,) = [line for line in text.splitlines() if f"{name} is not served: " in line]
        assert reason in line
        assert httpx.get(f"{stack.gateway}/v2/models/{name}/ready").status_code == 503
        tensor = {"name": "a", "datatype": "FP32", "shape": [1], "data": [1]}
        answer = httpx.post(f"{stack.gateway}/v2/models/{name}/infer", json={"inputs": [tensor]})
        assert (answer.status_code, [*answer.json()]) == (404, ["error"])
    assert chat(stack) == 200
    assert "other models:" in text


def test_other_models_have_tritons_metrics_beside_the_engines(stack: Stack, upload: httpx.Client) -> None:
    post(upload, page(0)).raise_for_status()
    lines = httpx.get(f"{stack.gateway}/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("nv_inference_count{") and 'model="classify"' in line]
    assert len(counted) == 1
    assert float(counted[0].rpartition(" ")[2]) >= 1


def test_an_ensemble_is_told_with_its_steps(stack: Stack) -> None:
    config = httpx.get(f"{stack.gateway}/v2/models/page_angle/config").json()
    assert [step["model_name"] for step in config["ensemble_scheduling"]["step"]] == ["preprocess", "classify"]


def test_a_model_whose_process_is_killed_is_back_and_the_engine_never_away(stack: Stack, upload: httpx.Client) -> None:
    before = {process.pid for process in psutil.Process(stack.pid).children(recursive=True)}
    (stub,) = [
        process
        for process in psutil.Process(stack.pid).children(recursive=True)
        if any(word.endswith("classify/1/model.py") for word in process.cmdline())
    ]
    stub.kill()
    for _ in range(20):
        assert chat(stack) == 200
        time.sleep(0.1)
    wait_for(lambda: post(upload, page(90)).status_code == 200)
    assert post(upload, page(90)).json()["images"][0]["angle"] == 90
    servers = {process.pid for process in psutil.Process(stack.pid).children()}
    assert servers <= before


def serve(*arguments: str) -> str:
    """What a `conch serve` says that does not start."""
    port = str(free_port())
    argv = [str(CONCH), "serve", "replay", "--port", port, *arguments]
    ended = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    assert ended.returncode == 2
    return " ".join((ended.stdout + ended.stderr).split())


def test_a_name_that_an_engine_has_is_one_error(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "preprocess", tmp_path / "replay_engine")
    said = serve("--model-repository", str(tmp_path))
    assert "model replay_engine: engine replay has a model of that name" in said
