"""A worker: runs one step of one turn at a time, blocking, in a process that may be killed any time."""

import socket
import sys
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from rolehost import Role
from rolehost.role import Hook
from rolehost_api.link.messages import TurnFailed
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


@dataclass(frozen=True, slots=True)
class Logic:
    """What the template imported."""

    role: Role[Any]
    folder: str
    personas: int
    max_state_bytes: int


class _Telling(Reporter):
    def __init__(self, sock: socket.socket, folder: str) -> None:
        self._sock = sock
        self._folder = folder

    def entering(self, run: int, hook: Hook) -> None:
        self._sock.sendall(pack(Entering(run=run, hook=hook.name)))

    def log(self, text: str) -> None:
        clean = text[:MAX_LOG_CHARS].encode(errors="replace").decode()
        self._sock.sendall(pack(LogNote(text=clean)))

    def failed(self, hook: Hook, error: BaseException) -> None:
        show(error, self._folder)

    def where(self, error: BaseException) -> str:
        return where(error, self._folder)


class Worker:
    def __init__(self, sock: socket.socket, logic: Logic) -> None:
        self._sock = sock
        self._logic = logic
        self._telling = _Telling(sock, logic.folder)
        self._suspended: OrderedDict[int, TurnEngine] = OrderedDict()

    def serve(self) -> None:
        """Until the agent hangs up."""
        decode = msgspec.msgpack.Decoder(ToWorker).decode
        while (asked := read_one(self._sock, decode)) is not None:
            if isinstance(asked, Drop):
                self._drop(asked.turn)
            else:
                self._sock.sendall(pack(self._answer(asked)))

    def _answer(self, step: Step) -> Stepped | Missing:
        if step.start is None and step.turn not in self._suspended:
            return Missing(turn=step.turn)
        try:
            out = self._run(step)
        except Exception as error:  # a fault of ours must not look like the tenant's, nor end the worker
            show(error, "")
            self._drop(step.turn)
            out = [TurnFailed(code="engine_failed")]
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return Stepped(turn=step.turn, out=tuple(out))

    def _run(self, step: Step) -> list[Out]:
        if step.start is not None:
            self._drop(step.turn)
            engine = TurnEngine(
                self._logic.role,
                step.start,
                msgspec.msgpack.decode(step.state),
                personas=self._logic.personas,
                max_state_bytes=self._logic.max_state_bytes,
                journal=step.journal,
                stops=step.stops,
                reporter=self._telling,
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
