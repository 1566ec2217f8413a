"""TLS certificates for servers on this machine, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CA_CONFIG = """
[ca]
default_ca = test
[test]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = names
copy_extensions = copy
[names]
commonName = supplied
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Returns a function: days -> the file of a self-signed certificate. For negative days it has expired."""
    folder = tmp_path_factory.mktemp("tls")

    def make_certificate(days: int) -> Path:
        file, begin = folder / f"{days}.pem", "20200101000000Z"
        if not file.exists():
            (folder / "index").write_text("")
            (folder / "serial").write_text("01")
            (folder / "ca").write_text(CA_CONFIG)
            dates = f"-startdate {begin} -enddate {'20200201000000Z' if days < 0 else '20991231000000Z'}"
            key, name = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes", "-subj /CN=localhost"
            for command in (
                f"req -new {key} {name} -addext subjectAltName=IP:127.0.0.1 -keyout key -out request",
                f"ca -config ca -selfsign -keyfile key -in request -out {file} -batch {dates}",
            ):
                subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, check=True)
            file.write_text(file.read_text() + (folder / "key").read_text())
        return file

    return make_certificate


def server_context(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
