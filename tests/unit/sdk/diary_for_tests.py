"""A Role that remembers what it is told."""

from typing import Any

from rolehost import Role, Turn

diary: Role[Any] = Role("diary")


@diary.on_message
async def listen(t: Turn[Any]) -> None:
    verb, _, rest = t.message.partition(" ")
    if verb == "remember":
        await t.memory.remember(rest, kind="long")
        t.say("Noted.")
    elif verb == "mind":
        t.memory.remember(rest, kind="short")
        t.say("For now.")
    elif verb == "relate":
        subject, predicate, object_ = rest.split(",")
        t.memory.remember((subject, predicate, object_))
        t.say("Related.")
    elif verb == "claim":
        t.memory.remember(rest, asserted=True)
        t.say("So you say.")
    elif verb == "confirm":
        for one in await t.memory.recall(rest, asserted=True):
            t.memory.confirm(one)
        t.say("Confirmed.")
    elif verb == "forget":
        t.say(f"{await t.memory.forget(about=rest)} gone.")
    elif verb == "fail":
        t.memory.remember("something that is lost with its hook")
        raise ValueError("no")
    else:
        found = await t.memory.recall(t.message, k=5)
        t.say("; ".join(one.text for one in found) or "Nothing.")
