"""Why there is a turn without a message."""

import hashlib

from msgspec import Struct


class Occasion(Struct, frozen=True, omit_defaults=True):
    hook: str
    """Of the timer that was due, as `event:function`; or `on_end`."""
    due_ms: int = 0
    """When it was due. With the hook it says which one it was: a session's log has each once."""

    @property
    def event(self) -> str:
        """
        >>> Occasion("on_idle:nudge", 5).event, Occasion("on_end").event
        ('on_idle', 'on_end')
        """
        return self.hook.partition(":")[0]

    @property
    def digest(self) -> bytes:
        """8 bytes that stand for it among the ids of messages that were answered; no message has such an id."""
        said = f"{self.due_ms} {self.hook}".encode(errors="surrogatepass")
        return hashlib.blake2b(said, digest_size=8, person=b"occasion").digest()
