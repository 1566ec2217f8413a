import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_errors import raises_tool_error

from tools.corpus.anonymise import FAMILY_NAMES, GIVEN_NAMES, Pseudonymiser
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.record import Record

NAMES = ("Natan Lao", "Hugh Pyle", "José da Silva", "diana99", "王小明", "Will May", "+49 151 2345678")
PSEUDONYMISER = Pseudonymiser(NAMES, "a secret")


def test_a_name_has_one_pseudonym_everywhere_and_never_a_real_name() -> None:
    natan, lao = PSEUDONYMISER.replace_name("Natan Lao").split()
    assert natan.lower() in GIVEN_NAMES
    assert lao.lower() in FAMILY_NAMES
    assert PSEUDONYMISER.anonymise_text("Natan, NATAN and natan. Lao's? Natans Lao") == (
        f"{natan}, {natan.upper()} and {natan.lower()}. {lao}'s? {natan}s {lao}"
    )
    assert (
        PSEUDONYMISER.anonymise_text("Jose josé")
        == f"{PSEUDONYMISER.replace_name('José')} {PSEUDONYMISER.replace_name('josé')}"
    )
    assert "da" in PSEUDONYMISER.replace_name("José da Silva").split()


def test_another_secret_gives_other_pseudonyms() -> None:
    pseudonyms = [Pseudonymiser(NAMES, str(number)).replace_name("Natan Lao") for number in range(8)]
    assert len(set(pseudonyms)) > 4
    assert Pseudonymiser(reversed(NAMES), "0").replace_name("Natan Lao") == pseudonyms[0]


def test_pseudonyms_are_unique_and_no_name_of_the_corpus() -> None:
    names = [f"{given.title()} {family.title()}" for given, family in zip(GIVEN_NAMES, FAMILY_NAMES, strict=False)]
    pseudonymiser = Pseudonymiser(names, "s")
    parts = [pseudonymiser.replace_name(part) for name in names for part in name.split()]
    assert len(set(parts)) == len(parts)
    assert not {part.lower() for part in parts} & {*GIVEN_NAMES[: len(names)], *FAMILY_NAMES[: len(names)]}


def test_names_in_scripts_without_blanks_are_replaced_inside_a_sentence() -> None:
    text = PSEUDONYMISER.anonymise_text("今日は王小明さんと")
    assert "王小明" not in text
    assert text.startswith("今日は")
    assert text.endswith("さんと")


def test_known_and_unknown_handles_are_replaced_also_as_writers() -> None:
    diana = PSEUDONYMISER.replace_name("diana99")
    assert PSEUDONYMISER.anonymise_text("hi @diana99 and diana99") == f"hi @{diana} and {diana}"
    text = PSEUDONYMISER.anonymise_text("@somebody_else, @Somebody_Else")
    assert "somebody" not in text.lower()
    assert len(set(text.split(", "))) == 1
    assert PSEUDONYMISER.replace_name("@somebody_else") == text.split(", ")[0]
    assert "lao" not in PSEUDONYMISER.anonymise_text("natanlao@work.example or @natanlao or natanlao").lower()


@pytest.mark.parametrize(
    "private",
    [
        "natan.lao@mail.example.com",
        "+1 (555) 234-5678",
        "0151 2345 6789",
        "030/1234567",
        "4929 1234 5678 9012",
        "https://facebook.example/natan.lao?id=77",
        "www.lao.example/x",
        "221B Baker Street",
        "12 Old Mill Rd.",
        "Hauptstraße 12a",
        "17 rue de la Paix",
        "SW1A 1AA",
        "CA 94103",
    ],
)
def test_addresses_and_numbers_have_a_stable_pseudonym(private: str) -> None:
    text = PSEUDONYMISER.anonymise_text(f"at {private}, then {private}, yes")
    assert private not in text
    first, second = text.removeprefix("at ").removesuffix(", yes").split(", then ")
    assert first == second
    assert PSEUDONYMISER.anonymise_text(private[:-1]) != text


