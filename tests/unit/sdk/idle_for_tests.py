"""A Role that speaks of its own accord."""

from rolehost import Role, State, Turn


class Company(State):
    nudges: int = 0
    hours: int = 0
    came_back: str = ""
    ended: bool = False


friend = Role("friend", persona="You are good company.", state=Company)


@friend.on_message
async def answer(t: Turn[Company]) -> None:
    await t.reply(t.ask())


@friend.on_idle("10m")
async def nudge(t: Turn[Company]) -> None:
    t.state.nudges += 1
    await t.reply(t.ask())


@friend.every("1h")
def strike(t: Turn[Company]) -> None:
    t.state.hours += 1


@friend.on_resume(after="2h")
def welcome(t: Turn[Company]) -> None:
    t.state.came_back = str(t.absent)


@friend.on_end
def farewell(t: Turn[Company]) -> None:
    t.state.ended = True
    t.say("Goodbye.")


@friend.on_reply
def mood(t: Turn[Company]) -> None:
    t.emit("custom.mood", {"nudges": t.state.nudges})
