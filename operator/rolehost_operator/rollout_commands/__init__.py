"""`rolehost rollout …`: what goes on with a Role's rollout, why, and what people may do about it.

    reading    a Role's object → what is so (pure)
    telling    what is so → words (pure)
    commands   kubectl → reading → telling; words are annotations and fields that the operator obeys
    simulate   what the judge would say of traffic like yours: no cluster

They need kubectl and the base install, not the operator's extra.
"""

import click

from rolehost_operator.rollout_commands.commands import abort, pause, promote, resume, status, undo, why
from rolehost_operator.rollout_commands.simulate import simulate


@click.group()
def rollout() -> None:
    """Watch rollouts, and decide on them.

    Exit codes of all of them: 0 done, 1 not done, 2 called wrongly. `status` has two more: 3 rolled back, 4 waits for a
    person.
    """


for _command in (status, why, promote, abort, pause, resume, undo, simulate):
    rollout.add_command(_command)
