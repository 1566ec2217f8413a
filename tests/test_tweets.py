from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import archive, csv_rows, dates
from tools.corpus.archive import Member
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.importers import tweets
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record, SkippedItem, SourceWarning

V1 = "source,text,created_at,retweet_count,favorite_count,is_retweet,id_str"
V2 = "id,text,isRetweet,isDeleted,device,favorites,retweets,date,isFlagged"
JANUARY = 1579731620.0  # Wed Jan 22 22:20:20 +0000 2020


def written(top: Path, name: str, data: str | bytes) -> Path:
    path = top / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def zipped(top: Path, files: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(top / "twitter.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return top / "twitter.zip"


def found(path: Path) -> list[ImportItem]:
    return list(tweets.read_items(tweets.claim([one for one in archive.iter_members(path) if isinstance(one, Member)])))


def claims(path: Path) -> bool:
    return bool(tweets.claim([one for one in archive.iter_members(path) if isinstance(one, Member)]))


def texts(everything: Sequence[ImportItem]) -> list[str]:
    return [one.text for one in everything if isinstance(one, Record)]


def whys(everything: Sequence[ImportItem]) -> list[str]:
    return [one.reason for one in everything if isinstance(one, SkippedItem)]


def warnings(everything: Sequence[ImportItem]) -> list[str]:
    return [one.message for one in everything if isinstance(one, SourceWarning)]


def of_csv(top: Path, data: str | bytes) -> list[ImportItem]:
    return found(written(top, "tweet_text.csv", data))


def table(header: str, *rows: Sequence[Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return out.getvalue()


def assigned(name: str, value: Any) -> str:
    return f"window.YTD.{name}.part0 = " + json.dumps(value, indent=2)


def tweet(text: str, number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "tweet": {
            "retweeted": False,
            "truncated": False,
            "display_text_range": ["0", str(len(text))],
            "id_str": str(number),
            "created_at": "Wed Jan 22 22:20:20 +0000 2020",
            "full_text": text,
            "lang": "en",
            "entities": {"urls": [], "user_mentions": [], "hashtags": []},
            **more,
        }
    }


def note(text: str, at: str = "2020-01-22T22:20:20.000Z") -> dict[str, Any]:
    return {"noteTweet": {"noteTweetId": "9", "createdAt": at, "core": {"text": text, "urls": [], "mentions": []}}}


@pytest.mark.parametrize(
    "data",
    [
        "the first\nthe second, with a comma\nthe third\n",
        "\ufeffthe first\r\nthe second, with a comma\r\nthe third",
        'the first\n"the second, with a comma"\nthe third\n',
        '"the first"\n"the second, with a comma"\n"the third"\n\n\n',
    ],
)
def test_without_a_header_the_first_row_is_a_tweet(tmp_path: Path, data: str) -> None:
    everything = of_csv(tmp_path, data)
    assert texts(everything) == ["the first", "the second, with a comma", "the third"]
    assert not warnings(everything)


@pytest.mark.parametrize("header", ["text", "tweets", "\ufefftweet", '"Text"', "full_text"])
def test_a_header_is_no_tweet(tmp_path: Path, header: str) -> None:
    everything = of_csv(tmp_path, f'{header}\nfirst\n"second ""quoted"""\n')
    assert texts(everything) == ["first", 'second "quoted"']
    assert whys(everything) == ["a header row"]


def test_one_row_without_a_line_end_is_one_tweet(tmp_path: Path) -> None:
    assert texts(of_csv(tmp_path, "just, this")) == ["just, this"]


def test_a_tweet_may_have_line_ends(tmp_path: Path) -> None:
    everything = of_csv(tmp_path, 'first\n"two\n\nlines, really"\nlast\n')
    assert texts(everything) == ["first", "two\n\nlines, really", "last"]
    assert not warnings(everything)


def test_a_text_with_a_quote_that_is_never_closed_swallows_nothing(tmp_path: Path) -> None:
    lines = ["first", '"@someone: hello', "second", 'he said "yes" to me', '"quoted" and answered', "last"]
    everything = of_csv(tmp_path, "\n".join(lines))
    assert texts(everything) == lines
    (warning,) = warnings(everything)
    assert "2 rows" in warning
    assert "lines 2, 5" in warning


def test_a_quote_that_is_closed_only_far_away_was_none(tmp_path: Path) -> None:
    lines = ['"@someone: hello', *["x" * 100] * 400, 'six feet are 72"']
    assert texts(of_csv(tmp_path, "\n".join(lines))) == lines


def test_texts_that_were_swallowed_before_are_taken_apart(tmp_path: Path) -> None:
    swallowed = [f"{number} " + "words " * 20 for number in range(4)]
    everything = of_csv(tmp_path, 'first\n"' + "\n".join(swallowed) + '"\nlast\n')
    assert texts(everything) == ["first", *(text.strip() for text in swallowed), "last"]
    (warning,) = warnings(everything)
    assert "1 row with several tweets in one" in warning
    assert "line 2" in warning


def test_a_text_too_long_for_a_tweet_is_kept_and_told(tmp_path: Path) -> None:
    everything = of_csv(tmp_path, "first\n" + "x" * 700 + "\n" + "&amp;" * 60)
    assert [len(text) for text in texts(everything)] == [5, 700, 300]
    (warning,) = warnings(everything)
    assert "1 row with a text of more than 280 characters" in warning
    assert "line 2" in warning


def test_only_the_first_lines_of_many_are_told(tmp_path: Path) -> None:
    (warning,) = warnings(of_csv(tmp_path, "\n".join(['"@a: b'] * 100 + ["x"])))
    assert "100 rows" in warning
    assert "lines 1, 2, 3, 4, 5 and 95 more" in warning


def test_bytes_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    everything = of_csv(tmp_path, b"caf\xe9 \x96 so\nplain\n" + "caf\u00e9 ".encode() + b"caf\xe9\n")
    assert texts(everything) == ["caf\u00e9 \u2013 so", "plain", "caf\u00e9 caf\ufffd"]
    assert warnings(everything) == ["2 lines are not UTF-8, read as Windows-1252: see whether the letters are right"]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_of_a_spreadsheet_may_have_another_mark_between_its_cells(tmp_path: Path, mark: str) -> None:
    rows = [["id", "text", "created_at"], ["1", "Well, so; it is", "2020-01-22 22:20:20"], ["2", "two\nlines", ""]]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    everything = found(tmp_path / "mine.csv")
    assert texts(everything) == ["Well, so; it is", "two\nlines"]
    assert [one.when for one in everything if isinstance(one, Record)] == [JANUARY, None]
    assert not warnings(everything)


def test_an_empty_row_is_counted(tmp_path: Path) -> None:
    everything = of_csv(tmp_path, 'tweets\n"  "\nx\n')
    assert texts(everything) == ["x"]
    assert whys(everything) == ["a header row", "a tweet without a text"]


def test_the_first_archive_site(tmp_path: Path) -> None:
    rows = [
        ("Twitter for iPhone", 'He said: "well, well"\nand left', "01-22-2020 22:20:20", 5, 6, "false", "1"),
        ("Twitter for iPhone", "RT @x: y", "01-22-2020 22:20:20", 5, 6, "true", "2"),
        ("Twitter for iPhone", "someone else's", "01-22-2020 22:20:20", 5, 6, "True", "3"),
    ]
    everything = of_csv(tmp_path, table(V1, *rows))
    assert everything[1] == Record(
        str(tmp_path / "tweet_text.csv"), "", 'He said: "well, well"\nand left', "", JANUARY, "tweet"
    )
    assert texts(everything)[1:] == ["RT @x: y"]
    assert whys(everything) == ["a header row", "a retweet by its flag"]


def test_the_second_archive_site(tmp_path: Path) -> None:
    rows = [
        ("1", "one, two &amp; three", "f", "f", "Twitter for iPhone", 5, 6, "2020-01-22 22:20:20", "f"),
        ("2", "other", "t", "f", "Twitter for iPhone", 5, 6, "2020-01-22 22:20:20", "f"),
    ]
    everything = of_csv(tmp_path, table(V2, *rows))
    assert texts(everything) == ["one, two &amp; three"]
    assert [one.when for one in everything if isinstance(one, Record)] == [JANUARY]
    assert whys(everything) == ["a header row", "a retweet by its flag"]


def test_of_a_table_too_an_open_quote_swallows_no_row(tmp_path: Path) -> None:
    good = 'a,"b, b",01-22-2020 22:20:20,5,6,false,1'
    bad = 'a,"@x: hello,01-22-2020 22:20:20,5,6,false,2'
    worse = 'a,"@x: hello, you,01-22-2020 22:20:20,5,6,false,3'
    everything = of_csv(tmp_path, "\n".join([V1, good, bad, good, worse, good]))
    assert texts(everything) == ["b, b", '"@x: hello', "b, b", "b, b"]
    assert whys(everything) == ["a header row", "a row with more or fewer columns than the first"]
    assert any("lines 3, 5" in warning for warning in warnings(everything))
    assert any("not taken (line 5)" in warning for warning in warnings(everything))


def test_a_row_with_its_date_is_swallowed_by_no_quote_though_another_closes_it(tmp_path: Path) -> None:
    rows = [f"a,{text},01-22-2020 22:20:20,5,6,false,1" for text in ('"@x: hello', "plain", 'this is 6"')]
    assert texts(of_csv(tmp_path, "\n".join([V1, *rows]))) == ['"@x: hello', "plain", 'this is 6"']


def test_a_column_of_names_tells_who(tmp_path: Path) -> None:
    everything = of_csv(tmp_path, "Datetime,Tweet Id,Text,Username\n2020-01-22T22:20:20+00:00,1,hello,anna\n")
    (record,) = [one for one in everything if isinstance(one, Record)]
    assert (record.text, record.who, record.when) == ("hello", "anna", JANUARY)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", "ID,THREAD_ID,ADDRESS,BODY\n1,2,3,hello\n"),
        ("a.csv", "1,2,3\n4,5,6\n"),
        ("a.csv", ""),
        ("a.csv", b"\x00\x01\x02"),
        ("a.txt", "text\nhello\n"),
        ("a.json", '[{"type": "message", "text": "slack", "user": "U1", "ts": "1.2"}]'),
        ("a.json", '{"participants": [], "messages": []}'),
        ("a.js", "var tweets = [];"),
        ("data/like.js", assigned("like", [{"like": {"fullText": "x"}}])),
        ("data/direct-messages.js", assigned("direct_messages", [])),
        ("data/account.js", assigned("account", [{"account": {"username": "anna"}}])),
    ],
)
def test_what_holds_no_tweets_is_not_claimed(tmp_path: Path, name: str, data: str | bytes) -> None:
    written(tmp_path, name, data)
    assert not claims(tmp_path)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("data/tweets.js", "tweets"),
        ("data/tweet.js", "tweet"),
        ("tweet.js", "tweet"),
        ("twitter-2023/data/tweets.js", "tweets"),
        ("data/community-tweet.js", "community_tweet"),
    ],
)
def test_the_archive_of_x(tmp_path: Path, name: str, variable: str) -> None:
    said = ["caf\u00e9 \U0001f600 &amp; more", "RT @other: theirs"]
    everything = found(zipped(tmp_path, {name: assigned(variable, [tweet(text) for text in said])}))
    assert texts(everything) == said
    first = everything[0]
    assert isinstance(first, Record)
    assert (first.when, first.kind, first.mine) == (JANUARY, "tweet", True)


