"""Who answers sessions, counted: how they came here, where clients were relayed, how good the routes were."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter


class OwnershipSink(Protocol):
    def taken(self, how: str) -> None:
        """A session came here: `new`, `own` (read again), `handover` or `takeover`."""

    def lost(self) -> None:
        """Another gateway was found to answer what had been answered here."""

    def relayed(self) -> None:
        """A client of this gateway was given a place at another one."""

    def routed(self, *, hit: bool) -> None:
        """A route was followed; or it led nowhere any more, and the store was asked."""


class NoOwnership:
    """Counts nothing."""

    def taken(self, how: str) -> None:
        """Nothing."""

    def lost(self) -> None:
        """Nothing."""

    def relayed(self) -> None:
        """Nothing."""

    def routed(self, *, hit: bool) -> None:
        """Nothing."""


class PrometheusOwnership:
    """Counters of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        taken = Counter(
            "rolehost_sessions_taken", "Sessions that this gateway took, by how they came to it.", ["how"],
            registry=registry,
        )  # fmt: skip
        self._taken = {how: taken.labels(how) for how in ("new", "own", "handover", "takeover")}
        self._lost = Counter(
            "rolehost_sessions_lost", "Sessions that another gateway had taken over unnoticed.", registry=registry
        )
        self._relays = Counter(
            "rolehost_sessions_relayed",
            "Places of clients at sessions that another gateway answers.",
            registry=registry,
        )
        self._routes = Counter(
            "rolehost_session_routes", "Routes to other gateways that were followed.", ["outcome"], registry=registry
        )
        self._given_up = Counter(
            "rolehost_gateway_peers_given_up",
            "Other gateways taken for dead: their link ended, their lease ended in silence, or they were silent.",
            ["why"],
            registry=registry,
        )

    def taken(self, how: str) -> None:
        self._taken[how].inc()

    def lost(self) -> None:
        self._lost.inc()

    def relayed(self) -> None:
        self._relays.inc()

    def routed(self, *, hit: bool) -> None:
        self._routes.labels("hit" if hit else "stale").inc()

    def given_up(self, why: str) -> None:
        """Another gateway is not among the owners any more: it `ended`, its `lease` did, or it was `silent`."""
        self._given_up.labels(why).inc()
