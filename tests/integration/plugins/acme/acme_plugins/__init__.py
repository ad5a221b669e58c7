"""A third party's plugins: a parrot for a model, a file of SQLite for memories, and the last way out of any node."""

import contextlib
import os
import secrets
import sqlite3


class Parrot:
    """Says what was said last, word by word, and by which key it may."""

    rolehost_protocol = 1

    def __init__(self, key):
        self._key = key

    async def stream(self, backend, request):
        from rolehost_runtime.plugins.models import ModelEnd, Usage

        sign = self._key(backend.api_key.key)[:3] if backend.api_key else "Squawk"
        said = [message.content for message in request.messages]
        words = f"{sign}: {said[0 if said[-1] == 'Orders?' else -1]}".split(" ")
        for place, word in enumerate(words):
            yield word if place == len(words) - 1 else f"{word} "
        yield ModelEnd("stop", Usage(input_tokens=sum(map(len, said)), output_tokens=len(words), estimated=True))


class Shelf:
    """Facts of a partition as rows; one transaction for each change."""

    rolehost_protocol = 1

    def __init__(self):
        self._base = sqlite3.connect(os.environ.get("ACME_SHELF", ":memory:"), isolation_level=None)
        self._base.execute(
            "create table if not exists facts (whose text, name blob, what blob, primary key (whose, name))"
        )

    def _stored(self, whose):
        return dict(self._base.execute("select name, what from facts where whose = ?", (whose,)))

    async def memories(self, key, known):
        from rolehost_runtime.plugins.memory import mark_of, partition_of, version_of

        stored = self._stored(partition_of(key))
        return known if (version_of(stored), mark_of(stored)) == (version_of(known), mark_of(known)) else stored

    async def change_memories(self, key, changes, keep_seconds=0, *, renew=False):
        from rolehost_runtime.plugins.memory import kept, partition_of

        whose = partition_of(key)
        self._base.execute("begin immediate")
        try:
            before = self._stored(whose)
            after = kept(before, changes, secrets.token_hex(8))
            self._base.executemany("delete from facts where whose = ? and name = ?", [(whose, one) for one in before])
            self._base.executemany("insert into facts values (?, ?, ?)", [(whose, *one) for one in after.items()])
            self._base.execute("commit")
        except BaseException:
            self._base.execute("rollback")
            raise
        return sum(b"a" + name.encode() in before for name in {*changes.forgotten, *changes.dropped})

    async def drop_memories(self, key):
        from rolehost_runtime.plugins.memory import partition_of

        whose = partition_of(key)
        held = sum(name[:1] == b"a" for name in self._stored(whose))
        self._base.execute("delete from facts where whose = ?", (whose,))
        return held

    async def close(self):
        with contextlib.suppress(sqlite3.Error):
            self._base.close()


class Last:
    rolehost_protocol = 1

    def choose(self, choice):
        return len(choice.options) - 1
