"""The Model Context Protocol as far as tools go: what is said to a server, and what its answers come to. Sans-IO.

Streamable HTTP of 2025-06-18 and before: each message is a POST, answered with JSON or with an event stream that holds the
answer. A server is a stranger: its tools have names and schemas that may be anything, and what it says is text for a model.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.link.tools import MAX_DESCRIPTION_CHARS, MAX_TOOLS, ToolSpec

VERSIONS = ("2025-06-18", "2025-03-26")
"""That this code speaks, the newest first: it is asked for."""
MAX_PAGES = 4
MAX_EVENT_BYTES = 262_144
SEPARATOR = "__"


class Failure(Struct):
    code: int = 0


class Reply(Struct):
    """What may come from a server; of what is no answer nothing is read."""

    id: Any = None
    result: dict[str, Any] | None = None
    error: Failure | None = None


_reply = msgspec.json.Decoder(Reply | list[Reply])


def request(number: int, method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """
    >>> request(1, "tools/list")
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    """
    said: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
    return msgspec.json.encode(said if params is None else {**said, "params": params})


def notification(method: str) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method})


def hello(version: str) -> dict[str, Any]:
    """Of `initialize`."""
    return {"protocolVersion": VERSIONS[0], "capabilities": {}, "clientInfo": {"name": "rolehost", "version": version}}


def version_of(result: Mapping[str, Any]) -> str:
    """The version that both speak. Raises Unavailable `mcp_version`.

    >>> version_of({"protocolVersion": "2025-03-26"})
    '2025-03-26'
    """
    said = result.get("protocolVersion")
    if said not in VERSIONS:
        raise Unavailable("the tool server speaks no version that is known here", code="mcp_version", retryable=False)
    return str(said)


def answer_in(body: bytes, number: int) -> dict[str, Any] | None:
    """The result of request `number`, where the body holds its answer. Raises Unavailable `mcp_failed`.

    >>> answer_in(b'{"jsonrpc":"2.0","id":2,"result":{"a":1}}', 2), answer_in(b'{"method":"ping","id":9}', 2)
    ({'a': 1}, None)
    """
    try:
        found: Reply | list[Reply] = _reply.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise broken() from None
    for reply in found if isinstance(found, list) else [found]:
        if reply.id == number and type(reply.id) is int:
            if reply.error is not None:
                raise broken()
            if reply.result is not None:
                return reply.result
    return None


class Events:
    """An event stream: bytes in, the data of whole events out.

    >>> events = Events()
    >>> events.feed(b": hi\\nevent: message\\nda"), events.feed(b"ta: {}\\r\\n\\r\\ndata: a\\ndata: b\\n\\n")
    ([], [b'{}', b'a\\nb'])
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Raises Unavailable `mcp_failed` for a line or an event without end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found: list[bytes] = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        if len(self._rest) + self._size > MAX_EVENT_BYTES:
            raise broken()
        return found


def tools_in(server: str, result: Mapping[str, Any]) -> list[ToolSpec]:
    """The tools of one page. One with a name that no model takes, or that says too much, is left out.

    >>> page = {"tools": [{"name": "forecast", "description": "Rain?", "inputSchema": {"type": "object"}}, {"name": "no way!"}, 7]}
    >>> [(one.name, one.description, one.parameters) for one in tools_in("weather", page)]
    [('weather__forecast', 'Rain?', b'{"type":"object"}')]
    """
    found = []
    listed = result.get("tools")
    for one in listed if isinstance(listed, list) else []:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            continue
        schema = one.get("inputSchema")
        described = one.get("description")
        try:
            spec = ToolSpec(
                name=f"{server}{SEPARATOR}{one['name']}",
                description=(described if isinstance(described, str) else "")[:MAX_DESCRIPTION_CHARS],
                parameters=msgspec.json.encode(
                    schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
                ),
            )
            found.append(msgspec.convert(msgspec.to_builtins(spec), ToolSpec))
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            continue
    return found[:MAX_TOOLS]


def next_page(result: Mapping[str, Any]) -> str:
    """The cursor of the page after this one; empty: there is none."""
    cursor = result.get("nextCursor")
    return cursor if isinstance(cursor, str) and len(cursor) <= 4096 else ""


def text_in(result: Mapping[str, Any]) -> str:
    """What a call gave back, for a model to read. What is no text is named; a failure says that it is one.

    >>> text_in({"content": [{"type": "text", "text": "Rain."}, {"type": "image", "data": "…"}]})
    'Rain.\\n(image)'
    >>> text_in({"content": [{"type": "text", "text": "No such city."}], "isError": True})
    'The tool failed: No such city.'
    >>> text_in({"structuredContent": {"mm": 3}})
    '{"mm":3}'
    """
    content = result.get("content")
    parts = [_part(one) for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    if not parts and isinstance(result.get("structuredContent"), dict):
        parts = [msgspec.json.encode(result["structuredContent"]).decode()]
    said = "\n".join(parts)
    return f"The tool failed: {said}" if result.get("isError") is True else said


def split(name: str) -> tuple[str, str]:
    """The server's and the tool's own part of a name.

    >>> split("weather__get__all")
    ('weather', 'get__all')
    """
    server, _, tool = name.partition(SEPARATOR)
    return server, tool


def broken() -> RolehostError:
    return Unavailable("the tool server's answer cannot be used", code="mcp_failed")


def _part(one: Mapping[str, Any]) -> str:
    if one.get("type") == "text" and isinstance(one.get("text"), str):
        return str(one["text"])
    inner = one.get("resource")
    if one.get("type") == "resource" and isinstance(inner, dict) and isinstance(inner.get("text"), str):
        return str(inner["text"])
    kind = one.get("type")
    return f"({kind})" if kind in ("image", "audio", "resource", "resource_link") else "(something that is no text)"
