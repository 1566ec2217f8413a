"""Tells errors of a computer without memory, threads or a library that loads, and makes each a ModelError of one line.

The libraries report them in many forms: MemoryError, std::bad_alloc in another error, a thread that does not start, a
panic of Rust (a BaseException), a shared library that cannot be mapped.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import sys
from collections.abc import Iterator

from model.errors import EngineFailed, EngineMissing, ModelError
from model.printable import escape_controls

MAX_REASON_CHARS = 160
LIBRARY_BYTES = 240 << 20  # address space that numpy, onnxruntime, tokenizers and the smallest model take; measured
_MEMORY_WORDS = (
    "bad_alloc",
    "cannot allocate",
    "Cannot allocate",
    "failed to map segment",
    "out of memory",
    "Failed to allocate",
)
_THREAD_WORDS = ("can't start new thread", "ThreadPoolBuildError", "pthread_create", "PosixThread")
_MEMORY_CURE = "free some, or take a smaller model: asr33 model list"
_THREAD_CURE = "end other programs, or raise the limit of this user's processes (ulimit -u)"
_LIBRARY_CURE = "in asr33's folder, pip install --force-reinstall '.[cpu]'"


def engine_error_for(error: BaseException) -> ModelError | None:
    """Returns the error to report in place of this one; None if the computer is not the cause."""
    is_panic = type(error).__name__ == "PanicException"  # of pyo3, which has no name to import
    if isinstance(error, ModelError) or not (isinstance(error, Exception) or is_panic):
        return None  # a cancellation is none
    text = _all_reasons(error)
    if any(word in text for word in _THREAD_WORDS):
        return EngineFailed(f"this computer starts no more threads for the model: {_THREAD_CURE}")
    is_memory_error = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or is_memory_error or any(word in text for word in _MEMORY_WORDS):
        return EngineFailed(f"too little memory for the model: {_MEMORY_CURE}")
    if is_panic:
        return EngineFailed(f"the tokenizer failed ({_first_line(text)}): start it again")
    if isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        library = (error.name or "a library").split(".")[0]
        return EngineMissing(f"{library} cannot be loaded ({_first_line(text)}): {_LIBRARY_CURE}")
    return None


def prepare_for_libraries() -> None:
    """Raises EngineFailed if the libraries of the model have no room: some of them abort the process then.

    It loads the library that ends threads and unwinds errors, without which glibc aborts too.
    """
    if "onnxruntime" in sys.modules:
        return
    import ctypes  # numpy needs it anyway

    with contextlib.suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1")
    try:  # address space alone: it takes no memory from other programs
        mmap.mmap(-1, LIBRARY_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    except (OSError, MemoryError):
        raise EngineFailed(f"too little memory for the model: {_MEMORY_CURE}") from None


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Raises a ModelError in place of an error for which the computer is the cause."""
    try:
        yield
    except BaseException as error:
        if (known := engine_error_for(error)) is None:
            raise
        raise known from None


def _all_reasons(error: BaseException) -> str:
    """Returns the texts of the error and its causes, the first cause first: numpy writes a page above its own."""
    texts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(texts) < 8:
        texts.insert(0, str(link).strip())
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(filter(None, texts))


def _first_line(text: str) -> str:
    line = next(iter(text.splitlines()), "no reason given")
    return escape_controls(line)[:MAX_REASON_CHARS]
