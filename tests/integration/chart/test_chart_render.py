"""What the chart renders fits the programs that it starts."""

import os
from typing import Any

import click
import pytest
from tests.integration.chart.helm import CHART, Helm

from rolehost_api import names
from rolehost_operator.commands import operator as operator_command
from rolehost_runtime.embedder.settings import read
from rolehost_runtime.gateway.settings import GatewaySettings, UploadSettings, load

pytestmark = pytest.mark.timeout(120)


def environment(objects: list[dict[str, Any]], deployment: str) -> dict[str, str]:
    """Of the deployment's only container; what a reference would give is a word of our own."""
    [found] = [one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == deployment]
    [container] = found["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", "from-a-reference") for entry in container["env"]}


def settings_of(helm: Helm, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[GatewaySettings, UploadSettings]:
    objects = helm.template(*arguments)
    loaded: list[Any] = []
    for deployment, kind in (("rolehost-gateway", GatewaySettings), ("rolehost-upload", UploadSettings)):
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("ROLEHOST_")]:
                patch.delenv(name)  # of the tests' own run
            for name, value in environment(objects, deployment).items():
                patch.setenv(name, value)
            loaded.append(load(kind))
    return loaded[0], loaded[1]


def test_the_gateway_understands_its_environment(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, upload = settings_of(helm, monkeypatch)
    assert gateway.redis_url == "redis://rolehost-redis:6379/0"
    assert gateway.redis_password is not None
    assert not gateway.page, "off by default"
    assert upload.log_level == "INFO"


def test_the_images_that_gateways_trust(helm: Helm) -> None:
    images = "images.sandbox.repository=registry.local/sandbox,images.sandbox.tag=v2"
    for more, trusted in (
        ("", "registry.local/sandbox:v2"),
        (
            ",gateway.trustedSandboxImages={registry.local/sandbox:v1,registry.local/sandbox:v2}",
            "registry.local/sandbox:v2,registry.local/sandbox:v1",
        ),
    ):
        [kept] = [
            one for one in helm.template("--set", images + more) if one["metadata"]["name"] == names.TRUSTED_IMAGES
        ]
        assert kept["data"] == {names.TRUSTED_IMAGES_ENTRY: trusted}


def test_values_reach_the_gateway(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, upload = settings_of(
        helm,
        monkeypatch,
        "--set",
        "gateway.allowedOrigins={https://a.example,https://b.example},playground.enabled=true,logLevel=warning",
        "--set",
        "redis.url=rediss://redis.data:6379/1,playground.inspectMebibytes=8",
    )
    assert gateway.inspect_mebibytes == 8
    assert gateway.allowed_origins == ("https://a.example", "https://b.example")
    assert gateway.page
    assert gateway.redis_url == "rediss://redis.data:6379/1"
    assert gateway.redis_password is None, "no Secret was named"
    assert upload.log_level == gateway.log_level == "WARNING"


def test_what_logic_may_reach_is_the_operators_to_say(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    bare, _ = settings_of(helm, monkeypatch)
    assert bare.reach().enabled
    assert (bare.reach().allowed_cidrs, bare.reach().refused_cidrs) == ((), ())
    told, _ = settings_of(
        helm,
        monkeypatch,
        "--set",
        "reach.enabled=false,reach.allowedCidrs={10.1.0.0/16,fd00:1::/64},reach.refusedCidrs={203.0.113.0/24}",
        "--set",
        "reach.perMinute=60,reach.perRole=2,reach.toolKeysSecret=mine",
    )
    reach = told.reach()
    assert not reach.enabled
    assert (reach.allowed_cidrs, reach.refused_cidrs) == (("10.1.0.0/16", "fd00:1::/64"), ("203.0.113.0/24",))
    assert (reach.per_minute, reach.per_role) == (60, 2)
    [gateway] = [one for one in helm.template("--set", "reach.toolKeysSecret=mine")
                 if one["kind"] == "Deployment" and one["metadata"]["name"] == "rolehost-gateway"]  # fmt: skip
    [keys] = [one for one in gateway["spec"]["template"]["spec"]["volumes"] if one["name"] == "tool-keys"]
    assert (keys["secret"]["secretName"], keys["secret"]["optional"]) == ("mine", True)
    assert told.tool_keys_dir.as_posix() == "/etc/rolehost/tool-keys"


def test_an_archive_reaches_the_gateway_and_nobody_else(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    bare, _ = settings_of(helm, monkeypatch)
    assert (bare.archive_url, bare.archive_forget) == ("", False)
    values = "archive.url=s3://records/rolehost,archive.existingSecret=bucket,archive.forget=true"
    gateway, _ = settings_of(helm, monkeypatch, "--set", values)
    assert (gateway.archive_url, gateway.archive_forget) == ("s3://records/rolehost", False)
    given = {
        name: one["spec"]["containers"][0].get("envFrom") for name, one in pods(helm.template("--set", values)).items()
    }
    assert given.pop("rolehost-gateway") == [{"secretRef": {"name": "bucket"}}]
    assert set(given.values()) == {None}
    careless, _ = settings_of(helm, monkeypatch, "--set", "archive.forget=true")
    assert careless.archive_forget


def test_what_sessions_may_come_to_reaches_the_gateway(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = settings_of(helm, monkeypatch)
    assert (usual.session_max_turns, usual.session_max_mebibytes, usual.tenant_max_sessions) == (100_000, 64, 100_000)
    values = "sessions.maxTurns=10000000,sessions.maxMebibytes=3,sessions.maxPerTenant=1000000"
    gateway, _ = settings_of(helm, monkeypatch, "--set", values)
    told = (gateway.session_max_turns, gateway.session_max_mebibytes, gateway.tenant_max_sessions)
    assert told == (10_000_000, 3, 1_000_000)


def test_an_archive_may_be_a_claim(helm: Helm) -> None:
    values = "archive.url=file:///var/lib/rolehost/archive,archive.existingClaim=shelf"
    spec = pods(helm.template("--set", values))["rolehost-gateway"]["spec"]
    assert {"name": "archive", "persistentVolumeClaim": {"claimName": "shelf"}} in spec["volumes"]
    assert {"name": "archive", "mountPath": "/var/lib/rolehost/archive"} in spec["containers"][0]["volumeMounts"]


def test_a_redis_of_ones_own_brings_none(helm: Helm) -> None:
    objects = helm.template("--set", "redis.url=redis://redis.data:6379/0")
    assert not [one for one in objects if one["metadata"]["name"] == "rolehost-redis"]


def test_the_bundled_redis_takes_a_password_of_ones_own(helm: Helm) -> None:
    objects = helm.template("--set", "redis.existingSecret=mine")
    assert ("Secret", "rolehost-redis") not in {(one["kind"], one["metadata"]["name"]) for one in objects}
    for name in ("rolehost-redis", "rolehost-gateway"):
        entries = pods(objects)[name]["spec"]["containers"][0]["env"]
        sources = [entry["valueFrom"].get("secretKeyRef") for entry in entries if "valueFrom" in entry]
        assert {"name": "mine", "key": "password"} in sources


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kinds = {"Deployment", "StatefulSet"}
    return {one["metadata"]["name"]: one["spec"]["template"] for one in objects if one["kind"] in kinds}


def test_every_pod_is_restricted(helm: Helm) -> None:
    found = pods(helm.template())
    assert set(found) == {"rolehost-gateway", "rolehost-operator", "rolehost-upload", "rolehost-redis"}
    for name, template in found.items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["enableServiceLinks"] is False, "service links would be unknown settings"
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys(), name


def test_a_token_is_mounted_where_the_apiserver_is_spoken_to(helm: Helm) -> None:
    tokens = {name: one["spec"]["automountServiceAccountToken"] for name, one in pods(helm.template()).items()}
    assert tokens == {
        "rolehost-gateway": True,
        "rolehost-operator": True,
        "rolehost-upload": False,
        "rolehost-redis": False,
    }


def test_the_private_key_is_mounted_in_the_gateway_only(helm: Helm) -> None:
    holders = [
        name
        for name, one in pods(helm.template()).items()
        if any(
            volume.get("secret", {}).get("secretName") == "rolehost-link" for volume in one["spec"].get("volumes", [])
        )
    ]
    assert holders == ["rolehost-gateway"]


@pytest.mark.parametrize("secret", ["rolehost-attestation", "mine"])
def test_the_attestation_root_is_mounted_where_pods_are_known_and_nowhere_else(helm: Helm, secret: str) -> None:
    values = [] if secret == "rolehost-attestation" else ["--set", f"attestation.existingSecret={secret}"]
    objects = helm.template(*values)
    for name, one in pods(objects).items():
        volumes = [
            volume["name"]
            for volume in one["spec"].get("volumes", [])
            if volume.get("secret", {}).get("secretName") == secret
        ]
        assert len(volumes) == (name in ("rolehost-gateway", "rolehost-operator")), name
        if volumes:
            [mount] = [m for m in one["spec"]["containers"][0]["volumeMounts"] if m["name"] in volumes]
            assert mount["readOnly"]
            file = environment(objects, name)["ROLEHOST_ATTESTATION_FILE"]
            assert file == f"{mount['mountPath']}/root"
    made = [one for one in objects if one["kind"] == "Secret" and "root" in one.get("data", {})]
    assert len(made) == (secret == "rolehost-attestation")


def test_names_that_the_operator_keeps_are_the_ones_that_it_may_write(helm: Helm) -> None:
    [rules] = [one["rules"] for one in helm.template() if one["metadata"]["name"] == names.OPERATOR_WRITER]
    bound = {
        (resource, name): set(rule["verbs"])
        for rule in rules
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [])
    }
    assert bound == {
        ("secrets", names.LINK_SECRET): {"get", "create", "patch"},
        ("configmaps", names.PLATFORM_KEYS): {"create", "patch"},
    }


def test_a_prometheus_reaches_the_operator_as_its_options_take_it(helm: Helm) -> None:
    """The very values that its command reads, through its own parser."""

    def operator(*values: str) -> tuple[dict[str, str], dict[str, object]]:
        spec = pods(helm.template(*values))["rolehost-operator"]["spec"]
        environment = {one["name"]: one.get("value", "") for one in spec["containers"][0]["env"]}
        mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
        secrets = {one["name"]: one["secret"]["secretName"] for one in spec["volumes"] if "secret" in one}
        return environment, {mounts[name]: secret for name, secret in secrets.items()}

    variables = {
        option.envvar
        for option in operator_command.params
        if isinstance(option, click.Option) and "prometheus" in str(option.name)
    }
    environment, secrets = operator()
    assert environment["ROLEHOST_PROMETHEUS_URL"] == ""
    assert "ROLEHOST_PROMETHEUS_TOKEN" not in environment
    matchers = 'namespace="rolehost-system"'
    given = f"prometheus.url=http://prometheus:9090,prometheus.existingSecret=reader,prometheus.matchers={matchers}"
    environment, secrets = operator("--set", given)
    assert environment["ROLEHOST_PROMETHEUS_URL"] == "http://prometheus:9090"
    assert environment["ROLEHOST_PROMETHEUS_MATCHERS"] == matchers
    assert secrets[environment["ROLEHOST_PROMETHEUS_TOKEN"].rpartition("/")[0]] == "reader"
    assert variables == {name for name in environment if "PROMETHEUS" in name}


def test_the_upgrades_share_reaches_the_operator_and_crds_come_before_it(helm: Helm) -> None:
    objects = helm.template("--set", "operator.upgrade.maxConcurrentPercent=25")
    assert environment(objects, "rolehost-operator")["ROLEHOST_UPGRADE_PERCENT"] == "25"
    # As helm orders what it applies.
    kinds = [one["kind"] for one in objects]
    assert max(n for n, kind in enumerate(kinds) if kind == "CustomResourceDefinition") < kinds.index("Deployment")


@pytest.mark.parametrize("name", ["rolehost-upload", "rolehost-redis"])
def test_what_keeps_tenants_data_hears_gateways_only_and_has_no_way_out(helm: Helm, name: str) -> None:
    [policy] = [one for one in helm.template() if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == name]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == []
    [rule] = policy["spec"]["ingress"]
    [peer] = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert peer.keys() == {"podSelector"}, "of this namespace"


def test_the_internal_port_is_the_operators(helm: Helm) -> None:
    [policy] = [
        one
        for one in helm.template()
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "rolehost-gateway"
    ]
    openings = [rule for rule in policy["spec"]["ingress"] if {"port": 8081} in rule["ports"]]
    [peer] = openings[0]["from"]
    assert len(openings) == 1
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    assert "8081" not in str([one for one in helm.template() if one["kind"] == "Service"])


def test_gateways_alone_reach_the_port_by_which_they_pass_sessions(helm: Helm) -> None:
    objects = helm.template()
    [policy] = [
        one for one in objects if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "rolehost-gateway"
    ]
    [opening] = [rule for rule in policy["spec"]["ingress"] if {"port": 8083} in rule["ports"]]
    [peer] = opening["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert "8083" not in str([one for one in objects if one["kind"] == "Service"])


def test_grpc_has_its_port_or_is_not_served_at_all(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    def places(*arguments: str) -> list[bool]:
        objects = {(one["kind"], one["metadata"]["name"]): one for one in helm.template(*arguments)}
        service = objects["Service", "rolehost-gateway"]["spec"]["ports"]
        [container] = objects["Deployment", "rolehost-gateway"]["spec"]["template"]["spec"]["containers"]
        opening = objects["NetworkPolicy", "rolehost-gateway"]["spec"]["ingress"][0]
        return [
            {"name": "grpc", "port": names.GRPC_PORT, "targetPort": "grpc", "appProtocol": "grpc"} in service,
            {"name": "grpc", "containerPort": names.GRPC_PORT} in container["ports"],
            {"port": names.GRPC_PORT} in opening["ports"] and "from" not in opening,
        ]

    off = ("--set", "gateway.grpc.enabled=false")
    assert (places(), places(*off)) == ([True] * 3, [False] * 3)
    assert settings_of(helm, monkeypatch)[0].grpc_port == names.GRPC_PORT
    assert settings_of(helm, monkeypatch, *off)[0].grpc_port == 0


def test_gateways_are_two_and_go_one_at_a_time(helm: Helm) -> None:
    objects = {(one["kind"], one["metadata"]["name"]): one for one in helm.template()}
    gateway = objects["Deployment", "rolehost-gateway"]["spec"]
    assert gateway["replicas"] == 2
    assert gateway["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert gateway["template"]["spec"]["terminationGracePeriodSeconds"] == 150
    budget = objects["PodDisruptionBudget", "rolehost-gateway"]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert budget["selector"] == gateway["selector"]


def test_the_service_monitor_is_behind_its_switch(helm: Helm) -> None:
    kinds = [one["kind"] for one in helm.template()]
    assert "ServiceMonitor" not in kinds
    on = helm.template("--set", "metrics.serviceMonitor.enabled=true")
    [monitor] = [one for one in on if one["kind"] == "ServiceMonitor"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = {
        one["metadata"]["name"]
        for one in on
        if one["kind"] == "Service" and wanted <= one["metadata"]["labels"].items()
    }
    assert found == {"rolehost-gateway-metrics", "rolehost-operator-metrics"}


@pytest.mark.parametrize(
    ("values", "overhead"),
    [
        ((), {"podFixed": {"memory": "32Mi", "cpu": "10m"}}),
        (("runtimeClass.overhead.memory=64Mi",), {"podFixed": {"memory": "64Mi", "cpu": "10m"}}),
        (("runtimeClass.overhead=null",), None),
    ],
)
def test_the_runtime_class_says_what_a_sandbox_takes_beside_its_role(
    helm: Helm, values: tuple[str, ...], overhead: dict[str, Any] | None
) -> None:
    objects = helm.template("--set", ",".join(("runtimeClass.create=true", *values)))
    [found] = [one for one in objects if one["kind"] == "RuntimeClass"]
    assert found.get("overhead") == overhead


def test_the_admission_policies_are_behind_their_switch_and_say_who_the_operator_is(helm: Helm) -> None:
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    policies, bindings = ([one for one in helm.template() if one["kind"] == kind] for kind in kinds)
    assert {one["metadata"]["name"] for one in policies} == {one["spec"]["policyName"] for one in bindings}
    assert {one["spec"]["failurePolicy"] for one in policies} == {"Fail"}
    assert all(one["spec"]["validationActions"] == ["Deny"] for one in bindings)
    assert "system:serviceaccount:rolehost-system:rolehost-operator" in str(policies)
    off = helm.template("--set", "admission.enabled=false")
    assert not [one for one in off if one["kind"] in kinds]


def test_no_crds_where_somebody_else_installs_them(helm: Helm) -> None:
    assert "CustomResourceDefinition" in [one["kind"] for one in helm.template()]
    assert "CustomResourceDefinition" not in [one["kind"] for one in helm.template("--set", "crds.enabled=false")]


def test_half_a_key_pair_is_refused(helm: Helm) -> None:
    shown = ["template", "rolehost", str(CHART), "--kube-version", "1.34.0", "--set", "link.existingSecret=mine"]
    done = helm.run(*shown, check=False)
    assert done.returncode != 0
    assert "belong together" in done.stderr


def test_helm_finds_nothing_to_say(helm: Helm) -> None:
    helm.run("lint", "--strict", str(CHART))


# ── the way in from outside ─────────────────────────────────────────────────────────

HOST = "roles.example.com"
WAYS = {
    "None": (),
    "Ingress": (f"gateway.exposure.host={HOST}", "gateway.exposure.className=nginx"),
    "HTTPRoute": (f"gateway.exposure.host={HOST}", "gateway.exposure.parentRefs[0].name=edge"),
    "LoadBalancer": (f"gateway.exposure.host={HOST}", "gateway.exposure.className=cloud"),
}


def exposed(helm: Helm, way: str, *more: str) -> list[dict[str, Any]]:
    settings = (f"gateway.exposure.type={way}", *WAYS[way], *more)
    return helm.template(*[part for setting in settings for part in ("--set", setting)])


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any] | None:
    return next((one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)), None)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_in_makes_its_own_object_and_no_other(helm: Helm, way: str) -> None:
    objects = exposed(helm, way)
    made = {
        kind
        for kind, name in (("Ingress", "rolehost-gateway"), ("HTTPRoute", "rolehost-gateway"), ("Service", "rolehost-gateway-public"))
        if named(objects, kind, name)
    }  # fmt: skip
    assert made == {"None": set(), "LoadBalancer": {"Service"}}.get(way, {way})
    inside = named(objects, "Service", "rolehost-gateway")
    assert inside is not None
    assert "type" not in inside["spec"], "the plain port is never published"
    url = environment(objects, "rolehost-operator")["ROLEHOST_PUBLIC_URL"]
    assert url == ("ws://rolehost-gateway.rolehost-system.svc:8080" if way == "None" else f"wss://{HOST}")


@pytest.mark.parametrize("way", WAYS)
def test_clients_come_in_by_every_way_and_the_internal_port_stays_the_operators(helm: Helm, way: str) -> None:
    """Where an edge runs is not known: the public port, and what a Service leads to it, are open to everybody."""
    objects = exposed(helm, way)
    policy = named(objects, "NetworkPolicy", "rolehost-gateway")
    assert policy is not None
    open_to_all = {port["port"] for rule in policy["spec"]["ingress"] if "from" not in rule for port in rule["ports"]}
    assert 8080 in open_to_all
    assert 8081 not in open_to_all
    for service in (one for one in objects if one["kind"] == "Service"):
        if service["spec"]["selector"].get("app.kubernetes.io/component") == "gateway":
            inside = service["metadata"]["name"] == "rolehost-gateway"
            assert {port["targetPort"] for port in service["spec"]["ports"]} == {"http", *(["grpc"] if inside else [])}


def test_an_ingress_ends_tls_with_the_secret_or_the_controllers_own(helm: Helm) -> None:
    def ingress(*more: str) -> dict[str, Any]:
        found = named(exposed(helm, "Ingress", *more), "Ingress", "rolehost-gateway")
        assert found is not None
        return found

    plain = ingress()
    assert plain["spec"]["ingressClassName"] == "nginx"
    assert plain["spec"]["tls"] == [{"hosts": [HOST]}]
    assert plain["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"] == {
        "name": "rolehost-gateway", "port": {"name": "http"},
    }  # fmt: skip
    assert "annotations" not in plain["metadata"]
    assert ingress("gateway.exposure.tlsSecret=mine")["spec"]["tls"] == [{"hosts": [HOST], "secretName": "mine"}]
    assert "tls" not in ingress(f"gateway.publicUrl=ws://{HOST}")["spec"]
    timeouts = "gateway.exposure.annotations.nginx\\.ingress\\.kubernetes\\.io/proxy-body-size=11m"
    assert ingress(timeouts)["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/proxy-body-size": "11m"}


def test_a_route_never_ends_a_conversation_by_its_clock(helm: Helm) -> None:
    objects = exposed(helm, "HTTPRoute", "gateway.exposure.parentRefs[0].sectionName=https")
    route, service = named(objects, "HTTPRoute", "rolehost-gateway"), named(objects, "Service", "rolehost-gateway")
    assert route is not None
    assert service is not None
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"]["parentRefs"] == [{"name": "edge", "sectionName": "https"}]
    assert route["spec"]["hostnames"] == [HOST]
    [rule] = route["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert rule["backendRefs"] == [{"name": "rolehost-gateway", "port": 8080}]
    assert service["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/ws"


def test_a_load_balancer_publishes_443_alone(helm: Helm) -> None:
    public = named(exposed(helm, "LoadBalancer"), "Service", "rolehost-gateway-public")
    assert public is not None
    assert (public["spec"]["type"], public["spec"]["loadBalancerClass"]) == ("LoadBalancer", "cloud")
    assert public["spec"]["ports"] == [{"name": "https", "port": 443, "targetPort": "http"}]


def test_an_address_of_ones_own_goes_before_the_host(helm: Helm) -> None:
    objects = exposed(helm, "Ingress", "gateway.publicUrl=wss://elsewhere.example.com/base/")
    assert environment(objects, "rolehost-operator")["ROLEHOST_PUBLIC_URL"] == "wss://elsewhere.example.com/base"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param("type=Ingress", "gateway.exposure.host is missing", id="ingress-without-host"),
        pytest.param(f"type=HTTPRoute,gateway.exposure.host={HOST}", "gateway.exposure.parentRefs is missing", id="route-of-no-gateway"),
        pytest.param("type=HTTPRoute,gateway.exposure.parentRefs[0].name=edge", "gateway.exposure.host is missing", id="route-without-host"),
        pytest.param(f"host={HOST}", "gateway.exposure.host is set, and type None", id="forgotten-type"),
        pytest.param("type=LoadBalancer,gateway.exposure.tlsSecret=x", "gateway.exposure.tlsSecret is set", id="tls-that-nobody-ends"),
        pytest.param(f"type=Ingress,gateway.exposure.host={HOST},gateway.exposure.parentRefs[0].name=edge", "gateway.exposure.parentRefs is set", id="gateway-of-an-ingress"),
        pytest.param("type=NodePort", "/gateway/exposure/type", id="unknown-type"),
        pytest.param(f"type=Ingress,gateway.exposure.host=https://{HOST}", "/gateway/exposure/host", id="url-for-a-host"),
    ],
)  # fmt: skip
def test_a_way_that_cannot_work_is_refused_by_the_fields_name(helm: Helm, settings: str, said: str) -> None:
    shown = ["template", "rolehost", str(CHART), "--kube-version", "1.34.0", "--set", f"gateway.exposure.{settings}"]
    done = helm.run(*shown, check=False)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_embedder_is_off_by_default_and_stands_beside_nothing(helm: Helm) -> None:
    off, on = helm.template(), helm.template("--set", "embedder.enabled=true")
    assert not [one for one in off if one["metadata"]["name"] == "rolehost-embedder"]
    found = {one["kind"]: one for one in on if one["metadata"]["name"] == "rolehost-embedder"}
    assert set(found) == {"Deployment", "NetworkPolicy", "Service", "ServiceAccount"}
    assert len(on) == len(off) + len(found)
    spec = found["Deployment"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert "volumes" not in spec
    assert "envFrom" not in container
    settings = read({entry["name"]: entry["value"] for entry in container["env"]})
    assert (settings.host, settings.port) == ("0.0.0.0", container["ports"][0]["containerPort"])
    policy = found["NetworkPolicy"]["spec"]
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], [])
    [entry] = policy["ingress"]
    assert entry["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"


def test_plugins_reach_the_gateway(helm: Helm, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, _ = settings_of(
        helm, monkeypatch, "--set", "gateway.plugins={acme-models,shelf},gateway.memoryStore=shelf"
    )
    assert (gateway.plugins, gateway.memory_store) == (("acme-models", "shelf"), "shelf")
    gateway, _ = settings_of(helm, monkeypatch)
    assert (gateway.plugins, gateway.memory_store) == ((), "")
