from __future__ import annotations

import lzma
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning import CleaningCounts, CleaningOptions, StepCount, clean_records
from tools.corpus.cleaning.library_notices import cut_library_notices
from tools.corpus.record import Record

BOOK = "\n\n".join(f"On day {n} Odo rowed to the pump, and it was stuck as before." for n in range(60))


def cut(text: str) -> str:
    (record,) = cut_library_notices(iter([Record("a", "a", text)]), StepCount())
    return record.text


def words(text: str) -> str:
    return "\n\n".join(part.strip() for part in text.split("\n\n") if part.strip())


HEADS = {
    "Australia": """\
Title: The Pump
Author: Odo Brink
* A Project Gutenberg of Australia eBook *
eBook No.: 0100021.txt
Language: English

Project Gutenberg of Australia eBooks are created from printed editions which
are in the public domain.

Copyright laws are changing all over the world. Be sure to check.

To contact Project Gutenberg of Australia go to http://gutenberg.net.au""",
    "Canada": """\
* A Distributed Proofreaders Canada eBook *

This ebook is made available at no cost and with very few restrictions.

This work is in the Canadian public domain, but may be under copyright.

Title: The Pump
Author: Odo Brink
Date of first publication: 1923
Faded Page eBook #20150603

This eBook was produced by: Mara & the team""",
    "Google": """\
This is a digital copy of a book that was preserved for generations.

It has survived long enough for the copyright to expire.

Marks, notations and other marginalia will appear.

Usage guidelines

Google is proud to partner with libraries.

We also ask that you:

+ Make non-commercial use of the files

+ Refrain from automated querying

+ Maintain attribution

+ Keep it legal Whatever your use.

About Google Book Search

Google's mission is to organize the world's information.""",
    "Internet Archive": """\
Full text of "The Pump"

See other formats

Digitized by the Internet Archive
in 2007 with funding from
Microsoft Corporation

http://www.archive.org/details/pump00brin""",
    "Wikisource": """\
About this digital edition

This e-book comes from the online library Wikisource. This multilingual library is built by volunteers.

We distribute our books for free, starting from works not copyrighted.""",
    "Feedbooks": """\
Note: This book is brought to you by Feedbooks
http://www.feedbooks.com
Strictly for personal use, do not use this file for commercial purposes.""",
    "JSTOR": """\
Early Journal Content on JSTOR, Free to Anyone in the World

This article is one of nearly 500,000 scholarly works.

Known as the Early Journal Content, this set of works include.

We encourage people to read and share the Early Journal Content.

JSTOR is a digital library of academic journals.""",
    "ManyBooks": """\
This eBook was downloaded from manybooks.net""",
    "Standard Ebooks": """\
Imprint

This ebook is the product of many hours of hard work by volunteers for Standard Ebooks.

This particular ebook is based on a transcription for Project Gutenberg.

The source text and artwork in this ebook are believed to be in the public domain.""",
    "transcriber": """\
This etext was prepared by Mara Quist, Lake, Ohio.

Transcriber's Note: Obvious errors were corrected.""",
    "transcriber's list": """\
TRANSCRIBER'S NOTES:

Obvious typographical errors have been corrected.

Spelling was retained.""",
    "credits": """\
Produced by Mara Quist and the Online Distributed Proofreading Team""",
}
FEET = {
    "Standard Ebooks": """\
Colophon

This ebook was produced for
Standard Ebooks
by
Mara Quist.

The cover page is adapted from
A Boat.

Uncopyright

May you do good and not evil.

May you find forgiveness for yourself and forgive others.

May you share freely, never taking more than you give.

Copyright pages exist to tell you that you can't.""",
    "Australia": """\
This site is full of FREE ebooks - Project Gutenberg Australia""",
    "Canada": """\
[End of The Pump, by Odo Brink]""",
}


