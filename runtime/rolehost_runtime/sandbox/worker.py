"""A worker: runs one step of one turn at a time, blocking, in a process that may be killed any time."""

import os
import socket
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from rolehost import Role
from rolehost.role import Hook
from rolehost_api.link.messages import TurnFailed
from rolehost_runtime.core.behavior.graph import Graph
from rolehost_runtime.core.engine import Reporter, TurnEngine
from rolehost_runtime.sandbox.loading import show, where
from rolehost_runtime.sandbox.steps import (
    Drop,
    Entering,
    LogNote,
    Missing,
    Out,
    Step,
    Stepped,
    ToWorker,
    pack,
    read_one,
)

MAX_SUSPENDED = 64
"""Turns that wait for the model here; what is let go is run again from its journal."""
MAX_LOG_CHARS = 8192
MOST_FILES = 128
"""Open files, of the 256 that it may have, with which a worker still serves others."""


@dataclass(frozen=True, slots=True)
class Logic:
    """What the template imported."""

    role: Role[Any]
    folder: str
    personas: int
    max_state_bytes: int
    graph: Graph | None = None
    permissions: tuple[str, ...] | None = None


class _Output:
    """What this process prints. Muted while a turn comes back to where it was: those lines were shown before.

    A turn is recorded up to the end of a step, and all that a step printed was shown by
    then, so nothing is lost by it, and what is printed twice was printed by hooks that
    did run twice.
    """

    def __init__(self) -> None:
        self._kept = (os.dup(1), os.dup(2))
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self._muted = False

    def mute(self) -> None:
        self._flush()
        for number in (1, 2):
            os.dup2(self._nowhere, number)
        self._muted = True

    def show(self) -> None:
        """All that is printed from here on; and nothing stays behind in a buffer."""
        self._flush()
        if self._muted:
            for number, kept in enumerate(self._kept, start=1):
                os.dup2(kept, number)
            self._muted = False

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a hook may have put anything there
                stream.flush()


class _Telling(Reporter):
    def __init__(self, sock: socket.socket, folder: str, output: _Output) -> None:
        self._sock = sock
        self._folder = folder
        self._output = output

    def entering(self, run: int, hook: Hook) -> None:
        self._sock.sendall(pack(Entering(run=run, hook=hook.name)))

    def log(self, text: str) -> None:
        clean = text[:MAX_LOG_CHARS].encode(errors="replace").decode()
        self._sock.sendall(pack(LogNote(text=clean)))

    def caught_up(self) -> None:
        self._output.show()

    def failed(self, hook: Hook, error: BaseException) -> None:
        show(error, self._folder)

    def where(self, error: BaseException) -> str:
        return where(error, self._folder)


class Worker:
    def __init__(self, sock: socket.socket, logic: Logic) -> None:
        self._sock = sock
        self._logic = logic
        self._output = _Output()
        self._telling = _Telling(sock, logic.folder, self._output)
        self._suspended: OrderedDict[int, TurnEngine] = OrderedDict()

    def serve(self) -> None:
        """Until the agent hangs up, or hooks have left too many files open for the next one to find room."""
        decode = msgspec.msgpack.Decoder(ToWorker).decode
        while self._has_room() and (asked := read_one(self._sock, decode)) is not None:
            if isinstance(asked, Drop):
                self._drop(asked.turn)
            else:
                self._sock.sendall(pack(self._answer(asked)))

    def _has_room(self) -> bool:
        try:
            lowest = os.dup(self._sock.fileno())
        except OSError:
            return False
        os.close(lowest)
        return lowest < MOST_FILES

    def _answer(self, step: Step) -> Stepped | Missing:
        if step.start is None and step.turn not in self._suspended:
            return Missing(turn=step.turn)
        if step.delta is not None:
            return Stepped(turn=step.turn, stop=self._suspended[step.turn].notice(step.delta))
        if step.journal:
            self._output.mute()
        try:
            out = self._run(step)
        except Exception as error:  # a fault of ours must not look like the tenant's, nor end the worker
            self._output.show()
            show(error, "")
            self._drop(step.turn)
            out = [TurnFailed(code="engine_failed")]
        self._output.show()
        return Stepped(turn=step.turn, out=tuple(out))

    def _run(self, step: Step) -> list[Out]:
        if step.start is not None:
            self._drop(step.turn)
            engine = TurnEngine(
                self._logic.role,
                step.start,
                msgspec.msgpack.decode(step.state),
                user_state=None if step.user_state is None else msgspec.msgpack.decode(step.user_state),
                personas=self._logic.personas,
                max_state_bytes=self._logic.max_state_bytes,
                journal=step.journal,
                stops=step.stops,
                reporter=self._telling,
                graph=self._logic.graph,
                permissions=self._logic.permissions,
            )
            out = engine.begin()
        elif step.result is not None:
            engine = self._suspended.pop(step.turn)
            out = engine.resume(step.result)
        else:
            raise ValueError("a step with neither a start nor a result")
        if not engine.done:
            self._suspended[step.turn] = engine
            if len(self._suspended) > MAX_SUSPENDED:
                self._drop(next(iter(self._suspended)))
        return out

    def _drop(self, turn: int) -> None:
        engine = self._suspended.pop(turn, None)
        if engine is not None:
            engine.close()
