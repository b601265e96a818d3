"""Rows of a tensor between a file and memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

# Of a source that is read and written block by block; below the size from which malloc returns memory at every free.
BLOCK_BYTES: Final = 16 << 20


def tensor_bytes(tensor: torch.Tensor) -> Any:
    """The memory of a contiguous CPU tensor as an array of bytes; no copy."""
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy()


@dataclass(frozen=True, slots=True)
class FileRows:
    """Consecutive rows of a file, from `offset` on. The reader of a LazyTensor.

    Uses `read` and not `mmap`: pages of a mapping count as this process's memory until something else needs them.
    """

    path: Path
    offset: int
    dtype: str
    row_shape: tuple[int, ...]
    row_bytes: int

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        """Raises: OSError: the file has become shorter."""
        import torch

        tensor = torch.empty((stop - start, *self.row_shape), dtype=getattr(torch, self.dtype))
        buffer: Any = memoryview(tensor_bytes(tensor))
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + start * self.row_bytes)
            done = 0
            while done < len(buffer):
                count = file.readinto(buffer[done:])
                if not count:
                    raise OSError(f"truncated: {len(buffer) - done} bytes are missing")
                done += count
        return tensor
