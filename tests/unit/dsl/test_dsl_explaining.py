"""What `rolehost explain` says is what happens: of the graph, and of the prompt's first volatile byte."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dsl.test_dsl_modules import compiled

from rolehost import Role, State, Turn
from rolehost_api.link.messages import CallModel, HistorySegment, PersonaSegment, StartTurn, TextSegment
from rolehost_runtime.core.behavior.blending import told
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.behavior.graph import Graph
from rolehost_runtime.core.behavior.place import Place
from rolehost_runtime.core.behavior.stating import bare
from rolehost_runtime.core.dsl.compiling import compile_behavior
from rolehost_runtime.core.dsl.drawing import diagrams
from rolehost_runtime.core.dsl.permits import refused, uses
from rolehost_runtime.core.dsl.prompting import lines, order, prompt_of
from rolehost_runtime.core.dsl.wording import label
from rolehost_runtime.core.engine import TurnEngine
from rolehost_runtime.core.prompt import Exchange, build


def graph(nodes: dict[str, str], more: dict[str, str] | None = None) -> Graph:
    def one(texts: dict[str, str]) -> dict[str, object]:
        names = list(texts)
        edges = [{"from": names[0], "to": name} for name in names]
        return {"initial": names[0], "nodes": {name: {"prompt": texts[name]} for name in names}, "edges": edges}

    value = one(nodes) if more is None else {"subgraphs": {"a": one(nodes), "b": one(more)}}
    made = compile_behavior(value)
    found = graph_of(bare("cat", made), made)
    assert found is not None
    return found


def test_the_diagram_has_every_node_and_edge() -> None:
    behavior = compiled("good").behavior
    assert behavior is not None
    assert diagrams(behavior).splitlines() == [
        "stateDiagram-v2",
        '    state "Bye" as n0',
        '    state "Explain" as n1',
        '    state "Greet" as n2',
        '    state "Test" as n3',
        "    [*] --> n2",
        "    n2 --> n1: 0.8, message.size() #62; 3, rests 2 turns",
        "    n2 --> n2: 0.2",
        "    n1 --> n3: state.score #62; 2 #38;#38; #91;'test', 'quiz', '考'#93;.exists…",
        "    n3 --> n1",
        "    n3 --> n0: message.lowerAscii().contains('bye')",
    ]


def test_subgraphs_stand_beside_each_other() -> None:
    behavior = compiled("strange-names").behavior
    assert behavior is not None
    drawn = diagrams(behavior)
    assert 'state "lesson-1 (0.7)" as g0 {' in drawn
    assert "[*] --> b0" in drawn
    assert drawn.count("{") == drawn.count("}") == 2


@given(st.text(max_size=80))
def test_a_label_never_ends_its_line_or_means_anything(text: str) -> None:
    assert not set('"\n\r{}[]<>|`%&\\') & set(label(text))
    assert ";" not in label(text).replace("#", " #").split(" #")[0]


# ── the prompt ──────────────────────────────────────────────────────────────────────


def test_parts_are_told_in_the_order_in_which_an_engine_asks_for_them() -> None:
    role = Role("cat")

    @role.on_message
    async def answer(t: Turn[State]) -> None:
        t.prompt.add("the logic's")
        await t.reply(t.ask())

    made = compile_behavior({"nodes": {"A": {"prompt": "the node's"}}})
    start = StartTurn(
        session="s", session_id="s", turn=1, version=0, message="hi", now_ms=0, rng_seed=1, deadline_ms=1000
    )
    engine = TurnEngine(role, start, {}, personas=1, graph=graph_of(role, made))
    (asked,) = [one for one in engine.begin() if isinstance(one, CallModel)]
    said = [spoken.text for spoken in build(asked.segments, ["the persona's"], [Exchange("a", "b")], "hi")]
    assert said == ["the persona's", "a", "b", "the node's\n\nthe logic's", "hi"]
    assert order() == ["persona", "history", "reply", "nodes", "logic", "memories", "message"]


def test_without_graph_and_logic_all_but_the_message_is_cacheable() -> None:
    found = prompt_of("You are a cat.")
    assert (found.prefix, found.tokens, found.alike, found.origin) == (14, 4, 0, "the user")


def test_nodes_with_the_same_beginning_share_it() -> None:
    found = prompt_of("Cat.", graph({"A": "You doze.", "B": "You play."}))
    assert (found.prefix, found.alike) == (len("Cat."), len("You "))
    assert found.origin == "spec.template.behavior.nodes.A.prompt"
    assert "main.B" in found.why


def test_a_node_that_says_nothing_has_nothing_in_common() -> None:
    assert prompt_of("Cat.", graph({"A": "You doze.", "B": ""})).alike == 0
    assert prompt_of("Cat.", graph({"A": "", "B": "You doze."})).origin == "spec.template.behavior.nodes.B.prompt"


def test_nodes_that_all_say_the_same_part_no_prompts() -> None:
    same = graph({"A": "Doze.", "B": "Doze."})
    assert prompt_of("Cat.", same, has_logic=True)[3:5] == (len("Doze."), "t.prompt.add(…) in the logic")
    assert prompt_of("Cat.", same, reminded=100)[3:5] == (len("Doze."), "spec.template.memory.prompt")


def test_the_explanation_is_a_table() -> None:
    assert list(
        lines(prompt_of("You are a cat.", graph({"A": "Doze.", "B": "Hunt!"}), has_logic=True, reminded=9))
    ) == [
        "  1  persona          revision  14 bytes  spec.template.persona.system",
        "  2  history          session   any size  the session's newest turns that fit",
        "  3  current nodes    node       5 bytes  prompts of spec.template.behavior",
        "  4  the logic's own  turn      any size  t.prompt.add(…) in the logic",
        "  5  memories         turn      any size  spec.template.memory.prompt",
        "  6  message          turn      any size  the user",
        "cacheable in every session: 14 bytes, about 4 tokens",
        "cacheable in one session: these, its history",
        "first volatile byte: put there by spec.template.behavior.nodes.A.prompt (at main.B the model is told something else)",
    ]


TEXTS = st.dictionaries(st.sampled_from("ABC"), st.sampled_from(["", "龙 a", "龙 b", "x"]), min_size=1)


@given(st.sampled_from(["Cat.", "猫"]), TEXTS, st.none() | TEXTS)
def test_every_prompt_begins_with_the_prefix_and_not_all_go_on_alike(
    persona: str, nodes: dict[str, str], more: dict[str, str] | None
) -> None:
    past = [Exchange("Hi", "Meow")]
    walked = graph(nodes, more)
    said = set()
    for together in product(*([(walk.name, node) for node in walk.nodes] for walk in walked.walks)):
        text = told(walked, {name: Place(node) for name, node in together})
        late = [TextSegment("system", text)] if text else []
        built = build([PersonaSegment(0), *late, HistorySegment()], [persona], past, "")
        said.add("".join(spoken.text for spoken in built).encode())
    found = prompt_of(persona, walked)
    assert all(text.startswith(persona.encode()) for text in said)
    size = found.prefix + len("HiMeow") + found.alike
    assert len({text[:size] for text in said}) == 1
    if len(said) > 1:
        # The next character, not the next byte: two characters may share their first bytes.
        assert len({text[size:].decode()[:1] for text in said}) > 1


# ── permissions ─────────────────────────────────────────────────────────────────────

LOGIC = """
from rolehost import Role, State, Turn
cat = Role("cat")

