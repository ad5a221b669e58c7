"""Expressions: what they say, what is wrong with them, and that nothing written in one is ever run as text."""

import ast
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.celpy_cases import RECORDED, STATE

from rolehost_runtime.core.dsl.expressions import (
    Facts,
    Fault,
    InvalidExpression,
    Names,
    Predicate,
    Verdict,
    compile_expression,
    compile_value,
)
from rolehost_runtime.core.dsl.expressions.evaluating import evaluate
from rolehost_runtime.core.dsl.expressions.lexing import MAX_CHARS
from rolehost_runtime.core.dsl.expressions.operations import Failed
from rolehost_runtime.core.dsl.expressions.types import BOOL, DOUBLE, INT, STRING, Type, list_of, record

TALE = Names(state=record({"score": INT, "mood": STRING, "share": DOUBLE, "ready": BOOL, "names": list_of(STRING)}))
CELPY: dict[str, Any] = json.loads(RECORDED.read_text())
DIFFERENT = {
    "state.names.exists(n, n == 'Smaug')": "only over lists that are written out",
    "string(true)": "celpy writes True; the specification writes true",
}


@pytest.mark.parametrize("text", sorted(CELPY.keys() - DIFFERENT.keys()))
def test_the_answer_is_that_of_another_implementation(text: str) -> None:
    found = compile_value(text).value(Facts(message="a dragon", turn=4, state=STATE))
    if CELPY[text] == "failed":
        assert isinstance(found, Fault)
    else:
        assert found == CELPY[text]["value"]
        assert type(found) is type(CELPY[text]["value"])


@pytest.mark.parametrize(
    ("text", "code", "at", "said"),
    [
        pytest.param("mesage == 'a'", "unknown_name", (0, 6), "Did you mean message?", id="name"),
        pytest.param("state.skore > 3", "unknown_field", (6, 11), "Did you mean score?", id="field"),
        pytest.param("message.startswith('a')", "unknown_function", (8, 18), "Did you mean startsWith?", id="function"),
        pytest.param("len(message) > 3", "unknown_function", (0, 3), "Write size(x)", id="python"),
        pytest.param("message.matches('a+')", "unknown_function", (8, 15), "no patterns", id="pattern"),
        pytest.param("turn = 3", "expression_syntax", (5, 6), "Write ==", id="single-equals"),
        pytest.param("turn > 1 and true", "expression_syntax", (9, 12), "Write &&", id="and"),
        pytest.param("not true", "expression_syntax", (0, 3), "Write !", id="not"),
        pytest.param("'龙' in message", "type_mismatch", (0, 14), "message.contains", id="in-text"),
        pytest.param("1 < turn < 9", "type_mismatch", (0, 12), "a < b && b < c", id="chain"),
        pytest.param("state.mood > 3", "type_mismatch", (0, 14), "size()", id="order"),
        pytest.param("state.mood == 3", "type_mismatch", (0, 15), "never equals", id="equality"),
        pytest.param("turn + 0.5 > 1.0", "type_mismatch", (0, 10), "double(x)", id="mixed"),
        pytest.param("'n' + turn == 'n1'", "type_mismatch", (0, 10), "string(x)", id="text-and-number"),
        pytest.param("message", "type_mismatch", (0, 7), "true or false", id="no-condition"),
        pytest.param("(turn > 1", "expression_syntax", (0, 1), "Close it with )", id="bracket"),
        pytest.param("message == 'a", "expression_syntax", (11, 13), "End it with '", id="string"),
        pytest.param("turn >", "expression_syntax", (6, 7), "ends too early", id="end"),
        pytest.param("turn > 1 turn", "expression_syntax", (9, 13), "Join two conditions", id="two"),
        pytest.param("message == 'a\\qb'", "expression_syntax", (13, 15), "no escape", id="escape"),
        pytest.param("message == '\\ud800'", "expression_syntax", (12, 18), "no character", id="surrogate"),
        pytest.param("turn > 9223372036854775808", "expression_syntax", (7, 26), "2^63", id="number"),
        pytest.param("turn > 1u", "not_supported", (7, 9), "Write 1", id="unsigned"),
        pytest.param("state.names.exists(n, n == 'x')", "not_supported", (0, 11), "written out", id="loop"),
        pytest.param("state.names.filter(n, true).size() > 1", "not_supported", (12, 18), "not known", id="macro"),
        pytest.param("message.__class__ == 'a'", "type_mismatch", (8, 17), "no field", id="escape-to-python"),
        pytest.param("__import__('os') == 1", "unknown_function", (0, 10), "no function", id="import"),
        pytest.param("true && [1", "expression_syntax", (8, 9), "Close it with ]", id="list"),
        pytest.param("", "expression_syntax", (0, 1), "ends too early", id="empty"),
    ],
)
def test_a_fault_is_underlined_and_says_what_to_write(text: str, code: str, at: tuple[int, int], said: str) -> None:
    with pytest.raises(InvalidExpression) as raised:
        compile_expression(text, TALE)
    (problem,) = raised.value.problems
    assert (problem.code, tuple(problem.span)) == (code, at)
    assert said in f"{problem.message}. {problem.hint}"


