"""Role logic as a tenant writes it."""

from rolehost import Role, State, Turn


class Tale(State, scope="session"):
    dragons: int = 0
    last: str = ""


storyteller = Role("storyteller", state=Tale)


@storyteller.on_start
def welcome(t: Turn[Tale]) -> None:
    t.log("a new session")


@storyteller.on_message
async def count(t: Turn[Tale]) -> None:
    if "dragon" in t.message or "龙" in t.message:
        t.state.dragons += 1
        t.prompt.add(f"Dragons so far: {t.state.dragons}.")
    if "break" in t.message:
        raise ValueError
    if "fire" in t.message:
        t.urgent()


@storyteller.on_reply
def keep(t: Turn[Tale]) -> None:
    t.state.last = t.replied


@storyteller.on_interrupt
def sulk(t: Turn[Tale]) -> None:
    t.state.last = f"cut at {t.replied}"
