"""Turns of a Role as gateways count them, for tests of alert rules."""

from tests.support.promtool import Series, counter, steady

from rolehost_api import slo


def promise(
    minutes: int,
    target: str = "0.99",
    *,
    window_days: int = 28,
    tenant: str = "acme",
    role: str = "cat",
    objective: str = "answered",
    pod: str = "gw-0",
) -> list[Series]:
    """A Role's objective, exported for so many minutes."""
    labels = {"tenant": tenant, "role": role, "objective": objective, "pod": pod}
    return [
        Series(slo.TARGET, labels, steady(target, minutes)),
        Series(slo.WINDOW, labels, steady(str(window_days * 86_400), minutes)),
    ]


def turns(
    *parts: tuple[int, int, int],
    tenant: str = "acme",
    role: str = "cat",
    objective: str = "answered",
    revision: str = "cat-0123456789",
    pod: str = "gw-0",
) -> list[Series]:
    """Turns in parts of (good a minute, bad a minute, minutes)."""
    labels = {"tenant": tenant, "role": role, "revision": revision, "objective": objective, "pod": pod}
    return [
        Series(
            f"{slo.TURNS}_total", {**labels, "outcome": slo.GOOD}, counter(*((good, many) for good, _, many in parts))
        ),
        Series(f"{slo.TURNS}_total", {**labels, "outcome": slo.BAD}, counter(*((bad, many) for _, bad, many in parts))),
    ]
