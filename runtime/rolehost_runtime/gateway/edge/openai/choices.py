"""Several answers to one message: the first is the session's own turn, each other one that of a branch.

A branch is a fork of the session, at the event that was its last when the first answer began. So the log
holds the message once, and whoever likes another answer better goes on with that one's session. Without
a session every answer is a turn that nobody keeps.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable

from msgspec.structs import replace

from rolehost_api import wire
from rolehost_api.errors import Conflict, NotFound, RolehostError
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.handshake import Address, find_role
from rolehost_runtime.gateway.edge.openai.several import branch_name
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import Channel, Principal, SessionHandle

log = logging.getLogger(__name__)
Listen = Callable[[int, str], Channel]
"""Who hears the answer of that number, which is given in that session."""


class Before:
    """Implements ports.Channel: finds the last event before the turn of one message, and passes everything on."""

    def __init__(self, channel: Channel, client_msg_id: str) -> None:
        self._channel, self._client_msg_id = channel, client_msg_id
        self._last = 0
        self._first_of_turn: int | None = None
        self.seq: int | None = None
        self.found = asyncio.Event()

    def send(self, event: wire.ServerFrame) -> None:
        match event:
            case wire.SessionCreated():
                self._last = event.head
            case wire.ResponseCreated() if event.client_msg_id == self._client_msg_id:
                self._found(self._last)
            case _ if event.seq is not None:
                self._numbered(event, event.seq)
        self._channel.send(event)

    async def room(self) -> bool:
        return await self._channel.room()

    def _numbered(self, event: wire.ServerFrame, seq: int) -> None:
        if self._first_of_turn is None:
            self._first_of_turn = seq
        if isinstance(event, wire.ResponseDone):
            if event.client_msg_id == self._client_msg_id:  # it was answered before, and is told again
                self._found(self._first_of_turn - 1)
            self._first_of_turn = None
        elif isinstance(event, wire.ResponseAmended):
            self._first_of_turn = None
        self._last = max(self._last, seq)

    def _found(self, seq: int) -> None:
        if self.seq is None:
            self.seq = seq
            self.found.set()


class Choices:
    """`n` answers to what is `said`, under one client_msg_id. With `told`, of a conversation that nobody keeps."""

    def __init__(
        self,
        gate: Gate,
        principal: Principal,
        at: Address,
        said: wire.Said,
        told: Told | None,
        n: int,
        listen: Listen,
        failed: Callable[[str, RolehostError], None],
    ) -> None:
        """`failed` is told of the session whose answer failed, at once."""
        self._gate, self._principal, self._at, self._said, self._told = gate, principal, at, said, told
        self._n, self._listen, self._told_failed = n, listen, failed
        self._role = find_role(gate.tables.roles, principal, at)
        self._handles: dict[int, SessionHandle] = {}
        self._copying = asyncio.Lock()
        """A fork reads and writes a whole log: one after the other."""
        self._before: Before | None = None
        """Where branches begin; None where there are none."""
        self.failures: dict[int, RolehostError] = {}
        self.failing = asyncio.Event()

    async def begin(self) -> None:
        """A place for each answer that nothing is to be known for. Raises what attaching raises."""
        kept = self._said.session_id
        try:
            for index in range(1 if kept is not None else self._n):
                word = kept or secrets.token_hex(12)
                await self._attach(index, word, self._listen(index, word))
        except BaseException:
            for handle in self._handles.values():
                handle.detach()
            raise

    async def run(self) -> None:
        """Until every answer has ended. What failed is in `failures`."""
        if self._before is None:
            await asyncio.gather(*(self._turn(index) for index in tuple(self._handles)))
            return
        first, found = asyncio.ensure_future(self._turn(0)), asyncio.ensure_future(self._before.found.wait())
        await asyncio.wait([first, found], return_when=asyncio.FIRST_COMPLETED)
        found.cancel()
        at_seq = self._before.seq
        if at_seq is not None:
            await asyncio.gather(first, *(self._branch(index, at_seq) for index in range(1, self._n)))
        else:
            await first
            for index in range(1, self._n):
                self._listen(index, f"choice-{index}")
                self._fail(index, f"choice-{index}", self.failures.get(0) or _unanswered())

    async def _attach(self, index: int, session_id: str, channel: Channel) -> None:
        if index == 0 and self._said.session_id is not None and self._n > 1:
            channel = self._before = Before(channel, self._said.client_msg_id or "")
        attach = self._gate.sessions.attach
        with self._gate.asking(self._principal, self._role.name):
            self._handles[index] = await attach(
                self._principal, self._role, session_id, channel, revision=self._at.revision, told=self._told
            )

    async def _branch(self, index: int, at_seq: int) -> None:
        session_id, message_id = self._said.session_id or "", self._said.client_msg_id or ""
        name = branch_name(session_id, message_id, at_seq, index)
        channel = self._listen(index, name)
        try:
            async with self._copying:
                if at_seq and not await self._there(name):
                    await self._fork(session_id, at_seq, name)
            await self._attach(index, name, channel)
        except Exception as error:
            self._fail(index, name, error)
            return
        await self._turn(index)

    async def _fork(self, session_id: str, at_seq: int, name: str) -> None:
        try:
            await self._gate.sessions.kept.fork(self._whose, session_id, at_seq, name)
        except Conflict:
            if not await self._there(name):  # else by the same request, sent twice
                raise

    @property
    def _whose(self) -> Whose:
        return Whose(self._role.tenant.uid, self._role.name, self._principal.user)

    async def _there(self, name: str) -> bool:
        try:
            await self._gate.sessions.kept.details(self._whose, name)
        except NotFound:
            return False
        return True

    async def _turn(self, index: int) -> None:
        handle = self._handles[index]
        try:
            await handle.say(replace(self._said, session_id=handle.session_id))
        except Exception as error:
            self._fail(index, handle.session_id, error)
        finally:
            handle.detach()

    def _fail(self, index: int, session_id: str, error: Exception) -> None:
        told = self.failures[index] = faults.told(log, "running a turn", error)
        self._told_failed(session_id, told)
        self.failing.set()


def _unanswered() -> RolehostError:
    return RolehostError("the turn ended without an answer", code="no_answer")
