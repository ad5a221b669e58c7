"""One socket, several Roles and several users: whose session a frame goes to, and how their events are told apart."""

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.edge import ACME, NOW_MS, SPEC
from tests.unit.edge.test_edge_dialect import Talk as OneTalk

from rolehost_api import wire
from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.edge.dialect import MAX_PENDING
from rolehost_runtime.gateway.edge.handshake import Dialect
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RoleEntry, Scope

SERVER = Principal(ACME, "svc:uid-acme", frozenset({Scope.CHAT, Scope.ACT_AS_USER}))
U17 = Principal(ACME, "usr:uid-acme:u-17", frozenset({Scope.CHAT}), user="u-17", until_ms=NOW_MS + 1)
AT_STORYTELLER_ONLY = Principal(
    ACME, "usr:uid-acme:u-17", frozenset({Scope.CHAT}), user="u-17", role="storyteller", until_ms=NOW_MS + 1
)


class Talk(OneTalk):
    """With a second Role, `tutor`."""

    def __init__(self, who: Principal = SERVER, **opening: Any) -> None:
        super().__init__(who, **opening)
        self.conversation._gate.tables.roles.put(("acme", "tutor"), RoleEntry(ACME, "tutor", SPEC, ""))

    def switch(self, role: str, **more: Any) -> None:
        self.send("session.switch", role=role, **more)

    def send(self, kind: str, **more: Any) -> None:
        self.conversation.on_text(json.dumps({"type": kind, **more}).encode())

    def of(self, kind: str) -> list[Any]:
        """Whose the events of this type were, in order."""
        return [event.get("of") for event in self.wire.sent if event["type"] == kind]


# ── another Role ────────────────────────────────────────────────────────────────────


async def test_after_a_switch_what_is_said_goes_to_the_other_role_and_back_it_goes_on() -> None:
    talk = Talk()
    talk.say("one", session_id="s")
    talk.switch("Tutor")
    talk.say("two")
    talk.say("three", session_id="s")
    talk.switch("acme/storyteller")
    talk.say("four")
    await talk.quiet()
    assert sorted(talk.sessions.turns_of) == [
        ("storyteller", "", "s", "four"),
        ("storyteller", "", "s", "one"),
        ("tutor", "", "s", "three"),
        ("tutor", "", "s", "two"),
    ]
    switched = [event for event in talk.wire.sent if event["type"] == "session.switched"]
    assert [(event["from"], event["to"], event["session_id"], event["seq"]) for event in switched] == [
        ("storyteller", "tutor", "s", None),
        ("tutor", "storyteller", "s", None),
    ]
    assert sorted(role for _, role, _ in talk.sessions.opened) == ["storyteller", "tutor"]
    assert talk.wire.types().count("session.created") == 2


async def test_events_of_another_role_say_whose_they_are_and_those_of_the_first_do_not() -> None:
    talk = Talk()
    talk.say("one", session_id="s")
    await talk.quiet()
    talk.switch("tutor")
    talk.say("two")
    await talk.quiet()
    assert talk.of("session.created") == [None, {"role": "tutor"}]
    assert talk.of("session.switched") == [{"role": "tutor"}]
    assert talk.of("response.done") == [None, {"role": "tutor"}]
    assert talk.of("response.output_text.delta") == [None] * 3 + [{"role": "tutor"}] * 3
    assert all("of" in event or event["session_id"] == "s" for event in talk.wire.sent)


async def test_a_turn_that_runs_when_the_socket_switches_ends_where_it_began() -> None:
    talk = Talk()
    talk.say("wait", session_id="s")
    talk.switch("tutor")
    talk.say("quick")
    while not talk.of("response.done"):
        await asyncio.sleep(0)
    assert talk.of("response.done") == [{"role": "tutor"}]
    talk.sessions.gate.set()
    await talk.quiet()
    assert talk.of("response.done") == [{"role": "tutor"}, None]
    assert talk.sessions.turns_of == [("tutor", "", "s", "quick"), ("storyteller", "", "s", "wait")]


