"""A storyteller that counts the dragons of a session."""

from rolehost import Role, State, Turn


class Tale(State):
    """Kept for each session; saved together with the answer, or not at all."""

    stories: int = 0
    dragons: int = 0


storyteller = Role("storyteller", state=Tale)


@storyteller.on_message
async def tell(t: Turn[Tale]) -> None:
    t.state.stories += 1
    if "龙" in t.message or "dragon" in t.message.lower():
        t.state.dragons += 1
        print(f"dragon {t.state.dragons} of this session")
        if t.state.dragons > 1:
            t.say(f"第 {t.state.dragons} 条龙 / dragon {t.state.dragons}: ")
            t.prompt.add("This listener has met a dragon before; let the old one come back.")
    await t.reply(t.ask())
