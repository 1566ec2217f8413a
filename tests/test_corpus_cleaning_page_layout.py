import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning import StepCount
from tools.corpus.cleaning.divided_words import join_divided_words
from tools.corpus.cleaning.page_layout import change_documents, shorten_leaders
from tools.corpus.cleaning.running_heads import remove_running_heads
from tools.corpus.record import Record


def body(word: str) -> str:
    return f"The {word} is held\nby two {word}s.\nTurn it by hand,\nthen oil its {word}\nand mind the other {word}."


WORDS = ("platen", "spring", "pawl", "lever", "ratchet", "bail", "clutch", "cam")


def page(number: int) -> str:
    head = "TELETYPE BULLETIN 310B" if number % 2 else "Section 574-122-100"
    return f"{head}\n\n{body(WORDS[number])}\n\nPage 1-{number}"


def test_heads_and_page_numbers_of_left_and_right_pages_are_removed() -> None:
    pages = remove_running_heads("\f".join(map(page, range(8)))).split("\f")
    assert [text.strip() for text in pages] == [body(WORDS[number]) for number in range(8)]


def test_lone_page_numbers_are_removed_also_roman_ones() -> None:
    for numbers in (["- 7 -", "- 8 -", "- 9 -"], ["iv", "v", "vi"], ["7", "8", "9"]):
        pages = [f"{body(word)}\n{number}" for word, number in zip(WORDS, numbers, strict=False)]
        assert remove_running_heads("\f".join(pages)) == "\f".join(body(word) for word in WORDS[:3])


def test_a_line_that_repeats_twice_or_far_apart_is_no_head() -> None:
    text = "\f".join([page(1), page(3), body("bail"), body("cam"), body("drum")])
    assert "TELETYPE" in remove_running_heads(text)
    bodies = ["\n".join(f"{word} {letter}" * 2 for word in ("sun", "moon", "sea")) for letter in "abcdefghijklmnopqrst"]
    text = "\f".join(f"CHAPTER\n{body}" if n % 7 == 0 else body for n, body in enumerate(bodies))
    assert remove_running_heads(text) == text


@pytest.mark.parametrize(
    "tops",
    [
        ["1.", "4.", "2.", "6.", "1.", "3."],  # a list restarts, or continues on the next page
        ["1.", "2.", "3.", "4.", "5.", "cam"],
        ["Step 4", "Step 9", "Step 2", "Step 4", "Step 12", "Step 3"],
        ["(2)", "Note 1", "(4)", "Note 1 of 2", "(3)", "Note 7"],
        ["12", "7", "3", "12", "12", "5"],  # numbers in a drawing
        ["Table 1. Springs", "Table 5. Springs", "Table 2. Springs", "Table 1. Springs", "sun", "moon"],
    ],
)
def test_numbered_lines_of_the_text_at_page_tops_stay(tops: list[str]) -> None:
    text = "\f".join(f"{top}\n{body(word)}" for top, word in zip(tops, WORDS, strict=False))
    assert remove_running_heads(text) == text


def test_page_numbers_are_removed_despite_missing_pages_and_restarting_chapters() -> None:
    for numbers in (range(11, 19), [1, 2, 4, 5, 7, 8, 9, 10], range(20, 36, 2)):
        text = "\f".join(f"{number}\n{body(word)}" for number, word in zip(numbers, WORDS, strict=True))
        assert remove_running_heads(text) == "\f".join(map(body, WORDS))
    chapters = ["1-8", "1-9", "1-10", "2-1", "2-2", "3-1", "3-2", "3-3"]
    text = "\f".join(f"PAGE {number}\n{body(word)}" for number, word in zip(chapters, WORDS, strict=True))
    assert remove_running_heads(text) == "\f".join(map(body, WORDS))
    dotted = "\f".join(f"{number}.\n{body(word)}" for number, word in enumerate(WORDS, 41))
    assert remove_running_heads(dotted) == "\f".join(map(body, WORDS))


