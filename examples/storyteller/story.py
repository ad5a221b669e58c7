"""A storyteller that counts the dragons of a session."""

from rolehost import Role, State, Turn


class Tale(State):
    """Kept for each session; saved together with the answer, or not at all."""

    stories: int = 0
    dragons: int = 0


storyteller = Role("storyteller", state=Tale)


@storyteller.edge("Idle", "Explore", weight=0.8)
def hears_dragon(t: Turn[Tale]) -> bool:
    return "龙" in t.message or "dragon" in t.message.lower()


@storyteller.edge("Explore", "Idle")
def comes_home(t: Turn[Tale]) -> bool:
    return not hears_dragon(t)


@storyteller.enter("Explore")
def set_out(t: Turn[Tale]) -> None:
    t.prompt.add("The listener has just set out for dragons: begin with the road.")


@storyteller.on_message
async def tell(t: Turn[Tale]) -> None:
    t.state.stories += 1
    if t.node == "Explore":
        t.state.dragons += 1
        print(f"dragon {t.state.dragons} of this session")
        if t.state.dragons > 1:
            t.say(f"第 {t.state.dragons} 条龙 / dragon {t.state.dragons}: ")
            t.prompt.add("This listener has met a dragon before; let the old one come back.")
    await t.reply(t.ask())
