"""Personas from templates on the cluster, and what is wrong with one said in the Role's conditions."""

from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster, Tenant

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("templated") as made:
        yield made


def test_a_role_from_a_template_speaks_in_its_words(cluster: Cluster, tenant: Tenant) -> None:
    persona = {"template": "tutor_v1", "variables": {"subject": "the tides", "name": "Nell"}}
    tenant.apply_role("tides", template={"persona": persona})
    tenant.wait_ready("tides")
    with cluster.talk("tides", tenant.key("chat"), "templated") as person:
        assert person.say("hello")["status"] == "completed"
        assert person.frames[0]["greeting"].startswith("Hello, I am Nell. What in the tides shall we look at")


def test_a_persona_that_tries_to_get_out_is_named_and_takes_no_traffic(cluster: Cluster, tenant: Tenant) -> None:
    tenant.apply_role("escape", template={"persona": {"system": "You are {{ who }}.", "variables": {"who": "a cat"}}})
    tenant.wait_ready("escape")
    hostile = {"system": "{{ ''.__class__.__mro__ }}", "variables": {"who": "a cat"}}
    tenant.apply_role("escape", template={"persona": hostile})
    message = cluster.wait_condition("rhr", "escape", tenant.name, "LogicLoaded", "False")
    assert "spec.template.persona.system" in message
    with cluster.talk("escape", tenant.key("chat"), "still") as person:
        assert person.say("hello")["status"] == "completed"
