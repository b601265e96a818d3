"""A JSON schema as a grammar."""

from __future__ import annotations

import json
from typing import Any, Final

from triton_repo.engine.schema.arrays import array
from triton_repo.engine.schema.automaton import Automaton, Choice, Node, text
from triton_repo.engine.schema.grammar import LARGEST, Grammar, NoValue, alternatives, json_text, possible
from triton_repo.engine.schema.merge import (
    NOTES,
    Object,
    Schema,
    merge,
    sealed,
    sealed_object,
    types_of,
)
from triton_repo.engine.schema.numbers import bound_of, integers, multiples, nearest_within, numbers, within_reach
from triton_repo.engine.schema.objects import object_
from triton_repo.engine.schema.references import resolve
from triton_repo.engine.schema.regex import expression
from triton_repo.engine.schema.shape import check_shape
from triton_repo.engine.schema.strings import string
from triton_repo.engine.schema.values import allows

_COMBINED: Final = ("$ref", "allOf", "anyOf", "oneOf")
_MOST_RULES: Final = 20_000
_DEEPEST_REFERENCE: Final = 64


def grammar_of(schema: Any) -> str:
    """EBNF of the JSON that a schema allows.

    Raises:
        ValueError: it is no schema, nothing matches it, or a grammar cannot express it.
    """
    check_shape(schema)
    grammar = Grammar()
    converter = _Converter(schema, grammar)
    return grammar.text(converter.value(schema))


def grammar_of_regex(pattern: str) -> str:
    """EBNF of the texts that a regular expression matches as a whole. Raises: ValueError."""
    grammar = Grammar()
    return grammar.text(Automaton((expression(pattern, whole=True),)).rules(grammar))


class _Converter:
    def __init__(self, root: Schema, grammar: Grammar) -> None:
        self._root = root
        self._grammar = grammar
        self._rules: dict[str, str] = {}  # of schemas by their text, begun or done
        self._impossible: dict[str, NoValue] = {}
        self._resolved: dict[str, Schema] = {}

    def value(self, schema: Schema) -> str:
        """The rule of what a schema allows. One that it is part of itself is found by its text."""
        if schema is True:
            return self._grammar.any_value()
        if schema is False:
            raise NoValue("nothing matches this schema")
        key = json.dumps(schema, sort_keys=True)
        if key in self._impossible:
            raise self._impossible[key]
        if key not in self._rules:
            if len(self._rules) > _MOST_RULES:
                raise ValueError("the schema has too many alternatives")
            self._rules[key] = name = self._grammar.new_rule()
            try:
                self._grammar.define(name, self._body(schema))
            except NoValue as nothing:
                self._impossible[key] = nothing
                self._grammar.forget(name)
                raise
        return self._rules[key]

    def _body(self, schema: Object) -> str:
        if "$dynamicRef" in schema or "$recursiveRef" in schema:
            raise ValueError("$dynamicRef and $recursiveRef cannot be enforced")
        if any(keyword in schema for keyword in _COMBINED):
            return self._combined(schema)
        schema = sealed_object(schema)
        if schema.get("not") in ({}, True):
            raise NoValue("not of everything")
        if "const" in schema or "enum" in schema:
            return self._one_of(schema)
        makers = [lambda kind=kind: self._typed(kind, schema) for kind in sorted(types_of(schema))]
        return self._any(makers)

    def _combined(self, schema: Object) -> str:
        """All of the schemas that it refers to, and of one of its alternatives."""
        if [*schema] == ["$ref"]:
            return self.value(self._referred(schema["$ref"]))
        if "$ref" in schema or "allOf" in schema:
            return self.value(self._flat(schema))
        base: Object = {keyword: value for keyword, value in schema.items() if keyword not in _COMBINED}
        is_alone = base.keys() <= NOTES and not {"anyOf", "oneOf"} <= schema.keys()
        part = (lambda alternative: alternative) if is_alone else self._sealed
        makers = [
            lambda one=one, other=other: self.value(merge(merge(base, part(one)), part(other)))
            for one in schema.get("anyOf", [True])
            for other in schema.get("oneOf", [True])
        ]
        return self._any(makers)

    def _flat(self, schema: Schema, depth: int = 0) -> Schema:
        """The schema with what it refers to, and all of its `allOf`, in one."""
        if isinstance(schema, bool) or not {"$ref", "allOf"} & schema.keys():
            return schema
        if depth > _DEEPEST_REFERENCE:
            raise ValueError("$ref: the references go in circles")
        said = {keyword: value for keyword, value in schema.items() if keyword not in ("$ref", "allOf")}
        parts = [self._referred(schema["$ref"])] if "$ref" in schema else []
        parts += schema.get("allOf", ())
        if said.keys() <= NOTES and len(parts) == 1:
            return merge(said, self._flat(parts[0], depth + 1))
        flat: Schema = said
        for part in parts:
            flat = merge(flat, self._sealed(part, depth + 1))
        return flat

    def _sealed(self, schema: Schema, depth: int = 0) -> Schema:
        """A part of another schema: its `unevaluated…` sees nothing of that."""
        return sealed(self._flat(schema, depth))

    def _allows(self, schema: Schema, value: Any) -> bool:
        return allows(schema, value, self._referred)

    def _referred(self, reference: str) -> Schema:
        """What a reference leads to: any place of the schema, also one that no keyword makes a part of it."""
        if reference not in self._resolved:
            self._resolved[reference] = found = resolve(self._root, reference)
            check_shape(found)
        return self._resolved[reference]

    def _any(self, makers: list[Any]) -> str:
        if len(makers) == 1:
            return str(makers[0]())
        bodies = possible(makers)
        if not bodies:
            raise NoValue("nothing matches this schema")
        return alternatives(bodies)

    def _one_of(self, schema: Object) -> str:
        values = schema.get("enum", [schema.get("const")])
        texts = [text(json_text(value)) for value in values if self._allows(schema, value)]
        if not texts:
            raise NoValue("enum: no value is left")
        return self._exactly(Choice(tuple(texts)))

    def _typed(self, kind: str, schema: Object) -> str:
        match kind:
            case "null":
                return '"null"'
            case "boolean":
                return '"true" | "false"'
            case "string":
                return string(schema, self._grammar)
            case "array":
                return array(schema, self._grammar, self.value)
            case "object":
                return object_(schema, self._grammar, self.value, self._allows)
        return self._number(kind, schema)

    def _number(self, kind: str, schema: Object) -> str:
        low, open_low = bound_of(schema, "minimum", "exclusiveMinimum", max)
        high, open_high = bound_of(schema, "maximum", "exclusiveMaximum", min)
        is_free = all(bound is None or abs(bound) >= LARGEST for bound in (low, high))
        low, high = within_reach(low, high)
        if (step := schema.get("multipleOf")) is not None and step != 1:
            return self._exactly(multiples(step, (low, open_low), (high, open_high)))
        whole = kind == "integer" or step == 1
        if low is None and high is None and (whole or is_free):
            return self._grammar.shared("int" if whole else "num")
        if whole:
            language = integers(nearest_within(low, open_low, 1), nearest_within(high, open_high, -1))
        else:
            language = numbers(low, high, open_low=open_low, open_high=open_high)
        return self._exactly(language)

    def _exactly(self, language: Node) -> str:
        return Automaton((language,)).rules(self._grammar)