@pytest.mark.parametrize(
    "text",
    [
        "on 2019-11-26 10:30, 11/26/2019 5 pm, 1963-1974, 26.11.2019",
        "10,000,000 people, 3.14159265, 33 and 1,234.56",
        "will you, may I? Will you come? May I? no",
        "a 310B manual, section 574-122",
        "no names at all: the platen, el niño",
        "日本語の文章です。",
    ],
)
def test_text_without_names_stays(text: str) -> None:
    assert PSEUDONYMISER.anonymise_text(text) == text


def test_a_name_that_is_a_common_word_is_replaced_only_if_capitalised() -> None:
    will, may = PSEUDONYMISER.replace_name("Will May").split()
    assert PSEUDONYMISER.anonymise_text("ask Will, and then May will say") == f"ask {will}, and then {may} will say"


def test_a_writer_known_by_number_gets_a_number() -> None:
    number = PSEUDONYMISER.replace_name("+49 151 2345678")
    assert number != "+49 151 2345678"
    assert number.startswith("+55 5")
    assert PSEUDONYMISER.anonymise_text("call +49 151 2345678") == f"call {number}"


def test_names_mentioned_before_the_first_message_of_their_owner_are_replaced() -> None:
    records = [
        Record("inbox/natanlao/1.json", "Natan Lao", "is Hugh there?", "Natan Lao", kind="message"),
        Record("inbox/natanlao/1.json", "Natan Lao", "yes, Natan!", "Hugh Pyle", kind="message"),
    ]
    counts = CleaningCounts()
    first, second = clean_records(records, CleaningOptions(anonymous=True, secret="s"), counts)
    content = f"{first} {second}".lower()
    assert not [part for part in ("natan", "lao", "hugh", "pyle") if part in content]
    assert first.who.split()[0] in second.text
    assert second.who.split()[0] in first.text
    assert first.thread == second.thread
    assert counts.for_step("anonymous").changed == 2
    assert not counts.for_step("anonymous").examples
    assert any("cannot know nicknames" in note for note in counts.notes)


def test_a_file_without_writers_is_refused_because_its_names_would_stay() -> None:
    chat = [Record("chat", "t", "hi", "Natan Lao", kind="message"), Record("chat", "t", "gone", kind="message")]
    books = [Record("book.txt", "b", "Natan rowed."), Record("tweets.csv", "", "with Hugh", kind="tweet")]
    for records, words in ((chat + books, "book.txt and 1 more does not say"), (books[:1], "book.txt does not say")):
        with raises_tool_error("damaged", words):
            list(clean_records(records, CleaningOptions(anonymous=True, secret="s"), CleaningCounts()))
    assert len(list(clean_records(chat, CleaningOptions(anonymous=True, secret="s"), CleaningCounts()))) == 2


def test_an_iterator_is_refused_because_records_are_read_twice() -> None:
    with pytest.raises(TypeError, match="read twice"):
        clean_records(iter([]), CleaningOptions(anonymous=True), CleaningCounts())


@given(st.lists(st.text(max_size=12), max_size=5), st.text(max_size=60))
def test_no_name_is_left_in_any_text(names: list[str], text: str) -> None:
    pseudonymiser = Pseudonymiser(names, "s")
    pseudonymiser.anonymise_text(text)
    pseudonymiser.anonymise_text(" ".join(names))
    for name in names:
        assert bool(pseudonymiser.replace_name(name)) == bool(name)


@given(st.lists(st.from_regex(r"[A-Z][a-z]{5,9} [A-Z][a-z]{5,9}", fullmatch=True), min_size=1, max_size=5))
def test_names_of_many_shapes_are_replaced_in_writer_and_text(names: list[str]) -> None:
    pseudonymiser = Pseudonymiser(names, "s")
    text = f"well, {', '.join(names)} {' '.join(names).lower()}"
    words = {word.strip(",").lower() for word in pseudonymiser.anonymise_text(text).split()}
    assert not words & {part.lower() for name in names for part in name.split()}
