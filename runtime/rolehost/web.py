"""`t.http`: servers outside, asked by the platform. The sandbox itself has no way out.

    rooms = await t.http.get("https://api.acme.com/rooms", params={"day": "monday"})
    if rooms.ok:
        t.say(f"{len(rooms.json())} rooms are free")

It takes a permission that names the host: `http:api.acme.com` in the manifest.
"""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from rolehost.errors import HttpFailed
from rolehost_api.link.messages import MAX_FETCH_BYTES, MAX_FETCH_MS, MAX_URL_CHARS, Fetch, Fetched, HttpMethod

Value = str | int | float | bool
Params = Mapping[str, Value | Sequence[Value]]
Encoded = Literal["application/json", "application/x-www-form-urlencoded", "text/plain; charset=utf-8", ""]
USUAL_SECONDS = 10.0
_VISIBLE = "%/:?#[]@!$&'()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class Request:
    """What awaiting a request yields; the server's answer is sent back in."""

    method: HttpMethod
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_ms: int

    def message(self, index: int) -> Fetch:
        return Fetch(
            index=index, method=self.method, url=self.url, headers=self.headers, body=self.body, timeout_ms=self.timeout_ms
        )  # fmt: skip


class HttpHeaders(Mapping[str, str]):
    """By name, in any case; what comes several times is joined by commas.

    >>> headers = HttpHeaders((("Content-Type", "text/plain"), ("Link", "a"), ("link", "b")))
    >>> headers["content-type"], headers["LINK"], headers.get("Age"), list(headers)
    ('text/plain', 'a, b', None, ['content-type', 'link'])
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            known = self._values.get(name.lower())
            self._values[name.lower()] = value if known is None else f"{known}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered. One that says 404 or 500 is an answer too: look at `ok`."""

    status: int
    headers: HttpHeaders
    content: bytes
    """The body, at most 256 KiB."""
    url: str
    """Where it came from, after redirects."""

    @classmethod
    def of(cls, found: Fetched) -> "HttpAnswer":
        """Raises HttpFailed."""
        if found.error:
            raise HttpFailed("no server answered the request", code=found.error)
        return cls(found.status, HttpHeaders(found.headers), found.body, found.url)

    @property
    def ok(self) -> bool:
        """The server says that it worked: 200 to 299."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """In the charset that the server names, else in UTF-8; what is not in it is replaced."""
        named = self.headers.get("content-type", "").lower().partition("charset=")[2].split(";")[0].strip("\"' ")
        try:
            return self.content.decode(named or "utf-8", "replace")
        except (LookupError, ValueError):
            return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises HttpFailed `http_not_json`."""
        try:
            return msgspec.json.decode(self.content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise HttpFailed("the answer is no JSON", code="http_not_json") from None


class Fetching:
    """What `get`, `post` … return. Nothing is asked until it is awaited."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.used = False

    def __await__(self) -> Generator[Request, HttpAnswer, HttpAnswer]:
        self.used = True
        return (yield self._request)


class Web:
    """Requests to servers outside. Awaiting one raises HttpFailed where no answer came; its `code` says why.

    Those that change something (all but `get` and `head`) carry an `Idempotency-Key`: should the platform run the turn
    again after a failure, the request comes twice with the same key.
    """

    def __init__(self) -> None:
        self._made: list[Fetching] = []

    def get(
        self,
        url: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = USUAL_SECONDS,
    ) -> Fetching:
        """`params` are added to the URL's query; `timeout` in seconds, at most 30, for all of it."""
        return self._make("GET", url, params, headers, timeout, b"", "")

    def head(
        self,
        url: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = USUAL_SECONDS,
    ) -> Fetching:
        """As `get`, for the headers alone."""
        return self._make("HEAD", url, params, headers, timeout, b"", "")

    def post(
        self,
        url: str,
        *,
        json: Any = None,
        data: Mapping[str, Value] | bytes | None = None,
        text: str | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = USUAL_SECONDS,
    ) -> Fetching:
        """With one body at most: `json`, `text`, or `data`, which is a form's fields or bytes as they are."""
        return self._make("POST", url, params, headers, timeout, *_body(json, data, text))

    def put(
        self,
        url: str,
        *,
        json: Any = None,
        data: Mapping[str, Value] | bytes | None = None,
        text: str | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = USUAL_SECONDS,
    ) -> Fetching:
        """As `post`."""
        return self._make("PUT", url, params, headers, timeout, *_body(json, data, text))

    def patch(
        self,
        url: str,
        *,
        json: Any = None,
        data: Mapping[str, Value] | bytes | None = None,
        text: str | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = USUAL_SECONDS,
    ) -> Fetching:
        """As `post`."""
        return self._make("PATCH", url, params, headers, timeout, *_body(json, data, text))

    def delete(
        self,
        url: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = USUAL_SECONDS,
    ) -> Fetching:
        return self._make("DELETE", url, params, headers, timeout, b"", "")

    def forgotten(self) -> bool:
        """Whether a request was made and never awaited. Starts afresh."""
        missed = any(not one.used for one in self._made)
        self._made.clear()
        return missed

    def _make(
        self,
        method: HttpMethod,
        url: str,
        params: Params | None,
        headers: Mapping[str, str] | None,
        timeout: float,
        body: bytes,
        kind: Encoded,
    ) -> Fetching:
        if not isinstance(timeout, int | float) or not 0.001 <= timeout <= MAX_FETCH_MS / 1000:
            raise _invalid(f"timeout is a number of seconds, at most {MAX_FETCH_MS // 1000}")
        if len(body) > MAX_FETCH_BYTES:
            raise _invalid(f"a body has at most {MAX_FETCH_BYTES} bytes")
        pairs = [(str(name), str(value)) for name, value in (headers or {}).items()]
        if kind and not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("Content-Type", kind))
        if len(pairs) > 64 or any(len(name) > 256 or len(value) > 8192 for name, value in pairs):
            raise _invalid("a request has at most 64 headers, of 8192 characters each")
        made = Fetching(Request(method, _with(url, params), tuple(pairs), body, round(1000 * timeout)))
        self._made.append(made)
        return made


