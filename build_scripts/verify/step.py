"""`conch build --verify`: between the shards and the compiler, in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from build_scripts.source.checkpoint import Checkpoint
from build_scripts.verify.report import show
from build_scripts.verify.result import Verification
from build_scripts.weights.opening import open_checkpoint
from build_scripts.work import progress
from build_scripts.work.child import Child
from triton_repo.contract.errors import BuildError


@dataclass(frozen=True, slots=True)
class VerifyStep:
    """Runs shards against the checkpoint that they are made of, and prints the result."""

    as_json: bool = False

    def __call__(self, checkpoint: Checkpoint, shards: Path, log: Path) -> None:
        """Raises: BuildError: the shards compute something else than the checkpoint, or cannot be run."""
        with TemporaryDirectory() as scratch:
            found, meter = Path(scratch, "found.json"), Path(scratch, "done")
            total = sum(path.stat().st_size for path in shards.glob("rank*.safetensors"))
            with progress.metered("verify", total, meter):
                Child("verify", log).call(
                    run,
                    shards=str(shards),
                    checkpoint=str(checkpoint.directory),
                    source=checkpoint.source,
                    found=str(found),
                    meter=str(meter),
                )
            result = Verification.model_validate_json(found.read_bytes())
        show(result, self.as_json)
        if not result.passed:
            raise BuildError(f"the shards do not compute what the checkpoint does: {result.failure()}")


def run(shards: str, checkpoint: str, source: str, found: str, meter: str) -> None:
    """The child's side: write the Verification into the file `found`; `meter` has the number of bytes done.

    Raises:
        BuildError: the shards cannot be run.
    """
    from build_scripts.verify.compare import verify_shards  # torch and transformers

    def done(count: int) -> None:
        Path(meter).write_bytes(b"%d" % count)

    result = verify_shards(Path(shards), open_checkpoint(Path(checkpoint), source), done=done)
    Path(found).write_text(result.model_dump_json(), encoding="utf-8")
