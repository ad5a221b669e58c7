"""docs/telemetry.md says what spans there are, what is on them, what can be set, and draws a trace as the command does."""

import re

import yaml
from tests.support.sources import REPOSITORY, exported

from rolehost.cli.flames import Flame, as_text
from rolehost_runtime.gateway.settings import PREFIX, GatewaySettings
from rolehost_runtime.gateway.tracing.content import MAX_CHARS
from rolehost_runtime.gateway.tracing.sending import MAX_QUEUED_BYTES, PAUSES
from rolehost_runtime.gateway.tracing.spans import ALLOWED, CONTENT, NAMES
from rolehost_runtime.gateway.tracing.turn import MAX_STEPS

PAGE = (REPOSITORY / "docs" / "telemetry.md").read_text()
VALUES = yaml.safe_load((REPOSITORY / "charts/rolehost/values.yaml").read_text())["telemetry"]
MS = 1_000_000
LATE = [
    Flame("1", "", "turn", 0, 2110 * MS),
    Flame("2", "1", "session.load", 100_000, 700_000),
    Flame("3", "1", "route", 1 * MS, 3_400_000),
    Flame("4", "1", "hooks", 4 * MS, 7 * MS),
    Flame("5", "1", "model.call", 15 * MS, 2105 * MS, "laggard", "model_timeout"),
]


def test_every_span_and_every_attribute_is_there() -> None:
    told = set(re.findall(r"`([a-z_.]+)`", PAGE))
    assert told >= {*NAMES, *ALLOWED, *CONTENT}


def test_its_settings_are_those_of_the_chart_and_of_the_gateway() -> None:
    rows = re.findall(r"^\| `telemetry\.(\w+)` \(`(\w+)`\)", PAGE, re.M)
    assert {value for value, _ in rows} == VALUES.keys() - {"collector"}
    assert {name for _, name in rows} == {
        PREFIX + name.upper() for name in GatewaySettings.model_fields if name.startswith(("trace_", "otlp_"))
    }


def test_its_bounds_are_those_of_the_code() -> None:
    assert f"{MAX_CHARS:,} characters of each" in PAGE
    assert f"up to {MAX_QUEUED_BYTES >> 20} MiB wait" in PAGE
    assert f"At most {MAX_STEPS} steps" in PAGE
    assert 30 <= sum(PAUSES) < 60


def test_its_series_are_exported() -> None:
    for series in re.findall(r"`(rolehost_\w+)", PAGE):
        assert exported(series), series


def test_its_picture_is_what_the_command_draws() -> None:
    drawn = PAGE.split("```\nturn", 1)[1].split("```")[0]
    assert f"turn{drawn}".rstrip() == as_text(LATE)
