"""What the operator's commands do at the machine: answers, messages, private times, and the end of a visit.

It knows the machine, the turns and the log. It does not know who waits for the machine, nor how a line is read.
"""

from __future__ import annotations

import time
from dataclasses import replace

from daemon import commands
from daemon.config import Config
from daemon.duologue_commands import DuologueCommands
from daemon.exchange import print_message
from daemon.guess_commands import GuessCommands
from daemon.machine_address import MachineAddress
from daemon.model_choice import ModelChoice
from daemon.privacy import Privacy
from daemon.saved_conversations import SavedConversations
from daemon.session_log import SessionLog
from daemon.spool.operator import OperatorDesk
from daemon.talk_commands import NOTHING_SAID, TalkCommands, shorten
from daemon.tape_memory import BLANK_ROWS, TapeMemory, encode_memory
from daemon.tape_prompt import punch_rows, read_tape
from daemon.turns import Turns
from daemon.visit import Visit
from drivers import tape
from drivers.errors import EndOfInput
from drivers.teletype import Teletype
from drivers.text.charset import fold_text

PUBLIC_PLACE = "THIS IS A PUBLIC PLACE: NOTHING IS SAVED, LOADED OR CHANGED.\n"
TEAR_OFF_LINES = 8  # of .TEAR, if [hall] has no number


