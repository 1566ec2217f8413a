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

from tools.corpora.errors import MemberRefused
from tools.corpora.members import Member
from tools.corpora.record import Damaged, Found, Record, Skipped, Warned
from tools.corpora.threads import told

if TYPE_CHECKING:
    from pypdf import PageObject, PdfReader

KIND = "pdf"

MAGIC = b"%PDF-"
PROGRAM = "ocrmypdf"
# What was added once is not added again, so the words for a corpus that has the file already are the same.
NO_PROGRAM = f"a page without text: apt install {PROGRAM}, then add the file to a new corpus"
IN_MEMORY = 32 << 20  # bytes of a PDF; a larger one waits in a temporary file
TOLD = 8  # numbers of pages


def claim(members: Sequence[Member]) -> Sequence[Member]:
    """Those that are called a PDF, or begin as one does."""
    claimed = [member for member in members if _is_pdf(member)]
    if claimed:
        import pypdf  # noqa: F401 (before hours of work: it may not be installed)
    return claimed


def found(members: Sequence[Member]) -> Iterator[Found]:
    """Each file's pages in order."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it comments on every fault that it can mend
    for member in members:
        with ExitStack() as held:
            yield from told(_Document(member, held).found(), member)


def _is_pdf(member: Member) -> bool:
    if PurePosixPath(member.name).suffix.lower() == ".pdf":
        return True
    try:
        return member.head(len(MAGIC)) == MAGIC
    except MemberRefused:
        return False


class _Document:
    """One PDF on its way; what it opens is `held`."""

    def __init__(self, member: Member, held: ExitStack) -> None:
        self._member = member
        self._held = held
        self._unread: list[int] = []  # pages, counted from 1
        self._recognised: PdfReader | None = None
        self._fault = ""  # why there is no text in pages that are pictures

    def found(self) -> Iterator[Found]:
        """Raises MemberRefused for a whole that cannot be read."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool, self._member.open() as packed:
            shutil.copyfileobj(packed, spool)
            file = cast(IO[bytes], spool)
            pages = _opened(file, self._member.place)
            for number in range(len(pages.pages)):
                yield from self._page(pages, number, file)
        if self._unread:
            numbers = ", ".join(map(str, self._unread[:TOLD])) + (", ..." if len(self._unread) > TOLD else "")
            what = f"{len(self._unread)} of its {len(pages.pages)} pages cannot be read: {numbers}"
            yield Damaged(self._member.place, what)

    def _page(self, pages: PdfReader, number: int, file: IO[bytes]) -> Iterator[Found]:
        place = self._member.place
        try:
            text, pictured = _text(pages.pages[number])
        except Exception:  # whatever pypdf meets in a page that is not as it should be
            self._unread.append(number + 1)
            return
        if not text.strip() and pictured:
            if self._recognised is None and not self._fault:
                yield from self._recognise(file)
            text = self._recognised_text(number)
        if text.strip():
            yield Record(place, self._member.name, text)
        elif pictured:
            yield Skipped(place, self._fault or f"a page in which {PROGRAM} saw no text")
        else:
            yield Skipped(place, "a blank page")

    def _recognised_text(self, number: int) -> str:
        try:
            return "" if self._recognised is None else _text(self._recognised.pages[number])[0]
        except Exception:  # as above
            return ""

    def _recognise(self, file: IO[bytes]) -> Iterator[Found]:
        """All pages that are pictures, at once: the program leaves those with text as they are."""
        program = shutil.which(PROGRAM)
        if program is None:
            self._fault = NO_PROGRAM
            return
        folder = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        file.seek(0)
        with (folder / "in.pdf").open("wb") as copy:
            shutil.copyfileobj(file, copy)
        words = [program, "--skip-text", "--quiet", "--output-type", "pdf", *map(str, (copy.name, folder / "out.pdf"))]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        try:
            if done.returncode:
                raise MemberRefused(f"exit code {done.returncode}")
            out = self._held.enter_context((folder / "out.pdf").open("rb"))
            self._recognised = _opened(out, self._member.place)
        except (OSError, MemberRefused):
            self._fault = f"a page without text, in a document that {PROGRAM} could not read"
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            yield Warned(self._member.place, f"{PROGRAM} failed with exit code {done.returncode}: {last or 'no word'}")


def _opened(file: IO[bytes], place: str) -> PdfReader:
    """Raises MemberRefused."""
    import pypdf

    file.seek(0)
    try:
        pages = pypdf.PdfReader(file)
        if pages.is_encrypted and not pages.decrypt(""):  # many are, for their printing alone, with an empty password
            raise MemberRefused(f"{place}: encrypted; save it without a password")
        len(pages.pages)
    except MemberRefused:
        raise
    except pypdf.errors.DependencyError:
        raise MemberRefused(f"{place}: encrypted; save it without a password, or pip install cryptography") from None
    except Exception as error:  # pypdf has many ways to be surprised
        raise MemberRefused(
            f"{place}: not a whole PDF ({str(error) or type(error).__name__}); fetch it again"
        ) from None
    return pages


def _text(page: PageObject) -> tuple[str, bool]:
    """What can be read on it, and whether there are pictures. Raises whatever pypdf does."""
    text = page.extract_text()
    if text.strip():
        return text, False
    resources = page.get("/Resources")
    objects = None if resources is None else resources.get_object().get("/XObject")
    return "", bool(objects is not None and objects.get_object())
