from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from corpus_items import import_path, make_folder, make_zip, members_of, records_of, skip_reasons, texts_of, warnings_of
from hypothesis import given
from hypothesis import strategies as st

from tools.corpus import dates
from tools.corpus.cleaning import CleaningCounts, CleaningOptions, clean_records
from tools.corpus.importers import tweets
from tools.corpus.record import DamagedItem, ImportItem, KnownPerson, Record
from tools.corpus.tables import csv_rows

V1 = "source,text,created_at,retweet_count,favorite_count,is_retweet,id_str"
V2 = "id,text,isRetweet,isDeleted,device,favorites,retweets,date,isFlagged"
JANUARY = 1579731620.0  # Wed Jan 22 22:20:20 +0000 2020


def import_items(path: Path) -> list[ImportItem]:
    return import_path(tweets, path)


def import_archive(folder: Path, files: Mapping[str, str | bytes]) -> list[ImportItem]:
    return import_items(make_zip(folder / "twitter.zip", files))


def import_csv(folder: Path, data: str | bytes) -> list[ImportItem]:
    return import_items(make_folder(folder, {"tweet_text.csv": data}) / "tweet_text.csv")


def csv_table(header: str, *rows: Sequence[Any]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return out.getvalue()


def js_assignment(name: str, value: Any) -> str:
    return f"window.YTD.{name}.part0 = " + json.dumps(value, indent=2)


def tweet_json(text: str, number: int = 1, **more: Any) -> dict[str, Any]:
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


def note_json(text: str, at: str = "2020-01-22T22:20:20.000Z") -> dict[str, Any]:
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
    items = import_csv(tmp_path, data)
    assert texts_of(items) == ["the first", "the second, with a comma", "the third"]
    assert not warnings_of(items)


@pytest.mark.parametrize("header", ["text", "tweets", "\ufefftweet", '"Text"', "full_text"])
def test_a_header_is_skipped(tmp_path: Path, header: str) -> None:
    items = import_csv(tmp_path, f'{header}\nfirst\n"second ""quoted"""\n')
    assert texts_of(items) == ["first", 'second "quoted"']
    assert skip_reasons(items) == ["a header row"]


def test_one_row_without_a_line_end_is_a_tweet(tmp_path: Path) -> None:
    assert texts_of(import_csv(tmp_path, "just, this")) == ["just, this"]


def test_a_tweet_may_contain_line_ends(tmp_path: Path) -> None:
    items = import_csv(tmp_path, 'first\n"two\n\nlines, really"\nlast\n')
    assert texts_of(items) == ["first", "two\n\nlines, really", "last"]
    assert not warnings_of(items)


def test_an_unclosed_quote_joins_no_rows(tmp_path: Path) -> None:
    lines = ["first", '"@someone: hello', "second", 'he said "yes" to me', '"quoted" and answered', "last"]
    items = import_csv(tmp_path, "\n".join(lines))
    assert texts_of(items) == lines
    (warning,) = warnings_of(items)
    assert "2 rows" in warning
    assert "lines 2, 5" in warning


def test_a_quote_closed_far_away_is_no_csv_quote(tmp_path: Path) -> None:
    lines = ['"@someone: hello', *["x" * 100] * 400, 'six feet are 72"']
    assert texts_of(import_csv(tmp_path, "\n".join(lines))) == lines


def test_joined_texts_are_split(tmp_path: Path) -> None:
    joined = [f"{number} " + "words " * 20 for number in range(4)]
    items = import_csv(tmp_path, 'first\n"' + "\n".join(joined) + '"\nlast\n')
    assert texts_of(items) == ["first", *(text.strip() for text in joined), "last"]
    (warning,) = warnings_of(items)
    assert "1 row with several tweets joined" in warning
    assert "line 2" in warning


def test_a_text_too_long_for_a_tweet_is_kept_and_reported(tmp_path: Path) -> None:
    items = import_csv(tmp_path, "first\n" + "x" * 700 + "\n" + "&amp;" * 60)
    assert [len(text) for text in texts_of(items)] == [5, 700, 300]
    (warning,) = warnings_of(items)
    assert "1 row with more than 280 characters" in warning
    assert "line 2" in warning


def test_only_the_first_line_numbers_are_listed(tmp_path: Path) -> None:
    (warning,) = warnings_of(import_csv(tmp_path, "\n".join(['"@a: b'] * 100 + ["x"])))
    assert "100 rows" in warning
    assert "lines 1, 2, 3, 4, 5 and 95 more" in warning


def test_bytes_that_are_not_utf8_are_reported(tmp_path: Path) -> None:
    items = import_csv(tmp_path, b"caf\xe9 \x96 so\nplain\n" + "caf\u00e9 ".encode() + b"caf\xe9\n")
    assert texts_of(items) == ["caf\u00e9 \u2013 so", "plain", "caf\u00e9 caf\u00e9"]
    (warning,) = warnings_of(items)
    assert warning.startswith("UTF-8, but for 3 characters read as cp1252 (é –)")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_may_have_another_delimiter(tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "text", "created_at"], ["1", "Well, so; it is", "2020-01-22 22:20:20"], ["2", "two\nlines", ""]]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    items = import_items(tmp_path / "mine.csv")
    assert texts_of(items) == ["Well, so; it is", "two\nlines"]
    assert [record.when for record in records_of(items)] == [JANUARY, None]
    assert not warnings_of(items)


