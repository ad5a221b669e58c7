"""Reading a session without taking it over: its events by the page, its state."""

import asyncio
from dataclasses import replace
from typing import Any

from rolehost_api import wire
from rolehost_runtime.core.record import Amend, Position, following, last_seq, place_after
from rolehost_runtime.core.schema import folded
from rolehost_runtime.gateway.ports import EventsPage, Head, SessionStore, Standing, StateView
from rolehost_runtime.gateway.sessions.audience import events_after
from rolehost_runtime.gateway.sessions.history import History, gap_before

MAX_PAGE_BYTES = 1 << 20
"""Of events in one answer, as JSON. A single event may be larger by itself: it comes alone then."""
MAX_PAGE_EVENTS = 512
RECORDS = 4
"""Read at once: each may be over 1 MiB."""


async def events(history: History, session_id: str, after_seq: int, head: Head) -> EventsPage:
    """The log's events after `after_seq`, in order, as many as one answer holds. Raises CorruptRecord, and
    Unavailable `archive_unavailable`."""
    gap = after_seq > head.seq
    after_seq = 0 if gap else after_seq
    found: list[wire.ServerFrame] = []
    size, last = 0, after_seq
    place = place_after(after_seq, head.turn, head.seq, head.amends)
    while True:
        records = await history.page(place, RECORDS)
        gap = gap or (not found and gap_before(records, last))
        for event in events_after(records, session_id, after_seq):
            size += len(wire.encode(event))
            if found and (size > MAX_PAGE_BYTES or len(found) >= MAX_PAGE_EVENTS):
                return EventsPage(found, last, more=True, gap=gap)
            found.append(event)
            last = event.seq or last
        if len(records) < RECORDS:
            return EventsPage(found, last, more=False, gap=gap)
        place = following(records[-1])
        await asyncio.sleep(0)


async def state(store: SessionStore, key: str, history: History) -> StateView:
    """The state that the log adds up to, from its newest snapshot on, with few of its records in memory. Raises
    CorruptRecord."""
    state: dict[str, Any] = {}
    at, urgent = Standing(0, 0), False
    place: Position = (1, 0)
    if (kept := await store.kept(key)) is not None:
        snapshot = kept.snapshot
        state, urgent = snapshot.state, snapshot.urgent
        at, place = Standing(snapshot.seq, snapshot.version), (snapshot.turn, snapshot.amends + 1)
    while True:
        records = await history.page(place, RECORDS)
        for record in records:
            if isinstance(record, Amend):  # what was heard changes no state
                at = replace(at, seq=last_seq(record))
                continue
            urgent = record.urgent if record.patch else urgent
            state = folded(state, record.patch) if record.patch else state
            at = Standing(last_seq(record), record.version)
        if len(records) < RECORDS:
            return StateView(at, state, is_urgent=urgent)
        place = following(records[-1])
        await asyncio.sleep(0)
