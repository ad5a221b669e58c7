import json
from typing import Any

from rolehost import Role, State, Turn


class Sky(State):
    looks: int = 0


sky = Role("sky", state=Sky)
asker = Role("asker")


@sky.tool
async def stars(t: Turn[Sky], city: str) -> str:
    """Stars over a city."""
    t.state.looks += 1
    return f"Vega over {city}"


@sky.tool
def broken(t: Turn[Sky]) -> str:
    """It fails."""
    t.state.looks = 99
    raise RuntimeError("never mind")


@asker.on_message
async def ask(t: Turn[Any]) -> None:
    await t.reply(t.ask(tools=json.loads(t.message)))
