"""The bridge: what people say in the channels comes to paper, and the model answers them there and on paper.

It runs beside the session. The spool decides when a line is printed, and `is_model_free` when the model may be used.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from daemon.archive.answer_code import compute_chat_code
from daemon.bridges.backoff import FIRST_WAIT_S
from daemon.bridges.chat_answer import ChatAnswer, ChatVoice, answer_room
from daemon.bridges.chat_text import clean_name
from daemon.bridges.irc.chat_room import AskModel, ChatRoom, PrintLine, ReplyNotice, RingBell, RoomAction
from daemon.bridges.irc.irc_client import ChatLine, IrcClient, IrcEvent
from daemon.bridges.irc.irc_connection import IrcConnection
from daemon.bridges.print_queue import PrintQueue, PrintReceipt
from daemon.bridges.server_address import ServerAddress
from daemon.people import ForgetScope
from model.errors import ModelError
from model.interface import Model, Sampling

SOURCE = "irc"
MAX_QUESTIONS = 3  # that wait for the model, in all rooms
QUESTION_KEEP_S = 600.0  # an older one is dropped: the room has gone on
BUSY_INTERVAL_S = 30.0  # between two notices that too many wait
MAX_UNDONE = 500  # lines that wait for the spool's disk; then they are dropped
MAX_TRIES = 5  # of an answer that comes out empty, each with another seed
TELL_WAIT_S = 60.0  # of an answer's paper, from which on the room is told

_log = logging.getLogger("asr33")


@dataclass(frozen=True, slots=True)
class BridgeParts:
    """What the bridge uses of the daemon. `note_answer` gets the channel, the question, the seed and the answer."""

    queue: PrintQueue
    model: Model
    voice: ChatVoice
    sampling: Sampling
    is_model_free: Callable[[], bool] = lambda: True
    ring_bell: Callable[[], Awaitable[None]] | None = None
    note_answer: Callable[[str, AskModel, int, ChatAnswer], None] = lambda channel, ask, seed, answer: None
    keep_s: float = 3600.0
    has_receipt: bool = False  # each answer ends in its code, in the room and not on paper


@dataclass(slots=True)
class _Question:
    room: ChatRoom
    ask: AskModel
    asked_at: float


@dataclass(slots=True)
class IrcBridge:
    """One account on one network, in one channel or more."""

    address: ServerAddress
    client: IrcClient
    rooms: Mapping[str, ChatRoom]
    parts: BridgeParts
    rng: random.Random = field(default_factory=random.Random)
    first_wait_s: float = FIRST_WAIT_S  # after a lost connection
    _undone: asyncio.Queue[tuple[ChatRoom, list[RoomAction]]] = field(default_factory=lambda: asyncio.Queue(MAX_UNDONE))
    _questions: list[_Question] = field(default_factory=list)
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _answer_count: int = 0
    _busy_told_at: float = float("-inf")
    _connection: IrcConnection | None = None

    async def run(self) -> None:
        """Keeps the account connected, and answers; never returns."""
        self._connection = IrcConnection(
            self.address,
            self.client,
            self._on_event,
            on_time=self._on_time,
            next_time=lambda: min((room.next_time() for room in self.rooms.values()), default=float("inf")),
            rng=self.rng,
            first_wait_s=self.first_wait_s,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._connection.run())
            tasks.create_task(self.work())

    async def work(self) -> None:
        """Does what the rooms want, whether the account is connected or not; never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._act_forever())
            tasks.create_task(self._answer_forever())

    def forget(self, scope: ForgetScope) -> tuple[Path | None, int]:
        """Forgets a person's lines and the questions that have them; there is no file."""
        for room in self.rooms.values():
            room.forget(scope)

        def is_kept(ask: AskModel) -> bool:
            has_lines = any(scope.has_person(name) or scope.has_text(text) for name, text in ask.lines)
            return not (scope.before or scope.has_person(ask.nick, ask.person) or has_lines)

        self._questions = [one for one in self._questions if is_kept(one.ask)]
        return None, 0

    def _on_event(self, event: IrcEvent) -> None:
        if isinstance(event, ChatLine):
            room = self.rooms[event.channel]
            self._put_actions(room, room.hear(event, self.client.nick, self._now()))

    def _on_time(self, now: float) -> None:
        for room in self.rooms.values():
            if room.next_time() <= now:
                self._put_actions(room, room.tick(now))

    def _put_actions(self, room: ChatRoom, actions: list[RoomAction]) -> None:
        with suppress(asyncio.QueueFull):
            self._undone.put_nowait((room, actions))

    async def _act_forever(self) -> None:
        while True:
            room, actions = await self._undone.get()
            for action in actions:
                if not await self._act(room, action):
                    break

    async def _act(self, room: ChatRoom, action: RoomAction) -> bool:
        """Does what the room wants; returns False if the person may do nothing here."""
        match action:
            case PrintLine(person=person, text=text):
                return not (await self._print(room, person, text)).is_denied
            case AskModel():
                self._take_question(room, action)
            case ReplyNotice(text=text, nick=nick):
                self._notify(room, text, nick)
            case RingBell() if self.parts.ring_bell is not None:
                await self.parts.ring_bell()
        return True

    def _take_question(self, room: ChatRoom, ask: AskModel) -> None:
        """Queues a question. Without the command a room has one at a time, and each person has one in any case."""
        waiting = [one.ask.nick for one in self._questions if one.room is room]
        if ask.nick in waiting or (ask.trigger != "command" and waiting):
            return
        if len(self._questions) >= MAX_QUESTIONS:
            if ask.trigger == "command" and self._now() - self._busy_told_at >= BUSY_INTERVAL_S:
                self._busy_told_at = self._now()
                self._notify(room, f"{len(self._questions)} questions wait: ask again in a minute.", ask.nick)
            return
        self._questions.append(_Question(room, ask, self._now()))
        self._asked.set()

    async def _answer_forever(self) -> None:
        """Answers one question after the other; a failure of the model is told once a question and ends no bridge."""
        while True:
            await self._asked.wait()
            if not self._questions:
                self._asked.clear()
                continue
            question = self._questions[0]
            left_s = question.asked_at + QUESTION_KEEP_S - self._now()
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._answer(question)
            except ModelError as error:
                _log.error("%s: %s", question.room.channel, error)
            finally:
                self._questions = [one for one in self._questions if one is not question]

    async def _answer(self, question: _Question) -> None:
        room, ask, parts = question.room, question.ask, self.parts
        for _ in range(MAX_TRIES):
            seed = parts.sampling.seed + self._answer_count
            self._answer_count += 1
            sampling = replace(parts.sampling, seed=seed, stop=parts.voice.find_stops(ask.lines))
            answer = await answer_room(parts.model, parts.voice, ask.lines, sampling, parts.is_model_free)
            if all(one is not question for one in self._questions):  # forgotten meanwhile
                return
            if answer.text:
                code = compute_chat_code("irc", seed, answer.prompt) if parts.has_receipt else ""
                parts.note_answer(room.channel, ask, seed, replace(answer, code=code))
                await self._say(room, ask, answer.text, f" [{code}]" if code else "")
                return

    async def _say(self, room: ChatRoom, ask: AskModel, text: str, mark: str = "") -> None:
        """Sends the answer to the channel and to the paper. Who asked pays for the paper."""
        persona = clean_name(self.parts.voice.persona)
        self.client.say(room.channel, text + mark, self._now())
        room.note_answer(persona, text, self._now())
        line = f"{room.rules.label}{persona}: {text}"
        self._wake()
        receipt = await self._print(room, ask.person, line)
        if ask.trigger == "command" and receipt.refusal:
            self._notify(room, f"Not on paper: {receipt.refusal}", ask.nick)
        elif ask.trigger == "command" and TELL_WAIT_S <= receipt.seconds < float("inf"):
            minutes = -int(-receipt.seconds // 60)
            self._notify(room, f"On paper in {minutes} minutes, at place {receipt.place}.", ask.nick)

    async def _print(self, room: ChatRoom, person: str, text: str) -> PrintReceipt:
        return await self.parts.queue.submit(SOURCE, person, text, keep_s=self.parts.keep_s, talk=room.channel)

    def _notify(self, room: ChatRoom, text: str, nick: str) -> None:
        self.client.notify(room.channel, text, self._now(), nick)
        self._wake()

    def _wake(self) -> None:
        if self._connection is not None:
            self._connection.wake()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
