"""Makes an `Observed` out of a few words, for tests of the operator's pure part."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.link.messages import Probe
from rolehost_api.names import PLATFORM_KEYS, TENANT
from rolehost_api.observed import HostFacts, PodReport
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import (
    Memory,
    Namespace,
    Observed,
    read_config_map,
    read_deployment,
    read_revision,
    read_role,
)
from rolehost_operator.platform import Platform

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
PLATFORM = Platform(
    namespace="rolehost-system",
    sandbox_image="registry.example/rolehost-sandbox:1",
    gateway_url="ws://gateway.example",
    public_keys=("a2V5",),
    attestation_root=b"r" * 32,
    probe_targets=("10.96.0.1:443",),
    gateway_targets=("10.96.0.2:8080",),
)
GOOD_PROBE = Probe(gvisor=True, token=False, tried=("10.96.0.1:443", "10.96.0.2:8080"))
GOOD_HOST = HostFacts(runtime=True, account=True, image=True, apart=True, owned=True)


def role(template: Mapping[str, Any] | None = None, **spec: Any) -> KubeObject:
    return {
        "apiVersion": "rolehost.io/v1alpha1",
        "kind": "Role",
        "metadata": {"name": "cat", "namespace": "acme", "uid": "role-uid", "generation": 1},
        "spec": {"template": dict(template or {"persona": {"system": "You are a cat."}}), **spec},
    }


def observed(raw: KubeObject | None = None, **given: Any) -> Observed:
    """A tenant namespace in a good cluster, with this Role and nothing made for it yet."""
    start: dict[str, Any] = {
        "role": read_role(raw or role()),
        "namespace": Namespace("acme", "ns-uid", tenant=True),
        "platform": PLATFORM,
        "runtime_class": True,
        "backends": {"default": msgspec.convert({"type": "Scripted"}, BackendSpec)},
        "gateways": 1,
        "expected": 1,
        "listening": True,
    }
    return Observed(**{**start, **given})


def report(revision: str, *, loaded: bool = True, probe: Probe | None = GOOD_PROBE, **given: Any) -> PodReport:
    given = {"error": None, "host": GOOD_HOST, **given}
    return PodReport(
        uid=f"pod-of-{revision}",
        name=f"{revision}-x",
        namespace="acme",
        role="cat",
        revision=revision,
        probe=probe,
        loaded=loaded,
        **given,
    )


def ago(seconds: int) -> datetime:
    return NOON - timedelta(seconds=seconds)


def from_document(document: Mapping[str, Any]) -> Observed:
    """An `Observed` out of a golden case's observed.yaml: raw objects, and facts beside them."""
    objects: list[KubeObject] = document.get("objects", [])
    by_kind: dict[str, list[KubeObject]] = {}
    for one in objects:
        by_kind.setdefault(one["kind"], []).append(one)
    [raw_role] = by_kind["Role"]
    [namespace] = by_kind["Namespace"]
    metadata = namespace["metadata"]
    return Observed(
        role=read_role(raw_role),
        namespace=Namespace(metadata["name"], metadata["uid"], TENANT in metadata.get("labels", {})),
        platform=PLATFORM,
        revisions=tuple(seen for one in by_kind.get("RoleRevision", []) if (seen := read_revision(one))),
        deployments=tuple(read_deployment(one) for one in by_kind.get("Deployment", [])),
        network_policy=next(iter(by_kind.get("NetworkPolicy", [])), None),
        service_account=next(iter(by_kind.get("ServiceAccount", [])), None),
        link_secret=next(iter(by_kind.get("Secret", [])), None),
        platform_keys=next(
            (one for one in by_kind.get("ConfigMap", []) if one["metadata"]["name"] == PLATFORM_KEYS), None
        ),
        disruption_budget=next(iter(by_kind.get("PodDisruptionBudget", [])), None),
        runtime_class="RuntimeClass" in by_kind,
        config_maps={one["metadata"]["name"]: read_config_map(one) for one in by_kind.get("ConfigMap", [])},
        backends={
            one["metadata"]["name"]: msgspec.convert(one["spec"], BackendSpec)
            for one in by_kind.get("ModelBackend", [])
        },
        gateways=document.get("gateways", 0),
        listening=document.get("listening", False),
        pods=tuple(msgspec.convert(one, PodReport) for one in document.get("pods", [])),
        idle_since={name: ago(seconds) for name, seconds in document.get("idleSeconds", {}).items()},
        sessions=document.get("sessions", {}),
        warmed=document.get("warmed", {}),
        expected=document.get("expected", 0),
        room=document.get("room", 1),
        halted=document.get("halted", False),
        memory=Memory(
            ago(document["waitingSeconds"]) if "waitingSeconds" in document else None,
            {name: ago(seconds) for name, seconds in document.get("retiredSeconds", {}).items()},
        ),
    )
