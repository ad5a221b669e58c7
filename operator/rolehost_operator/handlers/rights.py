"""Tenant namespaces where this operator may not write: who is told, and how often."""

from collections.abc import Set

AGAIN_SECONDS = 600.0
"""Between two lines about one namespace: it waits for a person."""


class Rights:
    """Where writes were refused. Bounded by the namespaces that a platform administrator labelled.

    >>> rights = Rights()
    >>> rights.refused("acme", now=0.0), rights.refused("acme", now=599.0), rights.refused("acme", now=600.0)
    (True, False, True)
    >>> len(rights), rights.granted("acme"), rights.granted("acme"), len(rights)
    (1, True, False, 0)
    """

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._told)

    def refused(self, namespace: str, now: float) -> bool:
        """Note it; whether it is to be told."""
        last = self._told.get(namespace)
        if last is not None and now - last < AGAIN_SECONDS:
            return False
        self._told[namespace] = now
        return True

    def granted(self, namespace: str) -> bool:
        """A write went through; whether that is news."""
        return self._told.pop(namespace, None) is not None

    def keep(self, namespaces: Set[str]) -> None:
        """Forget those without Roles: nothing is refused there any more."""
        for namespace in self._told.keys() - namespaces:
            del self._told[namespace]