def test_the_name_that_stands_above_the_tweets_is_hidden_where_all_is_anonymous(tmp_path: Path) -> None:
    account = {"account": {"username": "ann_k", "accountDisplayName": "Anna Kowalska"}}
    files: dict[str, str | bytes] = {
        "data/account.js": assigned("account", [account]),
        "data/tweets.js": assigned("tweets", [tweet("Anna Kowalska here, again.")]),
    }
    everything = found(zipped(tmp_path, files))
    named = {one.name for one in everything if isinstance(one, KnownPerson)}
    assert named == {"Anna Kowalska"}
    records = [one for one in everything if isinstance(one, Record)]
    (kept,) = clean_records(records, CleaningOptions(anonymous=True, secret="s"), CleaningCounts(), named)
    assert "Anna" not in kept.text
    assert "Kowalska" not in kept.text
    assert kept.text.endswith(" here, again.")


def test_all_parts_are_read_and_the_account_tells_who(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "data/account.js": assigned("account", [{"account": {"username": "anna", "accountId": "1"}}]),
        "data/tweets.js": assigned("tweets", [tweet("one")]),
        "data/tweets-part1.js": assigned("tweets", [tweet("two")]).replace("part0", "part1"),
        "data/deleted-tweets.js": assigned("deleted_tweets", [tweet("gone")]),
        "data/tweet-headers.js": assigned("tweet_headers", [{"tweet": {"tweet_id": "1"}}]),
        "data/manifest.js": "window.__THAR_CONFIG = {}",
    }
    everything = found(zipped(tmp_path, files))
    assert sorted(texts(everything)) == ["one", "two"]
    assert {one.who for one in everything if isinstance(one, Record)} == {"anna"}
    assert whys(everything) == ["a tweet that was deleted"]