def _with(url: str, params: Params | None) -> str:
    """The URL with its query, and encoded where people write it as they read it.

    >>> _with("https://a.com/free rooms?x=1#top", {"day": "Mon/Tue", "id": [1, 2]})
    'https://a.com/free%20rooms?x=1&day=Mon%2FTue&id=1&id=2'
    """
    if not isinstance(url, str):
        raise _invalid("a URL is text")
    try:
        query = urlencode(params, doseq=True) if params else ""
        before, slash, path = url.partition("#")[0].partition("://")
        host, cut, rest = path.partition("/")
        encoded = before + slash + host + cut + quote(rest, safe=_VISIBLE)
    except (TypeError, ValueError):
        raise _invalid("params are names with values, or lists of values") from None
    if query:
        encoded += ("&" if "?" in encoded else "?") + query
    if len(encoded) > MAX_URL_CHARS:
        raise HttpFailed(f"a URL has at most {MAX_URL_CHARS} characters", code="http_invalid_url")
    return encoded


def _body(json_: Any, data: Mapping[str, Value] | bytes | None, text: str | None) -> tuple[bytes, Encoded]:
    if (json_ is not None) + (data is not None) + (text is not None) > 1:
        raise _invalid("a request has one body: json, data or text")
    try:
        if json_ is not None:
            return json.dumps(json_, ensure_ascii=False, separators=(",", ":")).encode(), "application/json"
        if text is not None:
            return text.encode(), "text/plain; charset=utf-8"
        if isinstance(data, bytes):
            return data, ""
        if data is not None:
            return urlencode(data).encode(), "application/x-www-form-urlencoded"
    except (TypeError, ValueError, AttributeError, RecursionError):
        raise _invalid("the body cannot be encoded") from None
    return b"", ""


def _invalid(why: str) -> HttpFailed:
    return HttpFailed(why, code="http_invalid_request")
