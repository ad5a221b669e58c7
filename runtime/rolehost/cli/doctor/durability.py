"""What a gateway says of itself and of Redis. Pure."""

from collections.abc import Mapping
from typing import Any

from rolehost.cli.doctor.finding import Finding, Seen, fail, ok, unseen, warn

FULL = 0.8
"""Share of its memory from which on Redis is nearly full."""
ALWAYS = "redis-cli CONFIG SET {setting}, and in its configuration; of the chart's own: kubectl -n {platform} rollout restart statefulset/rolehost-redis"


def answers(ready: Seen, way: str, platform: str) -> Finding:
    """Whether a gateway takes new sessions: what its /readyz said over `way`."""
    if ready.refused:
        return unseen("answers", ready)
    waiting = ready.value.get("waiting_for") or []
    if not ready.value.get("ok"):
        return fail(
            "answers",
            f"{way}: it waits for {', '.join(map(str, waiting))}",
            f"kubectl -n {platform} logs deployment/rolehost-gateway",
        )
    return ok("answers", f"{way}: ready for sessions")


def durability(health: Seen, platform: str) -> list[Finding]:
    """Whether an acknowledged turn survives, from the answer of /v1/platform/health."""
    if health.refused:
        return [unseen("durability", health)]
    store = health.value.get("store")
    if store is None:
        return [
            fail(
                "durability",
                "Redis does not answer the gateway",
                f"kubectl -n {platform} get pods -l app.kubernetes.io/component=redis; of your own: redis.url in the values",
            )
        ]
    return _faults(store, platform) or [ok("durability", _sentence(store))]


def _faults(store: Mapping[str, Any], platform: str) -> list[Finding]:
    def how(setting: str) -> str:
        return ALWAYS.format(setting=setting, platform=platform)

    found = []
    if not store.get("aof"):
        found.append(
            fail("durability", "Redis keeps no log on disk (appendonly no): a restart forgets", how("appendonly yes"))
        )
    elif store.get("aof_writes") not in ("ok", "", None):
        found.append(
            fail(
                "durability",
                "Redis could not write its log to the disk",
                "Look for space on its volume: kubectl get pvc -A; then its log",
            )
        )
    fsync = store.get("appendfsync") or ""
    if store.get("aof") and fsync == "":
        found.append(
            warn(
                "durability",
                "Redis does not say when it syncs (CONFIG is forbidden)",
                "See that appendfsync is always where you run it",
            )
        )
    elif store.get("aof") and fsync != "always":
        found.append(
            fail(
                "durability",
                f"appendfsync {fsync}: the last second of what was acknowledged can be lost",
                how("appendfsync always"),
            )
        )
    if (policy := store.get("eviction") or "?") != "noeviction":
        found.append(
            fail(
                "durability",
                f"maxmemory-policy {policy}: sessions are thrown away when memory is short",
                how("maxmemory-policy noeviction"),
            )
        )
    used, bound = int(store.get("used_bytes") or 0), int(store.get("max_bytes") or 0)
    if bound and used >= FULL * bound:
        found.append(
            warn(
                "durability",
                f"Redis is {100 * used // bound} % full: tenants over their share begin no new sessions; "
                "at 100 % turns fail",
                f"helm upgrade … --set redis.maxMemory=… (resources.limits.memory at twice of it), namespace {platform}",
            )
        )
    if not bound:
        found.append(
            warn(
                "durability",
                "Redis has no bound (maxmemory 0): no tenant is kept from taking all of the machine's memory",
                how("maxmemory 1gb, or what the machine can spare"),
            )
        )
    return found


def _sentence(store: Mapping[str, Any]) -> str:
    used, bound = int(store.get("used_bytes") or 0), int(store.get("max_bytes") or 0)
    return (
        f"Redis {store.get('version', '?')}, log on disk, synced {store.get('appendfsync')}, {store.get('eviction')}, "
        f"{used >> 20} of {bound >> 20} MiB used"
    )
