"""Why no server's answer came. Stable codes; no name, address or path of anybody in the words."""

from rolehost_api.errors import BadRequest, Forbidden, Overloaded, RolehostError, Unavailable


def not_granted() -> RolehostError:
    return Forbidden(
        "this Role may not reach that host",
        hint="Add http: and the host to spec.template.permissions, e.g. http:api.acme.com",
        code="http_not_granted",
    )


def refused_address() -> RolehostError:
    return Forbidden(
        "the host leads to an address that is not public",
        hint="Whoever runs the platform can allow it: reach.allowedCidrs",
        code="http_refused_address",
    )


def unreachable() -> RolehostError:
    return Unavailable("the host cannot be reached", code="http_unreachable")


def broken() -> RolehostError:
    return Unavailable("the server's answer cannot be read", code="http_failed")


def too_slow() -> RolehostError:
    return Unavailable("the server did not answer in time", code="http_timeout")


def too_large() -> RolehostError:
    return Unavailable("the server's answer is too large", code="http_too_large", retryable=False)


def too_many_hops() -> RolehostError:
    return BadRequest("the server led on too often", code="http_too_many_redirects")


def busy() -> RolehostError:
    return Overloaded("this Role has too many requests under way", code="http_busy")


def too_often() -> RolehostError:
    return Overloaded("this tenant sends too many requests", code="http_rate_limited")


def off() -> RolehostError:
    return Forbidden("requests to servers outside are switched off here", code="http_off")
