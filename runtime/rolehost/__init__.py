"""What role logic imports.

Here belongs what tenants write against: Role, State, Turn, their errors, the fixture for
their tests and the command line. What runs a turn does not: it is in `rolehost_runtime`.
"""

from rolehost.errors import HttpFailed, LogicError, ModelFailed
from rolehost.memory import Memory
from rolehost.role import Role
from rolehost.state import Counter, Set, State
from rolehost.turn import Answer, Turn
from rolehost.web import HttpAnswer

__all__ = [
    "Answer", "Counter", "HttpAnswer", "HttpFailed", "LogicError", "Memory", "ModelFailed", "Role", "Set", "State", "Turn",
]  # fmt: skip
