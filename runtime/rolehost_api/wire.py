"""What clients say and hear: one dialect of JSON over WebSocket, REST and event streams, or the same in msgpack.

Client frames: one without `type` *is* a message; unknown fields are ignored; an unknown
type is the error `unknown_type`, never a close. Server frames share the envelope `type,
session_id, seq, ts`. `seq` counts events of the session's log; whatever is not (yet) in
the log carries null. Rendered from here: JSON Schema and AsyncAPI (docs/reference).
"""

from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from rolehost_api.errors import BadRequest, RolehostError
from rolehost_api.link.messages import PatchOp

SUBPROTOCOL = "role.v1"
BEARER = "bearer."
"""Prefix of the subprotocol by which a browser hands over its token; never echoed."""
MAX_FRAME_BYTES = 65_536
MAX_MESSAGE_CHARS = 32_768
HEARTBEAT_MS, URGENT_HEARTBEAT_MS = 5_000, 500
"""Between two signs of life of a channel of role.v1: as a rule, and while its session is urgent."""
MIN_HEARTBEAT_MS, MAX_HEARTBEAT_MS = 500, 10_000
"""Within which a client may choose. Three missed are death, noticed at the next: 40 seconds at most."""
MAX_HEARD = 2**31 - 1
"""Characters, or milliseconds: 24 days of them."""

# ── from the client ─────────────────────────────────────────────────────────────────


class HeardPart(Struct, frozen=True, kw_only=True):
    """How much of a reply reached the user: what was shown or spoken, not what was sent."""

    chars: Annotated[int, Meta(ge=0, le=MAX_HEARD)]
    """Code points, from the reply's first one."""
    audio_ms: Annotated[int, Meta(ge=0, le=MAX_HEARD)] | None = None
    """Milliseconds of the reply that were played, where it was spoken."""


BusyPolicy = Literal["queue", "reject", "interrupt", "steer"]
"""What becomes of a message while another one is answered. `queue`: it waits in line, of eight at most. `reject`: error
`busy`, and nothing of it is kept. `interrupt`: the running answer is cancelled, and this message is answered next.
`steer`: it joins the running answer, which goes on with it known; where none is being given, it waits in line."""


class _Message(Struct, frozen=True, kw_only=True):
    message: Annotated[str, Meta(max_length=MAX_MESSAGE_CHARS)]
    session_id: str | None = None
    client_msg_id: Annotated[str, Meta(max_length=128)] | None = None
    deadline_ms: Annotated[int, Meta(ge=1, le=600_000)] | None = None
    user: Annotated[str, Meta(max_length=128)] | None = None
    """The end user, for a key with scope act-as-user: the session is theirs. Of no effect with a token of their own."""
    revision: Annotated[str, Meta(max_length=128)] | None = None
    busy_policy: BusyPolicy | None = None
    """None: `queue`."""
    heard: HeardPart | None = None
    """With `interrupt`: of the reply that it interrupts."""
    greeting: Annotated[int, Meta(ge=0, le=16)] | None = None
    """In a session's first message: the greeting that its user was shown, as session.created tells them. None: 0."""


class Said(_Message, tag_field="type", tag="message", frozen=True, kw_only=True):
    """What the user says; the one frame whose `type` may be left out."""


class Resume(Struct, tag_field="type", tag="session.resume", frozen=True, kw_only=True):
    session_id: str
    after_seq: Annotated[int, Meta(ge=0)] = 0
    user: Annotated[str, Meta(max_length=128)] | None = None


class Switch(Struct, tag_field="type", tag="session.switch", frozen=True, kw_only=True):
    """Frames that follow go to another Role; each has its own session, under the same session_id."""

    role: Annotated[str, Meta(max_length=512)]
    session_id: str | None = None
    user: Annotated[str, Meta(max_length=128)] | None = None


class Cancel(Struct, tag_field="type", tag="response.cancel", frozen=True, kw_only=True):
    """The user wants no more of this response, or heard only so much of it."""

    session_id: str | None = None
    response_id: Annotated[str, Meta(max_length=128)]
    heard: HeardPart | None = None
    """None: all that was sent."""
    user: Annotated[str, Meta(max_length=128)] | None = None


class Ping(Struct, tag_field="type", tag="ping", frozen=True, kw_only=True):
    t: int = 0


