"""The turns of a conversation: a line becomes a prompt, the answer goes to the paper and the log, and is remembered.

It knows one teletype, one model and one conversation. It knows no command, and not who waits for the machine.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from daemon.answer_header import AnswerMeter, format_header
from daemon.answer_log import AnswerLog
from daemon.config import AnswerConfig
from daemon.conversation import Conversation
from daemon.copied_mark import CopiedMark
from daemon.exchange import exchange, print_message
from daemon.privacy import Privacy
from daemon.session_log import SessionLog
from drivers.errors import LineLost
from drivers.teletype import Teletype
from model.dialogue import Speakers
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.generate.context_window import tokens_to_keep
from model.interface import PARAMETERS, Model, Sampling, TextChunk

Activity = Literal["starting", "listening", "thinking", "printing", "reading", "lent", "leaving"]

MAX_PAST_TURNS = 50  # that can be taken back
_UNFINISHED = ("break", "length", "context")  # the answer ended in the middle of a sentence, or of a word

_log = logging.getLogger("asr33")


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn that can be taken back: `typed` is "" if the model went on; `memory`: of the conversation before it."""

    typed: str
    memory: str
    is_unfinished: bool  # the answer before it; `go_on` goes on in its last word


class Turns:
    """The turns at one machine. Observers read `activity`."""

    def __init__(
        self,
        tty: Teletype,
        model: Model,
        answer: AnswerConfig,
        log: SessionLog,
        conversation: Conversation,
        privacy: Privacy,
    ) -> None:
        self.activity: Activity = "starting"
        self.model, self.conversation = model, conversation
        self.settings, self.model_hash = answer, ""  # sha256 of a local model
        self.copied_mark = CopiedMark(lambda: model.name, tty.profile, lambda line: print_message(tty, line))
        self._tty, self._log, self._privacy = tty, log, privacy
        self._seed = secrets.randbits(31) if answer.seed is None else answer.seed
        self._answer_count = 0
        self._uncertain_model = ""  # the last one that did not tell how sure it was
        self._start_settings, self._is_mode_switched, self._is_seed_chosen = answer, False, False
        self._past: deque[PastTurn] = deque(maxlen=MAX_PAST_TURNS)
        self._is_unfinished = False  # the last answer
        self.changes = 0  # lines that were answered here, and conversations that were begun
        self.begin_line()

    @property
    def next_seed(self) -> int:
        return (self._seed + self._answer_count) % (int(PARAMETERS["seed"].bounds[1]) + 1)

    @property
    def is_as_at_start(self) -> bool:
        """Whether nothing was said, and nothing was set."""
        is_set = self._is_mode_switched or self._is_seed_chosen or self.settings != self._start_settings
        return not (self.conversation.memory or self._past or self._answer_count or is_set)

    def choose_seed(self, seed: int) -> None:
        """Gives the next answer this seed, and each later one the next number."""
        self._seed, self._answer_count, self._is_seed_chosen = seed, 0, True

    def find_ink_obstacle(self) -> str:
        """Returns why no certainty can come as ink, as a line for the paper, or ""."""
        if self._tty.profile.return_feeds:
            return "RETURN FEEDS THE PAPER ON THIS MACHINE: NOTHING IS STRUCK TWICE.\n"
        if self.model.name == self._uncertain_model:
            return f"{self.model.name[:40]} DOES NOT TELL HOW SURE IT IS.\n"
        return ""

    def switch_mode(self) -> None:
        """Changes between answers of a persona and the continuation of the typed text; begins anew."""
        self.conversation.switch_mode()
        self._is_mode_switched = not self._is_mode_switched
        self.forget_past()

    def forget(self) -> None:
        """Begins a new conversation, with the settings of the start."""
        self.conversation.clear()
        self.forget_past()
        self.settings = self._start_settings
        if self._is_seed_chosen:
            self._restart_seed()

    def forget_visit(self) -> None:
        """Begins anew in all things, as after the start: mode and seed too."""
        if self._is_mode_switched:
            self.switch_mode()
        self.forget()
        self._restart_seed()

    def begin_conversation(self, conversation: Conversation) -> None:
        """Takes the speakers of another model, and begins anew. Others may hold the conversation: it stays the same."""
        self.conversation.restore(conversation)
        self._is_mode_switched = False
        self.forget()

    def forget_past(self) -> None:
        """Leaves no turn to take back, to answer again, or to go on with in its last word."""
        self._past.clear()
        self._is_unfinished = False
        self.changes += 1
        self.begin_line()

    def _restart_seed(self) -> None:
        seed = self._start_settings.seed
        self._seed, self._answer_count = secrets.randbits(31) if seed is None else seed, 0
        self._is_seed_chosen = False

    def begin_line(self) -> None:
        """Makes a copy of the conversation for the line that comes; it is dropped if the line is not answered."""
        self._pending_conversation = replace(self.conversation)

    def prefill_line(self, text: str) -> None:
        """Lets the model prefill the line while it is typed."""
        with contextlib.suppress(ModelError):  # the answer raises it again
            self._fit_context(text)
            self.model.prefill(self._pending_conversation.build_partial_prompt(text))

    @contextlib.contextmanager
    def use_settings(self, answer: AnswerConfig, speakers: Speakers) -> Iterator[None]:
        """Answers with these settings inside the block. Other speakers begin their own conversation."""
        own_settings, own = self.settings, self.conversation
        own_past, own_is_unfinished = self._past, self._is_unfinished
        is_same_mode = bool(speakers.persona) == bool(own.speakers.persona)
        memory = own.memory if is_same_mode else ""
        self.settings, self.conversation = answer, replace(own, speakers=speakers, memory=memory)
        if not is_same_mode:
            self._past = deque(maxlen=MAX_PAST_TURNS)
        self.begin_line()
        try:
            yield
        finally:
            if is_same_mode:
                own.memory = self.conversation.memory
            else:
                self._past, self._is_unfinished = own_past, own_is_unfinished
            self.settings, self.conversation = own_settings, own

    async def answer_line(self, typed: str) -> None:
        """Answers a line on the paper. Raises DriverError; an error of the model is printed."""
        self.changes += 1
        await self._answer(PastTurn(typed, self.conversation.memory, self._is_unfinished))

    async def go_on(self) -> None:
        """Continues the conversation without a typed line, from what stands on the paper. Raises DriverError."""
        await self.answer_line("")

    async def answer_again(self) -> bool:
        """Takes the last turn back and answers its line anew, with the next seed; False if there is none."""
        if (turn := self.take_back()) is None:
            return False
        await self._answer(turn)
        return True

    async def answer_in(self, conversation: Conversation, answer: AnswerConfig, tag: str) -> str:
        """Lets the persona of another conversation speak, after a tag on the paper; returns the finish reason.

        Without a tag it goes on in the line of paper. The own conversation and its turns stay as they are. Raises
        DriverError; an error of the model is printed.
        """
        own = self.settings, self.conversation, self._past, self._is_unfinished
        self.settings, self.conversation, self._past = answer, conversation, deque(maxlen=1)
        self.begin_line()
        try:
            return await self._answer(PastTurn("", conversation.memory, False), conversation.speakers.persona, tag)
        finally:
            self.settings, self.conversation, self._past, self._is_unfinished = own
            self.begin_line()

    def take_back(self) -> PastTurn | None:
        """Takes the last turn out of the conversation; None if there is none."""
        if not self._past:
            return None
        turn = self._past.pop()
        self.conversation.memory, self._is_unfinished = turn.memory, turn.is_unfinished
        self.begin_line()
        return turn

    async def _answer(self, turn: PastTurn, speaker: str = "", tag: str = "") -> str:
        """Returns the finish reason. `speaker` is for the log, and the `tag` for the paper."""
        typed, continues_word = turn.typed, turn.is_unfinished and not turn.typed
        self._past.append(turn)
        stop, opening = self.conversation.speakers.stop_sequences, self.conversation.choose_opening(typed)
        sampling = self.settings.make_sampling(self.next_seed, stop, "any" if continues_word else opening)
        has_ink = self.settings.ink and not self._tty.profile.return_feeds
        sampling = replace(sampling, logprobs=has_ink)
        self.activity = "thinking"
        has_header = self.settings.header and not speaker
        if has_header and not await self._print_header(sampling):
            await self._mark_break()
            return "break"
        meter = AnswerMeter()
        finish, answer_log = "stopped", AnswerLog(self._log)
        marker = await self.copied_mark.open_if(self.settings.mark_copied and not speaker)
        try:
            self._fit_context(typed)
            pending = self._pending_conversation
            prompt = pending.build_partial_prompt("") if continues_word else pending.build_prompt(typed)
            forgotten = len(self.conversation.memory) - len(self._pending_conversation.memory)
            answer_log.write_prompt(prompt, sampling, forgotten, speaker)

            def on_chunk(chunk: TextChunk) -> None:
                self.activity = "printing"
                answer_log.write_chunk(chunk)
                meter.note_chunk(chunk, *self._count_strokes())

            own_tag = self.conversation.speakers.persona_tag
            with engine_errors():
                if tag and not await self._print_tag(tag, prompt):
                    answer, finish = "", "break"
                else:
                    answer, finish = await exchange(self._tty, self.model, prompt, sampling, on_chunk, own_tag, marker)
        except ModelError as error:
            # The session goes on: the next line may be answered.
            finish = "error"
            _log.error("%s", "the model failed; the session is private" if self._privacy.is_on else error)
            answer_log.write_error(str(error))
            await print_message(self._tty, f"-- {error} --\n")
        except LineLost:
            finish = "lost"
            raise
        else:
            self.conversation.add_answer(prompt, answer, answer_log.forgotten_chars)
            self._answer_count += 1
            self._is_unfinished = finish in _UNFINISHED
            if finish == "break":
                await self._mark_break()
        finally:
            answer_log.write_end(finish)
        if has_ink and meter.has_text and not meter.has_certainty:
            self._uncertain_model, self.settings = self.model.name, replace(self.settings, ink=False)
            await print_message(self._tty, self.find_ink_obstacle())
        if marker and finish != "error":
            await print_message(self._tty, marker.describe_copied(answer, own_tag))
        if has_header:  # after the end: it is no part of the answer in the log
            columns = self._tty.profile.usable_columns
            await print_message(self._tty, meter.format_footer(finish, *self._count_strokes(), columns))
        return finish

    async def _print_header(self, sampling: Sampling) -> bool:
        """Prints the line before an answer; returns False if BREAK has stopped it."""
        async with self._tty.until_break() as scope:
            await self._tty.fresh_line()
            columns = self._tty.profile.usable_columns
            await self._tty.print(format_header(self.model.name, self.model_hash, sampling, columns))
        return not scope.is_broken

    def _count_strokes(self) -> tuple[float, int]:
        """Returns when the machine has struck all that was written, and the number of its characters."""
        tty = self._tty
        return tty.clock.now() + tty.status().idle_ms / 1000, tty.counters.struck

    async def _print_tag(self, tag: str, prompt: str) -> bool:
        """Prints a speaker's tag while the model prefills; returns False if BREAK has stopped it."""
        self.model.prefill(prompt)
        async with self._tty.until_break() as scope:
            await self._tty.fresh_line()
            await self._tty.print(tag)
            await self._tty.finish()  # the exchange counts the glyphs that are struck after it
        return not scope.is_broken

    async def _mark_break(self) -> None:
        """Prints ^C after the answer: the sheet shows that the operator ended it."""
        async with self._tty.until_break():
            await self._tty.print("^C")
            await self._tty.flush()

    def _fit_context(self, typed: str) -> None:
        """Drops the oldest lines if they leave no room for the answer."""
        context = self.model.context
        # A token has three characters or more. During an answer over a quarter of the context the model drops lines.
        limit = context - min(context // 4, self.settings.length // 3 + 64)
        self._pending_conversation.drop_oldest_lines(typed, self.model.count_tokens, limit, tokens_to_keep(context))
