"""Trains the demo checkpoint: `python -m engines.demo.train [--output DIR] [--check]`. The same files every time."""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from torch.nn.functional import cross_entropy
from torch.optim import AdamW
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from engines.demo.conversations import Corpus, load
from engines.demo.examples import Batch, Encoder, batches, render
from engines.demo.prove import Prover, follow_ups, greetings, greetings_later, held_out, hurried
from engines.demo.tokenizer import CONTEXT_LENGTH, VOCAB_SIZE, save_tokenizer, train_tokenizer

CHECKPOINT = Path(__file__).parent / "checkpoint"
NUM_THREADS = 2  # part of the recipe: another count sums in another order and gives other bytes


@dataclass(frozen=True)
class Recipe:
    seed: int = 9000
    num_epochs: int = 56
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: float = 0.05  # share of all steps
    max_grad_norm: float = 1.0

    def rate(self, progress: float) -> float:
        """Learning rate at a progress of 0..1: linear warm-up, then a cosine down to a hundredth."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        falling = (progress - self.warmup) / (1 - self.warmup)
        return self.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * falling)) / 2)


def make_deterministic(seed: int) -> None:
    torch.manual_seed(seed)
    torch.set_num_threads(NUM_THREADS)
    torch.use_deterministic_algorithms(True)


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    # Grouped KV heads and an untied lm_head, so that sharding and export meet both on the smallest model.
    shape: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT_LENGTH,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return LlamaForCausalLM(LlamaConfig(**shape))


def train(
    model: LlamaForCausalLM, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, console: Console
) -> None:
    optimizer = AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True
    )
    encoder, rng = Encoder(tokenizer), random.Random(recipe.seed)  # noqa: S311  # repeatable is what it must be
    loss_column = TextColumn("loss {task.fields[loss]:.4f}")
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), loss_column, console=console) as progress:
        task = progress.add_task("epochs", total=recipe.num_epochs, loss=math.nan)
        for index in range(recipe.num_epochs):
            epoch = list(batches(corpus, encoder, int(tokenizer.pad_token_id), rng))
            losses = []
            for step, batch in enumerate(epoch):
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate((index + step / len(epoch)) / recipe.num_epochs)
                losses.append(learn(model, batch, optimizer, recipe.max_grad_norm))
            progress.update(task, advance=1, loss=sum(losses) / len(losses))


def learn(model: LlamaForCausalLM, batch: Batch, optimizer: AdamW, max_grad_norm: float) -> float:
    """One step; returns the loss. Only the positions that predict the assistant's tokens reach the lm_head."""
    targets = batch.labels[:, 1:]
    spoken = targets >= 0
    hidden = model.model(batch.ids, use_cache=False).last_hidden_state[:, :-1][spoken]
    loss = cross_entropy(model.lm_head(hidden), targets[spoken])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss.item()


def write(directory: Path, corpus: Corpus, recipe: Recipe, console: Console) -> None:
    """Train tokenizer and model into an empty directory. Same corpus, code and machine: same bytes."""
    make_deterministic(recipe.seed)
    tokenizer = train_tokenizer(texts(corpus))
    model = new_model(tokenizer)
    console.print(f"{model.num_parameters():,} parameters, vocabulary {len(tokenizer):,}")
    started = time.monotonic()
    train(model, corpus, tokenizer, recipe, console)
    console.print(f"trained in {time.monotonic() - started:.0f} s")
    model.half().save_pretrained(directory)
    save_tokenizer(tokenizer, directory)


def texts(corpus: Corpus) -> Iterator[str]:
    """What the merges are learned from: the conversations as the model will read them."""
    template = train_tokenizer([])
    yield from (render(template, conversation) for conversation in corpus.conversations())


def prove(directory: Path, corpus: Corpus, console: Console) -> bool:
    """Whether the saved checkpoint reproduces the whole corpus, greetings in any form; prints what it does not."""
    prover = Prover(directory)
    wanted, greeted = list(corpus.conversations()), greetings(corpus)
    failures = prover.failures([*wanted, *greeted])
    for failure in failures:
        console.print(
            f"FAILED {failure.case.prompt!r}\n  want {failure.case.answer!r}\n  got  {failure.got!r}",
            markup=False,
            style="red",
        )
    console.print(f"{len(wanted)} conversations and {len(greeted)} forms of greetings, {len(failures)} wrong turns")
    for name, cases in {
        "hurried": hurried(corpus),
        "follow-up": follow_ups(corpus),
        "greeting as third turn": greetings_later(corpus),
        "held-out off-topic": held_out(corpus),
    }.items():
        console.print(f"not required: {name}, {len(cases)} conversations, {len(prover.failures(cases))} wrong turns")
    broken = prover.round_trips(render_all(corpus))
    console.print(f"{len(broken)} texts that the tokenizer does not give back", style="red" if broken else "")
    return not failures and not broken


def render_all(corpus: Corpus) -> Iterator[str]:
    yield from (str(message["content"]) for one in corpus.conversations() for message in one.messages)
    yield "".join(map(chr, range(0x2100, 0x2300)))


def publish(written: Path, output: Path) -> None:
    """Put the finished directory in place by renaming; nobody ever reads a half-written checkpoint."""
    retired = written.with_name(f"{written.name}.old")
    if output.exists():
        output.rename(retired)
    written.rename(output)
    shutil.rmtree(retired, ignore_errors=True)


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def check(written: Path, output: Path, console: Console) -> bool:
    """Whether two checkpoints have the same files with the same bytes; prints those that differ."""
    ours, theirs = digests(written), digests(output)
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    console.print(f"{len(ours)} files, {len(differing)} differ from {output.name}: {' '.join(differing)}")
    return not differing


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m engines.demo.train", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=CHECKPOINT, help="where the checkpoint goes (default: %(default)s)"
    )
    parser.add_argument(
        "--check", action="store_true", help="retrain elsewhere and compare with --output, byte for byte"
    )
    options = parser.parse_args(argv)
    disable_progress_bar()  # transformers' own bars, between ours
    console, corpus, recipe = Console(), load(), Recipe()
    output: Path = options.output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    # Beside the output, for a rename does not cross file systems.
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".training-") as scratch:
        written = Path(scratch) / "checkpoint"
        write(written, corpus, recipe, console)
        if options.check:
            return 0 if check(written, output, console) else 1
        if not prove(written, corpus, console):
            return 1
        publish(written, output)
        console.print(f"written to {options.output}")
        return 0


if __name__ == "__main__":
    sys.exit(main())
