"""Put local mode together and run it until Ctrl-C."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rolehost_api.errors import BadRequest
from rolehost_runtime.core.reach.addresses import Reachable
from rolehost_runtime.gateway.app import Adapters, Gateway, Options, wall_ms
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.broker.models.plugins import PluginProvider
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.reach.metrics import PrometheusReachSink
from rolehost_runtime.gateway.broker.reach.opening import Outside, ReachSettings
from rolehost_runtime.gateway.broker.state.redis_ledger import RedisLedger
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.edge.auth import OpenAuth, Tokens
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.tables import Tables
from rolehost_runtime.local.banner import Facts, banner
from rolehost_runtime.local.dialer import ProcessDialer, runsc
from rolehost_runtime.local.embeddings import embedding
from rolehost_runtime.local.model import Choice, choose
from rolehost_runtime.local.redis import EmbeddedRedis
from rolehost_runtime.local.reload import Follower, folders_of
from rolehost_runtime.local.tables import LOCAL, FileTables
from rolehost_runtime.plugins.finding import SETTING, find, words
from rolehost_runtime.plugins.kinds import GUARD, IN_GATEWAY, MEMORY_STORE, PROMPT_TEMPLATE

TOOL_KEYS = "ROLEHOST_TOOL_KEYS_DIR"
ALLOWED_CIDRS = "ROLEHOST_REACH_ALLOWED_CIDRS"
HOME_SETTING = "ROLEHOST_MEMORY_STORE"
HOSTS = ("localhost", "127.0.0.1", "[::1]")
TYPING_SECONDS = 0.015
"""Between two pieces of a scripted answer, so that a stream looks like one."""
TIMER_LOOK_SECONDS = 0.5
"""Whoever tries a timer of seconds out watches for it."""
FIRST_PATIENCE_SECONDS = 30.0
DRAIN_SECONDS = 3.0
INSPECT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Running:
    """Local mode, up."""

    gateway: Gateway
    files: FileTables
    follower: Follower
    choice: Choice
    sandbox: str


async def run(
    paths: Sequence[Path],
    port: int,
    data: Path,
    wish: str,
    grpc_port: int | None = None,
    embeddings: str = "",
    metrics_port: int | None = None,
) -> None:
    """Until SIGINT or SIGTERM; gRPC and metrics where they have a port. Raises RolehostError or OSError where it cannot start."""
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    async with local(paths, port, data, wish, os.environ, grpc_port, embeddings, metrics_port) as running:
        entries = sorted(running.files.tables.roles.values(), key=lambda entry: entry.name)
        facts = Facts(
            port=running.gateway.port,
            roles=[(entry.name, entry.spec.display_name or entry.name) for entry in entries],
            model=running.choice.label,
            advice=running.choice.advice,
            sandbox=running.sandbox,
            data=data,
            grpc_port=running.gateway.grpc_port if grpc_port is not None else None,
        )
        _tell(banner(facts))
        await asked.wait()
        _tell("stopping; sessions stay")


@contextlib.asynccontextmanager
async def local(
    paths: Sequence[Path],
    port: int,
    data: Path,
    wish: str,
    environment: Mapping[str, str],
    grpc_port: int | None = None,
    embeddings: str = "",
    metrics_port: int | None = None,
) -> AsyncIterator[Running]:
    """Local mode for as long as the block runs."""
    watched = folders_of(paths)
    _refuse_beside(data, watched)
    plugins = find(words(environment.get(SETTING, "")), IN_GATEWAY)
    async with contextlib.AsyncExitStack() as held:
        redis = EmbeddedRedis(data / "redis")
        await redis.start()
        held.push_async_callback(redis.stop)
        scratch = data / "run"
        # The lock is ours: whatever lies there is of one that was killed.
        shutil.rmtree(scratch, ignore_errors=True)
        held.callback(shutil.rmtree, scratch, ignore_errors=True)
        choice, prefix = await asyncio.gather(choose(wish, environment), runsc())
        keys = KeyRing(_key_folder(scratch / "keys", choice.keys or {}))
        tables, signing_key = Tables(), Ed25519PrivateKey.generate()
        files = FileTables(tables, data / "ordinals.json", choice.backend)
        if embeddings:
            files.embeddings = await held.enter_async_context(embedding(embeddings))
        follower = Follower(paths, files, _tell)
        faults = follower.read()
        if faults and not files.newest:
            raise BadRequest("there is nothing to run:\n" + "\n".join(faults))
        for fault in faults:
            _tell(f"✗ {fault}")
        store = RedisSessionStore.connect(redis.url)
        ledger, metrics = RedisLedger.connect(redis.url), Metrics()
        models = ModelService(
            HttpProvider(keys),
            tables,
            wall_ms,
            ledger,
            PrometheusModelSink(metrics.registry),
            script_pause_seconds=TYPING_SECONDS,
            plugins=PluginProvider.of(plugins, keys),
        )
        outside = Outside.of(_reach(environment), PrometheusReachSink(metrics.registry), _tool_keys(environment))
        dialer = ProcessDialer(tables.pods, signing_key.public_key().public_bytes_raw(), scratch / "pods", prefix)
        adapters = Adapters(
            tables=tables,
            dialer=dialer,
            bundles=files,
            store=store,
            models=models.provider,
            embedder=models.embedder,
            web=outside.web,
            toolbox=outside.toolbox,
            guards=plugins.made(GUARD),
            layouts=plugins.made(PROMPT_TEMPLATE),
            home=plugins.get(MEMORY_STORE, home).make() if (home := environment.get(HOME_SETTING, "")) else None,
            auth=OpenAuth(LOCAL, Tokens(secrets.token_bytes(32), wall_ms)),
            signing_key=signing_key,
            store_answers=store.answers,
            store_facts=store.facts,
            require_gvisor=False,
            closing=(outside.close, models.close, ledger.close, store.close, dialer.close),
        )
        options = Options(
            port=port,
            allowed_hosts=HOSTS,
            page=True,
            drain_seconds=DRAIN_SECONDS,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            timer_min_seconds=1,
            timer_look_seconds=TIMER_LOOK_SECONDS,
            inspect_bytes=INSPECT_BYTES,
        )
        gateway = Gateway(options, adapters, metrics)
        await gateway.start()
        held.push_async_callback(gateway.stop)
        tasks = [asyncio.create_task(follower.promote(gateway.report)), asyncio.create_task(follower.watch(watched))]
        held.push_async_callback(_cancelled, tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_PATIENCE_SECONDS):
                await follower.settled.wait()
        yield Running(gateway, files, follower, choice, "gVisor (runsc), no network" if prefix else "")


def _refuse_beside(data: Path, watched: Sequence[Path]) -> None:
    """What lies beside a Role's files is packed and watched: sessions must not be."""
    for folder in watched:
        if data.is_relative_to(folder) and not any(part.startswith(".") for part in data.relative_to(folder).parts):
            raise BadRequest(
                f"--data {data} lies among the files of a Role", hint="Use .rolehost, or a folder elsewhere"
            )


