"""Logic that asks servers outside, for tests of the fixture."""

from rolehost import HttpFailed, Role, State, Turn


class Weather(State):
    asked: int = 0


weather = Role("weather", state=Weather)


@weather.on_message
async def answer(t: Turn[Weather]) -> None:
    verb, _, what = t.message.partition(" ")
    t.state.asked += 1
    try:
        match verb:
            case "book":
                booked = await t.http.post("https://api.acme.com/rooms", json={"room": what}, headers={"X-Key": "k"})
                t.say(f"{booked.status} {booked.headers.get('Location', '')}".strip())
            case "forget":
                t.http.get("https://api.acme.com/")
                t.say("never awaited")
            case "get":
                t.say((await t.http.get(what)).text)
            case _:
                found = await t.http.get("https://api.weather.org/v1", params={"city": what}, timeout=2)
                t.say(f"{found.json()['sky']}" if found.ok else f"they say {found.status}")
    except HttpFailed as failed:
        t.say(f"failed: {failed.code}")
