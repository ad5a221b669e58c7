"""Redirects: the request that an answer asks for. It is judged like the first one, as if logic had asked for it."""

from dataclasses import dataclass, replace
from urllib.parse import urljoin

from rolehost_runtime.core.reach.headers import Headers, elsewhere
from rolehost_runtime.core.reach.urls import Target, parse

MAX_HOPS = 5
"""Redirects that are followed, one after the other."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SAFE = frozenset({"GET", "HEAD"})
"""Methods that change nothing: they may be asked twice without a word."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: Target
    headers: Headers = ()
    body: bytes = b""

    def redirected(self, status: int, location: str) -> "Request | None":
        """What to ask instead; None: this answer is the answer. Raises BadRequest `http_invalid_url`.

        >>> first = Request("POST", parse("https://a.com/x"), (("X-Key", "k"), ("Accept", "*/*")), b"{}")
        >>> after = first.redirected(303, "/done"); (after.method, after.target.url, after.headers, after.body)
        ('GET', 'https://a.com/done', (('X-Key', 'k'), ('Accept', '*/*')), b'')
        >>> after = first.redirected(307, "https://b.com/y"); (after.method, after.headers, after.body)
        ('POST', (('Accept', '*/*'),), b'{}')
        >>> first.redirected(200, "/done") is None, first.redirected(302, "") is None
        (True, True)
        """
        if status not in REDIRECTS or not location:
            return None
        target = parse(urljoin(self.target.url, location))
        headers = self.headers if target.origin == self.target.origin else elsewhere(self.headers)
        moved = replace(self, target=target, headers=headers)
        if self.method in SAFE or (status in (307, 308)) or (status != 303 and self.method != "POST"):
            return moved
        bare = tuple((name, value) for name, value in headers if not name.lower().startswith("content-"))
        return replace(moved, method="GET", headers=bare, body=b"")
