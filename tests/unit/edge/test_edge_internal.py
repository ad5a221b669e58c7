"""Who reads the report: one account, asked about once in ten minutes."""

import pytest

from rolehost_api.errors import Forbidden, Unauthorized, Unavailable
from rolehost_runtime.gateway.edge.internal import MAX_REVIEWS, REVIEW_SECONDS, OperatorOnly


class Reviews:
    """Implements internal.Reviewer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False

    async def user_of(self, token: str) -> str | None:
        self.asked.append(token)
        if self.away:
            raise Unavailable("away")
        return None if token == "bad" else f"system:serviceaccount:{token.partition('-')[0]}"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_good_token_is_asked_about_once_in_ten_minutes() -> None:
    reviews, clock = Reviews(), Clock()
    door = OperatorOnly(reviews, "platform/operator", clock)
    await door.admit("Bearer platform:operator-1")
    reviews.away = True
    clock.now += REVIEW_SECONDS - 1
    await door.admit("Bearer platform:operator-1")
    assert len(reviews.asked) == 1
    clock.now += 1
    with pytest.raises(Unavailable):
        await door.admit("Bearer platform:operator-1")


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        ("", Unauthorized),
        ("Basic x", Unauthorized),
        ("Bearer ", Unauthorized),
        ("Bearer bad", Unauthorized),
        ("Bearer " + "x" * 20_000, Unauthorized),
        ("Bearer platform:gateway-1", Forbidden),
        ("Bearer evil:operator-1", Forbidden),
    ],
)
async def test_nobody_else_is_let_in_and_refusals_are_not_remembered(
    authorization: str, error: type[Exception]
) -> None:
    reviews = Reviews()
    door = OperatorOnly(reviews, "platform/operator", Clock())
    for _ in range(2):
        with pytest.raises(error):
            await door.admit(authorization)
    assert len(reviews.asked) in (0, 2)


async def test_what_is_remembered_is_bounded() -> None:
    door = OperatorOnly(Reviews(), "platform/operator", Clock())
    for number in range(MAX_REVIEWS + 10):
        await door.admit(f"Bearer platform:operator-{number}")
    assert len(door._good) == MAX_REVIEWS
