"""NetworkPolicies turned into nftables rules. Pure: what the apiserver says in, one ruleset out.

The bridge plugin enforces nothing, and a test that claims isolation needs somebody who does. What is not understood is
not allowed, and an address that belongs to no known pod neither sends nor receives: a pod is cut off until the rules
that were computed with it are in force.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TABLE = "rolehost_policy"
BRIDGE = "cni0"
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """What rules need to know of a pod."""

    namespace: str
    labels: Mapping[str, str]
    address: str
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(protocol, name) -> number, for policies that name ports."""


@dataclass(frozen=True)
class Block:
    """A range of addresses with holes."""

    cidr: str
    holes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Traffic that is allowed: from or to any of these peers, on any of these ports; None is all of them."""

    peers: tuple[Block, ...] | None
    ports: tuple[tuple[str, str], ...] | None
    """(protocol, port or range)."""


@dataclass(frozen=True)
class World:
    """Everything that decides: live pods with addresses, labels of namespaces, policies."""

    pods: tuple[Pod, ...]
    namespaces: Mapping[str, Mapping[str, str]]
    policies: tuple[Object, ...]


def pod_from(manifest: Object) -> Pod | None:
    """The pod, if it has an address of its own now; one on the node's network has none to guard.

    >>> meta = {"namespace": "a", "name": "p", "labels": {"app": "x"}}
    >>> pod_from({"metadata": meta, "spec": {}, "status": {"phase": "Running", "podIP": "10.244.0.9"}}).address
    '10.244.0.9'
    >>> pod_from({"metadata": meta, "spec": {}, "status": {"phase": "Succeeded", "podIP": "10.244.0.9"}}) is None
    True
    """
    spec, status, meta = manifest.get("spec", {}), manifest.get("status", {}), manifest["metadata"]
    address = status.get("podIP", "")
    if not address or spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    ports = {
        (port.get("protocol", "TCP"), port["name"]): int(port["containerPort"])
        for container in spec.get("containers", ())
        for port in container.get("ports", ())
        if "name" in port
    }
    return Pod(meta["namespace"], meta.get("labels") or {}, address, ports)


def matches(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Kubernetes' label selector; empty selects everything, an operator we do not know selects nothing.

    >>> matches({}, {"a": "1"}), matches({"matchLabels": {"a": "2"}}, {"a": "1"})
    (True, False)
    >>> matches({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["2"]}]}, {})
    True
    """
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(term, labels) for term in selector.get("matchExpressions") or ())


