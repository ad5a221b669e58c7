"""A Role that asks a server of the cluster's own: refused as it comes, reached where the operators allow its network."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.cluster import install
from tests.cluster.testing import Cluster, Tenant

pytestmark = pytest.mark.timeout(420)
RUN = secrets.token_hex(4)
HOST, PORT = "tinymodel.models.svc.cluster.local", 8000
GATEWAY = "deployment/rolehost-gateway"
LOGIC = """
from rolehost import HttpFailed, Role, State, Turn

asker = Role("asker", state=State)


@asker.on_message
async def ask(t: Turn[State]) -> None:
    try:
        found = await t.http.get(t.message)
        t.say(f"{found.status} {found.text[:200]}")
    except HttpFailed as failed:
        t.say(failed.code)
"""


@pytest.fixture(scope="module")
def askers(cluster: Cluster) -> Iterator[Tenant]:
    install.tiny_model(cluster.where)
    with cluster.tenant("askers") as tenant:
        names = ["kubernetes.default.svc.cluster.local:443", f"{HOST}:{PORT}", "169.254.169.254:80", "127.0.0.1:8081"]
        template = {"permissions": ["model.call", *(f"http:{name}" for name in names)]}
        tenant.apply_role("asker", logic=LOGIC, template=template)
        tenant.wait_ready("asker")
        yield tenant


@contextmanager
def allowed(cluster: Cluster, network: str) -> Iterator[None]:
    """As `reach.allowedCidrs` in the chart's values has it."""
    name = "ROLEHOST_REACH_ALLOWED_CIDRS"
    before = cluster.get(GATEWAY, "-n", "rolehost-system")["spec"]["template"]["spec"]["containers"][0]["env"]
    was = next((one.get("value", "") for one in before if one["name"] == name), "")
    cluster.kubectl("set", "env", GATEWAY, "-n", "rolehost-system", f"{name}={network}")
    cluster.rolled_out(GATEWAY, 180)
    try:
        yield
    finally:
        cluster.kubectl("set", "env", GATEWAY, "-n", "rolehost-system", f"{name}={was}")
        cluster.rolled_out(GATEWAY, 180)


def ask(cluster: Cluster, tenant: Tenant, key: str, url: str) -> str:
    with cluster.talk("asker", key, f"{secrets.token_hex(3)}-{RUN}") as person:
        return str(person.say(url)["message"])


def test_addresses_of_the_cluster_are_refused_unless_they_are_allowed_by_name(cluster: Cluster, askers: Tenant) -> None:
    key = askers.key("chat")
    inside = f"http://{HOST}:{PORT}/v1/models"
    never = ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:8081/internal/v1/observed"]
    for url in (inside, "https://kubernetes.default.svc.cluster.local:443/", *never):
        assert ask(cluster, askers, key, url) == "http_refused_address", url
    assert ask(cluster, askers, key, "https://api.acme.com/") == "http_not_granted"
    address = cluster.get("service", "tinymodel", "-n", "models")["spec"]["clusterIP"]
    with allowed(cluster, f"{address}/32"):
        status, _, body = ask(cluster, askers, key, inside).partition(" ")
        assert status == "200"
        assert json.loads(body)["object"] == "list"
        for url in ("https://kubernetes.default.svc.cluster.local:443/", *never):
            assert ask(cluster, askers, key, url) == "http_refused_address", url
