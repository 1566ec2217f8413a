from __future__ import annotations

import lzma
import random
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.cleaning.repeated_lines import remove_page_marks, remove_repeated_lines
from tools.corpus.cleaning.running_heads import remove_running_heads
from tools.corpus.record import Record

CORPUS = Path(__file__).parents[1] / "../shared/corpus"
NOUNS = ["pump", "oar", "boat", "valve", "river", "engineer", "morning", "kettle", "island", "letter"]
VERBS = ["held", "turned", "left", "rowed past", "followed", "forgot", "mended", "saw"]
Head = Callable[[int], list[str]]


def prose(seed: int, sentences: int = 700) -> list[str]:
    """Invented paragraphs, wrapped to lines of a book."""
    generator = random.Random(seed)
    lines: list[str] = []
    while sentences > 0:
        count = generator.randint(2, 9)
        sentences -= count
        words = []
        for _ in range(count):
            clauses = [
                f"the {generator.choice(NOUNS)} {generator.choice(VERBS)} the {generator.choice(NOUNS)}"
                for _ in range(generator.randint(1, 4))
            ]
            sentence = ", and ".join(clauses)
            words.append(sentence[0].upper() + sentence[1:] + ".")
        lines += [*textwrap.wrap(" ".join(words), 66), ""]
    return lines


def with_heads(lines: list[str], head: Head, blank: bool, page_lines: int = 38, page_break: str = "") -> str:
    out: list[str] = []
    for number, start in enumerate(range(0, len(lines), page_lines), start=11):
        border = [""] if blank else []
        out += [page_break, *border, *head(number), *border, *lines[start : start + page_lines]]
    return "\n".join(out)


def filled(text: str) -> list[str]:
    return [line for line in text.replace("\f", "\n").split("\n") if line.strip()]


HEADS: dict[str, Head] = {
    "word for word": lambda n: ["The Sorrows of a Pump"],
    "left and right": lambda n: ["THE PUMP" if n % 2 else "ODO BRINK"],
    "with a number": lambda n: [f"{n}  THE PUMP" if n % 2 else f"THE SORROWS  {n}"],
    "number below": lambda n: ["THE PUMP", str(n)],
    "number alone": lambda n: [f"- {n} -"],
    "two columns": lambda n: [f"{2 * n}   THE PUMP      THE PUMP   {2 * n + 1}"],
    "a stamp": lambda n: ["Digitized by the Boat Club"],
}


@pytest.mark.parametrize("blank", [True, False])
@pytest.mark.parametrize("name", HEADS)
def test_heads_in_a_text_without_pages_are_removed(name: str, blank: bool) -> None:
    lines = prose(1)
    assert filled(remove_repeated_lines(with_heads(lines, HEADS[name], blank))) == filled("\n".join(lines))


def test_a_sentence_that_a_head_breaks_is_whole_again() -> None:
    lines = prose(2)
    cleaned = remove_repeated_lines(with_heads(lines, HEADS["with a number"], blank=True))
    paragraphs = [" ".join(part.split()) for part in cleaned.split("\n\n") if part.strip()]
    original = [" ".join(part.split()) for part in "\n".join(lines).split("\n\n") if part.strip()]
    assert len(set(original) - set(paragraphs)) <= 1
    assert "  " not in "".join(paragraphs)


def test_two_pages_scanned_as_one_have_their_second_head_inside() -> None:
    lines = prose(3)
    pages = with_heads(lines, lambda n: [f"{n} THE PUMP"], blank=True, page_break="@").split("@")[1:]
    spreads = "\f".join("".join(pages[at : at + 2]) for at in range(0, len(pages), 2))
    cleaned = remove_repeated_lines(remove_running_heads(spreads))
    assert filled(cleaned) == filled("\n".join(lines))
    assert cleaned.count("\f") == spreads.count("\f")


def test_the_cleaning_of_a_document_removes_them() -> None:
    lines = prose(5)
    record = Record("a", "a", with_heads(lines, HEADS["with a number"], True))
    (cleaned,) = clean_records([record], CleaningOptions(), CleaningCounts())
    assert filled(cleaned.text) == filled("\n".join(lines))


