"""The queue in front of Redis: deadlines, bounds, order, and what is tried again.

    redis = Client(parse("redis+cluster://a,b"), scripts=(COMMIT,), password=…)
    await redis.run("HGET", "rh:{k}:head", "seq", key=b"rh:{k}:head")
    await redis.call(COMMIT, (head, wal), arguments, line=key)

Everything is sent again after a lost connection, so commands and scripts must bear to be
carried out twice. Calls of one line are on their way one at a time: neither NOSCRIPT nor a
redirection nor a new connection puts a session's second write before its first.
"""

import asyncio
import logging
import ssl
from asyncio import Future
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.broker.state.resp.address import Address, Kind, Target
from rolehost_runtime.gateway.broker.state.resp.call import Call, Word, pack
from rolehost_runtime.gateway.broker.state.resp.cluster import Cluster
from rolehost_runtime.gateway.broker.state.resp.greeting import Greeting, Script
from rolehost_runtime.gateway.broker.state.resp.lines import Lines
from rolehost_runtime.gateway.broker.state.resp.lookout import Lookout
from rolehost_runtime.gateway.broker.state.resp.node import READS, WRITES
from rolehost_runtime.gateway.broker.state.resp.refusals import (
    AGAIN,
    NOT_REPLICATED,
    Refusal,
    Remedy,
    label,
    meaning,
    moved_to,
    told,
)
from rolehost_runtime.gateway.broker.state.resp.sentinel import Sentinels
from rolehost_runtime.gateway.broker.state.resp.topology import Single, Topology

OPERATION_SECONDS = 2.0
TICK_SECONDS = 0.1
"""How often deadlines and stalled connections are looked for while anything is on its way."""
PAUSE_SECONDS = 0.05
"""Before a call that was refused for a moment is sent again."""
PINNED_LOSSES = 2
MAX_CALLS = 16_384
MAX_BYTES = 64 << 20

log = logging.getLogger(__name__)


