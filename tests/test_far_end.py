"""docs/far-end.md on one computer: the certificate that it makes, and a server and a daemon as its units start them."""

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
from fakes_room import Room, opened, until

from model.client.api_key import CREDENTIAL_NAME

ROOT = Path(__file__).resolve().parents[1]
KEY = "f00dfeedf00dfeedf00dfeed"

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed (apt-get install openssl)"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What step 3 leaves behind, for the two names of this computer."""
    text = (ROOT / "docs/far-end.md").read_text()
    [block] = [
        block for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if "-x509 " in block
    ]
    folder = tmp_path_factory.mktemp("made")
    script = block.replace("gpu.lan", "localhost").replace("192.168.1.20", "127.0.0.1")
    subprocess.run(["sh", "-euc", script], cwd=folder, check=True, capture_output=True)
    return folder


def greeted(made: Path, name: str, authority: Path) -> None:
    """A handshake, as strict as Python's own default from 3.13 on. Raises ssl.SSLError."""
    ours, theirs = socket.socketpair()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made / "server.crt", made / "server.key")
    client = ssl.create_default_context(cafile=authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    def answer() -> None:
        with suppress(OSError), closing(server.wrap_socket(theirs, server_side=True)) as secure:
            secure.recv(1)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=name).close()
    finally:
        ours.close()
        thread.join()
        theirs.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_certificate_of_the_document_is_good_for_the_names_in_it(made: Path, name: str) -> None:
    greeted(made, name, made / "ca.crt")


def test_the_certificate_of_the_document_is_good_for_no_other_name(made: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        greeted(made, "elsewhere.lan", made / "ca.crt")


class Ends:
    """Both ends in one room, each with the environment that its unit gives it; the machine is virtual."""

    def __init__(self, room: Room, folder: Path, made: Path) -> None:
        self._room, self._folder, self._made = room, folder, made
        self.paper = room.paper

    def serve(self) -> str:
        """As asr33-serve.service does it; where it is then."""
        credentials = self._credentials("server", keys=f"{KEY}  north-window\n")
        shutil.copy(self._made / "server.crt", credentials / "cert")
        shutil.copy(self._made / "server.key", credentials / "cert-key")
        unit = (ROOT / "systemd/asr33-serve.service").read_text()
        [line] = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
        words = line.replace("%d", str(credentials)).replace("8033", "0").replace("0.0.0.0", "127.0.0.1").split()
        said = self._room.start(*words).stderr
        assert said is not None
        for told in said:
            if place := re.search(rb"https://\S+:(\d+), ", told):
                return f"https://localhost:{int(place[1])}"
        raise AssertionError("it ended before it was ready")

    def run(self, url: str) -> None:
        """As asr33@.service does it, with the settings of the document."""
        settings = self._folder / "etc"
        settings.mkdir()
        (settings / "config.toml").write_text(f'[model]\nname = "{url}"\nca_file = "{self._made / "ca.crt"}"\n')
        self._credentials("daemon", **{CREDENTIAL_NAME: f"{KEY}\n"})
        self._room.environ |= {"CONFIGURATION_DIRECTORY": str(settings)}
        self.machine = self._room.machine("--fast")
        self._room.daemon("--fast", "--seed", "7", "--length", "60")

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
def test_a_daemon_and_a_server_started_as_their_units_do_print_an_answer(tmp_path: Path, made: Path) -> None:
    context = ssl.create_default_context(cafile=made / "ca.crt")
    with opened(tmp_path) as room:
        ends = Ends(room, tmp_path, made)
        url = ends.serve()
        with urllib.request.urlopen(f"{url}/health", context=context) as answer:
            assert json.load(answer) == {"status": "ok"}
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"{url}/v1/models", context=context)
        refused.value.close()
        ends.run(url)
        ends.type("THE TELETYPE IS\n")
        until(lambda: ends.paper().count("READY\n") == 2)
        printed = ends.paper().split("THE TELETYPE IS\n")[1]
    assert len(printed.split()) > 5
    assert "--" not in printed
