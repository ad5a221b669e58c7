"""The sandbox: the agent that holds the links, and the workers that run role logic.

    agent      asyncio, no tenant code: links, binding, states, journals, deadlines, logs
      └─ template   imports the tenant's code once, then only forks
           └─ worker…   runs one step of the engine at a time, blocking; may be killed any time

Here belongs what runs in a sandbox pod. Nothing of the gateway, no secret, no way out:
the pod is hostile once it is bound, this package included.
"""
