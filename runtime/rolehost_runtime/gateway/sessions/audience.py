"""Who listens to a session, and how far each has heard the turn that runs."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from rolehost_api.errors import NotFound, Overloaded, RolehostError
from rolehost_api.wire import (
    FORGOTTEN,
    Cause,
    Error,
    Metrics,
    ResponseCreated,
    ResponseReset,
    Resumed,
    ServerFrame,
    TextDelta,
    Usage,
    error_body,
    failed,
)
from rolehost_runtime.core.record import Record, last_seq, render
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.gateway.ports import Channel
from rolehost_runtime.gateway.sessions.history import gap_before


@dataclass(slots=True)
class Running:
    """The turn that is being answered."""

    opened: OpenTurn
    done: asyncio.Future[None]
    """Set when it ends, for those who sent the same message once more meanwhile."""
    listeners: dict[int, Channel]
    """Who heard it from its start, or was caught up; anybody else would hear half a sentence."""
    text: list[str] = field(default_factory=list)
    chars: int = 0
    first_text_at: float | None = None
    again: bool = False
    """It was begun by a gateway that is gone; who heard its beginning there must forget it."""
    behavior: str | None = None
    """The node in which it found the session."""

    def answers(self, client_msg_id: str | None) -> bool:
        """Whether it is this message that is being answered."""
        return client_msg_id is not None and client_msg_id in (self.opened.client_msg_id, *self.opened.joined)


@dataclass(slots=True)
class Replaying:
    """A channel that is told of the past. What happens meanwhile waits for it in the log, not in memory."""

    channel: Channel
    heard: Running | None = None
    """The turn it was hearing when its replay began, and how many of its characters."""
    chars: int = 0
    missed_seq: int = 0
    """The newest event that the others were told meanwhile."""


class Audience:
    """The channels of one session. Sending never waits; a channel that cannot keep up closes itself."""

    def __init__(self, session_id: str, now_ms: Callable[[], int]) -> None:
        self._session_id, self._now_ms = session_id, now_ms
        self._channels: dict[int, Channel] = {}
        self._replaying: dict[int, Replaying] = {}
        self.running: Running | None = None
        self.amending: int | None = None
        """Number of the event of an amend that is on its way to the log."""

    def __bool__(self) -> bool:
        return bool(self._channels)

    def join(self, channel: Channel) -> None:
        self._channels[id(channel)] = channel

    def leave(self, channel: Channel) -> None:
        self._channels.pop(id(channel), None)
        if self.running is not None:
            self.running.listeners.pop(id(channel), None)

    def broadcast(self, event: ServerFrame) -> None:
        for number, channel in tuple(self._channels.items()):
            replaying = self._replaying.get(number)
            if replaying is None:
                channel.send(event)
            elif event.seq is not None:
                replaying.missed_seq = event.seq
            elif not isinstance(
                event, ResponseCreated | ResponseReset
            ):  # a failure, another revision: not in the log, and small
                channel.send(event)

    # ── the turn that runs ──────────────────────────────────────────────────────────

    def begin(self, opened: OpenTurn, *, again: bool = False, behavior: str | None = None) -> Running:
        """A turn begins, before everybody who is here; or once more, `again`, after its gateway died."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        here = {number: channel for number, channel in self._channels.items() if number not in self._replaying}
        self.running = Running(opened, done, here, again=again, behavior=behavior)
        if again:
            self.broadcast(self._reset(opened))
        self.broadcast(self._created(self.running))
        return self.running

    def steered(self, running: Running, opened: OpenTurn, channel: Channel, client_msg_id: str | None) -> None:
        """One more message joined the turn; who said it is told which response answers it."""
        running.opened = opened
        self.catch_up(channel)
        channel.send(self._created(running, client_msg_id))

    def emit(self, running: Running, text: str) -> None:
        """A piece of the reply, to all who heard what came before it."""
        if running.first_text_at is None:
            running.first_text_at = asyncio.get_running_loop().time()
        event = self._delta(running, running.chars, text)
        running.text.append(text)
        running.chars += len(text)
        for channel in tuple(running.listeners.values()):
            channel.send(event)

    def failed(
        self,
        opened: OpenTurn,
        error: RolehostError,
        usage: Usage | None = None,
        metrics: Metrics | None = None,
        trace_id: str = "",
    ) -> None:
        """Tell everybody that nothing of this turn is in the log."""
        end = failed(
            error,
            session_id=self._session_id,
            ts=self._now_ms(),
            response_id=opened.response_id,
            client_msg_id=opened.client_msg_id,
        )
        timer = opened.occasion.hook if opened.occasion is not None else None
        told = replace(
            end,
            revision=opened.revision,
            usage=usage or Usage(),
            metrics=metrics or Metrics(),
            timer=timer,
            trace_id=trace_id,
        )
        self.broadcast(told)

    def end(self, running: Running, error: Exception | None) -> None:
        self.running = None
        if error is None:
            running.done.set_result(None)
        else:
            running.done.set_exception(error)
            running.done.exception()  # perhaps nobody else waits for it

    def catch_up(self, channel: Channel) -> None:
        """Bring a channel that came in mid-turn to where the others are: one delta, and it goes on from there."""
        running = self.running
        if running is None or id(channel) in running.listeners or id(channel) in self._replaying:
            return
        running.listeners[id(channel)] = channel
        if running.again:
            channel.send(self._reset(running.opened))
        channel.send(self._created(running))
        if running.chars:
            channel.send(self._delta(running, 0, "".join(running.text)))

    # ── the past ────────────────────────────────────────────────────────────────────

    def withhold(self, channel: Channel) -> Replaying:
        """The channel hears no live event until `rejoin`, so that none overtakes its replay. Raises Overloaded `busy`."""
        if id(channel) in self._replaying:
            raise Overloaded("this session is being resumed on this socket already", code="busy")
        replaying = self._replaying[id(channel)] = Replaying(channel)
        if self.running is not None and self.running.listeners.pop(id(channel), None) is not None:
            replaying.heard, replaying.chars = self.running, self.running.chars
        return replaying

    def resumed(self, channel: Channel, head: int, after_seq: int, first: Sequence[Record]) -> int:
        """Tell the channel what it will be told: the events after `after_seq`, up to `head` at least, of which `first`
        are the first records. A position past the log is a lost history, and so is one before all that is kept.
        Returns the number after which its replay begins."""
        lost = after_seq > head
        after_seq = 0 if lost else after_seq
        if gap_before(first, after_seq):
            lost, after_seq = True, first[0].seq_first - 1
        channel.send(
            Resumed(
                session_id=self._session_id,
                seq=None,
                ts=self._now_ms(),
                from_seq=after_seq + 1,
                to_seq=head,
                gap=lost,
                code="resume_lost" if lost else None,
            )
        )
        return after_seq

    def lost(self, head: int) -> int:
        """Tell everybody that the store forgot what came after `head`, and gives those numbers to other events."""
        self.broadcast(
            Resumed(
                session_id=self._session_id,
                seq=None,
                ts=self._now_ms(),
                from_seq=head + 1,
                to_seq=head,
                gap=True,
                code="resume_lost",
            )
        )
        return head

    def replay(self, channel: Channel, record: Record, after_seq: int) -> bool:
        """Tell the channel of one record. False for one that is on its way to the log and that nobody was told of
        yet: it comes live."""
        if record.seq_first == self.amending:
            return False
        if self.running is not None and record.response_id == self.running.opened.response_id:
            return False
        for event in events_after((record,), self._session_id, after_seq):
            channel.send(event)
        return True

    def rejoin(self, replaying: Replaying) -> None:
        """The channel has heard the log: it goes on with the others, from where it was in the turn that runs."""
        channel, running = replaying.channel, self.running
        self._replaying.pop(id(channel), None)
        if id(channel) not in self._channels:
            return
        if running is None or running is not replaying.heard:
            self.catch_up(channel)
            return
        running.listeners[id(channel)] = channel
        if running.chars > replaying.chars:
            channel.send(self._delta(running, replaying.chars, "".join(running.text)[replaying.chars :]))

    def _created(self, running: Running, client_msg_id: str | None = None) -> ResponseCreated:
        opened = running.opened
        return ResponseCreated(
            session_id=self._session_id,
            seq=None,
            ts=self._now_ms(),
            response_id=opened.response_id,
            client_msg_id=client_msg_id or opened.client_msg_id,
            behavior=running.behavior,
            cause=cause_of(opened),
            timer=opened.occasion.hook if opened.occasion is not None else None,
        )

    def _reset(self, opened: OpenTurn) -> ResponseReset:
        return ResponseReset(session_id=self._session_id, seq=None, ts=self._now_ms(), response_id=opened.response_id)

    def _delta(self, running: Running, offset: int, text: str) -> TextDelta:
        return TextDelta(
            session_id=self._session_id,
            seq=None,
            ts=self._now_ms(),
            response_id=running.opened.response_id,
            offset=offset,
            delta=text,
        )


def cause_of(opened: OpenTurn) -> Cause:
    if opened.occasion is None:
        return "message"
    return "end" if opened.occasion.event == "on_end" else "timer"


def session_forgotten(session_id: str, now_ms: int) -> Error:
    """The last word that a channel hears of a session of which everything was deleted."""
    gone = NotFound(
        "this session was forgotten",
        hint="Connect again: the same session_id begins a new one",
        code=FORGOTTEN,
    )
    return Error(session_id=session_id, seq=None, ts=now_ms, error=error_body(gone))


def events_after(records: Sequence[Record], session_id: str, after_seq: int) -> list[ServerFrame]:
    """The log's events after `after_seq`, flagged as replay."""
    return [
        event
        for record in records
        if last_seq(record) > after_seq
        for event in render(record, session_id, replay=True)
        if event.seq is not None and event.seq > after_seq
    ]