async def test_a_role_that_is_not_there_is_an_error_and_nothing_changes() -> None:
    talk = Talk()
    for role, code in (("nobody", "role_not_found"), ("evil/lair", "role_not_found"), ("a b", "invalid_role_name")):
        talk.switch(role)
        assert talk.wire.errors()[-1] == code
        assert talk.wire.sent[-1]["role"] == role, "it says which switch it is about"
    talk.say("one", session_id="s")
    await talk.quiet()
    assert talk.sessions.turns_of == [("storyteller", "", "s", "one")]
    assert "session.switched" not in talk.wire.types()


async def test_a_role_that_the_token_is_not_for_reads_as_not_there() -> None:
    talk = Talk(AT_STORYTELLER_ONLY)
    talk.switch("tutor")
    talk.switch("nobody")
    talk.say("one", session_id="s")
    await talk.quiet()
    told = [event["error"] for event in talk.wire.sent if event["type"] == "error"]
    assert [error["code"] for error in told] == ["role_not_found"] * 2
    assert told[0] == told[1]
    assert talk.sessions.turns_of == [("storyteller", "u-17", "s", "one")]
    anywhere = Talk(U17)
    anywhere.switch("tutor", session_id="s", user="root")
    anywhere.say("two")
    await anywhere.quiet()
    assert anywhere.sessions.turns_of == [("tutor", "u-17", "s", "two")]


async def test_a_switch_may_be_the_first_frame_and_may_name_the_session() -> None:
    talk = Talk()
    talk.switch("tutor", session_id="s2")
    talk.say("one")
    await talk.quiet()
    assert talk.sessions.turns_of == [("tutor", "", "s2", "one")]
    nameless = Talk()
    nameless.switch("tutor")
    nameless.say("one")
    nameless.switch("storyteller")
    nameless.say("two")
    await nameless.quiet()
    (word,) = {event["session_id"] for event in nameless.wire.sent}
    assert sorted(nameless.sessions.turns_of) == [("storyteller", "", word, "two"), ("tutor", "", word, "one")]


async def test_resuming_after_a_switch_concerns_the_other_roles_session() -> None:
    talk = Talk()
    talk.say("one", session_id="s")
    talk.switch("tutor")
    talk.send("session.resume", session_id="s", after_seq=4)
    await talk.quiet()
    assert talk.of("session.resumed") == [{"role": "tutor"}]


async def test_a_switch_to_a_role_that_cannot_open_a_session_now_says_so_of_that_session() -> None:
    talk = Talk()
    talk.sessions.refuses = Unavailable("no", code="no_ready_revision")
    talk.switch("tutor", session_id="s")
    await talk.quiet()
    assert talk.of("error") == [{"role": "tutor"}]
    talk.sessions.refuses = None
    talk.say("one")
    await talk.quiet()
    assert talk.sessions.turns_of == [("tutor", "", "s", "one")]


async def test_a_switch_is_bounded_and_refused_as_other_frames_are() -> None:
    talk = Talk()
    for _ in range(MAX_PENDING):
        talk.say("wait", session_id="s")
    talk.switch("tutor")
    assert talk.wire.errors() == ["busy"]
    talk.sessions.gate.set()
    await talk.quiet()
    talk.conversation._migrating = True
    talk.switch("tutor")
    assert talk.wire.errors() == ["busy", "draining"]
    assert talk.conversation._at.name == "storyteller"


async def test_a_frame_that_is_refused_before_it_is_anybodys_says_which_it_was() -> None:
    talk = Talk()
    talk.conversation._migrating = True
    talk.send("message", message="one", client_msg_id="m-1")
    talk.switch("tutor")
    talk.send("session.resume", session_id="s", after_seq=0)
    told = [(event["client_msg_id"], event.get("role")) for event in talk.wire.sent]
    assert told == [("m-1", None), (None, "tutor"), (None, None)]


async def test_bare_clients_may_switch_and_hear_the_other_session_begin() -> None:
    talk = Talk(dialect=Dialect.BARE)
    talk.switch("tutor", session_id="s")
    await talk.quiet()
    assert talk.wire.types() == ["session.created"]


async def test_each_session_is_asked_to_move_by_its_own_name() -> None:
    talk = Talk()
    talk.say("one", session_id="s")
    talk.switch("tutor")
    await talk.quiet()
    talk.conversation.migrate()
    assert talk.of("session.migrate") == [None, {"role": "tutor"}]


