"""How fast a budget may be spent before somebody is called: the four paces, and the windows that are looked at.

A pace is a multiple of what a budget allows: at 1 it lasts its window exactly. Both windows of a pace must be over it:
the long one says that it matters, the short one that it goes on.
"""

from dataclasses import dataclass

from rolehost_api.crd.role import FASTEST_BURN
from rolehost_dashboards.rules.shape import Severity

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
FULL_WINDOW_SECONDS = 28 * 86_400
"""An objective over so long or longer has the paces as they are; of a shorter one there is less to spend, so they shrink."""


@dataclass(frozen=True)
class Pace:
    """One pair of windows."""

    long: str
    short: str
    factor: float
    floor: float
    """What `factor` does not shrink below: less is no emergency, however short the objective's window."""
    severity: Severity
    least_bad: int
    """So many bad turns in the long window, or it is not worth a call: one of three is chance."""
    least_bad_now: int = 1
    """And so many in the short one."""

    @property
    def limit(self) -> str:
        """In PromQL, by objective."""
        return f"clamp_min({self.factor:g} * {SHARE}, {self.floor:g})"


SHARE = "rolehost:slo_window:share"
PACES = (
    Pace("1h", "5m", FASTEST_BURN, 2, Severity.PAGE, least_bad=5, least_bad_now=2),
    Pace("6h", "30m", 6, 2, Severity.PAGE, least_bad=5, least_bad_now=2),
    Pace("1d", "2h", 3, 1, Severity.TICKET, least_bad=3),
    Pace("3d", "6h", 1, 1, Severity.TICKET, least_bad=3),
)


def burn(window: str) -> str:
    """The series with the pace over a window, by tenant, role and objective."""
    return f"rolehost:slo_burn:rate{window}"


def increase(window: str) -> str:
    """The series with turns over a window, by tenant, role, objective and outcome."""
    return f"rolehost:slo_turns:increase{window}"
