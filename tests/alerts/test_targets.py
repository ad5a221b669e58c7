"""Rules that join what gateways export stay awake when gateways do not, and let go of what was deleted (F25)."""

import pytest
from tests.alerts.conftest import World
from tests.support.promtool import DAY, HOUR, Series, counter, steady
from tests.support.turns import promise, turns

from rolehost_api import slo

pytestmark = pytest.mark.timeout(180)  # days of series, on a machine that does other things
FAST, SLOW = "RolehostBudgetBurnsFast", "RolehostBudgetBurns"
WITHOUT, SILENT = "RolehostTurnsWithoutTarget", "RolehostTargetsSilent"
ACME = {"tenant": "acme", "role": "cat", "objective": "answered", "scope": "role"}
BURNS = [{**ACME, "severity": "page", "window": window} for window in ("1h", "6h")]


def test_a_target_of_this_morning_still_counts_when_nobody_exports_it_any_more(world: World) -> None:
    """Its exporter is gone; another gateway, which exports nothing, counts the failures."""
    world.has(promise(HOUR, pod="gw-0"), turns((100, 0, 2 * HOUR), (0, 100, HOUR), pod="gw-1"))
    world.fires(3 * HOUR, FAST, *BURNS)
    world.quiet(3 * HOUR, WITHOUT)


def test_after_a_day_without_a_target_its_absence_is_told(world: World) -> None:
    world.every = 4
    world.has(promise(HOUR, pod="gw-0"), turns((100, 0, 27 * HOUR), pod="gw-1"))
    world.quiet(24 * HOUR, WITHOUT)
    world.fires(26 * HOUR, WITHOUT, {**ACME, "severity": "ticket"})


def test_turns_that_never_had_a_target_are_told_after_a_quarter_of_an_hour(world: World) -> None:
    world.has(turns((100, 0, HOUR)))
    world.quiet(14, WITHOUT)
    world.fires(20, WITHOUT, {**ACME, "severity": "ticket"})


def test_the_exporters_silence_is_told_and_its_return_ends_it(world: World) -> None:
    one, other = promise(HOUR)
    gap = " ".join(["_"] * 30)
    back = [
        part._replace(values=f"{part.values} {gap} {steady(part.values.split()[0], HOUR)}") for part in (one, other)
    ]
    world.has(back)
    world.quiet(HOUR, SILENT)
    world.quiet(HOUR + 8, SILENT)
    world.fires(HOUR + 12, SILENT, {"severity": "page", "scope": "platform"})
    world.quiet(HOUR + 33, SILENT)


@pytest.mark.parametrize("answered", [False, True])
def test_gateways_that_began_anew_and_are_not_spoken_to_are_no_silence(world: World, answered: bool) -> None:
    """Where they answer turns and export no target, it is one."""
    labels = {"pod": "gw-1", **{name: ACME[name] for name in ("tenant", "role")}, "outcome": "completed"}
    world.has(promise(HOUR), [Series("rolehost_gateway_sockets", {"pod": "gw-1"}, steady("0", 2 * HOUR))])
    world.has([Series("rolehost_turns_total", labels, counter((int(answered), 2 * HOUR)))])
    if answered:
        world.fires(2 * HOUR, SILENT, {"severity": "page", "scope": "platform"})
    else:
        world.quiet(2 * HOUR, SILENT)


def test_one_gateway_of_two_that_goes_is_no_silence(world: World) -> None:
    world.has(promise(HOUR, pod="gw-0"), promise(3 * HOUR, pod="gw-1"))
    world.quiet(2 * HOUR, SILENT)


def deleted(minutes: int, after: int, pod: str = "gw-0") -> list[Series]:
    """A Role's target, and NaN from the moment on when it was deleted."""
    target, window = promise(after, pod=pod)
    return [target._replace(values=f"{target.values} {steady('NaN', minutes - after - 1)}"), window]


def test_a_deleted_role_calls_nobody_whatever_its_last_turns_were(world: World) -> None:
    world.has(deleted(3 * HOUR, HOUR), turns((0, 100, HOUR + 10), (0, 0, 2 * HOUR)))
    world.fires(HOUR, FAST, *BURNS)
    for minute in (HOUR + 2, HOUR + 10, 2 * HOUR):
        world.quiet(minute, FAST, SLOW)
    world.quiet(3 * HOUR, SILENT, WITHOUT)


def test_one_gateways_word_that_it_was_deleted_is_enough_where_another_one_is_gone(world: World) -> None:
    world.has(promise(30, pod="gw-1"), deleted(3 * HOUR, HOUR), turns((0, 100, 2 * HOUR)))
    world.quiet(90, FAST, SLOW)


def test_a_role_that_is_made_anew_counts_again(world: World) -> None:
    target, window = promise(3 * HOUR)
    values = [*["0.99"] * 60, *["NaN"] * 30, *["0.99"] * 91]
    world.has([target._replace(values=" ".join(values)), window], turns((0, 100, 3 * HOUR)))
    world.quiet(80, FAST)
    world.fires(2 * HOUR, FAST, *BURNS)


def test_a_promise_that_was_lowered_counts_at_once(world: World) -> None:
    """The higher one of a gateway that is gone does not outlive it."""
    world.has(promise(HOUR, "0.999", pod="gw-0"), promise(3 * HOUR, "0.95", pod="gw-1"), turns((950, 50, 3 * HOUR)))
    world.fires(HOUR, FAST, *BURNS)
    world.quiet(HOUR + 10, FAST)


def test_a_failing_rule_and_a_late_one_are_told(world: World) -> None:
    for name, step in (("rolehost-slo-burns", 1), ("somebody-elses", 1), ("rolehost-store", 0)):
        group = {"rule_group": f"/etc/prometheus/rules.yaml;{name}"}
        values = " ".join(str(step * minute) for minute in range(31))
        world.has([Series(f"prometheus_rule_{what}_total", group, values) for what in ("evaluation_failures", "group_iterations_missed")])  # fmt: skip
    told = {"scope": "platform", "rule_group": "/etc/prometheus/rules.yaml;rolehost-slo-burns"}
    world.fires(30, "RolehostRulesFail", {**told, "severity": "page"})
    world.fires(30, "RolehostRulesLate", {**told, "severity": "ticket"})


def test_many_roles_at_once_are_one_cause(world: World) -> None:
    """Five of twenty: a page of its own. Four of them, or five of forty: only theirs."""
    minutes = 20
    for role in range(20):
        bad = 100 if role < 4 or (role == 4) else 0
        world.has(promise(minutes, role=f"role-{role}"), turns((100 - bad, bad, minutes), role=f"role-{role}"))
    world.fires(minutes, "RolehostManyRolesBurn", {"severity": "page", "scope": "platform"})


def test_a_few_roles_are_no_common_cause(world: World) -> None:
    minutes = 20
    for role in range(20):
        bad = 100 if role < 4 else 0
        world.has(promise(minutes, role=f"role-{role}"), turns((100 - bad, bad, minutes), role=f"role-{role}"))
    world.quiet(minutes, "RolehostManyRolesBurn")


def test_a_target_and_its_window_have_the_names_that_gateways_export() -> None:
    assert {series.name for series in promise(1)} == {slo.TARGET, slo.WINDOW}
    assert DAY == 24 * HOUR
