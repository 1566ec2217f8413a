"""The protocol of IRC and Twitch: bytes in, events and bytes out, with the time as an argument."""

from __future__ import annotations

import base64
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.bridges.chat_text import clean_name, clean_text, cut_to_sentences, parse_ctcp, split_text
from daemon.bridges.irc.irc_client import (
    DEAD_AFTER_S,
    PING_AFTER_S,
    ChannelJoined,
    ChatLine,
    ConnectionEnded,
    IrcClient,
    IrcEvent,
    ServerNotice,
)
from daemon.bridges.irc.irc_message import (
    MAX_TAGGED_BYTES,
    IrcMessage,
    LineReader,
    decode_line,
    encode_message,
    fold_name,
    parse_message,
)
from daemon.bridges.irc.registration import IrcIdentity, encode_sasl_plain
from daemon.bridges.irc.send_queue import TWITCH_LIMITS, SendLimits, SendQueue

ME = IrcIdentity("asr33", ("#paper",))


def connect(identity: IrcIdentity = ME, *, limits: SendLimits | None = None, source: str = "") -> IrcClient:
    """Returns a client that has joined its channels at second 0."""
    client = IrcClient(identity, limits) if limits else IrcClient(identity)
    client.start(0.0)
    source = source or f"{identity.nick}!~asr33@example.org"
    client.feed(f":s 001 {identity.nick} :Welcome\r\n".encode(), 0.0)
    for channel in identity.channels:
        client.feed(f":{source} JOIN {channel}\r\n".encode(), 0.0)
    client.take_output(0.0)
    return client


def feed(client: IrcClient, *lines: str, now: float = 1.0) -> list[IrcEvent]:
    return client.feed("".join(f"{line}\r\n" for line in lines).encode(), now)


def sent(client: IrcClient, now: float = 1.0) -> list[str]:
    return client.take_output(now).decode().splitlines()


# Lines.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("PING :a b", IrcMessage("PING", ("a b",))),
        (":bob!b@h PRIVMSG #c ::)", IrcMessage("PRIVMSG", ("#c", ":)"), "bob!b@h")),
        (":s 353 me  =  #c :", IrcMessage("353", ("me", "=", "#c", ""), "s")),
        ("@a=1\\s\\:\\\\;+b :n privmsg x", IrcMessage("PRIVMSG", ("x",), "n", {"a": "1 ;\\", "b": ""})),
        ("X " + "p " * 14 + "the rest", IrcMessage("X", (*("p" * 14), "the rest"))),
    ],
)
def test_a_line_becomes_a_message(line: str, message: IrcMessage) -> None:
    assert parse_message(line.encode()) == message


def test_a_byte_that_is_not_utf8_is_read_as_cp1252() -> None:
    assert decode_line(b"K\xf6ln") == "Köln" == decode_line("Köln".encode())
    assert decode_line(b"\x93so\x94 \x80") == "“so” €"
    assert decode_line(b"\x81") == "\ufffd"


@given(st.binary(max_size=600))
def test_no_bytes_of_a_server_raise(data: bytes) -> None:
    client = connect()
    client.feed(data, 1.0)
    client.feed(b"\r\n" + data + b"\r\n", 1.0)
    client.tick(500.0)
    assert len(client.take_output(500.0)) < 5_000


@given(st.lists(st.binary(max_size=300).map(lambda line: re.sub(rb"[\r\n]", b"", line)), max_size=5), st.data())
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], data: st.DataObject) -> None:
    stream, reader, got = b"".join(line + b"\r\n" for line in lines), LineReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += reader.feed(stream[:size])
        stream = stream[size:]
    assert got == [line for line in lines if line]


def test_a_line_without_an_end_takes_no_memory_and_the_next_one_is_read() -> None:
    reader = LineReader()
    for _ in range(100):
        assert not list(reader.feed(b"x" * 1000))
        assert len(reader._rest) <= MAX_TAGGED_BYTES + 1000
    assert list(reader.feed(b"tail\r\nPING :1\r\n")) == [b"PING :1"]


@given(st.lists(st.text("ab#[]é€!", min_size=1), max_size=5), st.text())
def test_what_is_encoded_is_parsed_again(words: list[str], last: str) -> None:
    last = re.sub("[\r\n\0]+", " ", last.encode("utf-8", "ignore").decode())
    line = encode_message("PRIVMSG", *words, last)
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == 1
    message = parse_message(line[:-2])
    assert message is not None
    assert message.parameters == (*words, last)


def test_no_text_can_add_a_line_to_the_stream() -> None:
    assert encode_message("PRIVMSG", "#c", "so\r\nQUIT :ha") == b"PRIVMSG #c :so QUIT :ha\r\n"