def test_a_long_post_is_whole_and_given_once(tmp_path: Path) -> None:
    long = "It began &amp; went on. " * 30
    cut = "@bob " + long[:240] + "\u2026 https://t.co/abc"
    files: dict[str, str | bytes] = {
        "data/tweets.js": assigned("tweets", [tweet("short"), tweet(cut), tweet("It began again, " + "x" * 150)]),
        "data/note-tweet.js": assigned(
            "note_tweet", [note(long.replace("&amp;", "&"), "2020-01-22T22:20:21.000Z"), note("Nobody's " * 40)]
        ),
    }
    everything = found(zipped(tmp_path, files))
    assert texts(everything) == [
        "short",
        long.replace("&amp;", "&").strip(),
        "It began again, " + "x" * 150,
        ("Nobody's " * 40).strip(),
    ]


def test_a_thread_posted_at_once_gets_each_its_own_note(tmp_path: Path) -> None:
    long = ["A part of the thread, and each begins so. " + f"{n} words " * 60 for n in range(3)]
    cuts = [tweet(text[:250] + "\u2026 https://t.co/x") for text in reversed(long)]
    files: dict[str, str | bytes] = {
        "data/tweets.js": assigned("tweets", cuts),
        "data/note-tweet.js": assigned("note_tweet", [note(text) for text in long]),
    }
    assert texts(found(zipped(tmp_path, files))) == [text.strip() for text in reversed(long)]


