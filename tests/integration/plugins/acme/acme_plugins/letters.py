"""A prompt in the form of a letter."""

from rolehost_runtime.plugins.prompts import Part


class Letter:
    rolehost_protocol = 1

    def parts(self, given):
        yield Part(f"Dear model,\n\n{given.persona}", "revision")
        for text in given.added:
            yield Part(text, "turn")
