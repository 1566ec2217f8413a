"""The steps of docs/server.md on one computer: its certificate, and a server and a daemon as the units start them."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from contextlib import closing, suppress
from pathlib import Path

import pytest
from fakes_sandbox import Sandbox, open_sandbox, wait_for

from model.client.http_client import CREDENTIAL_NAME

ROOT = Path(__file__).resolve().parents[1]
KEY = "f00dfeedf00dfeedf00dfeed"

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed (apt-get install openssl)"
)


@pytest.fixture(scope="module")
def certificate_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the commands of step 3 for the two names of this computer."""
    text = (ROOT / "docs/server.md").read_text()
    [block] = [
        block for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "-x509 " in block
    ]
    folder = tmp_path_factory.mktemp("certificate")
    script = block.replace("gpu.lan", "localhost").replace("192.168.1.20", "127.0.0.1")
    subprocess.run(["sh", "-euc", script], cwd=folder, check=True, capture_output=True)
    return folder


def handshake(certificate_folder: Path, name: str, authority: Path) -> None:
    """Checks as strictly as Python does by default from 3.13 on. Raises ssl.SSLError."""
    client_end, server_end = socket.socketpair()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate_folder / "server.crt", certificate_folder / "server.key")
    client = ssl.create_default_context(cafile=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    def answer() -> None:
        with suppress(OSError), closing(server.wrap_socket(server_end, server_side=True)) as secure:
            secure.recv(1)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        client.wrap_socket(client_end, server_hostname=name).close()
    finally:
        client_end.close()
        thread.join()
        server_end.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_certificate_is_valid_for_its_names(certificate_folder: Path, name: str) -> None:
    handshake(certificate_folder, name, certificate_folder / "ca.crt")


def test_the_certificate_is_valid_for_no_other_name(certificate_folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(certificate_folder, "elsewhere.lan", certificate_folder / "ca.crt")


class ServerAndDaemon:
    """Server and daemon as processes, each in the environment of its unit, with a virtual machine."""

    def __init__(self, room: Sandbox, folder: Path, certificate_folder: Path) -> None:
        self._room, self._folder, self._certificate_folder = room, folder, certificate_folder
        self.paper = room.paper_text

    def serve(self) -> str:
        """Starts the server as asr33-serve.service does; returns its URL."""
        credentials = self._credentials("server", keys=f"{KEY}  north-window\n")
        shutil.copy(self._certificate_folder / "server.crt", credentials / "cert")
        shutil.copy(self._certificate_folder / "server.key", credentials / "cert-key")
        unit = (ROOT / "systemd/asr33-serve.service").read_text()
        [line] = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
        words = line.replace("%d", str(credentials)).replace("8033", "0").replace("0.0.0.0", "127.0.0.1").split()
        log = self._room.start(*words).stderr
        assert log is not None
        for line_of_log in log:
            if match := re.search(rb"https://\S+:(\d+), ", line_of_log):
                return f"https://localhost:{int(match[1])}"
        raise AssertionError("the server ended before it was ready")

    def run(self, url: str) -> None:
        """Starts the daemon as asr33@.service does, with the configuration of the document."""
        settings = self._folder / "etc"
        settings.mkdir()
        ca_file = self._certificate_folder / "ca.crt"
        (settings / "config.toml").write_text(f'[model]\nname = "{url}"\nca_file = "{ca_file}"\n')
        self._credentials("daemon", **{CREDENTIAL_NAME: f"{KEY}\n"})
        self._room.environ |= {"CONFIGURATION_DIRECTORY": str(settings)}
        self.machine = self._room.start_machine("--fast")
        self._room.start_daemon("--fast", "--seed", "7", "--length", "60")

    def _credentials(self, name: str, **files: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        self._room.environ |= {"CREDENTIALS_DIRECTORY": str(folder)}
        return folder

    def type(self, line: str) -> None:
        assert self.machine.stdin is not None
        self.machine.stdin.write(line.encode())
        self.machine.stdin.flush()


@pytest.mark.pace
def test_daemon_and_server_started_like_their_units_print_an_answer(tmp_path: Path, certificate_folder: Path) -> None:
    context = ssl.create_default_context(cafile=certificate_folder / "ca.crt")
    with open_sandbox(tmp_path) as room:
        both = ServerAndDaemon(room, tmp_path, certificate_folder)
        url = both.serve()
        with urllib.request.urlopen(f"{url}/health", context=context) as answer:
            assert json.load(answer) == {"status": "ok"}
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"{url}/v1/models", context=context)
        refused.value.close()
        both.run(url)
        both.type("THE TELETYPE IS\n")
        wait_for(lambda: both.paper().count("READY\n") == 2)
        printed = both.paper().split("THE TELETYPE IS\n")[1]
    assert len(printed.split()) > 5
    assert "--" not in printed