def test_rows_of_figures_at_page_borders_are_no_heads() -> None:
    table = "\f".join("12 34 56\n78 90 12\n" + body(word) for word in WORDS)
    assert remove_running_heads(table) == table


def test_a_text_without_pages_is_unchanged() -> None:
    text = "Yours truly\n" * 50
    assert remove_running_heads(text) == text


def test_tables_of_contents_are_removed_and_other_leaders_shortened() -> None:
    contents = "Contents\nIntroduction ........ 1\nOiling . . . . . . . . xii\n\nThe Bell ...... 3-14\nThe text begins."
    assert shorten_leaders(contents) == "Contents\n\n\n\n\nThe text begins."
    assert shorten_leaders("Width ............ 5 inches\nInput ........ 115") == "Width ... 5 inches\nInput ... 115"
    assert shorten_leaders("a\n. . . . . . . .\nb") == "a\n\nb"
    assert shorten_leaders("He paused.... and . . . . went.") == "He paused.... and . . . . went."


@pytest.mark.parametrize(
    "lines",
    [
        "Menu of the boat\n\nSoup ......... 3\nFish ......... 7\nTea .......... 1",
        "Soup ...... 3\nFish ...... 7",
        "Prices\n\n" + "\n".join(f"Dish {n} ........ {n * 37 % 11}" for n in range(20)),
        "Results\n" + "\n".join(f"Boat {letter} ........ {n}" for n, letter in enumerate("abcdef")),
        "The contents of the larder:\nTea ...... 2\nOats ...... 9",
    ],
)
def test_a_list_with_leaders_is_no_table_of_contents(lines: str) -> None:
    assert shorten_leaders(lines).count("...") == lines.count("......")
    assert len(shorten_leaders(lines).split()) == len(shorten_leaders(lines.replace("Contents", "x")).split())


@pytest.mark.parametrize(
    "heading", ["CONTENTS", "Table of Contents", "List of Illustrations", "Inhalt", "Contents.\n\nPage"]
)
def test_a_heading_makes_a_table_of_contents(heading: str) -> None:
    pages = "The Oar ........ 3\nThe Pump ....... 17\n\nI\n\nThe End ........ 30\nA Word ...... 31"
    text = shorten_leaders(f"{heading}\n\n{pages}\n\nOdo rowed.")
    assert text.split() == [*heading.split(), "I", "Odo", "rowed."]


def test_a_long_list_of_growing_pages_needs_no_heading() -> None:
    pages = "\n".join(f"Chapter on {word} ........ {n * 3 + 1}" for n, word in enumerate([*WORDS, "oil"]))
    assert not shorten_leaders(pages).strip()


@pytest.mark.parametrize(
    "compound",
    [
        "well-known", "self-made", "twenty-five", "Thirty-first", "one-third", "half-asleep", "ill-tempered",
        "old-fashioned", "blue-eyed", "so-called", "left-handed", "mother-in-law", "up-to-date", "Ninety-nine",
    ],
)  # fmt: skip
def test_a_usual_compound_keeps_its_hyphen(compound: str) -> None:
    first, second = compound.rsplit("-", 1)
    assert join_divided_words(f"a {first}-\n{second} man") == f"a {compound}\nman"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("self", "ish"), ("ill", "ness"), ("Well", "ington"), ("never", "theless"), ("cross", "ing"), ("re", "minded"),
        ("six", "teen"), ("twen", "ty"), ("dis", "coloured"), ("be", "headed"), ("re", "called"), ("half", "penny"),
    ],
)  # fmt: skip
def test_the_rest_of_a_word_is_joined(first: str, second: str) -> None:
    assert join_divided_words(f"so {first}-\n{second} it") == f"so {first}{second}\nit"


def test_the_form_elsewhere_in_the_document_wins() -> None:
    assert join_divided_words("a well-\nspring and a wellspring") == "a wellspring\nand a wellspring"
    assert join_divided_words("to-\nday is to-day") == "to-day\nis to-day"


