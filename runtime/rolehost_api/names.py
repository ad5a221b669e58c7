"""Names, labels, ports, conditions and reasons: each written once, here.

Child names are functions of their owner's name, always valid DNS labels (≤63) and never
colliding: what would be too long is cut and ends in a hash of the whole.
"""

import hashlib

GROUP = "rolehost.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

ROLES = "hostedroles"
REVISIONS = "hostedrolerevisions"
BACKENDS = "modelbackends"

# Labels and annotations
TENANT = f"{GROUP}/tenant"
"""On a namespace: this namespace is a tenant. The value decides nothing; name and UID do."""
ROLE = f"{GROUP}/role"
REVISION = f"{GROUP}/revision"
COMPONENT = "app.kubernetes.io/component"
MANAGED_BY = "app.kubernetes.io/managed-by"
FOLLOW = f"{GROUP}/follow"
"""On a Role, "true": open sessions move to a new revision at their next turn (development only)."""

REPLICAS, EXTERNAL = f"{GROUP}/replicas", "External"
"""On a Role, and then on its Deployments: an autoscaler counts the pods, the operator leaves the number alone."""
PROMOTE = f"{GROUP}/rollout-promote"
"""On a Role, with the id of its rollout: the step ends now, or the last one promotes. A word for another rollout is void."""
ABORT = f"{GROUP}/rollout-abort"
"""On a Role, with the id of its rollout: it is given up, and its sessions go the way of spec.rollout.rollback."""
GATE = f"gate.{GROUP}"
"""Prefix of annotations on a RoleRevision: gate.rolehost.io/<name>: Passed or Failed."""
CONTRACT = f"{GROUP}/contract"
"""On a CRD: which contract it was rendered from, a number that only grows."""

FIELD_MANAGER = "rolehost-operator"
REPLICAS_MANAGER = "rolehost-replicas"
"""Field manager that keeps a Deployment's number of pods from the operator's letting go to an autoscaler's taking."""
RUNTIME_CLASS = "gvisor"
GATEWAY = "gateway"
"""Component label of the gateways' pods."""
SANDBOX = "sandbox"
"""Component label of sandbox pods, and the container's name in them."""
SANDBOX_SERVICE_ACCOUNT = "rolehost-sandbox"
SANDBOX_POLICY = "rolehost-sandbox"
"""Name of the NetworkPolicy that the operator keeps in every tenant namespace."""
SANDBOX_BUDGET = "rolehost-sandbox"
"""Name of the PodDisruptionBudget that the operator keeps in every tenant namespace."""
OPERATOR_WRITER = "rolehost-operator-tenant"
"""ClusterRole with the operator's verbs in a tenant namespace; bound there at onboarding."""
LINK_SECRET = "rolehost-link"
"""Secret that the operator keeps in every tenant namespace; only init containers of sandbox pods mount it."""
LINK_SECRET_KEY = "namespace-key"
"""Its one entry: what pods of this namespace are attested with."""
PLATFORM_KEYS = "rolehost-platform-keys"
"""ConfigMap that the operator keeps in every tenant namespace: the gateways' public keys, for sandbox pods."""
PLATFORM_KEYS_ENTRY = "keys"
"""Its one entry: raw Ed25519 public keys in base64, one a line: current, next."""
LEASE = "rolehost-operator"
KEYS = "rolehost-keys"
"""ConfigMap in the platform's namespace with the hashes of tenants' keys."""
TRUSTED_IMAGES = "rolehost-sandbox-images"
"""ConfigMap in the platform's namespace with the images whose pods gateways dial."""
TRUSTED_IMAGES_ENTRY = "trusted"
"""Its one entry: their names, with commas between them."""
OBSERVED_AUDIENCE = "rolehost-gateway"
GATEWAY_SERVICE = "rolehost-gateway"
"""Service in the platform's namespace: clients come in there, and no sandbox may reach it."""
POD_TEMPLATE_HASH = "pod-template-hash"
"""Label by the Deployment controller: a ReplicaSet's name is its Deployment's and this."""