def _tool_keys(environment: Mapping[str, str]) -> KeyRing:
    """Files as a cluster's Secret has them: `local.weather` holds what a Role here calls `weather`."""
    folder = environment.get(TOOL_KEYS)
    return KeyRing(Path(folder) if folder else None)


def _reach(environment: Mapping[str, str]) -> ReachSettings:
    """The same checks as in a cluster; a server on this machine is reached where the variable of the cluster's gateways
    says so. Raises BadRequest `invalid_settings`."""
    allowed = tuple(one.strip() for one in environment.get(ALLOWED_CIDRS, "").split(",") if one.strip())
    try:
        Reachable.of(allowed)
    except ValueError:
        raise BadRequest(
            f"{ALLOWED_CIDRS} is not a list of networks", hint="e.g. 127.0.0.0/8,::1/128", code="invalid_settings"
        ) from None
    return ReachSettings(allowed_cidrs=allowed)


def _key_folder(folder: Path, keys: Mapping[str, str]) -> Path | None:
    """The key ring reads files, as from a mounted Secret: for us alone, and gone when we go."""
    if not keys:
        return None
    folder.mkdir(parents=True, mode=0o700)
    for name, key in keys.items():
        file = os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600)
        with os.fdopen(file, "w") as opened:
            opened.write(key)
    return folder


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tell(text: str) -> None:
    click.echo(text)
