"""An error budget that is spent too fast calls somebody, and one that is not calls nobody (F25)."""

import pytest
from tests.alerts.conftest import World
from tests.support.promtool import HOUR
from tests.support.turns import promise, turns

pytestmark = pytest.mark.timeout(180)  # days of series, on a machine that does other things
FAST, SLOW = "RolehostBudgetBurnsFast", "RolehostBudgetBurns"
ACME = {"tenant": "acme", "role": "cat", "objective": "answered", "scope": "role"}
PAGE, TICKET = {**ACME, "severity": "page"}, {**ACME, "severity": "ticket"}
HOURLY, LATER = {**PAGE, "window": "1h"}, {**PAGE, "window": "6h"}
BEFORE = 70
"""So long all is well first, so that the hour is full."""
SIDES = (("over", 1.02), ("under", 0.98))

PACES = [("1h", 14.4, FAST, "page"), ("6h", 6, FAST, "page"), ("1d", 3, SLOW, "ticket"), ("3d", 1, SLOW, "ticket")]


def test_both_sides_of_every_pace_and_a_slow_burn_wakes_nobody(world: World) -> None:
    """Eight Roles for three days: by two in a hundred over a pace somebody is called; by two in a hundred under it nobody,
    by that pace. What is over a pace is over those that are slower, too."""
    minutes = 74 * HOUR
    world.every = 5
    rates = {f"{side}-{window}": round(factor * share * 100) for window, factor, *_ in PACES for side, share in SIDES}
    for role, bad in rates.items():
        world.has(promise(minutes, role=role), turns((10_000 - bad, bad, minutes), role=role))
    for window, factor, alert, severity in PACES:
        over = [role for role, bad in rates.items() if bad > factor * 100]
        labels = [{**ACME, "role": role, "severity": severity, "window": window} for role in over]
        world.fires(minutes, alert, *labels, window=window)
        assert f"over-{window}" in over
        assert f"under-{window}" not in over


def test_an_outage_pages_when_the_hour_has_spent_its_part_and_not_before(world: World) -> None:
    """Of 99 %: 14.4 % of an hour's turns are those of 8.64 minutes."""
    world.has(promise(BEFORE + HOUR), turns((100, 0, BEFORE), (0, 100, HOUR)))
    world.quiet(BEFORE + 8, FAST, window="1h")
    world.fires(BEFORE + 10, FAST, HOURLY, window="1h")


def test_half_of_all_turns_too_slow_pages_after_twice_that_time(world: World) -> None:
    world.has(promise(BEFORE + HOUR), turns((100, 0, BEFORE), (50, 50, HOUR)))
    world.quiet(BEFORE + 17, FAST, window="1h")
    world.fires(BEFORE + 19, FAST, HOURLY, window="1h")


def test_a_tighter_promise_pages_sooner(world: World) -> None:
    """Of 99.9 % an hour allows a minute's outage, and not two."""
    world.has(promise(BEFORE + HOUR, "0.999"), turns((100, 0, BEFORE), (0, 100, HOUR)))
    world.quiet(BEFORE, FAST, window="1h")
    world.fires(BEFORE + 2, FAST, HOURLY, window="1h")


def test_after_recovery_the_page_ends_within_minutes(world: World) -> None:
    world.has(promise(BEFORE + HOUR), turns((100, 0, BEFORE), (0, 100, 20), (100, 0, 40)))
    world.fires(BEFORE + 20, FAST, HOURLY, window="1h")
    world.fires(BEFORE + 23, FAST, HOURLY, window="1h")
    world.quiet(BEFORE + 26, FAST, window="1h")


def test_no_traffic_is_no_failure(world: World) -> None:
    world.has(promise(6 * HOUR), turns((80, 20, 10), (0, 0, 6 * HOUR)))
    world.fires(8, FAST, HOURLY, LATER)
    world.quiet(HOUR, FAST)
    world.quiet(6 * HOUR, FAST)


def test_a_role_that_nobody_ever_spoke_to_is_quiet(world: World) -> None:
    world.has(promise(2 * HOUR))
    world.quiet(2 * HOUR, FAST, SLOW, "RolehostTurnsWithoutTarget")


