"""HttpClient on a real socket: connections, the API key, URLs, TLS."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes_openai_server import (
    FakeModelServer,
    ReceivedRequest,
    answer_from,
    raises_model_error,
    stream_body,
    stream_text,
    text_of,
)
from fakes_tls import certificates as certificates
from fakes_tls import server_context

from model.client.http_client import ClientConfig, read_api_key
from model.client.remote_model import RemoteModel
from model.errors import ModelError, ServerLost
from model.interface import Sampling
from model.server_url import is_private_host, parse_server_url

TEXT = "The sun rose over the harbour.\nGulls cried, “Who is there?” Nobody was."


async def test_a_connection_is_kept_for_the_next_answer() -> None:
    connections = []

    async def serve(_: ReceivedRequest, writer: asyncio.StreamWriter) -> None:
        connections.append(writer.get_extra_info("peername"))
        body = stream_body(TEXT)
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await asyncio.sleep(600)

    async with FakeModelServer([serve]) as server:
        model = RemoteModel(server.url)
        start = asyncio.get_running_loop().time()
        assert text_of([chunk async for chunk in model.stream("", Sampling())]) == TEXT
        assert asyncio.get_running_loop().time() - start < 60
        await model.close()


async def test_a_refused_connection_is_reported_at_once() -> None:
    async with FakeModelServer([]) as server:
        pass
    with pytest.raises(ServerLost, match="no program listens there: start the server, or check the port"):
        await answer_from(server)


async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_http_and_https_mixed_up_name_the_cure(certificates: Callable[[int], Path]) -> None:
    async with (
        await asyncio.start_server(refuse, "127.0.0.1", 0) as plain,
        FakeModelServer([stream_text(TEXT)], tls=server_context(certificates(9))) as secure,
    ):
        port = plain.sockets[0].getsockname()[1]
        for url, cure in ((f"https://127.0.0.1:{port}", "write http://"), (f"http://{secure.url[8:]}", "https://")):
            model = RemoteModel(url, ClientConfig(ca_file=certificates(9)))
            with pytest.raises(ServerLost, match=cure) as caught:
                await model.wait_ready()
            assert "\n" not in str(caught.value)
            await model.close()


async def test_an_unknown_host_is_reported() -> None:
    model = RemoteModel("http://unknown.invalid:8033")
    with pytest.raises(ServerLost, match="unknown host name"):
        await model.wait_ready()
    await model.close()


@pytest.mark.parametrize("host", ["xn--0", "-a", "a_b.invalid", "\u2603.invalid"])
async def test_an_impossible_host_name_is_one_line(host: str) -> None:
    for config in (ClientConfig(), ClientConfig(api_key="secret")):
        with pytest.raises(ModelError, match=":") as caught:
            await RemoteModel(f"http://{host}:8033", config).wait_ready()
        assert "\n" not in str(caught.value)


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with FakeModelServer([stream_text(TEXT)]) as server:
        assert text_of(await answer_from(server)) == TEXT


def test_a_key_comes_from_a_file_or_from_systemd(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("one\n")
    (tmp_path / "two").write_text("two two\n")
    assert read_api_key(tmp_path / "api-key", {}) == "one"
    assert read_api_key(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "one"
    assert read_api_key(None, {}) == read_api_key(None, {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) == ""
    with raises_model_error("denied", match="No such file"):
        read_api_key(tmp_path / "none", {})
    with raises_model_error("denied", match="one line"):
        read_api_key(tmp_path / "two", {})


async def test_the_key_does_not_go_over_plain_http_to_a_public_host() -> None:
    with raises_model_error("denied", match=r"does not go to 8\.8\.8\.8 over plain http.*allow_plain"):
        await RemoteModel("http://8.8.8.8", ClientConfig(api_key="secret")).wait_ready()
    assert "secret" not in repr(ClientConfig(api_key="secret"))


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("192.168.1.5", True),
        ("fd00::1", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("169.254.7.7", True),
        ("fe80::1%eth0", True),
        ("::ffff:10.1.2.3", True),
        ("::ffff:8.8.8.8", False),
        ("100.64.0.9", False),  # carriers share it among strangers
        ("2001::1", False),  # Teredo
        ("2002:c0a8:105::1", False),  # 6to4, of 192.168.1.5
        ("64:ff9b::a01:203", False),  # NAT64, of 10.1.2.3
        ("64:ff9b:1::1", False),
        ("192.0.2.1", False),  # for documentation
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("2001:db8::1", False),
        ("198.18.0.1", False),  # for benchmarks
        ("240.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("8.8.8.8", False),
        ("2606:4700::1", False),
        ("224.0.0.1", False),
        ("example.org", None),
    ],
)
def test_private_hosts_are_known_by_their_address(host: str, is_private: bool | None) -> None:
    assert is_private_host(host) is is_private


@pytest.mark.parametrize(
    ("url", "base", "model"),
    [
        ("http://gpu:8033", "http://gpu:8033", ""),
        ("http://gpu:8033/", "http://gpu:8033", ""),
        ("https://gpu/v1#gpt2", "https://gpu", "gpt2"),
        ("https://gpu/models/v1/completions", "https://gpu/models", ""),
        ("http://[::1]:80#a/b", "http://[::1]:80", "a/b"),
    ],
)
def test_urls_are_accepted_as_users_write_them(url: str, base: str, model: str) -> None:
    assert (parse_server_url(url).base_url, parse_server_url(url).model) == (base, model)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://gpu",
        "http://",
        "http://gpu:99999",
        "http://me:key@gpu",
        "http://gpu?key=5",
        "http://g pu",
        "://",
        "http://a..b",
        f"http://{'x' * 64}",
    ],
)
def test_invalid_urls_are_refused(url: str) -> None:
    with raises_model_error("argument"):
        parse_server_url(url)


async def test_a_self_signed_certificate_is_accepted_if_it_is_named(certificates: Callable[[int], Path]) -> None:
    async with FakeModelServer([stream_text(TEXT)], tls=server_context(certificates(9))) as server:
        config = ClientConfig(api_key="secret", ca_file=certificates(9))
        assert text_of(await answer_from(server, config=config)) == TEXT
        with pytest.raises(ServerLost, match=r"certificate is not valid: self.signed certificate.*ca_file"):
            await answer_from(server)


async def test_an_expired_certificate_is_reported(certificates: Callable[[int], Path]) -> None:
    async with FakeModelServer([stream_text(TEXT)], tls=server_context(certificates(-9))) as server:
        with pytest.raises(ServerLost, match="certificate has expired: renew it on the server"):
            await answer_from(server, config=ClientConfig(ca_file=certificates(-9)))


async def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    for name, message in (("none", "No such file"), ("empty", "no certificate in it")):
        with raises_model_error("argument", match=message):
            await RemoteModel("https://localhost:1", ClientConfig(ca_file=tmp_path / name)).wait_ready()
