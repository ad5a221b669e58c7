"""A tenant's query reads its own series, whatever it says."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.promql import NAMES, expressions, hostile

from rolehost_api.promql import (
    AGGREGATIONS,
    FUNCTIONS,
    KEYWORDS,
    LONGEST,
    MOST_SELECTORS,
    InvalidQuery,
    confined,
    quoted,
)
from rolehost_dashboards.lint.promql import Selector, parse, walk

OURS = 'tenant="acme"'


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("up", f"up{{{OURS}}}"),
        ("up{}", f"up{{{OURS}}}"),
        ('{__name__=~".+"}', f'{{{OURS},__name__=~".+"}}'),
        ("up{tenant='other'}", f'up{{{OURS},tenant="other"}}'),
        ('up{tenant!~"acme",}', f'up{{{OURS},tenant!~"acme"}}'),
        ("a:b:rate5m offset 1h", f"a:b:rate5m{{{OURS}}} offset 1h"),
        ('rate(x{revision="$candidate"}[5m])', f'rate(x{{{OURS},revision="cat-new"}}[5m])'),
        ('x{role="$role",r=~"$baseline|$tenant"}', f'x{{{OURS},role="cat",r=~"cat-old|acme"}}'),
        ("sum by (le, code) (x) / on (code) group_left (le) y", f"sum by (le, code) (x{{{OURS}}}) / on(code) group_left(le) y{{{OURS}}}"),
        ("sum(x) without (pod)", f"sum(x{{{OURS}}}) without(pod)"),
        ("x > bool 2", f"x{{{OURS}}} > bool 2"),
        ("x ^ -2.5e3", f"x{{{OURS}}} ^ -2.5e3"),
        ("x and y unless z", f"x{{{OURS}}} and y{{{OURS}}} unless z{{{OURS}}}"),
        ("vector(1) or x", f"vector(1) or x{{{OURS}}}"),
        ("histogram_quantile(0.99, sum by (le) (rate(x_bucket[1m])))", f"histogram_quantile(0.99, sum by(le) (rate(x_bucket{{{OURS}}}[1m])))"),
        ('label_replace(x, "a", "$1", "b", "(.*)")', f'label_replace(x{{{OURS}}}, "a", "$1", "b", "(.*)")'),
        (r'x{a="\"} or y{b=\"\\"}', rf'x{{{OURS},a="\"}} or y{{b=\"\\"}}'),
        ("x\n>\t1", f"x{{{OURS}}} > 1"),
        ("-x", f"-x{{{OURS}}}"),
        ("x + Inf", f"x{{{OURS}}} + Inf"),
    ],
)  # fmt: skip
def test_every_selector_is_the_tenants_own(query: str, asked: str) -> None:
    assert re.sub(r" \(", "(", confined(query, NAMES)) == re.sub(r" \(", "(", asked)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("", id="nothing"),
        pytest.param("1 + 1", id="no series at all"),
        pytest.param("$candidate", id="a name outside of quotes"),
        pytest.param("x # } or y", id="a comment"),
        pytest.param("x{a=`b`}", id="backquotes"),
        pytest.param("x @ 1700000000", id="another time"),
        pytest.param("x @ start()", id="another time by name"),
        pytest.param("x[5m:1s]", id="a subquery"),
        pytest.param("rate(x[2h])", id="a long range"),
        pytest.param("x offset 8w", id="long ago"),
        pytest.param("sum(and)", id="a keyword as a metric"),
        pytest.param("SUM(x)", id="keywords in capitals"),
        pytest.param("x AND y", id="operators in capitals"),
        pytest.param('x{a="b" or tenant="other"}', id="MetricsQL's or"),
        pytest.param('{"up", a="b"}', id="a quoted name"),
        pytest.param('x{"a.b"="c"}', id="a quoted label"),
        pytest.param("WITH (t = x) t", id="a template of MetricsQL"),
        pytest.param("info(x)", id="a function that reads for itself"),
        pytest.param("x keep_metric_names", id="words behind it"),
        pytest.param("x{a=b}", id="no quotes"),
        pytest.param('x{a="b}', id="no end"),
        pytest.param('x{a="b"', id="no brace"),
        pytest.param("x{a='b\nc'}", id="a line break in quotes"),
        pytest.param(r'x{a="\u0022"}', id="an escape that is not known"),
        pytest.param('x{a:b="c"}', id="a label with a colon"),
        pytest.param("(x", id="no parenthesis"),
        pytest.param("x)", id="one too many"),
        pytest.param("x y", id="two of them"),
        pytest.param("x{}{}", id="braces twice"),
        pytest.param("x[5m][5m]", id="ranges twice"),
        pytest.param("--x", id="signs twice"),
        pytest.param("x; y", id="semicolons"),
        pytest.param("x\x00", id="a zero"),
        pytest.param("é", id="letters of others"),
        pytest.param("0x1f * x", id="hexadecimal"),
        pytest.param("x[5]", id="no unit"),
        pytest.param("by(x)", id="a keyword as a function"),
        pytest.param("(" * 200 + "x" + ")" * 200, id="deep"),
        pytest.param(" + ".join(["x"] * (MOST_SELECTORS + 1)), id="many"),
        pytest.param("x + " + " " * LONGEST + "y", id="long"),
    ],
)
def test_what_is_not_known_is_refused_in_a_sentence(query: str) -> None:
    with pytest.raises(InvalidQuery) as caught:
        confined(query, NAMES)
    assert caught.value.code == "invalid_promql"
    assert len(str(caught.value)) < 300


def test_names_are_strings_whatever_they_are() -> None:
    evil = {**NAMES, "candidate": 'x"} or y{z="\\', "tenant": 'a"b'}
    assert confined('m{r="$candidate"}', evil) == r'm{tenant="a\"b",r="x\"} or y{z=\"\\"}'


# ── laws ────────────────────────────────────────────────────────────────────────────

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def holds(asked: str) -> None:
    """By other means than the grammar's: without its strings, no brace opens but for the tenant's matcher, and no word
    stands where a metric's name could but those that are none.
    """
    bare = STRING.sub('""', asked)
    assert re.findall(r'\{(?!tenant=""[,}])', bare) == []
    assert bare.count("{") == bare.count("}")
    outside = re.sub(r"\{[^{}]*\}", "{}", bare)
    outside = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\([^()]*\)", r"\1", outside)
    outside = re.sub(r"\[[^\]]*\]|offset -?[0-9a-z]+", "", outside)
    for match in re.finditer(r"(?<![0-9.])[A-Za-z_:][A-Za-z0-9_:]*", outside):
        word, after = match.group(), outside[match.end() : match.end() + 1]
        assert after == "{" or word in FUNCTIONS | AGGREGATIONS | KEYWORDS or word.lower() in ("inf", "nan"), (
            word,
            asked,
        )
    places = [found.start() for found in STRING.finditer(asked)]
    inside = [
        place
        for place, found in zip(places, STRING.findall(asked), strict=True)
        if asked[:place].endswith("{tenant=") and found == '"acme"'
    ]
    assert len(inside) == bare.count("{")


@given(expressions)
def test_what_is_meant_well_is_taken(query: str) -> None:
    holds(confined(query, NAMES))


@given(hostile)
@settings(max_examples=400)
def test_whatever_is_said_nothing_gets_around_the_tenant(query: str) -> None:
    try:
        asked = confined(query, NAMES)
    except InvalidQuery:
        return
    holds(asked)


@given(expressions)
def test_another_reader_finds_the_tenant_in_every_selector(query: str) -> None:
    """The one of our own boards, which shares no code with this one."""
    read = walk(parse(confined(query, NAMES)))
    found = [one for one in read if isinstance(one, Selector) and one.name.lower() not in ("inf", "nan")]
    assert found
    assert all(("tenant", "=", "acme") in one.matchers for one in found)


def test_a_long_chain_is_no_deep_one() -> None:
    assert confined("x" + "+1" * 1000, NAMES).endswith("+ 1")


@given(expressions)
def test_what_was_confined_may_be_confined_again(query: str) -> None:
    once = confined(query, NAMES)
    twice = confined(once, NAMES)
    assert twice.count(OURS) == 2 * once.count(OURS)


@given(st.text())
def test_a_string_is_one_string(text: str) -> None:
    assert STRING.fullmatch(quoted(text))
    assert quoted(text).isprintable()
