"""The client of the Hugging Face hub: lists a repository and downloads one file.

No other module imports huggingface_hub. A download continues where the partial file ends. The caller checks the hash,
because the library checks only the length over plain HTTP. Since version 2 the library does not continue the download
of another process, and its Xet protocol writes each file from its start; so this module calls `http_get` itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from model.build.hub_repository import COMMIT_PATTERN, DownloadRejected, HubAddress, HubFile, RepositoryListing
from model.errors import ModelError, ModelNotFound

DEFAULT_ENDPOINT = "https://huggingface.co"
LISTING_TIMEOUT_S = 20.0  # for the listing only; the library has its own timeouts for files
DOWNLOAD_CHUNK_BYTES = 1 << 20  # a tenth of the library's own: an interrupted download loses the unwritten chunk
LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}

OnBytes = Callable[[int], None]  # receives the bytes of a file that are there


def hub_endpoint() -> str:
    """The URL of the hub: $HF_ENDPOINT, or Hugging Face."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def list_repository(address: HubAddress) -> RepositoryListing:
    """The files of a repository, and the commit of its revision. Raises ModelError."""
    hub = _import_hub()
    with _translate_hub_errors(address):
        api = hub.HfApi(endpoint=hub_endpoint(), token=_token_setting(), library_name="asr33")
        options = {"files_metadata": True, "timeout": LISTING_TIMEOUT_S}
        info = api.model_info(address.repository, revision=address.revision, **options)
    if info.sha is None or not COMMIT_PATTERN.fullmatch(info.sha):
        raise _unavailable(f"names no commit of {address}, so it is no hub; see HF_ENDPOINT")
    files = {sibling.rfilename: _read_hub_file(sibling, address) for sibling in info.siblings or ()}
    return RepositoryListing(replace(address, revision=info.sha), files, _read_licence(info.card_data))


def fetch_file(address: HubAddress, name: str, hub_file: HubFile, file: BinaryIO, on_bytes: OnBytes) -> None:
    """Appends the rest of a file to the local file. Raises ModelError, and OSError of the local file."""
    hub = _import_hub()
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    url = hub.hf_hub_url(address.repository, name, revision=address.revision, endpoint=hub_endpoint())
    headers = build_hf_headers(token=_token_setting(), library_name="asr33")
    size = file.seek(0, os.SEEK_END)
    with _translate_hub_errors(address):
        # This URL is at the hub: the library drops the token when a redirect leaves the hub.
        http_get(
            url,
            cast(BinaryIO, _BoundedFile(file, name, hub_file.bytes, on_bytes)),
            resume_size=size,
            headers=headers | {"Accept-Encoding": "identity"},
            expected_size=hub_file.bytes,
            displayed_filename=name,
        )


class _BoundedFile:
    """The file methods that http_get calls. It refuses bytes beyond `max_bytes`, and reports the size of the file."""

    def __init__(self, file: BinaryIO, name: str, max_bytes: int, on_bytes: OnBytes) -> None:
        self._file = file
        self._name = name
        self._max_bytes = max_bytes
        self._on_bytes = on_bytes
        self.seek, self.tell, self.truncate = file.seek, file.tell, file.truncate

    def write(self, data: bytes) -> int:
        if self.tell() + len(data) > self._max_bytes:
            listed = f"more than the {self._max_bytes} bytes that it listed"
            raise ModelError(f"{self._name}: the hub sends {listed}; try again", "unavailable")
        written = self._file.write(data)
        self._on_bytes(self.tell())
        return written


def _import_hub() -> Any:
    import logging

    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils.logging import set_verbosity
    from huggingface_hub.utils.tqdm import disable_progress_bars

    constants.DOWNLOAD_CHUNK_SIZE = DOWNLOAD_CHUNK_BYTES
    set_verbosity(logging.CRITICAL)  # this module reports each error itself, once
    if not os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"):
        disable_progress_bars()
    return huggingface_hub


def _token_setting() -> bool | None:
    """None if the library may send a token; False if it may not, because the network is not encrypted."""
    parts = urlsplit(hub_endpoint())
    return False if parts.scheme != "https" and parts.hostname not in LOOPBACK_HOSTS else None


def _read_hub_file(sibling: Any, address: HubAddress) -> HubFile:
    size, digest = sibling.size, sibling.blob_id
    if sibling.lfs is not None:
        size, digest = sibling.lfs.size, sibling.lfs.sha256
    if not isinstance(size, int) or not isinstance(digest, str):
        raise _unavailable(f"lists neither size nor hash of {address}'s files; use another HF_ENDPOINT")
    return HubFile(size, digest)


def _read_licence(card: Any) -> str:
    licence = getattr(card, "license", None)
    text = ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence or "")
    return "".join(char for char in text if char.isprintable())[:100]


@contextmanager
def _translate_hub_errors(address: HubAddress) -> Iterator[None]:
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        cure = f"agree to its terms at {DEFAULT_ENDPOINT}/{address.repository}, then set HF_TOKEN"
        raise ModelError(f"{address}: the owner limits access: {cure}", "denied") from None
    except errors.RepositoryNotFoundError:
        cure = "check its spelling, or set HF_TOKEN"
        raise ModelNotFound(f"{address}: no such repository at {hub_endpoint()}, or a private one; {cure}") from None
    except errors.RevisionNotFoundError:
        cure = "leave out the @, or name another revision"
        raise ModelNotFound(f"{address}: the repository has no such revision; {cure}") from None
    except errors.RemoteEntryNotFoundError:
        raise ModelNotFound(f"{address}: the hub lists a file but does not have it; try again later") from None
    except errors.HfHubHTTPError as error:
        raise _error_for_status(error.response.status_code, address) from None
    except errors.OfflineModeIsEnabled:
        raise ModelError(f"{address}: HF_HUB_OFFLINE forbids the download; unset it", "unavailable") from None
    except errors.HFValidationError:
        raise DownloadRejected(f"{address}: the hub allows no such name; check its spelling") from None
    except httpx2.TransportError as error:
        raise _unavailable(
            f"no connection to the hub ({_reason(error)}); run the same command again, it continues"
        ) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _unavailable(f"does not answer as a hub does ({_reason(error)}); see HF_ENDPOINT") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unavailable(
            "the connection broke in the middle of a file; run the same command again, it continues"
        ) from None


def _error_for_status(status: int, address: HubAddress) -> ModelError:
    if status in (401, 403):
        return ModelError(f"{address}: the hub refuses ({status}): correct HF_TOKEN, or unset it", "denied")
    return _unavailable(f"answers {status}; the same command continues later")


def _unavailable(problem: str) -> ModelError:
    return ModelError(f"{hub_endpoint()}: {problem}", "unavailable")


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
