"""`rolehost dev --grpc-port --metrics-port`: the same sessions as on its page, over gRPC and without a key; all counted."""

from pathlib import Path
from urllib.request import urlopen

from tests.support.dev import STORYTELLER, dev
from tests.support.ports import HOST, free_port
from tests.support.rpc import client, opened, said


async def test_a_role_is_talked_to_over_grpc(tmp_path: Path) -> None:
    metrics = free_port()
    ports = ("--port", "0", "--grpc-port", "0", "--metrics-port", str(metrics))
    with dev(str(STORYTELLER), *ports, "--model", "scripted", folder=tmp_path) as running:
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
            # The storyteller comes home from its dragon, counts the story, and is done.
            assert f'"seq":{events[-1]["seq"] + 3}' in told
        told = urlopen(f"http://{HOST}:{metrics}/metrics").read().decode()
        assert 'rolehost_turns_total{outcome="completed",role="storyteller",tenant="local"} 2.0' in told
        assert 'rolehost_turn_stage_seconds_count{role="storyteller",stage="hooks",tenant="local"} 2.0' in told
        assert 'role="storyteller",state="loaded",tenant="local"} 1.0' in told
