"""Messages of the link: typed structs only, so that nothing untyped is ever decoded.

Free-form values exist in four places: a Role's model parameters, the session's state, the
value of a patch operation and what a Role emits. Their size is bounded by the message that carries them,
their depth by `rolehost_runtime.core.patch` before anything is done with them.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from rolehost_api.link.attestation import ATTESTATION_BYTES
from rolehost_api.link.tools import (
    MAX_ARGUMENT_BYTES,
    MAX_CALLS,
    MAX_TOOLS,
    ToolCall,
    ToolName,
    ToolOutcome,
    ToolSpec,
    ToolText,
)
from rolehost_api.link.tracing import MAX_SUBGRAPHS, TracedGraph

PROTOCOLS = (1,)
"""Versions of the link that this code speaks, newest first."""

NONCE_BYTES = 32
MAX_PATCH_OPERATIONS = 1000
MAX_EMITTED = 16
"""Frames of a Role's own, of one turn."""
MAX_TRANSITIONS = 4
"""Of one turn: one for each subgraph."""
MAX_SAY_CHARS = 65_536
MAX_REPLY_CHARS = 262_144
BUNDLE_CHUNK_BYTES = 49_152

MIN_TIMER_SECONDS, MAX_TIMER_SECONDS, MAX_TIMERS = 60, 30 * 86_400, 8
"""How short and how long a Role's timers are, and how many it has."""

INTERRUPTED = "interrupted"
"""The code of an answer that the user interrupted, and of a turn that an older pod gives up for it."""

Text = Annotated[str, Meta(max_length=MAX_SAY_CHARS)]
Word = Annotated[str, Meta(max_length=256)]
Index = Annotated[int, Meta(ge=0, le=1024)]
NodeName = Annotated[str, Meta(max_length=64)]

MAX_ATOM_CHARS, MAX_TERM_CHARS = 2000, 200
"""Of one memory, and of each of the three terms of a relation."""
MAX_REMEMBERED, MAX_FORGOTTEN, MAX_RECALLED = 32, 64, 32
"""In one turn, in one turn, with one question."""
MAX_QUERY_CHARS = 4096
Term = Annotated[str, Meta(max_length=MAX_TERM_CHARS)]
AtomId = Annotated[str, Meta(max_length=32, pattern=r"^[a-z0-9]+\Z")]
Moment = Annotated[int, Meta(ge=0, le=2**53)]
"""Milliseconds since 1970, UTC."""
AtomKind = Literal["long", "rel"]

MAX_FETCH_BYTES = 262_144
"""Of a body, sent or received: with what surrounds it, it fits the link's 1 MiB."""
MAX_FETCH_MS = 30_000
MAX_URL_CHARS = 4096
HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
Header = tuple[Annotated[str, Meta(max_length=256)], Annotated[str, Meta(max_length=8192)]]
"""Name and value."""


