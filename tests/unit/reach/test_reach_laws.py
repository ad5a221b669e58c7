"""Which addresses, which hosts, which spellings: laws over all of them."""

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rolehost_api.errors import BadRequest
from rolehost_runtime.core.reach.addresses import NEVER, SPECIAL, Reachable
from rolehost_runtime.core.reach.grants import granted, is_grant
from rolehost_runtime.core.reach.headers import checked
from rolehost_runtime.core.reach.hops import Request
from rolehost_runtime.core.reach.intent import of_effect, of_turn
from rolehost_runtime.core.reach.pace import Pace
from rolehost_runtime.core.reach.urls import Target, parse

pytestmark = pytest.mark.unit
ANYWHERE = Reachable()
METADATA = ["169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"]
V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
INSIDE = st.sampled_from([*NEVER, *SPECIAL]).flatmap(
    lambda net: st.integers(int(net.network_address), int(net.broadcast_address)).map(
        ipaddress.IPv4Address if net.version == 4 else ipaddress.IPv6Address
    )
)
LABEL = st.from_regex(r"\A[a-z]([a-z0-9-]{0,5}[a-z0-9])?\Z")
HOST = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


def refused(url: str) -> str:
    """The code that a URL is refused with; empty where it is read."""
    try:
        parse(url)
    except BadRequest as error:
        return error.code
    return ""


@given(INSIDE)
def test_nothing_in_a_special_range_is_reached(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not ANYWHERE.allows(address)
    assert not ANYWHERE.allows(str(address))


@given(V4)
@example(ipaddress.IPv4Address("10.0.0.1"))
@example(ipaddress.IPv4Address("8.8.8.8"))
def test_what_python_takes_for_private_is_not_reached_in_any_guise(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    if not address.is_global or address.is_multicast:
        assert not ANYWHERE.allows(address)
    direct = ANYWHERE.allows(address)
    assert ANYWHERE.allows(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number)) == direct
    for guise in ("::ffff:0:0", "::", "64:ff9b:1::", "fe80::"):
        assert not ANYWHERE.allows(ipaddress.IPv6Address(int(ipaddress.IPv6Address(guise)) | number))
    assert not ANYWHERE.allows(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))  # 6to4