# Ports
LINK_PORT = 7420
"""In the sandbox pod: the gateway dials in here."""
HEALTH_PORT = 7421
"""In the sandbox pod: the kubelet's readiness probe."""
GATEWAY_PORT = 8080
INTERNAL_PORT = 8081
"""On the gateway: /internal/v1/observed, for the operator only."""
METRICS_PORT = 9090
PEER_PORT = 8083
"""On the gateway: other gateways come in here, and nobody else."""
UPLOAD_PORT = 8082
GRPC_PORT = 8084
"""On the gateway: clients that speak gRPC."""
EMBEDDER_PORT = 8085
"""Of the process that tells what texts mean."""

# Conditions of a Role. True is good for all of them but RuntimeDrift, which is there only while it is True.
READY = "Ready"
"""Sum of the others: a revision with loaded logic serves in a verified sandbox."""
ACCEPTED = "Accepted"
"""The spec is valid and everything that it refers to was found."""
LOGIC_LOADED = "LogicLoaded"
"""The newest revision's logic was imported in its sandbox, or it has none."""
SANDBOX_VERIFIED = "SandboxVerified"
"""Proved by Kubernetes' word (gVisor, our account and image, our Deployment) and from inside (no token, no way out)."""
RUNTIME_DRIFT = "RuntimeDrift"
"""Pods still run what an earlier version of the platform put into them. Nothing is wrong with the
Role: it serves, Ready does not depend on this, and the condition goes when the upgrade is done."""
ROLLOUT_PROGRESSING = "RolloutProgressing"
"""A new revision earns its traffic. Like RolloutHealthy there once a Role had a rollout by steps, an experiment or a pin."""
ROLLOUT_HEALTHY = "RolloutHealthy"
"""What the evidence says of it: True no worse, False worse, Unknown neither yet."""
ANALYSIS_UNAVAILABLE = "AnalysisUnavailable"
"""Reason of RolloutHealthy: nothing can be read of it now; weights stay."""

# Reasons
ALL_GOOD = "Serving"
PROGRESSING = "Progressing"
NO_GATEWAY = "NoGateway"
NOT_A_TENANT = "NamespaceNotATenant"
SANDBOX_UNAVAILABLE = "SandboxUnavailable"
SANDBOX_BREACHED = "SandboxBreached"
"""The probe from inside found a token, a way out, or a kernel that is not gVisor's."""
CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
CONFIG_MAP_TOO_LARGE = "ConfigMapTooLarge"
INVALID_SPEC = "InvalidSpec"
LOGIC_INVALID = "LogicInvalid"
BUNDLE_NOT_FOUND = "BundleNotFound"
BACKEND_NOT_FOUND = "ModelBackendNotFound"
PODS_FAILING = "PodsFailing"
AWAITING_PROBE = "AwaitingProbe"
POD_NOT_ATTESTED = "PodNotAttested"
"""Who listens at a pod's address did not prove to be that pod; nothing was sent to it."""
AWAITING_TURN = "AwaitingTurn"
UPGRADING = "Upgrading"
UPGRADE_HALTED = "UpgradeHalted"
UPGRADE_STUCK = "UpgradeStuck"
DRIFT_CORRECTED = "DriftCorrected"
"""Of an Event: somebody changed by hand what the operator keeps, and it was put back."""


def revision_name(role: str, digest: str) -> str:
    """Name of the revision of `role` whose template hashes to `digest` (hex).

    >>> revision_name("storyteller", "9c1f" * 16)
    'storyteller-9c1f9c1f9c'
    >>> len(revision_name("a" * 200, "0" * 64))
    63
    """
    return f"{shortened(role, 52)}-{digest[:10]}"


def shortened(name: str, limit: int = 63) -> str:
    """`name` itself where it fits, else its head and a hash of the whole.

    Different names stay different, and the result is a valid DNS label if `name` is a
    DNS subdomain (dots become hyphens).

    >>> shortened("cat", 52)
    'cat'
    >>> shortened("a.b", 52) == shortened("a-b", 52)
    False
    """
    label = name.replace(".", "-")
    if label == name and len(label) <= limit:
        return label
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{label[: limit - 9].rstrip('-')}-{mark}"


def host_port(host: str, port: int | str) -> str:
    """An address with its port, as a URL has it.

    >>> host_port("10.0.0.1", 80), host_port("fd00::1", 80)
    ('10.0.0.1:80', '[fd00::1]:80')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
