"""`rolehost trace`: files of a Collector and of Jaeger as flame graphs."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rolehost.cli import main
from rolehost.cli.flames import Flame, as_svg, as_text, longest, ordered
from rolehost.cli.trace import read

MS = 1_000_000


def span(number: int, parent: int, name: str, start: int, end: int, *, failed: str = "", **tags: str) -> dict[str, Any]:
    """As a Collector's file exporter writes it; times in milliseconds."""
    return {
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "", "name": name, "kind": 1,
        "startTimeUnixNano": str(start * MS), "endTimeUnixNano": str(end * MS),
        "attributes": [
            *({"key": key.replace("_", "."), "value": {"stringValue": value}} for key, value in tags.items()),
            {"key": "rolehost.turn", "value": {"intValue": "3"}},
        ],
        "status": {"code": 2, "message": failed} if failed else {},
    }  # fmt: skip


TURN = [
    span(1, 0, "turn", 1000, 3110),
    span(2, 1, "route", 1001, 1004),
    span(3, 1, "model.call", 1010, 3100, failed="model_timeout", rolehost_backend="laggard"),
    span(4, 1, "commit", 3102, 3109),
]


def otlp(*lines: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": one}]}]}) for one in lines)


def jaeger(spans: list[dict[str, Any]]) -> str:
    told = [
        {
            "traceID": one["traceId"], "spanID": one["spanId"], "operationName": one["name"],
            "startTime": int(one["startTimeUnixNano"]) // 1000,
            "duration": (int(one["endTimeUnixNano"]) - int(one["startTimeUnixNano"])) // 1000,
            "references": [{"refType": "CHILD_OF", "spanID": one["parentSpanId"]}] if one["parentSpanId"] else [],
            "tags": [
                *({"key": pair["key"], "value": next(iter(pair["value"].values()))} for pair in one["attributes"]),
                *([{"key": "error", "value": True}, {"key": "error.type", "value": one["status"]["message"]}] if one["status"] else []),
            ],
        }
        for one in spans
    ]  # fmt: skip
    return json.dumps({"data": [{"traceID": "4bf92f3577b34da6a3ce929d0e0e4736", "spans": told}]})


def test_the_same_trace_is_read_from_a_collector_and_from_jaeger() -> None:
    (of_otlp,), (of_jaeger,) = read(otlp(TURN)).values(), read(jaeger(TURN)).values()
    assert of_otlp == of_jaeger
    assert of_otlp[2] == Flame(
        "0000000000000003", "0000000000000001", "model.call", 1010 * MS, 3100 * MS, "laggard", "model_timeout"
    )


def test_a_flame_graph_names_the_call_that_took_the_time(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    file.write_text(otlp(TURN))
    shown = CliRunner().invoke(main, ["trace", str(file)], env={"COLUMNS": "100"})
    lines = shown.output.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["turn", "route", "model.call", "commit"]
    assert lines[2].endswith("2090.0 ms  ! model_timeout")
    assert lines[4] == "model.call laggard itself took longest: 99 %"


def test_a_picture_shows_every_span(tmp_path: Path) -> None:
    file, picture = tmp_path / "trace.json", tmp_path / "trace.svg"
    file.write_text(jaeger(TURN))
    assert CliRunner().invoke(main, ["trace", str(file), "--svg", str(picture)]).exit_code == 0
    titles = [one.text for one in ElementTree.fromstring(picture.read_text()).iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["turn 2110.0 ms", "route 3.0 ms", "model.call laggard 2090.0 ms model_timeout", "commit 7.0 ms"]


def test_whatever_is_no_trace_is_said(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    for text, why in (
        ("hello", "neither OTLP"),
        ("[1]", "neither OTLP"),
        ("{}", "there is no trace"),
        ('{"data": [{}]}', "neither"),
    ):
        file.write_text(text)
        shown = CliRunner().invoke(main, ["trace", str(file)])
        assert (shown.exit_code, why in shown.output) == (1, True)
    file.write_text(otlp(TURN))
    assert "no such trace" in CliRunner().invoke(main, ["trace", str(file), "--id", "ab"]).output


def test_text_of_others_drives_no_terminal_and_no_picture() -> None:
    hostile = [Flame("a", "", "turn\x1b[2J", 0, 9, "<script>", "<b>\x07")]
    assert "\x1b" not in as_text(hostile)
    assert "\x07" not in as_text(hostile)
    assert "<script>" not in as_svg(hostile, "<i>")
    ElementTree.fromstring(as_svg(hostile, "<i>"))


IDS = st.sampled_from("abcdef")


@given(
    st.lists(
        st.builds(Flame, IDS, IDS | st.just(""), st.text(max_size=9), st.integers(0, 99), st.integers(0, 99)),
        max_size=8,
    )
)
def test_any_spans_can_be_drawn(spans: list[Flame]) -> None:
    """Orphans, circles, spans that end before they begin."""
    assert len(ordered(spans)) <= len(spans)
    as_text(spans)
    as_svg(spans)
    assert (longest(spans) is None) is (not spans)
