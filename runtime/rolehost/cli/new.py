"""`rolehost new`: a Role that answers, with logic and a test, in a folder of its own."""

import keyword
import sys
from pathlib import Path

import click

from rolehost.cli.failing import told
from rolehost_api.errors import BadRequest
from rolehost_api.identity import role_name
from rolehost_api.manifest.metadata import is_label
from rolehost_api.manifest.reading import plain, read
from rolehost_api.names import API_VERSION

TAKEN = {"answer", "count", "json", "msgspec", "rolehost", "test"}
"""Names that the logic's module or object must not shadow."""


@click.command()
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def new(name: str, folder: Path | None) -> None:
    """Write a Role called NAME into FOLDER (default: NAME)."""
    with told():
        if role_name(name) != name:
            raise BadRequest("a Role's name is lower-case", hint=f"Write `rolehost new {name.lower()}`")
        if not is_label(name):
            raise BadRequest(
                "a Role's name is at most 63 letters, digits and '-'",
                hint=f"Write `rolehost new {name.replace('.', '-')[:63].strip('-')}`",
            )
        target = folder or Path(name)
        files = contents(name)
        there = [file for file in files if (target / file).exists()]
        if there:
            raise BadRequest(f"{target / there[0]} is already there", hint="Choose another folder; nothing was written")
        target.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (target / file).write_text(text, encoding="utf-8")
    for file in files:
        click.echo(f"  {target / file}")
    click.echo("\nNext:")
    if target != Path():
        click.echo(f"  cd {target}")
    click.echo("  rolehost dev        # talk to it on http://localhost:8080, edit, it follows")
    click.echo("  rolehost test       # its test: no model, no server")
    click.echo("  rolehost deploy     # to a cluster")


def contents(name: str) -> dict[str, str]:
    """File name → text of a new Role."""
    word = identifier(name)
    title = name.replace("-", " ").title()
    return {
        "role.yaml": MANIFEST.format(api=API_VERSION, name=_scalar(name), title=_scalar(title), word=word, who=title),
        f"{word}.py": LOGIC.format(word=word, name=name),
        f"test_{word}.py": TEST.format(word=word),
        ".gitignore": "__pycache__/\n.pytest_cache/\n.rolehost/\n.venv/\n",
    }


def identifier(name: str) -> str:
    """A Python name for a Role's name that shadows nothing.

    >>> identifier("cat"), identifier("my-cat"), identifier("7up"), identifier("class"), identifier("json")
    ('cat', 'my_cat', 'role_7up', 'class_role', 'json_role')
    """
    word = name.replace("-", "_")
    if word[0].isdigit():
        word = f"role_{word}"
    taken = keyword.iskeyword(word) or word in sys.stdlib_module_names or word in TAKEN or word.startswith("test_")
    return f"{word}_role" if taken else word


def _scalar(text: str) -> str:
    """As YAML, in quotes only where kubectl would read it as something else.

    >>> _scalar("cat"), _scalar("123"), _scalar("y"), _scalar("1e3")
    ('cat', "'123'", "'y'", "'1e3'")
    """
    return text if [plain(node) for node in read(text)] == [text] else f"'{text}'"


MANIFEST = """\
apiVersion: {api}
kind: Role
metadata: {{name: {name}}}
spec:
  displayName: {title}
  template:
    persona:
      system: |
        You are {who}. Answer in the language that you are spoken to, in a few short sentences.
    logic: {{entrypoint: "{word}:{word}"}}   # the file {word}.py beside this one
"""

LOGIC = '''\
"""What {name} does with a message. `rolehost dev` follows every edit of this file."""

from rolehost import Role, State, Turn


class Memory(State):
    """Kept for each session; saved together with the answer, or not at all."""

    messages: int = 0


{word} = Role("{name}", state=Memory)


@{word}.on_message
async def answer(t: Turn[Memory]) -> None:
    t.state.messages += 1
    print(f"message {{t.state.messages}} of this session")   # `rolehost logs {name}`
    await t.reply(t.ask())   # streams the model's answer
'''

TEST = """\
async def test_it_answers_and_counts(role_session):
    session = role_session("{word}.py", model=["Hello!", "Hello again!"])
    first = await session.say("hello")
    first.expect.text(contains="Hello!").state(messages=1).no_event("error")
    second = await session.say("hello again")
    second.expect.state(messages=2)
"""
