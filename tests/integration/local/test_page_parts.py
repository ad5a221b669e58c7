"""What the playground's panes work out, in Node: the same numbers, words and mermaid as Python has; and its colours."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rolehost_api.link.tracing import TracedEdge, TracedGraph, TracedNode
from rolehost_runtime.core.behavior.tables import Behavior, Edge, Node, Subgraph
from rolehost_runtime.core.dsl.drawing import diagrams

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "runtime/rolehost_runtime/gateway/edge/page"
NODE = shutil.which("node")
in_node = pytest.mark.skipif(NODE is None, reason="no Node on this machine")


def call(*asked: list[Any]) -> list[Any]:
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(REPOSITORY / "tests/support/page_cases.mjs"), str(PAGE / "underneath.js")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def as_json(graph: TracedGraph) -> Any:
    return json.loads(msgspec.json.encode(graph))


def edge(source: str, target: str, weight: float = 1.0, **more: Any) -> TracedEdge:
    return TracedEdge(source=source, target=target, weight=weight, **more)


@in_node
def test_mermaid_is_the_same_as_explain_has_it() -> None:
    hostile = 'x > 1 ? "<b>" : `;#` %% [] {} & ' + "long " * 20
    one = Subgraph(
        "main", "A", (Node("A"), Node("B 2", disabled=True)),
        (Edge("A", "B 2", 0.5, hostile, 2, 7), Edge("A", "A"), Edge("B 2", "A", cooldown_turns=1)),
    )  # fmt: skip
    mood = Subgraph("mood", "C", (Node("C"),), (), 0.25)

    def traced(graph: Subgraph) -> TracedGraph:
        return TracedGraph(
            name=graph.name, initial=graph.initial, node=graph.initial, to=graph.initial, share=graph.weight,
            nodes=tuple(TracedNode(name=node.name, disabled=node.disabled) for node in graph.nodes),
            edges=tuple(
                edge(e.source, e.target, e.weight, why=e.when, rests_turns=e.cooldown_turns, rests_seconds=e.cooldown_seconds)
                for e in graph.edges
            ),
        )  # fmt: skip

    alone, both = call(["mermaid", [as_json(traced(one))]], ["mermaid", [as_json(traced(one)), as_json(traced(mood))]])
    assert alone == diagrams(Behavior((one,)))
    assert both == diagrams(Behavior((one, mood)))


@in_node
def test_chances_are_of_what_could_be_taken() -> None:
    graph = TracedGraph(
        name="main", initial="A", node="A", to="B",
        edges=(edge("A", "B", 3, verdict="taken"), edge("A", "A", 1, verdict="could"), edge("A", "B", verdict="false"), edge("B", "A")),
    )  # fmt: skip
    [found] = call(["candidates", as_json(graph)])
    assert [(one["to"], one["chance"]) for one in found] == [("B", 75), ("A", 25), ("B", None)]


@in_node
def test_every_node_has_a_place_of_its_own_and_every_edge_a_line() -> None:
    names = [f"n{number}" for number in range(20)]
    ring = [edge(name, names[(number * 7 + 1) % 20]) for number, name in enumerate(names)]
    graph = TracedGraph(
        name="main", initial="n3", node="n3", to="n2", nodes=tuple(TracedNode(name=name) for name in names),
        edges=(*ring, *ring, edge("n1", "n1")),
    )  # fmt: skip
    big = msgspec.structs.replace(graph, nodes=tuple(TracedNode(name=f"n{number}") for number in range(25)))
    plan, none, empty = call(
        ["drawn", as_json(graph)],
        ["drawn", as_json(big)],
        ["drawn", {"name": "m", "initial": "a", "node": "a", "to": "a"}],
    )
    places = {(box["x"], box["y"]) for box in plan["boxes"]}
    assert len(places) == 20
    assert all(0 <= box["x"] <= plan["width"] - box["width"] for box in plan["boxes"])
    assert max(box["y"] + box["height"] for box in plan["boxes"]) <= plan["height"]
    assert [box["name"] for box in plan["boxes"] if box["now"]] == ["n2"]
    assert len(plan["lines"]) == len({(one.source, one.target) for one in graph.edges})
    assert "NaN" not in json.dumps(plan)
    assert none is empty is None


@in_node
def test_a_state_is_rows_and_those_that_changed_are_known() -> None:
    state = {"dragons": 3, "names": ["a", "<b>"], "place": {"town": "Oslo", "at": {"x": 1}}, "none": {}}
    events = [
        {"type": "role.state.delta", "scope": "session", "patch": [{"path": "/names/0"}, {"path": "/place/at~1x"}]},
        {"type": "role.state.delta", "scope": "user", "patch": [{"path": "/dragons"}]},
    ]
    rows, few, paths, theirs, yes, no = call(
        ["flat", state], ["flat", state, 2], ["changed", events], ["changed", events, "user"],
        ["isChanged", "names", ["names.0"]], ["isChanged", "name", ["names.0"]],
    )  # fmt: skip
    assert [(row["path"], row["value"]) for row in rows] == [
        ("dragons", "3"), ("names", '["a","<b>"]'), ("place.town", '"Oslo"'), ("place.at.x", "1"), ("none", "{}"),
    ]  # fmt: skip
    assert (len(few), paths, theirs, yes, no) == (2, ["names.0", "place.at/x"], ["dragons"], True, False)


@in_node
def test_a_prompt_is_cut_where_the_cache_ends_by_characters_that_people_know() -> None:
    call_ = {
        "chars": 12,
        "segments": [
            {"kind": "persona", "text": "🐱🐱"},
            {"kind": "logic", "text": "ab🐱d"},
            {"kind": "input", "text": "x"},
        ],
        "prefix": {"segment": 1, "offset": 3, "chars": 7, "tokens": 4, "ended_by": "logic", "compared_with": "call"},
    }
    parts, said = call(["pieces", call_], ["prefixOf", call_])
    assert [(one["known"], one["fresh"], one["ends"]) for one in parts] == [
        ("🐱🐱", "", False),
        ("ab🐱", "d", True),
        ("", "x", False),
    ]
    assert said == "7 of 12 characters (about 4 tokens) begin as the call before did; the logic and the graph ended it."


def test_what_is_written_can_be_read_by_day_and_by_night() -> None:
    """WCAG 2: 4.5 to 1 for text."""
    style = (PAGE / "style.css").read_text()
    day, night = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    )
    for colours in (day, night):
        for ink, paper in [
            ("ink", "paper"), ("soft", "paper"), ("leaf", "paper"), ("warn", "paper"), ("ink", "card"), ("ink", "mine"), ("leaf-ink", "leaf"),
        ]:  # fmt: skip
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper, colours[ink])


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    full = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(full[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
