import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus.cleaning.links import remove_links
from tools.corpus.cleaning.social_noise import cut_retweet, is_notice, is_retweet, split_joined_tweets
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
        ("(https://example.org/a)", ""),
        ("See http://x.y/z(a), (http://x.y) and www.example.com.", "See, and."),
        ("He wrote (see http://x.y/z). [http://x.y] <http://x.y> Go on.", "He wrote. Go on."),
        ("He wrote (http://x.y, http://x.z) of () and (a)", "He wrote (,) of () and (a)"),
        ("(see https://example.org/a?b=c&d#e, or not)", "(see, or not)"),
        ("[the manual](https://example.org/x) says", "the manual says"),
        ("cut https://t.c…", "cut"),
        ("cut https…", "cut"),
        ("www.example.org/x and pic.twitter.com/abc", "and"),
        ("https://example.org/ü日本", "日本"),
        ("ftp is old, a.www.b too, e@www.x", "ftp is old, a.www.b too, e@www.x"),
        ("http and https are names", "http and https are names"),
        ("see https://example.org/a … and go", "see and go"),
        ("read t.co/abcdefghij now", "read now"),
        ("and/or a.b/c", "and/or a.b/c"),
    ],
)
def test_links_are_removed_without_a_gap(text: str, expected: str) -> None:
    assert remove_links(text) == expected


@pytest.mark.parametrize(
    "link",
    [
        "https://www. boats.example.com/2018/04/06/pump -news-of-the-day.html …",
        "https://www. boats.example.com/2018/04/06/us /pump.html?smid=tw-share\u00a0…",
        "http:// boats.example.com/x",
        "http://\nboats.example.com/x",
        "https: //boats.example.com/x",
        "http ://boats.example.com/x",
        "https://boats. example.com/x",
        "https://t.co /abcdefghij",
        "https://t. co/abcdefghij",
        "https://boats.example.com/2018/ 04/06/pump.html",
        "https://boats.example.com/2018/pu mp-news.html …",
        "https://boats.example.com/watch?v=abc &feature=share",
        "www. boats.example.com",
        "pic. twitter.com/abc",
        "pic.twitter.com /abc",
    ],
)
def test_a_link_that_blanks_tore_leaves_no_remains(link: str) -> None:
    assert remove_links(f"Rowed {link} today") == "Rowed today"
    assert remove_links(link) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://x.example. Then go", "see. Then go"),
        ("see https://x.example. and/or not", "see. and/or not"),
        ("type http:// and then x", "type and then x"),
        ("https://x.example/a well-known thing", "well-known thing"),
        ("see https://x.example/ for more", "see for more"),
        ("https://x.example/a -not so", "-not so"),
    ],
)
def test_words_after_a_link_stay(text: str, expected: str) -> None:
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
    "text",
    [
        *("RT @a: words", "RT @a", '"RT @a: x"', "@bob: his words", '"@bob: his" Thanks!', "RT: x"),
        *(
            "@bob:his words",
            "@bob:@ann hello",
            "@bob:“his words”",
            "@bob : his words",
            "@bob：his words",
            "@bob:I rowed",
        ),
        *("RT@a: x", "rt @a: x", "MT @a: x", "QT @a: x", ".RT @a: x", "“RT @a: x”", "  RT @a x", "@bob:Did he row?"),
    ],
)
def test_texts_of_other_users_are_retweets(text: str) -> None:
    assert is_retweet(Record("", "", text, kind="tweet"))


@pytest.mark.parametrize(
    "text",
    [
        "@bob thanks!",
        "RTFM",
        "RT if you agree",
        "START @x",
        "Great! RT @a: b",
        "@bob:x",
        "@bob:D",
        "@bob:) ok",
        "@bob:P yes",
        "",
    ],
)
def test_own_texts_are_no_retweets(text: str) -> None:
    assert not is_retweet(Record("", "", text, kind="tweet"))


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("Great! RT @a: b", "Great!"),
        ("Great! “RT @a: b”", "Great!"),
        ("So true\nQT @a: b\nc", "So true"),
        ("Great RT, thanks @a", "Great RT, thanks @a"),
        ("START @x", "START @x"),
    ],
)
def test_a_retweet_behind_own_words_is_cut(text: str, own: str) -> None:
    assert cut_retweet(text) == own


LINE = "We rowed and rowed all day long, and then we had tea and went home again today, said Mara."


@pytest.mark.parametrize(
    ("lines", "is_split"),
    [
        ([LINE] * 4, True),
        ([LINE, LINE, LINE * 4, LINE], True),  # one odd line stays whole
        ([LINE * 4, LINE * 4], False),
        ([LINE, "", LINE, "", LINE, "", LINE], False),  # paragraphs
        ([LINE, LINE], False),  # one tweet of two lines
        ([LINE, LINE, LINE[:60] + " https://t.co/abcdefghij https://boats.example.com/" + "x" * 90], False),
        ([LINE, LINE, LINE, "&amp;" * 3], False),
    ],
)
def test_a_text_is_split_if_its_lines_could_be_tweets(lines: list[str], is_split: bool) -> None:
    text = "\n".join(lines)
    assert split_joined_tweets(text) == (lines if is_split else [text])


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
    "text",
    [
        "http" * 20_000,
        "[" * 20_000,
        "https://" * 3_000,
        "[a](https://" * 3_000,
        "www." * 9_000,
        "https://" * 30_000,
        "https:// " * 9_000,
        "https://a.example/b -c " * 9_000,
        "t.co/" * 30_000,
        "http " * 50_000,
    ],
)
def test_pathological_texts_are_processed_quickly(text: str) -> None:
    start = time.process_time()
    remove_links(text)
    assert time.process_time() - start < 2
