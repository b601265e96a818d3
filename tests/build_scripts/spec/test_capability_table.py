"""What the documentation says that each runtime can do."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from build_scripts.spec.capability_table import capability_table
from build_scripts.spec.engine_spec import EngineSpec
from triton_repo.contract.capabilities.capabilities import Runtime
from triton_repo.contract.capabilities.runtimes import CAPABILITIES
from triton_repo.contract.sampling import Sampling

README = Path(__file__).parents[3] / "engines" / "README.md"


def test_the_readme_of_the_engines_holds_the_table_of_capabilities() -> None:
    assert capability_table() in README.read_text(encoding="utf-8")


def test_every_runtime_has_a_table_and_no_flow_has_two() -> None:
    assert {each.runtime for each in CAPABILITIES} == set(get_args(Runtime))
    assert len({(each.runtime, each.flow) for each in CAPABILITIES}) == len(CAPABILITIES)


def test_the_tables_name_keys_of_the_spec_and_fields_of_a_request() -> None:
    for each in CAPABILITIES:
        for speculation in each.speculation.values():
            assert set(speculation.unsupported) <= set(Sampling.model_fields)
        demanded = [key for speculation in each.speculation.values() for key in speculation.allowed]
        for key in (*each.keys, *each.allowed, *each.reasons, *each.defaults, *demanded):
            lora = {"lora": {"adapters": {"a": "a"}}}
            section: object = EngineSpec.model_validate({"name": "a", "model": "m", "build": lora})
            for name in key.split("."):
                assert name in type(section).model_fields, key  # type: ignore[attr-defined]
                section = getattr(section, name)
