"""A Role with a behaviour graph in Python."""

from rolehost import Role, State, Turn


class Bond(State, scope="user"):
    dragons: int = 0


storyteller = Role("storyteller", state=Bond)


@storyteller.edge("Idle", "Explore", weight=0.8)
def hears_dragon(t: Turn[Bond]) -> bool:
    return "龙" in t.message or "dragon" in t.message.lower()


@storyteller.edge("Explore", "Idle")
def is_thanked(t: Turn[Bond]) -> bool:
    return "thank" in t.message


@storyteller.enter("Explore")
async def count(t: Turn[Bond]) -> None:
    t.state.dragons += 1


@storyteller.exit("Explore")
def leave(t: Turn[Bond]) -> None:
    t.log(f"leaving {t.node}")


@storyteller.enter("Idle")
def rest(t: Turn[Bond]) -> None:
    t.log(f"in {t.node}")