def test_a_divided_word_is_joined_at_the_end_of_its_first_line() -> None:
    assert join_divided_words("the instruc-\ntions, given in\nthis") == "the instructions,\ngiven in\nthis"
    assert join_divided_words("re-\nfer\nnext") == "refer\nnext"
    assert join_divided_words("an\u00ad\nother soft\u00adly") == "another\nsoftly"
    assert join_divided_words("as-\n   sembly  drawing") == "assembly\ndrawing"


def test_a_compound_keeps_its_hyphen_if_the_document_contains_it() -> None:
    assert join_divided_words("a type-\nwheel and the type-wheel") == "a type-wheel\nand the type-wheel"


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("lubri\u00ad\ncation is", "lubrication\nis"),
        ("print-nonprint: when the print\u00ad\nnonprint is", "print-nonprint: when the print-nonprint\nis"),
        ("a Send\u00ad\nReceive set", "a Send-Receive\nset"),
        ("its START\u00ad\nSTOP mode", "its START-STOP\nmode"),
        ("LUBRI\u00ad\nCATION of Lubrication", "LUBRICATION\nof Lubrication"),
        ("pages 12\u00ad\n13 of", "pages 12-13\nof"),
        ("a well\u00ad\nknown man", "a well-known\nman"),
        ("an empty\u00ad\n\n", "an empty\n"),
        ("in mid-so\u00adft word", "in mid-soft word"),
    ],
)
def test_soft_hyphens_follow_the_rules_of_hard_ones(text: str, joined: str) -> None:
    assert join_divided_words(text) == joined


@pytest.mark.parametrize(
    "text",
    ["Smith-\nJones", "ASR-\nmodel", "pages 12-\n13", "- item\n- item", "well -\nso", "x-\ny", "instruc-\nb. Base"],
)
def test_other_hyphens_at_line_ends_stay(text: str) -> None:
    assert join_divided_words(text) == text


def test_a_word_divided_between_pages_moves_to_the_first_page() -> None:
    pages = [Record("a.pdf", "a", text) for text in ("the instruc-", "tions are here", "end")]
    count = StepCount()
    texts = [record.text for record in change_documents(join_divided_words)(iter(pages), count)]
    assert texts == ["the instructions", "are here", "end"]
    assert count.changed == 2


def test_pages_of_two_books_are_not_mixed_and_other_records_pass() -> None:
    def record_document(text: str) -> str:
        documents.append(text)
        return text

    documents: list[str] = []
    records = [Record("a", "a", "1"), Record("a", "a", "2\f3"), Record("b", "b", "4"), Record("b", "", "5")]
    records += [Record("b", "", "6"), Record("c", "c", "7", kind="message"), Record("b", "b", "8")]
    assert list(change_documents(record_document)(iter(records), StepCount())) == records
    assert documents == ["1\f2\f3", "4", "5", "6", "8"]


BITS = st.sampled_from(["-\n", "\f", "\u00ad", "word", "Head 3", "\n", " ", ". . . . . . 7", "......", "a", "-", "ix"])


@given(st.lists(st.lists(BITS | st.text(max_size=4), max_size=9).map("".join), min_size=1, max_size=9))
def test_each_page_keeps_its_record(texts: list[str]) -> None:
    records = [Record("a", "a", text) for text in texts]
    for change in (remove_running_heads, shorten_leaders, join_divided_words):
        after = list(change_documents(change)(iter(records), StepCount()))
        assert [record.text.count("\f") for record in after] == [text.count("\f") for text in texts]


@pytest.mark.parametrize("text", ["a" * 100_000, " " * 100_000, "." * 100_000 + "x", "ab-\n" * 5_000, "x . " * 20_000])
def test_pathological_texts_are_processed_quickly(text: str) -> None:
    start = time.process_time()
    for change in (remove_running_heads, shorten_leaders, join_divided_words):
        change(text)
    assert time.process_time() - start < 2
