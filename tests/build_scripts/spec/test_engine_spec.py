from __future__ import annotations

from pathlib import Path

import pytest

from build_scripts.spec.reading import read_spec
from triton_repo.contract.errors import SpecError

ENGINES = Path(__file__).parents[3] / "engines"
HEAD = 'name = "x"\nmodel = "m"\n'

REJECTED = [
    ("[build]\nmax_batch_size = 0", "build.max_batch_size = 0; must be ≥ 1"),
    ("[build]\nmax_batch_size = 1.5", "build.max_batch_size = 1.5; must be a whole number"),
    ('[build]\nmax_batch_size = "16"', 'build.max_batch_size = "16"; must be a whole number'),
    ("[build]\nmax_batch_size = true", "build.max_batch_size = true; must be a whole number"),
    ("[build]\nmax_seq_len = 1", "build.max_seq_len = 1; must be ≥ 2"),
    ("[build]\nmax_seq_len = 9999999999", "build.max_seq_len = 9999999999; must be ≤ 2147483647"),
    ('[build]\ndtype = "fp16"', 'build.dtype = "fp16"; allowed: float32, float16, bfloat16'),
    ('[build]\nquantization = "int2"', 'build.quantization = "int2"; allowed: none, int8, int4'),
    (
        "[build]\ntensor_parallel = 2",
        "build.tensor_parallel = 2; must be 1 where runtime = openvino (2 needs runtime tensorrt_llm)",
    ),
    (
        "[build]\nmax_num_tokens = 8",
        "build.max_num_tokens = 8; must be ≥ build.max_batch_size (16): each running sequence takes one",
    ),
    (
        "[build]\nmax_batchsize = 2",
        "build.max_batchsize = 2; unknown key; allowed: dtype, quantization, max_seq_len, max_batch_size, "
        "max_num_tokens, tensor_parallel, pipeline_parallel",
    ),
    (
        "port = 1",
        "port = 1; unknown key; allowed: name, model, version, runtime, build, serve, sampling, speculative, replay",
    ),
    ("build = 3", "build = 3; must be a table"),
    ("[serve]\nflush_interval_ms = -1", "serve.flush_interval_ms = -1; must be ≥ 0"),
    ("[serve]\nflush_interval_ms = nan", "serve.flush_interval_ms = NaN; must be a finite number"),
    ("[serve]\nmax_step_s = -1", "serve.max_step_s = -1; must be ≥ 0"),
    ("[serve]\nmax_step_s = 0.5", "serve.max_step_s = 0.5; must be ≥ 1, or 0 for no limit"),
    ("[serve]\nmax_gap_ms = -1", "serve.max_gap_ms = -1; must be ≥ 0"),
    (
        'runtime = "replay"\n[serve]\nmax_gap_ms = 9\n[replay]\ntext = "a"',
        "serve.max_gap_ms = 9.0; needs runtime openvino: remove the key",
    ),
    ('[serve]\nkv_cache_dtype = "fp8"', 'serve.kv_cache_dtype = "fp8"; allowed: float32, float16, bfloat16, u8'),
    ("[serve]\nenable_kv_cache_reuse = 1", "serve.enable_kv_cache_reuse = 1; must be true or false"),
    ("[sampling]\ntemperature = 3", "sampling.temperature = 3; must be ≤ 2"),
    ("[sampling]\ntop_p = 0", "sampling.top_p = 0; must be > 0"),
    ("[sampling]\nheat = 1", "sampling.heat = 1; unknown key; allowed: max_tokens, min_tokens, temperature"),
    ('[replay]\ntext = "a"', 'replay = "[…]"; needs runtime replay: remove the table'),
    ('runtime = "vllm"', 'runtime = "vllm"; allowed: openvino, tensorrt_llm, replay'),
    (
        '[build]\nquantization = "fp8"',
        'build.quantization = "fp8"; must be none, int8 or int4 where runtime = openvino '
        "(fp8 needs runtime tensorrt_llm with build.flow = compiled)",
    ),
    (
        'runtime = "tensorrt_llm"\n[serve]\nkv_cache_dtype = "u8"',
        'serve.kv_cache_dtype = "u8"; needs runtime openvino: remove the key',
    ),
    (
        'runtime = "replay"\n[build]\ndtype = "float16"\n[replay]\ntext = "a"',
        'build.dtype = "float16"; needs runtime openvino or runtime tensorrt_llm: remove the key',
    ),
    (
        'runtime = "replay"\n[serve]\nenable_kv_cache_reuse = false\n[replay]\ntext = "a"',
        "serve.enable_kv_cache_reuse = false; needs runtime openvino or runtime tensorrt_llm: remove the key",
    ),
    ('runtime = "replay"', "replay: is required where runtime = replay"),
    ('runtime = "replay"\n[replay]\ntext = ""', 'replay.text = ""; must not be empty'),
    ('runtime = "replay"\n[replay]\ntokens_per_second = 5', "replay.text: is required"),
    (
        'runtime = "replay"\n[build]\npipeline_parallel = 2\n[replay]\ntext = "a"',
        "build.pipeline_parallel = 2; must be 1 where runtime = replay (2 needs runtime tensorrt_llm)",
    ),
    (
        'runtime = "replay"\n[build]\nquantization = "int8"\n[replay]\ntext = "a"',
        'build.quantization = "int8"; must be none where runtime = replay (int8 needs runtime openvino or ',
    ),
]