@given(V6)
@example(ipaddress.IPv6Address("2606:2800:21f::1"))
def test_of_ipv6_only_public_unicast_is_reached(address: ipaddress.IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_private:
        assert not ANYWHERE.allows(address) or address in ipaddress.IPv6Network("64:ff9b::/96")
    assert not ANYWHERE.allows(f"{address}%eth0")


@given(st.sampled_from(METADATA), st.sampled_from(["0.0.0.0/0", "::/0"]))
def test_no_setting_opens_what_clouds_keep_for_themselves(address: str, everything: str) -> None:
    assert not Reachable.of(allowed=[everything]).allows(address)


@given(V4, st.integers(8, 32))
def test_what_is_refused_by_name_is_refused_though_it_is_allowed_too(address: ipaddress.IPv4Address, bits: int) -> None:
    around = str(ipaddress.ip_network(f"{address}/{bits}", strict=False))
    assert not Reachable.of(allowed=[around], refused=[around]).allows(address)


@given(V4)
def test_an_address_is_spelt_in_one_way_or_not_at_all(address: ipaddress.IPv4Address) -> None:
    number, parts = int(address), str(address).split(".")
    assert parse(f"https://{address}/").address == address
    assert parse(f"https://{address}./").host == str(address)
    octal = ".".join(f"0{int(part):o}" for part in parts)
    hexadecimal = ".".join(f"0x{int(part):x}" for part in parts)
    short = f"{parts[0]}.{(int(parts[1]) << 16) | (int(parts[2]) << 8) | int(parts[3])}"
    wide = "".join(chr(ord(char) + 0xFEE0) for char in str(address))
    for host in (str(number), hex(number), f"0{number:o}", octal, hexadecimal, short, wide, f"[::ffff:{address}]",
                 f"[{address}]", f"{address}%00", f"{address}%2e", f"{parts[0]}。{'.'.join(parts[1:])}"):  # fmt: skip
        assert refused(f"https://{host}/") == "http_invalid_url", host


@given(HOST, HOST, st.sampled_from(["https", "HTTPS", "http"]))
def test_tricks_with_the_authority_are_refused(host: str, other: str, scheme: str) -> None:
    for url in (f"{scheme}://{host}@{other}/", f"{scheme}://{host}:80@{other}/", f"{scheme}://{host}\\@{other}/",
                f"{scheme}://{host}\t.{other}/", f"{scheme}:///{host}", f"{scheme}:{host}", f"//{host}/", f"{scheme}://{host}:x/",
                f"{scheme}://{host}:0/", f"{scheme}://{host}:65536/", f"{scheme}://{host}:８０/", f"{scheme}://.{host}/",
                f"{scheme}://{host}../", f"{scheme}://{host}\r\nHost: {other}/", f"{scheme}://ⓔ{host}/", f"file://{host}/",
                f"gopher://{host}/", f"{scheme}://", f"{scheme}://{host}%2f{other}/", f"{scheme}://{'a' * 64}.{host}/"):  # fmt: skip
        assert refused(url) == "http_invalid_url", url


@given(st.text(max_size=60))
@example("https://a.com/\ud800")
def test_a_url_is_read_as_the_standard_library_reads_it_or_not_at_all(text: str) -> None:
    for url in (text, f"https://{text}", f"https://a.com/{text}"):
        if not refused(url):
            target, split = parse(url), urlsplit(parse(url).url)
            assert (target.host, target.port) == (
                split.hostname,
                split.port or 443 if target.scheme == "https" else split.port or 80,
            )
            assert target.url.isascii()
            assert parse(target.url) == target


@given(HOST, HOST, st.integers(1, 65535))
def test_a_grant_is_of_its_host_alone(host: str, other: str, port: int) -> None:
    mine = [f"http:{host}"]
    assert is_grant(mine[0])
    assert granted(mine, parse(f"https://{host}/x?{other}#@{other}"))
    assert not granted(mine, parse(f"http://{host}/"))
    assert granted(mine, parse(f"https://{host}:{port}/")) == (port == 443)
    assert granted([f"http:{host}:{port}"], parse(f"http://{host}:{port}/"))
    assert not granted(mine, parse(f"https://{other}.{host}/"))
    assert granted([f"http:*.{host}"], parse(f"https://{other}.{host}/"))
    assert not granted([f"http:*.{host}"], parse(f"https://x{host}/"))
    assert not granted([f"http:*.{host}"], parse(f"https://{host}/"))
    if host != other:
        assert not granted(mine, parse(f"https://{other}/"))


@pytest.mark.parametrize("said", ["http:*", "http:*.com", "http:a.com/x", "http:a.*.com", "http:", "http:a.com:99999", "tool:*",
                                  "http:[::1]", "http:A.com", "http:a..com", "http:.a.com"])  # fmt: skip
def test_what_is_no_grant_grants_nothing(said: str) -> None:
    assert not is_grant(said)
    assert not granted([said], Target("https", "a.com", 443, "/"))


@given(st.sampled_from([301, 302, 303, 307, 308]), HOST, HOST, st.sampled_from(["POST", "PUT", "GET"]))
def test_keys_do_not_follow_a_redirect_to_another_host(status: int, host: str, other: str, method: str) -> None:
    secret = (("Authorization", "Bearer s"), ("Cookie", "s"), ("X-Api-Key", "s"))
    first = Request(method, parse(f"https://{host}/"), (*secret, ("Accept", "*/*")), b"body")
    moved = first.redirected(status, f"https://{other}/")
    assert moved is not None
    assert any(name == "Authorization" for name, _ in moved.headers) == (host == other)
    downgraded = first.redirected(status, f"http://{host}/")
    assert downgraded is not None
    assert downgraded.headers == (("Accept", "*/*"),)
    assert moved.body == (
        b"" if (method == "POST" and status < 304) or (status == 303 and method != "GET") else b"body"
    )


@pytest.mark.parametrize("pair", [("Host", "x"), ("content-length", "1"), ("Transfer-Encoding", "chunked"), ("Connection", "x"),
                                  ("Proxy-Authorization", "x"), ("X-Forwarded-For", "x"), ("A", "x\r\nB: y"), ("A\n", "x"),
                                  ("A", "ü"), ("", "x"), ("Upgrade", "h2c"), ("TE", "trailers"), ("Expect", "100-continue")])  # fmt: skip
def test_headers_that_say_how_bytes_travel_are_not_logics(pair: tuple[str, str]) -> None:
    with pytest.raises(BadRequest) as refusal:
        checked([pair])
    assert refusal.value.code == "http_invalid_request"


@given(
    st.text(max_size=5), st.text(max_size=5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(0, 9)
)
def test_a_key_is_of_one_request_of_one_turn(one: str, two: str, turn: int, other: int, index: int, later: int) -> None:
    same = (one, turn, index) == (two, other, later)
    keys = of_effect(of_turn("log", turn, one), index), of_effect(of_turn("log", other, two), later)
    assert (keys[0] == keys[1]) == same
    assert of_turn("log", turn, one) != of_turn("log-2", turn, one)


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 600), st.integers(1, 20))
def test_no_stretch_of_time_has_more_requests_than_its_pace(pauses: list[float], per_minute: int, burst: int) -> None:
    pace, now, taken = Pace(per_minute, burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += pace.take(now)
        assert taken <= burst + now * per_minute / 60 + 1e-6