class Wishes(Struct, frozen=True, kw_only=True):
    """How a client wants its channel to be. What is not known here is ignored."""

    heartbeat_ms: Annotated[int, Meta(ge=1)] | None = None
    """Time between two signs of life, in milliseconds; taken within MIN_HEARTBEAT_MS and MAX_HEARTBEAT_MS."""


class Update(Struct, tag_field="type", tag="session.update", frozen=True, kw_only=True):
    """Answered by session.updated, which says what was taken of it. It holds for this channel, until it closes."""

    session: Wishes
    session_id: str | None = None
    user: Annotated[str, Meta(max_length=128)] | None = None


ClientFrame = Said | Resume | Cancel | Switch | Ping | Update
TYPES = ("message", "session.resume", "response.cancel", "session.switch", "ping", "session.update")


class _Typed(Struct):
    type: str | None = None


class _Reader:
    """Frames out of one format. Only what the types name is built, whatever else the bytes hold."""

    def __init__(self, decoder: Any, name: str, malformed: str) -> None:
        self._typed, self._bare, self._frame = decoder(_Typed), decoder(_Message), decoder(ClientFrame)
        self._name, self._malformed = name, malformed

    def read(self, data: bytes | str) -> ClientFrame:
        try:
            kind = self._typed.decode(data).type
        except msgspec.ValidationError:
            raise BadRequest('a frame is an object, e.g. {"message": "hello"}', code="invalid_frame") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest(
                f"the frame is not valid {self._name}", hint='Send e.g. {"message": "hello"}', code=self._malformed
            ) from None
        self._check(kind)
        try:
            if kind is None:
                return Said(**msgspec.structs.asdict(self._bare.decode(data)))
            return cast("ClientFrame", self._frame.decode(data))
        except msgspec.ValidationError as error:
            # msgspec's message names the field and the types, never the value.
            raise BadRequest(f"the frame is not valid: {error}", code="invalid_frame") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest(f"the frame is not valid {self._name} in UTF-8", code=self._malformed) from None

    @staticmethod
    def _check(kind: str | None) -> None:
        if kind is not None and kind not in TYPES:
            raise BadRequest(
                "the frame's type is not known here", hint=f"Known are {', '.join(TYPES)}", code="unknown_type"
            )


_json = _Reader(msgspec.json.Decoder, "JSON", "malformed_json")
_packed = _Reader(msgspec.msgpack.Decoder, "msgpack", "malformed_msgpack")


def read_frame(data: bytes | str) -> ClientFrame:
    """A client's frame in JSON. Raises BadRequest `malformed_json`, `unknown_type` or `invalid_frame`."""
    return _json.read(data)


def read_packed(data: bytes) -> ClientFrame:
    """The same in msgpack. Raises BadRequest `malformed_msgpack`, `unknown_type` or `invalid_frame`."""
    return _packed.read(data)


# ── to the client ───────────────────────────────────────────────────────────────────


