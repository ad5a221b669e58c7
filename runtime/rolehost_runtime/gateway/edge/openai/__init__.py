"""The facade: Roles as models of OpenAI's chat completions, for whatever already speaks to those.

`requests` and `messages` read what is asked, `replies` and `models` say what is in their shapes,
`errors` what went wrong; all of them are pure. `routes` are the paths under /v1. A Role is a `model`.

What was said before is the session's log where the request names a session (`history:
server`; of its messages only the last one is used), and the request's own messages where it
names none (`history: client`; nothing of such a turn is kept).

Does not belong here: what a turn is. These are clients of sessions like all others.
"""
