"""Talk to a Role from Python, and let the library see to losses, moves and doubles.

    async with connect("https://roles.example.com", "storyteller", key=KEY) as session:
        reply = await session.say("a story about a dragon")          # the whole answer
        async for delta in session.say("and then?"):                 # or its pieces
            print(delta, end="")

`core` decides, without socket, clock or task, by layers: `connection` for losses and order,
`answers` for what was said. `session` and `line` are its asyncio shell, `pending` is what
`say` returns. rolehost.js is the same core for browsers and Node; both run the cases in
tests/unit/client/cases.

Does not belong here: how a command finds a gateway (`rolehost.cli.reach`), and anything
of the server's. It needs what the base install has: msgspec and websockets.
"""

from rolehost.client.errors import ClientError, Closed, NotAnswered, Refused, TurnFailed, Unreachable
from rolehost.client.pending import Delta, Pending, Reply
from rolehost.client.session import Event, Session, SessionState, connect

__all__ = [
    "ClientError",
    "Closed",
    "Delta",
    "Event",
    "NotAnswered",
    "Pending",
    "Refused",
    "Reply",
    "Session",
    "SessionState",
    "TurnFailed",
    "Unreachable",
    "connect",
]
