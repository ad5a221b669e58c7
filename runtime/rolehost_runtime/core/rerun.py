"""A turn of the log run once more: the Role's logic on what was recorded, without a model. Pure.

The model's answers come from the record's journal, the time and the randomness from the record. What the logic does then
must be what it did: the same effects, the same reply, the same change of the state. What the record does not hold is
said, and not guessed:

    an answer over 64 KiB is in the journal as a digest only: it is known where the reply holds it, by its digest
    a message that joined a running turn stands in the input, but not when it came
    a hook that was stopped at its deadline was stopped by a clock
    what was recalled from memory stands by name, so that it does not live on here when it is forgotten
    what a server outside answered stands by its host and its status
    what the logic said and a guard cut or replaced is not kept as it was said
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from rolehost import Role
from rolehost_api.link.messages import (
    INTERRUPTED,
    CallModel,
    CallTool,
    Commit,
    Fetch,
    ModelResult,
    PatchOp,
    Recall,
    Say,
    StartTurn,
    ToolResult,
    Transition,
    TurnFailed,
)
from rolehost_api.link.tools import ToolCall
from rolehost_runtime.core.behavior.graph import Graph
from rolehost_runtime.core.engine import Reporter, TurnEngine
from rolehost_runtime.core.memory.atoms import Source, made
from rolehost_runtime.core.patch import MAX_STATE_BYTES
from rolehost_runtime.core.record import GUARD, MODEL, TOOL, JournalEntry, TurnRecord
from rolehost_runtime.core.schema import anew, folded, left_of
from rolehost_runtime.core.tooling import FOREIGN, LATE

DEADLINE_MS = 30_000
STOPPED = frozenset({"hook_deadline", "hook_died", LATE})
"""Codes of hooks and tools that were left out by what this process does not do."""
SHOWN = 200
"""Characters of either side that a difference shows."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Same:
    turn: int


@dataclass(frozen=True, slots=True)
class Unchecked:
    turn: int
    why: str


@dataclass(frozen=True, slots=True)
class Differs:
    turn: int
    what: str
    """`effects`, `reply`, `transitions`, `state`, `memory`, `emitted`, `left out`, or `failed`."""
    recorded: str
    now: str


Verdict = Same | Unchecked | Differs


def rerun(
    role: Role[Any], session_id: str, records: Iterable[TurnRecord], graph: Graph | None = None
) -> Iterator[Verdict]:
    """A verdict for each turn from the log's first on; the state is the recorded one, whatever a turn did now. Ends with
    the first that differs."""
    state: dict[str, Any] = {}
    first = True
    for record in records:
        ran, before = (_own(record, state), left_of(state)) if record.reset else (record, state)
        verdict = run(role, session_id, ran, before, graph, first=first and record.turn > 1)
        first = first and record.status == "filtered"
        yield verdict
        if isinstance(verdict, Differs):
            return
        state = folded(state, record.patch) if record.patch else state


def _own(record: TurnRecord, state: dict[str, Any]) -> TurnRecord:
    """The record as the logic made it: without what went before it of a state that began anew."""
    return replace(record, patch=record.patch[len(anew(state)) :])


