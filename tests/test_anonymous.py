import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.anonymise import Pseudonymiser, collect_writers
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.pseudonyms import FAMILY_NAMES, GIVEN_NAMES
from tools.corpus.record import Record

NAMES = ("Natan Lao", "Hugh Pyle", "José da Silva", "diana99", "王小明", "Will May", "+49 151 2345678")
HERE = Pseudonymiser(NAMES, "a secret")


def test_the_same_name_is_the_same_invention_everywhere_and_none_of_them_is_real() -> None:
    natan, lao = HERE.replace_name("Natan Lao").split()
    assert natan.lower() in GIVEN_NAMES
    assert lao.lower() in FAMILY_NAMES
    assert HERE.anonymise_text("Natan, NATAN and natan. Lao's? Natans Lao") == (
        f"{natan}, {natan.upper()} and {natan.lower()}. {lao}'s? {natan}s {lao}"
    )
    assert HERE.anonymise_text("Jose josé") == f"{HERE.replace_name('José')} {HERE.replace_name('josé')}"
    assert "da" in HERE.replace_name("José da Silva").split()


def test_another_secret_has_other_inventions() -> None:
    others = [Pseudonymiser(NAMES, str(number)).replace_name("Natan Lao") for number in range(8)]
    assert len(set(others)) > 4
    assert Pseudonymiser(reversed(NAMES), "0").replace_name("Natan Lao") == others[0]


def test_no_two_names_have_one_invention_and_no_invention_is_a_name_here() -> None:
    names = [f"{given.title()} {family.title()}" for given, family in zip(GIVEN_NAMES, FAMILY_NAMES, strict=False)]
    inventions = Pseudonymiser(names, "s")
    parts = [inventions.replace_name(part) for name in names for part in name.split()]
    assert len(set(parts)) == len(parts)
    assert not {part.lower() for part in parts} & {*GIVEN_NAMES[: len(names)], *FAMILY_NAMES[: len(names)]}


def test_names_in_a_script_without_blanks_are_found_inside_a_sentence() -> None:
    text = HERE.anonymise_text("今日は王小明さんと")
    assert "王小明" not in text
    assert text.startswith("今日は")
    assert text.endswith("さんと")


def test_handles_are_invented_known_or_not_and_so_is_a_handle_that_writes() -> None:
    diana = HERE.replace_name("diana99")
    assert HERE.anonymise_text("hi @diana99 and diana99") == f"hi @{diana} and {diana}"
    other = HERE.anonymise_text("@somebody_else, @Somebody_Else")
    assert "somebody" not in other.lower()
    assert len(set(other.split(", "))) == 1
    assert HERE.replace_name("@somebody_else") == other.split(", ")[0]
    assert "lao" not in HERE.anonymise_text("natanlao@work.example or @natanlao or natanlao").lower()


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
def test_addresses_and_numbers_are_invented_the_same_each_time(private: str) -> None:
    text = HERE.anonymise_text(f"at {private}, then {private}, yes")
    assert private not in text
    first, second = text.removeprefix("at ").removesuffix(", yes").split(", then ")
    assert first == second
    assert HERE.anonymise_text(private[:-1]) != text


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
def test_what_names_nobody_stays(text: str) -> None:
    assert HERE.anonymise_text(text) == text


def test_of_a_name_that_is_a_common_word_the_capital_tells() -> None:
    will, may = HERE.replace_name("Will May").split()
    assert HERE.anonymise_text("ask Will, and then May will say") == f"ask {will}, and then {may} will say"


def test_a_number_for_a_name_is_a_number() -> None:
    number = HERE.replace_name("+49 151 2345678")
    assert number != "+49 151 2345678"
    assert number.startswith("+55 5")
    assert HERE.anonymise_text("call +49 151 2345678") == f"call {number}"


def test_a_corpus_is_anonymous_with_mentions_before_the_first_line_of_who_is_meant() -> None:
    records = [
        Record("inbox/natanlao/1.json", "Natan Lao", "is Hugh there?", "Natan Lao", kind="message"),
        Record("inbox/natanlao/1.json", "Natan Lao", "yes, Natan!", "Hugh Pyle", kind="message"),
    ]
    counts = CleaningCounts()
    kept = list(clean_records(records, CleaningOptions(anonymous=True, secret="s"), counts))
    whole = repr(kept).lower()
    assert not [part for part in ("natan", "lao", "hugh", "pyle") if part in whole]
    assert kept[0].who.split()[0] in kept[1].text
    assert kept[1].who.split()[0] in kept[0].text
    assert kept[0].thread == kept[1].thread
    assert counts.for_step("anonymous").changed == 2
    assert not counts.for_step("anonymous").examples
    assert any("cannot know nicknames" in note for note in counts.notes)
    assert collect_writers(records) == {"Natan Lao", "Hugh Pyle"}


def test_what_can_be_read_only_once_is_refused_and_not_half_hidden() -> None:
    with pytest.raises(TypeError, match="read twice"):
        clean_records(iter([]), CleaningOptions(anonymous=True), CleaningCounts())


@given(st.lists(st.text(max_size=12), max_size=5), st.text(max_size=60))
def test_whatever_the_names_and_the_text_no_name_is_left(names: list[str], text: str) -> None:
    inventions = Pseudonymiser(names, "s")
    inventions.anonymise_text(text)
    inventions.anonymise_text(" ".join(names))
    for name in names:
        assert bool(inventions.replace_name(name)) == bool(name)


@given(st.lists(st.from_regex(r"[A-Z][a-z]{5,9} [A-Z][a-z]{5,9}", fullmatch=True), min_size=1, max_size=5))
def test_names_of_many_shapes_are_gone_from_who_and_text(names: list[str]) -> None:
    inventions = Pseudonymiser(names, "s")
    said = f"well, {', '.join(names)} {' '.join(names).lower()}"
    left = {word.strip(",").lower() for word in inventions.anonymise_text(said).split()}
    assert not left & {part.lower() for name in names for part in name.split()}
