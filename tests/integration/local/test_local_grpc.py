"""`rolehost dev --grpc-port`: the same sessions as on its page, over gRPC and without a key."""

from pathlib import Path

from tests.support.dev import STORYTELLER, dev
from tests.support.rpc import client, opened, said


async def test_a_role_is_talked_to_over_grpc(tmp_path: Path) -> None:
    with dev(str(STORYTELLER), "--port", "0", "--grpc-port", "0", "--model", "scripted", folder=tmp_path) as running:
        port = int(running.until(r"gRPC +localhost:(\d+)"))
        async with client(port, "") as made:
            talking = made.converse(opened("Storyteller", session_id="s"), said("a dragon"), metadata=[])
            events = await talking.rest()
            assert await talking.ending() == ("OK", "")
            assert events[-1]["status"] == "completed"
            update = await made.watch("s", role="storyteller").read()
            assert update.version == 1
        with running.socket() as socket:
            socket.send('{"message": "again", "session_id": "s"}')
            while '"response.done"' not in (told := str(socket.recv(20))):
                pass
            assert f'"seq":{events[-1]["seq"] + 1}' in told or f'"seq":{events[-1]["seq"] + 2}' in told
