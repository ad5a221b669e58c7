"""Segments that nobody names: their gateway died after it had written one, and before the log said so.

Whoever moves a session's records first looks, once for each time that it took the session over, what owners before it
left behind. Only those of earlier epochs go: the store refuses such an owner for good, so what it has not named by now is
never named. What this epoch wrote stays: a call that was given up may arrive after all, as it does after a partition, and
then it is named. What another log of the session wrote stays too: it may be all that is left of one that Redis lost.
"""

import logging
from collections import OrderedDict

from rolehost_runtime.core.segment import Shelved, log_folder
from rolehost_runtime.gateway.sessions.history import Past

MAX_KNOWN = 4096
"""Sessions of which it is remembered that they were looked through; one that is forgotten is looked through again."""
LISTED = 1000
"""Names looked at; of a log with more, those are looked at that the object store tells first."""

log = logging.getLogger(__name__)


class Orphans:
    def __init__(self) -> None:
        self._looked: OrderedDict[str, tuple[str, int]] = OrderedDict()
        """Log and epoch, by session."""

    async def clear(self, past: Past, tenant_uid: str, key: str, log_id: str, epoch: int) -> int:
        """Delete what owners of that log before that epoch left; how many there were. Nothing where that was done.

        Raises Unavailable `archive_unavailable` and `state_unavailable`, CorruptRecord for a name that cannot be read;
        said again, it goes on.
        """
        store = past.segments
        if store is None or epoch <= 1 or self._looked.get(key) == (log_id, epoch):
            return 0
        found = [Shelved.of(name) for name in await store.list(log_folder(tenant_uid, key, log_id), LISTED)]
        left = [one.name for one in found if one.epoch < epoch and not await named(past, key, one)]
        if left:
            await store.delete(left)
            log.info("%d segments of session %s that nobody named are deleted", len(left), key)
        self._looked[key] = (log_id, epoch)
        self._looked.move_to_end(key)
        if len(self._looked) > MAX_KNOWN:
            self._looked.popitem(last=False)
        return len(left)


async def named(past: Past, key: str, one: Shelved) -> bool:
    """Whether the session's log says that its records are in this segment. Raises as ports.ShortenedLog.shelved."""
    there = await past.log.shelved(key, one.last)
    return there is not None and there.name == one.name
