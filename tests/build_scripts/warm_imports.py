"""What most steps of a build import, for the process of `warm_steps`."""

from __future__ import annotations

from importlib import import_module

from build_scripts.work.child import keep_out

keep_out()
for name in (
    "nncf",
    "openvino",
    "optimum.exporters.openvino",
    "optimum.intel.openvino",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
):
    import_module(name)
