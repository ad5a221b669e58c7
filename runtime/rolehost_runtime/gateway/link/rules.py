"""What a pod may send, and when. Pure: the tables are the rules, a wrong move is a ProtocolViolation.

Two tables: one for the link's own talk (channel 0), one for a turn. A message that the
table has no move for closes the link, with all that ran on it; the turns are then run
again elsewhere, so a pod gains nothing by breaking the rules.
"""

from collections.abc import Mapping
from enum import Enum

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.messages import (
    Bound,
    CallModel,
    CallTool,
    Commit,
    Credit,
    Draining,
    Evicted,
    Fetch,
    Hello,
    LogBatch,
    Message,
    NeedState,
    Noticed,
    Question,
    Recall,
    Say,
    TurnFailed,
)


class LinkStage(Enum):
    """How far the two ends of a link have come."""

    DIALLED = "dialled"
    GREETED = "greeted"
    BINDING = "binding"
    BOUND = "bound"


class TurnStage(Enum):
    """How far a turn has come, from what the pod said and what it was answered."""

    STARTED = "started"
    RUNNING = "running"
    ASKING = "asking"
    """A Question waits for its answer."""
    ENDED = "ended"


LINK_MOVES: Mapping[LinkStage, Mapping[type[Message], LinkStage]] = {
    LinkStage.DIALLED: {Hello: LinkStage.GREETED},
    LinkStage.GREETED: {Credit: LinkStage.GREETED, Draining: LinkStage.GREETED},
    LinkStage.BINDING: {Credit: LinkStage.BINDING, Draining: LinkStage.BINDING, Bound: LinkStage.BOUND},
    LinkStage.BOUND: {
        Credit: LinkStage.BOUND,
        Draining: LinkStage.BOUND,
        Evicted: LinkStage.BOUND,
        LogBatch: LinkStage.BOUND,
    },
}

TURN_MOVES: Mapping[TurnStage, Mapping[type[Message], TurnStage]] = {
    TurnStage.STARTED: {
        NeedState: TurnStage.RUNNING,
        Say: TurnStage.RUNNING,
        CallModel: TurnStage.ASKING,
        Recall: TurnStage.ASKING,
        Fetch: TurnStage.ASKING,
        CallTool: TurnStage.ASKING,
        Commit: TurnStage.ENDED,
        TurnFailed: TurnStage.ENDED,
    },
    TurnStage.RUNNING: {
        Say: TurnStage.RUNNING,
        CallModel: TurnStage.ASKING,
        Recall: TurnStage.ASKING,
        Fetch: TurnStage.ASKING,
        CallTool: TurnStage.ASKING,
        Commit: TurnStage.ENDED,
        TurnFailed: TurnStage.ENDED,
    },
    TurnStage.ASKING: {TurnFailed: TurnStage.ENDED},
    TurnStage.ENDED: {},
}


class TurnRules:
    """One turn's place in the table, and the number that its next effect must have."""

    def __init__(self, *, state_left_out: bool) -> None:
        self.stage = TurnStage.STARTED
        self._may_need_state = state_left_out
        self._next_index = 0
        self._noticing: int | None = None
        """Of the Delta that is on its way."""

    def heard(self, message: Message) -> None:
        """The pod sent `message` for this turn. Raises ProtocolViolation; nothing has moved then."""
        if isinstance(message, Noticed):
            if self._noticing is None or message.index != self._noticing:
                raise ProtocolViolation("a pod noticed what it was not shown")
            self._noticing = None
            return
        stage = TURN_MOVES[self.stage].get(type(message))
        if stage is None:
            raise ProtocolViolation(f"a pod sent {type(message).__name__} in a turn that is {self.stage.value}")
        if isinstance(message, NeedState) and not self._may_need_state:
            raise ProtocolViolation("a pod asked for a state that it was given")
        if isinstance(message, Say | Question):
            if message.index != self._next_index:
                raise ProtocolViolation("a pod numbered its effects out of order")
            self._next_index += 1
        self.stage = stage

    def shown(self, index: int) -> None:
        """A piece of the answer in flight is on its way to the pod; one at a time."""
        if self.stage is not TurnStage.ASKING or index != self._next_index - 1 or self._noticing is not None:
            raise ValueError("no question with this index waits for an answer, or a piece of it is on its way")
        self._noticing = index

    def answered(self, index: int) -> None:
        """The question in flight got its answer. A KeyError-like bug of ours otherwise."""
        if self.stage is not TurnStage.ASKING or index != self._next_index - 1:
            raise ValueError("no question with this index waits for an answer")
        self.stage = TurnStage.RUNNING


def moved(stage: LinkStage, message: Message) -> LinkStage:
    """Where the link stands after the pod's `message` on channel 0. Raises ProtocolViolation."""
    after = LINK_MOVES[stage].get(type(message))
    if after is None:
        raise ProtocolViolation(f"a pod sent {type(message).__name__} on a link that is {stage.value}")
    return after
