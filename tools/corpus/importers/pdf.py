"""PDFs by their text layer, a record a page; pages that are pictures go through the program ocrmypdf where it is there.

The door to pypdf. It leaves lines as they stand on the page: words divided at their ends, and running heads, are for
cleaning, which sees the pages of one thread as one document. It breaks no passwords.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from tools.corpus.archive import Member
from tools.corpus.errors import MemberError
from tools.corpus.record import DamagedItem, ImportItem, Record, SkippedItem, SourceWarning
from tools.corpus.threads import catch_damage

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

KIND = "pdf"

MAGIC = b"%PDF-"
OCR_PROGRAM = "ocrmypdf"
# What was added once is not added again, so the words for a corpus that has the file already are the same.
NO_OCR_PROGRAM = f"a page without text: apt install {OCR_PROGRAM}, then add the file to a new corpus"
MAX_MEMORY_BYTES = 32 << 20  # bytes of a PDF; a larger one waits in a temporary file
MAX_REPORTED = 8  # numbers of pages


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Those that are called a PDF, or begin as one does."""
    claimed = [member for member in members if _is_pdf(member)]
    if claimed:
        import pypdf  # noqa: F401 (before hours of work: it may not be installed)
    return claimed


def read_items(members: Sequence[Member]) -> Iterator[ImportItem]:
    """Each file's pages in order."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it comments on every fault that it can mend
    for member in members:
        with ExitStack() as held:
            yield from catch_damage(_PdfDocument(member, held).read_items(), member)


def _is_pdf(member: Member) -> bool:
    if PurePosixPath(member.name).suffix.lower() == ".pdf":
        return True
    try:
        return member.read_head(len(MAGIC)) == MAGIC
    except MemberError:
        return False


class _PdfDocument:
    """One PDF on its way; what it opens is `held`."""

    def __init__(self, member: Member, open_files: ExitStack) -> None:
        self._member = member
        self._open_files = open_files
        self._unreadable_pages: list[int] = []  # pages, counted from 1
        self._ocr_result: PdfReader | None = None
        self._ocr_fault = ""  # why there is no text in pages that are pictures

    def read_items(self) -> Iterator[ImportItem]:
        """Raises MemberRefused for a whole that cannot be read."""
        with tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES) as spool, self._member.open() as packed:
            shutil.copyfileobj(packed, spool)
            file = cast(IO[bytes], spool)
            pages = _open_pdf(file, self._member.location)
            for number in range(len(pages.pages)):
                yield from self._read_page(pages, number, file)
        if self._unreadable_pages:
            numbers = ", ".join(map(str, self._unreadable_pages[:MAX_REPORTED])) + (
                ", ..." if len(self._unreadable_pages) > MAX_REPORTED else ""
            )
            what = f"{len(self._unreadable_pages)} of its {len(pages.pages)} pages cannot be read: {numbers}"
            yield DamagedItem(self._member.location, what)

    def _read_page(self, pages: PdfReader, number: int, file: IO[bytes]) -> Iterator[ImportItem]:
        place = self._member.location
        try:
            text, pictured = _extract_text(pages.pages[number])
        except Exception:  # whatever pypdf meets in a page that is not as it should be
            self._unreadable_pages.append(number + 1)
            return
        if not text.strip() and pictured:
            if self._ocr_result is None and not self._ocr_fault:
                yield from self._run_ocr(file)
            text = self._ocr_text(number)
        if text.strip():
            yield Record(place, self._member.name, text)
        elif pictured:
            yield SkippedItem(place, self._ocr_fault or f"a page in which {OCR_PROGRAM} saw no text")
        else:
            yield SkippedItem(place, "a blank page")

    def _ocr_text(self, number: int) -> str:
        try:
            return "" if self._ocr_result is None else _extract_text(self._ocr_result.pages[number])[0]
        except Exception:  # as above
            return ""

    def _run_ocr(self, file: IO[bytes]) -> Iterator[ImportItem]:
        """All pages that are pictures, at once: the program leaves those with text as they are."""
        program = shutil.which(OCR_PROGRAM)
        if program is None:
            self._ocr_fault = NO_OCR_PROGRAM
            return
        folder = Path(self._open_files.enter_context(tempfile.TemporaryDirectory()))
        file.seek(0)
        with (folder / "in.pdf").open("wb") as copy:
            shutil.copyfileobj(file, copy)
        words = [program, "--skip-text", "--quiet", "--output-type", "pdf", *map(str, (copy.name, folder / "out.pdf"))]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        try:
            if done.returncode:
                raise MemberError(f"exit code {done.returncode}")
            out = self._open_files.enter_context((folder / "out.pdf").open("rb"))
            self._ocr_result = _open_pdf(out, self._member.location)
        except (OSError, MemberError):
            self._ocr_fault = f"a page without text, in a document that {OCR_PROGRAM} could not read"
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            yield SourceWarning(
                self._member.location, f"{OCR_PROGRAM} failed with exit code {done.returncode}: {last or 'no word'}"
            )


def _open_pdf(file: IO[bytes], location: str) -> PdfReader:
    """Raises MemberRefused."""
    import pypdf

    file.seek(0)
    try:
        pages = pypdf.PdfReader(file)
        if pages.is_encrypted and not pages.decrypt(""):  # many are, for their printing alone, with an empty password
            raise MemberError(f"{location}: encrypted; save it without a password")
        len(pages.pages)
    except MemberError:
        raise
    except pypdf.errors.DependencyError:
        raise MemberError(f"{location}: encrypted; save it without a password, or pip install cryptography") from None
    except Exception as error:  # pypdf has many ways to be surprised
        raise MemberError(
            f"{location}: not a whole PDF ({str(error) or type(error).__name__}); fetch it again"
        ) from None
    return pages


def _extract_text(page: PageObject) -> tuple[str, bool]:
    """What can be read on it, and whether there are pictures. Raises whatever pypdf does."""
    text = page.extract_text()
    if text.strip():
        return text, False
    resources = page.get("/Resources")
    objects = None if resources is None else resources.get_object().get("/XObject")
    return "", bool(objects is not None and objects.get_object())