def test_a_long_post_that_was_posted_twice_is_twice(tmp_path: Path) -> None:
    long = "Again and again. " * 30
    files: dict[str, str | bytes] = {
        "data/tweets.js": assigned("tweets", [tweet(long[:250] + "\u2026 https://t.co/x")] * 2),
        "data/note-tweet.js": assigned("note_tweet", [note(long)] * 2),
    }
    assert texts(found(zipped(tmp_path, files))) == [long.strip()] * 2


def test_the_oldest_archives_have_a_file_a_month_and_the_same_once_more_as_csv(tmp_path: Path) -> None:
    old = {
        "text": "from 2014",
        "created_at": "2014-01-24 02:02:37 +0000",
        "id_str": "1",
        "user": {"screen_name": "anna", "name": "Anna"},
    }
    shared = {**old, "text": "not mine", "retweeted_status": {"text": "not mine"}}
    files: dict[str, str | bytes] = {
        "data/js/tweets/2014_01.js": "Grailbird.data.tweets_2014_01 = \n" + json.dumps([old, shared]),
        "tweets.csv": '"tweet_id","timestamp","source","text","retweeted_status_id"\n"1","2014","web","from 2014",""\n',
    }
    everything = found(zipped(tmp_path, files))
    assert [(one.text, one.who, one.when) for one in everything if isinstance(one, Record)] == [
        ("from 2014", "anna", 1390528957.0)
    ]
    assert whys(everything) == ["a retweet by its flag", "a file of tweets that are in the archive's other files"]


@pytest.mark.parametrize(
    ("name", "data"), [("a.txt", "x\n, y"), ("a", "tweets\nx\n, y"), ("a.json", '["?", {"text": "x"}]')]
)
def test_what_a_person_says_are_tweets_is_read_as_such(tmp_path: Path, name: str, data: str) -> None:
    named = [one for one in archive.iter_members(written(tmp_path, name, data)) if isinstance(one, Member)]
    assert texts(list(tweets.read_items(named)))[:1] == ["x"]


def test_without_its_months_that_csv_is_read(tmp_path: Path) -> None:
    header = '"tweet_id","timestamp","source","text","retweeted_status_id"\n'
    rows = (
        '"1","2014-01-24 02:02:37 +0000","web","mine, all",""\n"2","2014-01-24 02:02:37 +0000","web","x","12345678"\n'
    )
    everything = found(written(tmp_path, "tweets.csv", header + rows))
    assert texts(everything) == ["mine, all"]
    assert whys(everything) == ["a header row", "a retweet by its flag"]


