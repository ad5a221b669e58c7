"""What can be added, and where it is declared."""

from typing import NamedTuple


class Kind(NamedTuple):
    name: str
    """The protocol's."""
    group: str
    """Of entry points."""
    version: int
    """Of the protocol. A plugin says which one it was written for: `rolehost_protocol` of what its entry point names."""


MODEL_PROVIDER = Kind("ModelProvider", "rolehost.model_providers", 1)
MEMORY_STORE = Kind("MemoryStore", "rolehost.memory_stores", 1)
BEHAVIOR_POLICY = Kind("BehaviorPolicy", "rolehost.behavior_policies", 1)
PROMPT_TEMPLATE = Kind("PromptTemplate", "rolehost.prompt_templates", 1)
GUARD = Kind("Guard", "rolehost.guards", 1)
KINDS = (MODEL_PROVIDER, MEMORY_STORE, BEHAVIOR_POLICY, PROMPT_TEMPLATE, GUARD)
IN_GATEWAY = (MODEL_PROVIDER, MEMORY_STORE, PROMPT_TEMPLATE, GUARD)
IN_SANDBOX = (BEHAVIOR_POLICY,)
"""The behaviour graph is walked beside the tenant's logic."""
