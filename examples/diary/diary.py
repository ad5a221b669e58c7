"""A diary that remembers what it is told, and of whom, in every later session of the same person."""

import re

from rolehost import Role, Turn

diary = Role("diary")
REMEMBER = re.compile(r"^(?:please )?remember(?: that)? (?P<what>.+)$", re.IGNORECASE | re.DOTALL)
LIVES = re.compile(r"^i (?:now )?live in (?P<town>[\w -]{1,60})\W*$", re.IGNORECASE)
FORGET = re.compile(r"^(?:please )?forget(?: about)? (?P<what>.+)$", re.IGNORECASE | re.DOTALL)
RECALL = re.compile(r"^what do you remember(?: about (?P<what>.+?))?\W*$", re.IGNORECASE | re.DOTALL)


@diary.on_message
async def listen(t: Turn) -> None:
    if found := REMEMBER.match(t.message):
        await t.memory.remember(found["what"], kind="long")
        t.say("I will remember that.")
    elif found := LIVES.match(t.message):
        await t.memory.remember((t.user or "you", "lives in", found["town"].strip()))
        t.say(f"{found['town'].strip()}, then.")
    elif found := FORGET.match(t.message):
        gone = await t.memory.forget(about=found["what"])
        t.say(f"Gone: {gone}.")
    elif found := RECALL.match(t.message):
        known = await t.memory.recall(found["what"] or "", k=5)
        t.say("\n".join(f"- {one.text}" for one in known) or "Nothing.")
    else:
        await t.reply(t.ask())  # with what is remembered in front of it: spec.template.memory
