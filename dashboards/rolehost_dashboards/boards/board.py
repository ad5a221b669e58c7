"""A board as Grafana reads it, from sections of panels. The same sections give the same text, byte by byte."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from rolehost_dashboards.boards.layout import ROW_HEIGHT, Size, placed
from rolehost_dashboards.panels import METRICS, Panel

TAG = "rolehost"


@dataclass(frozen=True, slots=True)
class Variable:
    """Of the board: the values of a label of a series, one of them, or all where `many`."""

    name: str
    label: str
    query: str
    many: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Marks in time: wherever the query has a value."""

    name: str
    expr: str
    title: str
    """With `{{label}}`."""
    color: str
    step: str = "15s"


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Board:
    name: str
    """Of the file, and the end of the uid."""
    title: str
    description: str
    variables: Sequence[Variable]
    sections: Sequence[Section]
    notes: Sequence[Note] = ()
    links: Sequence[tuple[str, str]] = ()
    """Names and titles of other boards."""

    @property
    def uid(self) -> str:
        return uid_of(self.name)


def uid_of(name: str) -> str:
    return f"rolehost-{name}"


def document(board: Board) -> dict[str, Any]:
    """Grafana's JSON model."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("utc")
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("metrics").label("Metrics").type("prometheus"))
        .with_variable(dashboard.DatasourceVariable("traces").label("Traces").type("jaeger"))
    )
    for variable in board.variables:
        made.with_variable(_variable(variable))
    for note in board.notes:
        made.annotation(
            dashboard.AnnotationQuery()
            .name(note.name)
            .datasource(METRICS)
            .enable(True)
            .icon_color(note.color)
            .expr(note.expr)
        )
    for name, title in board.links:
        made.link(
            dashboard.DashboardLink(title)
            .type(models.DashboardLinkType.LINK)
            .url(f"/d/{uid_of(name)}")
            .include_vars(True)
            .keep_time(True)
        )
    document: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    document["panels"] = list(_numbered(board.sections))
    for told, note in zip(document["annotations"]["list"] if board.notes else (), board.notes, strict=True):
        told.update(titleFormat=note.title, step=note.step)  # the SDK's type has no room for them
    return document


def text(board: Board) -> str:
    return json.dumps(document(board), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _variable(variable: Variable) -> dashboard.QueryVariable:
    made = (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(METRICS)
        .query(variable.query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if variable.many:
        everything = models.VariableOption(selected=True, text="All", value="$__all")
        made.multi(True).include_all(True).all_value(".*").current(everything)
    return made


def _numbered(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """Rows and panels with their places, ids from 1 on, and queries A, B, C …"""
    found: list[dict[str, Any]] = []
    top = 0
    for section in sections:
        found.append(_row(section.title, top))
        panels = [json.loads(json.dumps(panel.build(), cls=JSONEncoder)) for panel in section.panels]
        sizes = [Size(panel["gridPos"]["w"], panel["gridPos"]["h"]) for panel in panels]
        places, top = placed(sizes, top + ROW_HEIGHT)
        for panel, place in zip(panels, places, strict=True):
            panel["gridPos"] = {"h": place.h, "w": place.w, "x": place.x, "y": place.y}
            panel["options"] = panel["options"] or {}
            for at, target in enumerate(panel["targets"]):
                target["refId"] = chr(ord("A") + at)
            found.append(panel)
    for number, panel in enumerate(found, 1):
        panel["id"] = number
    return found


def _row(title: str, top: int) -> dict[str, Any]:
    place = {"h": ROW_HEIGHT, "w": 24, "x": 0, "y": top}
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place}