def test_an_empty_row_is_counted(tmp_path: Path) -> None:
    items = import_csv(tmp_path, 'tweets\n"  "\nx\n')
    assert texts_of(items) == ["x"]
    assert skip_reasons(items) == ["a header row", "a tweet without a text"]


def test_the_first_archive_site(tmp_path: Path) -> None:
    rows = [
        ("Twitter for iPhone", 'He said: "well, well"\nand left', "01-22-2020 22:20:20", 5, 6, "false", "1"),
        ("Twitter for iPhone", "RT @x: y", "01-22-2020 22:20:20", 5, 6, "true", "2"),
        ("Twitter for iPhone", "someone else's", "01-22-2020 22:20:20", 5, 6, "True", "3"),
    ]
    items = import_csv(tmp_path, csv_table(V1, *rows))
    source = str(tmp_path / "tweet_text.csv")
    assert items[1] == Record(source, "", 'He said: "well, well"\nand left', "", JANUARY, "tweet")
    assert texts_of(items)[1:] == ["RT @x: y"]
    assert skip_reasons(items) == ["a header row", "a retweet by its flag"]


def test_the_second_archive_site(tmp_path: Path) -> None:
    rows = [
        ("1", "one, two &amp; three", "f", "f", "Twitter for iPhone", 5, 6, "2020-01-22 22:20:20", "f"),
        ("2", "other", "t", "f", "Twitter for iPhone", 5, 6, "2020-01-22 22:20:20", "f"),
    ]
    items = import_csv(tmp_path, csv_table(V2, *rows))
    assert texts_of(items) == ["one, two &amp; three"]
    assert [record.when for record in records_of(items)] == [JANUARY]
    assert skip_reasons(items) == ["a header row", "a retweet by its flag"]


def test_an_unclosed_quote_in_a_table_joins_no_rows(tmp_path: Path) -> None:
    good = 'a,"b, b",01-22-2020 22:20:20,5,6,false,1'
    bad = 'a,"@x: hello,01-22-2020 22:20:20,5,6,false,2'
    bad_row = 'a,"@x: hello, you,01-22-2020 22:20:20,5,6,false,3'
    items = import_csv(tmp_path, "\n".join([V1, good, bad, good, bad_row, good]))
    assert texts_of(items) == ["b, b", '"@x: hello', "b, b", '"@x: hello, you', "b, b"]
    assert skip_reasons(items) == ["a header row"]
    (warning,) = warnings_of(items)
    assert "lines 3, 5" in warning


