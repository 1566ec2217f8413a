"""Web pages of a named origin may ask with a key; no other page may read an answer."""

from pathlib import Path

import pytest
from fakes_completion_server import FakeBatchModel, RawReply, post, running_server, send_request
from test_server_app import KEY, make_keys, request_body

from model.errors import ModelError
from model.server.cors import parse_origin

PAGE = "https://chat.example"


def with_origin(request: bytes, origin: str, **headers: str) -> bytes:
    lines = {"Origin": origin, **{name.replace("_", "-"): value for name, value in headers.items()}}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return request.replace(b"Host: x\r\n", b"Host: x\r\n" + text.encode(), 1)


PREFLIGHT = b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n"
ASKED = {
    "Access_Control_Request_Method": "POST",
    "Access_Control_Request_Headers": "authorization,content-type,x-stainless-os",
}


def allowed_origin(reply: RawReply) -> str | None:
    return reply.headers.get("access-control-allow-origin")


async def test_a_named_page_may_ask_with_a_key(tmp_path: Path) -> None:
    async with running_server(FakeBatchModel("Yes."), keys=make_keys(tmp_path), cors_origins=[PAGE]) as (_, port):
        preflight = await send_request(port, with_origin(PREFLIGHT, PAGE, **ASKED))
        whole = await send_request(port, with_origin(post(request_body(), key=KEY), PAGE))
        stream = await send_request(port, with_origin(post(request_body(stream=True), key=KEY), PAGE))
        private = {**ASKED, "Access_Control_Request_Private_Network": "true"}
        at_home = await send_request(port, with_origin(PREFLIGHT, PAGE, **private))
    assert (preflight.status, allowed_origin(preflight)) == (200, PAGE)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for header in ("authorization", "content-type", "x-stainless-os"):
        assert header in preflight.headers["access-control-allow-headers"]
    assert at_home.headers["access-control-allow-private-network"] == "true"
    for reply in (whole, stream):
        assert (reply.status, allowed_origin(reply)) == (200, PAGE)
        assert "Origin" in reply.headers["vary"]


async def test_a_named_page_can_read_why_it_was_refused(tmp_path: Path) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path), cors_origins=[PAGE]) as (_, port):
        without_key = await send_request(port, with_origin(post(request_body()), PAGE))
        invalid = await send_request(port, with_origin(post(request_body(n=0), key=KEY), PAGE))
    assert (without_key.status, allowed_origin(without_key)) == (401, PAGE)
    assert (invalid.status, allowed_origin(invalid)) == (422, PAGE)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://chat.example", f"{PAGE}.evil.example", "null"])
async def test_another_page_reads_nothing(tmp_path: Path, origin: str) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path), cors_origins=[PAGE]) as (_, port):
        preflight = await send_request(port, with_origin(PREFLIGHT, origin, **ASKED))
        reply = await send_request(port, with_origin(post(request_body(), key=KEY), origin))
    assert (preflight.status, allowed_origin(preflight), allowed_origin(reply)) == (400, None, None)


async def test_without_a_named_origin_a_preflight_needs_a_key(tmp_path: Path) -> None:
    async with running_server(FakeBatchModel(), keys=make_keys(tmp_path)) as (_, port):
        reply = await send_request(port, with_origin(PREFLIGHT, PAGE, **ASKED))
    assert (reply.status, allowed_origin(reply)) == (401, None)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        (PAGE, PAGE),
        ("https://Chat.Example:443/", PAGE),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[0:0::1]:80", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_written_as_browsers_do(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "", "chat.example", "https://", "https://*.example", "https://a.example/chat"),
        *("ftp://a.example", "https://a.example:x", "https://u@a.example", "https://a.example?b", "https://a b"),
        *("http://[::1", "file:///a"),
    ],
)
def test_an_origin_that_names_no_single_page_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="name one origin") as caught:
        parse_origin(text)
    assert caught.value.exit_code == 64
