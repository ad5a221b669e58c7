"""The upload service: takes archives and manifests from gateways, hands bundles out to gateways."""

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from rolehost_api import wire
from rolehost_api.errors import BadRequest, NotFound, Overloaded, RolehostError
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.bodies import error_json
from rolehost_runtime.gateway.edge.internal import SmallServer
from rolehost_runtime.gateway.edge.uploads import MAX_MANIFEST_BYTES, MAX_UPLOAD_BYTES
from rolehost_runtime.gateway.settings import UploadSettings
from rolehost_runtime.gateway.upload import checker, signing
from rolehost_runtime.gateway.upload.store import BundleStore

log = logging.getLogger(__name__)

BODY_SECONDS = 60.0
AT_ONCE = 2
"""Checks that run; the rest wait."""
MAX_WAITING = 16
MAX_WAITING_OF_ONE = 4
"""Of one tenant: slow bodies of one must not keep the others out."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _TooLarge(BadRequest):
    status = 413


class UploadService:
    def __init__(
        self, store: BundleStore, keys: Iterable[Ed25519PublicKey], now: Callable[[], float] = time.time
    ) -> None:
        self._store, self._keys, self._now = store, keys, now
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting: Counter[str] = Counter()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_errors], client_max_size=MAX_UPLOAD_BYTES)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_put(signing.BUNDLES, self._put)
        app.router.add_post(signing.CHECK, self._check)
        app.router.add_get(signing.BUNDLES + "/{tenant}/{digest}", self._get)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _put(self, request: web.Request) -> web.Response:
        tenant = self._for_whom(request)
        async with self._taken_in(request, tenant, MAX_UPLOAD_BYTES) as source:
            target = self._store.temporary()
            try:
                outcome = await checker.run("bundle", str(source), str(target))
                await asyncio.to_thread(self._store.keep, tenant, outcome["digest"], target)
            finally:
                target.unlink(missing_ok=True)
        log.info("a bundle of tenant %s was taken in: %s", tenant, outcome["digest"])
        return web.json_response(outcome)

    async def _check(self, request: web.Request) -> web.Response:
        tenant = self._for_whom(request)
        async with self._taken_in(request, tenant, MAX_MANIFEST_BYTES) as source:
            return web.json_response(await checker.run("manifest", str(source)))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        tenant = self._for_whom(request)
        if tenant != request.match_info["tenant"]:
            raise NotFound("this tenant pushed no bundle of this digest", code="bundle_not_found")
        path = await asyncio.to_thread(self._store.find, tenant, request.match_info["digest"])
        return web.FileResponse(path, headers={"content-type": "application/gzip"})

    def _for_whom(self, request: web.Request) -> str:
        header = request.headers.get(signing.HEADER, "")
        return signing.verified(self._keys, header, request.method, request.path, int(self._now()))

    def _taken_in(self, request: web.Request, tenant: str, limit: int) -> "_TakenIn":
        return _TakenIn(self, request, tenant, self._store.temporary(), limit)


class _TakenIn:
    """A request's body as a file, while one of the few places for checks is ours."""

    def __init__(self, service: UploadService, request: web.Request, tenant: str, path: Path, limit: int) -> None:
        self._service, self._request, self._tenant = service, request, tenant
        self._path, self._limit = path, limit

    async def __aenter__(self) -> Path:
        service, waiting = self._service, self._service._waiting
        if waiting.total() >= MAX_WAITING or waiting[self._tenant] >= MAX_WAITING_OF_ONE:
            raise Overloaded("too many pushes at once", hint="Try again in some seconds", code="upload_busy")
        waiting[self._tenant] += 1
        try:
            await self._write()
            await service._slots.acquire()
        except BaseException:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            waiting[self._tenant] -= 1
            if not waiting[self._tenant]:
                del waiting[self._tenant]
        return self._path

    async def __aexit__(self, *_: object) -> None:
        self._service._slots.release()
        self._path.unlink(missing_ok=True)

    async def _write(self) -> None:
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                with self._path.open("xb") as file:
                    async for chunk in self._request.content.iter_chunked(65_536):
                        size += len(chunk)
                        if size > self._limit:
                            raise _TooLarge(f"more than {self._limit} bytes", code="body_too_large")
                        file.write(chunk)
        except TimeoutError:
            raise BadRequest("the body did not arrive in time", code="body_too_slow") from None


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        code = "path_not_found" if error.status == 404 else "bad_request"
        return _told(wire.ErrorBody(code=code, message=error.reason), error.status)
    except RolehostError as error:
        return _told(wire.error_body(error), error.status)
    except Exception as error:
        return _told(wire.error_body(faults.internal(log, "taking in a push", error)), 500)


def _told(body: wire.ErrorBody, status: int) -> web.Response:
    return web.Response(body=error_json(body), status=status, content_type="application/json")


async def serve(settings: UploadSettings) -> None:
    """Run until SIGTERM or SIGINT."""
    store = BundleStore(settings.bundles_dir, settings.tenant_max_bytes)
    await asyncio.to_thread(store.prepare)
    keys = await asyncio.to_thread(signing.MountedKeys, settings.platform_keys_dir)
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    server = SmallServer(UploadService(store, keys).app(), settings.host, settings.port)
    await server.start()
    log.info("taking in pushes on port %d", server.port)
    await asked.wait()
    await server.stop()
