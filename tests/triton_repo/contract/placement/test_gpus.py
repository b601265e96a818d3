"""Which GPUs CUDA shows to the ranks of an engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_repo.contract.errors import LaunchError
from triton_repo.contract.placement.gpus import cuda_environment, visible_devices


def test_gpus_are_counted_as_nvidia_smi_counts_them() -> None:
    devices = "2,3"
    assert cuda_environment("llama", (2, 3), {}) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": devices,
        "TRTLLM_VISIBLE_DEVICES": devices,
    }


def test_without_a_choice_nothing_is_changed() -> None:
    assert cuda_environment("llama", (), {"CUDA_VISIBLE_DEVICES": "1"}) == {}


@pytest.mark.parametrize(
    ("inherited", "gpus", "devices"),
    [
        ("4,5,6,7", (0, 1), ("4", "5")),
        (" 6 , 7 ", (1,), ("7",)),
        ("GPU-8932f937,MIG-GPU-1/0/0", (1,), ("MIG-GPU-1/0/0",)),
        ("3,-1,5", (0,), ("3",)),
    ],
)
def test_they_count_among_those_that_the_server_may_see(
    inherited: str, gpus: tuple[int, ...], devices: tuple[str, ...]
) -> None:
    assert visible_devices("llama", gpus, inherited) == devices


@pytest.mark.parametrize("inherited", ["", "0", "0,-1,1", "-1"])
def test_more_than_those_are_rejected_by_number(inherited: str) -> None:
    rule = r"engine llama: placement\.gpus: GPU 1: CUDA_VISIBLE_DEVICES = .* to see: must be < [01]"
    with pytest.raises(LaunchError, match=rule):
        visible_devices("llama", (1,), inherited)


@given(st.lists(st.integers(0, 99), unique=True, min_size=1), st.data())
def test_what_is_chosen_is_always_among_what_was_left(left: list[int], data: st.DataObject) -> None:
    gpus = data.draw(st.lists(st.integers(0, len(left) - 1), unique=True))
    chosen = visible_devices("llama", gpus, ",".join(map(str, left)))
    assert [int(device) for device in chosen] == [left[gpu] for gpu in gpus]
