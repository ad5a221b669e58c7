"""What Redis answers instead of a value: what is done about it, and what it is called.

A refusal's text is Redis' own and may quote arguments: only its first word goes further.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from rolehost_api.errors import Overloaded, RolehostError, Unavailable

AGAIN = "Try again, with the same client_msg_id: what was kept after all is not answered twice"
_WORD = re.compile(r"[A-Z]{2,32}")
_INSIDE = re.compile(r"ERR Error running script .*?: -([A-Z]{2,32}) ")
"""Redis 6.2 wraps what a script met with."""


class Refusal(Exception):
    """One error reply, as hiredis makes it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        found = _INSIDE.match(text)
        whole = _WORD.match(text)
        self.word = found[1] if found else whole[0] if whole else "ERR"


class Remedy(Enum):
    SEND_SOURCE = "send the script itself"
    GO_THERE = "another node has this slot"
    ASK_THERE = "another node has this key, for this once"
    LOOK = "this is not the server for it any more: look where that is"
    PAUSE = "it passes: the same again in a moment"
    TELL = "it stays: whoever asked is told at once"


@dataclass(frozen=True, slots=True)
class Meaning:
    remedy: Remedy
    message: str
    """What is told where the deadline came first, or at once."""
    hint: str = AGAIN
    code: str = "state_unavailable"
    retryable: bool = True
    full: bool = False
    """A bound was reached: Overloaded."""


RIGHTS = "For the platform team: give its Redis user the rights that docs/operating.md lists"
ROOM = "Nothing was written. For the platform team: raise maxmemory, or let sessions go sooner"
MEANINGS: Mapping[str, Meaning] = {
    "NOSCRIPT": Meaning(Remedy.SEND_SOURCE, "the platform's store forgets its scripts"),
    "MOVED": Meaning(Remedy.GO_THERE, "the platform's store is being moved"),
    "ASK": Meaning(Remedy.ASK_THERE, "the platform's store is being moved"),
    "READONLY": Meaning(Remedy.LOOK, "the platform's store is failing over"),
    "MASTERDOWN": Meaning(Remedy.LOOK, "the platform's store is failing over"),
    "CLUSTERDOWN": Meaning(Remedy.LOOK, "a part of the platform's store is down"),
    "UNBLOCKED": Meaning(Remedy.LOOK, "the platform's store is failing over"),
    "TRYAGAIN": Meaning(Remedy.PAUSE, "the platform's store is being moved"),
    "LOADING": Meaning(Remedy.PAUSE, "the platform's store is reading its data"),
    "BUSY": Meaning(Remedy.PAUSE, "a script of somebody else holds up the platform's store"),
    "NOREPLICAS": Meaning(Remedy.PAUSE, "the platform's store lacks replicas to write to"),
    "MISCONF": Meaning(Remedy.TELL, "the platform's store cannot write to its disk"),
    "OOM": Meaning(Remedy.TELL, "the platform's store is full", ROOM, "state_full", full=True),
    "NOPERM": Meaning(Remedy.TELL, "the platform's store refuses the platform", RIGHTS, "state_forbidden", False),
    "NOAUTH": Meaning(Remedy.TELL, "the platform's store asks for a password", RIGHTS, "state_forbidden", False),
    "WRONGPASS": Meaning(Remedy.TELL, "the platform's store refuses its password", RIGHTS, "state_forbidden", False),
}
UNKNOWN = Meaning(Remedy.TELL, "the platform's store refused a command")
NOT_REPLICATED = Refusal("NOTREPLICATED")
"""Ours: written, but too few replicas say so in time."""
FEW_REPLICAS = Meaning(Remedy.TELL, "what was written is not on enough machines yet")


def meaning(refusal: Refusal) -> Meaning:
    """
    >>> meaning(Refusal("OOM command not allowed when used memory > 'maxmemory'.")).code
    'state_full'
    >>> meaning(Refusal("LOADING Redis is loading the dataset in memory")).remedy.name
    'PAUSE'
    >>> meaning(Refusal("ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command")).code
    'state_full'
    >>> meaning(Refusal("ERR unknown command")).message
    "the platform's store refused a command"
    >>> meaning(Refusal("OOM")).retryable, meaning(Refusal("NOPERM this user")).retryable
    (True, False)
    """
    if refusal is NOT_REPLICATED:
        return FEW_REPLICAS
    return MEANINGS.get(refusal.word, UNKNOWN)


def label(refusal: Refusal) -> str:
    """Its word, for a counter: one of a few.

    >>> label(Refusal("OOM command not allowed")), label(Refusal("WHATEVER somebody made up"))
    ('OOM', 'other')
    """
    return refusal.word if refusal.word in MEANINGS or refusal is NOT_REPLICATED else "other"


def told(refusal: Refusal | None) -> RolehostError:
    """The error for whoever asked; None: there was no answer at all."""
    if refusal is None:
        return Unavailable("the platform's store does not answer", hint=AGAIN, code="state_unavailable")
    found = meaning(refusal)
    kind = Overloaded if found.full else Unavailable
    return kind(found.message, hint=found.hint, code=found.code, retryable=found.retryable)


_MOVE = re.compile(r"(?:MOVED|ASK) (\d{1,5}) (.*):(\d{1,5})(?: .*)?")


def moved_to(refusal: Refusal) -> tuple[int, str, int] | None:
    """Slot, host (empty: the one that said so) and port of a MOVED or ASK; None where it cannot be read.

    >>> moved_to(Refusal("MOVED 3999 127.0.0.1:6381")), moved_to(Refusal("ASK 7 ::1:6381"))
    ((3999, '127.0.0.1', 6381), (7, '::1', 6381))
    >>> moved_to(Refusal("MOVED 7 :6381")), moved_to(Refusal("MOVED"))
    ((7, '', 6381), None)
    """
    found = _MOVE.fullmatch(refusal.text)
    return (int(found[1]), found[2], int(found[3])) if found else None
