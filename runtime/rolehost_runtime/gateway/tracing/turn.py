"""A turn's trace while it runs: numbers in a list, from which spans are made when it is over."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from rolehost_api.crd.modelbackend import BackendSpec, BackendType
from rolehost_api.errors import BadRequest
from rolehost_api.wire import Usage
from rolehost_runtime.core.reach.grants import granted
from rolehost_runtime.core.reach.urls import parse
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest
from rolehost_runtime.gateway.tracing.content import said, shown
from rolehost_runtime.gateway.tracing.context import Parent, fresh, span_id
from rolehost_runtime.gateway.tracing.spans import (
    ADDRESS,
    BACKEND,
    CACHED_TOKENS,
    CODE,
    CUT,
    ESTIMATED,
    FINISH_REASONS,
    FIRST_CHUNK_MS,
    INPUT_MESSAGES,
    INPUT_TOKENS,
    MAX_TOKENS,
    OPERATION,
    OUTPUT_MESSAGES,
    OUTPUT_TOKENS,
    PORT,
    PROVIDER,
    REQUEST_MODEL,
    RESPONSE_MODEL,
    STEPS_LEFT_OUT,
    TOOL_NAME,
    Attributes,
    Kind,
    Span,
    Value,
)

MAX_STEPS = 128
"""That a trace tells; the rest is counted."""
STEP_WEIGHT = 400
"""What one step takes, in bytes, while it waits to be sent."""
WORTH_TELLING = 0.0005
"""Seconds of what mostly takes none: what is shorter is not told."""
HOOKS = "hooks"
PROVIDERS: Mapping[BackendType, str] = {
    BackendType.OPENAI: "openai",
    BackendType.ANTHROPIC: "anthropic",
    BackendType.OLLAMA: "ollama",
    BackendType.SCRIPTED: "rolehost.scripted",
    BackendType.PLUGIN: "rolehost.plugin",
}
"""Who speaks that wire, in the words of the conventions; a vLLM is an `openai` there."""
FINISHED = frozenset({"stop", "length", "max_tokens", "content_filter", "tool_calls", "tool_use", "end_turn", "eos"})
Step = tuple[str, Kind, float, float, Attributes, str]
"""Name, kind, begin and end by the machine's monotonic clock (of which a loop's is the same in whole milliseconds),
attributes, code of what failed."""


class TurnTrace:
    """What was noted of one turn. Nothing here waits, raises, or looks at a clock."""

    __slots__ = ("_base", "_capture", "_left_out", "ended", "parent", "steps", "trace_id", "weight")

    def __init__(self, parent: Parent | None = None, *, capture: bool = False) -> None:
        """`capture`: what was said to models and by them is kept too."""
        trace_id, self._base = fresh()
        self.trace_id = parent.trace_id if parent is not None else trace_id
        self.parent, self._capture, self._left_out = parent, capture, 0
        self.steps: list[Step] = []
        self.weight = STEP_WEIGHT
        self.ended: tuple[float, float, Attributes, str] | None = None
        """Of the whole turn: begin, end, attributes, code."""

    @property
    def root_id(self) -> str:
        """Of the span of the whole turn, in hex."""
        return span_id(self._base, 0).hex()

    def step(self, name: str, began: float, ended: float, *more: tuple[str, Value], error: str = "") -> None:
        self._add((name, Kind.INTERNAL, began, ended, more, error))

    def before(self, accepted: float, began: float, ready: float) -> None:
        """What a message waited for until its turn could begin; what took no time is not told."""
        if began - accepted >= WORTH_TELLING:
            self.step("queue", accepted, began)
        if ready:
            self.step("session.load", began, ready)

    def _add(self, step: Step) -> None:
        if len(self.steps) >= MAX_STEPS:
            self._left_out += 1
            return
        self.steps.append(step)
        self.weight += STEP_WEIGHT

    def hooks(self, began: float, ended: float, error: str = "") -> None:
        """The pod was waited for. What it says piece by piece is one wait."""
        if not self.steps or self.steps[-1][0] != HOOKS or self.steps[-1][5]:
            self.step(HOOKS, began, ended, error=error)
            return
        name, kind, first, _, told, _ = self.steps[-1]
        self.steps[-1] = (name, kind, first, ended, told, error)

    def tool(self, began: float, ended: float, name: str, error: str) -> None:
        self._add(("tool.call", Kind.CLIENT, began, ended, ((OPERATION, "execute_tool"), (TOOL_NAME, name)), error))

    def fetched(self, began: float, ended: float, url: str, permissions: Sequence[str], error: str) -> None:
        """A server outside was asked. Its name is told as the Role's permission has it: what a pod makes of a wildcard
        may be anything."""
        where = granted_name(url, permissions)
        self._add(("fetch", Kind.CLIENT, began, ended, ((ADDRESS, where),) if where else (), error))

    def model(
        self,
        began: float,
        first: float | None,
        ended: float,
        backend: BackendSpec,
        asked: ModelRequest,
        label: str,
        usage: Usage,
        end: ModelEnd | None,
        error: str,
        heard: Sequence[str],
    ) -> None:
        """One call of a model. `label`: who was asked, as the platform names it; `end`: None where nobody read so far."""
        answered = end.model if end is not None and end.model not in ("", label) else ""
        found: list[tuple[str, Value]] = [
            (OPERATION, "chat"),
            (PROVIDER, PROVIDERS.get(backend.type, "_OTHER")),
            (BACKEND, asked.backend),
            (REQUEST_MODEL, asked.model),
            (RESPONSE_MODEL, answered or asked.model),
            (INPUT_TOKENS, usage.input_tokens),
            (OUTPUT_TOKENS, usage.output_tokens),
        ]
        if not answered and backend.base_url:
            found += address(backend.base_url)
        if asked.max_tokens is not None:
            found.append((MAX_TOKENS, asked.max_tokens))
        if usage.cached_tokens:
            found.append((CACHED_TOKENS, usage.cached_tokens))
        if usage.estimated:
            found.append((ESTIMATED, True))
        if first is not None:
            found.append((FIRST_CHUNK_MS, round(1000 * (first - began), 3)))
        if end is not None:
            found.append((FINISH_REASONS, (finish_reason(end.finish_reason),)))
        elif not error:
            found.append((CUT, True))
        if self._capture:
            told = shown(asked.messages), said(heard, end.finish_reason if end is not None else "")
            found += ((INPUT_MESSAGES, told[0]), (OUTPUT_MESSAGES, told[1]))
            self.weight += 2 * (len(told[0]) + len(told[1]))
        self._add(("model.call", Kind.CLIENT, began, ended, tuple(found), error))

    @property
    def count(self) -> int:
        """Spans that it will be."""
        return 1 + len(self.steps)

    def told(self, wall_ns: int, clock: float) -> list[Span]:
        """The spans of a turn that is over, its own first. `wall_ns` is the time since 1970 at that `clock`."""
        if self.ended is None:
            return []
        began, ended, attributes, error = self.ended
        zero = wall_ns - int(clock * 1e9)
        more: Attributes = ((STEPS_LEFT_OUT, self._left_out),) if self._left_out else ()
        root = span_id(self._base, 0)
        found = [
            Span(
                "turn",
                Kind.SERVER,
                self.trace_id,
                root,
                self.parent.span_id if self.parent is not None else b"",
                zero + int(began * 1e9),
                zero + int(ended * 1e9),
                attributes + more,
                error,
            )
        ]
        found += [
            Span(
                name,
                kind,
                self.trace_id,
                span_id(self._base, number),
                root,
                zero + int(start * 1e9),
                zero + int(end * 1e9),
                told + (((CODE, failed),) if failed else ()),
                failed,
            )
            for number, (name, kind, start, end, told, failed) in enumerate(self.steps, 1)
        ]
        return found


@lru_cache(256)
def address(base_url: str) -> Attributes:
    """Of a model server.

    >>> address("https://key@api.acme.com:8443/v1")
    (('server.address', 'api.acme.com'), ('server.port', 8443))
    >>> address("http://vllm.models")
    (('server.address', 'vllm.models'), ('server.port', 80))
    """
    try:
        found = urlsplit(base_url)
        port = found.port or (443 if found.scheme == "https" else 80)
    except ValueError:
        return ()
    return ((ADDRESS, found.hostname), (PORT, port)) if found.hostname else ()


def granted_name(url: str, permissions: Sequence[str]) -> str:
    """The permission that grants this URL, as a name; empty where none does.

    >>> granted_name("https://eu.weather.org/?q=secret", ["model.call", "http:*.weather.org"])
    '*.weather.org'
    >>> granted_name("https://evil.org/", ["http:api.acme.com"]), granted_name("nonsense", ["http:api.acme.com"])
    ('', '')
    """
    try:
        target = parse(url)
    except BadRequest:
        return ""
    return next((one.removeprefix("http:") for one in permissions if granted((one,), target)), "")


def finish_reason(word: str) -> str:
    """A server's word for why it stopped, if it is one of those that servers use: it may say anything.

    >>> finish_reason("stop"), finish_reason("because he said so")
    ('stop', 'other')
    """
    return word if word in FINISHED else "other"