def test_names_ignore_case_as_the_server_says() -> None:
    assert fold_name("[Bob]\\~") == fold_name("{bOB}|^")
    assert fold_name("[Bob]", "ascii") != fold_name("{bob}", "ascii")


# Text.


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\x02bold\x02 \x0304,12red\x03 \x1funder\x0f", "bold red under"),
        ("a\tb\x07\x1b[2Jc\x00\x9bd", "a b [2Jc d"),
        ("evil \u202egnp.exe\u2066 \u200fx\ufeff", "evil gnp.exe x"),
        ("H\u0335\u0321\u0489\u0488e" + "\u0301" * 50, "H\u0335\u0321\u00e9\u0301"),
        ("A" * 90, "A" * 20),
        ("Việt Köln", "Việt Köln"),
    ],
)
def test_a_hostile_text_becomes_readable(text: str, clean: str) -> None:
    assert clean_text(text) == unicodedata.normalize("NFC", clean)


@given(st.text(max_size=2000))
def test_a_clean_text_is_one_line_without_controls(text: str) -> None:
    clean = clean_text(text, 100)
    assert len(clean) <= 100
    assert not [char for char in clean if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert "  " not in clean
    assert clean == clean.strip()


def test_a_name_is_one_word_and_never_looks_like_a_tag_of_another() -> None:
    assert clean_name("[bob]`") == "[bob]`"
    assert clean_name("a: \u202eb") == "a_b"
    assert clean_name("\u200f") == "someone"


def test_an_action_is_told_from_other_ctcp() -> None:
    assert parse_ctcp("\x01ACTION waves\x01") == ("ACTION", "waves")
    assert parse_ctcp("\x01VERSION\x01") == ("VERSION", "")
    assert parse_ctcp("ACTION waves") is None


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("One two. Three four", 400, "One two. Three four"),
        ("The first sentence is here. And half of", 400, "The first sentence is here."),
        ("One. Two is longer than that.", 12, "One."),
        ("no end at all in these words", 14, "no end at..."),
        ('He said "so." Then', 400, 'He said "so." Then'),
        ("abcdefghij", 5, "abcde"),
        ("  ", 5, ""),
    ],
)
def test_an_answer_ends_with_a_sentence(text: str, limit: int, cut: str) -> None:
    assert cut_to_sentences(text, limit) == cut


