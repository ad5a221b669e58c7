"""The commands themselves: kubectl in, words out."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from rolehost.cli.kubectl import Kubectl, namespace_option
from rolehost_api.errors import RolehostError
from rolehost_api.names import ABORT, GROUP, PROMOTE, REVISIONS, ROLES
from rolehost_operator.rollout_commands import telling
from rolehost_operator.rollout_commands.reading import Exit, NoRole, Picture, earlier, picture, word_for

LOOK_SECONDS = 2.0
OBEYED_SECONDS = 20.0
KIND, REVISION_KIND = f"{ROLES}.{GROUP}", f"{REVISIONS}.{GROUP}"
F = TypeVar("F", bound=Callable[..., Any])


def where(command: F) -> F:
    """--namespace and --context."""
    command = click.option("--context", default="", help="kubectl's context; its current one where left out.")(command)
    return namespace_option(command)


def meant(command: F) -> F:
    return click.option(
        "--id", "wanted", default="", help="Of the rollout that you looked at; nothing is done where it is another one."
    )(command)


as_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="json: for scripts."
)


@contextmanager
def explained() -> Iterator[None]:
    """Our errors with their code."""
    try:
        yield
    except RolehostError as error:
        raise click.ClickException(f"{error} ({error.code})") from None


def seen(kubectl: Kubectl, role: str) -> tuple[dict[str, Any], Picture]:
    """Raises NoRole, Unreadable."""
    raw = kubectl.get(KIND, role)
    if raw is None:
        raise NoRole(f"there is no Role {role} here", hint="See kubectl get rhr -A, and give --namespace")
    return raw, picture(raw)


@click.command()
@click.argument("role", default="")
@click.option("--watch", "-w", is_flag=True, help="Go on until it is over, or somebody has to decide.")
@as_option
@where
def status(role: str, watch: bool, output: str, namespace: str, context: str) -> None:
    """What goes on with ROLE, or with all Roles of the namespace.

    Exit 0 where nothing is wrong, 3 where the new revision was rolled back, 4 where it waits for a person, 1 where it
    cannot be told.
    """
    kubectl = Kubectl(context, namespace)
    with explained():
        if not role:
            return _all(kubectl, output)
        shown: list[str] = []
        while True:
            raw, one = seen(kubectl, role)
            lines = [_json(raw)] if output == "json" else telling.status(one, datetime.now(UTC))
            if output == "text" or lines != shown:
                if output == "text" and watch and shown:
                    click.echo()
                click.echo("\n".join(lines))
            shown = lines
            if not watch or one.over():
                raise click.exceptions.Exit(one.exit())
            time.sleep(LOOK_SECONDS)


def _all(kubectl: Kubectl, output: str) -> None:
    raws = json.loads(kubectl.run("get", KIND, "--output=json")).get("items", [])
    if output == "json":
        click.echo(json.dumps([json.loads(_json(raw)) for raw in raws]))
    else:
        click.echo("\n".join(telling.overview([picture(raw) for raw in raws])))


def _json(raw: dict[str, Any]) -> str:
    """What is declared and what is so, as the Role has it."""
    status = raw.get("status") or {}
    keys = ("stableRevision", "canaryRevision", "traffic", "leaving", "rollout", "history")
    told = {"role": raw["metadata"]["name"], "exit": int(picture(raw).exit())}
    return json.dumps(
        {**told, "declared": (raw.get("spec") or {}).get("rollout", {}), **{key: status.get(key) for key in keys}}
    )


@click.command()
@click.argument("role")
@as_option
@where
def why(role: str, output: str, namespace: str, context: str) -> None:
    """The last decision on ROLE's rollout with the numbers that it rests on, and those before."""
    with explained():
        raw, one = seen(Kubectl(context, namespace), role)
        if output == "json":
            rollout = (raw.get("status") or {}).get("rollout") or {}
            click.echo(
                json.dumps({"lastDecision": rollout.get("lastDecision"), "history": raw["status"].get("history", [])})
            )
        else:
            click.echo("\n".join(telling.why(one, datetime.now(UTC))))


