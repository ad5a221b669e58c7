"""A board is drawn without a Grafana: in its grid, with its data, and saying who drew it."""

import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rolehost_dashboards.boards import boards
from rolehost_dashboards.boards.board import document
from rolehost_dashboards.lint.rules import panels
from rolehost_dashboards.picture.asking import NotAnswered, Prometheus, asked
from rolehost_dashboards.picture.data import Series, Span, filled, onsets, read, stacked
from rolehost_dashboards.picture.drawing import KINDS, SIGNATURE, WIDTH, picture
from rolehost_dashboards.picture.frame import boxed
from rolehost_dashboards.picture.panel import Drawn
from rolehost_dashboards.picture.plates import rows
from rolehost_dashboards.picture.scale import Scale, moments, shown, ticks
from rolehost_dashboards.picture.svg import COLORS, FAINT

SPAN = Span(1_700_000_000, 1_700_003_600, 30)
BOARDS = [document(board) for board in boards()]


class Wavy(Prometheus):
    """Answers every query with two series, of which one has a gap."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def _ask(self, what: str, asked: Any) -> Any:
        self.asked.append(asked["query"])
        times = [SPAN.begin + 30 * at for at in range(121)]
        values: list[tuple[float, str]] = [(at, str(2 + math.sin(at / 300))) for at in times]
        some = values if what == "query_range" else values[-1:]
        gap = [value for value in values if not 40 < (value[0] - SPAN.begin) / 30 < 80]
        series = [
            {"metric": {"role": "cat", "outcome": "completed", "le": "0.5"}, "values": some},
            {"metric": {"role": "<dog & co>", "outcome": "failed", "le": "+Inf"}, "values": gap},
        ]
        return {"resultType": "matrix", "result": series}


class Silent(Prometheus):
    def __init__(self) -> None:
        pass

    def _ask(self, what: str, asked: Any) -> Any:
        return {"resultType": "matrix", "result": []}


def variables(board: Any) -> dict[str, str]:
    return {one["name"]: "x" for one in board["templating"]["list"]}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
@pytest.mark.parametrize("source", [Wavy(), Silent()], ids=["data", "no-data"])
def test_every_board_is_drawn_whole(board: Any, source: Prometheus) -> None:
    drawn = asked(board, source, SPAN, variables(board), 15)
    svg = picture(board, drawn, SPAN, "tenant=x")
    root = ElementTree.fromstring(svg)
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.endswith(SIGNATURE) for text in texts)
    assert len(drawn) == len(panels(board))
    for panel in panels(board):
        assert any(panel["title"][:8] in text for text in texts), panel["title"]
    assert "nan" not in svg.lower().replace("tenan", "")
    assert len(svg) < 1_000_000


def test_every_kind_of_panel_that_boards_use_can_be_drawn() -> None:
    assert {panel["type"] for board in BOARDS for panel in panels(board)} <= KINDS.keys()


def test_queries_reach_prometheus_without_grafanas_variables() -> None:
    source = Wavy()
    board = BOARDS[2]
    asked(board, source, SPAN, {**variables(board), "tenant": "acme", "revision": ".*"}, 15)
    assert not [query for query in source.asked if "$" in query]
    assert any('tenant="acme"' in query and 'revision=~".*"' in query and "[60s]" in query for query in source.asked)


def test_an_unknown_variable_is_an_error() -> None:
    with pytest.raises(KeyError):
        filled("x{a='$b'}", {}, SPAN, 15)


def test_a_prometheus_has_an_address() -> None:
    with pytest.raises(NotAnswered):
        Prometheus("file:///etc/passwd")


@settings(max_examples=50)
@given(low=st.integers(-1000, 1000), size=st.floats(1e-3, 1e9), most=st.integers(2, 10))
def test_ticks_cover_what_is_drawn_and_are_few(low: int, size: float, most: int) -> None:
    high = low + size
    marks = ticks(low, high, most)
    assert marks[0] <= low + 1e-6 * size
    assert marks[-1] >= high - 1e-6 * size
    assert 2 <= len(marks) <= most + 3
    assert marks == sorted(set(marks))


@settings(max_examples=50)
@given(begin=st.integers(0, 2_000_000_000), seconds=st.integers(60, 30 * 86_400), most=st.integers(2, 12))
def test_moments_are_inside_and_few(begin: int, seconds: int, most: int) -> None:
    found = moments(begin, begin + seconds, most)
    assert all(begin <= at <= begin + seconds for at in found)
    if seconds <= most * 86_400:
        assert len(found) <= most + 1


@settings(max_examples=100)
@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["s", "bytes", "percentunit", "reqps", "short"]))
def test_any_value_has_words(value: float, unit: str) -> None:
    told = shown(value, unit)
    assert told.strip() == told != ""


def test_a_scale_without_extent_stays_where_it_begins() -> None:
    assert Scale(1, 1, 10, 20)(1) == 10


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(0, 1e6), min_size=5, max_size=5), min_size=1, max_size=6))
def test_what_is_stacked_adds_up(values: list[list[float]]) -> None:
    series = [Series({}, list(enumerate(one))) for one in values]
    tops = stacked(series, 2)[-1][1][0]
    for at, _, top in tops:
        assert top == pytest.approx(sum(one[int(at)] for one in values))


def test_boxes_of_a_row_do_not_touch() -> None:
    left, right = (boxed({"x": x, "y": 0, "w": 12, "h": 8}, WIDTH, 0) for x in (0, 12))
    assert left.right < right.x
    assert right.right < WIDTH


def test_marks_are_where_something_began() -> None:
    series = [Series({"action": "Stepped"}, [(10, 1.0), (40, 1.0), (100, 1.0)])]
    assert [at for at, _ in onsets(series, 60)] == [10]
    assert [at for at, _ in onsets(series, 40)] == [10, 100]


def test_a_mark_is_drawn_on_panels_over_time() -> None:
    panel = next(one for one in panels(BOARDS[2]) if one["type"] == "timeseries")
    series = [Series({}, [(SPAN.begin + at, 1.0) for at in range(0, 3600, 30)], "a")]
    board = {"title": "b", "panels": [panel]}
    with_mark, without = (
        picture(board, [Drawn(panel, series, SPAN, marks)], SPAN, "") for marks in ([SPAN.begin + 1800], [])
    )
    assert len(re.findall("stroke-dasharray", with_mark)) == len(re.findall("stroke-dasharray", without)) + 1


def test_a_state_is_drawn_in_its_word_and_colour_for_as_long_as_it_was() -> None:
    panel = next(one for board in BOARDS for one in panels(board) if one["type"] == "state-timeline")
    values = [0.0] * 60 + [2.0] * 40 + [7.0] * 20
    series = [Series({}, [(SPAN.begin + 30 * at, value) for at, value in enumerate(values)], "verdict")]
    svg = picture({"title": "b", "panels": [panel]}, [Drawn(panel, series, SPAN)], SPAN, "")
    pieces = re.findall(r'<rect x="[\d.]+" y="[\d.]+" width="([\d.]+)" height="[\d.]+" fill="(#\w+)" rx="2"/>', svg)
    widths = {color: float(width) for width, color in pieces}
    assert widths[COLORS["yellow"]] > widths[COLORS["red"]] > widths[FAINT] > 0
    assert [word for word in ("Unknown", "Healthy", "Unhealthy", "7") if f">{word}</text>" in svg] == [
        "Unknown", "Unhealthy", "7",
    ]  # fmt: skip


def test_answers_are_read_by_their_kind() -> None:
    assert read({"resultType": "scalar", "result": [1, "2.5"]}, "one") == [Series({}, [(1.0, 2.5)], "one")]
    vector = {"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1, "NaN"]}]}
    [one] = read(vector, "{{a}}")
    assert (one.name, one.is_empty) == ("b", True)


def test_rows_of_a_table_are_joined_by_their_labels() -> None:
    turns, failed = (
        [Series({"role": "a"}, [(0, 2.0)]), Series({"role": "b"}, [(0, 3.0)])],
        [Series({"role": "b"}, [(0, 1.0)])],
    )
    found = dict(rows([turns, failed]))
    assert found["b"] == [3.0, 1.0]
    assert found["a"][0] == 2.0
    assert math.isnan(found["a"][1])
