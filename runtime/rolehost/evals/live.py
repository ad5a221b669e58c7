"""Scenarios with a Role that runs: through the client library, as any client comes in."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click

from rolehost.cli.reach import Gateway
from rolehost.cli.sessions import path
from rolehost.client import ClientError, connect
from rolehost.client.session import Event, Session
from rolehost.evals.forms import ScenarioForm
from rolehost.evals.judging import Observed
from rolehost_api.errors import Unavailable

PATIENCE = 120.0
"""Seconds for one answer, losses included."""


class LiveTalk:
    """Implements running.Talk."""

    def __init__(self, session: Session, events: AsyncIterator[Event], gateway: Gateway, role: str, user: str) -> None:
        self._session, self._events = session, events
        self._gateway, self._role, self._user = gateway, role, user

    async def say(self, message: str) -> Observed:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            reply = await self._session.say(message, patience=PATIENCE)
        except ClientError as failed:
            return Observed(error=failed.code, latency_ms=1000 * (loop.time() - began))
        took = 1000 * (loop.time() - began)
        transitions: list[tuple[str, str, str]] = []
        memories: list[tuple[str, str]] = []
        done: dict[str, Any] = {}
        try:
            async with asyncio.timeout(PATIENCE):
                async for event in self._events:
                    if event.type == "role.behavior.transition" and event.get("response_id") == reply.response_id:
                        transitions.append((event["subgraph"], event["from"], event["to"]))
                    elif event.type == "role.memory.committed":
                        memories += [(atom["kind"], atom["text"]) for atom in event.get("atoms", ())]
                    elif event.type == "response.done" and event.get("response_id") == reply.response_id:
                        done = event
                        break
        except TimeoutError:
            raise Unavailable("the gateway answered and did not tell the end of it", code="events_missing") from None
        state = await asyncio.to_thread(self._state)
        return Observed(
            text=reply.text,
            latency_ms=took,
            finish_reason=str(done.get("finish_reason", "stop")),
            transitions=tuple(transitions),
            nodes=state.get("nodes", {}),
            memories=tuple(memories),
            state={name: value for name, value in state["state"].items() if not name.startswith("@")},
            user_state=state.get("user_state") or state["state"].get("@user") or {},
        )

    def _state(self) -> dict[str, Any]:
        where = path(self._role, "sessions", self._session.id, "state", user=self._user)
        try:
            found: dict[str, Any] = self._gateway.ask("GET", where)
        except click.ClickException as error:
            raise Unavailable(error.format_message(), code="state_unreadable") from None
        return found


class LivePlayer:
    """Implements running.Player. Every scenario has a session of its own, which stays; the gateway draws its chances."""

    def __init__(self, gateway: Gateway, role: str) -> None:
        self._gateway, self._role = gateway, role

    @asynccontextmanager
    async def open(self, scenario: ScenarioForm, seed: int) -> AsyncIterator[LiveTalk]:
        session = connect(
            self._gateway.url,
            self._role,
            key=self._gateway.key or None,
            session_id=f"eval-{secrets.token_hex(8)}",
            user=scenario.user or None,
        )
        async with session:
            yield LiveTalk(session, session.events(), self._gateway, self._role, scenario.user)