class SessionCommands:
    """The target of `OPERATOR_COMMANDS` for one session."""

    def __init__(
        self,
        tty: Teletype,
        turns: Turns,
        visit: Visit,
        config: Config,
        log: SessionLog,
        privacy: Privacy,
        saved: SavedConversations | None = None,
        adapter_info: str = "",
    ) -> None:
        self.spool = OperatorDesk()
        self.talk = TalkCommands(turns, saved or SavedConversations(), self._find_save_obstacle)
        self.duologue = DuologueCommands(
            turns, config.conversation, log, self.print_message, is_public_place=visit.is_public_place
        )
        self.game = GuessCommands(tty, turns, config.game.lines, log, self.print_message)
        self.models: ModelChoice | None = None
        self.address = MachineAddress(config)
        self._tty, self._turns, self._visit, self._log, self._privacy = tty, turns, visit, log, privacy
        self._hall, self._has_break_only = config.hall, config.machine.keyboard == "none"
        self._adapter_info = adapter_info
        self._public_conversation = replace(turns.conversation)  # as it was before a private time

    @property
    def waits_for_line(self) -> bool:
        """Whether the game or a talk waits for a line: an empty one ends it."""
        return self.game.is_open or self.duologue.is_interrupted

    async def end_wait(self) -> None:
        """Ends what waits for a line."""
        await (self.game.end() if self.game.is_open else self.duologue.end())

    async def print_message(self, text: str) -> None:
        """Prints a message of the daemon on a fresh line; BREAK cuts it short."""
        await print_message(self._tty, text)

    async def answer_tape(self) -> None:
        """Reads a tape: a prompt is answered, a conversation takes the place of this one."""
        self._turns.activity = "reading"
        read = await read_tape(self._tty, self._log, self.print_message)
        if isinstance(read, TapeMemory):
            await self.print_message(self.talk.resume_from_tape(read))
        elif read:
            await self.answer_line(read)

    async def punch(self, text: str) -> None:
        """.PUNCH: this conversation, its settings alone (SEED), or a text to be read as a prompt."""
        profile = self._tty.profile
        if text and text.upper() != "SEED":
            folded = fold_text(text, wheel=profile.wheel) + "\n"
            blank = tape.leader(BLANK_ROWS)
            rows = blank + tape.encode_text(folded, profile.send_parity) + blank
        elif memory := self.talk.make_memory(only_settings=bool(text)):
            rows = encode_memory(memory, profile.send_parity)
        else:
            await self.print_message(self._find_save_obstacle() or NOTHING_SAID)
            return
        was_private = self._log.is_private
        self._log.switch_private(time.monotonic(), True)  # its strokes have what may be forgotten later
        try:
            await punch_rows(self._tty, rows, self.print_message)
            await self._tty.finish()
        finally:
            self._log.switch_private(time.monotonic(), was_private)

    async def answer_line(self, typed: str) -> None:
        """Answers a line, or gives it to the game or the talk of two personas that waits for one."""
        if self.game.is_open:
            await self.game.hear(typed)
            return
        if self.duologue.is_interrupted:
            await self.duologue.hear(typed)
        else:
            await self._turns.answer_line(typed)
        await self._feed_after_answer()

    async def switch_game(self) -> None:
        await self.game.switch()

    async def begin_duologue(self, names: str) -> None:
        self.game.close()
        if await self.duologue.start(names):
            await self._feed_after_answer()

    async def answer_again(self) -> None:
        if self.duologue.is_open:
            await self.duologue.answer_again()
            await self._feed_after_answer()
        elif await self._turns.answer_again():
            await self._feed_after_answer()
        else:
            await self.print_message(NOTHING_SAID)

    async def take_back(self) -> None:
        """Takes the last line back: of the open talk of two personas, or of the conversation."""
        line = self.duologue.take_back() if self.duologue.is_open else ""
        await self.print_message(f"TAKEN BACK: {shorten(line)}\n" if line else self.talk.take_back())

    async def go_on(self) -> None:
        if self.duologue.is_open:
            await self.duologue.go_on()
            await self._feed_after_answer()
        elif self._turns.conversation.memory or self._has_break_only:
            await self._turns.go_on()
            await self._feed_after_answer()
        else:
            await self.print_message(NOTHING_SAID)

    async def _feed_after_answer(self) -> None:
        if self._hall.tear_off and not self.duologue.is_interrupted:
            await self.feed_tear_off()

    async def feed_tear_off(self) -> None:
        await self.print_message("\n" * (self._hall.tear_off or TEAR_OFF_LINES))

    async def forget_conversation(self) -> None:
        self._turns.forget()
        self.talk.forget_name()
        self._public_conversation.clear()
        await self.print_message("ALL FORGOTTEN.\n")

    async def switch_mode(self) -> None:
        self._turns.switch_mode()
        self.talk.forget_name()
        await self.print_message(commands.format_mode(self._turns.conversation.speakers.persona))

    async def choose_model(self, name: str) -> None:
        if self.models is None:
            await self.print_message("THIS SESSION HAS ONE MODEL.\n")
        elif not name:
            await self.print_message(self.models.describe())
        elif self._visit.is_public_place:
            await self.print_message(PUBLIC_PLACE)
        elif (conversation := await self.models.choose(name, self._tty)) is not None:
            self._turns.begin_conversation(conversation)
            self._turns.model_hash = self.models.model_hash
            self.talk.forget_name()
            self._public_conversation = replace(conversation)
            self._log.write(time.monotonic(), "model", name=self._turns.model.name)
            await self.print_message(self.talk.describe())

    async def print_status(self) -> None:
        status, profile, model = self._tty.status(), self._tty.profile, self._turns.model
        report = commands.format_status(status, profile, self._adapter_info, model.name, model.device)
        await self.print_message(report + commands.format_log_state(self._log.last_code, self._privacy.is_on))

    async def print_address(self) -> None:
        await self.print_message(f"{self.address.describe()}\n")

    async def begin_private(self) -> None:
        """Keeps what follows on the paper only, after a restart too; says so when that holds."""
        if self._privacy.is_on:
            await self.print_message(commands.STILL_PRIVATE)
            return
        self._public_conversation = replace(self._turns.conversation)
        self._log.switch_private(time.monotonic(), True)
        await self.print_message(commands.format_private(self._privacy.switch_on()))

    async def end_private(self) -> None:
        """Ends a private time, and forgets what was said in it."""
        if self._privacy.is_on:
            async with self._tty.until_break():  # after a hang-up a line that is not struck would be sent again
                await self._tty.fresh_line()
                await self._tty.finish()
            self._turns.conversation.restore(self._public_conversation)
            self._turns.forget_past()
            self._privacy.switch_off()
            self._log.switch_private(time.monotonic(), False)
        await self.print_message(commands.PUBLIC_AGAIN)

    async def leave(self) -> None:
        """Ends the session; in a public place the visit alone."""
        if not self._visit.is_public_place:
            raise EndOfInput
        await self.end_visit()

    async def end_visit(self) -> None:
        """Forgets all that a visitor of a public place has said and set."""
        self._visit.end()
        self.duologue.close()
        self.game.close()
        if self._turns.is_as_at_start and not self._privacy.is_on:
            return
        self._turns.forget_visit()
        self.talk.forget_name()
        self._public_conversation = replace(self._turns.conversation)
        if self._privacy.is_on:
            await self.end_private()
        await self.print_message(commands.VISIT_ENDED + "\n" * self._hall.tear_off)

    def _find_save_obstacle(self) -> str:
        if self._visit.is_public_place:
            return PUBLIC_PLACE
        if self._privacy.is_on:
            return "PRIVATE: NOTHING IS SAVED OR LOADED UNTIL .PUBLIC\n"
        return "" if self._log.keeps_input else "NOTHING THAT IS TYPED HERE IS KEPT: [LOG] INPUT IS FALSE.\n"
