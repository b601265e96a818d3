"""The answers to the questions of a decision, from the log probabilities of what may be answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from typing_extensions import TypedDict

from gateway.dialects.decisions.request import Choice, Predicate, Question
from gateway.dialects.responses.resource import ResponseUsage


class PredicateAnswer(TypedDict):
    type: Literal["predicate"]
    name: str | None
    probability: float


class ChoiceProbability(TypedDict):
    value: str | bool
    probability: float


class ChoiceAnswer(TypedDict):
    """`confidence` is the probability of the choice."""

    type: Literal["choice"]
    name: str | None
    choice: str | bool
    confidence: float
    probabilities: list[ChoiceProbability]


class ScoreProbability(TypedDict):
    """`value` is the place of the level, from 0."""

    value: int
    label: str
    probability: float


class ScoredAnswer(TypedDict):
    """`score` is the mean of the values, `confidence` the probability of the likeliest level."""

    type: Literal["score"]
    name: str | None
    score: float
    confidence: float
    probabilities: list[ScoreProbability]


DecisionAnswer = PredicateAnswer | ChoiceAnswer | ScoredAnswer


class Decision(TypedDict):
    model: str
    answers: list[DecisionAnswer]
    usage: ResponseUsage


def answer(question: Question, logprobs: Sequence[float]) -> DecisionAnswer:
    """`logprobs` are those of the options of the question, in their order."""
    odds = [math.exp(logprob - max(logprobs)) for logprob in logprobs]
    shares = [one / sum(odds) for one in odds]
    if isinstance(question, Predicate):
        return {"type": "predicate", "name": question.name, "probability": shares[0]}
    best = max(range(len(shares)), key=shares.__getitem__)
    if isinstance(question, Choice):
        values = [choice.value for choice in question.choices]
        return {
            "type": "choice",
            "name": question.name,
            "choice": values[best],
            "confidence": shares[best],
            "probabilities": [
                {"value": value, "probability": share} for value, share in zip(values, shares, strict=True)
            ],
        }
    levels = enumerate(zip(question.levels, shares, strict=True))
    return {
        "type": "score",
        "name": question.name,
        "score": sum(place * share for place, share in enumerate(shares)),
        "confidence": shares[best],
        "probabilities": [
            {"value": place, "label": level.label, "probability": share} for place, (level, share) in levels
        ],
    }
