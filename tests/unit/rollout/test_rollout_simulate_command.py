"""`rolehost rollout simulate` answers for people and for programs, the same for the same seed."""

import json

import pytest
from click.testing import CliRunner, Result

from rolehost_operator.rollout_commands import rollout


def asked(*arguments: str) -> Result:
    return CliRunner().invoke(rollout, ["simulate", *arguments])


def test_people_get_a_table_with_the_bound_beside_what_was_needed() -> None:
    result = asked("--ask", "sessions", "--runs", "5", "--stable", "0.1", "--candidate", "20", "--margin", "10")
    assert result.exit_code == 0, result.output
    title, head, *lines = result.output.strip().splitlines()
    assert title == "Sessions of the new revision until a verdict"
    assert head.split()[:3] == ["traffic", "percent", "verdict"]
    assert [line.split()[:4] for line in lines] == [
        ["iid", "5", "%", "Unhealthy"],
        ["clustered", "5", "%", "Unhealthy"],
        ["iid", "5", "%", "Healthy"],
    ]


def test_programs_get_the_same_figures_for_the_same_seed() -> None:
    arguments = ("--ask", "errors", "--traffic", "drifting", "--runs", "2", "--json")
    once, again = (json.loads(asked(*arguments).output) for _ in range(2))
    assert once == again
    assert once["setting"]["alpha"] == 0.001
    assert [one["rule"] for one in once["errors"]] == ["rolehost", "Flagger, min 97", "Flagger, min 99", "rolehost"]
    assert once["sessions"] == once["races"] == []


def test_both_rules_run_on_the_rates_that_are_asked_for() -> None:
    result = asked("--ask", "time", "--rate", "20", "--rate", "40", "--candidate", "40", "--runs", "2", "--json")
    races = json.loads(result.output)["races"]
    assert [one["rate"] for one in races] == [20.0, 40.0]
    for one in races:
        assert one["flagger_seconds"]["median"] == 300
        assert one["seconds"]["median"] < 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--stable", "5", "--candidate", "5"), "must fail more often than stable"),
        (("--stable", "40", "--candidate", "50", "--margin", "20"), "no revision can be worse"),
        (("--percent", "100"), "--percent"),
    ],
)
def test_what_cannot_be_is_refused_by_the_option_s_name(arguments: tuple[str, ...], said: str) -> None:
    result = asked(*arguments)
    assert result.exit_code == 2
    assert said in result.output
