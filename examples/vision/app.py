"""By how much are photographed pages turned? An upload of JPEGs to JSON, through Conch's gateway.

    uvicorn --app-dir examples/vision app:app --port 9100
    curl -F files=@page.jpg -F files=@other.jpg http://127.0.0.1:9100/angles

The gateway's address is CONCH_URL (http://127.0.0.1:9000), its key CONCH_API_KEY.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import FastAPI, File, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse

MAX_FILES = 16  # of one request, and no more than the max_batch_size of the models
MAX_FILE_BYTES = 2 * 2**20
MAX_TOTAL_BYTES = 7 * 2**20  # the gateway takes 8 MiB (--max-body-bytes); Triton's gRPC no more than 2 GB ever
TIMEOUT_S = 60.0

ANGLES = (0, 90, 180, 270)
JPEG = b"\xff\xd8\xff"
INFER = "/v2/models/page_angle/infer"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    key = os.environ.get("CONCH_API_KEY")
    async with httpx.AsyncClient(
        base_url=os.environ.get("CONCH_URL", "http://127.0.0.1:9000"),
        headers={"authorization": f"Bearer {key}"} if key else {},
        timeout=TIMEOUT_S,
        trust_env=False,
    ) as app.state.conch:
        yield


app = FastAPI(title="Page angles", lifespan=lifespan)


@app.middleware("http")
async def bound_body(request: Request, call_next: Any) -> Any:
    """Reject a body that says that it is too large before any of it is read; one that does not say is none of ours."""
    length = request.headers.get("content-length")
    if request.method == "POST" and not (length and int(length) <= MAX_TOTAL_BYTES + MAX_FILES * 1024):
        detail = f"an upload says its length, and has at most {MAX_TOTAL_BYTES} bytes in all"
        return JSONResponse({"detail": detail}, 413 if length else 411)
    return await call_next(request)


@app.post("/angles")
async def angles(request: Request, files: Annotated[list[UploadFile], File()]) -> dict[str, Any]:
    """Of each file, in their order, by how many degrees its page is turned, and how likely each angle is."""
    jpegs = await read(files)
    scores = await classify(request.app.state.conch, jpegs)
    names = [file.filename or "" for file in files]
    return {"images": [described(name, row) for name, row in zip(names, scores, strict=True)]}


async def read(files: Sequence[UploadFile]) -> list[bytes]:
    """Raises: HTTPException: they are too many or too large, or one is no JPEG."""
    if len(files) > MAX_FILES:
        raise HTTPException(413, f"{len(files)} files; at most {MAX_FILES} in one request")
    jpegs = []
    for number, file in enumerate(files):
        jpeg = await file.read(MAX_FILE_BYTES + 1)
        if len(jpeg) > MAX_FILE_BYTES:
            raise HTTPException(413, f"image {number}: more than {MAX_FILE_BYTES} bytes")
        if not jpeg.startswith(JPEG):
            raise HTTPException(415, f"image {number}: not a JPEG")
        jpegs.append(jpeg)
    if sum(map(len, jpegs)) > MAX_TOTAL_BYTES:
        raise HTTPException(413, f"more than {MAX_TOTAL_BYTES} bytes in all")
    return jpegs


async def classify(conch: httpx.AsyncClient, jpegs: Sequence[bytes]) -> list[list[float]]:
    """Four scores for each image; one request, whose bytes stand behind its JSON.

    Raises:
        HTTPException: with the status that the gateway gave.
    """
    content = b"".join(struct.pack("<I", len(jpeg)) + jpeg for jpeg in jpegs)
    parameters = {"binary_data_size": len(content)}
    tensor = {"name": "jpeg", "datatype": "BYTES", "shape": [len(jpegs), 1], "parameters": parameters}
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "scores"}]}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    try:
        response = await conch.post(INFER, content=head + content, headers=headers)
    except httpx.TransportError as error:
        raise HTTPException(503, "the model server does not answer") from error
    if response.status_code != 200:
        retry = {key: value for key, value in response.headers.items() if key == "retry-after"}
        raise HTTPException(response.status_code, response.json().get("error", "no answer"), retry)
    values = response.json()["outputs"][0]["data"]
    return [values[start : start + len(ANGLES)] for start in range(0, len(values), len(ANGLES))]


def described(name: str, scores: Sequence[float]) -> dict[str, Any]:
    best = max(range(len(ANGLES)), key=scores.__getitem__)
    by_angle = {str(angle): round(score, 4) for angle, score in zip(ANGLES, scores, strict=True)}
    return {"file": name, "angle": ANGLES[best], "score": round(scores[best], 4), "scores": by_angle}
