"""`python -m rolehost_runtime.sandbox --listen HOST:PORT --health HOST:PORT`, or `--stdio`.

Who listens does so by TLS, as the pod that its init container attested; the standard
streams belong to who started us, and need neither.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from rolehost_api.errors import RolehostError
from rolehost_api.names import HEALTH_PORT, LINK_PORT
from rolehost_runtime.sandbox import identity
from rolehost_runtime.sandbox.agent import Address, run
from rolehost_runtime.sandbox.settings import read


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="rolehost sandbox", description="Run role logic for gateways that dial in.")
    parser.add_argument("--listen", type=address, default=("0.0.0.0", LINK_PORT), metavar="HOST:PORT")  # noqa: S104
    parser.add_argument("--health", type=address, default=("0.0.0.0", HEALTH_PORT), metavar="HOST:PORT")  # noqa: S104
    parser.add_argument("--stdio", action="store_true", help="one link over stdin and stdout, for local mode")
    chosen = parser.parse_args(arguments)
    try:
        settings = read(os.environ)
        who = identity.NOBODY if chosen.stdio else identity.of(settings)
        settings.platform_keys()  # a folder without any is said now, and not to the first gateway
    except (RolehostError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return run(settings, who, stdio=chosen.stdio, listen=chosen.listen, health_at=chosen.health)


def address(word: str) -> Address:
    host, _, port = word.rpartition(":")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
