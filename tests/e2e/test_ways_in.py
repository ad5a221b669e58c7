"""`rolehost chat` from outside of the cluster, with nothing but kubectl: a port-forward that outlives the gateway's pod."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster, Tenant, until


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("waysin") as made:
        made.apply_role("cat")
        made.wait_ready("cat")
        yield made


@pytest.mark.timeout(240)
def test_a_chat_through_a_port_forward_goes_on_after_the_gateway_was_replaced(cluster: Cluster, tenant: Tenant) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLEHOST_")}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "rolehost.cli", "chat", "cat", "-n", tenant.name],
        env={**kept, "KUBECONFIG": str(cluster.where.kubeconfig), "ROLEHOST_KEY": tenant.key("chat")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
    printed: list[str] = []
    assert process.stdin is not None
    assert process.stdout is not None
    threading.Thread(target=lambda stream: printed.extend(iter(lambda: stream.read(1), "")), args=(process.stdout,), daemon=True).start()  # fmt: skip

    def heard(words: str) -> None:
        until(lambda: words in "".join(printed) or None, 60, lambda: f"{words!r} in:\n{''.join(printed)}")

    try:
        heard("(kubectl port-forward)")
        process.stdin.write("one dragon\n")
        process.stdin.flush()
        heard("You said: one dragon")
        cluster.restart("deployment/rolehost-gateway")
        process.stdin.write("two dragons\n")
        process.stdin.flush()
        heard("You said: two dragons")
        heard("You said before: one dragon")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