# ── several users ───────────────────────────────────────────────────────────────────


async def test_two_users_with_the_same_session_id_are_two_sessions() -> None:
    talk = Talk()
    for user in ("u-17", "u-18", None, "u-17"):
        talk.say("hi", session_id="s", **({"user": user} if user else {}))
    await talk.quiet()
    assert sorted(who for who, _, _ in talk.sessions.opened) == [
        "svc:uid-acme",
        "usr:uid-acme:u-17",
        "usr:uid-acme:u-18",
    ]
    u17, u18 = {"role": "storyteller", "user": "u-17"}, {"role": "storyteller", "user": "u-18"}
    done = talk.of("response.done")
    assert (done.count(u17), done.count(u18), done.count(None)) == (2, 1, 1)


async def test_the_address_may_say_the_user_and_a_frame_another() -> None:
    talk = Talk(Principal(ACME, "usr:uid-acme:u-1", SERVER.scopes, user="u-1"), session_id="s")
    talk.say("mine")
    talk.say("yours", user="u-2")
    talk.send("session.resume", session_id="s", after_seq=0, user="u-2")
    await talk.quiet()
    assert sorted(talk.sessions.turns_of) == [
        ("storyteller", "u-1", "s", "mine"),
        ("storyteller", "u-2", "s", "yours"),
    ]
    assert set(map(str, talk.of("session.created"))) == {"None", "{'role': 'storyteller', 'user': 'u-2'}"}
    assert talk.of("session.resumed") == [{"role": "storyteller", "user": "u-2"}]


async def test_with_a_token_of_their_own_a_user_is_themselves() -> None:
    talk = Talk(U17)
    talk.say("hi", session_id="s", user="u-18")
    talk.say("hi", session_id="s", user="a b")
    await talk.quiet()
    assert talk.sessions.turns_of == [("storyteller", "u-17", "s", "hi")] * 2
    assert talk.of("response.done") == [None, None]


async def test_a_key_that_may_not_act_is_told_and_nothing_is_said() -> None:
    talk = Talk(Principal(ACME, "svc:uid-acme", frozenset({Scope.CHAT})))
    talk.say("hi", session_id="s", user="u-17")
    talk.send("session.resume", session_id="s", user="u-17")
    talk.switch("tutor", user="u-17")
    talk_too = Talk()
    talk_too.say("hi", session_id="s", user="a b")
    await talk.quiet()
    assert talk.wire.errors() == ["user_not_allowed"] * 3
    assert talk_too.wire.errors() == ["invalid_user"]
    assert talk.sessions.opened == talk_too.sessions.opened == {}


ACTIONS = st.one_of(
    st.tuples(st.just("switch"), st.sampled_from(["storyteller", "tutor", "nobody"]), st.just("")),
    st.tuples(st.just("say"), st.sampled_from(["a", "b"]), st.sampled_from(["", "u-1", "u-2"])),
)


@settings(max_examples=40)
@given(st.lists(ACTIONS, max_size=12))
async def test_every_message_reaches_the_session_that_its_sender_meant(
    actions: list[tuple[str, str, str]],
) -> None:
    talk, meant, at = Talk(), [], "storyteller"
    for number, (what, word, user) in enumerate(actions):
        if what == "switch":
            talk.switch(word)
            at = at if word == "nobody" else word
        else:
            talk.say(str(number), session_id=word, **({"user": user} if user else {}))
            meant.append((at, user, word, str(number)))
    await talk.quiet()
    assert sorted(talk.sessions.turns_of) == sorted(meant)
    for event in talk.wire.sent:
        if event["type"] == "response.done":
            of = event.get("of") or {"role": "storyteller"}
            whose = (of["role"], of.get("user", ""), event["session_id"], event["message"])
            assert whose in meant


def test_what_is_sent_says_nothing_of_whose_it_is_where_that_is_clear() -> None:
    pong = wire.Pong(session_id=None, seq=None, ts=1, t=1, server_t=2)
    assert b'"of"' not in wire.encode(pong)
    assert b"of" not in wire.pack(pong)
