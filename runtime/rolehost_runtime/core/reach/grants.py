"""`http:` permissions: which hosts a Role's logic may reach.

`http:api.acme.com` is https://api.acme.com on its usual port; `http:*.acme.com` is every name below acme.com, however
deep, and not acme.com itself; `http:api.acme.com:8443` is that port, over https or, where the URL says so, plain http.
"""

import re
from collections.abc import Iterable

from rolehost_runtime.core.reach.urls import Target

_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_GRANT = re.compile(rf"http:(?P<wild>\*\.(?={_NAME}\.))?(?P<host>{_NAME}(\.{_NAME})*)(:(?P<port>[1-9][0-9]{{0,4}}))?")


def is_grant(permission: str) -> bool:
    """Whether it can grant anything.

    >>> [is_grant(one) for one in ("http:a.com", "http:*.a.com:8443", "http:*.com", "http:*", "http:A.com", "http:a.com:0")]
    [True, True, False, False, False, False]
    """
    found = _GRANT.fullmatch(permission)
    return found is not None and int(found["port"] or 1) <= 65535


def granted(permissions: Iterable[str], target: Target) -> bool:
    """Whether one of them grants it.

    >>> from rolehost_runtime.core.reach.urls import parse
    >>> mine = ["http:api.acme.com", "http:*.weather.org", "http:shop.acme.com:8080"]
    >>> [granted(mine, parse(url)) for url in ("https://api.acme.com/v1", "https://eu.api.weather.org", "http://shop.acme.com:8080")]
    [True, True, True]

    Another port, plain http where no port is granted, the name above, and names that only end alike are not granted:

    >>> [granted(mine, parse(url)) for url in ("https://api.acme.com:8443", "http://api.acme.com", "https://weather.org",
    ...                                        "https://evilweather.org", "https://api.acme.com.evil.org")]
    [False, False, False, False, False]
    """
    return any(_grants(one, target) for one in permissions)


def wanted_for(target: Target) -> str:
    """The permission that grants it and nothing else.

    >>> from rolehost_runtime.core.reach.urls import parse
    >>> [wanted_for(parse(url)) for url in ("https://api.acme.com/v1", "https://a.com:8443", "http://a.com")]
    ['http:api.acme.com', 'http:a.com:8443', 'http:a.com:80']
    """
    return f"http:{target.host}" + ("" if (target.scheme, target.port) == ("https", 443) else f":{target.port}")


def _grants(permission: str, target: Target) -> bool:
    found = _GRANT.fullmatch(permission)
    if found is None:
        return False
    host, port = found["host"], found["port"]
    if port is None and (target.scheme, target.port) != ("https", 443):
        return False
    if port is not None and int(port) != target.port:
        return False
    return target.host.endswith(f".{host}") if found["wild"] else target.host == host
