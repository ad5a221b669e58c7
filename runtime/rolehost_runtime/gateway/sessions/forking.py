"""A new session whose log begins as another's: copied by the page, and seen only once it is whole."""

import secrets
from collections.abc import Awaitable, Callable

from rolehost_api.errors import BadRequest, Conflict, NotFound
from rolehost_api.wire import ForkedFrom
from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.record import Amend, Record, TurnRecord, following, last_seq, place_after, size_of
from rolehost_runtime.gateway.kept import RETENTION_SECONDS, Beginning, Whose
from rolehost_runtime.gateway.ports import Head, SessionStore
from rolehost_runtime.gateway.sessions.history import History

PAGE = 8
"""Records held at once: each may be over 1 MiB."""
MAX_TURNS = 10_000
"""Of the part that is copied."""


async def fork(
    store: SessionStore,
    past: History,
    whose: Whose,
    session_id: str,
    at_seq: int | None,
    now_ms: int,
    keep_seconds: int = RETENTION_SECONDS,
    name: str | None = None,
    beside: Callable[[str, int], Awaitable[None]] | None = None,
) -> str:
    """The id of a session that stands where this one stood after event `at_seq` (None: its last), kept for so long:
    `name`, or a fresh one. What is drafted under one name is always the same, so it says where the fork stands.
    `beside` copies what is kept beside the log, by the new session's id and its number of turns, before it is seen.

    Raises NotFound; BadRequest `at_seq_inside_a_turn`, `at_seq_too_high`, `nothing_to_fork`, `fork_too_long`; Conflict
    `log_trimmed` where the log's begin is not in the store any more, `superseded` where that name is taken,
    CorruptRecord.
    """
    key = whose.key(session_id)
    head = await store.head(key)
    if head is None or head.void:
        raise NotFound("there is no such session", code="session_not_found")
    at_seq = head.seq if at_seq is None else at_seq
    last = await _last(past, head, at_seq)
    if last.turn > MAX_TURNS:
        raise BadRequest(f"at most {MAX_TURNS} turns are copied", hint="Fork an earlier event", code="fork_too_long")
    fresh = name or f"fork-{secrets.token_hex(12)}"
    target = whose.key(fresh)
    newest, amends, size = await _copy(store, past, target, last)
    await store.enlist(whose, fresh, now_ms, Active.begun(now_ms))
    if beside is not None:
        await beside(fresh, newest.turn)
    await store.found(
        target,
        Beginning(
            log_id=secrets.token_hex(16),
            epoch=head.epoch,
            turn=newest.turn,
            seq=at_seq,
            version=newest.version,
            revision=newest.revision,
            at_ms=last.at_ms,
            amends=amends,
            origin=ForkedFrom(session_id, at_seq),
            log_bytes=size,
        ),
        keep_seconds,
    )
    await store.enlist(whose, fresh, now_ms, Active(now_ms, keep_seconds))
    return fresh


async def _last(past: History, head: Head, at_seq: int) -> Record:
    """The record that ends with that event. Raises BadRequest."""
    if at_seq > head.seq:
        raise BadRequest(
            f"this session's last event is {head.seq}", hint="Fork at it, or earlier", code="at_seq_too_high"
        )
    if at_seq < 1:
        raise BadRequest(
            "there is nothing before the first event", hint="A new session begins empty", code="nothing_to_fork"
        )
    place = place_after(at_seq - 1, head.turn, head.seq, head.amends)
    while page := await past.page(place, PAGE):
        for record in page:
            if last_seq(record) >= at_seq:
                return ends_at(record, at_seq)
        place = following(page[-1])
    raise Conflict("a part of this session's history is lost", code="resume_lost")


def ends_at(record: Record, at_seq: int) -> Record:
    """The record, if `at_seq` is its last event. Raises BadRequest that names its neighbours which are."""
    if last_seq(record) == at_seq:
        return record
    before = record.seq_first - 1
    others = f"{before} or {last_seq(record)}" if before else f"{last_seq(record)}"
    raise BadRequest(
        f"event {at_seq} stands inside a turn", hint=f"Fork at {others}, where one ends", code="at_seq_inside_a_turn"
    )


def trimmed() -> Conflict:
    return Conflict(
        "this session's history is not there from its begin",
        hint="What no restore needs was let go of: archive.forget in the chart's values",
        code="log_trimmed",
    )


async def _copy(store: SessionStore, past: History, target: str, last: Record) -> tuple[TurnRecord, int, int]:
    """All records up to `last` into the target's draft: the newest turn of them, how many amends there are, and
    the bytes of all."""
    newest: TurnRecord | None = None
    amends, size, expected, place = 0, 0, 1, (1, 0)
    while True:
        page = await past.page(place, PAGE)
        records = [record for record in page if record.position <= last.position]
        for record in records:
            if record.seq_first != expected:
                raise trimmed()
            expected = last_seq(record) + 1
            size += size_of(record)
            if isinstance(record, Amend):
                amends += 1
            else:
                newest = record
        if records:
            await store.draft(target, records)
        if len(records) < PAGE:
            break
        place = following(records[-1])
    if newest is None or expected != last_seq(last) + 1:
        raise Conflict("this session was changed meanwhile", hint="Try again", code="session_changed", retryable=True)
    return newest, amends, size
