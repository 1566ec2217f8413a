"""Reads the packages of the engine, the models' files and their hashes, and asks the model servers."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from daemon.config import ModelConfig
from model.errors import ModelError, ModelNotFound, ServerLost
from model.server_url import ServerUrl, is_url, parse_server_url
from tools.doctor.finding import Unread
from tools.doctor.model_findings import (
    CPU_PACKAGE,
    GPU_PACKAGE,
    EngineReading,
    KeyFileReading,
    ModelFilesReading,
    ServerOutcome,
    ServerReading,
)

if TYPE_CHECKING:
    from model.client.http_client import ClientConfig

_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"  # of PCI: pci.ids
_MAX_PAGE_BYTES = 4096
_NETWORK_LOGIN = 511  # Network Authentication Required: RFC 6585
_PAGE = ("text/html", "application/xhtml+xml")


def read_engine(root: Path, search_path: Sequence[str] | None = None) -> EngineReading:
    """`search_path`: where packages lie, by default that of this Python."""
    places = list(sys.path if search_path is None else search_path)
    found = {
        name.lower().replace("_", "-") for one in importlib.metadata.distributions(path=places) if (name := one.name)
    }
    spec = importlib.machinery.PathFinder.find_spec(CPU_PACKAGE, places)
    gpu = find_gpu(root)
    packages = tuple(name for name in (CPU_PACKAGE, GPU_PACKAGE) if name in found)
    is_empty = spec is not None and spec.origin is None
    if not gpu:
        return EngineReading(packages, is_empty)
    if not packages or is_empty:
        return EngineReading(packages, is_empty, gpu, Unread("onnxruntime is not there to ask"))
    return EngineReading(packages, is_empty, gpu, _try_gpu())


def find_gpu(root: Path) -> str:
    """Returns where the kernel shows an NVIDIA GPU; "" without one. It need not have a driver."""
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY_CLASS):
            return f"PCI {device.name}"
    driver = root / "proc/driver/nvidia/version"  # in a container, or on a board without PCI
    return "/proc/driver/nvidia" if driver.exists() else ""


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _try_gpu() -> str:
    """Opens the embedded model on the GPU; returns why that fails, or ""."""
    from model.onnx.runtime import OnnxModel
    from model.store import store

    try:
        OnnxModel(store.find_model(store.EMBEDDED) / store.GRAPH_FILE, device="cuda")
    except ModelError as error:
        return str(error)
    return ""


def read_model_files(name: str) -> ModelFilesReading:
    """Hashes every file of a model on this disk."""
    from model.store import store

    try:
        folder = store.find_model(name)
    except ModelError as error:
        return ModelFilesReading(name, error=str(error), is_absent=True)
    try:
        store.verify_model(folder)
    except ModelError as error:
        return ModelFilesReading(name, str(folder), str(error))
    return ModelFilesReading(name, str(folder))


def list_local_models(config: ModelConfig) -> list[str]:
    """Returns the configured models of this disk, and the embedded one: asr33 is incomplete without it."""
    names = [name for name in (config.name, *config.otherwise) if name and not is_url(name)]
    return list(dict.fromkeys([*names, "embedded"]))


def list_servers(config: ModelConfig) -> list[str]:
    return [name for name in (config.name, *config.otherwise) if is_url(name)]


def read_key_file(file: Path) -> KeyFileReading:
    from model.client.http_client import read_api_key

    path = file.expanduser()
    try:
        read_api_key(path)
        mode = path.stat().st_mode
    except (ModelError, OSError) as error:
        return KeyFileReading(str(path), error=str(error))
    return KeyFileReading(str(path), others_may_read=bool(mode & (stat.S_IRGRP | stat.S_IROTH)))


async def read_server(url: str, config: ModelConfig) -> ServerReading:
    """Asks the server for its health without the key, then for its models with the key. Prints nothing of an answer."""
    from model.client.api_client import ApiClient
    from model.client.http_client import ClientConfig

    key_file = str(config.key_file.expanduser()) if config.key_file else ""
    try:
        server_url = parse_server_url(url)
        plain = ClientConfig(ca_file=config.ca_file)
        if page := await _find_login_page(server_url, plain):
            return ServerReading(url, "login page", page, key_file=key_file)
        key = _read_key_or_none(config)
        client = ApiClient(
            server_url, ClientConfig(api_key=key, allow_plain=config.allow_plain, ca_file=config.ca_file)
        )
    except ServerLost as error:
        return ServerReading(url, "unreachable", str(error), key_file=key_file)
    except ModelError as error:
        return ServerReading(url, "foreign", str(error), key_file=key_file)
    try:
        await client.load_info()
    except ServerLost as error:
        outcome: ServerOutcome = "foreign" if "malformed" in str(error) else "unreachable"
        return ServerReading(url, outcome, str(error), bool(key), key_file)
    except ModelNotFound as error:
        return ServerReading(url, "model absent", str(error), bool(key), key_file)
    except ModelError as error:
        return ServerReading(url, "denied" if error.kind == "denied" else "foreign", str(error), bool(key), key_file)
    finally:
        await client.close()
    return ServerReading(url, "answers", "", bool(key), key_file)


def _read_key_or_none(config: ModelConfig) -> str:
    """Returns the key; "" if its file cannot be read, which has a finding of its own."""
    from model.client.http_client import read_api_key

    try:
        return read_api_key(config.key_file)
    except ModelError:
        return ""


async def _find_login_page(server_url: ServerUrl, config: ClientConfig) -> str:
    """Returns what answers if it is a page for browsers or leads to one, else "". Raises ServerLost, ModelError."""
    from model.client.http_client import HttpClient

    client = HttpClient(server_url, config)
    try:
        async with client.request("GET", "/health") as reply:
            location = urljoin(server_url.base_url, reply.headers.get("location", ""))
            if 300 <= reply.status < 400 and urlsplit(location).hostname not in (None, server_url.host):
                return f"it leads to another host ({reply.status})"
            body = await reply.read_body(_MAX_PAGE_BYTES)
            looks_like_page = reply.content_type in _PAGE or body.lstrip()[:14].lower().startswith(
                (b"<!doctype", b"<html")
            )
            if reply.status == _NETWORK_LOGIN or (reply.status == 200 and looks_like_page):
                return f"it sends a page for browsers ({reply.status})"
    finally:
        await client.close()
    return ""
