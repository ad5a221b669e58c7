"""NetworkPolicies as the enforcer of the test cluster understands them: what is not named is not allowed."""

import doctest
from typing import Any

import pytest
from tests.cluster import policy
from tests.cluster.policy import Block, Pod, Rule, World, egress, ingress, ruleset

SANDBOX = Pod("acme", {"app": "sandbox"}, "10.244.0.5", {("TCP", "link"): 7420})
GATEWAY = Pod("system", {"app": "gateway"}, "10.244.0.6", {("TCP", "http"): 8080})
IMPOSTOR = Pod("evil", {"app": "gateway"}, "10.244.0.7")
REDIS = Pod("system", {"app": "redis"}, "10.244.0.8", {("TCP", "redis"): 6379})
NAMESPACES = {name: {"kubernetes.io/metadata.name": name} for name in ("acme", "system", "evil")}
FROM_GATEWAYS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "system"}},
    "podSelector": {"matchLabels": {"app": "gateway"}},
}


def made(namespace: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": "p"}, "spec": {"podSelector": {}, **spec}}


def world(*policies: dict[str, Any]) -> World:
    return World((SANDBOX, GATEWAY, IMPOSTOR, REDIS), NAMESPACES, policies)


SANDBOX_POLICY = made(
    "acme",
    podSelector={"matchLabels": {"app": "sandbox"}},
    policyTypes=["Ingress", "Egress"],
    ingress=[{"from": [FROM_GATEWAYS], "ports": [{"port": 7420}]}],
    egress=[],
)


def test_a_pod_that_no_policy_selects_is_not_isolated() -> None:
    assert ingress(GATEWAY, world(SANDBOX_POLICY)) is None
    assert egress(GATEWAY, world(SANDBOX_POLICY)) is None


def test_the_sandbox_hears_gateways_and_says_nothing() -> None:
    assert ingress(SANDBOX, world(SANDBOX_POLICY)) == (Rule((Block(GATEWAY.address),), (("TCP", "7420"),)),)
    assert egress(SANDBOX, world(SANDBOX_POLICY)) == ()


def test_a_policy_counts_in_its_own_namespace_only() -> None:
    elsewhere = {**SANDBOX_POLICY, "metadata": {"namespace": "evil", "name": "p"}}
    assert ingress(SANDBOX, world(elsewhere)) is None


def test_a_pod_selector_alone_means_the_policys_namespace() -> None:
    mine = made("system", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "gateway"}}}]}])
    assert ingress(REDIS, world(mine)) == (Rule((Block(GATEWAY.address),), None),)


def test_a_rule_whose_peers_do_not_exist_allows_nobody() -> None:
    """An empty list of peers means everybody; a list that selects no pod means nobody."""
    nobody = made("system", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "ghost"}}}]}])
    anybody = made("system", ingress=[{"ports": [{"port": 6379}]}])
    assert ingress(REDIS, world(nobody)) == ()
    assert ingress(REDIS, world(anybody)) == (Rule(None, (("TCP", "6379"),)),)


def test_policies_add_up() -> None:
    one = made("system", ingress=[{"ports": [{"port": 1}]}])
    two = made("system", ingress=[{"ports": [{"port": 2, "protocol": "UDP"}]}])
    assert ingress(REDIS, world(one, two)) == (Rule(None, (("TCP", "1"),)), Rule(None, (("UDP", "2"),)))


def test_ports_by_name_are_those_of_the_pod_that_is_reached() -> None:
    into = made("system", ingress=[{"ports": [{"port": "redis"}, {"port": "http"}]}])
    out = made("system", policyTypes=["Egress"], egress=[{"ports": [{"port": "redis"}]}])
    assert ingress(REDIS, world(into)) == (Rule(None, (("TCP", "6379"),)),)
    assert egress(GATEWAY, world(out)) == (Rule((Block(REDIS.address),), (("TCP", "6379"),)),)


@pytest.mark.parametrize(
    ("spec", "isolated"),
    [
        ({}, (True, False)),
        ({"egress": [{}]}, (True, True)),
        ({"policyTypes": ["Egress"]}, (False, True)),
    ],
)
def test_directions_are_defaulted_as_the_apiserver_does(spec: dict[str, Any], isolated: tuple[bool, bool]) -> None:
    seen = world(made("acme", **spec))
    assert (ingress(SANDBOX, seen) is not None, egress(SANDBOX, seen) is not None) == isolated


def test_an_operator_that_we_do_not_know_selects_nothing() -> None:
    assert not policy.matches({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}, {"app": "2"})


def test_a_pod_on_the_nodes_network_is_not_a_peer() -> None:
    manifest = {
        "metadata": {"namespace": "system", "name": "host"},
        "spec": {"hostNetwork": True},
        "status": {"phase": "Running", "podIP": "10.88.0.1"},
    }
    assert policy.pod_from(manifest) is None


def test_before_anything_is_known_nobody_talks() -> None:
    rules = ruleset(None)
    assert "elements" not in rules
    assert "ip saddr != @known counter drop" in rules
    assert "ip daddr != @known counter drop" in rules


def test_an_isolated_pod_ends_in_a_drop_and_the_others_are_only_known() -> None:
    rules = ruleset(world(SANDBOX_POLICY))
    assert "elements = { 10.244.0.5, 10.244.0.6, 10.244.0.7, 10.244.0.8 }" in rules
    chain = rules.split("chain ingress_10_244_0_5 {")[1].split("}\n chain")[0]
    assert "ip saddr { 10.244.0.6 } tcp dport { 7420 } return" in chain
    assert chain.rstrip().rstrip("}").rstrip().endswith("counter drop")
    assert "egress_10_244_0_6" not in rules


def test_the_order_of_what_was_seen_does_not_matter() -> None:
    """The rules are compared as text to know whether anything changed."""
    seen = world(SANDBOX_POLICY)
    assert ruleset(World(tuple(reversed(seen.pods)), NAMESPACES, seen.policies)) == ruleset(seen)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(policy).failed == 0
    assert doctest.testmod(policy).attempted > 5