def test_some_heads_that_scanning_lost_or_spoiled_do_no_harm() -> None:
    lines = prose(4)

    def head(number: int) -> list[str]:
        return {14: [], 19: ["THE PUNP"]}.get(number, ["THE PUMP"])

    assert set(filled(remove_repeated_lines(with_heads(lines, head, True)))) == {*filled("\n".join(lines)), "THE PUNP"}


VERSE = [
    "The kettle sang upon the stove",
    "and nobody was there to hear",
    "the river turned, the heron dove",
    "and Monday was already near",
]
REFRAIN = "O row, my darling, row"


def parts(title: Callable[[int], str], sentences: int, end: str = "") -> str:
    """Nineteen parts of invented prose of about the same length, each with a title."""
    return "\n\n".join(f"{title(n)}\n\n" + "\n".join(prose(n, sentences)) + end for n in range(1, 20))


KEPT = {
    "a refrain": "\n".join(("\n".join(VERSE[n % 4 :] + VERSE[: n % 4]) + f"\n{REFRAIN}\n") for n in range(60)),
    "a refrain without marks": "\n\n".join("\n".join([*VERSE * 2, "O row my darling row"]) for _ in range(60)),
    "speakers": "\n".join(f"HAMLET\n{line.capitalize()}.\nFIRST CLOWN\nAy.\n" for line in VERSE * 15),
    "chapters": parts(lambda n: f"CHAPTER {n}", 30),
    "sonnets": "\n\n".join(f"Sonnet {n}\n\n" + "\n".join(VERSE * 6) for n in range(1, 20)),
    "bare numbers of chapters": parts(str, 30),
    "letters": parts(lambda n: "Dear Odo,", 30, "\nYours, as ever\n\nMARA QUIST"),
    "signed pages": "\n\n".join(
        "\n".join([*prose(n, 60)[:30], f"So is the {NOUNS[n % 10]}.", "Yours, as ever", "", "MARA QUIST"])
        for n in range(1, 20)
    ),
    "a diary": parts(lambda n: f"March {n}", 30),
    "a numbered list": "\n".join(f"{n}.\n{VERSE[n % 4].capitalize()}." for n in range(1, 60)),
    "notices": parts(lambda n: "CAUTION: HIGH VOLTAGE", 25),
}


@pytest.mark.parametrize("kind", KEPT)
def test_lines_that_belong_to_a_text_stay(kind: str) -> None:
    assert remove_repeated_lines(KEPT[kind]) == KEPT[kind]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("young.txt.xz", 5),
        ("base.txt.xz", 5),
        ("teletype.txt", 1),
        pytest.param("young.txt.xz", 1, marks=pytest.mark.soak),
        pytest.param("base.txt.xz", 1, marks=pytest.mark.soak),
    ],
)
def test_no_book_and_no_manual_loses_a_line(name: str, step: int) -> None:
    """Every fifth document, or all."""
    if not CORPUS.exists():
        pytest.skip("the shared corpus is not here")
    data = (CORPUS / name).read_bytes()
    text = (lzma.decompress(data) if name.endswith("xz") else data).decode()
    for document in text.split("<|endoftext|>")[::step]:
        part = document[: 1 << 19]
        assert remove_repeated_lines(part) == part
        lines = [line for paragraph in part[: 1 << 17].split("\n") for line in (*textwrap.wrap(paragraph, 66), "")]
        wrapped = "\n".join(lines)
        assert remove_repeated_lines(wrapped) == wrapped


BITS = st.sampled_from(["The Pump 3", "\f", "\n", "\n\n", "and so\n", "x" * 1000, "12\n", "Head\n", " "])


@given(st.lists(BITS | st.text(max_size=4), max_size=60).map("".join))
def test_page_breaks_stay_and_nothing_is_added(text: str) -> None:
    cleaned = remove_repeated_lines(text)
    assert cleaned.count("\f") == text.count("\f")
    assert len(cleaned) <= len(text)


