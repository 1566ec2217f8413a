from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.cleaning.people import CONTEXT_MESSAGES
from tools.corpus.record import Record, RecordKind
from tools.corpus.rendering import MAX_SILENCE_S


def message(who: str, text: str, when: float | None = None, thread: str = "t", kind: RecordKind = "message") -> Record:
    return Record("s", thread, text, who, when, kind)


def keep(records: list[Record], person: str = "", since: float | None = None) -> tuple[list[str], CleaningCounts]:
    counts = CleaningCounts()
    return [record.text for record in clean_records(records, CleaningOptions(person, since), counts)], counts


def test_a_person_matches_by_part_of_a_name_without_case_and_accents() -> None:
    records = [message("José Peña", "one"), message("Ann", "two")]
    assert keep(records, "pena")[0] == ["one"]
    assert keep(records, "JOSÉ")[0] == ["one"]


def test_messages_of_others_before_stay_and_those_after_are_dropped() -> None:
    records = [message("Bob", "how are you?"), message("Ann", "well"), message("Bob", "good"), message("Cy", "bye")]
    texts, counts = keep(records, "ann")
    assert texts == ["how are you?", "well"]
    assert counts.for_step("person").dropped == 2


def test_of_many_messages_of_others_the_last_stay() -> None:
    texts, counts = keep([*(message("Bob", str(n)) for n in range(50)), message("Ann", "well")], "ann")
    assert texts == [*map(str, range(50 - CONTEXT_MESSAGES, 50)), "well"]
    assert counts.for_step("person").dropped == 50 - CONTEXT_MESSAGES


def test_messages_of_another_conversation_are_no_context() -> None:
    later = MAX_SILENCE_S + 1
    records = [message("Bob", "old", 0), message("Bob", "new", later), message("Ann", "yes", later + 1)]
    assert keep(records, "ann")[0] == ["new", "yes"]
    assert keep([message("Bob", "there", thread="u"), message("Ann", "here")], "ann")[0] == ["here"]
    assert keep([message("Bob", "there", thread=""), message("Ann", "here", thread="")], "ann")[0] == ["here"]


def test_tweets_of_others_are_dropped_and_unsigned_texts_stay() -> None:
    records = [message(who, text, kind="tweet") for who, text in (("Bob", "his"), ("Ann", "hers"))]
    records += [message("", "a book", kind="document"), message("", "a tweet", kind="tweet")]
    assert keep(records, "ann")[0] == ["hers", "a book", "a tweet"]


def test_several_matching_people_are_reported_with_full_names() -> None:
    records = [message("Ann Lee", "1"), message("Joanna Fox", "2"), message("Ann Lee", "3"), message("Bob", "4")]
    texts, counts = keep(records, "ann")
    assert texts == ["1", "2", "3"]
    assert counts.people == {"Ann Lee": 2, "Joanna Fox": 1}
    assert counts.notes == ["--person ann takes 2 people: Ann Lee (2), Joanna Fox (1); give more of the name"]


def test_older_records_are_dropped_and_undated_ones_stay_and_are_reported() -> None:
    texts, counts = keep([message("A", "old", 9), message("A", "new", 10), message("A", "some day")], since=10)
    assert texts == ["new", "some day"]
    assert counts.for_step("since").dropped == 1
    assert counts.notes == ["--since: 1 text has no date, and stays"]


def test_whole_texts_are_dropped_by_patterns() -> None:
    texts = [
        "Ann hat etwas gesendet.",
        "Bob hat etwas gesendet.",
        "Ann hat etwas gesendet. Echt?",
        "[a+]",
        "aa",
        "x\ny",
    ]
    counts = CleaningCounts()
    options = CleaningOptions(drop=("* hat etwas gesendet.", "[a+]", "x*y", "nothing"))
    records = clean_records([message("Ann", text) for text in texts], options, counts)
    assert [record.text for record in records] == ["Ann hat etwas gesendet. Echt?", "aa"]
    assert counts.for_step("drop").dropped == 4
    assert counts.notes == ["--drop nothing: no such text; a star stands for any characters"]
