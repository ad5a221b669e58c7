"""A span as a value, and the names that one may carry. Whatever is not named here no collector lets through."""

from enum import IntEnum
from typing import NamedTuple

Value = str | bool | int | float | tuple[str, ...]
Attributes = tuple[tuple[str, Value], ...]

TENANT, ROLE, REVISION, TURN = "rolehost.tenant", "rolehost.role", "rolehost.revision", "rolehost.turn"
OUTCOME, CODE, CUT = "rolehost.outcome", "error.type", "rolehost.cut_short"
"""How the turn ended; the stable code of what failed; the answer was not read to its end (a user who speaks up, a guard, a
deadline)."""
TIMER, STEPS_LEFT_OUT = "rolehost.timer", "rolehost.steps_left_out"
"""Nobody said anything: a timer went off. So many more steps there were than a trace tells."""
POD_DEGRADED, POD_TRANSITIONS = "rolehost.reported_by_pod.degraded", "rolehost.reported_by_pod.transitions"
"""What the pod said of itself, which may be anything: how many hooks were left out, how many edges were taken."""
TTFT_MS = "rolehost.ttft_ms"
BACKEND, FIRST_CHUNK_MS, ESTIMATED = "rolehost.backend", "rolehost.first_chunk_ms", "rolehost.usage_estimated"
CONVERSATION, OPERATION, PROVIDER = "gen_ai.conversation.id", "gen_ai.operation.name", "gen_ai.provider.name"
REQUEST_MODEL, RESPONSE_MODEL = "gen_ai.request.model", "gen_ai.response.model"
MAX_TOKENS, FINISH_REASONS = "gen_ai.request.max_tokens", "gen_ai.response.finish_reasons"
INPUT_TOKENS, OUTPUT_TOKENS = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
TOOL_NAME, ADDRESS, PORT = "gen_ai.tool.name", "server.address", "server.port"
INPUT_MESSAGES, OUTPUT_MESSAGES = "gen_ai.input.messages", "gen_ai.output.messages"
CONTENT = frozenset({INPUT_MESSAGES, OUTPUT_MESSAGES})
"""Only where the platform was told to keep what was said."""
ALLOWED = frozenset({
    TENANT, ROLE, REVISION, TURN, OUTCOME, CODE, CUT, TIMER, STEPS_LEFT_OUT, POD_DEGRADED, POD_TRANSITIONS, TTFT_MS,
    BACKEND, FIRST_CHUNK_MS, ESTIMATED, CONVERSATION, OPERATION, PROVIDER, REQUEST_MODEL, RESPONSE_MODEL, MAX_TOKENS,
    FINISH_REASONS, INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS, TOOL_NAME, ADDRESS, PORT,
})  # fmt: skip
NAMES = (
    "turn", "queue", "session.load", "guard.message", "route", "hooks", "recall", "tool.list", "model.call",
    "guard.reply", "tool.call", "fetch", "commit",
)  # fmt: skip
"""Of spans: there are no others."""


class Kind(IntEnum):
    """As OTLP numbers them."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


class Span(NamedTuple):
    """One of a trace. Times in nanoseconds since 1970."""

    name: str
    kind: Kind
    trace_id: bytes
    """16 bytes, not all of them 0."""
    span_id: bytes
    """8 bytes, not all of them 0."""
    parent_id: bytes
    """Empty: there is none."""
    start_ns: int
    end_ns: int
    attributes: Attributes = ()
    error: str = ""
    """A stable code; empty: nothing failed."""
