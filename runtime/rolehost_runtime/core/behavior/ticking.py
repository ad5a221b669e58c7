"""One tick: which way a turn goes in its graph, and why. Pure, and the same on every machine.

Once per message, before `on_message` hooks. In each subgraph, in the order of declaration, the edges out of the current
node are looked at: one may be taken where its target is not disabled, its weight is not 0, its cooldown is past and its
predicate holds. Of those one is taken with probability weight / sum of weights; where there is none, the session stays.
A policy, where the graph has one, chooses in place of the weights.
An edge back to the same node is a choice like any other: taken, it uses up its cooldown, but nobody left or came.
"""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from rolehost_api.link.messages import Transition
from rolehost_runtime.core.behavior.choosing import Choice, Option, chosen
from rolehost_runtime.core.behavior.draw import drawn, pick
from rolehost_runtime.core.behavior.graph import Graph, Refused, Walk, Way
from rolehost_runtime.core.behavior.overriding import overridden
from rolehost_runtime.core.behavior.place import MAX_USED, Place, Places

NODE_GONE = "node_gone"
"""`why` of a step that no edge made: the graph of this revision lacks the node that the session was in."""

LARGEST = 1e308

Verdict = Literal["could", "cooling", "false"] | str
"""`failed: …` says why a predicate could not say."""


class Traced(Struct, frozen=True):
    """What became of one subgraph in a tick."""

    subgraph: str
    node: str
    """Where it stood."""
    looked_at: tuple[tuple[Way, Verdict], ...]
    taken: Way | None = None
    draw: int = 0


class Ticked(Struct, frozen=True):
    transitions: tuple[Transition, ...]
    places: dict[str, Place]
    """Of all subgraphs, and of those that this graph lacks as they were."""
    trace: tuple[Traced, ...]
    ignored: tuple[str, ...] = ()
    """Overrides that name what this graph has not, where nobody was told yet."""
    failed: tuple[str, ...] = ()
    """Subgraphs in which the policy failed, and the weights chose."""


def tick(graph: Graph, places: Places, facts: Any, *, turn: int, now_ms: int, seed: int) -> Ticked:
    """`facts` is what predicates are given, `now_ms` when the turn began, `seed` the turn's."""
    after = dict(places)
    transitions: list[Transition] = []
    trace: list[Traced] = []
    news: list[str] = []
    failed: list[str] = []
    for walk in graph.walks:
        place = places.get(walk.name)
        if place is None:  # the session begins here; nobody crossed an edge
            place = Place(walk.initial)
        elif place.nodes or place.edges or place.ignored:
            walk, unused = overridden(walk, place)
            news += (name for name in unused if name not in place.ignored)
            if unused != place.ignored:
                place = replace(place, ignored=unused)
        if place.node not in walk.nodes:
            transitions.append(Transition(subgraph=walk.name, source=place.node, target=walk.initial, why=NODE_GONE))
            trace.append(Traced(walk.name, place.node, ()))
            after[walk.name] = replace(place, node=walk.initial)
            continue
        seen, able = _look(walk, place, facts, turn, now_ms)
        if not able:
            trace.append(Traced(walk.name, place.node, seen))
            after[walk.name] = place
            continue
        draw = 0
        way = able[0]
        if len(able) > 1:
            draw = drawn(seed, walk.salt)
            number = None
            if graph.policy is not None:
                number = chosen(graph.policy, _choice(walk.name, place, able, draw, facts, turn, now_ms))
                failed += [walk.name] if number is None else ()
            way = able[pick(draw, [one.units for one in able]) if number is None else number]
        if way.target != place.node:
            transitions.append(
                Transition(
                    subgraph=walk.name,
                    source=place.node,
                    target=way.target,
                    weight=way.weight,
                    of=min(sum([one.weight for one in able]), LARGEST),
                    why=way.why,
                    place=way.place,
                    draw=draw,
                )
            )
        trace.append(Traced(walk.name, place.node, seen, way, draw))
        if way.cools:
            place = replace(place, used=_used(walk, place, way, turn, now_ms))
        after[walk.name] = place if way.target == place.node else replace(place, node=way.target)
    return Ticked(tuple(transitions), after, tuple(trace), tuple(news), tuple(failed))


def _choice(subgraph: str, place: Place, able: list[Way], draw: int, facts: Any, turn: int, now_ms: int) -> Choice:
    options = tuple(Option(way.target, way.weight, way.why) for way in able)
    return Choice(subgraph, place.node, options, draw, turn, now_ms, facts.facts(place.node))


def _look(
    walk: Walk, place: Place, facts: Any, turn: int, now_ms: int
) -> tuple[tuple[tuple[Way, Verdict], ...], list[Way]]:
    """What is to be said of each edge out of the node, and those that may be taken."""
    seen: list[tuple[Way, Verdict]] = []
    able: list[Way] = []
    for way in walk.ways[place.node]:
        if way.cools and _cooling(way, place.used.get(way.key), turn, now_ms):
            seen.append((way, "cooling"))
            continue
        if way.when is not None:
            try:
                holds = way.when(facts)
            except Refused as refused:
                seen.append((way, f"failed: {refused}"))
                continue
            if not holds:
                seen.append((way, "false"))
                continue
        seen.append((way, "could"))
        able.append(way)
    return tuple(seen), able


def _cooling(way: Way, used: Sequence[int] | None, turn: int, now_ms: int) -> bool:
    """
    >>> from rolehost_runtime.core.behavior.tables import Edge, Node
    >>> from rolehost_runtime.core.behavior.graph import Rule, ways
    >>> way = ways({"a": Node("a")}, [("a>a", Rule(Edge("a", "a", cooldown_turns=2, cooldown_seconds=10)))])["a"][0]
    >>> [_cooling(way, (5, 1_000), turn, now) for turn, now in ((7, 99_000), (8, 10_999), (8, 11_000))]
    [True, True, False]
    """
    return used is not None and (turn - used[0] <= way.turns or now_ms - used[1] < way.milliseconds)


def _used(walk: Walk, place: Place, way: Way, turn: int, now_ms: int) -> dict[str, list[int]]:
    """With this use, and without those that hold nobody back any more."""
    cools = walk.cools
    kept = {
        key: used
        for key, used in place.used.items()
        if key in cools and key != way.key and _cooling(cools[key], used, turn + 1, now_ms)
    }
    kept[way.key] = [turn, now_ms]
    if len(kept) > MAX_USED:
        kept.pop(min(kept, key=lambda key: kept[key]))
    return kept
