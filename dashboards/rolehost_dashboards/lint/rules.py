"""What every board is held to. Pure: boards and series come in, findings go out, in words for whoever wrote the board."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from rolehost_dashboards.lint.labels import SCRAPED, Faults, Known, labels_of
from rolehost_dashboards.lint.promql import Aggregation, Call, Node, NotPromQL, Number, Selector, children, parse, walk

COLUMNS = 24
MAX_SERIES = 12
CLOSED = frozenset(
    {"le", "direction", "cached", "stage", "action", "arm", "what", "why", "how", "kind", "objective", "stratum", "known",
     "generation", "state"}
)  # fmt: skip
"""Labels whose values are few and ours. Where any other is left in a result, the query takes the largest few."""
DATASOURCE = "${metrics}"
RATES = frozenset({"rate", "irate", "increase", "resets"})
BUILT_IN = frozenset({"__rate_interval", "__range", "__interval", "__from", "__to"})
_VARIABLE = re.compile(r"\$\{?(\w+)")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_VALUES = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")

Board = Mapping[str, Any]


def findings(boards: Sequence[Board], known: Known) -> list[str]:
    """Of all boards, each as `board / panel: what is wrong`."""
    found = [f"{board['title']} / {what}" for board in boards for what in _board(board, known)]
    uids = [board["uid"] for board in boards]
    found += [f"the uid {uid} is there twice" for uid in sorted({uid for uid in uids if uids.count(uid) > 1})]
    there = {f"/d/{uid}" for uid in uids}
    found += [
        f"{board['title']} / links: {link['url']} leads to no board of ours"
        for board in boards
        for link in board["links"]
        if link["url"] not in there
    ]
    return found


def panels(board: Board) -> list[Mapping[str, Any]]:
    """Without the rows' headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def _board(board: Board, known: Known) -> Iterator[str]:
    ids = [panel["id"] for panel in board["panels"]]
    if len(set(ids)) != len(ids):
        yield "panels: an id is there twice"
    titles = [panel["title"] for panel in panels(board)]
    yield from (f"{title}: two panels have this title" for title in sorted({t for t in titles if titles.count(t) > 1}))
    yield from _places(board)
    variables = {one["name"]: one for one in board["templating"]["list"]}
    for variable in variables.values():
        yield from (f"variable {variable['name']}: {what}" for what in _variable(variable, known, set(variables)))
    for note in board["annotations"]["list"] if board.get("annotations") else ():
        yield from (f"annotation {note['name']}: {what}" for what in _note(note, known, set(variables)))
    for panel in panels(board):
        yield from (f"{panel['title'] or panel['id']}: {what}" for what in _panel(panel, known, set(variables)))


def _places(board: Board) -> Iterator[str]:
    for panel in board["panels"]:
        place = panel["gridPos"]
        if place["x"] < 0 or place["w"] < 1 or place["x"] + place["w"] > COLUMNS:
            yield f"{panel['title']}: it is wider than the {COLUMNS} columns"
    for one, other in combinations(board["panels"], 2):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield f"{one['title']}: it lies over `{other['title']}`"


def _overlap(one: Mapping[str, int], other: Mapping[str, int]) -> bool:
    """
    >>> left, right = {"x": 0, "y": 0, "w": 12, "h": 8}, {"x": 12, "y": 0, "w": 12, "h": 8}
    >>> _overlap(left, right), _overlap(left, {**right, "x": 11})
    (False, True)
    """
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)


def _panel(panel: Mapping[str, Any], known: Known, variables: set[str]) -> Iterator[str]:
    for what, there in (
        ("title", panel.get("title")),
        ("description", panel.get("description")),
        ("unit", panel["fieldConfig"]["defaults"].get("unit")),
        ("query", panel.get("targets")),
    ):
        if not there:
            yield f"it has no {what}"
    yield from _datasource(panel)
    for target in panel.get("targets") or ():
        yield from _datasource(target)
        yield from _query(target["expr"], target.get("legendFormat") or "", panel["type"], known, variables)


def _datasource(of: Mapping[str, Any]) -> Iterator[str]:
    uid = (of.get("datasource") or {}).get("uid")
    if uid != DATASOURCE:
        yield f"its datasource is {uid}, not {DATASOURCE}"


