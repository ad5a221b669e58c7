"""The lighthouse, a Role made of a character card's picture: imported, deployed, talked to, taken away as a card again."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.cluster.common import REPOSITORY, ClusterError
from tests.cluster.testing import Cluster
from tests.support.talk import talk
from websockets.typing import Subprotocol

from rolehost.cards import reading

ROLE = f"lighthouse-{secrets.token_hex(3)}"
RUN = secrets.token_hex(4)
CARD = REPOSITORY / "examples" / "lighthouse" / "card.png"


@pytest.fixture(scope="module")
def key(cluster: Cluster) -> Iterator[str]:
    with cluster.tenant("default") as tenant:
        yield tenant.key("chat", "push")


@pytest.fixture(scope="module")
def folder(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Role as `rolehost import` makes it of the picture."""
    made = tmp_path_factory.mktemp("card") / ROLE
    cluster.rolehost("import", str(CARD), str(made), "--name", ROLE)
    return made


@pytest.fixture(scope="module")
def lighthouse(cluster: Cluster, key: str, folder: Path) -> Iterator[str]:
    cluster.rolehost("deploy", str(folder), "-n", "default", key=key)
    cluster.kubectl("wait", "--for=condition=Ready", f"rhr/{ROLE}", "-n", "default", "--timeout=60s")
    yield ROLE
    cluster.kubectl("delete", "rhr", ROLE, "-n", "default", "--wait=true")


@pytest.mark.timeout(180)
def test_a_card_talks_and_knows_what_it_is_asked_of(cluster: Cluster, lighthouse: str, key: str) -> None:
    """The scripted model quotes the last message, and before that one the storm of the card's lorebook is told."""
    url, words = f"ws://{cluster.gateway}/role/{lighthouse}", [Subprotocol("role.v1")]
    session = f"evening-{RUN}"
    with talk(url, key=key, session_id=session, subprotocols=words) as person:
        person.send(message="Good evening", session_id=session, greeting=1)
        created = person.hear()
        assert created["type"] == "session.created"
        assert created["greeting"].startswith("Door's open.")
        assert created["greetings"] == ["You again. Tea's on."]
        while not (done := person.hear()).get("done"):
            pass
        assert (done["status"], done["lore"]) == ("completed", None)
        done = person.say("What a storm!")
        assert done["lore"] == [{"id": "marguerite", "by": "key"}]
        assert "She took the old jetty" in done["message"]
        for pod in cluster.pods("default", role=lighthouse):
            cluster.kubectl("delete", "pod", pod, "-n", "default", "--wait=true")
        cluster.kubectl("wait", "--for=condition=Ready", f"rhr/{ROLE}", "-n", "default", "--timeout=60s")
    with talk(url, key=key, session_id=session, subprotocols=words) as person:
        done = person.say("And now?")
        assert {one["id"]: one["by"] for one in done["lore"]} == {"marguerite": "kept"}
    events = cluster.rolehost("sessions", "replay", lighthouse, session, key=key)
    told = [json.loads(line) for line in events.splitlines() if line.startswith("{")]
    assert [one["lore"] for one in told if one["type"] == "response.done"][1] == [{"id": "marguerite", "by": "key"}]


def test_it_is_a_card_again(cluster: Cluster, folder: Path, tmp_path: Path) -> None:
    cluster.rolehost("export", str(folder), "--out", str(tmp_path / "again.png"))
    assert reading.read((tmp_path / "again.png").read_bytes()) == reading.read(CARD.read_bytes())


def test_a_hostile_lorebook_is_refused_before_it_takes_traffic(cluster: Cluster, key: str, folder: Path) -> None:
    role = yaml.safe_load((folder / "role.yaml").read_text())
    book = role["spec"]["template"]["persona"]["lorebook"]
    book["entries"] = [{"id": f"e{i}", "content": f"{i}", "keys": [f"k{i}"]} for i in range(1_001)]
    bad = folder.parent / "bad" / "role.yaml"
    bad.parent.mkdir()
    bad.write_text(yaml.safe_dump(role))
    assert "1001" in cluster.rolehost("check", str(bad.parent), check=False)
    with pytest.raises(ClusterError, match="Too many"):
        cluster.kubectl("apply", "-n", "default", "-f", str(bad))
