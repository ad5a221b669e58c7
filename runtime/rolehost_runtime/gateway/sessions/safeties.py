"""What the gateway has made of revisions' `safety`, kept while it is used."""

from collections import OrderedDict

from rolehost_api.crd.safety import Safety
from rolehost_api.errors import BadRequest
from rolehost_runtime.core.safety.compiling import Compiled, compiled
from rolehost_runtime.gateway.tables import RevisionEntry

MAX_KEPT = 32
"""Revisions; one with the most words takes some 3 MiB, and some 20 ms when it is first met."""
_NOTHING = Safety()


class Safeties:
    def __init__(self) -> None:
        self._kept: OrderedDict[str, Compiled | BadRequest] = OrderedDict()

    def of(self, revision: RevisionEntry) -> Compiled | BadRequest | None:
        """What guards that revision's turns: None where nothing does, and why not where it cannot be made."""
        safety = revision.spec.template.safety
        if safety == _NOTHING:
            return None
        found = self._kept.get(revision.spec.hash)
        if found is None:
            try:
                found = compiled(safety)
            except BadRequest as refused:
                found = refused
            self._kept[revision.spec.hash] = found
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(revision.spec.hash)
        return found if isinstance(found, BadRequest) or found else None