def _query(query: str, legend: str, panel: str, known: Known, variables: set[str]) -> Iterator[str]:
    yield from _unset(query, variables)
    if not legend:
        yield f"no legend: {query}"
    try:
        node = parse(query)
    except NotPromQL as error:
        yield str(error)
        return
    faults = Faults()
    labels = labels_of(node, known, faults)
    yield from dict.fromkeys(faults.found)
    yield from dict.fromkeys(_counters(node, known))
    yield from _quantiles(node)
    shown = set(_LEGEND.findall(legend))
    if shown - labels:
        yield f"the legend shows {', '.join(sorted(shown - labels))}, which the result has not: {query}"
    if panel != "table" and labels - shown:
        yield f"series that differ in {', '.join(sorted(labels - shown))} have one legend: {query}"
    if labels - CLOSED and _bound(node) > MAX_SERIES:
        yield f"the number of series grows with {', '.join(sorted(labels - CLOSED))}; take the largest few: {query}"


def _unset(query: str, variables: set[str]) -> Iterator[str]:
    for name in _VARIABLE.findall(query):
        if name not in variables | BUILT_IN:
            yield f"there is no variable ${name}: {query}"


def _counters(node: Node, known: Known) -> Iterator[str]:
    """A counter is read as a rate, or compared with what it was; and nothing else is."""

    def look(at: Node, inside: str) -> Iterator[str]:
        if isinstance(at, Selector) and at.name in known:
            counts = known[at.name].kind in {"counter", "bucket"}
            if counts and inside not in RATES | {"max_over_time"} and not at.offset:
                yield f"`{at.name}` counts up for ever: use rate or increase"
            if not counts and inside in RATES and known[at.name].kind != "untyped":
                yield f"{inside} of `{at.name}`, which is a {known[at.name].kind}"
            if known[at.name].kind == "counter" and not at.name.endswith(("_total", "_sum", "_count")):
                yield f"`{at.name}` is a counter without `_total`"
        for child in children(at):
            yield from look(child, at.function if isinstance(at, Call) else inside if isinstance(at, Selector) else "")

    yield from look(node, "")


def _quantiles(node: Node) -> Iterator[str]:
    """Buckets of several processes have to be added up before a quantile is read from them."""
    for at in walk(node):
        if isinstance(at, Call) and at.function == "histogram_quantile":
            of = at.arguments[1]
            if not (isinstance(of, Aggregation) and of.operator == "sum" and not of.without and "le" in of.grouping):
                yield "histogram_quantile of something else than sum by (le, …)"


def _bound(node: Node) -> int:
    """How many series a query can have at one moment, as far as topk says so."""
    if isinstance(node, Aggregation):
        if node.operator in {"topk", "bottomk"} and isinstance(node.arguments[0], Number):
            return int(float(node.arguments[0].text))
        if node.operator == "sum" and not node.grouping and not node.without:
            return 1
    return MAX_SERIES + 1


def _variable(variable: Mapping[str, Any], known: Known, variables: set[str]) -> Iterator[str]:
    if variable["type"] == "datasource":
        return
    yield from _datasource(variable)
    query = variable["query"]
    yield from _unset(query, variables)
    found = _VALUES.fullmatch(query)
    if found is None:
        yield f"`{query}` is not label_values(…, label)"
        return
    faults = Faults()
    try:
        labels = labels_of(parse(found["series"]), known, faults)
    except NotPromQL as error:
        yield str(error)
        return
    yield from dict.fromkeys(faults.found)
    if found["label"] not in labels - SCRAPED | SCRAPED:
        yield f"`{query}`: there is no label {found['label']}"


def _note(note: Mapping[str, Any], known: Known, variables: set[str]) -> Iterator[str]:
    """An annotation compares a counter with what it was, so it may name one as it is."""
    yield from _datasource(note)
    yield from _unset(note["expr"], variables)
    faults = Faults()
    try:
        labels = labels_of(parse(note["expr"]), known, faults)
    except NotPromQL as error:
        yield str(error)
        return
    yield from dict.fromkeys(faults.found)
    missing = set(_LEGEND.findall(note["titleFormat"])) - labels
    if missing:
        yield f"its title shows {', '.join(sorted(missing))}, which the result has not"
