"""The language of persona texts: what it renders, and that nothing gets out of it, in or out of bounds."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.persona import language
from rolehost_api.persona.language import MAX_RENDERED_CHARS, InvalidTemplate, render

VALUES = {"name": "Tom", "empty": "", "braces": "{{ name }}{% if x %}"}


def faults(text: str, values: dict[str, str] = VALUES) -> list[str]:
    with pytest.raises(InvalidTemplate) as caught:
        render(text, values)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("{ name } {name}", "{ name } {name}", id="single-braces"),
        pytest.param("{{name}} {{  name  }}", "Tom Tom", id="spaces"),
        pytest.param("{{ braces }}", "{{ name }}{% if x %}", id="a-value-is-never-read"),
        pytest.param("a{# {{ nobody }} #}b", "ab", id="a-remark"),
        pytest.param("a\n  {# alone #}  \nb", "a\nb", id="a-remark-takes-its-line"),
        pytest.param("{% if name %}a{% else %}b{% endif %}", "a", id="if"),
        pytest.param("{% if empty %}a{% else %}b{% endif %}", "b", id="else"),
        pytest.param("{% if not empty %}a{% endif %}", "a", id="not"),
        pytest.param("{% if empty %}{% if name %}a{% endif %}{% endif %}b", "b", id="nested"),
        pytest.param("x {% if name %}\na\n{% endif %}\nb", "x \na\nb", id="a-tag-in-a-line-leaves-it"),
    ],
)
def test_what_is_rendered(text: str, rendered: str) -> None:
    assert render(text, VALUES) == rendered


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ name.__class__.__mro__ }}",
        "{{ name|upper }}",
        "{{ name() }}",
        "{{ 9 ** 9 }}",
        "{{ 'a' * 10 }}",
        "{{ name[0] }}",
        "{{ self }}",
        "{{ __builtins__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ }}",
        "{% for x in name %}{{ x }}{% endfor %}",
        "{% set x = 1 %}",
        "{% include '/etc/passwd' %}",
        "{% import os %}",
        "{% macro a() %}{% endmacro %}",
        "{% %}",
        "{% if name == name %}{% endif %}",
        "{% if %}{% endif %}",
    ],
)
def test_nothing_but_names_and_if_is_understood(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n b {{ nmae }}", ["2:4: there is no variable 'nmae'"]),
        ("{{ user }}", ["1:1: there is no variable 'user': a persona is the same text for everybody"]),
        ("{{ name", ["1:1: {{ without }}"]),
        ("ab {% if name %}", ["1:4: an if without its endif"]),
        ("{% endif %}{% else %}", ["1:1: endif without an if", "1:12: else without an if"]),
        ("{% if name %}{% else %}{% else %}{% endif %}", ["1:24: else without an if"]),
        ("{{ a }} {{ b }}", ["1:1: there is no variable 'a'", "1:9: there is no variable 'b'"]),
        ("{% if empty %}{{ a }}{% endif %}", ["1:15: there is no variable 'a'"]),
    ],
)
def test_every_fault_is_told_in_one_run_with_its_place(text: str, said: list[str]) -> None:
    assert faults(text) == said


def test_what_is_near_is_named() -> None:
    with pytest.raises(InvalidTemplate) as caught:
        render("{{ nmae }}", VALUES)
    assert "Did you mean name?" in caught.value.hint


BOMBS = {
    "output": ("{{ a }}" * 9000, {"a": "x" * 8192}),
    "ten-megabytes": ("x" * 10_000_000, {}),
    "ten-megabytes-of-openers": ("{{" * 5_000_000, {}),
    "ten-megabytes-of-tags": ("{% if a %}" * 1_000_000, {"a": "x"}),
    "ten-megabytes-of-faults": ("{{ b }}" * 1_400_000, {}),
    "ten-megabytes-of-remarks-never-closed": ("{#" * 5_000_000, {}),
    "nested": ("{% if a %}" * 9 + "{% endif %}" * 9, {"a": "x"}),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused(bomb: str) -> None:
    text, values = BOMBS[bomb]
    assert len(faults(text, values)) <= 30


PIECES = st.lists(
    st.sampled_from(
        ["{{", "}}", "{%", "%}", "{#", "#}", "if", "else", "endif", " name ", " ", "\n", "{", "}", "猫", "a"]
    ),
    max_size=30,
).map("".join)


@given(PIECES)
def test_any_text_is_rendered_or_refused_with_a_place_in_it(text: str) -> None:
    try:
        assert len(render(text, VALUES)) <= MAX_RENDERED_CHARS
    except InvalidTemplate as error:
        lines = text.split("\n")
        for fault in error.faults:
            assert 1 <= fault.line <= len(lines)
            assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1


@given(st.text().filter(lambda text: not any(opener in text for opener in ("{{", "{%", "{#"))))
def test_a_text_without_places_is_what_it_was(text: str) -> None:
    assert render(text, {}) == text


@given(st.text(max_size=50))
def test_a_value_comes_out_as_it_went_in(value: str) -> None:
    assert render("a{{ x }}b", {"x": value}) == f"a{value}b"


def test_worked_examples_hold() -> None:
    assert doctest.testmod(language).failed == 0
