"""Headers that a request of role logic may carry."""

import re
from collections.abc import Iterable, Sequence

from rolehost_api.errors import BadRequest

Headers = tuple[tuple[str, str], ...]
MAX_HEADERS = 64
MAX_HEADER_CHARS = 16_384
"""Of all names and values."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?|")
OURS = frozenset(
    {"host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "expect",
     "accept-encoding", "forwarded", "via", "x-real-ip"}
)  # fmt: skip
"""What says how the bytes travel, and from whom: that is the platform's to say."""
OURS_BEGIN = ("proxy-", "x-forwarded-", "sec-")
TRAVELS = frozenset({"accept", "accept-language", "content-type", "idempotency-key", "user-agent"})
"""What goes along when a redirect leads to another host. Keys ride in headers of any name, so it is few."""


def checked(headers: Sequence[tuple[str, str]]) -> Headers:
    """Raises BadRequest `http_invalid_request`.

    >>> checked([("Accept", "text/plain")])
    (('Accept', 'text/plain'),)
    """
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_CHARS:
        raise _invalid(f"more than {MAX_HEADERS} headers, or {MAX_HEADER_CHARS} characters of them")
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise _invalid("a header that is not printable ASCII")
        if name.lower() in OURS or name.lower().startswith(OURS_BEGIN):
            raise _invalid(f"the header {name}, which is the platform's to write")
    return tuple(headers)


def has(headers: Iterable[tuple[str, str]], name: str) -> bool:
    return any(one.lower() == name for one, _ in headers)


def elsewhere(headers: Headers) -> Headers:
    """What of them goes to another host.

    >>> elsewhere((("Accept", "text/plain"), ("Authorization", "Bearer x"), ("X-Key", "x")))
    (('Accept', 'text/plain'),)
    """
    return tuple((name, value) for name, value in headers if name.lower() in TRAVELS)


def _invalid(what: str) -> BadRequest:
    return BadRequest(f"the request has {what}", code="http_invalid_request")
