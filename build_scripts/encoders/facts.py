"""What an encoder's engine takes from its checkpoint, read without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from build_scripts.encoders.detection import is_classifier
from build_scripts.sizing.numbers import Numbers, context_length
from build_scripts.source.encoder_modules import ENCODER_SETTINGS, Modules, read_modules
from build_scripts.spec.embed import EmbedSection
from build_scripts.vocabulary.files import CONFIG
from build_scripts.weights.huggingface import read_config
from build_scripts.weights.strict_json import parse_object
from triton_repo.contract.errors import BuildError
from triton_repo.embed.settings import Activation

# Their positions are counted from the one after padding's, as fairseq does.
_FIRST_POSITION_IS_PADDING: Final = frozenset(
    {
        "camembert",
        "data2vec-text",
        "ibert",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
    }
)
_ACTIVATIONS: Final[Mapping[str, Activation]] = {"Identity": "identity", "Sigmoid": "sigmoid", "Softmax": "softmax"}
_OF_A_PROBLEM: Final[Mapping[str, Activation]] = {
    "regression": "identity",
    "multi_label_classification": "sigmoid",
    "single_label_classification": "softmax",
}


class Reading:
    """The small files of one checkpoint of an encoder.

    Raises:
        BuildError: a file is broken, or says what is not possible here.
    """

    def __init__(self, directory: Path, source: str, section: EmbedSection | None) -> None:
        self.directory = directory
        self.source = source
        self.config = read_config(directory, source)
        self.is_classifier = is_classifier(directory, self.config)
        self._section = section or EmbedSection()

    @property
    def modules(self) -> Modules:
        """Those that the spec asks for, where it does."""
        if self.is_classifier:
            return Modules()
        read, given = read_modules(self.directory, self.source), self._section
        layers = [layer for layer in read.layers if layer is not None or given.normalize is None]
        layers += [None] if given.normalize else []
        pooling = (given.pooling,) if given.pooling else read.pooling
        return Modules(pooling, tuple(layers), read.max_tokens, read.prompts, read.default_prompt)

    @property
    def max_tokens(self) -> int:
        """Of one text: more the network has no positions for."""
        positions = context_length(self.config)
        if positions is None:
            raise BuildError(f"{self.source}: config.json: no max_position_embeddings")
        if self.config.get("model_type") in _FIRST_POSITION_IS_PADDING:
            return positions - 1 - (Numbers("", self.config).find("pad_token_id") or 1)
        return positions

    @property
    def usual_tokens(self) -> int:
        """The checkpoint's own limit, where the spec has none."""
        tokenizer = self.directory / CONFIG
        values = parse_object(tokenizer.read_bytes(), CONFIG, repeated_keys=True) if tokenizer.is_file() else {}
        limits = (self.modules.max_tokens, values.get("model_max_length"))  # which is 10^30 where it is not known
        given = next((limit for limit in limits if isinstance(limit, int) and limit > 0), self.max_tokens)
        return min(given, self.max_tokens)

    @property
    def takes_pairs(self) -> bool:
        """The two texts of a pair are told apart by token types."""
        return self.is_classifier and (Numbers("", self.config).find("type_vocab_size") or 1) > 1

    @property
    def labels(self) -> tuple[str, ...]:
        """As config.json names them, or numbers them."""
        named = self.config.get("id2label")
        if isinstance(named, dict) and named:
            return tuple(str(named.get(str(index), f"LABEL_{index}")) for index in range(len(named)))
        return tuple(f"LABEL_{index}" for index in range(Numbers("", self.config).find("num_labels") or 2))

    def activation(self, width: int) -> Activation:
        """What turns the classifier's numbers into what it was trained to say."""
        named = self._named_activation()
        if named is not None:
            return named
        problem = str(self.config.get("problem_type"))
        if problem in _OF_A_PROBLEM:
            return _OF_A_PROBLEM[problem]
        return "sigmoid" if width == 1 else "softmax"

    def _named_activation(self) -> Activation | None:
        """By sentence-transformers, in the places where its versions have kept it."""
        own = self.config.get("sentence_transformers")
        settings = self.directory / ENCODER_SETTINGS
        names = (
            own.get("activation_fn") if isinstance(own, dict) else None,
            self.config.get("sbert_ce_default_activation_function"),
            parse_object(settings.read_bytes(), ENCODER_SETTINGS).get("activation_fn") if settings.is_file() else None,
        )
        name = next((name for name in names if isinstance(name, str)), None)
        if name is None:
            return None
        kind = name.rpartition(".")[2]
        if kind not in _ACTIVATIONS:
            raise BuildError(f"{self.source}: activation_fn = {name!r}; known are {', '.join(_ACTIVATIONS)}")
        return _ACTIVATIONS[kind]

    def shorter_widths(self, width: int) -> tuple[int, ...] | None:
        """To which embeddings may be cut: as the spec says, or as config.json says by the names that vLLM reads."""
        given = self._section.matryoshka_dimensions
        named: Any = self.config.get("matryoshka_dimensions") if given is None else given
        if isinstance(named, list | tuple) and all(isinstance(each, int) for each in named):
            wrong = next((each for each in named if not 0 < each <= width), None)
            if wrong is not None:
                raise BuildError(f"{self.source}: matryoshka_dimensions: {wrong}; must be ≤ {width}")
            return tuple(sorted(set(named)))
        return () if self.config.get("is_matryoshka") is True else None
