"""OpenAI's own SDK, as it comes, against a real gateway process with the scripted model."""

from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.support.dev import STORYTELLER, Dev, dev

pytestmark = pytest.mark.timeout(120)
DRAGON: list[ChatCompletionMessageParam] = [{"role": "user", "content": "讲一个关于龙的短故事"}]
AND_NOW: list[ChatCompletionMessageParam] = [{"role": "user", "content": "and now?"}]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with dev(str(STORYTELLER), "--port", "0", "--model", "scripted", folder=tmp_path_factory.mktemp("dev")) as running:
        yield running


@pytest.fixture
def client(started: Dev) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{started.port}/v1", api_key="any", max_retries=0) as made:
        yield made


def test_roles_are_models(client: OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("storyteller", "model", "local")
    assert model.created > 1_600_000_000
    found = client.models.retrieve("Storyteller")
    assert found == model
    assert found.model_extra is not None
    assert set(found.model_extra["role"]) == {"display_name", "greeting", "revision", "ready"}


def test_a_completion(client: OpenAI) -> None:
    done = client.chat.completions.create(model="storyteller", messages=DRAGON)
    (choice,) = done.choices
    assert choice.message.content is not None
    assert "龙" in choice.message.content
    assert (choice.finish_reason, choice.message.role, done.object) == ("stop", "assistant", "chat.completion")
    assert done.usage is not None
    assert done.usage.prompt_tokens_details is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0
    assert done.usage.prompt_tokens_details.cached_tokens == 0


def test_a_stream(client: OpenAI) -> None:
    text, reasons, events, usage = "", [], [], None
    with client.chat.completions.create(
        model="storyteller", messages=DRAGON, stream=True, stream_options={"include_usage": True}
    ) as chunks:
        for chunk in chunks:
            usage = chunk.usage or usage
            events += [chunk.model_extra["role"]["type"]] if chunk.model_extra and "role" in chunk.model_extra else []
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
    assert "龙" in text
    assert reasons == ["stop"]
    assert events == ["response.created", "role.behavior.transition", "role.state.delta", "response.done"]
    assert usage is not None
    assert usage.completion_tokens > 0


def test_the_sdks_own_gathering_of_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(model="storyteller", messages=DRAGON) as stream:
        whole = stream.get_final_completion()
    assert "龙" in (whole.choices[0].message.content or "")


def test_a_session_remembers_and_a_request_without_one_is_its_own_history(client: OpenAI) -> None:
    client.chat.completions.create(model="storyteller", messages=DRAGON, extra_body={"session_id": "sdk-1"})
    known = client.chat.completions.create(model="storyteller", messages=AND_NOW, extra_body={"session_id": "sdk-1"})
    assert "讲一个关于龙的短故事" in (known.choices[0].message.content or "")
    alone = client.chat.completions.create(model="storyteller", messages=AND_NOW)
    assert "龙" not in (alone.choices[0].message.content or "")
    told = client.chat.completions.create(
        model="storyteller", messages=[*DRAGON, {"role": "assistant", "content": "Once."}, *AND_NOW]
    )
    assert "讲一个关于龙的短故事" in (told.choices[0].message.content or "")


def test_a_session_by_metadata_or_by_a_header_is_the_same_one(client: OpenAI) -> None:
    client.chat.completions.create(model="storyteller", messages=DRAGON, metadata={"session_id": "sdk-2"})
    again = client.chat.completions.create(
        model="storyteller", messages=AND_NOW, extra_headers={"X-Session-Id": "sdk-2"}
    )
    assert "讲一个关于龙的短故事" in (again.choices[0].message.content or "")


def test_what_is_ignored_is_named(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="storyteller", messages=DRAGON, temperature=0.2, top_p=0.9, seed=1
    )
    assert raw.headers["x-role-dropped-params"] == "seed, temperature, top_p"


def test_errors_are_the_sdks_own(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nobody", messages=DRAGON)
    assert (missing.value.code, missing.value.param, missing.value.type) == (
        "role_not_found", "model", "invalid_request_error",
    )  # fmt: skip
    with pytest.raises(openai.BadRequestError, match="from 1 to 8") as refused:
        client.chat.completions.create(model="storyteller", messages=DRAGON, n=9)
    assert (refused.value.code, refused.value.param) == ("n_not_supported", "n")
    with pytest.raises(openai.BadRequestError) as unsaid:
        client.chat.completions.create(model="storyteller", messages=[])
    assert unsaid.value.code == "invalid_request"


def test_a_key_idempotent_by_header_is_answered_once(client: OpenAI) -> None:
    answers = [
        client.chat.completions.create(
            model="storyteller", messages=DRAGON, extra_body={"session_id": "sdk-3"},
            extra_headers={"Idempotency-Key": "k-1"},
        )
        for _ in range(2)
    ]  # fmt: skip
    assert answers[0].id == answers[1].id
    assert answers[0].model_extra is not None
    assert answers[1].model_extra is not None
    assert answers[0].model_extra["role"]["seq"] == answers[1].model_extra["role"]["seq"] == 3


def test_several_choices_and_going_on_with_another_one(client: OpenAI) -> None:
    client.chat.completions.create(model="storyteller", messages=DRAGON, extra_body={"session_id": "sdk-4"})
    done = client.chat.completions.create(
        model="storyteller", messages=AND_NOW, n=3, extra_body={"session_id": "sdk-4"}
    )
    assert [choice.index for choice in done.choices] == [0, 1, 2]
    assert all("讲一个关于龙的短故事" in (choice.message.content or "") for choice in done.choices)
    sessions = [choice.model_extra["role"]["session_id"] for choice in done.choices if choice.model_extra]
    assert (sessions[0], len(set(sessions))) == ("sdk-4", 3)
    ask_again: list[ChatCompletionMessageParam] = [{"role": "user", "content": "go on"}]
    for session_id in sessions:
        more = client.chat.completions.create(
            model="storyteller", messages=ask_again, extra_body={"session_id": session_id}
        )
        assert "and now?" in (more.choices[0].message.content or "")
        assert more.model_extra is not None
        # It sets out for the dragon, comes home, and stays there: 3, 3 and 2 events.
        assert more.model_extra["role"]["seq"] == 8, "each has the message once"


def test_several_choices_in_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="storyteller", messages=DRAGON, n=2, stream_options={"include_usage": True}
    ) as stream:
        whole = stream.get_final_completion()
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert all("龙" in (choice.message.content or "") for choice in whole.choices)
    assert [choice.finish_reason for choice in whole.choices] == ["stop", "stop"]
    alone = client.chat.completions.create(model="storyteller", messages=DRAGON)
    assert whole.usage is not None
    assert alone.usage is not None
    assert whole.usage.total_tokens == 2 * alone.usage.total_tokens


async def test_its_async_client_too(started: Dev) -> None:
    url = f"http://127.0.0.1:{started.port}/v1"
    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        text = ""
        async for chunk in await client.chat.completions.create(model="storyteller", messages=DRAGON, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert "龙" in text