class Message(Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """Anything on the link. Unknown fields are ignored: an older end reads a newer one."""


# ── the link's own talk: channel 0 ──────────────────────────────────────────────────


class Probe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the agent found about its own sandbox before any tenant byte arrived."""

    gvisor: bool
    """The kernel's log starts with gVisor's banner."""
    token: bool
    """A service-account token was found."""
    reached: tuple[Word, ...] = ()
    """Targets outside that answered; must be empty."""
    tried: tuple[Word, ...] = ()
    kernel: Word = ""


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """The pod's first word, once per connection."""

    protocols: tuple[int, ...]
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    probe: Probe
    bound: Word = ""
    """Hash of the revision that this pod is bound to, or empty."""
    attestation: Annotated[bytes, Meta(max_length=ATTESTATION_BYTES)] = b""
    """That the connection's certificate is this pod's (see `attestation`); empty over stdin and stdout."""
    binding: Word = ""
    """Hash of the revision that it is being bound to over another link: its bundle comes, or is imported."""


class Prove(Message, frozen=True, kw_only=True, tag="prove"):
    """The gateway proves that it is the platform: Ed25519 over `proof_text`."""

    protocol: int
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


def proof_text(nonce: bytes, pod_uid: str, fingerprint: bytes) -> bytes:
    """The bytes that Prove signs; a fixed word first, so the key signs nothing else by mistake.

    `fingerprint` (32 bytes) is that of the pod's certificate, or NO_CERTIFICATE: a proof that
    somebody in between passes on is worth nothing on a connection that ends elsewhere.
    """
    return b"rolehost link 1\n" + nonce + pod_uid.encode() + fingerprint


class LogicSource(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the logic comes from: a bundle that follows in chunks, or files right here."""

    entrypoint: Word = ""
    bundle_digest: Word = ""
    bundle_bytes: int = 0
    """Length of the transported (compressed) archive."""
    files: dict[str, str] = {}
    """Inline or ConfigMap logic: file name → source; at most 256 KiB together."""


class Bind(Message, frozen=True, kw_only=True, tag="bind"):
    """Make a generic pod the pod of one revision. Once; again only with the same hash."""

    revision: Word
    hash: Word
    role: Word
    persona: tuple[str, ...]
    """Segments of the prompt that never change within the revision; CallModel names them by index.

    0 is the system prompt. The greeting is not among them: the gateway says it itself.
    """
    permissions: tuple[Word, ...]
    logic: LogicSource | None = None
    state_max_bytes: int = 65_536
    max_workers: int = 4
    hook_wall_ms: int = 2000
    logs: bool = True
    behavior: bytes = b""
    """`spec.template.behavior` as JSON; compiled where the logic is loaded. Empty: there is none. A pod that does not know
    this field walks no graph: sessions stay where they are in it."""
    timer_min_seconds: int = MIN_TIMER_SECONDS
    """Logic with a shorter timer does not load."""


class BundleChunk(Message, frozen=True, kw_only=True, tag="chunk"):
    data: Annotated[bytes, Meta(max_length=BUNDLE_CHUNK_BYTES)]
    last: bool = False


class LoadError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why logic did not load. Never the exception's text: it may quote anything."""

    code: Word
    error: Word = ""
    """The exception's type."""
    where: Word = ""
    """file:line in the tenant's code."""
    hint: Word = ""


class TimerSpec(Struct, frozen=True):
    """A timer of the logic's: `on_idle` once for each silence of the user's that long, `every` over and over."""

    hook: Word
    """The hook's name: event:function."""
    event: Literal["on_idle", "every"]
    seconds: Annotated[int, Meta(ge=1, le=MAX_TIMER_SECONDS)]


class Bound(Message, frozen=True, kw_only=True, tag="bound"):
    hash: Word
    error: LoadError | None = None
    hooks: tuple[Word, ...] = ()
    state_fields: tuple[Word, ...] = ()
    user_fields: tuple[Word, ...] = ()
    """Of user-scope state; empty: the Role keeps none."""
    tools: Annotated[tuple[ToolSpec, ...], Meta(max_length=MAX_TOOLS)] = ()
    """That the logic declares. What a model is offered of them, the gateway decides."""
    timers: Annotated[tuple[TimerSpec, ...], Meta(max_length=MAX_TIMERS)] = ()
    deltas: bool = False
    """The logic has `on_delta` hooks: answers are shown to it while they are given."""


class ReadLogs(Message, frozen=True, kw_only=True, tag="read_logs"):
    """Ask for what the logic printed after line `after`; `follow`: and whatever comes."""

    request: int
    after: int = 0
    follow: bool = False


class StopLogs(Message, frozen=True, kw_only=True, tag="stop_logs"):
    request: int


class LogLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    number: int
    at_ms: int
    stream: Literal["stdout", "stderr", "log"]
    text: Annotated[str, Meta(max_length=8192)]
    session: Word = ""
    """The client's word for the session where the line belongs to a turn."""


class LogBatch(Message, frozen=True, kw_only=True, tag="logs"):
    request: int
    lines: Annotated[tuple[LogLine, ...], Meta(max_length=512)]
    lost: int = 0
    """Lines that the ring dropped since the last batch."""


class Evicted(Message, frozen=True, kw_only=True, tag="evicted"):
    """The pod let go of these sessions' states; send them again with the next turn."""

    sessions: Annotated[tuple[Word, ...], Meta(max_length=512)]


class Draining(Message, frozen=True, kw_only=True, tag="draining"):
    """The pod is about to leave: no new turns, please."""


class Credit(Message, frozen=True, kw_only=True, tag="credit"):
    """The receiver has worked off this many bytes; the sender may send as many more."""

    bytes: Annotated[int, Meta(ge=1, le=16_777_216)]


# ── a turn: a channel of its own ────────────────────────────────────────────────────


class StartTurn(Message, frozen=True, kw_only=True, tag="start"):
    session: Word
    """The session's name on this pod, the same over every link; not its key, and worth nothing elsewhere."""
    session_id: Word
    """The word that the client chose; `t.session.id`."""
    turn: Annotated[int, Meta(ge=1)]
    """1 is the session's first: `on_start` hooks run before `on_message`."""
    version: Annotated[int, Meta(ge=0)]
    state: dict[str, Any] | None = None
    """None: the gateway believes that the pod holds (session, version)."""
    message: str
    user: Word = ""
    now_ms: int
    rng_seed: int
    deadline_ms: int
    """Left for hooks and queue, in milliseconds; time in the model does not count."""
    user_ref: Word = ""
    """The person's name on this pod, as `session` is the session's; empty where no end user is named."""
    user_at: Word = ""
    """Which copy of user-scope state the turn reads. Empty: none is shared, and it is a part of `state`."""
    user_state: dict[str, Any] | None = None
    """None: the gateway believes that the pod holds (user_ref, user_at)."""
    occasion: Word = ""
    """Why there is a turn without a message: the hook of the timer that is due, or `on_end`. Only that hook runs, and
    `on_reply` or `on_interrupt` where it said something. Empty: the user said something."""
    absent_ms: Annotated[int, Meta(ge=0)] = 0
    """Since the user's last turn; 0 where there was none."""
    first: bool = False
    """No turn before this one was the logic's to see: `on_start` hooks run, whatever its number is."""
    trace: bool = False
    """Somebody looks underneath: tell with the commit how the turn went through its graph."""


class PersonaSegment(Struct, frozen=True, tag_field="t", tag="persona"):
    index: Annotated[int, Meta(ge=0, le=64)]


class TextSegment(Struct, frozen=True, tag_field="t", tag="text"):
    """Volatile text. `system` comes after the persona's own, never above it."""

    speaker: Literal["system", "user", "persona"]
    text: Text


class HistorySegment(Struct, frozen=True, tag_field="t", tag="history"):
    """The newest turns of this session that fit; the gateway fills it in."""

    last_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] = 4000


class InputSegment(Struct, frozen=True, tag_field="t", tag="input"):
    """The message of this turn, from the gateway's own table."""


Segment = PersonaSegment | TextSegment | HistorySegment | InputSegment


class Say(Message, frozen=True, kw_only=True, tag="say"):
    """Text of the reply, at once to the client. Needs no answer."""

    index: Index
    text: Text


class CallModel(Message, frozen=True, kw_only=True, tag="call_model"):
    index: Index
    segments: Annotated[tuple[Segment, ...], Meta(max_length=256)]
    stream: bool
    """True: the answer is (part of) the reply and streams straight to the client."""
    max_tokens: Annotated[int, Meta(ge=1, le=131_072)] | None = None
    tools: Annotated[tuple[ToolName, ...], Meta(max_length=MAX_TOOLS)] = ()
    """That the model may call in its answer, of those that the Role grants; `*`: all. Empty: none."""
    continues: Index | None = None
    """Goes on behind the answer to that question of this turn, which held calls: its prompt is the prompt, and then
    come what the model said, its calls, and `results`. `segments` is empty."""
    results: Annotated[tuple[ToolOutcome, ...], Meta(max_length=MAX_CALLS)] = ()
    """Of all calls of the answer that it continues, in their order."""


class CallTool(Message, frozen=True, kw_only=True, tag="call_tool"):
    """Call a tool that is not the logic's own: the gateway does, where the Role grants it."""

    index: Index
    name: ToolName
    arguments: Annotated[str, Meta(max_length=MAX_ARGUMENT_BYTES)] = "{}"
    """JSON of an object."""


class Recall(Message, frozen=True, kw_only=True, tag="recall"):
    """Look into what is remembered of the person (of the session, where no end user is named)."""

    index: Index
    query: Annotated[str, Meta(max_length=MAX_QUERY_CHARS)] = ""
    """Empty: what matters most, then what is newest."""
    k: Annotated[int, Meta(ge=1, le=MAX_RECALLED)] = 5
    kinds: Annotated[tuple[AtomKind, ...], Meta(max_length=2)] = ("long", "rel")
    subject: Term = ""
    predicate: Term = ""
    """Only relations of this subject, or with this predicate."""
    as_of_ms: Moment | None = None
    """Relations that held then; None: that hold now."""
    asserted: bool = False
    """Also what the user asserted and nobody confirmed."""
    to_forget: bool = False
    """What is found is to be forgotten: it takes the permission to forget, and no text comes back."""


class Fetch(Message, frozen=True, kw_only=True, tag="fetch"):
    """A request to a server outside, which the gateway sends where the Role's permissions grant it."""

    index: Index
    method: HttpMethod = "GET"
    url: Annotated[str, Meta(max_length=MAX_URL_CHARS)]
    headers: Annotated[tuple[Header, ...], Meta(max_length=64)] = ()
    body: Annotated[bytes, Meta(max_length=MAX_FETCH_BYTES)] = b""
    timeout_ms: Annotated[int, Meta(ge=1, le=MAX_FETCH_MS)] = 10_000
    """For all of it, redirects among them."""


class Remember(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a turn adds to memory. Whose it is, of which turn and revision, the gateway knows."""

    kind: AtomKind = "long"
    text: Annotated[str, Meta(max_length=MAX_ATOM_CHARS)] = ""
    """Of `long`."""
    subject: Term = ""
    predicate: Term = ""
    object: Term = ""
    many: bool = False
    """Of `rel`: there may be several objects at once; else a later one takes the place of an earlier one."""
    salience: Annotated[int, Meta(ge=0, le=100)] = 50
    asserted: bool = False
    """The user said so, and the logic does not vouch for it."""
    valid_from_ms: Moment | None = None
    valid_to_ms: Moment | None = None
    """When the relation holds; None: from this turn on, and until something else does."""


class NeedState(Message, frozen=True, kw_only=True, tag="need_state"):
    """The pod does not hold what StartTurn left out."""


class PatchOp(Struct, frozen=True, omit_defaults=True):
    """One change of the state. `path` is a JSON Pointer; there is no `copy`, `move` or `test`."""

    op: Literal["add", "remove", "replace", "incr"]
    path: Annotated[str, Meta(max_length=1024)]
    value: Any = None


class Degraded(Struct, frozen=True, omit_defaults=True):
    """A hook that the turn went on without."""

    hook: Word
    code: Word
    where: Word = ""


class Transition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step from node to node of the behaviour graph, and why it was this one."""

    subgraph: NodeName
    source: NodeName = field(name="from")
    target: NodeName = field(name="to")
    weight: float = 0.0
    """Of the edge that was taken. 0: none was, the node that the session was in is not there any more."""
    of: float = 0.0
    """The weights of all edges that could be taken, together: it was this one with probability weight / of."""
    why: Word = ""
    """The predicate: its expression, or its function's name."""
    place: Annotated[int, Meta(ge=0, le=4096)] = 0
    """The edge's, among those of its subgraph."""
    draw: Annotated[int, Meta(ge=0)] = 0
    """What decided, of 64 bits, made of the turn's seed; 0 where there was nothing to decide."""


class Emitted(Struct, frozen=True):
    """A frame of the Role's own."""

    name: Annotated[str, Meta(max_length=64)]
    """`custom.` and words of its own, as `rolehost_runtime.core.emitting` has it."""
    data: dict[str, Any]


class Commit(Message, frozen=True, kw_only=True, tag="commit"):
    """The hooks are done. The reply is what the gateway itself sent; only the state comes from here."""

    patch: Annotated[tuple[PatchOp, ...], Meta(max_length=MAX_PATCH_OPERATIONS)] = ()
    user_patch: Annotated[tuple[PatchOp, ...], Meta(max_length=MAX_PATCH_OPERATIONS)] = ()
    """Of user-scope state, field by field, as `rolehost_runtime.core.merge` has it."""
    degraded: Annotated[tuple[Degraded, ...], Meta(max_length=16)] = ()
    urgent: bool = False
    """The logic wants this change of the state noticed at once: `t.urgent()`."""
    transitions: Annotated[tuple[Transition, ...], Meta(max_length=MAX_TRANSITIONS)] = ()
    """Of the behaviour graph, for the session's log. Where it stands now is part of `patch`."""
    atoms: Annotated[tuple[Remember, ...], Meta(max_length=MAX_REMEMBERED)] = ()
    forgotten: Annotated[tuple[AtomId, ...], Meta(max_length=MAX_FORGOTTEN)] = ()
    """Memories that are to go, for good."""
    confirmed: Annotated[tuple[AtomId, ...], Meta(max_length=MAX_FORGOTTEN)] = ()
    """What users asserted, and the logic vouches for now."""
    emitted: Annotated[tuple[Emitted, ...], Meta(max_length=MAX_EMITTED)] = ()
    """Frames of the Role's own, for the session's clients."""
    trace: Annotated[tuple[TracedGraph, ...], Meta(max_length=MAX_SUBGRAPHS)] = ()
    """Where StartTurn asked for it."""


class TurnFailed(Message, frozen=True, kw_only=True, tag="turn_failed"):
    """A required hook failed: the turn is not committed, the client may retry."""

    code: Word
    hook: Word = ""
    error: Word = ""
    where: Word = ""


class StateGiven(Message, frozen=True, kw_only=True, tag="state"):
    """All that the turn reads, whatever of it the pod holds."""

    version: int
    state: dict[str, Any]
    user_state: dict[str, Any] | None = None


class Delta(Message, frozen=True, kw_only=True, tag="delta"):
    """More of the answer that the turn waits for, as the user hears it; only where Bound said `deltas`, one at a time."""

    index: Index
    text: Text


class Noticed(Message, frozen=True, kw_only=True, tag="noticed"):
    """The hooks saw a Delta."""

    index: Index
    stop: bool = False
    """They want no more of the answer."""


class ModelResult(Message, frozen=True, kw_only=True, tag="model_result"):
    index: Index
    text: str = ""
    error: Word = ""
    """A stable code where the model failed, e.g. model_unavailable, permission_denied."""
    finish_reason: Word = ""
    heard: Annotated[int, Meta(ge=0)] | None = None
    """The user interrupted the turn at this answer, having heard so many code points of the whole reply: the hook that
    asked ends here, `on_interrupt` hooks run, and nothing is said or asked any more. A pod that does not know this
    field reads the error, which is `interrupted` then: to its hooks the model failed."""
    calls: Annotated[tuple[ToolCall, ...], Meta(max_length=MAX_CALLS)] = ()
    """The model wants these tools called before it goes on."""


class ToolResult(Message, frozen=True, kw_only=True, tag="tool_result"):
    """The answer to CallTool."""

    index: Index
    text: ToolText = ""
    error: Word = ""
    """A stable code where it came to nothing, e.g. permission_denied, unknown_tool, tool_failed."""


class Recollection(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A memory as logic sees it."""

    id: AtomId
    kind: AtomKind = "long"
    text: str = ""
    subject: str = ""
    predicate: str = ""
    object: str = ""
    salience: int = 50
    at_ms: int = 0
    """When it was remembered."""
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    """Of a relation that does not hold any more: since when."""
    session_id: str = ""
    turn: int = 0
    """Where it comes from."""
    asserted: bool = False
    """The user said so, and nobody confirmed it."""


class Recalled(Message, frozen=True, kw_only=True, tag="recalled"):
    """The answer to Recall, best first."""

    index: Index
    atoms: Annotated[tuple[Recollection, ...], Meta(max_length=MAX_RECALLED)] = ()
    error: Word = ""
    """A stable code where nothing could be recalled, e.g. permission_denied, state_unavailable."""


class Fetched(Message, frozen=True, kw_only=True, tag="fetched"):
    """The answer to Fetch: a server's, or why there is none."""

    index: Index
    status: Annotated[int, Meta(ge=0, le=999)] = 0
    headers: Annotated[tuple[Header, ...], Meta(max_length=256)] = ()
    body: Annotated[bytes, Meta(max_length=MAX_FETCH_BYTES)] = b""
    url: Annotated[str, Meta(max_length=2 * MAX_URL_CHARS + 256)] = ""
    """Where it came from in the end."""
    error: Word = ""
    """A stable code where no server's answer came, e.g. http_not_granted, http_timeout."""


class Committed(Message, frozen=True, kw_only=True, tag="committed"):
    version: int
    user_at: Word = ""
    """The copy of user-scope state that the turn's own patch made of the one it read. Empty: it is another one now."""


class Abort(Message, frozen=True, kw_only=True, tag="abort"):
    """The turn is over without a commit: cancelled, fenced or refused."""

    code: Word


ToPod = (
    Prove | Bind | BundleChunk | ReadLogs | StopLogs | Credit | StartTurn | StateGiven | ModelResult | Committed | Abort
    | Recalled | ToolResult | Fetched | Delta
)  # fmt: skip
ToGateway = (
    Hello | Bound | LogBatch | Evicted | Draining | Credit | Say | CallModel | NeedState | Commit | TurnFailed | Recall
    | CallTool | Fetch | Noticed
)  # fmt: skip
Question = CallModel | Recall | CallTool | Fetch
"""Effects with an answer: the turn waits for it."""
QuestionAnswer = ModelResult | Recalled | ToolResult | Fetched
