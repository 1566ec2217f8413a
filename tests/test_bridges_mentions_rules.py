"""Which mention is answered, and the text of posts: HTML, names, lengths as networks count them, no links."""

from __future__ import annotations

from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bridges.chat_text import cut_to_sentences
from daemon.bridges.mentions.mention import Mention
from daemon.bridges.mentions.mention_rules import MentionRules, PeopleMemory, decide, find_daily_key, make_fixed_answer
from daemon.bridges.mentions.oauth1 import OAuth1Keys, sign_request
from daemon.bridges.mentions.post_text import (
    count_graphemes,
    count_x_characters,
    split_leading_names,
    strip_html,
    tidy_answer,
)

RULES = MentionRules(frozenset({"robo", "robo@m.example"}), frozenset({"eve"}))
GOOD = Mention("1", "ada", "what is a platen?")
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


@pytest.mark.parametrize(
    ("mention", "decision"),
    [
        (GOOD, "answer"),
        (Mention("1", "ada", "Help!"), "help"),
        (Mention("1", "ada", ""), "wrong form"),
        (Mention("1", "ada", "I like robo", is_addressed=False), "wrong form"),
        (Mention("1", "Robo@m.example", "hi"), "itself"),
        (Mention("1", "ada", "hi", is_bot=True), "a bot"),
        (Mention("1", "Eve", "hi"), "ignored"),
    ],
)
def test_what_becomes_of_a_mention(mention: Mention, decision: str) -> None:
    assert decide(mention, RULES, PeopleMemory(), 0.0) == decision


def test_who_uses_another_form_is_told_so_once() -> None:
    memory, wrong = PeopleMemory(), Mention("1", "Ada", "", is_addressed=False)
    assert decide(wrong, RULES, memory, 0.0) == "wrong form"
    memory.note("Ada", "wrong form", 0.0)
    assert decide(wrong, RULES, memory, 90_000.0) == "told before"
    assert decide(GOOD, RULES, memory, 90_000.0) == "answer"


def test_a_person_and_all_together_get_so_many_answers_an_hour() -> None:
    memory = PeopleMemory()
    for number in range(RULES.person_hour):
        assert decide(GOOD, RULES, memory, number) == "answer"
        memory.note("ada", "answer", number)
    assert decide(GOOD, RULES, memory, 10.0) == "budget"
    assert decide(Mention("2", "bob", "hi"), RULES, memory, 10.0) == "answer"
    assert decide(GOOD, RULES, memory, 3_599.5) == "budget"
    assert decide(GOOD, RULES, memory, 3_600.5) == "answer"
    for number in range(RULES.all_hour):
        memory.note(f"p{number}", "answer", 10_000.0)
    assert decide(Mention("2", "bob", "hi"), RULES, memory, 10_001.0) == "budget"


@pytest.mark.parametrize("decision", ["help", "wrong form"])
def test_the_help_names_the_form_and_fits_into_a_post(decision: str) -> None:
    text = make_fixed_answer(decision, "Sam", "robo")  # type: ignore[arg-type]
    assert "my name, robo" in text
    assert "automated" in text or decision != "help"
    assert len(text) <= 280


def test_the_html_of_a_post_becomes_its_text() -> None:
    html = '<p><a href="https://m/@robo" class="mention">@<span>robo</span></a> one&amp;two<br>three</p><p>four</p>'
    assert strip_html(html) == "@robo one&two three four"
    assert strip_html("a<b>b &lt;") == "ab <"


@pytest.mark.parametrize(
    ("text", "rest", "is_addressed"),
    [
        ("@robo hello", "hello", True),
        ("@Robo@m.example: hello @ann", "hello @ann", True),
        ("@ann @robo hello", "hello", True),
        ("@ann hello @robo", "hello @robo", False),
        ("@robot hello", "hello", False),
        ("  @robo", "", True),
        ("hello @robo", "hello @robo", False),
        ("@robo \u202ehi\x07", "hi", True),
    ],
)
def test_the_names_at_the_begin_of_a_mention(text: str, rest: str, is_addressed: bool) -> None:
    assert split_leading_names(text, ("robo", "robo@m.example")) == (rest, is_addressed)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_a_text_never_has_more_graphemes_than_are_counted(text: str) -> None:
    assert len(text) >= count_graphemes(text) >= len(regex.findall(r"\X", text))


@pytest.mark.parametrize(("text", "count"), [("", 0), ("Köln", 4), ("e\u0301", 1), ("Việt Nam", 8), ("日本語", 3)])
def test_graphemes_of_usual_texts_are_exact(text: str, count: int) -> None:
    assert count_graphemes(text) == count == len(regex.findall(r"\X", text))


@pytest.mark.parametrize(("text", "count"), [("", 0), ("Köln’s —", 8), ("日本", 4), ("ok 🙂", 5)])
def test_x_counts_some_characters_twice(text: str, count: int) -> None:
    assert count_x_characters(text) == count


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("Read https://a.example/b?c now.", "Read now."),
        ("See www.a.example or a.com, @ann.", "See or a. com, ann."),
        ("It is 3.5 inches. Yes.It is.", "It is 3.5 inches. Yes. It is."),
        ("mail me: a@b.example", "mail me: ab. example"),
    ],
)
def test_an_answer_links_to_nothing_and_calls_nobody(text: str, tidy: str) -> None:
    assert tidy_answer(text) == tidy


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.sampled_from(["http://x.y", "x.com", "a.b.c", "@ann", "HTTPS://Ä.de/"]), TEXTS)
def test_no_answer_has_what_a_network_makes_a_link_of(before: str, link: str, after: str) -> None:
    tidy = tidy_answer(before + link + after)
    assert "://" not in tidy
    assert not regex.search(r"\w\.[\p{L}]|@\w", tidy)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(20, 300))
def test_a_cut_answer_fits_in_any_measure(text: str, limit: int) -> None:
    for measure in (len, count_graphemes, count_x_characters):
        assert measure(cut_to_sentences(text * 6, limit, measure)) <= limit


def test_a_daily_post_is_due_once_a_day_over_a_change_of_the_clock() -> None:
    zone, last, days = ZoneInfo("Europe/Berlin"), "2026-03-27", []
    start = datetime(2026, 3, 28, tzinfo=zone).timestamp()
    for minute in range(0, 4 * 24 * 60, 10):
        if day := find_daily_key(datetime.fromtimestamp(start + 60 * minute, zone), time(2, 30), last):
            days.append(day)
            last = day
    assert days == ["2026-03-28", "2026-03-29", "2026-03-30", "2026-03-31"]
    assert not find_daily_key(datetime(2026, 3, 31, 12, tzinfo=zone), None, "")


def test_the_signature_is_that_of_the_example_in_xs_documents() -> None:
    keys = OAuth1Keys(
        "xvz1evFS4wEEPTGEFPHBog",
        "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
        "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb",
        "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
    )
    query = {"include_entities": "true", "status": "Hello Ladies + Gentlemen, a signed OAuth request!"}
    url, nonce = "https://api.twitter.com/1.1/statuses/update.json", "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg"
    header = sign_request(keys, "POST", url, query, nonce, 1318622958)
    assert 'oauth_signature="hCtSmYh%2BiHYCEqBWrE7C7hYmtUk%3D"' in header
    assert "kAcSOqF21" not in header
    assert "kAcSOqF21" not in repr(keys)