def test_a_gateway_that_begins_to_count_anew_is_no_failure(world: World) -> None:
    good, bad = turns((100, 0, 2 * HOUR))
    zeroed = good._replace(values=" ".join(str(100 * (minute % 90)) for minute in range(2 * HOUR)))
    world.has(promise(2 * HOUR), [zeroed, bad])
    world.quiet(92, FAST, SLOW)
    world.quiet(2 * HOUR - 1, FAST, SLOW)


def test_a_gateway_that_begins_to_count_anew_does_not_hide_an_outage(world: World) -> None:
    good, bad = turns((0, 100, 2 * HOUR))
    zeroed = bad._replace(values=" ".join(str(100 * (minute % 90)) for minute in range(2 * HOUR)))
    world.has(promise(2 * HOUR), [good, zeroed])
    for minute in (92, 2 * HOUR - 1):
        world.fires(minute, FAST, HOURLY, LATER)


@pytest.mark.parametrize("failures", [1, 4])
def test_with_little_traffic_a_few_bad_turns_wake_nobody(world: World, failures: int) -> None:
    """Every turn of an hour fails, one in ten minutes; and before them there was none."""
    parts = [part for _ in range(failures) for part in ((0, 1, 1), (0, 0, 9))]
    world.has(promise(2 * HOUR), turns((0, 0, 30), *parts, (0, 0, 30)))
    for minute in range(30, 30 + 10 * failures + 10):
        world.quiet(minute, FAST)


def test_with_little_traffic_an_outage_that_goes_on_pages_all_the_same(world: World) -> None:
    """A turn in two minutes, and all of them fail."""
    parts = [part for _ in range(30) for part in ((0, 1, 1), (0, 0, 1))]
    world.has(promise(2 * HOUR), turns((0, 0, 30), *parts, (0, 0, 30)))
    world.quiet(30 + 8, FAST)
    world.fires(30 + 40, FAST, HOURLY, LATER)


def test_a_ticket_needs_three_bad_turns(world: World) -> None:
    world.every = 5
    day = 26 * HOUR
    one, three = ((0, 0, day - 90), (0, 1, 1), (0, 0, 89)), ((0, 0, day - 90), (0, 1, 4), (0, 0, 86))
    world.has(promise(day), turns(*one))
    world.has(promise(day, role="dog"), turns(*three, role="dog"))
    world.fires(day, SLOW, {**TICKET, "role": "dog", "window": "1d"}, {**TICKET, "role": "dog", "window": "3d"})


def test_a_short_window_has_less_to_spend_so_its_pace_is_lower(world: World) -> None:
    """A week is a quarter of 28 days: 3.6 times too fast pages. At 4 the four weeks' Role is left alone."""
    minutes = 2 * HOUR
    world.has(promise(minutes, window_days=7), turns((9_600, 400, minutes)))
    world.has(promise(minutes, role="dog"), turns((9_600, 400, minutes), role="dog"))
    world.fires(minutes, FAST, HOURLY, LATER)


def test_a_long_window_does_not_raise_the_pace(world: World) -> None:
    minutes = 2 * HOUR
    world.has(promise(minutes, window_days=90), turns((850, 150, minutes)))
    world.fires(minutes, FAST, HOURLY, LATER)


def test_two_roles_of_two_tenants_are_kept_apart_whatever_their_names(world: World) -> None:
    """The same names in both; the one with the lower promise keeps it."""
    minutes = 2 * HOUR
    for tenant, target in (("acme", "0.999"), ("umbrella", "0.95")):
        world.has(promise(minutes, target, tenant=tenant), turns((950, 50, minutes), tenant=tenant))
    world.fires(minutes, FAST, HOURLY, LATER)


def test_gateways_and_revisions_are_counted_together(world: World) -> None:
    """Each of two gateways alone has too few bad turns to call anybody."""
    minutes = 2 * HOUR
    slow = ((9, 0, minutes - 20), *(((0, 1, 1), (0, 0, 3)) * 5))
    for pod, revision in (("gw-0", "cat-1"), ("gw-1", "cat-2")):
        world.has(promise(minutes, "0.9995", pod=pod), turns(*slow, pod=pod, revision=revision))
    world.fires(minutes - 1, FAST, HOURLY, LATER)
