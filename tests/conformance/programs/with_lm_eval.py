"""lm-eval: log-likelihoods by `echo` and `logprobs`, generation, and a task of its own with files of ours.

`CONCH_REFERENCE` names a JSON file that says which checkpoint is served as `model`, unquantized, and what transformers
makes of it: a list of `context`, `continuation` and the `logprob` of the latter.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1"}

import harness
from harness import CAPITAL, CHAT, expect, row
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI
from lm_eval.tasks import TaskManager

REFERENCE: Any = json.loads(Path(os.environ["CONCH_REFERENCE"]).read_text(encoding="utf-8"))
MOST_APART = 1e-3
TASK = """
task: capitals
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "The capital of {{{{country}}}} is"
doc_to_choice: "{{{{cities}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}]
"""
CITIES = ["Paris", "Berlin", "Rome"]
COUNTRIES = ["France", "Germany", "Italy"]


def completions() -> Any:
    return LocalCompletionsAPI(
        model=REFERENCE["model"],
        base_url=f"{harness.URL}/completions",
        tokenizer=REFERENCE["checkpoint"],
        num_concurrent=4,
        max_length=2048,
    )


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, given, place) for place, given in enumerate(arguments)]


@row("log-likelihoods equal transformers")
def loglikelihood() -> None:
    pairs = [(one["context"], one["continuation"]) for one in REFERENCE["pairs"]]
    found = completions().loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    for (logprob, _), one in zip(found, REFERENCE["pairs"], strict=True):
        expect(abs(logprob - one["logprob"]) < MOST_APART, logprob, one)


@row("rolling log-likelihood")
def rolling() -> None:
    [found] = completions().loglikelihood_rolling(
        instances("loglikelihood_rolling", [(REFERENCE["pairs"][0]["context"],)]), disable_tqdm=True
    )
    expect(found < 0, found)


@row("completions")
def generation() -> None:
    until = {"until": ["\n", "."], "max_gen_toks": 8, "temperature": 0}
    found = completions().generate_until(
        instances("generate_until", [("The capital of France is", until)] * 3), disable_tqdm=True
    )
    expect(all("Paris" in text and "." not in text for text in found), found)


@row("chat")
def chat() -> None:
    asked = LocalChatCompletion(model=CHAT, base_url=f"{harness.URL}/chat/completions", num_concurrent=2)
    context = asked.apply_chat_template([{"role": "user", "content": CAPITAL}])
    until = {"until": ["\n"], "max_gen_toks": 40, "temperature": 0}
    [found] = asked.generate_until(instances("generate_until", [(context, until)]), disable_tqdm=True)
    expect("Paris" in found, found)


@row("a task")
def task() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            {"country": country, "cities": sorted(CITIES, key=lambda city: city != capital)}
            for country, capital in zip(COUNTRIES, CITIES, strict=True)
        ]
        data = Path(folder, "capitals.jsonl")
        data.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        Path(folder, "capitals.yaml").write_text(TASK.format(file=data), encoding="utf-8")
        manager = TaskManager(include_path=folder, include_defaults=False)
        result: Any = simple_evaluate(completions(), tasks=["capitals"], task_manager=manager, bootstrap_iters=0)
    expect(result["results"]["capitals"]["acc,none"] == 1, result["results"])


if __name__ == "__main__":
    harness.main("lm-eval")
