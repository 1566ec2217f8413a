"""Measures what a client costs beside the engine: bytes and processor time of the front, of TLS, of the daemon.

`python -m tools.bench.simulate.measure_overheads front|ray|knock|client`. The server is a process of its own with an
engine that costs nothing, so all that it uses is overhead. It needs Linux, for /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tools.bench.load.load_test import process_cpu_s

RAY_PROCESSES = ("ProxyActor", "ServeReplica", "ServeController", "raylet", "gcs_server")


@contextmanager
def _start_server(kind: str, cert: str = "") -> Iterator[tuple[int, int]]:
    """Starts `dummy_server` of this kind, with TLS if there is a certificate; yields its port and process id."""
    command = [sys.executable, "-m", "tools.bench.simulate.dummy_server", kind, cert]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        try:
            yield int(next(line for line in process.stdout if line.strip().isdigit())), process.pid
        finally:
            process.stdin.close()


def _measure_streams(kind: str, clients: int, seconds: float) -> dict[str, Any]:
    """Measures the processor time per token of each process; each client reads ten characters per second."""
    with _start_server(kind) as (port, pid):
        return asyncio.run(_drive_streams(port, pid if kind == "front" else 0, clients, seconds))


async def _drive_streams(port: int, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    counts = [0, 0]  # bytes and events that all clients have received
    tasks = [asyncio.create_task(_read_stream(port, counts)) for _ in range(clients)]
    await asyncio.sleep(5)
    before, first_counts = _cpu_seconds(pid), list(counts)
    await asyncio.sleep(seconds)
    after, tokens = _cpu_seconds(pid), counts[1] - first_counts[1]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    used = {name: round(1000 * (after[name] - before.get(name, 0.0)) / tokens, 3) for name in after}
    return {
        "lines": clients,
        "tokens_per_s": round(tokens / seconds),
        "bytes_a_token": round((counts[0] - first_counts[0]) / tokens, 1),
        "cpu_ms_a_token": {name: ms for name, ms in sorted(used.items()) if ms >= 0.002},
    }


async def _read_stream(port: int, counts: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"prompt": "x", "max_tokens": 4000, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    try:
        while data := await reader.read(65536):
            counts[0] += len(data)
            counts[1] += data.count(b"data: {")
    finally:
        writer.close()


def _cpu_seconds(pid: int) -> dict[str, float]:
    """Returns the processor seconds of the server's process, or of all of Ray's processes."""
    if pid:
        return {"server": process_cpu_s(pid)}
    used: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            if kind := next((kind for kind in RAY_PROCESSES if kind in name), ""):
                used[kind] = used.get(kind, 0.0) + process_cpu_s(int(folder.name))
    return used


def _measure_connections(count: int) -> dict[str, Any]:
    """Measures a connection, /v1/models and the start of an answer for each client, without and with TLS."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cert = f"{folder}/both.pem"
        _make_certificate(cert)
        for name, pem in (("plain", ""), ("tls", cert)):
            with _start_server("front", pem) as (port, pid):
                before = process_cpu_s(pid)
                asyncio.run(_connect_repeatedly(port, bool(pem), count))
                result[f"{name}_cpu_ms"] = round(1000 * (process_cpu_s(pid) - before) / count, 2)
    return result


def _make_certificate(path: str) -> None:
    """Writes a key and a certificate to one file."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN=localhost"]
    command = ["openssl", "req", "-x509", *curve, "-keyout", path]
    certificate = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with Path(path).open("a", encoding="ascii") as file:
        file.write(certificate)


async def _connect_repeatedly(port: int, use_tls: bool, count: int) -> None:
    context = ssl.create_default_context() if use_tls else None
    if context:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = b'{"prompt": "x", "max_tokens": 2, "stream": true}'
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"}]}")
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"data: ")
        writer.close()


def _measure_client_memory() -> dict[str, Any]:
    """Measures the memory of a daemon with a remote model, before it prints."""
    code = "import daemon.build, tools.run, model.client.failover, model.client.remote_model\n"
    code += "print(open('/proc/self/statm').read())"
    pages = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"resident_mb": round(int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.simulate.measure_overheads", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("front", "ray", "knock", "client"), default="front")
    parser.add_argument("--clients", type=int, default=200, metavar="N", help="clients (default %(default)s)")
    seconds = "seconds to measure (default %(default)g)"
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help=seconds)
    args = parser.parse_args()
    match args.what:
        case "knock":
            result = _measure_connections(300)
        case "client":
            result = _measure_client_memory()
        case _:
            result = _measure_streams(args.what, args.clients, args.seconds)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
