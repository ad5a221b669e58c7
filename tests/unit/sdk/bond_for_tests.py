"""A Role that keeps a State of each scope."""

from rolehost import Counter, Role, Set, State, Turn


class Tale(State):
    stories: int = 0


class Bond(State, scope="user"):
    mood: str = "calm"
    dragons: Counter = 0
    met: Set = set()


narrator = Role("narrator", state=Tale, user_state=Bond)


@narrator.on_message
def tell(t: Turn[Tale]) -> None:
    t.state.stories += 1
    t.user_state.dragons += t.message.count("dragon")
    t.user_state.met |= {word for word in t.message.split() if word.istitle()}
    if "forget" in t.message:
        t.user_state.met.clear()
    if "!" in t.message:
        t.user_state.mood = "wild"
    t.say(f"{t.state.stories}/{t.user_state.dragons}")
