"""An almanac: it looks the moon and the days up, and keeps what it is asked to keep. Three tools, and no network."""

import math
from datetime import date, timedelta
from typing import Annotated

from rolehost import Role, State, Turn

NEW_MOON = date(2000, 1, 6)
MONTH = 29.530588
"""Days from one new moon to the next."""
PHASES = (
    "new moon", "waxing crescent", "first quarter", "waxing gibbous",
    "full moon", "waning gibbous", "last quarter", "waning crescent",
)  # fmt: skip
Day = Annotated[date, "as YYYY-MM-DD"]


class Pages(State):
    """Kept for each session."""

    jotted: dict[str, list[str]] = {}
    """Day → what is to be remembered on it."""


almanac = Role("almanac", state=Pages)


@almanac.tool
def moon(t: Turn[Pages], day: Day | None = None) -> str:
    """The phase of the moon on a day, today where none is given."""
    when = day or t.now.date()
    age = (when - NEW_MOON).days % MONTH
    lit = round(50 * (1 - math.cos(2 * math.pi * age / MONTH)))
    return f"{when}: {PHASES[round(age / MONTH * 8) % 8]}, {lit} % lit"


@almanac.tool
def days_until(t: Turn[Pages], day: Day) -> dict[str, int | str]:
    """How many days it is until a day, which day of the week that is, and what was jotted down for it."""
    left = day - t.now.date()
    return {
        "days": left // timedelta(days=1),
        "weekday": f"{day:%A}",
        "jotted": "; ".join(t.state.jotted.get(f"{day}", [])),
    }


@almanac.tool
def jot(t: Turn[Pages], day: Day, what: Annotated[str, "a few words"]) -> str:
    """Keep something for a day, where the user asks for it.

    Args:
        day: when it is wanted again
    """
    t.state.jotted.setdefault(f"{day}", []).append(what[:200])
    return "kept"