class Client:
    """Implements call.Desk. Connects when first used, in whatever loop that is."""

    def __init__(
        self,
        target: Target,
        *,
        password: str = "",
        name: str = "rolehost",
        scripts: Sequence[Script] = (),
        seconds: float = OPERATION_SECONDS,
        max_calls: int = MAX_CALLS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        tls = ssl.create_default_context() if target.tls else None
        greeting = Greeting(
            user=target.user,
            password=password,
            database=target.database,
            name=name,
            scripts=tuple(scripts),
            tls=tls,
            replicas=target.replicas,
            master_only=bool(target.master),
        )
        self.target = target
        self.noticed: Callable[[str], None] = lambda what: None
        """Told of every refusal by its word, of every `lost` connection under a call, and of what is `overdue`."""
        self._topology = topology_of(target, greeting)
        self._shas = {script: script.sha for script in scripts}
        self._seconds = seconds - TICK_SECONDS
        self._max_calls, self._max_bytes = max_calls, max_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: deque[Call] = deque()
        """In the order of their deadlines, those that are over among them until they are first."""
        self._open = self._bytes = 0
        self._lines = Lines()
        self._lookout = Lookout(self._topology, self._route)
        self._ticking = self._closed = False

    # ── what is asked ───────────────────────────────────────────────────────────────

    def run(self, *words: Word, key: bytes = b"") -> Future[Any]:
        """One command that reads, to wherever `key` is. The future raises Unavailable or Overloaded."""
        return self._submit(words, key, READS).done

    def call(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Word], *, line: bytes | None = None
    ) -> Future[Any]:
        """One script that writes, acknowledged as the target demands; those of one `line` one after the other."""
        return self._submit(self._called(script, keys, arguments), keys[0].encode(), WRITES, script, line).done

    def ask(self, script: Script, keys: Sequence[str], arguments: Sequence[Word]) -> Future[Any]:
        """One script that only reads: it goes where reads go, and waits for no replica."""
        return self._submit(self._called(script, keys, arguments), keys[0].encode(), READS, script).done

    def _called(self, script: Script, keys: Sequence[str], arguments: Sequence[Word]) -> tuple[Word, ...]:
        return "EVALSHA", self._shas[script], len(keys), *keys, *arguments

    async def everywhere(self, *words: Word) -> list[Any]:
        """One command to every server that takes writes; an exception in place of an answer."""
        if not self._topology.nodes():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._topology.look()
        nodes = self._topology.nodes()
        if not nodes:
            return [told(None)]
        return await asyncio.gather(
            *(self._submit(words, b"", READS, pinned=node).done for node in nodes), return_exceptions=True
        )

    def _submit(
        self,
        words: tuple[Word, ...],
        key: bytes,
        lane: int,
        script: Script | None = None,
        line: bytes | None = None,
        pinned: Any = None,
    ) -> Call:
        loop = self._loop or self._start()
        packed = pack(words)
        self._bytes += len(packed)
        self._open += 1
        calls = self._calls
        while calls and calls[0].over:
            calls.popleft()
        now = loop.time()
        call = Call(self, words, packed, loop.create_future(), now + self._seconds, key)
        if self._closed or self._open > self._max_calls or self._bytes > self._max_bytes:
            self._fail(call, self._full())
            return call
        calls.append(call)
        if not self._ticking:
            self._ticking = True
            loop.call_later(TICK_SECONDS, self._tick)
        call.lane, call.durable = lane, lane == WRITES
        if script is not None:
            call.script = script.source
        if pinned is not None:
            call.pinned = pinned
        if line is None or self._lines.enter(line, call):
            self._route(call)
        return call

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _full(self) -> Unavailable:
        if self._closed:
            return Unavailable("the gateway is stopping", hint=AGAIN, code="stopping")
        return Unavailable("too much waits for the platform's store", hint=AGAIN, code="state_overloaded")

    def _route(self, call: Call) -> None:
        node = call.pinned or self._topology.node(call.key)
        if node is not None:
            node.send(call)
        else:
            self._lookout.park(call)

    # ── what comes back: call.Desk ──────────────────────────────────────────────────

    def finished(self, call: Call, reply: Any) -> None:
        if call.over:
            return
        self._end(call)
        if not call.done.done():
            call.done.set_result(reply)

    def refused(self, call: Call, refusal: Refusal) -> None:
        if call.over:
            return
        call.trouble = refusal
        self.noticed(label(refusal))
        match meaning(refusal).remedy:
            case Remedy.SEND_SOURCE if call.script:
                self._repack(call, ("EVAL", call.script, *call.words[2:]))
                self._route(call)
            case Remedy.GO_THERE | Remedy.ASK_THERE if (to := moved_to(refusal)) and self._may_again(call):
                self._redirect(call, refusal, *to)
            case Remedy.LOOK:
                node = self._topology.node(call.key)
                if node is not None and refusal.word == "READONLY":
                    node.drop()
                self._elsewhere(call)
            case Remedy.PAUSE:
                self._later(call)
            case _:
                if refusal is NOT_REPLICATED:
                    self._lookout.look()  # perhaps it is the master no more
                elif meaning(refusal).code == "state_unavailable":
                    log.warning("the store refused a command: %s", refusal.word)
                self._fail(call, told(refusal))

    def lost(self, call: Call) -> None:
        if call.over:
            return
        self.noticed("lost")
        self._elsewhere(call)

    def _elsewhere(self, call: Call) -> None:
        if not self._topology.fixed:
            self._lookout.look()  # also for a ping: nothing else may ever be asked of a gateway that is not ready
        if not self._may_again(call):
            self._fail(call, told(call.trouble))
        elif call.pinned is not None:
            call.pinned.send(call)
        elif self._topology.fixed:
            self._route(call)
        else:
            self._lookout.park(call)

    def hopeless(self, call: Call, refusal: Refusal) -> None:
        if not call.over:
            self.noticed(label(refusal))
            self._fail(call, told(refusal))

    def _may_again(self, call: Call) -> bool:
        call.losses += 1
        most = PINNED_LOSSES if call.pinned is not None else self._topology.losses
        return not self._closed and call.losses <= most

    def _redirect(self, call: Call, refusal: Refusal, slot: int, host: str, port: int) -> None:
        here = self._topology.node(call.key)
        address = Address(host or (here.address.host if here is not None else ""), port)
        if refusal.word == "ASK":
            call.asking = True
            self._topology.at(address).send(call)
            return
        self._topology.moved(slot, address)
        self._lookout.look()
        self._route(call)

    def _repack(self, call: Call, words: tuple[Word, ...]) -> None:
        packed = pack(words)
        self._bytes += len(packed) - len(call.packed)
        call.packed = packed

    def _later(self, call: Call) -> None:
        if self._loop is not None:
            self._loop.call_later(PAUSE_SECONDS, self._again, call)

    def _again(self, call: Call) -> None:
        if not call.over:
            self._route(call)

    # ── ends ────────────────────────────────────────────────────────────────────────

    def _tick(self) -> None:
        """Tell those whose time is over, and break connections that are stuck."""
        loop, calls = self._loop, self._calls
        if loop is None:
            return
        now = loop.time()
        while calls and (calls[0].over or calls[0].deadline <= now):
            call = calls.popleft()
            if not call.over:
                self.noticed("overdue")
                self._fail(call, told(call.trouble))
        for node in self._topology.nodes():
            node.break_stalled(now)
        self._ticking = bool(calls) and not self._closed
        if self._ticking:
            loop.call_later(TICK_SECONDS, self._tick)

    def _fail(self, call: Call, error: BaseException) -> None:
        self._end(call)
        if not call.done.done():
            call.done.set_exception(error)

    def _end(self, call: Call) -> None:
        call.over = True
        self._open -= 1
        self._bytes -= len(call.packed)
        if call.line is None or self._closed:
            return
        if (following := self._lines.leave(call.line)) is not None:
            self._route(following)

    async def close(self) -> None:
        """Let go of every connection. What was still asked is told that the gateway stops."""
        self._closed = True
        self._lookout.close()
        self._topology.close()
        for call in tuple(self._calls):
            if not call.over:
                self._fail(call, self._full())
        self._calls.clear()
        await asyncio.sleep(0)


def topology_of(target: Target, greeting: Greeting) -> Topology:
    """`greeting` is what servers of data hear; questions about them need less."""
    if target.kind is Kind.CLUSTER:
        question = Greeting(user=greeting.user, password=greeting.password, tls=greeting.tls, name=greeting.name)
        return Cluster(target, greeting, question)
    if target.kind is Kind.SENTINEL:
        return Sentinels(target, greeting, Greeting(tls=greeting.tls, name=greeting.name))
    return Single(target.addresses[0], greeting)
