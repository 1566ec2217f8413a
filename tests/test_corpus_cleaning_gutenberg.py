from __future__ import annotations

import lzma
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning import CleaningCounts, CleaningOptions, StepCount, clean_records
from tools.corpus.cleaning.gutenberg import cut_gutenberg
from tools.corpus.record import Record

BOOK = "CHAPTER I\n\nIt was stuck since Monday.\n\nThe end of the project was near; the Gutenberg press stood still."
NEW_HEADER = """\ufeffThe Project Gutenberg eBook of The Pump
    
This ebook is for the use of anyone anywhere in the United States and
most other parts of the world at no cost. You may copy it at www.gutenberg.org.

Title: The Pump

Author: Odo Brink

Release date: March 1, 2021 [eBook #12345]

Language: English

Credits: Produced by Mara Quist and the Online Distributed Proofreading Team at https://www.pgdp.net

"""
LICENCE = """

Updated editions will replace the previous one. Creating the works from print editions not protected by U.S.
copyright law means that no one owns a United States copyright in these works.

START: FULL LICENSE

THE FULL PROJECT GUTENBERG LICENSE
PLEASE READ THIS BEFORE YOU DISTRIBUTE OR USE THIS WORK

Section 1. General Terms of Use and Redistributing Project Gutenberg-tm electronic works
"""
OLD_HEADER = """**The Project Gutenberg Etext of The Pump, by Odo Brink**
#3 in our series by Odo Brink

**Welcome To The World of Free Plain Vanilla Electronic Texts**

*These Etexts Prepared By Hundreds of Volunteers and Donations*

The Pump
by Odo Brink
October, 1996  [Etext #701]

***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***
Why is this "Small Print!" statement here?  You know: lawyers.
They tell us you might sue us if there is something wrong with
your copy of this Project Gutenberg etext, even if you got it for free.

*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*




"""


def cut(text: str) -> list[str]:
    return [record.text for record in cut_gutenberg(iter([Record("a", "a", text)]), StepCount())]


def marks(start: str, end: str) -> str:
    return f"{NEW_HEADER}{start}\n\n\n{BOOK}\n\n\n{end}{LICENCE}"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (
            "*** START OF THE PROJECT GUTENBERG EBOOK THE PUMP ***",
            "*** END OF THE PROJECT GUTENBERG EBOOK THE PUMP ***",
        ),
        (
            "*** START OF THIS PROJECT GUTENBERG EBOOK THE PUMP ***",
            "*** END OF THIS PROJECT GUTENBERG EBOOK THE PUMP ***",
        ),
        ("***START OF THE PROJECT GUTENBERG EBOOK THE PUMP***", "***END OF THE PROJECT GUTENBERG EBOOK THE PUMP***"),
        (
            "*** START OF THE PROJECT GUTENBERG EBOOK THE PUMP AND\nOARS ***",
            "End of the Project Gutenberg EBook of The Pump and\nOars, by Odo Brink\n\n*** END OF THIS PROJECT "
            "GUTENBERG EBOOK THE PUMP AND\nOARS ***",
        ),
        (
            "*** START OF THE PROJECT GUTENBERG EBOOK THE PUMP ***\n\n\n\n\nProduced by Mara Quist and the Online\n"
            "Distributed Proofreading Team at https://www.pgdp.net (This\nfile was produced from images.)\n\n\n"
            "Transcriber's Note: the errors of the original were kept.\n\n[E-text prepared by Lys]",
            "End of Project Gutenberg's The Pump, by Odo Brink",
        ),
        ("*** START OF THE PROJECT GUTENBERG EBOOK DIE PUMPE ***", "Ende dieses Project Gutenberg Etextes Die Pumpe"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK LA POMPE ***", "Fin du Projet Gutenberg EBook de La Pompe"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK THE PUMP ***", "*** START: FULL LICENSE ***"),
    ],
)
def test_header_credits_and_licence_are_cut(start: str, end: str) -> None:
    assert cut(marks(start, end)) == [BOOK]


def test_the_old_small_print_is_cut_before_and_behind_a_book() -> None:
    assert cut(f"{OLD_HEADER}{BOOK}\n\nEnd of The Project Gutenberg Etext of The Pump, by Odo Brink\n") == [BOOK]
    assert cut(f"{OLD_HEADER}{BOOK}\n") == [BOOK]
    small_print = OLD_HEADER[OLD_HEADER.index("***START") :]
    long_book = "\n\n".join([BOOK] * 30)
    assert cut(f"{long_book}\n\n{small_print}") == [long_book]


def test_a_book_cut_at_one_end_keeps_the_rest() -> None:
    text = marks("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK X ***")
    assert cut(text[text.index("CHAPTER") :]) == [BOOK]
    assert cut(text[: text.index("stood still.") + 12]) == [BOOK]


def test_several_books_in_a_file_are_several_documents() -> None:
    new = marks("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK X ***")
    old = f"{OLD_HEADER}{BOOK}\n\nEnd of the Project Gutenberg Etext of X\n\n"
    records = list(cut_gutenberg(iter([Record("a", "a.txt", new + old + new)]), StepCount()))
    assert [record.text for record in records] == [BOOK] * 3
    assert [record.thread for record in records] == ["a.txt", "a.txt, book 2", "a.txt, book 3"]
    unfinished = NEW_HEADER + "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n" + "\n\n".join([BOOK] * 200) + "\n\n"
    assert cut(unfinished + new) == ["\n\n".join([BOOK] * 200), BOOK]


@pytest.mark.parametrize(
    "text",
    [
        BOOK,
        "He found the book at Project Gutenberg.\n\nThe end of Project Gutenberg was not near.",
        "Produced by hand\n\nTranscribed from memory by Odo.",
        "*** START OF THE RACE ***\nrun\n*** END OF THE RACE ***",
    ],
)
def test_other_texts_are_unchanged(text: str) -> None:
    assert cut(text) == [text]