def test_no_line_is_both_kept_and_left_out(tmp_path: Path) -> None:
    good = "a,fine,01-22-2020 22:20:20,5,6,false,1"
    items = import_csv(tmp_path, "\n".join([V1, good, 'a,"@x: hello, you,yesterday,5', good]))
    assert texts_of(items) == ["fine", "fine"]
    assert warnings_of(items) == ["1 row with more or fewer columns than the others, not imported (line 3)"]


def test_a_row_with_a_date_is_not_joined_by_a_quote(tmp_path: Path) -> None:
    rows = [f"a,{text},01-22-2020 22:20:20,5,6,false,1" for text in ('"@x: hello', "plain", 'this is 6"')]
    assert texts_of(import_csv(tmp_path, "\n".join([V1, *rows]))) == ['"@x: hello', "plain", 'this is 6"']


def test_a_column_of_names_gives_the_writer(tmp_path: Path) -> None:
    items = import_csv(tmp_path, "Datetime,Tweet Id,Text,Username\n2020-01-22T22:20:20+00:00,1,hello,anna\n")
    (record,) = records_of(items)
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
        ("data/like.js", js_assignment("like", [{"like": {"fullText": "x"}}])),
        ("data/direct-messages.js", js_assignment("direct_messages", [])),
        ("data/account.js", js_assignment("account", [{"account": {"username": "anna"}}])),
    ],
)
def test_files_without_tweets_are_not_claimed(tmp_path: Path, name: str, data: str | bytes) -> None:
    assert not tweets.claim(members_of(make_folder(tmp_path, {name: data})))


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
    texts = ["caf\u00e9 \U0001f600 &amp; more", "RT @other: theirs"]
    items = import_archive(tmp_path, {name: js_assignment(variable, [tweet_json(text) for text in texts])})
    assert texts_of(items) == texts
    first = items[0]
    assert isinstance(first, Record)
    assert (first.when, first.kind, first.mine) == (JANUARY, "tweet", True)


def test_the_display_name_is_replaced_in_an_anonymous_corpus(tmp_path: Path) -> None:
    account = {"account": {"username": "ann_k", "accountDisplayName": "Anna Kowalska"}}
    files = {
        "data/account.js": js_assignment("account", [account]),
        "data/tweets.js": js_assignment("tweets", [tweet_json("Anna Kowalska here, again.")]),
    }
    items = list(tweets.read_items(members_of(make_zip(tmp_path / "twitter.zip", files))))
    people = {item.name for item in items if isinstance(item, KnownPerson)}
    assert people == {"Anna Kowalska"}
    options = CleaningOptions(anonymous=True, secret="s")
    (record,) = clean_records(records_of(items), options, CleaningCounts(), people)
    assert "Anna" not in record.text
    assert "Kowalska" not in record.text
    assert record.text.endswith(" here, again.")


def test_all_parts_are_read_and_the_account_gives_the_writer(tmp_path: Path) -> None:
    files = {
        "data/account.js": js_assignment("account", [{"account": {"username": "anna", "accountId": "1"}}]),
        "data/tweets.js": js_assignment("tweets", [tweet_json("one")]),
        "data/tweets-part1.js": js_assignment("tweets", [tweet_json("two")]).replace("part0", "part1"),
        "data/deleted-tweets.js": js_assignment("deleted_tweets", [tweet_json("gone")]),
        "data/tweet-headers.js": js_assignment("tweet_headers", [{"tweet": {"tweet_id": "1"}}]),
        "data/manifest.js": "window.__THAR_CONFIG = {}",
    }
    items = import_archive(tmp_path, files)
    assert sorted(texts_of(items)) == ["one", "two"]
    assert {record.who for record in records_of(items)} == {"anna"}
    assert skip_reasons(items) == ["a tweet that was deleted"]


