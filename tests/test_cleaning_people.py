from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.cleaning.people import CONTEXT_MESSAGES
from tools.corpus.record import Record, RecordKind
from tools.corpus.rendering import MAX_SILENCE_S


def said(who: str, text: str, when: float | None = None, thread: str = "t", kind: RecordKind = "message") -> Record:
    return Record("s", thread, text, who, when, kind)


def kept(records: list[Record], person: str = "", since: float | None = None) -> tuple[list[str], CleaningCounts]:
    counts = CleaningCounts()
    return [record.text for record in clean_records(records, CleaningOptions(person, since), counts)], counts


def test_a_person_is_found_by_part_of_a_name_without_case_and_accents() -> None:
    records = [said("José Peña", "one"), said("Ann", "two")]
    assert kept(records, "pena")[0] == ["one"]
    assert kept(records, "JOSÉ")[0] == ["one"]


def test_what_others_said_before_stays_and_what_they_said_after_goes() -> None:
    records = [said("Bob", "how are you?"), said("Ann", "well"), said("Bob", "good"), said("Cy", "bye")]
    texts, counts = kept(records, "ann")
    assert texts == ["how are you?", "well"]
    assert counts.for_step("person").dropped == 2


def test_of_much_that_others_said_the_last_lines_stay() -> None:
    texts, counts = kept([*(said("Bob", str(n)) for n in range(50)), said("Ann", "well")], "ann")
    assert texts == [*map(str, range(50 - CONTEXT_MESSAGES, 50)), "well"]
    assert counts.for_step("person").dropped == 50 - CONTEXT_MESSAGES


def test_what_others_said_in_another_conversation_is_no_context() -> None:
    records = [said("Bob", "old", 0), said("Bob", "new", MAX_SILENCE_S + 1), said("Ann", "yes", MAX_SILENCE_S + 2)]
    assert kept(records, "ann")[0] == ["new", "yes"]
    assert kept([said("Bob", "there", thread="u"), said("Ann", "here")], "ann")[0] == ["here"]
    assert kept([said("Bob", "there", thread=""), said("Ann", "here", thread="")], "ann")[0] == ["here"]


def test_tweets_of_others_go_and_what_nobody_signed_stays() -> None:
    records = [said("Bob", "his", kind="tweet"), said("Ann", "hers", kind="tweet"), said("", "a book", kind="document")]
    assert kept([*records, said("", "a tweet", kind="tweet")], "ann")[0] == ["hers", "a book", "a tweet"]


def test_two_people_of_one_name_are_told_with_all_of_it() -> None:
    records = [said("Ann Lee", "1"), said("Joanna Fox", "2"), said("Ann Lee", "3"), said("Bob", "4")]
    texts, counts = kept(records, "ann")
    assert texts == ["1", "2", "3"]
    assert counts.people == {"Ann Lee": 2, "Joanna Fox": 1}
    assert counts.notes == ["--person ann takes 2 people: Ann Lee (2), Joanna Fox (1); give more of the name"]


def test_what_was_written_before_goes_and_what_has_no_date_stays_and_is_told() -> None:
    texts, counts = kept([said("A", "old", 9), said("A", "new", 10), said("A", "some day")], since=10)
    assert texts == ["new", "some day"]
    assert counts.for_step("since").dropped == 1
    assert counts.notes == ["--since: 1 text has no date, and stays"]
