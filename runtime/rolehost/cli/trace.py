"""`rolehost trace`: a turn's trace as a flame graph, out of a file that a Collector or Jaeger wrote."""

import json
import shutil
from pathlib import Path
from typing import Any

import click

from rolehost.cli.flames import Flame, as_svg, as_text

WHAT = ("rolehost.backend", "gen_ai.tool.name", "server.address")
"""Attributes of which the first that is there says who was asked."""
MAX_BYTES = 64 << 20


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--id", "trace_id", default="", help="Of the trace, as response.done says it; else the file's last one.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture instead.")
def trace(file: Path, trace_id: str, svg: Path | None) -> None:
    """Show a trace of FILE as a flame graph.

    FILE is OTLP as JSON, as a Collector's file exporter writes it, or Jaeger's answer to /api/traces/ID.
    """
    if file.stat().st_size > MAX_BYTES:
        raise click.ClickException(f"{file} is over {MAX_BYTES >> 20} MiB; take out the trace that you mean")
    try:
        found = read(file.read_text("utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise click.ClickException(f"{file} is neither OTLP as JSON nor an answer of Jaeger's") from None
    if not found or (trace_id and trace_id not in found):
        raise click.ClickException("there is no such trace in it" if trace_id else f"there is no trace in {file}")
    shown = trace_id or list(found)[-1]
    if svg is None:
        click.echo(as_text(found[shown], shutil.get_terminal_size((100, 24)).columns))
    else:
        svg.write_text(as_svg(found[shown], shown), "utf-8")


def read(text: str) -> dict[str, list[Flame]]:
    """The spans of each trace, in the order in which the traces began to be written.

    Raises ValueError, KeyError, TypeError or AttributeError for anything else.
    """
    found: dict[str, list[Flame]] = {}
    for told in _documents(text):
        for one in told.get("data", ()):
            for span in one["spans"]:
                found.setdefault(span["traceID"], []).append(_of_jaeger(span))
        for resource in told.get("resourceSpans", ()):
            for scope in resource.get("scopeSpans", ()):
                for span in scope.get("spans", ()):
                    found.setdefault(span["traceId"], []).append(_of_otlp(span))
    return found


def _documents(text: str) -> list[dict[str, Any]]:
    """One object, or one on each line."""
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _of_otlp(span: dict[str, Any]) -> Flame:
    attributes = {one["key"]: str(one["value"].get("stringValue", "")) for one in span.get("attributes", ())}
    status = span.get("status", {})
    failed = str(status.get("message", "") or "failed") if status.get("code") in (2, "STATUS_CODE_ERROR") else ""
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    return Flame(span["spanId"], span.get("parentSpanId", ""), span["name"], start, end, _what(attributes), failed)


def _of_jaeger(span: dict[str, Any]) -> Flame:
    tags = {one["key"]: str(one["value"]) for one in span.get("tags", ())}
    parent = next((one["spanID"] for one in span.get("references", ()) if one["refType"] == "CHILD_OF"), "")
    start = 1000 * int(span["startTime"])
    failed = tags.get("error.type", "failed") if tags.get("error", "").lower() == "true" else ""
    end = start + 1000 * int(span["duration"])
    return Flame(span["spanID"], parent, span["operationName"], start, end, _what(tags), failed)


def _what(attributes: dict[str, str]) -> str:
    return next((attributes[name] for name in WHAT if attributes.get(name)), "")
