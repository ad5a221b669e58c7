"""The compiler: everything wrong with a behaviour in one run, shown where it stands. Nothing makes it fall over."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.errors import InvalidManifest
from rolehost_api.manifest import check, load
from rolehost_api.manifest.reading import MAX_BYTES, plain, read
from rolehost_runtime.core.behavior.tables import Edge, Node
from rolehost_runtime.core.dsl import reading
from rolehost_runtime.core.dsl.compiling import Surroundings, compile_behavior, compile_node
from rolehost_runtime.core.dsl.expressions import Facts, InvalidExpression, Names, Span, checking, compile_expression
from rolehost_runtime.core.dsl.expressions.types import INT, record
from rolehost_runtime.core.dsl.forms import MAX_EXPRESSIONS
from rolehost_runtime.core.dsl.holding import never
from rolehost_runtime.core.dsl.manifests import COMPILER, behavior_of
from rolehost_runtime.core.dsl.places import Source

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
GOOD = (Path(__file__).parent / "cases" / "good.yaml").read_text()
HEAD = GOOD[: GOOD.index("    behavior:")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_findings_are_shown_as_a_compiler_does(case: Path) -> None:
    """Set ROLEHOST_RECORD=1 to write down what is said now."""
    said = "".join(one.shown("role.yaml") + "\n" for one in check(case.read_text(), compiler=COMPILER))
    golden = case.with_suffix(".txt")
    if os.environ.get("ROLEHOST_RECORD"):
        golden.write_text(said)
    assert said == golden.read_text()


def test_a_graph_becomes_tables_and_predicates() -> None:
    (document,) = read(GOOD)
    outcome = behavior_of(document, GOOD)
    assert outcome is not None
    assert outcome.findings == []
    assert outcome.compiled.behavior is not None
    (main,) = outcome.compiled.behavior.subgraphs
    assert (main.name, main.initial) == ("main", "Greet")
    assert Node("Test", "Ask one question about what you explained.") in main.nodes
    assert main.edges[0] == Edge("Greet", "Explain", 0.8, "message.size() > 3", 2)
    assert outcome.compiled.predicates["message.size() > 3"](Facts(message="hello"))
    changes = [one for one in outcome.compiled.changes if (one.node, one.moment) == ("Explain", "enter")]
    assert [(one.field, one.scope, one.value.value(Facts(message="!", state={"score": 1}))) for one in changes] == [
        ("mood", "user", "glad"),
        ("score", "session", 2),
    ]


def test_a_revision_compiles_to_the_same_as_its_text() -> None:
    """The cluster keeps JSON: no text, and no order among the fields of an object."""
    (document,) = read(GOOD)
    there = behavior_of(document, GOOD)
    value = plain(document)["spec"]["template"]["behavior"]
    turned = {key: dict(reversed(part.items())) if key == "nodes" else part for key, part in value.items()}
    here = compile_behavior(turned)
    assert there is not None
    assert here.behavior == there.compiled.behavior
    assert here.state == there.compiled.state
    assert here.predicates.keys() == there.compiled.predicates.keys()


def test_what_a_revision_has_wrong_is_told_without_a_place() -> None:
    with pytest.raises(InvalidManifest) as raised:
        compile_behavior({"initial": "A", "nodes": {"A": {}}, "edges": [{"from": "A", "to": "B", "when": "trun"}]})
    assert [(one.code, one.line) for one in raised.value.findings] == [("unknown_name", None), ("unknown_node", None)]


def test_what_no_text_could_say_is_refused_in_words() -> None:
    deep: dict[str, object] = {}
    for _ in range(5_000):
        deep = {"nodes": deep}
    for value in (deep, {"nodes": {"A": {"prompt": b"x", "enter": object()}}}):
        with pytest.raises(InvalidManifest):
            compile_behavior(value)


def test_no_behaviour_is_none() -> None:
    assert compile_behavior({}).behavior is None


def test_the_types_of_a_state_in_python_are_checked_where_it_was_loaded() -> None:
    value = {"nodes": {"A": {}}, "edges": [{"from": "A", "to": "A", "when": "state.dragns > 3"}]}
    assert compile_behavior(value, Surroundings(has_logic=True)).behavior is not None
    with pytest.raises(InvalidManifest, match="Did you mean dragons"):
        compile_behavior(value, Surroundings(True, names=Names(state=record({"dragons": INT}))))


def test_what_is_free_form_to_the_schema_is_told_once() -> None:
    text = GOOD.replace("Greet: {prompt", "Greet: {}\n        Greet: {prompt")
    assert [one.code for one in check(text, compiler=COMPILER)] == ["duplicate"]
    assert [one.message for one in check(text)] == ["is given twice"]


def test_load_refuses_what_does_not_compile() -> None:
    assert load(GOOD, compiler=COMPILER)
    with pytest.raises(InvalidManifest, match="Did you mean message"):
        load(GOOD.replace("message.size()", "mesage.size()"), compiler=COMPILER)


# ── conditions that can never hold ──────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "false",
        "1 > 2",
        "turn > 3 && turn < 2",
        "turn > 3 && turn < 4",
        "3 < turn && 4 > turn",
        "turn < 1",
        "turn == 0",
        "message.size() < 0",
        "size(message) > 3 && message.size() < 2",
        "state.x == 'a' && state.x == 'b'",
        "state.x == 'a' && state.x != 'a'",
        "state.x in ['a', 'b'] && state.x == 'c'",
        "state.x in [1, 2] && state.x > 2",
        "state.x in []",
        "state.ready && !state.ready",
        "state.x > 3.5 && state.x <= 3.5",
        "(turn > 3 && turn < 2) || (turn == 0)",
        "turn > 2 && (state.a == 1 && turn < 2)",
        "state.x > 3 && state.x == 'a'",
        "1 / 0 > 3",
        "message.contains('a') && !message.contains('a')",
    ],
)
def test_a_condition_that_can_never_hold_is_found(text: str) -> None:
    predicate = compile_expression(text)
    found = never(predicate.tree, predicate.types)
    assert found is not None
    assert found.code == "never_holds"


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "turn > 3 && turn < 5",
        "turn >= 3 && turn <= 3",
        "state.x > 3 && state.x < 4",
        "state.x == 1 && state.x == 1.0",
        "state.x == 1 || state.x == 2",
        "turn < 1 || turn > 3",
        "state.x != 'a' && state.x != 'b'",
        "message.contains('a') && message.contains('b')",
        "!(turn > 3 && turn < 2)",
        "state.x == true && state.y == 1",
        "state.a.x == 1 && state.b.x == 2",
        "state.a[0] == 1 && state.a[1] == 2",
        "['a'].exists(x, x == message) && ['b'].exists(x, message.contains(x))",
    ],
)
def test_a_condition_that_may_hold_is_left_alone(text: str) -> None:
    predicate = compile_expression(text)
    assert never(predicate.tree, predicate.types) is None


THINGS = st.sampled_from(["turn", "state.x", "state.y", "message.size()"])
CONSTANTS = st.sampled_from(["0", "1", "2", "1.5", "'a'", "true"])
PART = st.tuples(THINGS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), CONSTANTS).map(" ".join)
ONE = st.one_of(PART, st.sampled_from(["state.x", "!state.x", "state.x in [1, 'a']", "2 > state.y"]))
SOME = st.lists(ONE, min_size=1, max_size=4).map(" && ".join)
WORDS = st.lists(SOME, min_size=1, max_size=2).map(lambda parts: " || ".join(f"({part})" for part in parts))


@given(WORDS, st.integers(1, 4), st.sampled_from(["", "a", "ab"]), st.sampled_from([0, 1, 2, 1.5, "a", True, False]))
def test_nothing_that_holds_is_said_never_to(text: str, turn: int, message: str, x: object) -> None:
    try:
        predicate = compile_expression(text)
    except InvalidExpression:
        return
    for y in (0, 1, 2, 1.5, "a", True):
        if predicate(Facts(message=message, turn=turn, state={"x": x, "y": y})):
            assert never(predicate.tree, predicate.types) is None


# ── bounds ──────────────────────────────────────────────────────────────────────────


def test_ten_megabytes_are_refused_before_they_are_read() -> None:
    assert check(GOOD + "#" * 10_000_000, compiler=COMPILER)[0].message == "is over 1 MiB"


@pytest.mark.parametrize(
    "behavior",
    [
        pytest.param("{" * 200 + "}" * 200, id="deep"),
        pytest.param("[" * 25 + "]" * 25, id="deep-lists"),
        pytest.param("&a {nodes: &b [*a, *b]}", id="aliases"),
        pytest.param("{nodes: {" + ", ".join(f"n{i}: {{}}" for i in range(20_000)) + "}}", id="nodes"),
        pytest.param("{nodes: {A: {}}, edges: [" + "{from: A, to: B}, " * 8_000 + "]}", id="edges"),
        pytest.param("{nodes: {A: {}}, edges: [" + "{x: y}, " * 1_000 + "]}", id="faulty-edges"),
        pytest.param(
            "{nodes: {A: {}}, edges: ["
            + ", ".join(f"{{from: A, to: A, when: 'turn > {i}{' || state.x == 1' * 80}'}}" for i in range(700))
            + "]}",
            id="expressions",
        ),
        pytest.param("{nodes: {A: {prompt: '" + "x" * 900_000 + "'}}}", id="prompt"),
        pytest.param(
            "{nodes: {" + ", ".join(f"n{i}: {{prompt: {'x' * 4000}}}" for i in range(200)) + "}}", id="prompts"
        ),
        pytest.param("{state: {" + ", ".join(f"f{i}: {{type: int}}" for i in range(9_000)) + "}}", id="fields"),
        pytest.param(
            "{subgraphs: {" + ", ".join(f"g{i}: {{nodes: {{A: {{}}}}}}" for i in range(500)) + "}}", id="graphs"
        ),
        pytest.param("{nodes: {A: {enter: {set: {x: [" + "1, " * 40_000 + "]}}}}}", id="list"),
        pytest.param("{? {a: b} : c, <<: {a: b}, nodes: {? [a] : {}}}", id="keys"),
        pytest.param("!!python/object/apply:os.system ['true']", id="tag"),
        pytest.param("{nodes: {A: {prompt: !!binary aGk=, disabled: !!float yes}}}", id="tags"),
        pytest.param("2001-01-01", id="date"),
        pytest.param("", id="empty"),
    ],
)
def test_what_is_too_much_or_no_behaviour_is_refused_in_words(behavior: str) -> None:
    text = HEAD + f"    behavior: {behavior}\n"
    assert len(text) < MAX_BYTES
    assert check(text, compiler=COMPILER)  # within the time that any test has


def test_names_are_compared_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long names that are nearly alike, and nothing but faults: comparing them all took two minutes."""
    compared = 0
    close = difflib.get_close_matches

    def counted(word: str, among: Sequence[str], n: int, cutoff: float) -> list[str]:
        nonlocal compared
        compared += len(among)
        return close(word, among, n, cutoff)

    monkeypatch.setattr(checking, "get_close_matches", counted)
    names = [f"{'abcdefgh' * 7}{place:04d}" for place in range(256)]
    edges = [{"from": f"{'abcdefgx' * 7}{place:04d}", "to": "nobody", "when": "trun > 3"} for place in range(1024)]
    with pytest.raises(InvalidManifest) as raised:
        compile_behavior({"initial": names[0], "nodes": {name: {} for name in names}, "edges": edges})
    assert len(raised.value.findings) == reading.MAX_FINDINGS
    assert 0 < compared <= reading.MAX_FINDINGS * checking.MOST_COMPARED


