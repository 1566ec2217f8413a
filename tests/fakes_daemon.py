"""A model with a scripted answer, and a daemon's session on a simulated machine, with its log in a folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes_teletype import TeletypeBench

from daemon.config import AnswerConfig, Config, GameConfig, HallConfig
from daemon.conversation import Conversation
from daemon.observers import log_events_to
from daemon.privacy import Privacy
from daemon.saved_conversations import SavedConversations
from daemon.session import TeletypeSession
from daemon.session_log import SessionLog
from drivers.clock import CHARACTER_S
from drivers.profile import Profile
from drivers.teletype import Teletype
from model.dialogue import NO_PERSONA, Speakers
from model.errors import ModelError
from model.interface import FinishReason, Sampling, TextChunk


@dataclass
class ScriptedModel:
    """Answers each prompt with the same words, with a pause before each word; counts the cancelled answers."""

    words: list[str]
    pause_s: float = 0.02
    failure: ModelError | None = None
    unready: ModelError | None = None
    loading_s: float = 1.0
    name: str = "script"
    device: str = "paper"
    context: int = 64
    prompts: int = 0
    last_prompt: str = ""
    seed: int = -1
    cancelled: int = 0
    prefills: list[tuple[float, str]] = field(default_factory=list)  # time and partial prompt

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def wait_ready(self) -> None:
        await asyncio.sleep(self.loading_s)
        if self.unready is not None:
            raise self.unready

    async def close(self) -> None:
        pass

    def prefill(self, prompt: str) -> None:
        self.prefills.append((asyncio.get_running_loop().time(), prompt))

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        self.prompts += 1
        self.last_prompt, self.seed = prompt, sampling.seed
        if self.failure is not None:
            raise self.failure
        is_complete = False
        try:
            for number, word in enumerate(self.words):
                await asyncio.sleep(self.pause_s)
                finish: FinishReason | None = "sentence" if number == len(self.words) - 1 else None
                yield TextChunk(word, (number,), asyncio.get_running_loop().time(), finish)
            is_complete = True
        finally:
            self.cancelled += not is_complete


def split_words(text: str) -> list[str]:
    return [f" {word}" for word in text.split()]


class DaemonBench:
    """A session on a simulated machine, with its log in a folder."""

    def __init__(
        self,
        folder: Path,
        model: ScriptedModel,
        seed: int | None = 7,
        *,
        profile: Profile | None = None,
        wait_for_line: bool = False,
        line: Any = None,
        speakers: Speakers = NO_PERSONA,
        other_speakers: Speakers = NO_PERSONA,
        privacy: Privacy | None = None,
        keeps_input: bool = True,
        hall: HallConfig | None = None,
        game: GameConfig | None = None,
    ) -> None:
        profile = profile or Profile(duplex="full")
        self.bench = TeletypeBench(profile=profile)
        self.line = line or self.bench.line
        self.log = SessionLog(folder / "session.jsonl", 0.0, keeps_input=keeps_input)
        self.tty = Teletype(
            self.line, self.bench.clock, profile, on_event=log_events_to(self.log), wait_for_line=wait_for_line
        )
        answer = AnswerConfig(seed=seed)
        config = Config(answer=answer, machine=profile, hall=hall or HallConfig(), game=game or GameConfig())
        conversation, saved = Conversation("", speakers, other_speakers), SavedConversations(folder / "conversations")
        self.session = TeletypeSession(
            self.tty, model, config, self.log, conversation=conversation, privacy=privacy, saved=saved
        )
        self.running = asyncio.ensure_future(self.session.run())

    async def type(self, line: str) -> None:
        await self.session.listening.wait()
        self.line.press_keys(line + "\r")
        await asyncio.sleep(len(line) * CHARACTER_S + 1)  # the echo, CR LF, and the carriage return

    async def ask(self, line: str) -> str:
        """Types a line, and returns what the machine printed until it listens again, without READY."""
        await self.session.listening.wait()
        before = len(self.paper)
        await self.type(line)
        await self.session.listening.wait()
        await asyncio.sleep(1.0)
        return self.paper[before:].partition("\n")[2].replace("\nREADY\n", "")

    @property
    def paper(self) -> str:
        text: str = self.line.typing_unit.paper.text()
        return text

    def log_records(self, ev: str) -> list[dict[str, object]]:
        records = [json.loads(line) for line in self.log.path.read_text().splitlines()]
        return [record for record in records if record["ev"] == ev]
