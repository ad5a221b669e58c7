"""A message that fails is told so once: by the event of its turn, or else by an error."""

from dataclasses import dataclass

from rolehost_api import wire


@dataclass(slots=True, eq=False)
class Telling:
    """What a client was told of one message that it said. Failures of other messages, of whoever said them, are none
    of it: a message whose error is left out for them would never get an answer."""

    client_msg_id: str | None
    """Of messages without one any may be meant."""
    response_id: str = ""
    code: str = ""
    """Of the failure that it heard of."""

    def hear(self, event: wire.ServerFrame) -> None:
        if isinstance(event, wire.ResponseCreated) and event.client_msg_id == self.client_msg_id:
            self.response_id = event.response_id
        elif (
            isinstance(event, wire.ResponseDone)
            and event.error is not None
            and (event.client_msg_id == self.client_msg_id or event.response_id == self.response_id)
        ):
            self.code = event.error.code
