import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning.social_noise import is_notice, is_retweet, remove_links
from tools.corpus.record import Record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thank you!https://t.co/AbC1234567", "Thank you!"),
        ("word https://t.co/AbC1234567 word", "word word"),
        ("https://t.co/AbC1234567 https://t.co/DeF1234567", ""),
        ("one https://t.co/AbC1234567https://t.co/DeF1234567", "one"),
        ("a\nhttps://t.co/AbC1234567\nb", "a\nb"),
        ("see http://t.co/x1\nand HTTPS://T.CO/Y2 end", "see\nand end"),
        ("at https://example.org/a_(b). Then", "at. Then"),
        ("(https://example.org/a)", "()"),
        ("(see https://example.org/a?b=c&d#e, or not)", "(see, or not)"),
        ("[the manual](https://example.org/x) says", "the manual says"),
        ("cut https://t.c…", "cut"),
        ("cut https…", "cut"),
        ("www.example.org/x and pic.twitter.com/abc", "and"),
        ("https://example.org/ü日本", "日本"),
        ("ftp is old, a.www.b too, e@www.x", "ftp is old, a.www.b too, e@www.x"),
        ("http and https are names", "http and https are names"),
    ],
)
def test_links_are_removed_without_a_gap(text: str, expected: str) -> None:
    assert remove_links(text) == expected


@given(st.lists(st.sampled_from(["https://t.co/a", "http", "s://t", ".co/b", "word", " ", "\n", ")", "(", "…"])))
def test_no_link_is_left_in_any_text(parts: list[str]) -> None:
    text = remove_links("".join(parts))
    assert "https://t.co" not in text
    assert remove_links(text) == text


@given(st.text(st.characters(exclude_characters="hHwWpP[")))
def test_text_without_links_stays(text: str) -> None:
    assert remove_links(text) == text


@pytest.mark.parametrize(
    "text", ["RT @a: words", "RT @a", '"RT @a: x"', "@bob: his words", '"@bob: his" Thanks!', "RT: x"]
)
def test_texts_of_other_users_are_retweets(text: str) -> None:
    assert is_retweet(Record("", "", text, kind="tweet"))


@pytest.mark.parametrize(
    "text", ["@bob thanks!", "RTFM", "RT if you agree", "START @x", "Great! RT @a: b", "@bob:x", ""]
)
def test_own_texts_are_no_retweets(text: str) -> None:
    assert not is_retweet(Record("", "", text, kind="tweet"))


@pytest.mark.parametrize(
    "text",
    [
        "Diana left the group.",
        "Diana Prince left the chat",
        "Diana sent an attachment.",
        "Diana named the group Amazons.",
        "Diana set the nickname for Bob to Bobby.",
        "You sent an attachment.",
        "Reacted 👍 to your message ",
        "This message was deleted",
        "<Media omitted>",
        "Missed voice call",
        "You are now connected on Messenger.",
        "Liked “Is the pump fixed?”",
        "Laughed at an image",
    ],
)
def test_system_sentences_are_notices(text: str) -> None:
    assert is_notice(Record("", "t", text, "Diana Prince", kind="message"))


@pytest.mark.parametrize(
    "text",
    [
        "I left the group.",
        "Liked it “so much”",
        "loved “Dune”",
        'Liked "Dune"',
        "Bob left the group and I laughed",
        "Bob left the chat",
        "Diana left the group.\nor did she?",
        "You sent an attachment? I saw none",
        "You called him",
        "Diana",
        "",
        "image",
    ],
)
def test_similar_sentences_of_people_are_no_notices(text: str) -> None:
    assert not is_notice(Record("", "t", text, "Diana Prince", kind="message"))


@pytest.mark.parametrize(
    "text", ["http" * 20_000, "[" * 20_000, "https://" * 3_000, "[a](https://" * 3_000, "www." * 9_000]
)
def test_pathological_texts_are_processed_quickly(text: str) -> None:
    start = time.process_time()
    remove_links(text)
    assert time.process_time() - start < 2
