"""Chat templates are rendered as transformers renders them."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.templates.comparison import chat_comparisons, comparisons
from triton_repo.preprocess.jinja_environment import compile_template

DEMO = (ROOT / "engines" / "demo" / "checkpoint" / "chat_template.jinja").read_text(encoding="utf-8")
# Each in the manner of a family of models, with what it needs of Jinja.
TEMPLATES = {
    "demo": DEMO,
    "whitespace control": """{{ bos_token }}
        {%- for m in messages -%}
          [{{- m.role }}] {{ m.content | trim }}
        {% endfor %}""",
    "blocks on their own lines": """{% if messages %}
        {% set m = messages[-1] %}
        {{ m['content'] }}
        {% endif %}
        x""",
    "alternating roles": """{%- for m in messages %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/...') }}{%- endif %}
        {{- '[INST] ' + m['content'] + ' [/INST]' if m['role'] == 'user' else m['content'] + eos_token }}
        {%- endfor %}""",
    "tools as JSON": """{% if tools %}{{ tools | tojson(indent=4) }}{{ tools | tojson }}{% for t in tools %}
        {{- t.function | tojson(separators=(',', ':'), sort_keys=true) }}{% endfor %}{% endif %}""",
    "tool calls": """{% for m in messages %}{% if m.tool_calls is defined and m.tool_calls %}{% for c in m.tool_calls %}
        {{- '<tool_call>' ~ c.function.name ~ c.function.arguments | tojson ~ '</tool_call>' }}{% endfor %}
        {%- elif m.role == 'tool' %}<r>{{ m.content }}</r>{% else %}{{ m.content }}{% endif %}{% endfor %}""",
    "a list or a string": """{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}
        {%- for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}""",
    "namespaces and macros": """{% macro show(m, upper=false) %}{{ m.role | upper if upper else m.role }}{% endmacro %}
        {%- set ns = namespace(last=-1, seen=[]) %}{% for m in messages %}{% set ns.last = loop.index0 %}
        {{- show(m, upper=loop.first) }}{% endfor %}{{ ns.last }}
        {{- messages[::-1] | map(attribute='role') | join(',') }}""",
    "loop controls": """{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}
        {{- m.role }}{% break %}{% endfor %}""",
    "training marks": """{% for m in messages %}{% generation %}{% set x = m.role %}{{ x }}{% endgeneration %}
        {{- x is defined }}{% endfor %}""",
    "a date": "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}{{ date_string }}",
    "thoughts": """{% for m in messages %}{% set c = m.content or '' %}{% if '</think>' in c %}
        {{- c.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ c }}{% endif %}{% endfor %}
        {%- if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}""",
    "what a sandbox forbids": "{{ messages.append(1) }}{{ ''.__class__ }}{{ messages.__class__.__mro__ }}",
    "widths": """{{ '%-10s|%05.1f' % ('x', 2.5) }}{{ '**%d** of 2024 (in %s)' % (123456789, 'x') }}
        {{- '{:>8}|{{}}'.format('x') }}{{ '%s %s' | format('a', 2) }}{{ '7'.zfill(3) }}{{ 'a'.ljust(9) }}
        {{- 'a' | center(9) }}{{ 'a\nb' | indent(2) }}{{ [1, 2, 3] | batch(2) | list }}{{ 2.345 | round(1) }}""",
    "what is not there": "{{ nothing }}{{ nothing.at.all }}",
    "constants": "{{ 2 ** 10 }}{{ 'ab' * 3 }}{{ 7 // 2 }}{{ 'a' ~ 1 }}{{ [1, 2] | join('-') }}{{ none }}{{ true }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_rendered_as_transformers_renders_it(name: str) -> None:
    for case, theirs, ours in comparisons(TEMPLATES[name]):
        assert ours == theirs, case


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_chat_through_the_gateway_is_rendered_as_transformers_renders_it(name: str) -> None:
    for case, theirs, ours in chat_comparisons(TEMPLATES[name]):
        assert ours == theirs, case


_NAMES = st.sampled_from(
    ["messages", "m", "m.role", "m.content", "m['content']", "tools", "bos_token", "loop.index", "x", "3"]
)
_FILTERS = st.sampled_from(
    ["", " | trim", " | tojson", " | length", " | upper", " | string | replace('a', 'b')", " | list"]
)
_TEXT = st.sampled_from(["\n", " ", "a\n  ", "<|x|>", "{# note #}", "  {#- note -#}\n"])
_OPEN, _CLOSE = st.sampled_from(["{%", "{%-", "  {%"]), st.sampled_from(["%}", "-%}", "%}\n"])


def _statements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    many = st.lists(inner, max_size=4).map("".join)
    loop = st.builds(
        lambda o, c, body, more: f"{o} for m in messages {c}{body}{more}{o} endfor {c}", _OPEN, _CLOSE, many, _SPECIAL
    )
    branch = st.builds(
        lambda o, c, name, body, other: f"{o} if {name} {c}{body}{o} else {c}{other}{o} endif {c}",
        _OPEN, _CLOSE, _NAMES, many, many,
    )  # fmt: skip
    marked = st.builds(lambda o, c, body: f"{o} generation {c}{body}{o} endgeneration {c}", _OPEN, _CLOSE, many)
    return loop | branch | marked


_SPECIAL = st.sampled_from(
    ["", "{% break %}", "{% set x = m.role %}{{ x }}", "{% if loop.last %}{{ eos_token }}{% endif %}"]
)
_OUTPUT = st.builds(lambda name, filters: f"{{{{ {name}{filters} }}}}", _NAMES, _FILTERS)
_GENERATED = st.lists(st.recursive(_OUTPUT | _TEXT, _statements, max_leaves=8), min_size=1, max_size=4).map("".join)


@given(source=_GENERATED)
@settings(max_examples=60, deadline=None)
def test_generated_templates_are_rendered_as_transformers_renders_them(source: str) -> None:
    for case, theirs, ours in comparisons(source):
        assert ours == theirs, case


def test_the_date_is_todays() -> None:
    assert compile_template("{{ strftime_now('%Y-%m') }}").render() == datetime.now().strftime("%Y-%m")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n{% for %}", "the chat template is not valid Jinja: line 2: "),
        ("{% nonsense %}", "the chat template is not valid Jinja: line 1: "),
        ("{{ " + "(" * 5000, "the chat template is nested too deeply: "),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "the chat template is nested too deeply: "),
    ],
)
def test_what_is_no_template_is_one_error(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^the chat template is") as caught:
        compile_template(source)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "source", ["{{ 'a' * 10**10 }}", "{{ 9 ** (9**9) }}", "{{ [0] * 10**10 }}", "{{ 'a' | center(10**10) }}"]
)
def test_nothing_of_a_template_runs_when_it_is_compiled(source: str) -> None:
    compile_template(source)


def test_the_models_of_triton_do_not_import_transformers() -> None:
    code = "import triton_repo.preprocess.rows, sys; print('transformers' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert answer == "False\n"
