"""A chat room without a network: what is printed, what is remembered, what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.bridges.irc.chat_room import (
    AskModel,
    ChatRoom,
    PrintLine,
    ReplyNotice,
    RingBell,
    RoomAction,
    RoomRules,
)
from daemon.bridges.irc.flood_guard import MAX_LINES, WINDOW_S
from daemon.bridges.irc.irc_client import ChatLine
from daemon.bridges.irc.loop_guard import FORGET_S, MAX_TURNS

ALL = frozenset({"command", "name", "question", "timer"})


def hear(room: ChatRoom, nick: str, text: str, now: float = 0.0, **fields: Any) -> list[RoomAction]:
    return room.hear(ChatLine("#paper", nick, nick, text, **fields), "asr33", now)


def questions(actions: list[RoomAction]) -> list[AskModel]:
    return [action for action in actions if isinstance(action, AskModel)]


def test_a_line_and_a_gesture_as_they_stand_on_paper() -> None:
    room = ChatRoom("#paper")
    assert hear(room, "ann", "hello") == [PrintLine("ann", "ann: hello")]
    assert hear(room, "[bob]", "waves", kind="action") == [PrintLine("[bob]", "* [bob] waves")]
    assert hear(room, "ann", "\x02\x03") == []
    labelled = ChatRoom("#tea", RoomRules(label="#tea "))
    assert hear(labelled, "ann", "hello") == [PrintLine("ann", "#tea ann: hello")]


def test_the_command_goes_to_the_model_with_the_last_five_lines_and_its_own_among_them() -> None:
    room = ChatRoom("#paper")
    for number in range(4):
        hear(room, "ann", f"line {number}")
    room.note_answer("asr33", "I type.", 1.0)
    hear(room, "ann", "!weather")
    actions = hear(room, "bob", "!GPT2 what is a platen", 2.0)
    assert actions[0] == PrintLine("bob", "bob: !GPT2 what is a platen")
    (ask,) = questions(actions)
    assert ask.trigger == "command"
    assert ask.lines == (
        ("ann", "line 1"),
        ("ann", "line 2"),
        ("ann", "line 3"),
        ("asr33", "I type."),
        ("bob", "what is a platen"),
    )


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("ASR33: are you there", "name"),
        ("so, asr33!", "name"),
        ("asr33x is another", None),
        ("the printer Teletype rings", "name"),
        ('did he say "why?"', "question"),
        ("what? no", None),
        ("!roll d6?", None),
        ("!gpt2", "command"),
        ("!gpt2x", None),
        ("good evening", None),
    ],
)
def test_what_makes_it_answer(text: str, trigger: str | None) -> None:
    room = ChatRoom("#paper", RoomRules(triggers=ALL, names=("Teletype",)))
    assert [ask.trigger for ask in questions(hear(room, "ann", text))] == ([trigger] if trigger else [])
    none = ChatRoom("#paper", RoomRules(triggers=frozenset()))
    assert not questions(hear(none, "ann", text))


def test_notices_bots_and_ignored_accounts_get_no_answer() -> None:
    room = ChatRoom("#paper", RoomRules(triggers=ALL, ignored=frozenset({"nightbot"})))
    assert hear(room, "ann", "asr33?", kind="notice") == [PrintLine("ann", "ann: asr33?")]
    assert hear(room, "mech", "!gpt2", is_bot=True) == [PrintLine("mech", "mech: !gpt2")]
    assert hear(room, "mech", "!bell", is_bot=True) == [PrintLine("mech", "mech: !bell")]
    assert hear(room, "Nightbot", "asr33?") == []


def test_the_bell_rings_at_once_and_not_all_the_time() -> None:
    room = ChatRoom("#paper")
    assert hear(room, "ann", "!bell", 0.0) == [RingBell()]
    assert hear(room, "bob", "!BELL", 5.0) == []
    assert hear(room, "bob", "!bell", 11.0) == [RingBell()]
    (reply,) = hear(room, "bob", "!test", 30.0)
    assert isinstance(reply, ReplyNotice)
    assert "bob" in reply.text


def test_the_timer_speaks_only_if_people_have_spoken() -> None:
    room = ChatRoom("#paper", RoomRules(triggers=ALL, timer_s=60.0))
    assert room.next_time() == float("inf")
    hear(room, "ann", "hello", 10.0)
    hear(room, "ann", "is it on", 50.0)
    assert room.next_time() == 70.0
    assert room.tick(69.0) == []
    assert [ask.trigger for ask in questions(room.tick(70.0))] == ["timer"]
    room.note_answer("asr33", "It is.", 71.0)
    assert room.tick(1e6) == []


def test_two_machines_stop_after_three_turns_and_a_human_starts_them_again() -> None:
    one = ChatRoom("#paper", RoomRules(triggers=ALL))
    two = ChatRoom("#paper", RoomRules(triggers=ALL))
    turns, text, now = 0, "Are you there?", 0.0
    speaker, listener = "robot", one
    while turns < 50:  # each of the two is a room with the same rules
        asked = questions(listener.hear(ChatLine("#paper", speaker, speaker, text), "x", now))
        if not asked:
            break
        now += 10
        listener.note_answer("x", text, now)
        turns += 1
        speaker, listener = ("robot", one) if listener is two else ("asr33", two)
    assert turns == 2 * MAX_TURNS
    assert questions(hear(one, "ann", "and what do you think?", now))
    one.note_answer("x", "So.", now)
    assert questions(hear(one, "robot", "Am I?", now))


def test_a_person_alone_with_it_is_told_the_command_once() -> None:
    room = ChatRoom("#paper", RoomRules(triggers=ALL))
    for number in range(MAX_TURNS):
        assert questions(hear(room, "ann", f"number {number}?", 1.0))
        room.note_answer("asr33", "Yes.", 1.0)
    last = hear(room, "ann", "more?", 2.0)
    assert not questions(last)
    assert isinstance(last[-1], ReplyNotice)
    assert "!gpt2" in last[-1].text
    assert len(hear(room, "ann", "more?", 3.0)) == 1
    assert questions(hear(room, "ann", "!gpt2", 4.0))
    assert questions(hear(room, "ann", "and now?", 5.0))


def test_silence_begins_a_new_talk() -> None:
    room = ChatRoom("#paper", RoomRules(triggers=ALL))
    for _ in range(MAX_TURNS):
        hear(room, "ann", "so?", 1.0)
        room.note_answer("asr33", "Yes.", 1.0)
    assert not questions(hear(room, "ann", "so?", 2.0))
    assert questions(hear(room, "ann", "so?", 2.0 + FORGET_S))


def test_a_flood_is_one_line_on_paper_and_takes_no_memory() -> None:
    room = ChatRoom("#paper")
    printed = [action for number in range(1000) for action in hear(room, "eve", f"buy {number}", number / 1000)]
    assert len(printed) == 8
    assert hear(room, "ann", "oh dear", 1.0) == [
        PrintLine("#paper", "-- 992 LINES OF A FLOOD LEFT OUT --"),
        PrintLine("ann", "ann: oh dear"),
    ]
    many = ChatRoom("#paper")
    printed = [action for number in range(1000) for action in hear(many, f"eve{number}", "buy", number / 1000)]
    assert len(printed) == MAX_LINES
    assert len(many._floods._admitted) == MAX_LINES
    assert hear(many, "ann", "at last", 1.0 + WINDOW_S)