def test_all_faults_of_a_type_are_told_at_once() -> None:
    with pytest.raises(InvalidExpression) as raised:
        compile_expression("mesage == 'a' && state.skore > 1 || turn + 'x' > 2", TALE)
    assert [problem.code for problem in raised.value.problems] == ["unknown_name", "unknown_field", "type_mismatch"]


@pytest.mark.parametrize(
    ("text", "state", "why"),
    [
        ("state.score / 0 > 1", {"score": 1}, "division by zero"),
        ("state.score > 1", {}, "there is no score"),
        ("state.score > 1", {"score": "many"}, "score is a string, not an int"),
        ("state.score + 1 > 1", {"score": 2**63 - 1}, "a whole number leaves 64 bits"),
        ("state.score > 1", {"score": 2**70}, "a whole number is beyond 64 bits"),
        ("state.names[3] == ''", {"names": []}, "a list has no such item"),
    ],
)
def test_what_fails_does_not_hold_and_says_why(text: str, state: dict[str, object], why: str) -> None:
    predicate = compile_expression(text, TALE)
    assert predicate(Facts(state=state)) is False
    assert predicate.judge(Facts(state=state)) == Verdict(False, why)


def test_a_failure_never_quotes_what_somebody_said() -> None:
    secret = "my name is Ann"
    verdict = compile_expression("int(message) > state.x").judge(Facts(message=secret, state={"x": secret}))
    assert verdict.why
    assert "Ann" not in verdict.why


def test_a_double_is_read_though_it_was_stored_as_a_whole_number() -> None:
    assert compile_expression("state.share / 2.0 == 0.5", TALE)(Facts(state={"share": 1}))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 1000 + "true" + ")" * 900,
        "!" * 1999 + "x",
        "-" * 1999 + "1",
        "1" + "+1" * 999 + " > 0",
        "turn" + ".a" * 900,
        "state" + "[0]" * 600,
        "true?" * 300 + "true",
        "[" * 1000,
        "has(" * 400,
        "['a'].exists(x, " * 100 + "true" + ")" * 100,
        "[" + "1," * 900 + "1].exists(x, x" + "+x" * 20 + " > 0)",
        "[[" + "1," * 40 + "].exists(x, true), " * 10 + "]",
        "'" + "a" * 1990,
        "x" * (MAX_CHARS + 1),
        "0" * 1999,
        "1e" + "9" * 1900,
    ],
)
def test_what_is_too_much_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidExpression):
        compile_expression(text)


def test_text_does_not_grow_without_bounds() -> None:
    doubled = "message + message + message + message"
    assert compile_expression(f"({doubled}).size() > 1").judge(Facts(message="a" * 30_000)).why.startswith("text grows")


# ── laws ────────────────────────────────────────────────────────────────────────────

ATOMS = st.sampled_from(
    [
        "message",
        "user",
        "node",
        "turn",
        "state.score",
        "state.mood",
        "state.share",
        "state.ready",
        "state.names",
        "state.names[0]",
        "state.names[1]",
        "true",
        "false",
        "null",
        "0",
        "1",
        "-1",
        "2",
        "9223372036854775807",
        "-9223372036854775808",
        "0.0",
        "1.5",
        "-2.25",
        "''",
        "'a'",
        "'dragon'",
        '"ß"',
        "[]",
        "['a']",
        "[1,2]",
        "has(state.score)",
        "has(state.gone)",
        "state.gone",
    ]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "&&", "||"])
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda part: f"({part[0]} {part[1]} {part[2]})"),
        st.tuples(inner, operators, inner).map(lambda part: f"{part[0]} {part[1]} {part[2]}"),
        st.tuples(inner, inner, inner).map(lambda part: f"({part[0]} ? {part[1]} : {part[2]})"),
        inner.map(lambda one: f"!({one})"),
        inner.map(lambda one: f"-({one})"),
        st.tuples(st.sampled_from(["size", "int", "double", "string"]), inner).map(
            lambda part: f"{part[0]}({part[1]})"
        ),
        st.tuples(inner, st.sampled_from(["contains", "startsWith", "endsWith"]), inner).map(
            lambda part: f"({part[0]}).{part[1]}({part[2]})"
        ),
        inner.map(lambda one: f"({one}).lowerAscii()"),
        st.tuples(inner, inner).map(lambda part: f"({part[0]})[{part[1]}]"),
        inner.map(lambda one: f"['a', 'b'].exists(x, x == {one})"),
        inner.map(lambda one: f"[{one}, 1].all(x, x in [{one}])"),
    )


