"""Messages between two gateways; `framing` and `credit` are the same as on the link to a pod.

A session is answered by one gateway, its owner: the one whose epoch stands in its log. A
client that came in at another is relayed. Every gateway dials every other one, and on the
connection that it dialled it relays; on those that it accepted it owns:

    owner  → PeerHello(nonce)           channel 0; the relay knows its TLS certificate as the platform's
    relay  → PeerHello(proof)           the platform's signature over the nonce; then Beat every second
    relay  → Attach                     on a fresh channel, for one client of one session
    owner  → Attached | NotHeld | Refused
    relay  → Forward, Replay, CancelTurn   numbered; answered by an Outcome of that number
    owner  → Begun                      which response answers a Forward, before anything of it is heard
    owner  → Heard…                     the client's frames, in order
    owner  → AskRoom                    before it goes on with a long history; answered by Room
    relay  → Watching                   how the client fares that follows the state beside another channel
    relay  → Detach                     the client is gone
    relay  → Forgotten                  on a fresh channel, of a session that was deleted
    owner  → Moved                      this session is not answered here any more: attach again

Both ends are the platform, and prove it before anything else is said, so an Attach says
who the client is and is believed. Nothing but gateways ever gets such a connection.

Version 2 has CancelTurn, Begun and the events `response.amended` and `response.reset`. To
an end that speaks version 1 only none of them is sent: what it cannot be asked for is
refused here, what it cannot hear it does without. Version 3 has Forgotten (who speaks an earlier one is refused at its
next commit, and tells its clients then), Watching, Replay of the `whole`, the epoch in Attached, and the events
`channel.urgent`, `channel.degraded` and `session.snapshot`.
"""

from typing import Annotated

from msgspec import Meta

from rolehost_api.link.messages import NONCE_BYTES, Credit, Message, Word
from rolehost_api.wire import ErrorBody, HeardPart, Said

PEER_PROTOCOLS = (3, 2, 1)
CANCELS = 2
"""From this version on an end knows of cancelling, and of responses that are given anew."""
FORGETS = 3
"""From this version on an end knows of Forgotten."""
WATCHES = 3
"""From this version on an end knows of watchers, and of snapshots."""
HEARD_BYTES = 262_144
"""Of one piece of a frame for a client; the longest reply takes five."""


class PeerHello(Message, frozen=True, kw_only=True, tag="peer_hello"):
    protocols: tuple[int, ...]
    gateway: Word
    """Name of this process: of its pod, and a nonce of its start. It is what owns sessions."""
    nonce: Annotated[bytes, Meta(max_length=NONCE_BYTES)] = b""
    """Of who was dialled."""
    proof: Annotated[bytes, Meta(max_length=64)] = b""
    """Of who dialled: Ed25519 over `peer_proof_text`."""


def peer_proof_text(nonce: bytes, owner: str, relay: str) -> bytes:
    """The bytes that a relay signs; a fixed word first, so the key signs nothing else by mistake.

    >>> peer_proof_text(b"n", "a/1", "b/1")
    b'rolehost peer 1\\nn\\na/1\\nb/1'
    """
    return b"\n".join((b"rolehost peer 1", nonce, owner.encode(), relay.encode()))


class Beat(Message, frozen=True, kw_only=True, tag="beat"):
    """Nothing to say, and alive."""

    leaving: bool = False
    """Told to stop: it answers what it owns to the end, and takes on nothing that is not a client's wish."""


class Attach(Message, frozen=True, kw_only=True, tag="attach"):
    """A client of the relay's wants to hear and say in this session."""

    tenant: Word
    tenant_uid: Word
    principal: Word
    """Whose session it is, and so whose user its turns are of (`identity.user_principal`)."""
    role: Word
    session_id: Word
    revision: Word = ""
    """One that was asked for by address; empty: where the session lives."""


class Attached(Message, frozen=True, kw_only=True, tag="attached"):
    """What follows on this channel are the session's events."""

    epoch: int = 0
    """In which the owner holds it; 0 where an older owner does not say."""


class NotHeld(Message, frozen=True, kw_only=True, tag="not_held"):
    """Nobody speaks in this session here; whoever asks may own it from now on."""


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    """As a client would be refused here; the channel is closed."""

    error: ErrorBody
    status: int = 0
    """Of the error, in HTTP; 0 where an older owner does not say it."""


class Forward(Message, frozen=True, kw_only=True, tag="forward"):
    """What the client said."""

    number: int
    said: Said


class Replay(Message, frozen=True, kw_only=True, tag="replay"):
    """What the client missed after this event."""

    number: int
    after_seq: Annotated[int, Meta(ge=0)]
    whole: bool = False
    """In one frame: it fell too far behind."""


class Watching(Message, frozen=True, kw_only=True, tag="watching"):
    """The client follows the state beside another channel of its own, and fares so."""

    word: Word


class CancelTurn(Message, frozen=True, kw_only=True, tag="cancel_turn"):
    """The client heard enough of a response, or no more than this of it."""

    number: int
    response_id: Annotated[str, Meta(max_length=128)]
    heard: HeardPart | None = None


class Begun(Message, frozen=True, kw_only=True, tag="begun"):
    """The response that answers a Forward."""

    number: int
    response_id: Word


class Outcome(Message, frozen=True, kw_only=True, tag="outcome"):
    """A Forward, Replay or CancelTurn is over; an error is what the client is told."""

    number: int
    error: ErrorBody | None = None
    status: int = 0
    """As of Refused."""
    undone: bool = False
    """The session was found to live elsewhere before anything was done: attach again and say it there."""


class Heard(Message, frozen=True, kw_only=True, tag="heard"):
    """A piece of one event for the client, in msgpack; `more`: its next piece follows."""

    data: Annotated[bytes, Meta(max_length=HEARD_BYTES)]
    more: bool = False


class AskRoom(Message, frozen=True, kw_only=True, tag="ask_room"):
    """The owner has much to say: when has the client read most of what it was sent?"""

    number: int


class Room(Message, frozen=True, kw_only=True, tag="room"):
    """Now; or the client is gone, or was let go of because it did not read."""

    number: int
    gone: bool = False


class Moved(Message, frozen=True, kw_only=True, tag="moved"):
    """This session is not answered here any more; the channel is closed."""


class Detach(Message, frozen=True, kw_only=True, tag="detach"):
    """The client is gone; the channel is closed, a running turn goes on."""


class Forgotten(Message, frozen=True, kw_only=True, tag="forgotten"):
    """This session was deleted. Nothing follows on this channel."""

    key: Word
    """Of the session, in the store."""


ToOwner = PeerHello | Beat | Credit | Attach | Forward | Replay | CancelTurn | Watching | Room | Detach | Forgotten
ToRelay = PeerHello | Beat | Credit | Attached | NotHeld | Refused | Begun | Outcome | Heard | AskRoom | Moved
