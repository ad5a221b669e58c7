"""Several sessions on one socket: whose a frame is, and which Role the socket speaks to. Pure.

The one that was connected to first is at *home* there: the socket is its core's. Every other one
is a *guest*: a core like any other, whose connection is a `session.switch` that was answered.
When the socket is lost all of them are, and when home is back all of them come again, each
from its own last event. Frames wait for the Role that they are for, so that none is ever said to
another one; between two Roles lies one round trip.
"""

from collections.abc import Callable
from typing import Any

from rolehost.client.actions import Action, Close, Connect, Phase, Send
from rolehost.client.connection import GONE
from rolehost.client.core import CLOSED, Core
from rolehost.client.frames import Frame, error_of, number, read, word
from rolehost.client.pauses import is_final
from rolehost_api.errors import BadRequest, Overloaded

MAX_SESSIONS = 32
"""That servers hold for one socket, the one at home among them. One more, and they let go of another."""
MAX_ROLE_CHARS = 512
TURN_MS = 10_000
"""A switch that is not answered in that time never will be."""
TURN_AGAIN_MS = 200
"""After a switch home that cannot be made just now."""
OPEN = (Phase.OPENING, Phase.RESUMING, Phase.READY)
Key = tuple[str, str]
"""Role and user by which a server tells events apart, as one word, empty at home; and the session_id."""


class Guest(Core):
    """A session of another Role, or of another name, on somebody else's socket."""

    def __init__(self, role: str, session_id: str, draw: Callable[[], float], **more: Any) -> None:
        super().__init__(session_id, draw, guest=True, **more)
        self.role = role
        """As it was asked for."""
        self.known_as: Key | None = None
        """Once the server said what it is called."""
        self.same_as: Core | None = None
        """It turned out to be this one, under another name."""


def key_of(of: object, session_id: object) -> Key:
    """
    >>> key_of(None, "s"), key_of({"role": "tutor", "user": "u-1"}, "s")
    (('', 's'), ('tutor u-1', 's'))
    """
    told = of if isinstance(of, dict) else {}
    return " ".join(word(told, name) or "" for name in ("role", "user")).strip(), str(session_id)


