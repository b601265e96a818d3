"""The parent's side of the checks of a CPU engine: what is run, with which prompts, and what is left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from build_scripts.engine.builder import Export
from build_scripts.openvino.verify.prompts import make_prompts
from build_scripts.openvino.verify.settings import in_float32, settings_of
from build_scripts.openvino.verify.step import check_equal, check_served
from build_scripts.openvino.verify.when import decide, known_wrong, lacking_memory
from build_scripts.verify.memory import available_bytes
from build_scripts.weights.huggingface import read_config
from build_scripts.work import progress
from build_scripts.work.child import Child
from triton_repo.contract.engine_config import EngineConfig
from triton_repo.contract.errors import BuildError


@dataclass(frozen=True, slots=True)
class Trial:
    """One model on trial.

    Attributes:
        prompts: token ids.
        served: the settings that it is served with.
        skipped: why it is not compared with transformers; None where it is.
        not_run: why it is not run as it is served; None where it is.
    """

    export: Export
    prompts: list[list[int]]
    served: EngineConfig
    skipped: str | None
    not_run: str | None

    @classmethod
    def of(cls, export: Export, parameters: int) -> Trial:
        """
        Raises:
            BuildError: a comparison was asked for, and there is not the memory for it; or there is none, and the model
                is known to be exported wrong.
        """
        source = export.checkpoint.source
        config = read_config(export.checkpoint.directory, source)
        vocab_size = export.checkpoint.facts().vocab_size
        prompts = make_prompts(config, vocab_size, export.max_seq_len)
        served = settings_of(export.spec, vocab_size, export.max_seq_len, prompts)
        available = available_bytes()
        not_run = "--no-verify" if export.compare is False else lacking_memory(parameters, available)
        skipped = decide(export.compare, parameters, available)
        if skipped and (wrong := known_wrong(config)):
            raise BuildError(f"{source}: config.json: {wrong}")
        return cls(export, prompts, served, skipped, not_run)

    @property
    def expected(self) -> Path | None:
        """Where transformers' answers are to be written while the model is exported, if they are needed."""
        return None if self.skipped else self.export.model.path / "expected.npz"

    def compare(self) -> None:
        """With transformers, before the weights are compressed: both sides then compute the same numbers.

        Raises:
            BuildError: the model computes something else, or cannot be run.
        """
        if self.expected is None:
            progress.say(f"  not compared with transformers: {self.skipped}")
            return
        model, settings = self.export.model, in_float32(self.served).model_dump_json()
        with progress.step("verify against transformers"):
            self._child.call(check_equal, str(model.path), settings, str(self.expected), str(model.verified))
        self.expected.unlink()

    def serve(self) -> None:
        """As it will be served, once its weights are final. Raises: BuildError: it cannot be."""
        same = self.export.spec.build.quantization == "none" and self.served == in_float32(self.served)
        if self.expected and same:
            return
        if self.not_run:
            progress.say(f"  not run as it is served: {self.not_run}")
            return
        with progress.step("run as it is served"):
            self._child.call(check_served, str(self.export.model.path), self.served.model_dump_json(), self.prompts)

    @property
    def _child(self) -> Child:
        return Child("verify", self.export.log)
