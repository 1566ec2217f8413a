"""The model of a daemon, and the operator's choice of another one while it runs: .MODEL."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from daemon.config import Config
from daemon.conversation import Conversation
from daemon.errors import DaemonError
from daemon.exchange import print_message
from daemon.model_factory import adopt_speakers_of_servers, begin_conversation, find_manifest, open_model
from drivers.teletype import Teletype
from model.engine_errors import engine_errors
from model.errors import ModelError
from model.interface import Model, Sampling, TextChunk


class SwitchableModel:
    """A model in whose place another one can be put. An open answer ends on the model that it began with."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._open_answers: list[Model] = []  # the model of each
        self._replaced: list[Model] = []  # with open answers

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def device(self) -> str:
        return self._model.device

    @property
    def context(self) -> int:
        return self._model.context

    def count_tokens(self, text: str) -> int:
        return self._model.count_tokens(text)

    async def wait_ready(self) -> None:
        await self._model.wait_ready()

    def prefill(self, prompt: str) -> None:
        self._model.prefill(prompt)

    async def stream(self, prompt: str, sampling: Sampling) -> AsyncGenerator[TextChunk, None]:
        model = self._model
        self._open_answers.append(model)
        try:
            async with aclosing(model.stream(prompt, sampling)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._open_answers.remove(model)
            await self._close_unused()

    async def replace_model(self, model: Model) -> None:
        """Answers with this model from now on; the other one is closed after its last answer."""
        self._replaced.append(self._model)
        self._model = model
        await self._close_unused()

    async def close(self) -> None:
        for model in (*self._replaced, self._model):
            await model.close()
        self._replaced.clear()

    async def _close_unused(self) -> None:
        for model in [model for model in self._replaced if model not in self._open_answers]:
            self._replaced.remove(model)
            await model.close()


class ModelChoice:
    """Answers .MODEL for one daemon."""

    def __init__(self, config: Config, model: SwitchableModel, character_s: float) -> None:
        self.model_hash = ""  # sha256 of the chosen model; "" for one on a server
        self._config, self._model, self._character_s = config, model, character_s
        self.chosen = config.model.name  # name, path or URL of the model that answers

    def list_names(self) -> list[str]:
        """Returns the names of the models that can answer: those of this disk, and the configured one."""
        from model.store import store

        names = [entry.name for entry in store.list_models() if entry.manifest is not None]
        return list(dict.fromkeys([*names, self._config.model.name]))

    def describe(self) -> str:
        others = [name for name in self.list_names() if name != self._model.name]
        return f"MODEL {self._model.name}" + (f"; THERE ARE {' '.join(others)}" if others else "") + "\n"

    async def choose(self, typed: str, tty: Teletype) -> Conversation | None:
        """Opens the model of this name, typed in capitals, and puts it in the place of the other one.

        Returns a new conversation of its speakers. None after a line on the paper that says why not, or after BREAK:
        then the model stays.
        """
        names = {name.upper(): name for name in self.list_names()}
        if (name := names.get(typed.upper())) is None:
            await print_message(tty, f"NO MODEL {typed[:30]} HERE; THERE ARE {' '.join(names)}\n")
            return None
        config = replace(self._config, model=replace(self._config.model, name=name))
        opened: Model | None = None
        try:
            manifest = find_manifest(config)
            conversation = begin_conversation(config, manifest)
            opened = open_model(config, self._character_s)
            adopt_speakers_of_servers(opened, conversation, config)
            await print_message(tty, f"LOADING {name}; BREAK LEAVES THE OTHER.\n")
            async with tty.until_break() as scope:
                with engine_errors():
                    await opened.wait_ready()
            if scope.is_broken:
                await opened.close()
                return None
        except (ModelError, DaemonError, ImportError) as error:
            if opened is not None:
                await opened.close()
            await print_message(tty, f"-- {error} --\n")
            return None
        except BaseException:
            if opened is not None:
                await opened.close()
            raise
        await self._model.replace_model(opened)
        self.model_hash = manifest.graph_sha256 if manifest else ""
        self.chosen = name
        return conversation
