"""What REST answers with, and how OpenAPI describes it: the same types, written once."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from rolehost_api import wire
from rolehost_api.errors import Finding
from rolehost_api.link.messages import LogLine
from rolehost_runtime.gateway.edge.bodies import ErrorAnswer
from rolehost_runtime.gateway.edge.platform import PlatformAnswer
from rolehost_runtime.gateway.tables import RoleEntry, Tables


class RoleView(Struct, frozen=True, kw_only=True):
    name: str
    display_name: str
    revision: str
    """name@r<sequence> that takes new sessions; empty while there is none."""
    ready: bool


class RolesAnswer(Struct, frozen=True):
    roles: list[RoleView]


class SessionsAnswer(Struct, frozen=True):
    """Sessions that are open on this gateway, newest first."""

    sessions: list[str]


class EventsAnswer(Struct, frozen=True):
    session_id: str
    events: list[wire.ServerFrame]
    last_seq: int
    """Ask for what comes after this one next."""
    more: bool
    """There is more already: the answer was full."""
    gap: bool = False
    """A part of the history is lost: the log is shorter than `after_seq`, and these are its events from the begin."""


class StateAnswer(Struct, frozen=True):
    session_id: str
    version: int
    seq: int
    """The log's last event at that version: whoever goes on after it misses no change."""
    state: dict[str, Any]
    is_urgent: bool = False


class PushedAnswer(Struct, frozen=True):
    digest: str
    files: int
    bytes: int


class FindingsAnswer(Struct, frozen=True):
    findings: list[Finding]


class HealthAnswer(Struct, frozen=True, omit_defaults=True):
    ok: bool
    waiting_for: list[str] = []
    stale: bool = False
    """The apiserver is away, and the last good tables serve meanwhile."""


ANSWERS = (
    RolesAnswer, RoleView, SessionsAnswer, EventsAnswer, StateAnswer, PushedAnswer, FindingsAnswer, HealthAnswer, ErrorAnswer,
    wire.ResponseDone, LogLine, PlatformAnswer,
)  # fmt: skip


def view(role: RoleEntry, tables: Tables) -> RoleView:
    stable = tables.revisions.get(role.tenant.name, role.stable) if role.stable else None
    return RoleView(
        name=role.name,
        display_name=role.spec.display_name or role.name,
        revision=f"{role.name}@r{stable.spec.sequence}" if stable else "",
        ready=stable is not None,
    )


def components() -> Mapping[str, Any]:
    """JSON Schemas of all answers and of the message frame, by name."""
    _, schemas = msgspec.json.schema_components((*ANSWERS, wire.Said), ref_template="#/components/schemas/{name}")
    return schemas


def _ref(kind: type[Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


_AN_ERROR = {"description": "An error", "content": {"application/json": {"schema": _ref(ErrorAnswer)}}}


def answers(
    kind: type[Struct], *, media: str = "application/json", status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """For FastAPI's `responses=`: what comes back, and the one shape of all errors."""
    return {
        status: {"description": "OK", "content": {media: {"schema": _ref(kind)}}},
        "default": _AN_ERROR,
    }


def streams(described: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """The same answers, or an event stream: each event's `data` is a frame as a socket of role.v1 is sent it."""
    found = described or {200: {"description": "OK", "content": {}}, "default": _AN_ERROR}
    frame = {
        "type": "string",
        "description": "Server-sent events; `data` is one of the frames of docs/reference/asyncapi.yaml",
    }
    found[200]["content"]["text/event-stream"] = {"schema": frame}
    return found


def takes(kind: type[Struct]) -> dict[str, Any]:
    """For FastAPI's `openapi_extra=`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _ref(kind)}}}}


def takes_bytes(media: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"}
    return {"requestBody": {"required": True, "content": {media: {"schema": schema}}}}
