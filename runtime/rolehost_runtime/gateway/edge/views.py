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
from rolehost_runtime.gateway.keeping import SessionDetails, SessionRow
from rolehost_runtime.gateway.kept import Receipt
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables


class RoleView(Struct, frozen=True, kw_only=True):
    name: str
    display_name: str
    revision: str
    """name@r<sequence> that takes new sessions; empty while there is none."""
    ready: bool


class RolesAnswer(Struct, frozen=True):
    roles: list[RoleView]


class SessionsAnswer(Struct, frozen=True):
    """Sessions that had a turn, those that began last first."""

    sessions: list[SessionRow]
    after: str
    """Ask for the next page with it; empty: there is none."""


class ForkAnswer(Struct, frozen=True):
    session_id: str
    """Of the new session."""
    forked_from: wire.ForkedFrom


class EndAnswer(Struct, frozen=True):
    session_id: str
    """Of the session that has one turn more, within seconds."""


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
    """Of this session. Where no end user is named, its member `@user` is the Role's user-scope state."""
    is_urgent: bool = False
    user_state: dict[str, Any] | None = None
    """User-scope state, shared by all of the user's sessions with the Role; null where no end user is named."""
    user_version: int | None = None
    nodes: dict[str, str] = {}
    """The current node of each subgraph of the Role's behaviour graph, by the subgraphs' names."""


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
    RolesAnswer, RoleView, SessionsAnswer, SessionDetails, ForkAnswer, EndAnswer, Receipt, EventsAnswer, StateAnswer, PushedAnswer, FindingsAnswer, HealthAnswer, ErrorAnswer,
    wire.ResponseDone, LogLine, PlatformAnswer,
)  # fmt: skip


def stable_of(role: RoleEntry, tables: Tables) -> RevisionEntry | None:
    """The revision that takes new sessions."""
    return tables.revisions.get(role.tenant.name, role.stable) if role.stable else None


def view(role: RoleEntry, tables: Tables) -> RoleView:
    stable = stable_of(role, tables)
    return RoleView(
        name=role.name,
        display_name=role.spec.display_name or role.name,
        revision=f"{role.name}@r{stable.spec.sequence}" if stable else "",
        ready=stable is not None,
    )


def components(*more: type[Struct]) -> Mapping[str, Any]:
    """JSON Schemas of all answers and of the message frame, by name; and of `more`."""
    kinds = (*ANSWERS, wire.Said, *more)
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return schemas


def _ref(kind: type[Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def answers(
    kind: type[Struct], *, media: str = "application/json", status: int = 200, error: type[Struct] = ErrorAnswer
) -> dict[int | str, dict[str, Any]]:
    """For FastAPI's `responses=`: what comes back, and the shape of errors."""
    return {
        status: {"description": "OK", "content": {media: {"schema": _ref(kind)}}},
        "default": {"description": "An error", "content": {"application/json": {"schema": _ref(error)}}},
    }


def streams(described: dict[int | str, dict[str, Any]], *, only: bool = False) -> dict[int | str, dict[str, Any]]:
    """The same answers, or (`only`: instead of them) an event stream."""
    content = {} if only else described[200]["content"]
    stream = {"type": "string", "description": "Server-sent events; `data` is JSON"}
    return described | {200: {"description": "OK", "content": {**content, "text/event-stream": {"schema": stream}}}}


def takes(kind: type[Struct]) -> dict[str, Any]:
    """For FastAPI's `openapi_extra=`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _ref(kind)}}}}


def takes_bytes(media: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary"}
    return {"requestBody": {"required": True, "content": {media: {"schema": schema}}}}