@given(st.text(max_size=1500), st.integers(4, 400), st.integers(1, 400))
def test_a_split_text_loses_no_word_and_no_part_is_too_long(text: str, max_bytes: int, max_chars: int) -> None:
    text = text.encode("utf-8", "ignore").decode()
    parts = split_text(text, max_bytes, max_chars)
    assert all(len(part.encode()) <= max_bytes and 0 < len(part) <= max_chars for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


# Registration.


def test_the_password_and_the_capabilities_come_before_the_nick() -> None:
    client = IrcClient(IrcIdentity("asr33", ("#paper",), password="secret"))
    client.start(0.0)
    assert [line.split()[0] for line in sent(client)] == ["PASS", "CAP", "NICK", "USER"]
    feed(client, ":s CAP * LS * :multi-prefix sasl=PLAIN", ":s CAP * LS :message-tags chghost")
    assert sent(client) == ["CAP REQ :chghost message-tags"]
    feed(client, ":s CAP * ACK :chghost message-tags")
    assert sent(client) == ["CAP END"]
    assert "secret" not in repr(client._identity)


def test_join_waits_for_the_welcome() -> None:
    client = IrcClient(ME)
    client.start(0.0)
    feed(client, ":s NOTICE * :*** Looking up your hostname", "PING :1234")
    assert sent(client)[-1] == "PONG 1234"
    assert not client.is_online
    feed(client, ":s 001 asr33 :Welcome")
    assert sent(client) == ["JOIN #paper"]
    assert feed(client, ":asr33!~a@h JOIN #PAPER") == [ChannelJoined("#paper")]


def test_sasl_sends_the_account_in_chunks_and_its_failure_names_the_keys() -> None:
    client = IrcClient(IrcIdentity("asr33", (), sasl_user="asr33", sasl_password="p" * 287))
    client.start(0.0)
    feed(client, ":s CAP * LS :sasl", ":s CAP * ACK :sasl", "AUTHENTICATE +")
    words = [line.split()[1] for line in sent(client) if line.startswith("AUTHENTICATE")]
    assert words[0] == "PLAIN"
    assert [len(word) for word in words[1:]] == [400, 1]
    assert base64.b64decode(words[1]) == b"asr33\0asr33\0" + b"p" * 287
    assert words[2] == "+"
    assert list(encode_sasl_plain("a", "b")) == [base64.b64encode(b"a\0a\0b").decode()]
    (ended,) = feed(client, ":s 904 asr33 :SASL authentication failed")
    assert isinstance(ended, ConnectionEnded)
    assert ended.is_refused
    assert "sasl_user" in ended.reason


def test_a_server_without_accounts_is_not_joined_without_one() -> None:
    client = IrcClient(IrcIdentity("asr33", (), sasl_user="asr33"))
    client.start(0.0)
    (ended,) = feed(client, ":s CAP * LS :chghost")
    assert isinstance(ended, ConnectionEnded)
    assert "SASL" in ended.reason


def test_a_taken_nick_gets_a_tail_and_the_wanted_one_comes_back_when_it_is_free() -> None:
    client = IrcClient(ME)
    client.start(0.0)
    sent(client)
    feed(client, ":s 433 * asr33 :Nickname is already in use")
    feed(client, ":s 433 * asr33_ :Nickname is already in use")
    assert sent(client) == ["NICK asr33_", "NICK asr33_1"]
    feed(client, ":s 001 asr33_1 :Welcome", ":asr33_1!a@h JOIN #paper")
    sent(client)
    assert client.is_own_name("ASR33_1")
    feed(client, ":asr33!x@y QUIT :Ping timeout")
    assert sent(client) == ["NICK asr33"]
    feed(client, ":asr33_1!a@h NICK :asr33")
    assert client.nick == "asr33"
    client.tick(500.0)
    assert "NICK asr33" not in sent(client, 500.0)


def test_a_nick_that_the_server_does_not_allow_is_made_simple() -> None:
    client = IrcClient(IrcIdentity("33-tele.type/machine", ("#paper",)))
    client.start(0.0)
    sent(client)
    feed(client, ":s 432 * 33-tele.type/machine :Erroneous nickname")
    feed(client, ":s 433 * teletypem :in use")
    assert sent(client) == ["NICK teletypem", "NICK teletype1"]
    for _ in range(20):
        events = feed(client, ":s 432 * x :Erroneous nickname")
        if events:
            break
    assert isinstance(events[0], ConnectionEnded)
    assert "[irc] nick" in events[0].reason


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (":s 464 * :Bad Password", "password_file"),
        ("ERROR :Access denied: Bad password?", "password_file"),
        (":tmi.twitch.tv NOTICE * :Login authentication failed", "token"),
        (":tmi.twitch.tv NOTICE * :Improperly formatted auth", "token"),
        (":s 465 * :You are banned", "banned"),
    ],
)
def test_a_refusal_is_one_line_with_its_cure(line: str, word: str) -> None:
    client = IrcClient(ME)
    client.start(0.0)
    (ended,) = feed(client, line)
    assert isinstance(ended, ConnectionEnded)
    assert ended.is_refused
    assert word in ended.reason
    assert not feed(client, line)


def test_a_machine_says_that_it_is_one_where_the_network_has_a_mode_for_it() -> None:
    client = connect()
    feed(client, ":s 005 asr33 BOT=B CASEMAPPING=ascii NICKLEN=30 :are supported by this server")
    assert sent(client) == ["MODE asr33 +B"]


# The life of a connection.


def test_four_minutes_without_ping_are_no_reason_to_leave_if_the_server_answers() -> None:
    client, now, pings = connect(), 0.0, 0
    while now < 240:
        now = client.next_time(now)
        assert not client.tick(now)
        if "PING asr33" in sent(client, now):
            pings += 1
            feed(client, ":s PONG s asr33", now=now + 0.1)
    assert pings >= 2
    assert client.is_online


def test_a_server_that_does_not_answer_our_ping_is_dead() -> None:
    client = connect()
    assert client.next_time(0.0) == PING_AFTER_S
    client.tick(PING_AFTER_S)
    assert sent(client, PING_AFTER_S) == ["PING asr33"]
    assert not client.tick(PING_AFTER_S + DEAD_AFTER_S - 1)
    assert client.tick(PING_AFTER_S + DEAD_AFTER_S) == [ConnectionEnded("the server is silent")]
    assert not client.is_online


def test_a_registration_has_its_limit() -> None:
    client = IrcClient(ME)
    client.start(100.0)
    assert client.tick(client.next_time(100.0))


def test_twitch_asks_for_a_new_connection_before_it_restarts() -> None:
    client = connect()
    (ended,) = feed(client, ":tmi.twitch.tv RECONNECT")
    assert isinstance(ended, ConnectionEnded)
    assert ended.reconnect_at_once
    client.start(5.0)
    feed(client, ":s 001 asr33 :again", now=5.0)
    assert "JOIN #paper" in sent(client, 5.0)


