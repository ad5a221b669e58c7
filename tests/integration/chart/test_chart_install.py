"""What helm leaves in a real apiserver, at the first install and after upgrades."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from tests.integration.chart.helm import NAMESPACE, Ask, Helm, Release

from rolehost_api import names

pytestmark = pytest.mark.timeout(240)


def test_the_public_half_belongs_to_the_private_one(release: Release) -> None:
    secret = base64.b64decode(release.get("secret", "rolehost-link")["data"]["key.pem"])
    certificate = x509.load_pem_x509_certificate(
        release.get("configmap", "rolehost-link-public")["data"]["cert.pem"].encode()
    )
    private = load_pem_private_key(secret, None).public_key()
    raw = private.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert len(raw) == 32, "an Ed25519 key"
    assert certificate.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) == raw


def test_the_attestation_root_is_32_bytes_of_its_own(release: Release) -> None:
    root = base64.b64decode(release.get("secret", "rolehost-attestation")["data"]["root"])
    assert len(root) == 32
    assert len(set(root)) > 8


def test_the_scripted_backend_is_there_after_the_first_install(release: Release) -> None:
    backend = release.get("modelbackend", "default")
    assert backend["spec"]["type"] == "Scripted"
    assert any("{previous}" in line["reply"] for line in backend["spec"]["script"])


def test_an_upgrade_keeps_what_was_made_and_adopts_the_backend(release: Release) -> None:
    keys = '{"data": {"k1": "{}"}}'
    release.server.kubectl("-n", NAMESPACE, "patch", "configmap", names.KEYS, "--type=merge", "-p", keys)
    kept = ("rolehost-link", "rolehost-redis", "rolehost-attestation")
    before = {name: release.get("secret", name)["data"] for name in kept}
    uid = release.get("modelbackend", "default")["metadata"]["uid"]
    release.upgrade("--set", "gateway.publicUrl=wss://roles.example.com")
    release.upgrade("--set", "logLevel=debug")
    assert {name: release.get("secret", name)["data"] for name in before} == before
    assert release.get("configmap", names.KEYS)["data"] == {"k1": "{}"}
    assert release.get("modelbackend", "default")["metadata"]["uid"] == uid, "it never went away"
    gateway = release.get("deployment", "rolehost-gateway")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "ROLEHOST_LOG_LEVEL", "value": "DEBUG"} in gateway["env"]


def test_pods_of_the_images_before_stay_trusted_through_an_upgrade(release: Release) -> None:
    def trusted() -> list[str]:
        images = release.get("configmap", names.TRUSTED_IMAGES)["data"][names.TRUSTED_IMAGES_ENTRY]
        return [image.rpartition(":")[2] for image in images.split(",")]

    release.upgrade("--set", "images.sandbox.tag=v1")
    begin = trusted()
    assert begin[0] == "v1"
    release.upgrade("--set", "images.sandbox.tag=v1,logLevel=debug")
    assert trusted() == begin, "an upgrade of other things changes nothing"
    for tag in "2345":
        release.upgrade("--set", f"images.sandbox.tag=v{tag}")
    assert trusted() == ["v5", "v4", "v3", "v2"]
    release.upgrade("--set", "images.sandbox.tag=v4")
    assert trusted() == ["v4", "v5", "v3", "v2"], "back again"
    release.rollback()
    assert trusted() == ["v4", "v5", "v3", "v2"], "pods of the later version run on for a while"
    [image] = [
        entry["value"]
        for entry in release.get("deployment", "rolehost-operator")["spec"]["template"]["spec"]["containers"][0]["env"]
        if entry["name"] == "ROLEHOST_SANDBOX_IMAGE"
    ]
    assert image.endswith(":v5")
    release.upgrade()


def test_a_backend_that_is_removed_from_the_values_goes(release: Release) -> None:
    release.upgrade("--set", "modelBackends.extra.type=Scripted")
    assert release.get("modelbackend", "extra") is not None
    release.upgrade()
    assert release.get("modelbackend", "extra") is None


def test_the_notes_name_what_is_missing(release: Release) -> None:
    assert "no RuntimeClass `gvisor`" in release.upgrade()
    assert "no RuntimeClass `gvisor`" not in release.upgrade("--set", "runtimeClass.create=true")
    assert release.server.get("runtimeclass", names.RUNTIME_CLASS)["handler"] == "runsc"


def test_a_tenant_of_the_values_is_onboarded(release: Release) -> None:
    labels = release.server.get("namespace", "acme")["metadata"]["labels"]
    assert names.TENANT in labels
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    binding = release.server.get("rolebinding", names.OPERATOR_WRITER, "-n", "acme")
    assert binding["roleRef"]["name"] == names.OPERATOR_WRITER


EVERY_VERB = ("get", "list", "watch", "create", "update", "patch", "delete")
WRITES = ("create", "update", "patch", "delete")
OURS = "rolehost.io"


SECRETS = ("", "another", names.LINK_SECRET)


@pytest.mark.parametrize("account", ["rolehost-gateway", "rolehost-upload", "rolehost-redis"])
def test_no_account_but_the_operators_has_a_verb_on_secrets(release: Release, account: str) -> None:
    asks = [
        Ask(verb, "secrets", "", where, name)
        for verb in EVERY_VERB
        for where in ("", NAMESPACE, "acme")
        for name in SECRETS
    ]
    assert release.allowed(account, asks) == set()


def test_the_operator_makes_and_mends_one_secret_of_a_tenants_namespace(release: Release) -> None:
    asks = [
        Ask(verb, "secrets", "", where, name)
        for verb in EVERY_VERB
        for where in ("", NAMESPACE, "acme")
        for name in SECRETS
    ]
    granted = {Ask(verb, "secrets", "", "acme", names.LINK_SECRET) for verb in ("get", "create", "patch")}
    assert release.allowed("rolehost-operator", asks) == granted


def test_the_gateway_reads_and_writes_nothing(release: Release) -> None:
    seen = [
        ("hostedroles", OURS),
        ("hostedrolerevisions", OURS),
        ("modelbackends", OURS),
        ("pods", ""),
        ("namespaces", ""),
    ]
    reads = [Ask(verb, *what) for verb in ("get", "list", "watch") for what in seen]
    keys = Ask("get", "configmaps", "", NAMESPACE, names.KEYS)
    reviews = Ask("create", "tokenreviews", "authentication.k8s.io")
    refused = [
        *(Ask(verb, *what) for verb in WRITES for what in [*seen, ("hostedroles/status", OURS), ("pods/exec", "")]),
        Ask("get", "configmaps", "", NAMESPACE, "rolehost-link-public"),
        Ask("patch", "configmaps", "", NAMESPACE, names.KEYS),
        Ask("get", "configmaps", "", "acme"),
    ]
    assert release.allowed("rolehost-gateway", [*reads, keys, reviews, *refused]) == {*reads, keys, reviews}


def test_the_operator_writes_in_tenants_only(release: Release) -> None:
    release.server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "stranger"}})
    made = [("deployments", "apps"), ("hostedrolerevisions", OURS), ("networkpolicies", "networking.k8s.io")]
    made.append(("poddisruptionbudgets", "policy"))
    writes = {Ask(verb, *what, "acme") for verb in ("create", "patch") for what in made}
    config_maps = Ask("get", "configmaps", "", "acme")
    keys = {Ask(verb, "configmaps", "", "acme", names.PLATFORM_KEYS) for verb in ("create", "patch")}
    elsewhere = ("stranger", NAMESPACE, "")
    refused = [
        *(one._replace(namespace=where) for one in [*writes, *keys, config_maps] for where in elsewhere),
        *(one._replace(name="another") for one in keys),
        *(one._replace(verb="delete") for one in keys),
        *(
            Ask(verb, *what, "acme")
            for verb in WRITES
            for what in [("pods", ""), ("pods/exec", ""), ("hostedroles", OURS)]
        ),
    ]
    assert release.allowed("rolehost-operator", [*writes, *keys, config_maps, *refused]) == {
        *writes,
        *keys,
        config_maps,
    }


def test_the_operator_reads_our_definitions_and_no_others(release: Release) -> None:
    group = "apiextensions.k8s.io"
    ours = {
        Ask("get", "customresourcedefinitions", group, "", f"{plural}.{OURS}")
        for plural in (names.ROLES, names.REVISIONS, names.BACKENDS)
    }
    others = [Ask("get", "customresourcedefinitions", group, "", "gateways.gateway.networking.k8s.io")]
    others += [one._replace(verb=verb) for one in ours for verb in ("list", "watch", "patch", "update", "delete")]
    assert release.allowed("rolehost-operator", [*ours, *others]) == ours


def test_nobody_may_everything(helm: Helm) -> None:
    """No wildcard in any rule, whatever is switched on."""
    for found in helm.template("--set", "tenants[0].namespace=acme,metrics.serviceMonitor.enabled=true"):
        for rule in found.get("rules", []):
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], found["metadata"]["name"]


def test_an_apiserver_takes_it_with_every_switch_turned(release: Release) -> None:
    switches = [
        "redis.url=redis://redis.data:6379/0,redis.existingSecret=mine",
        "upload.persistence.enabled=false,playground.enabled=true,operator.replicas=1",
        "gateway.nodeSelector.disk=fast,gateway.tolerations[0].operator=Exists,imagePullSecrets[0].name=registry",
        "runtimeClass.create=true,runtimeClass.nodeSelector.gvisor=yes,runtimeClass.tolerations[0].operator=Exists",
        "modelKeys.existingSecret=mine,images.runtime.tag=sha256:" + "0" * 64,
        "link.existingSecret=mine,link.existingConfigMap=mine,attestation.existingSecret=mine",
    ]
    release.upgrade(*[part for switch in switches for part in ("--set", switch)])
    assert release.get("statefulset", "rolehost-redis") is None
    image = release.get("deployment", "rolehost-gateway")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == "rolehost-runtime@sha256:" + "0" * 64
    for name in ("rolehost-link", "rolehost-attestation"):
        assert release.get("secret", name) is not None, "kept, though no longer named"
    release.upgrade()


def test_an_ingress_is_taken_by_an_apiserver_and_goes_with_its_setting(release: Release) -> None:
    """HTTPRoute's CRDs are another project's: it is rendered only (test_chart_render.py)."""
    host = "gateway.exposure.host=roles.example.com"
    notes = release.upgrade("--set", f"gateway.exposure.type=Ingress,{host},gateway.exposure.tlsSecret=mine")
    assert "wss://roles.example.com/role/NAME" in notes
    ingress = release.get("ingress", "rolehost-gateway")
    assert ingress["spec"]["tls"] == [{"hosts": ["roles.example.com"], "secretName": "mine"}]
    port = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]
    assert port["name"] in {one["name"] for one in release.get("service", "rolehost-gateway")["spec"]["ports"]}
    notes = release.upgrade("--set", "gateway.exposure.type=LoadBalancer")
    assert "set gateway.exposure.host" in notes
    assert release.get("ingress", "rolehost-gateway") is None
    assert release.get("service", "rolehost-gateway-public")["spec"]["type"] == "LoadBalancer"
    assert "through kubectl only" in release.upgrade()
    assert release.get("service", "rolehost-gateway-public") is None


def test_uninstalling_keeps_crds_keys_and_bundles(release: Release) -> None:
    """Last in this file: a second install finds its own things again."""
    kept = ("rolehost-link", "rolehost-attestation")
    before = [release.get("secret", name)["data"] for name in kept]
    release.helm.run("uninstall", "rolehost", "-n", NAMESPACE)
    assert release.server.get("crd", "hostedroles.rolehost.io") is not None
    assert release.get("configmap", names.KEYS)["data"] == {"k1": "{}"}
    assert release.get("deployment", "rolehost-gateway") is None
    release.upgrade()
    assert [release.get("secret", name)["data"] for name in kept] == before
    assert release.get("modelbackend", "default") is not None
