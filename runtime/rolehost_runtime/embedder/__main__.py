"""`python -m rolehost_runtime.embedder`: serve embeddings until SIGTERM."""

import asyncio
import os
import signal
import sys

from aiohttp import web

from rolehost_api.errors import RolehostError
from rolehost_runtime.embedder.minilm import NAME, MiniLM
from rolehost_runtime.embedder.serving import Embeddings
from rolehost_runtime.embedder.settings import read


async def serve() -> None:
    settings = read(os.environ)
    app = Embeddings(MiniLM(threads=settings.threads), NAME).app()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port)
    await site.start()
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    port = runner.addresses[0][1]
    print(f"embeddings by {NAME} on port {port}", flush=True)
    await asked.wait()
    await runner.cleanup()


def main() -> None:
    try:
        asyncio.run(serve())
    except (RolehostError, OSError) as error:
        sys.exit(f"no embeddings: {error}")


if __name__ == "__main__":
    main()
