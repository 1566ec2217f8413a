"""What lines cost beside the engine, measured here: bytes and processor time of the front, of TLS, of a client.

`python -m tools.bench.simulate.measure_overheads front|ray|knock|client`: the server runs as a process of its own, with an
engine that says one word again and again at no cost, so that what it uses is the front's. Linux, for /proc.
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

from tools.bench.load.run import process_cpu_s

RAY_PROCESSES = ("ProxyActor", "ServeReplica", "ServeController", "raylet", "gcs_server")  # its processes


@contextmanager
def _start_server(kind: str, cert: str = "") -> Iterator[tuple[int, int]]:
    """Port, and process id."""
    command = [sys.executable, "-m", "tools.bench.simulate.dummy_server", kind, cert]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        try:
            yield int(next(line for line in process.stdout if line.strip().isdigit())), process.pid
        finally:
            process.stdin.close()


def _measure_streams(kind: str, clients: int, seconds: float) -> dict[str, Any]:
    """So many lines at ten characters a second: what each process used for a token."""
    with _start_server(kind) as (port, pid):
        return asyncio.run(_drive_streams(port, pid if kind == "front" else 0, clients, seconds))


async def _drive_streams(port: int, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    got = [0, 0]  # bytes, events
    tasks = [asyncio.create_task(_read_stream(port, got)) for _ in range(clients)]
    await asyncio.sleep(5)
    before, count = _cpu_seconds(pid), list(got)
    await asyncio.sleep(seconds)
    after, tokens = _cpu_seconds(pid), got[1] - count[1]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    used = {name: round(1000 * (after[name] - before.get(name, 0.0)) / tokens, 3) for name in after}
    return {
        "lines": clients,
        "tokens_per_s": round(tokens / seconds),
        "bytes_a_token": round((got[0] - count[0]) / tokens, 1),
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
    """Processor seconds: of this server's process, or of all that Ray has running."""
    if pid:
        return {"server": process_cpu_s(pid)}
    used: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            kind = next((kind for kind in RAY_PROCESSES if kind in name), "")
            if kind:
                used[kind] = used.get(kind, 0.0) + process_cpu_s(int(folder.name))
    return used


def _measure_connections(count: int) -> dict[str, Any]:
    """Connections with TLS, what there is, and an answer's beginning, one after the other; and the same without TLS."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cert = f"{folder}/both.pem"
        _make_certificate(cert)
        for name, given in (("plain", ""), ("tls", cert)):
            with _start_server("front", given) as (port, pid):
                before = process_cpu_s(pid)
                asyncio.run(_connect_repeatedly(port, bool(given), count))
                found[f"{name}_cpu_ms"] = round(1000 * (process_cpu_s(pid) - before) / count, 2)
    return found


def _make_certificate(path: str) -> None:
    """A key and a certificate, in one file."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-subj", "/CN=localhost"]
    made = subprocess.run(
        ["openssl", "req", "-x509", *curve, "-keyout", path], check=True, capture_output=True, text=True
    )
    with Path(path).open("a", encoding="ascii") as both:
        both.write(made.stdout)


async def _connect_repeatedly(port: int, secure: bool, count: int) -> None:
    context = ssl.create_default_context() if secure else None
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
    """What a daemon without a model has in memory before it prints."""
    code = "import daemon.build, tools.run, model.client.failover, model.client.remote_model; print(open('/proc/self/statm').read())"
    pages = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[1]
    return {"resident_mb": round(int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.simulate.measure_overheads", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("front", "ray", "knock", "client"), default="front")
    parser.add_argument("--lines", type=int, default=200, metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S")
    args = parser.parse_args()
    match args.what:
        case "knock":
            found = _measure_connections(300)
        case "client":
            found = _measure_client_memory()
        case _:
            found = _measure_streams(args.what, args.lines, args.seconds)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