def run(
    role: Role[Any],
    session_id: str,
    record: TurnRecord,
    state: Mapping[str, Any],
    graph: Graph | None = None,
    *,
    first: bool = False,
) -> Verdict:
    """One turn, from the state before it. `first`: guards answered all turns before it."""
    if (why := unknown(record)) is not None:
        return Unchecked(record.turn, why)
    engine = TurnEngine(
        role,
        _start(record, session_id, first=first),
        state,
        max_state_bytes=MAX_STATE_BYTES,
        reporter=_Placing(role),
        graph=graph,
    )
    try:
        said, effects, end = _drive(engine, record)
    except _Unknown as missing:
        engine.close()
        if record.status == "completed" and not record.reply.startswith(missing.said):
            return Differs(record.turn, "reply", _shown(record.reply), _shown(missing.said))
        return Unchecked(record.turn, missing.why)
    reply = "".join(said)
    if record.status == "cancelled" and record.heard is not None:
        reply = reply[: record.heard.chars]
    recorded = [entry.kind for entry in record.journal]

    def differs(what: str, before: Any, now: Any) -> Differs:
        return Differs(record.turn, what, _shown(before), _shown(now))

    if isinstance(end, TurnFailed):
        return differs("failed", "the turn was answered", f"{end.code} {end.hook} {end.where}".strip())
    left_out, now_left_out = _hooks(record.degraded), _hooks(end.degraded) if end is not None else []
    if left_out != now_left_out and any(code in STOPPED for _, code in left_out):
        return Unchecked(record.turn, f"hooks were stopped by a clock: {_shown(left_out)}")
    if end is None or effects != recorded:
        return differs("effects", recorded, effects)
    if left_out != now_left_out:
        return differs("left out", left_out, now_left_out)
    if reply != record.reply:
        return differs("reply", record.reply, reply)
    if end.transitions != record.transitions:
        return differs("transitions", _steps(record.transitions), _steps(end.transitions))
    if _plain(end.patch) != _plain(record.patch):
        return differs("state", _plain(record.patch), _plain(end.patch))
    remembered = [atom.said for atom in record.atoms]
    now = [atom.said for atom in made(end.atoms, Source("", session_id, record.turn, "", record.at_ms))]
    if now != remembered:
        return differs("memory", remembered, now)
    if end.emitted != record.emitted:
        return differs("emitted", msgspec.to_builtins(record.emitted), msgspec.to_builtins(end.emitted))
    return Same(record.turn)


def unknown(record: TurnRecord) -> str | None:
    """Why the record does not hold what running it again needs; None where it does.

    >>> from msgspec.structs import replace
    >>> record = TurnRecord(log_id="", epoch=0, turn=1, seq_first=1, seq_count=1, version=0, now_ms=0, at_ms=0,
    ...                     revision="", response_id="", input="", reply="")
    >>> unknown(record), unknown(replace(record, joined=("c-2",)))
    (None, 'a message joined it while it was answered')
    """
    if record.joined:
        return "a message joined it while it was answered"
    if record.status == "filtered":
        return "a guard answered it, and the logic saw nothing of it"
    changed = any(one.stage == "output" and one.action in ("block", "replace") for one in record.decisions)
    if changed and any(entry.kind == "say" for entry in record.journal):
        return "a guard changed what the logic said"
    for entry in record.journal:
        if entry.kind == "recall":
            return f"what was recalled as effect {entry.index} is kept by name only"
        if entry.kind == "fetch":
            return f"what a server answered as effect {entry.index} is kept by host and status only"
    return None


def beginning(text: str, digest: str) -> str | None:
    """The beginning of a text that has this digest; None where none has.

    >>> of_once = "sha256:" + hashlib.sha256("Once".encode()).hexdigest()
    >>> beginning("Once. The end.", of_once), beginning("Twice.", of_once)
    ('Once', None)
    """
    hashed = hashlib.sha256()
    for length in range(len(text) + 1):
        if f"sha256:{hashed.hexdigest()}" == digest:
            return text[:length]
        hashed.update(text[length : length + 1].encode())
    return None


class _Unknown(Exception):
    """An answer that the logic was given is nowhere in the record. `said`: of the reply, before it."""

    def __init__(self, why: str, said: str) -> None:
        super().__init__(why)
        self.why, self.said = why, said


def _start(record: TurnRecord, session_id: str, *, first: bool) -> StartTurn:
    return StartTurn(
        session="",
        session_id=session_id,
        turn=record.turn,
        version=record.version - bool(record.patch),
        message=record.input,
        user=record.user or "",
        now_ms=record.now_ms,
        rng_seed=record.rng_seed,
        deadline_ms=DEADLINE_MS,
        occasion=record.occasion.hook if record.occasion is not None else "",
        absent_ms=record.absent_ms,
        first=first,
    )