class Of(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose session an event is of."""

    role: str
    """The Role's name."""
    user: str = ""
    """The end user; left out where the tenant itself speaks."""


class Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    """The envelope. `ts` is milliseconds since 1970, UTC."""

    session_id: str | None
    seq: int | None
    ts: int
    of: Of | UnsetType = UNSET
    """Left out for sessions of the Role and user that the socket was opened with. Another Role's session (after
    session.switch), or another user's, may go by the same session_id: it is told apart by this, and has its own seq."""


StateScope = Literal["session", "user"]
"""Whose a state is: this session's, or the person's, over all their sessions with the Role."""


class ForkedFrom(Struct, frozen=True):
    """The session whose first events are this one's first events too."""

    session_id: str
    at_seq: int
    """The last of them."""


class SessionCreated(Event, frozen=True, kw_only=True, tag="session.created"):
    role: str
    """name@r<sequence> of the revision that this session is pinned to."""
    head: int
    version: int
    durability: str
    heartbeat_ms: int
    resume_ttl_s: int
    display_name: str
    features: tuple[str, ...] = ()
    greeting: str = ""
    """The persona's first words, in a session without turns only. Not in the log: nobody waited for it."""
    memory: StateScope = "session"
    """Whose memory the Role's logic has: the person's, over all their sessions with it, or (no end user is named) this
    session's only."""
    user_state: StateScope = "session"
    """Where user-scope state is kept: shared by the person's sessions, or (no end user is named) in this session only."""
    forked_from: ForkedFrom | None = None
    greetings: tuple[str, ...] = ()
    """Others that may be shown in place of `greeting`, in a session without turns only. The first message says which one
    was, with its own `greeting`: 1 is the first of these."""


Cause = Literal["message", "timer", "end"]
"""Why there is a response: somebody said something, a timer of the Role's was due, or the conversation was ended."""


class ResponseCreated(Event, frozen=True, kw_only=True, tag="response.created"):
    response_id: str
    client_msg_id: str | None = None
    behavior: str | None = None
    """The node of the Role's behaviour graph in which the message found the session: of the first subgraph, where there
    are several. Null in a session's first turn, and where the Role has no graph. What the message made of it is told by
    role.behavior.transition."""
    cause: Cause = "message"
    timer: str | None = None
    """The Role's hook that speaks, as `event:function`, where nobody said anything."""


class TextDelta(Event, frozen=True, kw_only=True, tag="response.output_text.delta"):
    response_id: str
    offset: int
    """Code points of this response that were sent before."""
    delta: str


class TakenEdge(Struct, frozen=True, kw_only=True):
    """Why it went this way and not another."""

    weight: float
    """Of the edge. 0: there was none, the revision's graph lacks the node that the session was in."""
    of: float
    """Of all edges that could be taken, together: it was this one with probability weight / of."""
    why: str
    """The predicate that held: its expression, or its function's name. Empty: there is none. `node_gone`: see weight."""


class BehaviorTransition(Event, frozen=True, kw_only=True, tag="role.behavior.transition"):
    """The session went from one node of the Role's behaviour graph to another, with this turn."""

    from_: str = msgspec.field(name="from")
    to: str
    edge: TakenEdge
    subgraph: str
    """`main` where there is only one."""
    response_id: str
    replay: bool = False


class StateDelta(Event, frozen=True, kw_only=True, tag="role.state.delta"):
    version: int
    """Of the state of that scope. A version that does not follow the one that is known skips others' changes."""
    is_urgent: bool
    patch: tuple[PatchOp, ...]
    """One operation `replace` with an empty path tells the whole state. None at all: only what the platform keeps beside
    it has changed, and the version."""
    scope: StateScope = "session"
    """`user`: shared by all sessions of this person with the Role, so its versions also grow by the others. With `seq`
    null it tells what they changed."""


class MemoryAtom(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is remembered."""

    id: str
    """As DELETE /v1/roles/{name}/memories/{id} takes it."""
    kind: Literal["long", "rel"]
    text: str
    """A relation is its subject, predicate and object, with arrows between them."""
    source_turn: int
    asserted: bool = False
    """The user said so. It is not taken for true before the Role's logic confirms it."""


class MemoryCommitted(Event, frozen=True, kw_only=True, tag="role.memory.committed"):
    """What the turn did to memory: durable together with it, and as it was then."""

    atoms: tuple[MemoryAtom, ...] = ()
    forgotten: tuple[str, ...] = ()
    """Ids of what is not remembered any more."""
    confirmed: tuple[str, ...] = ()
    """Ids of what users had asserted, and is taken for true from now on."""
    replay: bool = False


class CustomEvent(Event, frozen=True, kw_only=True, tag="custom"):
    """What the Role's logic has to say to its own clients; the platform reads nothing into it."""

    name: str
    """`custom.` and the Role's own words."""
    data: dict[str, Any]
    response_id: str
    replay: bool = False


FinishReason = Literal["stop", "length", "content_filter"]


class Usage(Struct, frozen=True, kw_only=True):
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    estimated: bool = False


class Metrics(Struct, frozen=True, kw_only=True):
    """The receipt of one turn, in milliseconds."""

    queue_ms: float = 0
    """From the message being accepted until its turn in line came."""
    route_ms: float = 0
    """Until a pod took the turn; of all pods that it ran on."""
    hooks_ms: float = 0
    """Waiting for the logic, what its other workers do before it included."""
    recall_ms: float = 0
    """In memory, for all that was recalled."""
    ttft_ms: float | None = None
    """From the message being accepted to the first text of the reply. Null where it has none."""
    commit_ms: float = 0
    """Until it was durable. 0 on replay."""
    total_ms: float = 0
    """From the message being accepted to this receipt; on replay, until its commit began."""
    model_ms: float = 0
    """Waiting for models, for all that was asked of them: their lines, retries and fallbacks included."""


class DegradedHook(Struct, frozen=True, kw_only=True):
    hook: str
    code: str
    where: str = ""


class UsedTool(Struct, frozen=True, kw_only=True):
    """A tool that the model called for a response."""

    name: str
    """`other` where nobody declares one of that name."""
    outcome: str
    """`ok`, or why it came to nothing."""


class ToldLore(Struct, frozen=True, kw_only=True):
    """An entry of the persona's lorebook that the model was told."""

    id: str
    by: Literal["constant", "key", "entry", "kept"]
    """Why: it is constant, a key of it was in a message, or in another entry's text, or it was told before and stays."""


class ResponseDone(Event, frozen=True, kw_only=True, tag="response.done"):
    response_id: str
    status: Literal["completed", "cancelled", "failed"]
    done: Literal[True] = True
    message: str
    """The whole reply; of a cancelled one the part that was heard."""
    truncated_at: HeardPart | None = None
    """Where a cancelled reply was cut."""
    given_anew: bool = False
    """The gateway that began this response is gone, and another one gave it from its first word: `response.reset`."""
    finish_reason: FinishReason = "stop"
    """Why the model stopped: by itself, at a bound, or its filter stopped it."""
    client_msg_id: str | None = None
    revision: str = ""
    usage: Usage = Usage()
    metrics: Metrics = Metrics()
    degraded: tuple[DegradedHook, ...] | None = None
    replay: bool = False
    error: "ErrorBody | None" = None
    model: str = ""
    """`backend/model`, as the platform names them, that gave the (last part of the) reply: a fallback, where the Role's own
    could not. Empty where no model was asked."""
    user_state: StateScope | None = None
    """Where the turn's change of the Role's user-scope state is kept: with no end user named, in this session only.
    Null where it made none."""
    tools: tuple[UsedTool, ...] | None = None
    """What the model called for this response, in order, at most 64. Null where it called nothing."""
    timer: str | None = None
    """As in response.created: the hook that spoke of its own accord. `message` may be empty then: it said nothing."""
    lore: tuple[ToldLore, ...] | None = None
    """Entries of the lorebook that the model was told in this turn and not in every one; at most 64. Null for none."""
    trace_id: str = ""
    """Of the turn's trace, where the platform traces turns and tells of this one. Empty on replay."""


class ResponseAmended(Event, frozen=True, kw_only=True, tag="response.amended"):
    """Less of this response was heard than its `response.done` said; the conversation goes on from here."""

    response_id: str
    message: str
    """The part that was heard."""
    truncated_at: HeardPart
    replay: bool = False


class ResponseReset(Event, frozen=True, kw_only=True, tag="response.reset"):
    """The gateway that gave this response is gone; another one gives it anew, from its first word. Forget its text."""

    response_id: str


class ErrorBody(Struct, frozen=True, kw_only=True):
    code: str
    message: str
    hint: str = ""
    retryable: bool = False
    retry_after_ms: int | None = None


class Error(Event, frozen=True, kw_only=True, tag="error"):
    error: ErrorBody
    client_msg_id: str | None = None
    """Of the message that it is about, where it is about one."""
    response_id: str | None = None
    """Of the response that was to be cancelled."""
    role: str | UnsetType | None = UNSET
    """Of the session.switch that came to nothing, as it was asked for; left out where it is not about one."""


FORGOTTEN = "session_forgotten"
"""Code of the error that is the last of a session's events: everything of it was deleted, and the connection is closed
with GONE."""
GONE = 4404
WITHDRAWN = "revision_withdrawn"
"""Code of the error before a connection is closed with 1012 because the revision that answered was taken away: the
session goes on with another one for whoever connects again."""


class Resumed(Event, frozen=True, kw_only=True, tag="session.resumed"):
    from_seq: int
    to_seq: int
    gap: bool = False
    code: str | None = None


class Exchanged(Struct, frozen=True, kw_only=True):
    """One turn of a transcript."""

    input: str
    reply: str


class Snapshot(Event, frozen=True, kw_only=True, tag="session.snapshot"):
    """In place of events up to `at_seq`, which are not told: the log does not hold them any more, or this client fell
    too far behind. What comes next is what comes after `at_seq`."""

    at_seq: int
    version: int
    """Of `state`."""
    state: dict[str, Any]
    transcript: tuple[Exchanged, ...] = ()
    """The newest turns up to there, the oldest of them first: 64 of them and 65,536 characters at most."""
    truncated: bool = False
    """There were turns before them."""
    nodes: dict[str, str] = {}
    """The current node of each subgraph of the Role's behaviour graph, by the subgraphs' names."""


class Urgent(Event, frozen=True, kw_only=True, tag="channel.urgent"):
    """Something of this session should be noticed at once: until it is cleared, both ends give a sign of life this
    often, so that a channel that died is known to have."""

    version: int
    """The state's newest."""
    is_urgent: bool
    heartbeat_ms: int
    """Between signs of life from now on."""
    reason: Literal["state", "grpc_stalled", "grpc_lost", "quiet"]
    """`state`: the Role marked a change as urgent. `grpc_…`: see channel.degraded. `quiet`: it is over."""


class ChannelDegraded(Event, frozen=True, kw_only=True, tag="channel.degraded"):
    """Another channel of this session, by which its state was followed (gRPC's Watch), stopped or is back."""

    mode: Literal["ws+poll", "normal"]
    """`ws+poll`: until it is back, ask `poll` every `poll_ms`. `normal`: it is back, or was not for five minutes."""
    last_version: int
    """The state's newest."""
    poll: str | None = None
    """Path of the same host; 204 while nothing is newer than its `after_version`."""
    poll_ms: int | None = None


class RevisionChanged(Event, frozen=True, kw_only=True, tag="role.revision"):
    from_: str = msgspec.field(name="from")
    to: str
    reason: str
    state_reset: bool = False


class Switched(Event, frozen=True, kw_only=True, tag="session.switched"):
    """Frames go to the Role `to` from here on. A turn that runs at the other one goes on, and its events still come."""

    from_: str = msgspec.field(name="from")
    to: str


class Migrate(Event, frozen=True, kw_only=True, tag="session.migrate"):
    """The gateway is about to close this socket (1012): connect again, the session goes on where it was."""

    reconnect_after_ms: int
    reason: str


class Updated(Event, frozen=True, kw_only=True, tag="session.updated"):
    """What holds for this channel from here on."""

    heartbeat_ms: int


class Pong(Event, frozen=True, kw_only=True, tag="pong"):
    t: int
    server_t: int


ServerFrame = (
    SessionCreated
    | ResponseCreated
    | TextDelta
    | StateDelta
    | ResponseDone
    | ResponseAmended
    | ResponseReset
    | Error
    | Resumed
    | RevisionChanged
    | Switched
    | Migrate
    | Pong
    | Snapshot
    | Urgent
    | ChannelDegraded
    | Updated
    | BehaviorTransition
    | MemoryCommitted
    | CustomEvent
)
BARE = (SessionCreated, TextDelta, ResponseDone, Error)
"""Events that the bare dialect (no subprotocol) is sent."""

encode = msgspec.json.Encoder().encode
"""A frame as JSON."""
pack = msgspec.msgpack.Encoder().encode
"""The same frame in msgpack: the same fields by the same names."""


def error_body(error: RolehostError, *, retry_after_ms: int | None = None) -> ErrorBody:
    return ErrorBody(
        code=error.code,
        message=error.message,
        hint=error.hint,
        retryable=error.retryable,
        retry_after_ms=error.retry_after_ms if retry_after_ms is None else retry_after_ms,
    )


def failed(
    error: RolehostError,
    *,
    session_id: str | None,
    ts: int,
    response_id: str,
    client_msg_id: str | None = None,
) -> ResponseDone:
    """The end of a response of which nothing is in the log."""
    return ResponseDone(
        session_id=session_id,
        seq=None,
        ts=ts,
        response_id=response_id,
        status="failed",
        message="",
        client_msg_id=client_msg_id,
        error=error_body(error),
    )


def error_of(body: ErrorBody, status: int = 0) -> RolehostError:
    """An error that was raised elsewhere, as it would have been raised here. `status`: of HTTP, 0 where nobody says."""
    error = RolehostError(body.message, hint=body.hint, code=body.code, retryable=body.retryable)
    error.status = status or (503 if body.retryable else 500)
    error.retry_after_ms = body.retry_after_ms
    return error