EXPRESSIONS = st.recursive(ATOMS, _grown, max_leaves=8)
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64), st.floats(), st.text(max_size=5), st.just({"a": 1})
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3), st.sets(st.text(max_size=2), max_size=2))
STATES = st.dictionaries(st.sampled_from(["score", "mood", "share", "ready", "names"]), VALUES)
FACTS = st.builds(Facts, message=st.text(max_size=8), user=st.text(max_size=3), turn=st.integers(1, 9), state=STATES)


def _same(left: object, right: object) -> bool:
    return repr(left) == repr(right)


@given(EXPRESSIONS, FACTS, st.sampled_from([TALE, Names()]))
def test_generated_code_and_the_tree_agree(text: str, facts: Facts, names: Names) -> None:
    try:
        found = compile_value(text, names)
    except InvalidExpression:
        return
    try:
        expected: object = evaluate(found.tree, found.types, facts)
    except Failed as failed:
        expected = Fault(failed.why)
    assert _same(found.value(facts), expected), found.source


@given(EXPRESSIONS, FACTS)
def test_a_condition_is_answered_whatever_the_facts_are(text: str, facts: Facts) -> None:
    try:
        predicate = compile_expression(text)
    except InvalidExpression:
        return
    assert isinstance(predicate(facts), bool)
    assert predicate.judge(facts).holds is predicate(facts)


@given(EXPRESSIONS, FACTS)
def test_a_value_is_of_the_type_that_was_found_for_it(text: str, facts: Facts) -> None:
    try:
        found = compile_value(text, TALE)
    except InvalidExpression:
        return
    value = found.value(facts)
    if not isinstance(value, Fault) and found.type in (BOOL, INT, DOUBLE, STRING):
        assert type(value) is {BOOL: bool, INT: int, DOUBLE: float, STRING: str}[found.type]


ALLOWED = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.Attribute, ast.Compare, ast.BoolOp, ast.And, ast.Or,
    ast.Not, ast.UnaryOp, ast.USub, ast.IfExp, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Tuple,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In,
)  # fmt: skip
ATTRIBUTES = {"message", "user", "turn", "node", "state", "user_state", "startswith", "endswith"}


def _is_ours(source: str) -> None:
    """No loop, no lambda, no attribute but a fact's, no text of a tenant's, no name but of our own making."""
    for node in ast.walk(ast.parse(source, mode="eval")):
        assert isinstance(node, ALLOWED), ast.dump(node)
        if isinstance(node, ast.Attribute):
            assert node.attr in ATTRIBUTES
        if isinstance(node, ast.Name):
            assert re.fullmatch(r"facts|len|lower_ascii|k\d+|[a-z_]+|[A-Z]+", node.id)
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, str | bytes)


@given(EXPRESSIONS)
def test_generated_code_is_a_straight_line_of_our_own_words(text: str) -> None:
    try:
        _is_ours(compile_value(text).source)
    except InvalidExpression:
        return


@given(st.text(alphabet="'\"\\abx`{}();\n#_", max_size=20), st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
def test_what_a_tenant_writes_is_never_run_as_text(text: str, name: str) -> None:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    try:
        found = compile_expression(f"state.{name} == '{escaped}'")
    except InvalidExpression:
        return
    _is_ours(found.source)
    assert found(Facts(state={name: text}))


@given(st.text(max_size=60) | st.text(alphabet="()[]'\"!-<>=&|?:.,+ 01axin\\", max_size=80))
def test_any_text_is_an_expression_or_refused_in_its_place(text: str) -> None:
    try:
        assert isinstance(compile_expression(text), Predicate)
    except InvalidExpression as invalid:
        for problem in invalid.problems:
            assert 0 <= problem.span.start < problem.span.end <= len(text) + 1


def test_types_are_said_in_words() -> None:
    assert [str(one) for one in (INT, STRING, list_of(STRING), Type(list_of(INT).kind))] == [
        "an int", "a string", "a list of strings", "a list",
    ]  # fmt: skip
