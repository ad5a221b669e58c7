"""What is said first on every connection: who we are, which database, and every script that will be called by its hash."""

import asyncio
import hashlib
import ssl
from dataclasses import dataclass
from typing import Any

from rolehost_runtime.gateway.broker.state.resp.address import Address
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.connection import Connection, connect
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal

OPEN_SECONDS = 1.0
"""For socket, TLS and first words together."""
ASK_SECONDS = 0.5


class Demoted(Exception):
    """It answers, and is not the master."""


@dataclass(frozen=True, slots=True)
class Script:
    source: str

    @property
    def sha(self) -> str:
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    user: str = ""
    password: str = ""
    database: int = 0
    name: str = "rolehost"
    scripts: tuple[Script, ...] = ()
    tls: ssl.SSLContext | None = None
    replicas: int = 0
    master_only: bool = False

    async def say(self, connection: Connection) -> None:
        """Raises Refusal, Demoted, OSError."""
        words: list[tuple[Word, ...]] = []
        if self.password or self.user:
            words.append(("AUTH", self.user, self.password) if self.user else ("AUTH", self.password))
        if self.database:
            words.append(("SELECT", self.database))
        words += [("SCRIPT", "LOAD", script.source) for script in self.scripts]
        if self.master_only:
            words.append(("ROLE",))
        answers = await asyncio.gather(*connection.ask(*words, ("CLIENT", "SETNAME", self.name)))
        for answer in answers[:-1]:  # a name is a courtesy
            if isinstance(answer, Refusal):
                raise answer
        if self.master_only and answers[-2][0] != b"master":
            raise Demoted


async def ask(address: Address, greeting: Greeting, *words: Word) -> Any:
    """One question on a socket of its own, within ASK_SECONDS. Raises Refusal, OSError, TimeoutError."""
    async with asyncio.timeout(ASK_SECONDS):
        connection = await connect(address, greeting.tls, 0, lambda _: None)
        try:
            await greeting.say(connection)
            answer = await connection.ask(words)[0]
        finally:
            connection.abort()
    if isinstance(answer, Refusal):
        raise answer
    return answer
