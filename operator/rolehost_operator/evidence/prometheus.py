"""Asks Prometheus: bounded in time and bytes, and never twice, for the next look is seconds away.

Unanswered   why there is no answer, by a reason that status and metrics take
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from rolehost_api.errors import RolehostError
from rolehost_operator.rollout.counting import Series, number

ANSWER_SECONDS = 5.0
CONNECT_SECONDS = 2.0
QUERY_SECONDS = 4
"""As told to Prometheus, which gives up then."""
MOST_BYTES = 32 * 1024 * 1024
MOST_SAID = 240


class Unanswered(RolehostError):
    """Prometheus gave no answer that counts. `code` is a CamelCase reason."""

    retryable = True


class _Data(msgspec.Struct):
    resultType: str
    result: msgspec.Raw


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""
    errorType: str = ""
    warnings: list[str] = []


_answers = msgspec.json.Decoder(_Answer)
_matrices = msgspec.json.Decoder(list[Series])
_scalars = msgspec.json.Decoder(tuple[float, str])


class Prometheus:
    """`url` without the API's path; `token_file` holds a bearer token, read at every question."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def now(self) -> float:
        """Prometheus' clock, in seconds. Raises Unanswered."""
        raw = await self._ask("query", {"query": "time()"}, "scalar")
        try:
            found = number(_scalars.decode(raw)[1])
        except msgspec.MsgspecError:
            found = None
        if found is None:
            raise Unanswered("Prometheus does not tell its time", code="PrometheusGarbled", hint=_WHAT)
        return found

    async def samples(self, selector: str, at: float, seconds: float) -> list[Series]:
        """Raw samples of the last `seconds` before `at`. Raises Unanswered."""
        query = {"query": f"{selector}[{max(1, round(seconds))}s]", "time": f"{at:.3f}"}
        return await self._matrix("query", query)

    async def grid(self, query: str, first: float, last: float, step: float) -> list[Series]:
        """The query's value at these times. Raises Unanswered."""
        return await self._matrix(
            "query_range", {"query": query, "start": f"{first:.3f}", "end": f"{last:.3f}", "step": f"{step:.3f}"}
        )

    async def _matrix(self, path: str, query: Mapping[str, str]) -> list[Series]:
        raw = await self._ask(path, query, "matrix")
        try:
            return _matrices.decode(raw)
        except msgspec.MsgspecError:
            raise Unanswered("Prometheus' answer is none", code="PrometheusGarbled", hint=_WHAT) from None

    async def _ask(self, path: str, query: Mapping[str, str], kind: str) -> msgspec.Raw:
        try:
            status, body = await asyncio.wait_for(self._post(path, query), ANSWER_SECONDS)
        except TimeoutError:
            raise Unanswered(
                f"Prometheus did not answer in {ANSWER_SECONDS:.0f} s", code="PrometheusTimeout", hint=_WHAT
            ) from None
        except aiohttp.ClientPayloadError:
            raise Unanswered("Prometheus' answer broke off", code="PrometheusGarbled", hint=_WHAT) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(
                f"Prometheus cannot be reached ({type(error).__name__})",
                code="PrometheusUnreachable",
                hint=f"Is {self._shown} right (prometheus.url of the chart), and does it let the operator in",
            ) from None
        return _data(status, body, kind)

    @property
    def _shown(self) -> str:
        """The address without anything that is secret in it."""
        scheme, _, rest = self._url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    async def _post(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, connect=CONNECT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"} if self._token_file else {}
        form = {**query, "timeout": f"{QUERY_SECONDS}s"}
        async with self._session.post(
            f"{self._url}/api/v1/{path}", data=form, headers=headers, allow_redirects=False
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise Unanswered(
                        f"Prometheus' answer has more than {MOST_BYTES // 2**20} MiB", code="PrometheusAnswerTooLarge"
                    )
            return answer.status, bytes(body)


_WHAT = "Nothing is advanced and nothing is rolled back; the next look is at analysis.intervalSeconds"


def _data(status: int, body: bytes, kind: str) -> msgspec.Raw:
    """The result in an answer. Raises Unanswered with Prometheus' own words, where it has some."""
    try:
        answer = _answers.decode(body)
    except msgspec.MsgspecError:
        if status != 200:
            raise Unanswered(f"Prometheus answered {status}", code="PrometheusUnavailable", hint=_WHAT) from None
        raise Unanswered("Prometheus' answer is none", code="PrometheusGarbled", hint=_WHAT) from None
    if answer.status != "success" or status != 200:
        said = _words(answer.error) or f"status {status}"
        refused = answer.errorType in ("bad_data", "execution") or status in (400, 422)
        code = "PrometheusRefused" if refused else "PrometheusUnavailable"
        if answer.errorType in ("timeout", "canceled"):
            code = "PrometheusTimeout"
        raise Unanswered(f"Prometheus answered: {said}", code=code)
    if answer.warnings:
        raise Unanswered(
            f"Prometheus' answer may not be whole: {_words(answer.warnings[0])}", code="PrometheusPartial", hint=_WHAT
        )
    if answer.data is None or answer.data.resultType != kind:
        raise Unanswered("Prometheus' answer is none", code="PrometheusGarbled", hint=_WHAT)
    return answer.data.result


def _words(text: Any) -> str:
    """Its words, on one line and not too many."""
    return json.dumps(str(text), ensure_ascii=False)[1:-1][:MOST_SAID]