def test_after_a_kick_it_joins_again() -> None:
    client = connect()
    (notice,) = feed(client, ":op!o@h KICK #paper asr33 :too loud")
    assert isinstance(notice, ServerNotice)
    assert "too loud" in notice.text
    client.say("#paper", "held", 1.0)
    now = client.next_time(1.0)
    assert not sent(client, now - 0.1)
    client.tick(now)
    assert sent(client, now) == ["JOIN #paper"]
    (notice,) = feed(client, ":s 474 asr33 #paper :Cannot join (+b)", now=now)
    assert isinstance(notice, ServerNotice)
    first = client.next_time(now)
    client.tick(first)
    feed(client, ":s 474 asr33 #paper :Cannot join (+b)", now=first)
    assert client.next_time(first) - first == 2 * (first - now) > 0
    feed(client, ":asr33!a@h JOIN #paper", now=first)
    assert sent(client, first)[-1] == "PRIVMSG #paper held"


# Chat.


def test_people_are_heard_and_machines_are_marked() -> None:
    client = connect()
    events = feed(
        client,
        ":[bob]!b@h PRIVMSG #Paper :hello",
        ":ann!a@h PRIVMSG #paper :\x01ACTION waves\x01",
        ":ann!a@h PRIVMSG #paper :\x01VERSION\x01",
        "@inspircd.org/bot :mech!m@h PRIVMSG #paper :beep",
        "@display-name=Örn;color= :orn!o@h PRIVMSG #paper :hej",
        ":ann!a@h NOTICE #paper :do not answer",
        ":asr33!a@h PRIVMSG #paper :my own echo",
        ":ann!a@h PRIVMSG asr33 :in private",
        ":irc.example.org NOTICE #paper :rehash",
    )
    assert events == [
        ChatLine("#paper", "[bob]", "[bob]", "hello"),
        ChatLine("#paper", "ann", "ann", "waves", "action"),
        ChatLine("#paper", "mech", "mech", "beep", is_bot=True),
        ChatLine("#paper", "orn", "Örn", "hej"),
        ChatLine("#paper", "ann", "ann", "do not answer", "notice"),
    ]


@given(st.text(st.characters(codec="utf-8"), max_size=1500), st.integers(1, 63))
@example("Köln, " * 250, 63)
@example("x" * 1500, 20)
def test_an_answer_arrives_whole_behind_our_own_source(text: str, host: int) -> None:
    source = f"asr33!~asr33@{'h' * host}"
    client = connect(limits=SendLimits(1000, 1.0), source=source)
    client.say("#paper", text, 1.0)
    heard = []
    for line in client.take_output(1.0).split(b"\r\n")[:-1]:
        relayed = f":{source} ".encode() + line + b"\r\n"
        assert len(relayed) <= 512
        message = parse_message(relayed[:-2])
        assert message is not None
        heard.append(message.parameter(1))
    assert "".join("".join(heard).split()) == "".join(text.replace("\0", " ").split())


def test_a_hidden_host_counts() -> None:
    client = connect()
    feed(client, f":s 396 asr33 {'cloak.' * 10}example :is now your displayed host")
    assert client._own_source == f"asr33!~asr33@{'cloak.' * 10}example"
    feed(client, ":asr33!~asr33@x CHGHOST bot teletype.example")
    assert client._own_source == "asr33!bot@teletype.example"


def test_twitch_gets_no_more_than_twenty_lines_in_thirty_seconds_and_no_line_twice() -> None:
    client, times, now = connect(limits=TWITCH_LIMITS), [], 0.0
    for number in range(50):
        client.say("#paper", f"line {number}", now)
    for _ in range(100):
        times += [now] * len([line for line in sent(client, now) if line.startswith("PRIVMSG")])
        feed(client, "PING :x", now=now)
        now += 1.0
    assert len(times) == 50
    assert all(sum(start <= at < start + 30 for at in times) <= 20 for start in times)

    queue = SendQueue(TWITCH_LIMITS)
    for _ in range(2):
        queue.send_later("#c", b"same", 0.0)
    assert queue.take_due(0.0, bool) == b"same"
    assert queue.next_time(1.0, bool) == 30.0
    assert queue.take_due(30.0, bool) == b"same"


def test_lines_that_waited_ten_minutes_are_not_sent_and_memory_is_bounded() -> None:
    queue = SendQueue()
    for number in range(1000):
        queue.send_later("#c", b"%d" % number, 0.0)
    assert len(queue) == 64
    assert queue.take_due(601.0, bool) == b""
    assert len(queue) == 0
