"""`[speculative]` in a spec: what is refused, what is built, what the engine is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from build_scripts.build import ensure_engine
from build_scripts.plan import BuildRequest, make_plan, prepare_build
from build_scripts.spec.reading import read_spec
from tests.build_scripts.conftest import Workshop, contents, copy
from tests.triton_repo.engine.runtimes.drafts import write_draft
from triton_repo.contract.capabilities.capabilities import OPTIONAL_FIELDS
from triton_repo.contract.engine_config import EngineConfig, SpeculativeConfig
from triton_repo.contract.engine_directory import EngineDirectory
from triton_repo.contract.errors import SpecError, UnsupportedParameter
from triton_repo.contract.sampling import ADAPTER_FIELD, GUIDE_FIELDS, LOGPROBS_FIELD, Sampling
from triton_repo.engine.request import parse_request
from triton_repo.engine.runtimes.openvino.runtime import OpenVinoRuntime
from triton_repo.engine.runtimes.runtime import Generation
from triton_repo.engine.runtimes.tensorrt_llm.speculation import draft_arguments

LOOKUP = '[speculative]\nmode = "prompt_lookup"\n'
DRAFT = '[speculative]\nmode = "draft"\ndraft_model = "tiny/draft"\n'
WHOLE = "[serve]\nenable_chunked_context = false\n"

REJECTED = [
    ("[speculative]", "speculative.mode: is required"),
    ('[speculative]\nmode = "medusa"', 'speculative.mode = "medusa"; allowed: prompt_lookup, draft, lookahead'),
    (LOOKUP + "num_assistant_tokens = 0", "speculative.num_assistant_tokens = 0; must be ≥ 1"),
    (LOOKUP + "max_ngram_size = 65", "speculative.max_ngram_size = 65; must be ≤ 64"),
    (
        LOOKUP + "ngram = 2",
        "speculative.ngram = 2; unknown key; allowed: mode, num_assistant_tokens, max_ngram_size, max_window_size, "
        "max_verification_set_size, draft_model",
    ),
    (
        LOOKUP + 'draft_model = "d"',
        'speculative.draft_model = "d"; is not for mode prompt_lookup, which has num_assistant_tokens, max_ngram_size',
    ),
    (
        '[speculative]\nmode = "draft"',
        "speculative.draft_model: mode draft needs a small checkpoint of the same vocabulary",
    ),
    (
        DRAFT + "max_ngram_size = 2",
        "speculative.max_ngram_size = 2; is not for mode draft, which has num_assistant_tokens, draft_model",
    ),
    (DRAFT, "serve.enable_chunked_context = true; must be false where speculative.mode = draft"),
    (WHOLE + LOOKUP, "serve.enable_chunked_context = false; must be true where speculative.mode = prompt_lookup"),
    (
        "[build]\nmax_num_tokens = 95\n" + LOOKUP,
        "build.max_num_tokens = 95; must be ≥ 96: build.max_batch_size × (1 + 5 guesses)",
    ),
    (
        "[sampling]\nmin_tokens = 3\n" + LOOKUP,
        "sampling.min_tokens = 3; is not possible where speculative.mode = prompt_lookup: remove the key",
    ),
    (
        'runtime = "replay"\n[replay]\ntext = "a"\n' + LOOKUP,
        'speculative = "[…]"; needs runtime openvino or runtime tensorrt_llm: remove the table',
    ),
    (
        'runtime = "tensorrt_llm"\n' + LOOKUP,
        'speculative.mode = "prompt_lookup"; must be lookahead where build.flow = compiled '
        "(prompt_lookup needs runtime openvino or runtime tensorrt_llm with build.flow = pytorch)",
    ),
    (
        'runtime = "tensorrt_llm"\n[sampling]\nrepetition_penalty = 1.1\n[build]\nflow = "pytorch"\n' + LOOKUP,
        "sampling.repetition_penalty = 1.1; is not possible where speculative.mode = prompt_lookup: remove the key",
    ),
    (
        "[serve]\ndynamic_quantization_group_size = 7",
        "serve.dynamic_quantization_group_size = 7; must be a multiple of 16",
    ),
]


@pytest.mark.parametrize(("text", "problem"), REJECTED)
def test_what_does_not_go_together_is_refused_with_its_key_its_value_and_what_is_allowed(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "x.toml"
    file.write_text('name = "x"\nmodel = "m"\n' + text)
    with pytest.raises(SpecError) as rejected:
        read_spec(file)
    assert str(rejected.value) == f"{file}: {problem}"


def test_prompt_lookup_needs_no_new_build_and_tells_clients_what_it_cannot_do(
    built_workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = built_workshop.build(LOOKUP + "num_assistant_tokens = 4").directory
    assert "up to date" in capsys.readouterr().err
    config = EngineConfig.load(directory)
    assert config.speculative == SpeculativeConfig(mode="prompt_lookup", num_assistant_tokens=4, max_ngram_size=3)
    assert config.card.unsupported == ("min_tokens", *GUIDE_FIELDS, ADAPTER_FIELD, *OPTIONAL_FIELDS)
    with pytest.raises(UnsupportedParameter, match="min_tokens"):
        parse_request({"input_ids": [5], "min_tokens": [2]}, {}, config)
    assert EngineConfig.load(built_workshop.build().directory).card.unsupported == (ADAPTER_FIELD, *OPTIONAL_FIELDS)


def test_settings_of_the_pipeline_reach_it(built_workshop: Workshop) -> None:
    text = "[serve]\nnum_threads = 1\ndynamic_quantization_group_size = 64"
    directory = built_workshop.build(text).directory
    config = EngineConfig.load(directory)
    assert (config.num_threads, config.dynamic_quantization_group_size) == (1, 64)
    assert len(answer(directory)) == 20


@pytest.fixture(scope="module")
def drafted_once(built: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Built with a draft. Not to be changed."""
    workshop = copy(built, tmp_path_factory.mktemp("drafted"))
    write_draft(workshop.checkpoint, workshop.root / "tiny" / "draft", num_layers=1)
    workshop.build(WHOLE + DRAFT)
    return workshop


