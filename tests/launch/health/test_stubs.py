from __future__ import annotations

import pytest

from launch.health.stubs import stub_model


@pytest.mark.parametrize(
    ("command", "model"),
    [
        (("/run/backends/python/triton_python_backend_stub", "/engines/a_engine/1/model.py", "conch_1"), "a_engine"),
        (("/opt/tritonserver/bin/tritonserver", "/engines/a_engine/1/model.py"), None),
        (("triton_python_backend_stub",), None),
        ((), None),
    ],
)
def test_a_stub_is_known_by_its_command_line(command: tuple[str, ...], model: str | None) -> None:
    assert stub_model(command) == model
