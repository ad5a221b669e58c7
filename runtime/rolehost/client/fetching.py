"""One GET for the state, beside a channel that is degraded."""

import json
import urllib.error
import urllib.request
from typing import Any

SECONDS = 10.0
MAX_ANSWER = 1 << 20


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is not followed: the key would go along."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)


def fetch(url: str, bearer: str) -> Any:
    """The JSON answer; None where there is none."""
    request = urllib.request.Request(url)  # noqa: S310 - http(s), see `base_of`
    if bearer:
        request.add_header("Authorization", f"Bearer {bearer}")
    try:
        with _opener.open(request, timeout=SECONDS) as response:
            return json.loads(response.read(MAX_ANSWER))
    except (OSError, ValueError, urllib.error.URLError):
        return None