@pytest.fixture
def drafted(drafted_once: Workshop, tmp_path: Path) -> Workshop:
    """Built with a draft, elsewhere; to change at will."""
    return copy(drafted_once, tmp_path)


def test_a_draft_is_built_with_its_engine_and_does_not_change_its_answers(
    built: Workshop, drafted: Workshop, tmp_path: Path
) -> None:
    engine = drafted.engine
    assert {name for name in contents(engine) if name.startswith(("draft/", "model/openvino_tokenizer"))} == {
        "draft/config.json",
        "draft/exported_by.json",
        "draft/generation_config.json",
        "draft/openvino_model.bin",
        "draft/openvino_model.xml",
        "draft/openvino_tokenizer.bin",
        "draft/openvino_tokenizer.xml",
        "draft/verified.json",
        "model/openvino_tokenizer.bin",
        "model/openvino_tokenizer.xml",
    }
    copy = Path(shutil.copytree(engine, tmp_path / "elsewhere"))
    assert answer(ensure_engine(str(copy)).directory) == answer(built.engine)


def test_an_engine_with_a_draft_names_no_path_of_this_machine(drafted_once: Workshop) -> None:
    root = str(drafted_once.root).encode()
    assert not any(root in (drafted_once.engine / name).read_bytes() for name in contents(drafted_once.engine))