@cat.on_message
async def answer(t):
    await t.memory.remember("x")
    await t.reply(t.ask())
    other.ask()

async def helper(turn: Turn[State]):
    await turn.http.get("https://api.acme.com")
    def inner():
        return turn.memory.recall("x")

def of_another(story):
    story.memory.forget("x")

class Own:
    def tidy(self):
        self.memory.forget("x")
"""


def test_what_logic_asks_of_turns_needs_permissions() -> None:
    assert [(use.permission, use.said, use.line) for use in uses(LOGIC)] == [
        ("memory.write", "t.memory.remember", 7),
        ("model.call", "t.ask", 8),
        ("http:api.acme.com", "turn.http.get", 12),
        ("memory.read", "turn.memory.recall", 14),
        ("memory.forget", "story.memory.forget", 17),
    ]


@pytest.mark.parametrize(
    ("permissions", "left"),
    [
        ([], 5),
        (["model.call", "memory.write"], 3),
        (["model.call", "memory.write", "memory.read", "memory.forget", "http:api.acme.com"], 0),
    ],
)
def test_what_no_permission_grants_is_left(permissions: list[str], left: int) -> None:
    assert len(refused(uses(LOGIC), permissions)) == left


@given(st.text(max_size=100))
def test_any_source_is_looked_at(source: str) -> None:
    assert isinstance(uses(source), list)
