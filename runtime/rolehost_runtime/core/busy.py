"""What becomes of a message that comes while another one is answered. Pure."""

from collections.abc import Mapping
from enum import Enum

from rolehost_api.wire import BusyPolicy

MAX_WAITING = 8
"""Messages that may wait in a session's line while one is answered."""


class Verdict(Enum):
    ANSWER = "answer"
    """Nothing runs: it is answered at once."""
    WAIT = "wait"
    """Its turn in line comes."""
    REFUSE = "refuse"
    """Error `busy`; nothing of it is kept."""
    INTERRUPT = "interrupt"
    """The turn that runs is cancelled, and this message is answered before those that wait."""
    STEER = "steer"
    """It joins the answer that the model is giving; where none is being given, it waits."""


class Situation(Enum):
    IDLE = "idle"
    BUSY = "busy"
    """A message is answered, and there is room in the line."""
    FULL = "full"


TABLE: Mapping[BusyPolicy, Mapping[Situation, Verdict]] = {
    "queue": {Situation.IDLE: Verdict.ANSWER, Situation.BUSY: Verdict.WAIT, Situation.FULL: Verdict.REFUSE},
    "reject": {Situation.IDLE: Verdict.ANSWER, Situation.BUSY: Verdict.REFUSE, Situation.FULL: Verdict.REFUSE},
    "interrupt": {Situation.IDLE: Verdict.ANSWER, Situation.BUSY: Verdict.INTERRUPT, Situation.FULL: Verdict.REFUSE},
    "steer": {Situation.IDLE: Verdict.ANSWER, Situation.BUSY: Verdict.STEER, Situation.FULL: Verdict.STEER},
}


def decide(policy: BusyPolicy | None, *, answering: bool, waiting: int) -> Verdict:
    """What becomes of a message, by its own policy and what the session does just now.

    >>> decide(None, answering=True, waiting=7), decide("queue", answering=True, waiting=8)
    (<Verdict.WAIT: 'wait'>, <Verdict.REFUSE: 'refuse'>)
    >>> decide("interrupt", answering=True, waiting=0), decide("reject", answering=False, waiting=0)
    (<Verdict.INTERRUPT: 'interrupt'>, <Verdict.ANSWER: 'answer'>)
    """
    situation = Situation.IDLE if not answering else Situation.FULL if waiting >= MAX_WAITING else Situation.BUSY
    return TABLE[policy or "queue"][situation]