class Switchboard:
    """`home` is the session of the socket, with the Role `role`."""

    def __init__(self, home: Core, role: str, draw: Callable[[], float]) -> None:
        self.home = home
        self._role, self._draw = role, draw
        self._guests: list[Guest] = []
        self._at: str = ""
        """Whom the socket speaks to: the first part of a key."""
        self._unsent: list[tuple[Core, Frame | None]] = []
        """In order; None: it is to be opened."""
        self._turning: Core | None = None
        """Who was switched to, and the server did not answer yet."""
        self._turn_by: float | None = None
        self._turn_at: float | None = None
        """Not before then."""
        self._greetings: dict[Key, Frame] = {}
        """`session.created` of every guest that this socket ever had: the server says it once."""
        self._urgent: dict[Key, object] = {}
        """Heartbeats of the sessions that are urgent."""
        self._blamed: Core | None = None
        """Whose error was the last thing heard."""
        self._stood = False

    @property
    def cores(self) -> tuple[Core, ...]:
        return (self.home, *self._guests)

    # ── from the user ───────────────────────────────────────────────────────────────

    def switch(self, now: float, role: str, session_id: str, *, after_seq: int | None = None) -> Core:
        """The session with that Role; one that was asked for before is the same one. It is opened as home was: look
        at its phase, and at `same_as`. Raises BadRequest, or Overloaded where the socket has as many as it may."""
        if not 0 < len(role) <= MAX_ROLE_CHARS:
            raise BadRequest("that is no Role's name", code="invalid_role_name")
        if (role, session_id) == (self._role, self.home.session_id):
            return self.home
        for guest in self._guests:
            if (guest.role, guest.session_id) == (role, session_id):
                return guest
        guest = Guest(
            role, session_id, self._draw, after_seq=after_seq, user=self.home.user, max_events=self.home.backlog.most
        )
        if self.home.phase is Phase.ENDED:
            guest.give_up(self.home.error or CLOSED)
        elif self._sessions >= MAX_SESSIONS:
            raise Overloaded(f"{MAX_SESSIONS} sessions were on this socket already", hint="Connect anew", code="busy")
        else:
            self._guests.append(guest)
            guest.start(now)
        return guest

    @property
    def _sessions(self) -> int:
        """How many this socket had so far, with those that are about to be opened."""
        return 1 + len(self._greetings) + sum(guest.known_as not in self._greetings for guest in self._guests)

    # ── from the world ──────────────────────────────────────────────────────────────

    def due(self) -> float | None:
        times = [core.due() for core in self.cores]
        waits = self._turn_at if self._unsent and self._turning is None else None
        return min((at for at in (*times, self._turn_by, waits) if at is not None), default=None)

    def tick(self, now: float) -> None:
        if self._turn_by is not None and now >= self._turn_by:
            self._turn_by = None
            self.home.drop(now, "a switch was not answered")
        if self._turn_at is not None and now >= self._turn_at:
            self._turn_at = None
        for core in self.cores:
            core.tick(now)

    def opened(self, now: float) -> None:
        self._at, self._blamed = "", None
        self.home.opened(now)

    def lost(self, now: float, code: int = GONE, reason: str = "", status: int = 0) -> None:
        """The socket is gone. What the server said of a guest before it closed is that guest's end, not everybody's."""
        blamed = self._blamed
        if blamed is not None and blamed is not self.home and is_final(code):
            blamed.lost(now, code, reason)
            code, reason, status = GONE, "", 0
        self.home.lost(now, code, reason, status)

    def heard(self, now: float, text: str | bytes) -> None:
        frame = read(text)
        if frame is None:
            return
        kind, key = frame["type"], key_of(frame.get("of"), frame.get("session_id"))
        if kind == "session.switched":
            self._switched(now, key)
        elif kind == "error" and self._turning is not None and isinstance(frame.get("role"), str):
            self._refused(now, error_of(frame))
        else:
            self._hear(now, frame, key, len(text))
        if self.home.phase in OPEN:
            self.home.pulse.alive()

    # ── frames that come ────────────────────────────────────────────────────────────

    def _hear(self, now: float, frame: Frame, key: Key, weight: int) -> None:
        kind, core = frame["type"], self._whose(frame, key)
        if kind == "session.created" and key[0]:
            self._greetings[key] = frame
        elif core is None and key in self._greetings and (seq := number(frame, "seq")) is not None:
            self._greetings[key] = {**self._greetings[key], "head": seq}
        self._blamed = core if kind == "error" else None
        if core is not None:
            core.hear(now, frame, weight)
        if kind == "channel.urgent" and self.home.phase in OPEN:
            self._hurry(now, key, frame)

    def _whose(self, frame: Frame, key: Key) -> Core | None:
        if frame.get("session_id") is None and "of" not in frame:
            speaks = (core for core in self.cores if core.says(frame.get("client_msg_id")))
            return next(speaks, self.home)
        if key == ("", self.home.session_id):
            return self.home
        return next((guest for guest in self._guests if guest.known_as == key), None)

    def _hurry(self, now: float, key: Key, frame: Frame) -> None:
        """The socket's signs of life come as fast as the most urgent of its sessions asks for."""
        self._urgent.pop(key, None)
        if frame.get("is_urgent") is True:
            self._urgent[key] = frame.get("heartbeat_ms")
        beats = [beat for beat in self._urgent.values() if type(beat) is int]
        self.home.pulse.urgent(now, bool(self._urgent), min(beats, default=None))

    def _switched(self, now: float, key: Key) -> None:
        core, self._turning, self._turn_by, self._at = self._turning, None, None, key[0]
        if not isinstance(core, Guest):
            return
        other = next((one for one in self.cores if one is not core and self._key(one) == key), None)
        if other is not None:
            core.same_as = other
            core.close()
            return
        core.known_as = key
        if (core, None) in self._unsent:
            self._unsent.remove((core, None))
            core.opened(now)
            greeting = self._greetings.get(key)
            if greeting is not None:
                core.hear(now, greeting, 0)

    def _refused(self, now: float, error: Frame) -> None:
        core, self._turning, self._turn_by = self._turning, None, None
        if isinstance(core, Guest):
            self._forget(core)
            core.refused(now, error)
        elif error["retryable"]:
            after = error.get("retry_after_ms")
            self._turn_at = now + (after if type(after) is int else TURN_AGAIN_MS)
        elif core is not None:
            core.give_up(error)

    # ── what the cores want ─────────────────────────────────────────────────────────

    def collect(self, now: float) -> list[tuple[Core, Action]]:
        """What is to be done, and whose it is. Sends and closes of home's are the socket's."""
        done: list[tuple[Core, Action]] = []
        while True:
            cores = [core for core in self.cores if core.out]
            for core in cores:
                actions, core.out = core.out, []
                for action in actions:
                    self._carry(core, action, done)
            self._follow(now)
            self._turn(now, done)
            if not any(core.out for core in self.cores):
                return done

    def _carry(self, core: Core, action: Action, done: list[tuple[Core, Action]]) -> None:
        if isinstance(action, Send):
            first = all(one is not core for one, _ in self._unsent)
            if (first and self._hears(core)) or action.frame["type"] == "ping":
                done.append((self.home, action))
            else:
                self._unsent.append((core, action.frame))
        elif isinstance(core, Guest) and isinstance(action, Connect):
            core.hold()
            self._unsent.append((core, None))
        else:
            if isinstance(action, Close):
                self._forget(core)
            done.append((core, action))
        if isinstance(core, Guest) and core.phase is Phase.ENDED and core in self._guests:
            self._guests.remove(core)

    def _forget(self, core: Core) -> None:
        self._unsent = [(one, frame) for one, frame in self._unsent if one is not core]

    def _follow(self, now: float) -> None:
        """Guests go where the socket goes."""
        home = self.home
        stands = home.phase in (Phase.RESUMING, Phase.READY)
        if home.phase is Phase.ENDED:
            for guest in self._guests:
                guest.close() if home.error is CLOSED else guest.give_up(home.error or CLOSED)
        elif stands and not self._stood:
            for guest in self._guests:
                guest.call(now)
        elif self._stood and not stands:
            for guest in self._guests:
                guest.lost(now, GONE, "the connection is gone")
        if not stands and self._stood:
            self._turning = self._turn_by = self._turn_at = None
            self._greetings.clear()
            self._urgent.clear()
            self._unsent.clear()
        self._stood = stands

    def _turn(self, now: float, done: list[tuple[Core, Action]]) -> None:
        """Send what may be sent now: what is for whom the socket speaks to, then it turns to whoever is next."""
        held = []
        for core, frame in self._unsent:
            if frame is not None and self._hears(core):
                done.append((self.home, Send(frame)))
            else:
                held.append((core, frame))
        self._unsent = held
        if held and self._turning is None and self._turn_at is None and self.home.stands:
            core = held[0][0]
            role = core.role if isinstance(core, Guest) else self._role
            done.append((self.home, Send({"type": "session.switch", "role": role, "session_id": core.session_id})))
            self._turning, self._turn_by = core, now + TURN_MS

    def _hears(self, core: Core) -> bool:
        """What is sent now is said to this one."""
        return self._turning is None and self._key(core)[0] == self._at

    def _key(self, core: Core) -> Key:
        if isinstance(core, Guest):
            return core.known_as or ("?", core.session_id)
        return "", core.session_id
