"""A guard: nobody curses aboard."""


class Manners:
    rolehost_protocol = 1
    name = "manners"

    async def judge(self, stage, text):
        from rolehost_runtime.plugins.guards import Objection

        at = text.lower().find("blast")
        return [Objection("Profanity", "replace", at, at + 5, "b***t")] if at >= 0 else []
