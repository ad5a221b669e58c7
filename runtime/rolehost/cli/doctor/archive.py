"""Where old records of conversations go, as a gateway just tried it. Pure."""

from rolehost.cli.doctor.finding import Finding, Seen, fail, ok, unseen, warn

RIGHTS = {
    "write": "records do not leave Redis, which fills",
    "list": "what a forgotten session has there is not found",
    "read": "who reads far back is told archive_unavailable",
    "delete": "what is to be forgotten stays there",
}
"""What it means that this cannot be done."""
MEND = (
    "archive.url and the Secret archive.existingSecret in the values (region, endpoint, a key that may read, write, list "
    "and delete), then kubectl -n {platform} rollout restart deployment/rolehost-gateway"
)


def archive(health: Seen, platform: str) -> Finding:
    """From the answer of /v1/platform/health."""
    if health.refused:
        return unseen("archive", health)
    found = health.value.get("archive") or {}
    if failed := found.get("failed"):
        means = RIGHTS.get(failed, "it cannot be relied on")
        return fail("archive", f"{failed}: {found.get('trouble')}; {means}", MEND.format(platform=platform))
    if found.get("configured"):
        return ok("archive", f"an object was written, listed, read and deleted in {found.get('took_ms', 0)} ms")
    if found.get("forgets"):
        return warn(
            "archive",
            "none; what no restore reads leaves Redis and is gone (archive.forget): histories lose their begin",
            "To keep it: helm upgrade … --set archive.url=s3://… --set archive.forget=false",
        )
    return ok("archive", "none: sessions' whole logs stay in Redis, which grows with every turn (archive.url)")