def test_tweets_of_another_user_in_an_archive_are_not_own_words(tmp_path: Path) -> None:
    owner, other = {"id_str": "1", "screen_name": "anna_of_old"}, {"id_str": "2", "screen_name": "bob"}
    tweets_of = [tweet_json("mine", user=owner), tweet_json("theirs", user=other), tweet_json("mine too")]
    tweets_of += [tweet_json("theirs", user={"screen_name": "bob"}), tweet_json("so", retweetedTweet={"id": 1})]
    files = {
        "data/account.js": js_assignment("account", [{"account": {"username": "anna", "accountId": "1"}}]),
        "data/tweets.js": js_assignment("tweets", tweets_of),
    }
    items = import_archive(tmp_path, files)
    assert texts_of(items) == ["mine", "mine too"]
    assert skip_reasons(items) == ["a tweet of another user", "a tweet of another user", "a retweet by its flag"]


def test_a_long_post_is_complete_and_occurs_once(tmp_path: Path) -> None:
    escaped, similar, unrelated = "It began &amp; went on. " * 30, "It began again, " + "x" * 150, "Nobody's " * 40
    long = escaped.replace("&amp;", "&")
    truncated = "@bob " + escaped[:240] + "\u2026 https://t.co/abc"
    notes = [note_json(long, "2020-01-22T22:20:21.000Z"), note_json(unrelated)]
    files = {
        "data/tweets.js": js_assignment("tweets", list(map(tweet_json, ("short", truncated, similar)))),
        "data/note-tweet.js": js_assignment("note_tweet", notes),
    }
    assert texts_of(import_archive(tmp_path, files)) == ["short", long.strip(), similar, unrelated.strip()]


def test_tweets_of_the_same_time_get_their_own_notes(tmp_path: Path) -> None:
    long = ["A part of the thread, and each begins so. " + f"{n} words " * 60 for n in range(3)]
    truncated = [tweet_json(text[:250] + "\u2026 https://t.co/x") for text in reversed(long)]
    files = {
        "data/tweets.js": js_assignment("tweets", truncated),
        "data/note-tweet.js": js_assignment("note_tweet", [note_json(text) for text in long]),
    }
    assert texts_of(import_archive(tmp_path, files)) == [text.strip() for text in reversed(long)]


def test_a_long_post_that_was_posted_twice_occurs_twice(tmp_path: Path) -> None:
    long = "Again and again. " * 30
    files = {
        "data/tweets.js": js_assignment("tweets", [tweet_json(long[:250] + "\u2026 https://t.co/x")] * 2),
        "data/note-tweet.js": js_assignment("note_tweet", [note_json(long)] * 2),
    }
    assert texts_of(import_archive(tmp_path, files)) == [long.strip()] * 2


def test_the_oldest_archives_have_monthly_files_and_a_csv_copy(tmp_path: Path) -> None:
    old: dict[str, Any] = {"text": "from 2014", "created_at": "2014-01-24 02:02:37 +0000", "id_str": "1"}
    old["user"] = {"screen_name": "anna", "name": "Anna"}
    retweet = {**old, "text": "not mine", "retweeted_status": {"text": "not mine"}}
    files = {
        "data/js/tweets/2014_01.js": "Grailbird.data.tweets_2014_01 = \n" + json.dumps([old, retweet]),
        "tweets.csv": '"tweet_id","timestamp","source","text","retweeted_status_id"\n"1","2014","web","from 2014",""\n',
    }
    items = import_archive(tmp_path, files)
    (record,) = records_of(items)
    assert (record.text, record.who, record.when) == ("from 2014", "anna", 1390528957.0)
    assert skip_reasons(items) == ["a retweet by its flag", "a file of tweets that are in the archive's other files"]


@pytest.mark.parametrize(
    ("name", "data"), [("a.txt", "x\n, y"), ("a", "tweets\nx\n, y"), ("a.json", '["?", {"text": "x"}]')]
)
def test_a_forced_kind_is_read_as_tweets(tmp_path: Path, name: str, data: str) -> None:
    members = members_of(make_folder(tmp_path, {name: data}))
    assert texts_of(tweets.read_items(members))[:1] == ["x"]


