"""The example of an Alertmanager: it is read, and every alert gets to whom it should."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from tests.support.promtool import REPOSITORY, tool

from rolehost_dashboards.rules import alerts

CONFIG = REPOSITORY / "docs" / "examples" / "alertmanager.yaml"
READ: dict[str, Any] = yaml.safe_load(CONFIG.read_text())


def amtool(*arguments: str) -> str:
    done = subprocess.run([tool("amtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def receiver(**labels: str) -> str:
    given = [f"{name}={value}" for name, value in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={CONFIG}", *given)


def test_it_is_a_configuration() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@pytest.mark.parametrize(
    ("labels", "who"),
    [
        ({"severity": "page", "scope": "role", "tenant": "acme"}, "acme-pages"),
        ({"severity": "page", "scope": "role", "tenant": "umbrella"}, "platform-pages"),
        ({"severity": "page", "scope": "platform"}, "platform-pages"),
        ({"severity": "ticket", "scope": "role", "tenant": "acme"}, "acme-tickets"),
        ({"severity": "ticket", "scope": "role", "tenant": "umbrella"}, "platform-tickets"),
        ({"severity": "ticket", "scope": "platform"}, "platform-tickets"),
    ],
)
def test_by_severity_then_by_tenant(labels: dict[str, str], who: str) -> None:
    assert receiver(alertname="RolehostAny", **labels) == who


def test_an_incident_is_one_alert_of_one_role() -> None:
    """PagerDuty's dedup key is a hash of the group: of these labels, and of nothing that changes while it fires."""
    assert READ["route"]["group_by"] == ["alertname", "tenant", "role"]
    assert not any("group_by" in route for route in READ["route"]["routes"])


def test_it_names_alerts_that_there_are() -> None:
    named = re.findall(r"Rolehost[A-Za-z]+", CONFIG.read_text())
    assert named
    assert set(named) <= set(alerts())
