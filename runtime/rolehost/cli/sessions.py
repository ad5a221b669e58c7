"""`rolehost sessions`: what is kept of conversations: list, look, replay without a model, fork, take away, forget."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click

from rolehost.cli.failing import told
from rolehost.cli.kubectl import Kubectl, cluster_options
from rolehost.cli.reach import Gateway, gateway, gateway_options
from rolehost.cli.rerunning import logic_at, verdicts
from rolehost.cli.terminal import visible

PAGE = 100
MAX_LINE = 8 * 1_048_576
MAX_HELD = 256 * 1_048_576
"""Of a session that is run again."""
F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def sessions() -> None:
    """Look at sessions that are kept, fork them, take them away, forget them.

    They are those of the key's tenant. A session of an end user's is meant with --user, and a key of scope act-as-user.
    """


def asked(command: F) -> F:
    """ROLE, --user, and the way to a gateway."""
    command = cluster_options(gateway_options(command))
    command = click.option("--user", default="", help="The end user whose sessions are meant.")(command)
    return click.argument("role")(command)


@contextmanager
def reached(role: str, where: dict[str, str]) -> Iterator[Gateway]:
    kubectl = Kubectl(where["context"], where["platform_namespace"])
    with gateway(where["url"], where["key"], kubectl, local=not where["context"], role=role) as found:
        yield found


def path(role: str, *more: str, user: str = "", **query: Any) -> str:
    """
    >>> path("cat", "sessions", "a/b", user="u-17", limit=2)
    '/v1/roles/cat/sessions/a%2Fb?user=u-17&limit=2'
    """
    given = {name: value for name, value in {"user": user, **query}.items() if value not in ("", None)}
    words = "/".join(quote(word, safe="") for word in more)
    return f"/v1/roles/{quote(role, safe='@:.')}/{words}" + (f"?{urlencode(given)}" if given else "")


@sessions.command("ls")
@asked
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each.")
def ls(role: str, user: str, limit: int, as_json: bool, **where: str) -> None:
    """List sessions with ROLE, those that began last first."""
    shown, after = 0, ""
    with reached(role, where) as found:
        if not as_json:
            click.secho(f"{'SESSION':36} {'USER':16} {'TURNS':>6} {'SEQ':>7}  {'LAST TURN':16}  REVISION", dim=True)
        while shown < limit:
            page = found.ask("GET", path(role, "sessions", user=user, after=after, limit=min(PAGE, limit - shown)))
            for row in page["sessions"]:
                click.echo(json.dumps(row) if as_json else _row(row))
            shown, after = shown + len(page["sessions"]), page["after"]
            if not after:
                return
    click.echo(f"there are more: --limit {limit * 10}", err=True)


@sessions.command()
@asked
@click.argument("session")
@click.option("--text", is_flag=True, help="Also what was said.")
def show(role: str, session: str, user: str, text: bool, **where: str) -> None:
    """Show where SESSION with ROLE stands; its words only with --text."""
    with reached(role, where) as found:
        told_ = found.ask("GET", path(role, "sessions", session, user=user))
        state = found.ask("GET", path(role, "sessions", session, "state", user=user))
        for name, value in _facts(told_, state).items():
            click.echo(f"{name:12} {visible(value)}")
        if text:
            for line in _exported(found, role, session, user):
                _say(line)


@sessions.command()
@asked
@click.argument("session")
@click.option("--until", type=click.IntRange(1), help="Up to this event.")
@click.option("--check", is_flag=True, help="Run the logic again on what was recorded, and say what it does otherwise.")
@click.option(
    "--logic", default=".", show_default=True, help="With --check: a .py file, a manifest, or a folder with one."
)
def replay(role: str, session: str, user: str, until: int | None, check: bool, logic: str, **where: str) -> None:
    """Replay SESSION with ROLE from its log, without a model: the events that clients saw, a line of JSON each.

    With --check the Role's logic runs again in a process of its own, on code that you trust: the recorded messages, model
    answers, time and randomness go in, and effects, reply and state must come out as they are in the log. Exit 1 where
    they do not.
    """
    with reached(role, where) as found:
        if check:
            lines = [line for line in _exported(found, role, session, user) if _before(line, until)]
            with told(), logic_at(logic, role) as code:
                _judge(verdicts(code, role, b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
            return
        for event in _events(found, role, session, user, until):
            click.echo(json.dumps(event, ensure_ascii=False))


@sessions.command()
@asked
@click.argument("session")
@click.option("--at", "at_seq", type=click.IntRange(1), help="The last event that both have; where a turn ends.")
@click.option("-q", "--quiet", is_flag=True, help="Print the new session's id only.")
def fork(role: str, session: str, user: str, at_seq: int | None, quiet: bool, **where: str) -> None:
    """Begin a new session with ROLE as SESSION began. The old one stays as it is."""
    body = json.dumps({"at_seq": at_seq} if at_seq else {}).encode()
    with reached(role, where) as found:
        made = found.ask("POST", path(role, "sessions", session, "fork", user=user), body, "application/json")
    click.echo(made["session_id"])
    if not quiet and not user:
        click.secho(f"go on with: rolehost chat {role} --session {made['session_id']}", dim=True, err=True)


@sessions.command()
@asked
@click.argument("session", default="")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def forget(role: str, session: str, user: str, yes: bool, **where: str) -> None:
    """Delete SESSION with ROLE for good; or, with --user and without a SESSION, all that is kept of that user."""
    if not session and not user:
        raise click.UsageError("name a SESSION, or a --user of whom all is to be forgotten")
    what = f"session {session}" if session else f"all that is kept of {user} with {role}"
    if not yes:
        click.confirm(f"Delete {what}? It cannot be brought back", abort=True, err=True)
    at = path(role, "sessions", session, user=user) if session else path(role, "users", user)
    with reached(role, where) as found:
        click.echo(json.dumps(found.ask("DELETE", at), indent=2))


@sessions.command()
@asked
@click.argument("session", default="")
def export(role: str, session: str, user: str, **where: str) -> None:
    """Print all that is kept of SESSION with ROLE, or of --user: lines of JSON, the last one of kind "end"."""
    if not session and not user:
        raise click.UsageError("name a SESSION, or a --user")
    with reached(role, where) as found:
        for line in _exported(found, role, session, user):
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _exported(found: Gateway, role: str, session: str, user: str) -> Iterator[dict[str, Any]]:
    """The lines of an export. Raises ClickException where it is not whole."""
    at = path(role, "sessions", session, "export", user=user) if session else path(role, "users", user, "export")
    line: dict[str, Any] = {}
    try:
        with found.open("GET", at, timeout=600.0) as lines:
            while raw := lines.readline(MAX_LINE):
                line = json.loads(raw)
                yield line
    except (TimeoutError, ConnectionError, ValueError):
        raise click.ClickException("the gateway closed the export before its end; run it again") from None
    if line.get("kind") == "error":
        raise click.ClickException(f"the export is not whole: {line['message']} ({line['code']})")
    if line.get("kind") != "end":
        raise click.ClickException("the export is not whole; run it again")


def _events(found: Gateway, role: str, session: str, user: str, until: int | None) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = found.ask("GET", path(role, "sessions", session, "events", user=user, after_seq=after))
        for event in page["events"]:
            if until is not None and event["seq"] > until:
                return
            yield event
        after = page["last_seq"]
        if not page["more"]:
            return


def _before(line: dict[str, Any], until: int | None) -> bool:
    return until is None or line.get("seq_last", 0) <= until


def _judge(found: list[dict[str, Any]]) -> None:
    """Print what was seen. Raises Exit(1) where a turn does something else."""
    same = sum(one.get("verdict") == "same" for one in found)
    for one in found:
        if one.get("verdict") == "unchecked":
            click.echo(f"turn {one['turn']}: not checked: {one['why']}")
    for one in found:
        if one.get("verdict") == "differs":
            click.secho(f"turn {one['turn']}: another {one['what']}", fg="red")
            click.echo(f"  recorded: {visible(one['recorded'])}\n  now:      {visible(one['now'])}")
            raise click.exceptions.Exit(1)
    click.echo(f"{same} of {found[0]['turns']} turns do again what they did")


def _row(row: dict[str, Any]) -> str:
    user = visible(row["user"]) or "-"
    return (
        f"{visible(row['session_id']):36} {user:16} {row['turns']:>6} {row['seq']:>7}  "
        f"{_when(row['last_at_ms']):16}  {row['revision']}"
    )


def _facts(told_: dict[str, Any], state: dict[str, Any]) -> dict[str, str]:
    facts = {
        "session": told_["session_id"],
        "user": told_["user"] or "- (the tenant's own)",
        "turns": f"{told_['turns']}, events {told_['seq']}, amends {told_['amends']}",
        "last turn": _when(told_["last_at_ms"]),
        "revision": told_["revision"] or "-",
        "state": f"version {state['version']}: {', '.join(sorted(state['state'])) or 'empty'}",
        "owner": f"{'the gateway that answered' if told_['answered_here'] else 'another gateway, or none'}, epoch {told_['epoch']}",
        "open turn": "none",
    }
    if told_["open_turn"] is not None:
        deaths = f", {told_['deaths']} gateways died in it" if told_["deaths"] else ""
        facts["open turn"] = f"{told_['open_turn']}, since {_when(told_['open_since_ms'])}{deaths}"
    if told_["forked_from"] is not None:
        facts["forked from"] = f"{told_['forked_from']['session_id']} at {told_['forked_from']['at_seq']}"
    return facts


def _say(line: dict[str, Any]) -> None:
    if line["kind"] == "turn":
        click.echo(f"\n{click.style('you', bold=True)} › {visible(line['input'])}")
        click.echo(f"{click.style('it', bold=True)} › {visible(line['reply'])}")
        if line.get("lore"):
            told_ = ", ".join(f"{visible(one['id'])} ({one['by']})" for one in line["lore"])
            click.secho(f"(lorebook: {told_})", dim=True)
        for one in line.get("decisions", ()):
            decided = f"{one['guard']}: {one['action']} in the {one['stage']}, {one['category']}"
            click.secho(f"({visible(decided)})", fg="yellow")
    elif line["kind"] == "amend":
        click.secho(f"(heard: {visible(line['reply'])})", dim=True)


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M") if at_ms else "-"
