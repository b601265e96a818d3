"""JPEGs to pixels: scaled so that the shorter side has 256, the middle 224 x 224 of it, normalized as ImageNet's."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

MAX_PIXELS = 50_000_000  # of one image; what says that it has more is not decompressed
SHORTER, SIDE = 256, 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        """Of the requests that Triton has put together one may fail, and the others go on."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        jpegs = pb_utils.get_input_tensor_by_name(request, "jpeg").as_numpy()
        try:
            pixels = np.stack([pixels_of(jpeg, number) for number, jpeg in enumerate(jpegs[:, 0])])
        except ValueError as error:
            rejection = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=rejection)
        return pb_utils.InferenceResponse([pb_utils.Tensor("x", pixels)])


def pixels_of(jpeg: bytes, number: int) -> np.ndarray:
    """[3, SIDE, SIDE]. Raises: ValueError: it is no JPEG, or too large, by the `number` that the client knows it by."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:  # reads the header alone
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"image {number}: {width} x {height} are more than {MAX_PIXELS} pixels")
            image.draft("RGB", (SHORTER, SHORTER))  # libjpeg decodes to no more than is needed, far quicker
            return normalized(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"image {number}: not a whole JPEG of at most {MAX_PIXELS} pixels") from error


def normalized(image: Image.Image) -> np.ndarray:
    scale = SHORTER / min(image.size)
    width, height = (max(SHORTER, round(side * scale)) for side in image.size)
    left, top = (width - SIDE) // 2, (height - SIDE) // 2
    # Only what is kept is scaled, so that a picture 1 pixel high and 65,535 wide costs no more than another.
    box = (left / width * image.width, top / height * image.height)
    box += ((left + SIDE) / width * image.width, (top + SIDE) / height * image.height)
    scaled = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    values = (np.asarray(scaled, np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(values.transpose(2, 0, 1))
