"""The `rolehost` command.

Every command is imported when it is used, so `rolehost chat` costs nothing of the
operator; commands of the other rooms come by the entry point `rolehost.commands`, and
where their extra is not installed the command says which line installs it.

What belongs here: what a tenant does on their own machine. It speaks to a gateway over
HTTP and WebSocket and to a cluster through kubectl; it needs the base install only.
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import click

from rolehost_api import __version__

COMMANDS = {
    "new": ("rolehost.cli.new:new", "Start a Role: manifest, logic and a test."),
    "import": ("rolehost.cli.cards:import_", "Make a Role of a character card."),
    "export": ("rolehost.cli.cards:export", "Write a Role as a character card."),
    "test": ("rolehost.cli.test:test", "Run a Role's tests: no model, no server."),
    "chat": ("rolehost.cli.chat:chat", "Talk to a Role in the terminal."),
    "logs": ("rolehost.cli.logs:logs", "What a Role's logic printed."),
    "check": ("rolehost.cli.check:check", "Say what is wrong with a Role before it is deployed."),
    "explain": ("rolehost.cli.behaviors:explain", "Show a Role's graph, and what of its prompt a model can cache."),
    "eval": ("rolehost.cli.eval:evaluate", "Play scenarios with a Role and say how many passed."),
    "generate": ("rolehost.cli.behaviors:generate", "Write a Role's behaviour as typed Python, for editors."),
    "push": ("rolehost.cli.push:push", "Push a Role's logic and print its digest."),
    "deploy": ("rolehost.cli.deploy:deploy", "Check, push, apply, wait, and print the URL."),
    "keys": ("rolehost.cli.keys:keys", "Make, list and revoke a tenant's keys."),
    "tokens": ("rolehost.cli.tokens:tokens", "Make tokens for your end users."),
    "sessions": ("rolehost.cli.sessions:sessions", "Look at, fork, take away and forget sessions."),
    "tenants": ("rolehost.cli.tenants:tenants", "Make a namespace a tenant."),
    "trace": ("rolehost.cli.trace:trace", "Show where the time of a turn went."),
    "doctor": ("rolehost.cli.doctor.command:doctor", "Say whether the platform is as it has to be."),
}
PLUGINS = {
    "dev": ("dev", "Run Roles on this machine, without a cluster."),
    "plan": ("operator", "Print what a manifest would make, without a cluster."),
    "rollout": ("operator", "Watch, explain, promote, abort and undo rollouts."),
    "operator": ("operator", "Run the operator."),
    "gateway": ("gateway", "Run a gateway."),
    "upload": ("gateway", "Run the service that takes bundles."),
    "sandbox": ("sandbox", "Run the agent of a sandbox pod."),
}
"""Commands of the other rooms: the extra that brings what they import, and a summary."""
SECTIONS = {
    "Your Roles": (
        "new",
        "dev",
        "test",
        "chat",
        "logs",
        "check",
        "explain",
        "eval",
        "generate",
        "push",
        "deploy",
        "rollout",
        "tokens",
        "sessions",
        "plan",
        "import",
        "export",
    ),
    "Running the platform": ("tenants", "keys", "doctor", "trace", "operator", "gateway", "upload", "sandbox"),
}
"""What the help shows, and where. A command of another package comes after these."""


class Commands(click.Group):
    """Lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        installed = {entry.name for entry in entry_points(group="rolehost.commands")}
        return [*COMMANDS, *(name for name in PLUGINS if name in installed), *sorted(installed - PLUGINS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name][0].partition(":")
            found: click.Command = getattr(import_module(module), attribute)
            return found
        for entry in entry_points(group="rolehost.commands", name=cmd_name):
            try:
                plugin: click.Command = entry.load()
            except ModuleNotFoundError as error:
                raise click.ClickException(_how_to_install(cmd_name, error.name)) from None
            return plugin
        return None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if ctx.invoked_subcommand not in PLUGINS or (error.name or "").startswith("rolehost"):
                raise
            raise click.ClickException(_how_to_install(ctx.invoked_subcommand, error.name)) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        summaries = {name: summary for name, (_, summary) in {**PLUGINS, **COMMANDS}.items()}
        there = self.list_commands(ctx)
        others = tuple(name for name in there if not any(name in names for names in SECTIONS.values()))
        for title, names in {**SECTIONS, "Others": others}.items():
            if shown := [(name, summaries.get(name, "")) for name in names if name in there]:
                with formatter.section(title):
                    formatter.write_dl(shown)


def _how_to_install(command: str, missing: str | None) -> str:
    extra = PLUGINS[command][0] if command in PLUGINS else command
    return f"`rolehost {command}` needs {missing}, which is not installed. Run: pip install 'rolehost[{extra}]'"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rolehost")
def main() -> None:
    """Host AI Roles: personas with code of their own that people talk to."""
