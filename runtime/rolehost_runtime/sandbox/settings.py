"""The agent's settings, read once from the environment. No settings library: start-up time under gVisor counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rolehost_api.errors import BadRequest
from rolehost_runtime.sandbox import keys


@dataclass(frozen=True, slots=True)
class Settings:
    pod_uid: str
    """ROLEHOST_POD_UID: part of what the gateway signs."""
    platform_keys: Callable[[], tuple[bytes, ...]]
    """Whose signatures are the platform's: now. ROLEHOST_PLATFORM_KEYS_DIR: a mounted folder, read again at every
    handshake; or, in local mode, ROLEHOST_PLATFORM_KEYS: raw Ed25519 public keys in base64, comma-separated."""
    identity: Path | None = None
    """ROLEHOST_IDENTITY_DIR: what the init container made of this pod; none over stdin and stdout."""
    probe_targets: tuple[str, ...] = ()
    """ROLEHOST_PROBE_TARGETS: ip:port, comma-separated; none may be reached."""
    scratch: Path = Path("/tmp/rolehost")  # noqa: S108 - the pod's only writable place
    """ROLEHOST_SCRATCH: where logic is unpacked; a tmpfs."""
    memory_bytes: int = 384 * 1_048_576
    """ROLEHOST_WORKER_MEMORY_MIB: address space of one worker."""
    states_bytes: int = 64 * 1_048_576
    """ROLEHOST_STATES_MIB: states of sessions that the agent remembers."""
    import_seconds: float = 20.0
    """ROLEHOST_IMPORT_SECONDS: how long importing the logic may take."""
    drain_seconds: float = 60.0
    """ROLEHOST_DRAIN_SECONDS: how long open turns may finish after SIGTERM."""


def read(environment: Mapping[str, str]) -> Settings:
    """Raises BadRequest that names the variable."""
    defaults = Settings("", tuple)
    identity = environment.get("ROLEHOST_IDENTITY_DIR", "").strip()
    return Settings(
        pod_uid=_required(environment, "ROLEHOST_POD_UID"),
        platform_keys=_platform_keys(environment),
        identity=Path(identity) if identity else None,
        probe_targets=tuple(
            _target(word.strip()) for word in environment.get("ROLEHOST_PROBE_TARGETS", "").split(",") if word.strip()
        ),
        scratch=Path(environment.get("ROLEHOST_SCRATCH") or defaults.scratch),
        memory_bytes=_number(environment, "ROLEHOST_WORKER_MEMORY_MIB", defaults.memory_bytes // 1_048_576) * 1_048_576,
        states_bytes=_number(environment, "ROLEHOST_STATES_MIB", defaults.states_bytes // 1_048_576) * 1_048_576,
        import_seconds=_number(environment, "ROLEHOST_IMPORT_SECONDS", int(defaults.import_seconds)),
        drain_seconds=_number(environment, "ROLEHOST_DRAIN_SECONDS", int(defaults.drain_seconds)),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if not value:
        raise BadRequest(f"{name} is not set", hint="The sandbox is started by the operator or by `rolehost dev`")
    return value


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, "").strip() or str(default)
    if not value.isascii() or not value.isdigit() or not 0 < int(value) <= 1_048_576:
        raise BadRequest(f"{name} must be a whole number above 0")
    return int(value)


def _platform_keys(environment: Mapping[str, str]) -> Callable[[], tuple[bytes, ...]]:
    folder = environment.get("ROLEHOST_PLATFORM_KEYS_DIR", "").strip()
    if folder:
        return partial(keys.mounted, Path(folder))
    given = keys.parsed(_required(environment, "ROLEHOST_PLATFORM_KEYS"), "ROLEHOST_PLATFORM_KEYS")
    return lambda: given


def _target(word: str) -> str:
    host, _, port = word.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise BadRequest("ROLEHOST_PROBE_TARGETS holds something that is not ip:port")
    return word