@pytest.mark.parametrize("library", HEADS)
def test_the_notice_before_a_book_is_cut(library: str) -> None:
    assert words(cut(f"{HEADS[library]}\n\n{BOOK}")) == BOOK


@pytest.mark.parametrize("library", FEET)
def test_the_notice_behind_a_book_is_cut(library: str) -> None:
    assert words(cut(f"{BOOK}\n\n{FEET[library]}\n")) == BOOK


@pytest.mark.parametrize(
    "mark",
    [
        "Digitized by Google", "Digitized by VjOOQIC", "Digitized by LjOOQ IC", "Digitized by Microsoft ®",
        "[Illustration]", "[Blank Page]", "This content downloaded from 10.1.2.3 on Mon, 01 Mar 2021 10:00:00 UTC",
        "All use subject to https://about.jstor.org/terms",
        "Public Domain, Google-digitized / http://www.hathitrust.org/x",
    ],
)  # fmt: skip
def test_a_mark_between_the_lines_goes(mark: str) -> None:
    assert cut(f"The pump was\n{mark}\nstuck.") == "The pump was\nstuck."


def test_the_words_of_a_caption_stay() -> None:
    assert cut("One.\n\n[Illustration: The pump, by Mara]\n\nTwo.") == "One.\n\nThe pump, by Mara\n\nTwo."


@pytest.mark.parametrize(
    "text",
    [
        "I found it on Google Books, Wikisource and JSTOR.\n\nThen I read about Feedbooks and Standard Ebooks.",
        "The Internet Archive has a digital copy of a book that was preserved.\n\nUsage guidelines\n\nRow slowly.",
        "Google told me: This is a digital copy of a book that was preserved for generations.",
        "Imprint\n\nMy first novel about google.\n\nColophon\n\nSet by hand.",
        "Produced by hand, the oar of Gutenberg's time was heavy.",
        "Title: Google and I\nAuthor: me\n\nRowed.",
        "The transcriber wrote: Obvious errors were corrected.",
    ],
)
def test_a_person_may_write_about_a_library(text: str) -> None:
    assert cut(text) == text


def test_own_words_between_notices_stay() -> None:
    first, _, last = HEADS["Standard Ebooks"].partition("\n\nThis particular")
    text = f"{first}\n\n{BOOK}\n\nThis particular{last}\n\n{BOOK}"
    assert words(cut(text)) == f"{BOOK}\n\n{BOOK}"


def test_messages_stay_and_a_large_cut_is_told() -> None:
    message = Record("a", "a", HEADS["Google"], kind="message")
    assert list(cut_library_notices(iter([message]), StepCount())) == [message]
    counts = CleaningCounts()
    records = [Record("a", "pump.txt", f"{HEADS['Google']}\n\nThe pump was stuck.")]
    (record,) = clean_records(records, CleaningOptions(), counts)
    assert record.text == "The pump was stuck."
    assert "% of pump.txt" in counts.notes[0]
    assert counts.notes[0].endswith("--without imprints")


def test_the_shared_corpus_stays() -> None:
    path = Path(__file__).parents[1] / "../shared/corpus/young.txt.xz"
    if not path.exists():
        pytest.skip("the shared corpus is not here")
    text = lzma.decompress(path.read_bytes()).decode()
    assert cut(text) == text


@given(
    st.lists(st.sampled_from([*HEADS.values(), "Imprint", "\n\n", "\n", "Rowed.", "google"]), max_size=8).map("".join)
)
def test_only_whole_lines_are_cut(text: str) -> None:
    assert set(cut(text).split("\n")) <= {*text.split("\n"), ""}


@pytest.mark.parametrize(
    "text", ["google\n\n" * 20_000, "Title: x\n" * 20_000 + "google", "Digitized by the Internet Archive\n" * 9000]
)
def test_pathological_texts_are_cut_quickly(text: str) -> None:
    start = time.process_time()
    cut(text)
    assert time.process_time() - start < 3
