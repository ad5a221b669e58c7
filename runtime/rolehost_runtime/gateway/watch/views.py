"""The few fields that we read of objects that are not ours."""

from msgspec import Struct, field

from rolehost_api.crd.common import ObjectMeta


class NamespaceView(Struct, frozen=True, kw_only=True, rename="camel"):
    metadata: ObjectMeta


class OwnerView(Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    controller: bool = False


class PodMeta(ObjectMeta, frozen=True, kw_only=True, rename="camel"):
    owner_references: tuple[OwnerView, ...] = ()


class ContainerView(Struct, frozen=True, kw_only=True, rename="camel"):
    image: str = ""


class PodSpecView(Struct, frozen=True, kw_only=True, rename="camel"):
    runtime_class_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: tuple[ContainerView, ...] = ()
    init_containers: tuple[ContainerView, ...] = ()
    ephemeral_containers: tuple[ContainerView, ...] = ()


class ConditionView(Struct, frozen=True, kw_only=True, rename="camel"):
    type: str = ""
    status: str = ""


class PodStatusView(Struct, frozen=True, kw_only=True, rename="camel"):
    phase: str = ""
    pod_ip: str = field(name="podIP", default="")
    conditions: tuple[ConditionView, ...] = ()


class PodView(Struct, frozen=True, kw_only=True, rename="camel"):
    metadata: PodMeta
    spec: PodSpecView = PodSpecView()
    status: PodStatusView = PodStatusView()


class ConfigMapView(Struct, frozen=True, kw_only=True, rename="camel"):
    metadata: ObjectMeta
    data: dict[str, str] = {}


class KeyRow(Struct, frozen=True, kw_only=True, rename={"tenant_uid": "tenantUID"}):
    """One value of the ConfigMap rolehost-keys."""

    sha256: str
    tenant: str
    tenant_uid: str
    scopes: tuple[str, ...] = ()