@pytest.mark.parametrize(("text", "problem"), REJECTED)
def test_a_spec_that_is_not_allowed_is_refused_with_its_key_its_value_and_what_is_allowed(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "x.toml"
    file.write_text(HEAD + text)
    with pytest.raises(SpecError) as rejected:
        read_spec(file)
    assert str(rejected.value).startswith(f"{file}: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('model = "m"', "name: is required"),
        ('name = "x"', "model: is required"),
        ('name = "../x"\nmodel = "m"', 'name = "../x"; must match '),
        ('name = "x"\nmodel = ""', 'model = ""; must not be empty'),
        ("name = ", "not valid TOML: "),
        ("name = 'x'\nname = 'y'", "not valid TOML: "),
        ("name = " + "[" * 10_000, "nested too deeply"),
    ],
)
def test_a_spec_needs_a_name_and_a_model(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    with pytest.raises(SpecError) as rejected:
        read_spec(file)
    assert str(rejected.value).startswith(f"{file}: {problem}")


def test_a_spec_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"gone\.toml: no such file"):
        read_spec(tmp_path / "gone.toml")


def test_an_error_about_a_flag_names_the_flag(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(HEAD)
    refused_flags: list[tuple[dict[str, object], str]] = [
        ({"build.max_batch_size": 0}, "--max-batch-size = 0; must be ≥ 1"),
        ({"build.tensor_parallel": 2}, "--tp = 2; must be 1"),
        ({"build.dtype": "int8"}, '--dtype = "int8"; allowed: float32, float16, bfloat16'),
    ]
    for overrides, problem in refused_flags:
        with pytest.raises(SpecError) as rejected:
            read_spec(file, overrides)
        assert str(rejected.value).startswith(problem)


def test_flags_alone_make_a_spec_and_say_which_is_missing() -> None:
    assert read_spec(None, {"name": "x", "model": "org/x"}).runtime == "openvino"
    with pytest.raises(SpecError, match=r"^--name: is required$"):
        read_spec(None, {"model": "org/x"})


def test_flags_override_the_spec_and_leave_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(HEAD + '[build]\ndtype = "bfloat16"\nmax_batch_size = 4')
    spec = read_spec(file, {"build.max_batch_size": 8})
    assert (spec.build.dtype, spec.build.max_batch_size) == ("bfloat16", 8)


def test_the_kv_cache_follows_the_dtype_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(HEAD + '[build]\ndtype = "bfloat16"')
    assert read_spec(file).kv_cache_dtype == "bfloat16"
    file.write_text(HEAD + '[serve]\nkv_cache_dtype = "u8"')
    assert read_spec(file).kv_cache_dtype == "u8"


@pytest.mark.parametrize("file", sorted(ENGINES.glob("*.toml")), ids=lambda file: file.stem)
def test_the_specs_of_the_repository_are_allowed(file: Path) -> None:
    assert file.stem == read_spec(file).name
