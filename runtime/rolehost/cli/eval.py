"""`rolehost eval`: scenarios of what users say, against a Role here or one that runs; a gate for CI and rollouts."""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from rolehost.cli.failing import told
from rolehost.cli.gating import Gate, gate
from rolehost.cli.kubectl import Kubectl, namespace_option
from rolehost.cli.reach import Gateway, checked, gateway_options
from rolehost.cli.schema import rendered_eval
from rolehost.evals.counting import Result, Run
from rolehost.evals.forms import EvalForm
from rolehost.evals.reading import load
from rolehost.evals.reporting import as_json, as_junit, lines
from rolehost.evals.running import Judge, Player, play
from rolehost_api.crd.role import Role
from rolehost_api.errors import BadRequest, InvalidManifest, RolehostError

NOT_GOOD, NOT_RUN = 1, 2
"""Exit codes: fewer runs passed than must; nothing can be said, for something was not run."""
SOURCES = (".yaml", ".yml", ".py")


def _schema(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(rendered_eval(), nl=False)
        ctx.exit()


@click.command("eval")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", "wish", default="", help="Ask this model: as for `rolehost dev`, which is started for it.")
@click.option("--judge", "judge_wish", default="", help="The model that marks rubrics: openai/NAME, NAME@URL, …")
@click.option("--repeats", type=click.IntRange(1, 1000), help="How often each scenario is played.")
@click.option("--at-once", type=click.IntRange(1, 64), help="How many are played at once.")
@click.option("--seed", type=click.IntRange(0, 2**31), help="Of the first repeat; each next one has the next.")
@click.option("--min-pass-rate", type=click.FloatRange(0, 1), help="The part of all runs that must pass.")
@click.option("--report", type=click.Choice(["text", "json", "junit"]), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the report goes.")
@click.option("--check", "only_check", is_flag=True, help="Only say what is wrong with FILES.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_schema,
    help="Print the JSON schema of such files, for editors.",
)
@click.option(
    "--gate", "gate_name", default="", help="Tell a revision in the cluster that it passed this gate, or failed."
)
@click.option("--revision", default="", help="With --gate: that one; else the one that waits, or the newest.")
@click.option("--context", default="", help="With --gate: kubectl's context.")
@namespace_option
@gateway_options
def evaluate(
    files: tuple[Path, ...],
    wish: str,
    judge_wish: str,
    repeats: int | None,
    at_once: int | None,
    seed: int | None,
    min_pass_rate: float | None,
    report: str,
    output: Path | None,
    only_check: bool,
    gate_name: str,
    revision: str,
    context: str,
    namespace: str,
    url: str,
    key: str,
) -> None:
    """Play the scenarios in FILES and say how many runs passed.

    Without --url and --model they are played in the engine itself, with the answers that the scenarios give the model, and
    every repeat's chances by its seed. With --url they go to a Role that runs.

    Exit 0 where as many passed as must, 1 where not, 2 where they could not be played; only then no --gate is told.
    """
    if url and wish:
        raise click.UsageError("a Role that runs has a model: give --url or --model")
    given = {"repeats": repeats, "atOnce": at_once, "seed": seed, "minPassRate": min_pass_rate}
    changes = {name: value for name, value in given.items() if value is not None}
    forms = [(file, _loaded(file, changes)) for file in files]
    if only_check:
        click.echo(f"{len(forms)} good")
        return
    try:
        with told(), contextlib.redirect_stdout(sys.stderr):
            waits = _gate(gate_name, revision, forms, Kubectl(context, namespace))
            results = asyncio.run(_played(forms, wish, judge_wish, Gateway(checked(url), key) if url else None))
    except click.ClickException as error:
        error.show()
        raise click.exceptions.Exit(NOT_RUN) from None
    text = {"text": _text, "json": as_json, "junit": as_junit}[report](results)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
        click.echo(_text(results), err=True)
    else:
        click.echo(text)
    if unplayed := sum(result.unplayed for result in results):
        click.echo(f"{unplayed} runs were not played", err=True)
        raise click.exceptions.Exit(NOT_RUN)
    good = all(result.good for result in results)
    if waits is not None:
        waits.tell(good)
    if not good:
        raise click.exceptions.Exit(NOT_GOOD)


def _gate(name: str, revision: str, forms: list[tuple[Path, EvalForm]], kubectl: Kubectl) -> Gate | None:
    """Raises BadRequest, NotFound, ClickException."""
    if not name:
        if revision:
            raise BadRequest("a revision is told of a gate", hint="Give --gate, too", code="no_gate")
        return None
    if revision:
        return gate(name, revision, "", kubectl)
    roles = {_role_of(file, form) for file, form in forms}
    if len(roles) != 1:
        raise BadRequest(f"FILES are of {len(roles)} Roles", hint="Give --revision", code="no_gate")
    return gate(name, "", roles.pop(), kubectl)


def _role_of(file: Path, form: EvalForm) -> str:
    """By the name that it has in a cluster."""
    path = form.role.partition(":")[0]
    return _name_in(file.parent / form.role) if path.endswith(SOURCES) else form.role


def _text(results: list[Result]) -> str:
    return "\n".join(line for result in results for line in lines(result))


def _loaded(file: Path, changes: dict[str, Any]) -> EvalForm:
    """Raises Exit where the file is wrong; all that is, is told."""
    try:
        form = load(file.read_text("utf-8", "replace"), str(file))
    except InvalidManifest as error:
        for finding in error.findings:
            click.echo(finding.shown(str(file)))
        raise click.exceptions.Exit(NOT_RUN) from None
    if "repeats" in changes:  # said on the command line it counts for all
        changes = {**changes, "scenarios": [replace(one, repeats=0) for one in form.scenarios]}
    return replace(form, **changes)


async def _played(
    forms: list[tuple[Path, EvalForm]], wish: str, judge_wish: str, gateway: Gateway | None
) -> list[Result]:
    async with contextlib.AsyncExitStack() as held:
        judge = await held.enter_async_context(_judge(judge_wish)) if judge_wish else None
        results = []
        for file, form in forms:
            async with _player(file, form, wish, gateway) as player:
                runs = await play(form, player, judge, _tell)
            results.append(Result(str(file), form.role, runs, form.minPassRate))
        return results


def _tell(run: Run) -> None:
    click.echo("." if run.passed else "F", nl=False, err=True)


@contextlib.asynccontextmanager
async def _player(file: Path, form: EvalForm, wish: str, gateway: Gateway | None) -> AsyncIterator[Player]:
    from rolehost.evals.live import LivePlayer

    source = file.parent / form.role
    name = form.role
    if name.partition(":")[0].endswith(SOURCES):
        if not source.with_name(source.name.partition(":")[0]).is_file():
            raise BadRequest(f"{file} names a Role at {form.role}, which is not beside it", code="role_not_found")
        name = _name_in(source) if gateway is not None or wish else ""
    elif gateway is None:
        raise BadRequest(
            f"{file} names a Role that runs, {form.role}", hint="Give --url, or name its manifest", code="no_gateway"
        )
    if gateway is not None:
        yield LivePlayer(gateway, name)
    elif wish:
        async with _dev(source.with_name(source.name.partition(":")[0]), wish) as here:
            yield LivePlayer(here, name)
    else:
        try:
            from rolehost.evals.engine import EnginePlayer
        except ModuleNotFoundError as error:
            raise _missing(error) from None
        yield EnginePlayer(source)


def _name_in(source: Path) -> str:
    """The name of the Role in a manifest."""
    from rolehost.cli import checkout

    path, _, wanted = source.name.partition(":")
    roles = checkout.read(source.with_name(path)).roles
    found = [role for role in roles if wanted in ("", _name(role))]
    if len(found) != 1:
        raise BadRequest(f"{path} has {len(found)} such Roles", hint=f"Name one as {path}:NAME", code="role_not_found")
    return _name(found[0])


def _name(role: Role) -> str:
    return role.metadata.name


@contextlib.asynccontextmanager
async def _dev(manifest: Path, wish: str) -> AsyncIterator[Gateway]:
    """`rolehost dev` for as long as the block runs, with sessions that nobody needs afterwards."""
    try:
        from rolehost_runtime.local.dev import local
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    with tempfile.TemporaryDirectory(prefix="rolehost-eval-") as folder:
        async with local([manifest.parent], 0, Path(folder), wish, os.environ) as running:
            yield Gateway(f"http://127.0.0.1:{running.gateway.port}")


@contextlib.asynccontextmanager
async def _judge(wish: str) -> AsyncIterator[Judge]:
    try:
        from rolehost_runtime.local.judge import judging
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    async with judging(wish, os.environ) as ask:
        yield ask


def _missing(error: ModuleNotFoundError) -> RolehostError:
    if (error.name or "").startswith("rolehost"):
        raise error
    return BadRequest(
        f"this needs {error.name}, which is not installed",
        hint="Run: pip install 'rolehost[dev]'",
        code="not_installed",
    )