def test_a_changed_draft_wants_a_new_build_and_so_does_one_that_is_no_longer_asked_for(drafted: Workshop) -> None:
    assert reasons_to_build(drafted) == []
    (drafted.root / "tiny" / "draft" / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    assert reasons_to_build(drafted) == ["draft/generation_config.json changed"]
    drafted.write_spec()
    assert "draft/model.safetensors changed" in reasons_to_build(drafted)


def test_a_change_of_the_tokenizer_keeps_both_models_and_writes_only_the_tokenizer_again(drafted: Workshop) -> None:
    def inodes() -> dict[str, int]:
        paths = [*(drafted.engine / "model").iterdir(), *(drafted.engine / "draft").iterdir()]
        return {f"{path.parent.name}/{path.name}": path.stat().st_ino for path in paths}

    before = inodes()
    drafted.configure("tokenizer_config.json", model_max_length=7)
    ensure_engine(str(drafted.spec))
    after = inodes()
    assert {name.rpartition(".")[0] for name in before.keys() & after if before[name] != after[name]} == {
        "draft/openvino_tokenizer",
        "model/openvino_tokenizer",
    }
    assert before.keys() == after.keys()


def test_a_draft_of_another_vocabulary_is_refused_and_the_old_engine_stays(built_workshop: Workshop) -> None:
    before = contents(built_workshop.engine)
    draft = built_workshop.root / "tiny" / "draft"
    write_draft(built_workshop.checkpoint, draft, num_layers=1)
    tokenizer = json.loads((draft / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["!"], vocabulary["?"] = vocabulary["?"], vocabulary["!"]
    number = min(vocabulary["!"], vocabulary["?"])
    (draft / "tokenizer.json").write_text(json.dumps(tokenizer))
    Tokenizer.from_file(str(draft / "tokenizer.json"))  # it is a tokenizer, only another one
    with pytest.raises(SpecError, match=f"must have the model's vocabulary: token {number} is ") as rejected:
        built_workshop.build(WHOLE + DRAFT)
    assert str(rejected.value).startswith(f'{built_workshop.spec}: speculative.draft_model = "tiny/draft"; ')
    assert contents(built_workshop.engine) == before


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("vocab_size", 100, "must have the model's vocabulary: 320 tokens, not 100"),
        ("max_position_embeddings", 128, "its max_position_embeddings, 128, must be ≥ build.max_seq_len, 256"),
    ],
)
def test_a_draft_of_another_shape_is_refused_before_anything_is_built(
    workshop: Workshop, key: str, value: int, problem: str
) -> None:
    draft = workshop.root / "tiny" / "draft"
    write_draft(workshop.checkpoint, draft, num_layers=1)
    config = json.loads((draft / "config.json").read_text())
    (draft / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(SpecError) as rejected:
        workshop.build(WHOLE + DRAFT)
    assert str(rejected.value) == f'{workshop.spec}: speculative.draft_model = "tiny/draft"; {problem}'
    assert not workshop.engine.exists()


PYTORCH = '[build]\nflow = "pytorch"\nmax_num_tokens = 2048\n'


def test_tensorrt_llm_takes_the_drafts_checkpoint_along_and_tells_clients_what_it_cannot_do(workshop: Workshop) -> None:
    write_draft(workshop.checkpoint, workshop.root / "tiny" / "draft", num_layers=1)
    workshop.configure("generation_config.json", do_sample=True, repetition_penalty=1.5, temperature=0.5)
    engine = workshop.build(PYTORCH + DRAFT, runtime="tensorrt_llm").directory
    weights = engine / "draft" / "checkpoint" / "model.safetensors"
    assert weights.samefile(workshop.root / "tiny" / "draft" / "model.safetensors")
    assert not list(engine.glob("*/openvino*"))
    config = EngineConfig.load(engine)
    assert config.speculative == SpeculativeConfig(mode="draft", num_assistant_tokens=5)
    refused = ("min_tokens", "min_p", "seed", "frequency_penalty", "presence_penalty", "repetition_penalty")
    assert config.card.unsupported == (*refused, *GUIDE_FIELDS, ADAPTER_FIELD, LOGPROBS_FIELD)
    assert (config.sampling.temperature, config.sampling.repetition_penalty) == (0.5, None)
    arguments = draft_arguments("speculative_model")(engine / "model", config.speculative)
    assert arguments == {"max_draft_len": 5, "speculative_model": str(weights.parent)}


def reasons_to_build(workshop: Workshop) -> list[str]:
    request = BuildRequest(read_spec(workshop.spec), str(workshop.spec), workshop.root, workshop.root / "built")
    with prepare_build(request) as prepared:
        plan = make_plan(prepared, workshop.manifest)
        return plan.reasons_to_build(EngineDirectory(workshop.engine), workshop.manifest)


def answer(engine: Path) -> list[int]:
    runtime = OpenVinoRuntime(engine / "model", EngineConfig.load(engine))
    runtime.submit(Generation(1, [5, 6, 7] * 9, 20, (), Sampling(temperature=0.0)))
    ids: list[int] = []
    while runtime.idle_s() is not None:
        ids += [id for delta in runtime.step() for id in delta.token_ids]
    return ids