@pytest.mark.parametrize("unit", ["a line\n", "THE PUMP 3\n" + "x " * 600 + "\n", "\n", "\f", "12\n", "a" * 90 + "\n"])
def test_pathological_texts_are_processed_quickly(unit: str) -> None:
    start = time.process_time()
    remove_repeated_lines(unit * (400_000 // len(unit)))
    assert time.process_time() - start < 3


SMALL_TEXT = "pump was stuck since and nobody could mend it they rowed home over bay had tea with before wind came up"


def small_page(number: int, end: str = "") -> str:
    """Returns a page of a pocket book, about 600 characters that end in mid-sentence."""
    generator = random.Random(number)
    return "\n".join(" ".join(generator.choice(SMALL_TEXT.split()) for _ in range(11)) for _ in range(12)) + end


@pytest.mark.parametrize(
    "head",
    [
        "THE HISTORY OF PUMPS. {}",
        "- {} -",
        "Page {}",
        "{}",
        "[{}]",
        "{{{}}}",
        "[Pg {}]",
        "[p. {}]",
        "CHAPTER IV {}",
        "{} Odo",
    ],
)
def test_heads_of_small_pages_without_page_breaks_go(head: str) -> None:
    for gap in ("\n\n", "\n"):
        pages = [f"{head.format(number)}{gap}{small_page(number)}" for number in range(12, 42)]
        text = remove_page_marks(remove_repeated_lines("\n\n".join(pages)))
        assert text.split() == " ".join(map(small_page, range(12, 42))).split()


def test_alternating_and_misread_heads_go() -> None:
    heads = [f"{n} THE H1STORY 0F PUMPS" if n % 6 == 0 else f"{n} THE HISTORY OF PUMPS" for n in range(12, 42)]
    heads = [head if n % 2 == 0 else f"CHAPTER IV {n}" for n, head in enumerate(heads, 12)]
    text = "\n\n".join(f"{head}\n\n{small_page(n)}" for n, head in enumerate(heads, 12))
    assert remove_repeated_lines(text).split() == " ".join(map(small_page, range(12, 42))).split()


@pytest.mark.parametrize(
    "misread", ["THE H1STORY OF PUMPS", "THE HISTCRY OF PUMPS", "THE HISTORY 0F PUMP5.", "TBE HISTORY OF PUMPS"]
)
def test_misread_heads_at_page_borders_go(misread: str) -> None:
    heads = [misread if n % 5 == 3 else "THE HISTORY OF PUMPS" for n in range(30)]
    text = "\f".join(f"{head}\n\n{small_page(n)}" for n, head in enumerate(heads))
    assert remove_running_heads(text).split() == "\f".join(map(small_page, range(30))).split()


def test_a_first_line_that_is_longer_than_the_head_stays() -> None:
    first = ["The history of pumps begins" if n % 5 == 3 else "THE HISTORY OF PUMPS" for n in range(30)]
    text = "\f".join(f"{line}\n{small_page(n)}" for n, line in enumerate(first))
    assert remove_running_heads(text).count("The history of pumps begins") == 6


@pytest.mark.parametrize(
    "mark", ["{}", "Page {}", "§ {}", "Verse {}", "CHAPTER {}", "CHAPTER {}\n\nThe Pump", "Psalm {}, 1"]
)
def test_numbers_behind_the_end_of_a_sentence_stay(mark: str) -> None:
    text = "\n\n".join(f"{mark.format(n)}\n\n{small_page(n, '.')}" for n in range(1, 31))
    assert remove_page_marks(remove_repeated_lines(text)) == text


@pytest.mark.parametrize(
    "text", ["See [p. 3], [p. 9], [p. 1], [p. 7], [p. 2] and [p. 5].", "{1} {2} {3}", "[Pg 1] and [Pg 2]"]
)
def test_a_few_references_to_pages_stay(text: str) -> None:
    assert remove_page_marks(text) == text