def test_all_expressions_together_have_a_budget() -> None:
    # Each is within its own bounds; together they are not, and what is behind the bound is not compiled.
    long = "message == '" + "x" * 1_900 + "'"
    edges = "".join(f'      - {{from: A, to: A, when: "turn > {place} && {long}"}}\n' for place in range(40))
    found = check(HEAD + "    behavior:\n      nodes: {A: {}}\n      edges:\n" + edges, compiler=COMPILER)
    assert [one.code for one in found] == ["budget"]
    assert str(MAX_EXPRESSIONS) in found[0].message


# ── laws ────────────────────────────────────────────────────────────────────────────

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from(["A", "B", "main", "int", "str", "user", "turn > 1", "state.x + 1", "'a'", "(", "node == 'C'"]),
    st.text(max_size=6),
)
KEYS = st.sampled_from(
    ["nodes", "edges", "initial", "subgraphs", "state", "weight", "A", "B", "from", "to", "when", "cooldown", "turns",
     "enter", "exit", "set", "x", "type", "default", "scope", "prompt", "disabled"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
EDGES = st.fixed_dictionaries(
    {"from": st.sampled_from("AB"), "to": st.sampled_from("ABC")},
    optional={"when": SCALARS, "weight": SCALARS, "cooldown": VALUES},
)
BEHAVIORS = st.fixed_dictionaries(
    {},
    optional={
        "nodes": st.dictionaries(st.sampled_from(["A", "B", "C d", "x>y"]), VALUES) | st.just({"A": {}, "B": {}}),
        "edges": st.lists(EDGES, max_size=4) | VALUES,
        "initial": SCALARS,
        "state": st.dictionaries(st.sampled_from("xyz"), st.just({"type": "int"}) | VALUES),
        "subgraphs": VALUES,
    },
)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


@given(BEHAVIORS | VALUES, st.booleans())
def test_any_behaviour_compiles_or_is_refused_in_words(value: object, has_logic: bool) -> None:
    text = yaml.dump(value, Dumper=_Plain, allow_unicode=True)
    for node in read(text):
        outcome = compile_node(node, text, Surroundings(has_logic=has_logic))
        for one in outcome.findings:
            assert one.code
            assert one.line is None or one.excerpt.count("\n") == 1
            assert "^" in one.excerpt or one.line is None


@given(st.text(max_size=200))
def test_any_text_is_checked_or_refused_in_words(text: str) -> None:
    for one in check(HEAD + "    behavior: " + text, compiler=COMPILER):
        assert one.shown("role.yaml")


@given(
    st.text(alphabet="ab c'\"\\\n\t龙é:#-[]{}", min_size=1, max_size=30),
    st.sampled_from([None, "'", '"', "|", ">"]),
    st.integers(0, 30),
    st.integers(20, 200),
)
def test_a_part_of_any_scalar_is_underlined_where_it_stands(value: str, style: str | None, at: int, width: int) -> None:
    """However YAML writes it, the character under the caret is the one that was meant, or the scalar's first line."""
    text = yaml.dump({"when": value}, default_style=style, allow_unicode=True, width=width)
    (root,) = yaml.compose_all(text, Loader=yaml.SafeLoader)
    scalar = next(node for key, node in root.value if key.value == "when")
    source, at = Source(text), min(at, len(value) - 1)
    where = source.within(scalar, Span(at, at + 1))
    assert where is not None
    lines = text.split("\n")
    if where == source.of(scalar) and where.length != 1:
        return
    if where.column < len(lines[where.line]) and not value[at].isspace():
        there = lines[where.line][where.column]
        assert there == value[at] or there == "\\" or where == source.of(scalar)


def test_carets_stand_under_wide_characters() -> None:
    text = "when: 龙 == trun"
    (root,) = read(text)
    reader_excerpt = Source(text).excerpt(Source(text).within(root.value[0][1], Span(5, 9)))  # type: ignore[arg-type]
    assert reader_excerpt == "when: 龙 == trun\n" + " " * 12 + "^^^^"