def _drive(engine: TurnEngine, record: TurnRecord) -> tuple[list[str], list[str], Commit | TurnFailed | None]:
    """What was said, which effects there were, and how it ended; None: it asked for more than was ever answered."""
    said: list[str] = []
    effects: list[str] = []
    out = engine.begin()
    while True:
        for effect in out:
            match effect:
                case Say():
                    effects.append("say")
                    said.append(effect.text)
                case Recall():
                    effects.append("recall")
                case Fetch():
                    effects.append("fetch")
                case CallTool():
                    effects.append("call_tool")
                case CallModel():
                    effects.append("call_model")
                case Commit() | TurnFailed():
                    return said, effects, effect
        asked = out[-1]
        place = len(effects) - 1
        if not isinstance(asked, CallModel | CallTool) or place >= len(record.journal):
            engine.close()
            return said, effects, None
        if isinstance(asked, CallTool):
            out = engine.resume(_tool_result(record.journal[place], "".join(said)))
            continue
        answer = _answer(record.journal[place], record, "".join(said))
        if asked.stream:
            said.append(answer.text)
        out = engine.resume(answer)


def _answer(entry: JournalEntry, record: TurnRecord, said: str) -> ModelResult:
    """Raises _Unknown. `said`: of the reply, before this answer."""
    text = entry.outcome
    if _DIGEST.fullmatch(text):
        found = beginning(record.reply[len(said) :], text) if record.reply.startswith(said) else None
        if found is None:
            why = f"answer {entry.index} of the model was kept as a digest only, and is not what was replied"
            raise _Unknown(why, said)
        text = found
    heard = record.heard.chars if entry.error == INTERRUPTED and record.heard is not None else None
    return ModelResult(
        index=entry.index,
        text=text,
        error=entry.error,
        finish_reason=entry.error or record.finish_reason,
        heard=heard,
        calls=_calls(entry, said),
    )


def _calls(entry: JournalEntry, said: str) -> tuple[ToolCall, ...]:
    """Raises _Unknown."""
    if any(_DIGEST.fullmatch(call.arguments) for call in entry.calls):
        raise _Unknown(f"what answer {entry.index} of the model called tools with was kept as a digest only", said)
    return entry.calls


def _tool_result(entry: JournalEntry, said: str) -> ToolResult:
    """Raises _Unknown."""
    if _DIGEST.fullmatch(entry.outcome):
        raise _Unknown(f"what the tool of effect {entry.index} gave back was kept as a digest only", said)
    return ToolResult(index=entry.index, text=entry.outcome, error=entry.error)


class _Placing(Reporter):
    """Where a hook failed, in the file that it is in."""

    def __init__(self, role: Role[Any]) -> None:
        functions = [*(hook.function for hook in role.hooks), *(edge.function for edge in role.edges if edge.function)]
        functions += (tool.function for tool in role.tools.values())
        self._files = {function.__code__.co_filename for function in functions}

    def where(self, error: BaseException) -> str:
        trace, found = error.__traceback__, ""
        while trace is not None:
            file = trace.tb_frame.f_code.co_filename
            if file in self._files:
                found = f"{file.rpartition('/')[2]}:{trace.tb_lineno}"
            trace = trace.tb_next
        return found


def _hooks(degraded: Iterable[Any]) -> list[tuple[str, str]]:
    """Of the logic's own: what the platform left out, or another server's tool, is no hook."""
    return [
        (one.hook, one.code) for one in degraded if one.hook not in (MODEL, TOOL, GUARD) and FOREIGN not in one.hook
    ]


def _steps(transitions: Iterable[Transition]) -> list[str]:
    return [f"{step.source} → {step.target} ({step.why})" for step in transitions]


def _plain(patch: Iterable[PatchOp]) -> Any:
    return msgspec.to_builtins(tuple(patch))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