@click.command()
@click.argument("role")
@meant
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until the operator did it.")
@where
def promote(role: str, wanted: str, wait: bool, namespace: str, context: str) -> None:
    """Go on with ROLE's rollout now, without more evidence: the next step, or stable after the last one.

    One that was rolled back begins again; the watch after a promotion ends.
    """
    with explained():
        _tell(Kubectl(context, namespace), role, PROMOTE, wanted, wait, ended=True)


@click.command()
@click.argument("role")
@meant
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until the operator did it.")
@where
def abort(role: str, wanted: str, wait: bool, namespace: str, context: str) -> None:
    """Give ROLE's new revision up; its sessions go the way of spec.rollout.rollback."""
    with explained():
        _tell(Kubectl(context, namespace), role, ABORT, wanted, wait, ended=False)


def _tell(kubectl: Kubectl, role: str, annotation: str, wanted: str, wait: bool, *, ended: bool) -> None:
    """Raises NoRole, NoRollout, MovedOn."""
    _, one = seen(kubectl, role)
    word = word_for(one, wanted, ended=ended)
    kubectl.run("annotate", KIND, role, f"{annotation}={word}", "--overwrite")
    if not wait:
        click.echo(f"{role}: told. rolehost rollout status {role} shows what becomes of it")
        return
    deadline = time.monotonic() + OBEYED_SECONDS
    while time.monotonic() < deadline:
        _, now = seen(kubectl, role)
        if word in now.rollout.obeyed or now.rollout.id != one.rollout.id:
            click.echo(f"{role}: {telling.headline(now)}")
            return
        time.sleep(min(1.0, LOOK_SECONDS))
    raise click.ClickException(
        f"{role} was told, and the operator did not do it in {OBEYED_SECONDS:.0f} s. It will, when it is there: the word "
        f"stays. Is it running? See rolehost doctor, and rolehost rollout status {role} (not_obeyed)"
    )


@click.command()
@click.argument("role")
@where
def pause(role: str, namespace: str, context: str) -> None:
    """Nothing of ROLE's rollout advances until `resume`; the weights stay as they are. A worse revision is still rolled back."""
    with explained():
        _, one = seen(kubectl := Kubectl(context, namespace), role)
        kubectl.merge(KIND, role, {"spec": {"rollout": {"paused": True}}})
    click.echo(f"{role}: paused ({telling.headline(one)}). rolehost rollout resume {role} goes on")


@click.command()
@click.argument("role")
@where
def resume(role: str, namespace: str, context: str) -> None:
    """Go on after `pause`."""
    with explained():
        seen(kubectl := Kubectl(context, namespace), role)
        kubectl.merge(KIND, role, {"spec": {"rollout": {"paused": None}}})
    click.echo(f"{role}: goes on. A manifest that says paused: true pauses it again when it is applied")


@click.command()
@click.argument("role")
@click.option("--to", default="", help="This revision: its name, @r3, or the beginning of its hash.")
@click.option("--unpin", is_flag=True, help="Take it back: what the manifest says is wanted again.")
@where
def undo(role: str, to: str, unpin: bool, namespace: str, context: str) -> None:
    """All new sessions of ROLE go to the revision before, whatever the manifest says, until --unpin."""
    if to and unpin:
        raise click.UsageError("give --to or --unpin")
    kubectl = Kubectl(context, namespace)
    with explained():
        raw, one = seen(kubectl, role)
        if unpin:
            kubectl.merge(KIND, role, {"spec": {"rollout": {"pinnedRevision": None}}})
            click.echo(f"{role}: not pinned any more; the manifest's revision is wanted again, by its strategy")
            return
        name = to or earlier(one, _revisions(kubectl, str(raw["metadata"]["name"])))
        kubectl.merge(KIND, role, {"spec": {"rollout": {"pinnedRevision": name}}})
    click.echo(f"{role}: all new sessions go to {name}. Open ones stay where they are")
    if one.rollout.stage == "Watching" and not to:
        click.echo(f"  rolehost rollout abort {role}         takes open sessions back, too")
    click.echo(f"  rolehost rollout undo {role} --unpin  takes this back")


def _revisions(kubectl: Kubectl, role: str) -> list[dict[str, Any]]:
    items = json.loads(kubectl.run("get", REVISION_KIND, "--output=json")).get("items", [])
    return [one for one in items if (one.get("spec") or {}).get("roleName") == role]


__all__ = ["Exit", "abort", "pause", "promote", "resume", "status", "undo", "why"]
