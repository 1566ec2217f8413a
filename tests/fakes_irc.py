"""Servers of IRC from Debian on a free port of this computer, people who talk there, and a queue for their lines."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes_teletype import wait_until

from daemon.bridges.print_queue import PrintReceipt

PROGRAM_PATH = f"{os.environ['PATH']}:/usr/sbin"

NGIRCD = """
[Global]
Name = irc.example.org
Info = test
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = hello
{extra}
[Limits]
MaxNickLength = 16
MaxConnections = 50
MaxConnectionsIP = 50
PingTimeout = {ping}
PongTimeout = 20
[Options]
DNS = no
Ident = no
PAM = no
"""
INSPIRCD = """
<server name="irc.example.org" description="test" network="Test">
<bind address="127.0.0.1" port="{port}" type="clients">
<admin name="a" nick="a" email="a@localhost">
<connect allow="*" timeout="20" pingfreq="{ping}" recvq="8192" softsendq="8192" hardsendq="1048576" threshold="1000"
 commandrate="1000000" fakelag="no" localmax="50" globalmax="50" useident="no" resolvehostnames="no" modes="+x">
<performance nouserdns="yes">
<cidr ipv4clone="32" ipv6clone="128">
<path configdir="{folder}" datadir="{folder}" logdir="{folder}" moduledir="/usr/lib/inspircd/modules">
<pid file="{folder}/pid">
<module name="cap"><module name="ircv3"><module name="ircv3_ctctags"><module name="ircv3_chghost">
<module name="botmode"><module name="cloaking">
<cloak mode="half" key="0123456789abcdef0123456789abcdef" domainparts="3" suffix="hidden.example" prefix="test-">
"""


def needs(program: str) -> pytest.MarkDecorator:
    absent = shutil.which(program, path=PROGRAM_PATH) is None
    return pytest.mark.skipif(absent, reason=f"{program} is not installed (apt-get install {program})")


IRC_SERVERS = [pytest.param(name, marks=needs(name)) for name in ("inspircd", "ngircd")]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_irc_server(program: str, folder: Path, port: int, *, ping_s: int = 600, extra: str = "") -> Iterator[None]:
    """Runs a server for the block. It pings a silent client after `ping_s` seconds."""
    template = {"ngircd": NGIRCD, "inspircd": INSPIRCD}[program]
    config = folder / f"{program}.conf"
    config.write_text(template.format(port=port, folder=folder, ping=ping_s, extra=extra))
    options = {
        "ngircd": ["-n", "-f", str(config)],
        "inspircd": ["--nofork", "--nolog", "--runasroot", f"--config={config}"],
    }[program]
    path = shutil.which(program, path=PROGRAM_PATH) or program
    log = (folder / f"{program}.log").open("ab")
    process = subprocess.Popen([path, *options], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        log.close()


class ChatPerson:
    """A person at a simple client, who answers PING and keeps the raw lines."""

    def __init__(self, nick: str, channel: str) -> None:
        self.nick, self.channel = nick, channel
        self.lines: list[bytes] = []

    async def connect(self, port: int) -> None:
        """Joins the channel, as soon as the server is there."""
        async with asyncio.timeout(20):
            while True:
                with suppress(OSError):
                    self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                await asyncio.sleep(0.02)
        self._reading = asyncio.ensure_future(self._read())
        self.send(f"NICK {self.nick}\r\nUSER {self.nick[:3].strip('[')} 0 * :a person")
        await wait_until(lambda: any(b" 001 " in line for line in self.lines))
        self.send(f"JOIN {self.channel}")
        await wait_until(lambda: any(b" 366 " in line for line in self.lines))

    async def _read(self) -> None:
        with suppress(OSError):
            while line := await self._reader.readline():
                self.lines.append(line)
                if line.startswith(b"PING"):
                    self.send("PONG " + line.decode().split()[1])

    def send(self, line: str | bytes) -> None:
        self._writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")

    def say(self, text: str | bytes) -> None:
        text = text.encode() if isinstance(text, str) else text
        self.send(b"PRIVMSG %s :%s" % (self.channel.encode(), text))

    def heard_from(self, nick: str, command: str = "PRIVMSG") -> list[str]:
        """Returns the texts that a nick has sent to the channel or to this person."""
        found = [line.decode("utf-8", "replace").rstrip("\r\n").split(" ", 3) for line in self.lines]
        return [words[3][1:] for words in found if words[0].startswith(f":{nick}!") and words[1] == command]

    async def leave(self) -> None:
        self._writer.close()
        self._reading.cancel()
        await asyncio.wait({self._reading})


@dataclass
class ListedQueue:
    """A `PrintQueue` that lists what it gets; `refusals` by person."""

    jobs: list[tuple[str, str]] = field(default_factory=list)
    talks: list[str] = field(default_factory=list)
    refusals: dict[str, PrintReceipt] = field(default_factory=dict)
    receipt: PrintReceipt = field(default_factory=lambda: PrintReceipt(1, 0.0))

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.jobs]

    async def submit(
        self, source: str, person: str, text: str, key: str = "", keep_s: float = float("inf"), talk: str = ""
    ) -> PrintReceipt:
        if refusal := self.refusals.get(person):
            return refusal
        self.jobs.append((person, text))
        self.talks.append(talk)
        return self.receipt