def _holds(term: Object, labels: Mapping[str, str]) -> bool:
    key, values = term["key"], term.get("values") or ()
    match term["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


def ingress(pod: Pod, world: World) -> tuple[Rule, ...] | None:
    """What may come in; None where no policy isolates the pod in this direction."""
    return _allowed(pod, world, "Ingress")


def egress(pod: Pod, world: World) -> tuple[Rule, ...] | None:
    """What may go out; None where no policy isolates the pod in this direction."""
    return _allowed(pod, world, "Egress")


def _allowed(pod: Pod, world: World, direction: str) -> tuple[Rule, ...] | None:
    chosen = [
        policy
        for policy in world.policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in _directions(policy["spec"])
        and matches(policy["spec"].get("podSelector"), pod.labels)
    ]
    if not chosen:
        return None
    return tuple(
        rule
        for policy in chosen
        for given in policy["spec"].get(direction.lower()) or ()
        for rule in _rules(given, policy["metadata"]["namespace"], pod, world, direction)
    )


def _directions(spec: Object) -> Sequence[str]:
    """What the apiserver defaults too: Ingress always, Egress if there are rules for it."""
    if spec.get("policyTypes"):
        return [str(given) for given in spec["policyTypes"]]
    return ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _rules(given: Object, namespace: str, pod: Pod, world: World, direction: str) -> Iterator[Rule]:
    peers_given = given.get("from" if direction == "Ingress" else "to")
    ports_given = given.get("ports") or ()
    plain = tuple(pair for port in ports_given if (pair := _plain_port(port)) is not None)
    named = [(port.get("protocol", "TCP"), port["port"]) for port in ports_given if isinstance(port.get("port"), str)]
    peers: tuple[Block, ...] | None = None
    if peers_given:
        peers = tuple(block for peer in peers_given for block in _blocks(peer, namespace, world))
        if not peers:
            return
    if not ports_given:
        yield Rule(peers, None)
        return
    if plain:
        yield Rule(peers, plain)
    for name in named:
        if direction == "Ingress":
            if name in pod.ports:
                yield Rule(peers, ((name[0], str(pod.ports[name])),))
            continue
        for other in world.pods:
            if name in other.ports and (peers is None or any(_covers(block, other.address) for block in peers)):
                yield Rule((Block(other.address),), ((name[0], str(other.ports[name])),))


def _plain_port(port: Object) -> tuple[str, str] | None:
    """(protocol, number or range) of a port by number; None for one by name.

    >>> _plain_port({"port": 53, "protocol": "UDP"}), _plain_port({"port": 1, "endPort": 9}), _plain_port({"port": "web"})
    (('UDP', '53'), ('TCP', '1-9'), None)
    >>> _plain_port({"protocol": "TCP"})
    ('TCP', '0-65535')
    """
    number = port.get("port")
    protocol = port.get("protocol", "TCP")
    if isinstance(number, str):
        return None
    if number is None:
        return protocol, "0-65535"
    return protocol, f"{number}-{port['endPort']}" if port.get("endPort") else str(number)


def _blocks(peer: Object, namespace: str, world: World) -> Iterator[Block]:
    if block := peer.get("ipBlock"):
        yield Block(block["cidr"], tuple(block.get("except") or ()))
        return
    elsewhere = peer.get("namespaceSelector")
    for pod in world.pods:
        here = (
            matches(elsewhere, world.namespaces.get(pod.namespace, {}))
            if elsewhere is not None
            else pod.namespace == namespace
        )
        if here and matches(peer.get("podSelector"), pod.labels):
            yield Block(pod.address)


def _covers(block: Block, address: str) -> bool:
    ip = ipaddress.ip_address(address)
    inside = ip in ipaddress.ip_network(block.cidr, strict=False)
    return inside and not any(ip in ipaddress.ip_network(hole, strict=False) for hole in block.holes)


def ruleset(world: World | None) -> str:
    """The whole table, to be loaded in one transaction; None = nothing is known yet, so no pod talks.

    Unknown TCP is answered with a reset, not dropped: it is just as closed, and whoever dials a pod in its first
    milliseconds tries again at once and not after the kernel's second of silence. IPv6 is off limits altogether:
    pods have link-local addresses that no policy names.
    """
    pods = () if world is None else world.pods
    known = sorted({pod.address for pod in pods}, key=ipaddress.ip_address)
    isolated: dict[str, list[tuple[str, tuple[Rule, ...]]]] = {"egress": [], "ingress": []}
    for pod in sorted(pods, key=lambda pod: ipaddress.ip_address(pod.address)):
        assert world is not None
        for name, rules in (("egress", egress(pod, world)), ("ingress", ingress(pod, world))):
            if rules is not None:
                isolated[name].append((pod.address, rules))
    lines = [f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip6 {TABLE}", f"delete table ip6 {TABLE}"]
    lines += [f"table ip {TABLE} {{", " set known {", "  type ipv4_addr"]
    lines += [f"  elements = {{ {', '.join(known)} }}"] if known else []
    lines += [" }"]
    for name, end in (("egress", "saddr"), ("ingress", "daddr")):
        other = "daddr" if end == "saddr" else "saddr"
        for address, rules in isolated[name]:
            lines += [f" chain {_chain(name, address)} {{"]
            lines += [f"  {match} return" for rule in rules for match in _matches(rule, other)]
            lines += ["  counter drop", " }"]
        lines += [f" chain {name} {{"]
        lines += [f"  ip {end} != @known meta l4proto tcp counter reject with tcp reset"]
        lines += [f"  ip {end} != @known counter drop"]
        if isolated[name]:
            jumps = ", ".join(f"{address} : jump {_chain(name, address)}" for address, _ in isolated[name])
            lines += [f"  ip {end} vmap {{ {jumps} }}"]
        lines += [" }"]
    lines += [
        " chain forward {",
        "  type filter hook forward priority filter; policy accept;",
        "  ct state established,related accept",
        f'  iifname "{BRIDGE}" jump egress',
        f'  oifname "{BRIDGE}" jump ingress',
        " }",
        " chain input {",
        "  type filter hook input priority filter; policy accept;",
        "  ct state established,related accept",
        f'  iifname "{BRIDGE}" jump egress',
        " }",
        "}",
        f"table ip6 {TABLE} {{",
        f' chain forward {{ type filter hook forward priority filter; policy accept; iifname "{BRIDGE}" counter drop; }}',
        f' chain input {{ type filter hook input priority filter; policy accept; iifname "{BRIDGE}" counter drop; }}',
        "}",
    ]
    return "\n".join(lines) + "\n"


def _chain(direction: str, address: str) -> str:
    return f"{direction}_{address.replace('.', '_')}"


def _matches(rule: Rule, end: str) -> Iterator[str]:
    """The rule as nft matches, one for every way that it can hold.

    >>> list(_matches(Rule((Block("10.244.0.5"), Block("10.0.0.0/8", ("10.1.0.0/16",))), (("TCP", "80"),)), "saddr"))
    ['ip saddr { 10.244.0.5 } tcp dport { 80 }', 'ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16 } tcp dport { 80 }']
    >>> list(_matches(Rule(None, None), "daddr"))
    ['']
    """
    for peer in _peer_matches(rule.peers, end):
        if rule.ports is None:
            yield peer
            continue
        for protocol in sorted({protocol for protocol, _ in rule.ports}):
            numbers = ", ".join(port for known, port in rule.ports if known == protocol)
            yield f"{peer} {protocol.lower()} dport {{ {numbers} }}".lstrip()


def _peer_matches(peers: Iterable[Block] | None, end: str) -> Iterator[str]:
    if peers is None:
        yield ""
        return
    blocks = [block for block in peers if ":" not in block.cidr]
    if plain := sorted({block.cidr for block in blocks if not block.holes and "/" not in block.cidr}):
        yield f"ip {end} {{ {', '.join(plain)} }}"
    for block in blocks:
        if block.holes:
            yield f"ip {end} {block.cidr} ip {end} != {{ {', '.join(block.holes)} }}"
        elif "/" in block.cidr:
            yield f"ip {end} {block.cidr}"