def test_the_lists_of_the_sites(tmp_path: Path) -> None:
    first = [
        {
            "source": "web",
            "id_str": "1",
            "text": "one",
            "created_at": "Wed Jan 22 22:20:20 +0000 2020",
            "is_retweet": False,
        },
        {"source": "web", "id_str": "2", "text": "two", "created_at": "x", "is_retweet": True},
    ]
    second = [
        {"id": 1, "text": "three", "isRetweet": "f", "date": "2020-01-22 22:20:20"},
        {"text": "4", "isRetweet": "t"},
    ]
    written(tmp_path, "a.json", json.dumps(first))
    written(tmp_path, "b.json", json.dumps(second))
    everything = found(tmp_path)
    assert [(one.text, one.when, one.mine) for one in everything if isinstance(one, Record)] == [
        ("one", JANUARY, False),
        ("three", JANUARY, False),
    ]
    assert whys(everything) == ["a retweet by its flag"] * 2


def test_an_archive_that_breaks_off_is_told_and_the_rest_read(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "data/tweets.js": assigned("tweets", [tweet("one"), tweet("two"), tweet("three")])[:-200],
        "data/tweets-part1.js": assigned("tweets", [tweet("four")]),
        "data/tweets-part2.js": b"\0" * 300,
        "data/tweets-part3.js": "",
    }
    everything = found(zipped(tmp_path, files))
    assert texts(everything) == ["one", "two", "four"]
    assert [one.source.rpartition("/")[2] for one in everything if isinstance(one, DamagedItem)] == [
        "tweets.js",
        "tweets-part2.js",
        "tweets-part3.js",
    ]


def test_what_is_no_tweet_among_tweets_is_counted(tmp_path: Path) -> None:
    odd: list[Any] = [None, 5, {"tweet": []}, {"tweet": {}}, tweet(""), {"tweet": {"full_text": ["x"]}}, tweet("x")]
    everything = found(zipped(tmp_path, {"data/tweets.js": assigned("tweets", odd)}))
    assert texts(everything) == ["x"]
    assert whys(everything) == ["what is no tweet"] * 3 + ["a tweet without a text"] * 3


LINE = st.text(st.sampled_from('ab ",\u00e9\U0001f600'), min_size=1, max_size=12)


@given(st.lists(st.text(st.sampled_from('ab ",\n\u00e9'), min_size=1, max_size=12).filter(str.strip), max_size=8))
def test_what_a_sound_writer_wrote_comes_back(rows: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([row] for row in rows)
    lines = enumerate(out.getvalue().split("\n"), start=1)
    read = list(csv_rows.iter_rows(lines, 1, lambda cells: False))
    assert [row.cells[0] for row in read] == rows
    assert all(row.is_valid for row in read)


@given(st.lists(LINE, max_size=12))
def test_no_line_is_lost_whatever_its_quotes(lines: list[str]) -> None:
    read = csv_rows.iter_rows(enumerate(lines, start=1), 1, lambda cells: False)
    kept = "".join(row.cells[0] for row in read)
    for char in "ab,\u00e9\U0001f600":
        assert kept.count(char) == "".join(line for line in lines if line.strip()).count(char)


@given(st.lists(st.tuples(LINE, LINE), max_size=8), st.lists(LINE, max_size=3))
def test_a_table_gives_rows_of_its_width_or_says_that_they_are_not(rows: list[tuple[str, str]], odd: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    lines = [*out.getvalue().split("\n"), *odd]
    for row in csv_rows.iter_rows(enumerate(lines, start=1), 2, lambda cells: False):
        assert len(row.cells) == 2 or not row.is_valid


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("Wed Jan 22 22:20:20 +0000 2020", JANUARY),
        ("2020-01-22 22:20:20", JANUARY),
        ("2020-01-22T22:20:20Z", JANUARY),
        ("2020-01-22T22:20:20.250Z", JANUARY + 0.25),
        ("2020-01-23T00:20:20+02:00", JANUARY),
        ("2020-01-22T17:20:20-05:00", JANUARY),
        ("2020-01-22 22:20:20 +0000", JANUARY),
        ("01-22-2020 22:20:20", JANUARY),
        ("1/22/2020 22:20", JANUARY - 20),
        ("2020-01-22", JANUARY - 80420),
        ("1965-01-01", -157766400.0),
        ("2020-02-31 10:00:00", None),
        ("22:20", None),
        ("", None),
        ("Wed Foo 22 22:20:20 +0000 2020", None),
        ("2020-01-22T22:20:20+99:99", None),
    ],
)
def test_dates(text: str, when: float | None) -> None:
    assert dates.parse_timestamp(text) == when


@given(st.text())
def test_what_is_no_date_is_none(text: str) -> None:
    assert dates.parse_timestamp(text) is None or any(char.isdigit() for char in text)