def test_the_csv_copy_is_read_if_the_monthly_files_are_missing(tmp_path: Path) -> None:
    header = '"tweet_id","timestamp","source","text","retweeted_status_id"\n'
    date = '"2014-01-24 02:02:37 +0000"'
    rows = f'"1",{date},"web","mine, all",""\n"2",{date},"web","x","12345678"\n'
    items = import_items(make_folder(tmp_path, {"tweets.csv": header + rows}))
    assert texts_of(items) == ["mine, all"]
    assert skip_reasons(items) == ["a header row", "a retweet by its flag"]


def test_the_lists_of_the_archive_sites(tmp_path: Path) -> None:
    created_at = "Wed Jan 22 22:20:20 +0000 2020"
    first = [{"source": "web", "id_str": "1", "text": "one", "created_at": created_at, "is_retweet": False}]
    first.append({"source": "web", "id_str": "2", "text": "two", "created_at": "x", "is_retweet": True})
    second = [{"id": 1, "text": "three", "isRetweet": "f", "date": "2020-01-22 22:20:20"}]
    second.append({"text": "4", "isRetweet": "t"})
    items = import_items(make_folder(tmp_path, {"a.json": json.dumps(first), "b.json": json.dumps(second)}))
    assert [(record.text, record.when, record.mine) for record in records_of(items)] == [
        ("one", JANUARY, False),
        ("three", JANUARY, False),
    ]
    assert skip_reasons(items) == ["a retweet by its flag"] * 2


def test_a_truncated_archive_file_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "data/tweets.js": js_assignment("tweets", [tweet_json("one"), tweet_json("two"), tweet_json("three")])[:-200],
        "data/tweets-part1.js": js_assignment("tweets", [tweet_json("four")]),
        "data/tweets-part2.js": b"\0" * 300,
        "data/tweets-part3.js": "",
    }
    items = import_archive(tmp_path, files)
    assert texts_of(items) == ["one", "two", "four"]
    assert [item.source.rpartition("/")[2] for item in items if isinstance(item, DamagedItem)] == [
        "tweets.js",
        "tweets-part2.js",
        "tweets-part3.js",
    ]


def test_entries_that_are_no_tweets_are_counted(tmp_path: Path) -> None:
    entries: list[Any] = [None, 5, {"tweet": []}, {"tweet": {}}, {"tweet": {"full_text": ["x"]}}]
    entries += map(tweet_json, ("", "x"))
    items = import_archive(tmp_path, {"data/tweets.js": js_assignment("tweets", entries)})
    assert texts_of(items) == ["x"]
    assert skip_reasons(items) == ["an entry that is no tweet"] * 3 + ["a tweet without a text"] * 3


LINE = st.text(st.sampled_from('ab ",\u00e9\U0001f600'), min_size=1, max_size=12)


@given(st.lists(st.text(st.sampled_from('ab ",\n\u00e9'), min_size=1, max_size=12).filter(str.strip), max_size=8))
def test_valid_csv_survives_a_round_trip(rows: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([row] for row in rows)
    lines = enumerate(out.getvalue().split("\n"), start=1)
    parsed = list(csv_rows.iter_rows(lines, 1, lambda cells: False))
    assert [row.cells[0] for row in parsed] == rows
    assert all(row.is_valid for row in parsed)


@given(st.lists(LINE, max_size=12))
def test_no_line_is_lost_with_any_quotes(lines: list[str]) -> None:
    rows = csv_rows.iter_rows(enumerate(lines, start=1), 1, lambda cells: False)
    text = "".join(row.cells[0] for row in rows)
    for char in "ab,\u00e9\U0001f600":
        assert text.count(char) == "".join(line for line in lines if line.strip()).count(char)


@given(st.lists(st.tuples(LINE, LINE), max_size=8), st.lists(LINE, max_size=3))
def test_a_table_yields_rows_of_its_width_or_reports_them(rows: list[tuple[str, str]], odd: list[str]) -> None:
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
def test_other_texts_are_no_dates(text: str) -> None:
    assert dates.parse_timestamp(text) is None or any(char.isdigit() for char in text)
