"""A tiny random Llama with a byte-level tokenizer, and an engine built from it: made once, copied for each test."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from build_scripts.build import Engine, ensure_engine
from build_scripts.engine.manifest import Manifest
from build_scripts.work.child import Child
from tests.build_scripts import warm_steps
from triton_repo.contract.engine_directory import EngineDirectory

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ eos_token }}"


@dataclass(frozen=True)
class Workshop:
    """A directory with `tiny.toml`, its checkpoint `tiny/checkpoint`, and maybe its engine `built/tiny`."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "tiny" / "checkpoint"

    @property
    def spec(self) -> Path:
        return self.root / "tiny.toml"

    @property
    def engine(self) -> Path:
        return self.root / "built" / "tiny"

    @property
    def store(self) -> set[str]:
        """What lies beside the engines: kinds of entries, not their random parts."""
        return {"engine" if path.is_dir() else path.name for path in (self.root / "built" / ".store").iterdir()}

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(EngineDirectory(self.engine))

    @property
    def damage(self) -> list[str]:
        return self.manifest.damage(EngineDirectory(self.engine))

    def write_spec(self, text: str = "", runtime: str = "openvino") -> str:
        self.spec.write_text(f'name = "tiny"\nmodel = "tiny/checkpoint"\nruntime = "{runtime}"\n{text}')
        return str(self.spec)

    def build(self, text: str = "", runtime: str = "openvino") -> Engine:
        return ensure_engine(self.write_spec(text, runtime))

    def configure(self, file: str, **values: object) -> None:
        """Change keys of one of the checkpoint's JSON files."""
        path = self.checkpoint / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def contents(directory: Path) -> dict[str, str]:
    """Relative path -> hash of every file under a directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_checkpoint(directory: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(7)
    config_class: Any = transformers.LlamaConfig
    model_class: Any = transformers.LlamaForCausalLM
    config = config_class(
        vocab_size=320,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
    )
    model_class(config).to(torch.float16).save_pretrained(directory)
    write_tokenizer(directory)


def write_tokenizer(directory: Path) -> None:
    alphabet = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="session", autouse=True)
def warm() -> Iterator[None]:
    """Every build of these tests imports torch once."""
    warm_steps.preload()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Child, "_run", warm_steps.start_warm)
        yield


@pytest.fixture
def cold_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what depends on how the process of a step is started."""
    monkeypatch.setattr(Child, "_run", warm_steps.START_COLD)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Not built. Not to be changed."""
    workshop = Workshop(tmp_path_factory.mktemp("pristine"))
    write_checkpoint(workshop.checkpoint)
    workshop.write_spec()
    return workshop


@pytest.fixture(scope="session")
def built(pristine: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Built in float32. Not to be changed."""
    workshop = copy(pristine, tmp_path_factory.mktemp("built"))
    workshop.build()
    return workshop


@pytest.fixture
def workshop(pristine: Workshop, tmp_path: Path) -> Workshop:
    """Not built; to change at will."""
    return copy(pristine, tmp_path)


@pytest.fixture
def built_workshop(built: Workshop, tmp_path: Path) -> Workshop:
    """Built in float32, elsewhere; to change at will."""
    return copy(built, tmp_path)


def copy(workshop: Workshop, root: Path) -> Workshop:
    return Workshop(Path(shutil.copytree(workshop.root, root / "workshop", symlinks=True)))
