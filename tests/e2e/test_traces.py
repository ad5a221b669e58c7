"""A turn on the cluster is one trace at Jaeger, by way of the chart's Collector; and its numbers lead there."""

import json
import secrets
import time
import urllib.parse
import urllib.request
from typing import Any

from tests.cluster.monitoring import Monitoring
from tests.cluster.testing import Cluster, Tenant, until

from rolehost.cli.flames import as_text
from rolehost.cli.trace import read

WORD = f"zebra{secrets.token_hex(4)}"
PERSON = f"person-{secrets.token_hex(4)}"


def test_a_turn_is_one_trace_that_says_where_its_time_went_and_not_what_was_said(
    cluster: Cluster, acme: Tenant, key: str, monitoring: Monitoring
) -> None:
    with cluster.talk("parrot", key, PERSON) as person:
        done = person.say(WORD, timeout=60)
    trace_id = str(done["trace_id"])
    spans = until(lambda: monitoring.trace(trace_id) or None, 60, lambda: f"Jaeger has trace {trace_id}")
    told = json.dumps(spans)
    assert {"turn", "session.load", "route", "hooks", "model.call", "commit"} <= {one["operationName"] for one in spans}
    for word in (WORD, PERSON, key, "You repeat."):
        assert word not in told
    (root,) = [one for one in spans if one["operationName"] == "turn"]
    tags = {tag["key"]: tag["value"] for tag in root["tags"]}
    assert (tags["rolehost.tenant"], tags["rolehost.role"]) == (acme.name, "parrot")
    (found,) = read(json.dumps({"data": [{"spans": spans}]})).values()
    print(as_text(found))
    ends = root["startTime"] + root["duration"]
    assert all(root["startTime"] <= one["startTime"] <= one["startTime"] + one["duration"] <= ends for one in spans)


def test_a_percentile_leads_to_a_trace(cluster: Cluster, acme: Tenant, key: str, monitoring: Monitoring) -> None:
    began = time.time()
    with cluster.talk("parrot", key, PERSON) as person:
        person.say("again", timeout=60)
    asked = {"query": f'rolehost_turn_seconds_bucket{{tenant="{acme.name}"}}', "start": began - 5}

    def exemplars() -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({**asked, "end": time.time() + 5})
        with urllib.request.urlopen(f"{monitoring.prometheus}/api/v1/query_exemplars?{query}", timeout=10) as answer:
            series: list[dict[str, Any]] = json.load(answer)["data"]
        return [one for each in series for one in each["exemplars"]]

    found = until(lambda: exemplars() or None, 30, lambda: "Prometheus has an exemplar of a turn")
    traces = {one["labels"]["trace_id"] for one in found}
    until(lambda: any(monitoring.trace(one) for one in traces) or None, 60, lambda: f"Jaeger has one of {traces}")
