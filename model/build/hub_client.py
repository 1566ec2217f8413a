"""The only door to huggingface_hub: what a repository holds, and one file of it into a file here.

It goes on where a file ends that is begun. Whether what came is what the hub told of is for others to see: of what
comes by plain HTTP the library checks the length and no more, and since 2.x it goes on with nothing that another
process began. So its Xet, which writes a file anew each time, is not asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from model.errors import ModelError, ModelNotFound
from model.build.hub_repository import COMMIT_PATTERN, HubAddress, HubFile, RepositoryListing, RepositoryRefused

DEFAULT_ENDPOINT = "https://huggingface.co"
LISTING_TIMEOUT_S = 20.0  # for the listing; the library has its own patience with files
DOWNLOAD_CHUNK_BYTES = (
    1 << 20
)  # bytes; the library writes ten times as many at once, and what it has not written is lost
LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}

# Hears how many bytes of a file there are.
OnBytes = Callable[[int], None]


class NoSuchRepository(ModelNotFound):
    """The hub has no such repository, revision or file."""


class NotAllowed(ModelError):
    """The hub has it, and does not give it to us."""

    exit_code = 77


class HubLost(ModelError):
    """There is no network, or no hub at its end, or it broke off. What came so far stays."""

    exit_code = 69


def hub_endpoint() -> str:
    """Where the hub is: $HF_ENDPOINT, or Hugging Face."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def list_repository(address: HubAddress) -> RepositoryListing:
    """What the repository holds, and the commit that its revision is now. Raises ModelError."""
    hub = _import_hub()
    with _translate_hub_errors(address):
        api = hub.HfApi(endpoint=hub_endpoint(), token=_token_setting(), library_name="asr33")
        info = api.model_info(
            address.repository, revision=address.revision, files_metadata=True, timeout=LISTING_TIMEOUT_S
        )
    if info.sha is None or not COMMIT_PATTERN.fullmatch(info.sha):
        raise HubLost(f"{hub_endpoint()}: tells no commit of {address}, so it is no hub; see HF_ENDPOINT")
    files = {sibling.rfilename: _read_hub_file(sibling, address) for sibling in info.siblings or ()}
    return RepositoryListing(replace(address, revision=info.sha), files, _read_licence(info.card_data))


def fetch_file(address: HubAddress, name: str, hub_file: HubFile, file: BinaryIO, on_bytes: OnBytes) -> None:
    """The rest of a file, behind what the file here has of it. Raises ModelError, and OSError of the file here."""
    hub = _import_hub()
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    url = hub.hf_hub_url(address.repository, name, revision=address.revision, endpoint=hub_endpoint())
    headers = build_hf_headers(token=_token_setting(), library_name="asr33")
    has = file.seek(0, os.SEEK_END)
    with _translate_hub_errors(address):
        # By the hub's own address, not by one that it led to: from there the client takes no token along to others.
        http_get(
            url,
            cast(BinaryIO, _BoundedFile(file, name, hub_file.bytes, on_bytes)),
            resume_size=has,
            headers=headers | {"Accept-Encoding": "identity"},
            expected_size=hub_file.bytes,
            displayed_filename=name,
        )


class _BoundedFile:
    """As much of a file as http_get asks for: it takes no more bytes than it shall have, and tells how many it has."""

    def __init__(self, file: BinaryIO, name: str, max_bytes: int, on_bytes: OnBytes) -> None:
        self._file = file
        self._name = name
        self._max_bytes = max_bytes
        self._on_bytes = on_bytes
        self.seek, self.tell, self.truncate = file.seek, file.tell, file.truncate

    def write(self, data: bytes) -> int:
        if self.tell() + len(data) > self._max_bytes:
            raise HubLost(
                f"{self._name}: the hub sends more than the {self._max_bytes} bytes that it told of; try again"
            )
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
    set_verbosity(logging.CRITICAL)  # what goes wrong is told once, by us
    if not os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"):
        disable_progress_bars()
    return huggingface_hub


def _token_setting() -> bool | None:
    """None lets the library find one; it goes to nobody who could only be asked in the clear, over a network."""
    parts = urlsplit(hub_endpoint())
    return False if parts.scheme != "https" and parts.hostname not in LOOPBACK_HOSTS else None


def _read_hub_file(sibling: Any, address: HubAddress) -> HubFile:
    size, digest = sibling.size, sibling.blob_id
    if sibling.lfs is not None:
        size, digest = sibling.lfs.size, sibling.lfs.sha256
    if not isinstance(size, int) or not isinstance(digest, str):
        raise HubLost(f"{hub_endpoint()}: tells neither size nor hash of {address}'s files; use another HF_ENDPOINT")
    return HubFile(size, digest)


def _read_licence(card: Any) -> str:
    told = getattr(card, "license", None)
    text = ", ".join(map(str, told)) if isinstance(told, list) else str(told or "")
    return "".join(char for char in text if char.isprintable())[:100]


@contextmanager
def _translate_hub_errors(address: HubAddress) -> Iterator[None]:
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        where = f"{DEFAULT_ENDPOINT}/{address.repository}"
        raise NotAllowed(
            f"{address}: its owner wants you to agree to terms: do so at {where}, then set HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise NoSuchRepository(
            f"{address}: no such repository at {hub_endpoint()}, or a private one; see how it is spelt, or set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise NoSuchRepository(
            f"{address}: the repository has no such revision; leave out the @, or ask for another"
        ) from None
    except errors.RemoteEntryNotFoundError:
        raise NoSuchRepository(f"{address}: the hub tells of a file and does not have it; try again later") from None
    except errors.HfHubHTTPError as error:
        raise _error_for_status(error.response.status_code, address) from None
    except errors.OfflineModeIsEnabled:
        raise HubLost(f"{address}: offline, since HF_HUB_OFFLINE says so; unset it") from None
    except errors.HFValidationError:
        raise RepositoryRefused(f"{address}: the hub has no such names; see how it is spelt") from None
    except httpx2.TransportError as error:
        raise HubLost(
            f"{hub_endpoint()}: offline, or broken off ({_reason(error)}); the same command goes on from there"
        ) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, KeyError, TypeError, AttributeError, ValueError) as error:
        raise HubLost(f"{hub_endpoint()}: does not answer as a hub does ({_reason(error)}); see HF_ENDPOINT") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise HubLost(
            f"{hub_endpoint()}: broke off in the middle of a file; the same command goes on from there"
        ) from None


def _error_for_status(status: int, address: HubAddress) -> ModelError:
    if status in (401, 403):
        return NotAllowed(f"{address}: the hub refuses ({status}): see that HF_TOKEN is right, or unset it")
    return HubLost(f"{hub_endpoint()}: answers {status}; the same command goes on later")


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
