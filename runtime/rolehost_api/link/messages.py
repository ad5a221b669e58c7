"""Messages of the link: typed structs only, so that nothing untyped is ever decoded.

Free-form values exist in three places: a Role's model parameters, the session's state and
the value of a patch operation. Their size is bounded by the message that carries them,
their depth by `rolehost_runtime.core.patch` before anything is done with them.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from rolehost_api.link.attestation import ATTESTATION_BYTES

PROTOCOLS = (1,)
"""Versions of the link that this code speaks, newest first."""

NONCE_BYTES = 32
MAX_PATCH_OPERATIONS = 1000
MAX_SAY_CHARS = 65_536
MAX_REPLY_CHARS = 262_144
BUNDLE_CHUNK_BYTES = 49_152

INTERRUPTED = "interrupted"
"""The code of an answer that the user interrupted, and of a turn that an older pod gives up for it."""

Text = Annotated[str, Meta(max_length=MAX_SAY_CHARS)]
Word = Annotated[str, Meta(max_length=256)]
Index = Annotated[int, Meta(ge=0, le=1024)]


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


class Bound(Message, frozen=True, kw_only=True, tag="bound"):
    hash: Word
    error: LoadError | None = None
    hooks: tuple[Word, ...] = ()
    state_fields: tuple[Word, ...] = ()
    user_fields: tuple[Word, ...] = ()
    """Of user-scope state; empty: the Role keeps none."""


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


class Commit(Message, frozen=True, kw_only=True, tag="commit"):
    """The hooks are done. The reply is what the gateway itself sent; only the state comes from here."""

    patch: Annotated[tuple[PatchOp, ...], Meta(max_length=MAX_PATCH_OPERATIONS)] = ()
    user_patch: Annotated[tuple[PatchOp, ...], Meta(max_length=MAX_PATCH_OPERATIONS)] = ()
    """Of user-scope state, field by field, as `rolehost_runtime.core.merge` has it."""
    degraded: Annotated[tuple[Degraded, ...], Meta(max_length=16)] = ()
    urgent: bool = False
    """The logic wants this change of the state noticed at once: `t.urgent()`."""


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


class Committed(Message, frozen=True, kw_only=True, tag="committed"):
    version: int
    user_at: Word = ""
    """The copy of user-scope state that the turn's own patch made of the one it read. Empty: it is another one now."""


class Abort(Message, frozen=True, kw_only=True, tag="abort"):
    """The turn is over without a commit: cancelled, fenced or refused."""

    code: Word


ToPod = (
    Prove | Bind | BundleChunk | ReadLogs | StopLogs | Credit | StartTurn | StateGiven | ModelResult | Committed | Abort
)
ToGateway = Hello | Bound | LogBatch | Evicted | Draining | Credit | Say | CallModel | NeedState | Commit | TurnFailed
