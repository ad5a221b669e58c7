"""A web for tests of role logic: what is asked for by a URL is answered with what stands there, and nothing else is there."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolehost.errors import HttpFailed
from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import Fetch, Fetched
from rolehost_runtime.core.reach import headers
from rolehost_runtime.core.reach.grants import granted
from rolehost_runtime.core.reach.urls import parse

ANY_HOST = "http:*"
"""Grants every host, in tests of logic that has no manifest; a manifest cannot say so."""


@dataclass(frozen=True, slots=True)
class Requested:
    """One request that logic made."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Stub:
    """An answer in full."""

    status: int = 200
    text: str = ""
    json: Any = None
    headers: Mapping[str, str] | None = None


Reaction = str | int | dict[str, Any] | list[Any] | Stub | HttpFailed
"""Text, a status, JSON, an answer in full, or why there is none."""
StubWeb = Mapping[str, Reaction | Callable[[Requested], Reaction]]
"""By `https://…` (any method) or `POST https://…`; without its query a URL stands for all queries."""


class NotStubbed(Exception):
    """Logic asked for what the test's web does not hold."""


def answer(web: StubWeb, permissions: Sequence[str], asked: Fetch) -> tuple[Requested | None, Fetched]:
    """What was requested (None: it was refused), and the answer. Raises NotStubbed.

    >>> asked = Fetch(index=0, url="https://api.acme.com/rooms?day=1")
    >>> answer({"https://api.acme.com/rooms": ["blue"]}, [ANY_HOST], asked)[1].body
    b'["blue"]'
    >>> answer({}, ["http:api.other.com"], asked)[1].error
    'http_not_granted'
    """
    try:
        target = parse(asked.url)
        headers.checked(asked.headers)
    except BadRequest as refused:
        return None, Fetched(index=asked.index, error=refused.code)
    if ANY_HOST not in permissions and not granted(permissions, target):
        return None, Fetched(index=asked.index, error="http_not_granted")
    made = Requested(asked.method, target.url, dict(asked.headers), asked.body)
    bare = target.url.partition("?")[0]
    names = [f"{asked.method} {target.url}", target.url, f"{asked.method} {bare}", bare]
    known = {_normal(name): reaction for name, reaction in web.items()}
    found = next((known[name] for name in names if name in known), None)
    if found is None:
        there = ", ".join(sorted(web)) or "nothing"
        raise NotStubbed(f"logic asked for {names[0]}, but web= holds {there}")
    return made, _answer(found(made) if callable(found) else found, asked.index, target.url)


def _normal(name: str) -> str:
    method, space, url = name.rpartition(" ")
    return f"{method}{space}{parse(url).url}"


def _answer(reaction: Reaction, index: int, url: str) -> Fetched:
    if isinstance(reaction, HttpFailed):
        return Fetched(index=index, error=reaction.code)
    if isinstance(reaction, int):
        reaction = Stub(reaction)
    elif isinstance(reaction, str):
        reaction = Stub(text=reaction)
    elif not isinstance(reaction, Stub):
        reaction = Stub(json=reaction)
    is_json = reaction.json is not None
    kind = "application/json" if is_json else "text/plain; charset=utf-8"
    body = json.dumps(reaction.json).encode() if is_json else reaction.text.encode()
    told = {"content-type": kind, **{name.lower(): value for name, value in (reaction.headers or {}).items()}}
    return Fetched(index=index, status=reaction.status, headers=tuple(told.items()), body=body, url=url)
