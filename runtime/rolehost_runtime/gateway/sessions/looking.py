"""A turn from underneath: its events out of the log, and what is still kept here of its prompts and its trace."""

from collections.abc import Sequence

from rolehost_api.errors import NotFound
from rolehost_runtime.core.memory.partition import Partition
from rolehost_runtime.core.prefix import persona_alone, shared
from rolehost_runtime.core.record import TurnRecord, render
from rolehost_runtime.gateway.inspected import Below, CallView, Inspected, PrefixView, RecallView, SegmentView
from rolehost_runtime.gateway.ports import Head, StateView
from rolehost_runtime.gateway.remembered import view_of
from rolehost_runtime.gateway.sessions.inspecting import CallSeen, RecallSeen, TurnSeen
from rolehost_runtime.gateway.sessions.world import World

MAX_SHOWN_CHARS = 65_536
"""Of one segment in an answer; `chars` says how many there are."""


async def looked_into(
    world: World, key: str, session_id: str, head: Head, view: StateView, turn: int, *, whole: bool
) -> Inspected:
    """As ports.Inspecting has it. `view` is the state now."""
    seen = world.inspections.turns(key)
    number = turn or head.turn
    mine = next((one for one in seen if one.turn == number), None)
    record: TurnRecord | None = None
    if 0 < number <= head.turn:
        found = await world.history(key).page((number, 0), 1)
        record = next((one for one in found if isinstance(one, TurnRecord) and one.turn == number), None)
    if number and record is None and mine is None:
        raise NotFound("there is no such turn", hint="Ask without `turn` for the newest", code="turn_not_found")
    if not whole:
        below = Below("forbidden")
    elif mine is None:
        below = Below("not_kept" if world.inspections.on else "off")
    else:
        memory = (await world.memories.newest(key)).partition if mine.recalls else Partition.of({})
        below = shown(mine, [one for one in seen if one.turn < number], memory)
    return Inspected(
        turn=number,
        turns=head.turn,
        answered=record is not None,
        events=render(record, session_id, replay=True) if record is not None else [],
        version=view.at.version,
        state=view.state,
        user_state=view.user.state if view.user is not None else None,
        user_version=view.user.version if view.user is not None else None,
        nodes=view.nodes,
        below=below,
    )


def shown(seen: TurnSeen, earlier: Sequence[TurnSeen], memory: Partition) -> Below:
    """Each call beside the one before it in the session. A reminder of what was forgotten since is not shown. Pure."""
    recalls = [_recall(one, memory) for one in seen.recalls]
    hidden = any(one.reminder and one.forgotten for one in recalls)
    before = next((one.calls[-1] for one in reversed(earlier) if one.calls), None)
    calls = []
    for call in seen.calls:
        calls.append(_call(call, before, hidden=hidden))
        before = call
    return Below("shown", tuple(calls), tuple(recalls), seen.trace)


def _call(call: CallSeen, before: CallSeen | None, *, hidden: bool) -> CallView:
    known = before is not None and not before.cut
    at = shared(before.parts if before is not None and known else persona_alone(call.parts), call.parts)
    return CallView(
        segments=[
            SegmentView(
                kind=part.kind,
                speaker=part.speaker,
                text="" if hidden and part.kind == "memory" else part.text[:MAX_SHOWN_CHARS],
                chars=len(part.text),
            )
            for part in call.parts
        ],
        chars=call.chars,
        prefix=PrefixView(
            segment=at.segment,
            offset=at.offset,
            chars=at.chars,
            tokens=at.tokens,
            ended_by=call.parts[at.segment].kind if at.segment < len(call.parts) else "",
            compared_with="call" if known else "revision",
        ),
        reply=call.reply,
        model=call.model,
        usage=call.usage,
        finish_reason=call.finish_reason,
        cut=call.cut,
    )


def _recall(seen: RecallSeen, memory: Partition) -> RecallView:
    held = [memory.held[name] for name in seen.names if name in memory.held]
    return RecallView(
        query=seen.query,
        reminder=seen.reminder,
        memories=[view_of(one) for one in held],
        forgotten=len(seen.names) - len(held),
    )
