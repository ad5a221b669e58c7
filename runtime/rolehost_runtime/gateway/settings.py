"""Process settings, read once from `ROLEHOST_*` and never changed after.

Only what the platform team decides is here. What a tenant decides belongs in the Role's
spec, so `kubectl get` shows it and a rollout can undo it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rolehost_api import names
from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import MAX_TIMER_SECONDS, MIN_TIMER_SECONDS
from rolehost_runtime.core.reach.addresses import Reachable
from rolehost_runtime.gateway.broker.reach.limits import PER_MINUTE, PER_ROLE
from rolehost_runtime.gateway.broker.reach.opening import ReachSettings
from rolehost_runtime.gateway.broker.state.resp.address import parse as parse_redis_url
from rolehost_runtime.gateway.kept import MAX_KEPT
from rolehost_runtime.gateway.sessions.limits import MAX_LOG_BYTES, MAX_TURNS
from rolehost_runtime.gateway.tracing.opening import TraceSettings
from rolehost_runtime.gateway.tracing.tracer import SLOW_SECONDS

PREFIX = "ROLEHOST_"
Words = Annotated[tuple[str, ...], NoDecode]
"""Separated by commas."""


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, hide_input_in_errors=True, extra="ignore")

    host: str = "0.0.0.0"  # noqa: S104 - in a pod, where the NetworkPolicy is the wall
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class GatewaySettings(_Settings):
    port: int = Field(default=names.GATEWAY_PORT, ge=0, le=65535)
    internal_port: int = Field(default=names.INTERNAL_PORT, ge=0, le=65535)
    metrics_port: int = Field(default=names.METRICS_PORT, ge=0, le=65535)
    peer_port: int = Field(default=names.PEER_PORT, ge=0, le=65535)
    grpc_port: int = Field(default=names.GRPC_PORT, ge=0, le=65535)
    """0: gRPC is not served, and not loaded."""

    pod_name: str = "gateway"
    namespace: str = "rolehost-system"
    """Of the platform: where the ConfigMaps rolehost-keys and rolehost-sandbox-images are."""

    redis_url: str = "redis://rolehost-redis:6379/0"
    """Without a password: a URL shows in every listing. Its forms: broker/state/resp/address.py."""
    redis_password: SecretStr | None = None

    archive_url: str = Field(default="", pattern="^([a-z0-9]+://.*)?$")
    """Where old records go, as broker/archive/objects.py has it; its credentials are in the environment. Empty: no archive,
    and all records stay in Redis."""
    archive_forget: bool = False
    """Where there is no archive: records that no restore reads leave Redis all the same, and history ends there."""

    session_max_turns: int = Field(default=MAX_TURNS, ge=1, le=10_000_000)
    """Of one session: then it says `session_full`."""
    session_max_mebibytes: int = Field(default=MAX_LOG_BYTES >> 20, ge=1, le=1_024)
    """Of one session's records in Redis; those in the archive do not count."""
    tenant_max_sessions: int = Field(default=MAX_KEPT, ge=1, le=10_000_000)
    """That are kept of one tenant: then new ones are refused with `tenant_sessions_full`."""

    timer_min_seconds: int = Field(default=MIN_TIMER_SECONDS, ge=1, le=MAX_TIMER_SECONDS)
    """Logic with a shorter timer does not load."""
    timer_look_seconds: float = Field(default=5.0, ge=0.1, le=60)
    """How often a Role's timers are looked at: so late they may go off."""

    operator_service_account: str = Field(default="rolehost-system/rolehost-operator", pattern="^[^/]+/[^/]+$")
    """namespace/name of who may read /internal/v1/observed."""
    link_key_file: Path = Path("/etc/rolehost/link/key.pem")
    """Ed25519 private key, PEM: how pods and the upload service know the platform. Read again when it changes."""
    platform_keys_dir: Path = Path("/etc/rolehost/platform-keys")
    """Certificates, PEM: whoever shows one of them, with its private half, is another gateway."""
    attestation_file: Path = Path("/etc/rolehost/attestation/root")
    """The platform's root secret: how pods are known (rolehost_api/link/attestation.py)."""
    model_keys_dir: Path = Path("/etc/rolehost/model-keys")
    reach_enabled: bool = True
    """Role logic may ask the servers outside that its permissions name (t.http); false: none."""
    reach_allowed_cidrs: Words = ()
    """Networks that are not public, and that logic may reach all the same."""
    reach_refused_cidrs: Words = ()
    """Public networks that it may not: nodes, load balancers of the cluster's own."""
    reach_per_minute: int = Field(default=PER_MINUTE, ge=1, le=1_000_000)
    """Requests of one tenant, in each gateway."""
    reach_per_role: int = Field(default=PER_ROLE, ge=1, le=10_000)
    """Requests of one Role at once, in each gateway."""
    tool_keys_dir: Path = Path("/etc/rolehost/tool-keys")
    """Keys of tool servers: entries <namespace>.<key>, each for Roles of that namespace alone."""
    upload_url: str = Field(default="http://rolehost-upload:8082", pattern="^https?://")
    allowed_origins: Words = ()
    allowed_hosts: Words = ()
    page: bool = False
    """The playground at `/`."""
    plugins: Words = ()
    """Packages of the image whose plugins are loaded (docs/plugins.md); the gateway does not start without them."""
    memory_store: str = Field(default="", max_length=63)
    """The MemoryStore, one of those plugins, where memories are at home. Empty: Redis."""
    inspect_mebibytes: int = Field(default=0, ge=0, le=1_024)
    """What the prompts of the newest turns may take in memory, for keys with scope `push` that look into one. 0: none are
    kept."""
    max_connections: int = Field(default=20_000, ge=1, le=1_000_000)
    drain_seconds: float = Field(default=60, ge=0, le=600)
    """How long running turns may go on after the signal to stop, once every socket was asked to move."""
    migrate_seconds: float = Field(default=60, ge=0, le=600)
    """Over how long at most the sockets are asked to move, so that they do not all come again at once."""
    otlp_endpoint: str = Field(default="", pattern=r"^(https?://[^\s@]+)?$")
    """Of a Collector that takes OTLP over HTTP, e.g. http://rolehost-collector:4318. Empty: turns have no traces."""
    trace_ratio: float = Field(default=1.0, ge=0, le=1)
    """So many of all turns are told; of those that fail or are slow, all."""
    trace_slow_seconds: float = Field(default=SLOW_SECONDS, ge=0)
    trace_content: bool = False
    """Traces carry what users said and models answered, cut: whoever reads traces reads conversations then."""
    trace_trust_clients: bool = False
    """A client's traceparent is the parent of its turn's trace, and decides whether that is told."""
    kubeconfig: Path | None = None
    """Only outside of a cluster; in one the pod's own account is used."""

    def reach(self) -> ReachSettings:
        return ReachSettings(
            enabled=self.reach_enabled,
            allowed_cidrs=self.reach_allowed_cidrs,
            refused_cidrs=self.reach_refused_cidrs,
            per_minute=self.reach_per_minute,
            per_role=self.reach_per_role,
        )

    def traces(self) -> TraceSettings:
        return TraceSettings(
            endpoint=self.otlp_endpoint,
            name=self.pod_name,
            namespace=self.namespace,
            ratio=self.trace_ratio,
            slow_seconds=self.trace_slow_seconds,
            capture=self.trace_content,
            trusts=self.trace_trust_clients,
        )

    @field_validator("reach_allowed_cidrs", "reach_refused_cidrs")
    @classmethod
    def _names_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            Reachable.of(value)
        except ValueError:
            raise ValueError("not networks, e.g. 10.20.0.0/16") from None
        return value

    @field_validator(
        "allowed_origins", "allowed_hosts", "plugins", "reach_allowed_cidrs", "reach_refused_cidrs", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return _words(value)

    @field_validator("redis_url")
    @classmethod
    def _names_a_redis(cls, value: str) -> str:
        try:
            parse_redis_url(value)
        except BadRequest as wrong:
            raise ValueError(str(wrong)) from None
        return value


class UploadSettings(_Settings):
    port: int = Field(default=names.UPLOAD_PORT, ge=0, le=65535)
    bundles_dir: Path = Path("/var/lib/rolehost/bundles")
    platform_keys_dir: Path = Path("/etc/rolehost/platform-keys")
    """Certificates or public keys, PEM: a request by any of their private halves is a gateway's."""
    tenant_max_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """What one tenant's bundles may take on the volume."""


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


S = TypeVar("S", bound=_Settings)


def load(kind: type[S], environ: Mapping[str, str] | None = None) -> S:
    """The settings of this process. Raises BadRequest `invalid_settings`, which names the variable and not its value.

    A misspelt name is refused: pydantic would not, and a limit that is silently left at
    its default is found out in production.
    """
    given = {name for name in (os.environ if environ is None else environ) if name.startswith(PREFIX)}
    known = {PREFIX + name.upper() for name in kind.model_fields}
    unknown = sorted(given - known)
    if unknown:
        raise BadRequest(
            f"not a setting: {', '.join(unknown)}",
            hint="Service links make such names too: set enableServiceLinks: false",
            code="invalid_settings",
        )
    try:
        return kind()
    except ValidationError as error:
        faults = "; ".join(
            f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors()
        )
        raise BadRequest(f"settings are not valid: {faults}", code="invalid_settings") from None