OWN = "\n\n".join(f"On day {n} I rowed to the pump, and it was stuck as before." for n in range(60))
START, END = (f"*** {word} OF THE PROJECT GUTENBERG EBOOK ***" for word in ("START", "END"))


@pytest.mark.parametrize(
    "middle",
    [
        "End of Project Gutenberg for me, I said, and went on.",
        "End of Project Gutenberg",
        f"{START}\nis what they print.",
        f"{START}\n\nis what they print.",
        f"{END}\n\nThe small print and the licence bored me; I went on.",
        f"{START}\n\nThey print this, and\n\n{END}\n\nbehind a book.",
        "***START**THE SMALL PRINT!\n\nThe words of lawyers.",
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
        "***START**THE SMALL PRINT!\n\nbored me.\n\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*END*",
        "The Project Gutenberg eBook of Emma is on my desk.\n\nTitle: none yet.",
        "Fin du Projet Gutenberg pour moi.",
        "*** START: FULL LICENSE ***\n\nI read no further.",
    ],
)
def test_a_person_may_write_about_the_project(middle: str) -> None:
    for text in (f"{OWN}\n\n{middle}\n\n{OWN}", f"My diary.\n\n{middle}\n\nAnd so it went on.", f"{OWN}\n\n{middle}"):
        assert cut(text) == [text]
    assert "".join(cut(f"{middle}\n\n{OWN}")).endswith(OWN)


def test_own_words_around_a_book_and_its_licence_stay() -> None:
    book = marks(START, END)
    assert cut(f"{OWN}\n\n{book}\n\n{OWN}") == [OWN, BOOK, OWN]
    assert cut(f"{BOOK}\n\n{END}{LICENCE}\n\n{OWN}") == [BOOK, OWN]
    text = f"{NEW_HEADER}{START}\n\n{BOOK}\n\nEnd of Project Gutenberg for me, I said.\n\n{OWN}"
    assert cut(text) == [text[text.index("CHAPTER") :]]


def test_a_header_without_small_print_is_cut() -> None:
    header = OLD_HEADER[: OLD_HEADER.index("***START")]
    assert cut(f"{header}\n{BOOK}") == [BOOK]


@pytest.mark.parametrize(
    "second", ["", "*****The Project Gutenberg Etext of The Pump*****\n", "Project Gutenberg Etexts, a list\n"]
)
def test_two_pages_about_the_project_before_the_small_print_are_cut(second: str) -> None:
    about = "".join(f"We produce Etexts worth two million dollars for each hour we work, {n}.\n" for n in range(80))
    pages = f"{second}Information about Project Gutenberg (one page)\n\n{about}\n{second}{about}"
    header = OLD_HEADER.replace("***START", f"{pages}\n***START", 1)
    book = f"{OWN}\n\n" * 5 + OWN
    assert cut(header + OWN) == [OWN]
    assert cut(header + book) == [book]
    assert cut(f"{header}{book}\n\n{header}{book}") == [book, book]


def test_the_small_print_behind_a_short_book_is_no_document() -> None:
    small_print = OLD_HEADER[OLD_HEADER.index("***START") :]
    assert cut(f"{BOOK}\n\n{small_print}") == [BOOK]
    assert cut(f"{OLD_HEADER[: OLD_HEADER.index('***START')]}\n{OWN}\n\n{small_print}") == [OWN]


def test_a_large_cut_is_told_with_its_size() -> None:
    counts = CleaningCounts()
    list(clean_records([Record("a", "novel.txt", marks(START, END))], CleaningOptions(), counts))
    (note,) = counts.notes
    assert re.fullmatch(
        r"gutenberg: [\d,]+ characters cut from 1 text \(89 % of novel.txt\); .*--without gutenberg", note
    )
    counts = CleaningCounts()
    list(
        clean_records([Record("a", "novel.txt", marks(START, END).replace(BOOK, OWN * 20))], CleaningOptions(), counts)
    )
    assert not counts.notes


def test_messages_are_unchanged_and_a_licence_alone_leaves_nothing() -> None:
    message = Record("a", "a", "*** START OF THE PROJECT GUTENBERG EBOOK X ***\nhm", kind="message")
    assert list(cut_gutenberg(iter([message]), StepCount())) == [message]
    mark = "*** {} OF THE PROJECT GUTENBERG EBOOK X ***"
    assert cut(f"{NEW_HEADER}{mark.format('START')}\n\n{mark.format('END')}") == []


def test_real_books_lose_nothing() -> None:
    path = Path(__file__).parents[1] / "../shared/corpus/young.txt.xz"
    if not path.exists():
        pytest.skip("the shared corpus is not here")
    text = lzma.decompress(path.read_bytes()).decode()
    assert cut(text) == [text]
    assert cut(text + "\nProject Gutenberg\n") == [text + "\nProject Gutenberg\n"]


MARK = "*** START OF THE PROJECT GUTENBERG EBOOK X ***"
BITS = st.sampled_from(
    ["*** START OF THE PROJECT GUTENBERG EBOOK X ***", "***", "Produced by ", "Project Gutenberg", "\n"]
)


@given(st.lists(BITS | st.text(max_size=5), max_size=30).map("".join))
def test_every_book_is_a_part_of_the_text(text: str) -> None:
    for book in cut(text):
        assert book in text


@pytest.mark.parametrize("text", ["*" * 50_000, MARK[:35] * 3000, "End of " * 20_000 + "Project Gutenberg"])
def test_pathological_texts_are_cut_quickly(text: str) -> None:
    start = time.process_time()
    cut(f"Project Gutenberg\n{text}")
    assert time.process_time() - start < 2
