"""Opens the configured model and its speakers: a local model, or the servers of [model] with a local model after."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from daemon.config import Config, ConversationConfig, ModelConfig
from daemon.conversation import Conversation
from daemon.errors import ConfigError
from drivers.clock import CHARACTER_S
from drivers.text.charset import is_printable
from model.dialogue import MACHINE_PERSONA, NO_PERSONA, Speakers, choose_speakers, read_known_speakers
from model.errors import ModelError
from model.interface import CompletionRequest, Model, Sampling
from model.server_url import is_url

if TYPE_CHECKING:
    from model.client.server_pool import RemoteBackend
    from model.store.manifest import Manifest

_log = logging.getLogger("asr33")


def open_model(config: Config, character_s: float = CHARACTER_S) -> Model:
    """Returns the model with the configured name, path or URL; it is not loaded yet. Raises ModelError, ConfigError."""
    _check_otherwise(config.model.otherwise)
    if not is_url(config.model.name):
        return _open_local_model(config, config.model.name)
    template = CompletionRequest(
        "",
        Sampling(),
        alphabet=config.machine.wheel,
        chars_per_second=1 / character_s if character_s else 0.0,
        conversation=secrets.token_hex(8),
    )
    return open_remote_model(config.model, template, lambda name: _open_local_model(config, name))


def _check_otherwise(names: Sequence[str]) -> None:
    """Raises ConfigError if one is neither a URL nor a model of this disk: it would be missed only in need."""
    from model.server_url import parse_server_url
    from model.store import store

    for name in names:
        try:
            if is_url(name):
                parse_server_url(name)
            else:
                store.read_manifest(store.find_model(name))
                if importlib.util.find_spec("onnxruntime") is None:
                    _log.warning(
                        "[model] otherwise: %r needs onnxruntime: in asr33's folder, pip install '.[cpu]'", name
                    )
        except ModelError as error:
            raise ConfigError(f"[model] otherwise: {error}") from None


def _open_local_model(config: Config, name: str) -> Model:
    from model.generate.local_model import LocalModel
    from model.store import store

    return LocalModel(
        store.find_model(name),
        threads=config.model.threads,
        device=config.model.device,
        is_allowed=lambda char: is_printable(char, config.machine.wheel),
    )


def open_remote_model(
    config: ModelConfig,
    request_template: CompletionRequest,
    open_local: Callable[[str], Model] | None = None,
    max_tries: int | None = None,
) -> Model:
    """Returns a failover model over the configured servers; `open_local` opens the local model by its name.

    `request_template` has the fields that all requests share; `max_tries` limits the attempts at each server. Raises
    ConfigError, ModelError.
    """
    from model.client.failover import FailoverModel
    from model.client.http_client import ClientConfig, read_api_key
    from model.client.remote_model import RemoteModel

    urls = [name for name in (config.name, *config.otherwise) if is_url(name)]
    local_names = [name for name in config.otherwise if not is_url(name)]
    if len(local_names) > 1 or (local_names and config.otherwise[-1] != local_names[0]):
        raise ConfigError(f"[model] otherwise: {local_names[0]!r} is a local model: give only one, and as the last")
    client = ClientConfig(
        api_key=read_api_key(config.key_file),
        allow_plain=config.allow_plain,
        ca_file=config.ca_file,
        first_token_s=config.first_token_s,
        request_template=request_template,
    )
    fallback = partial(open_local, local_names[0]) if open_local is not None and local_names else None
    servers = [RemoteModel(url, client) for url in urls]
    return FailoverModel(servers, fallback, rng=random.Random(), max_tries=max_tries)


def find_manifest(config: Config) -> Manifest | None:
    """Returns the manifest of the configured model; None for one on a server, or one that cannot be read."""
    from model.store import store

    with contextlib.suppress(ModelError):
        return store.read_manifest(store.find_model(config.model.name))
    return None


def load_conversation(config: Config) -> Conversation:
    """Returns the conversation of `begin_conversation`. Raises ConfigError."""
    return begin_conversation(config, find_manifest(config))


def begin_conversation(config: Config, manifest: Manifest | None) -> Conversation:
    """Returns a conversation of the configured speakers, with those of the other mode.

    The default is the persona in the manifest of a local model. A model of the hub knows no speakers: it plays the
    machine, by a cue. Raises ConfigError if the manifest lacks the configured persona.
    """
    training = manifest.training if manifest else {}
    return _choose_modes(config, *read_known_speakers(training), is_of_hub="repository" in training)


def adopt_speakers_of_servers(model: Model, conversation: Conversation, config: Config) -> None:
    """Gives the conversation the speakers of a server's model, once the server has told them."""
    if not is_url(config.model.name):  # a local model does not need the client's modules
        return
    from model.client.failover import FailoverModel

    if isinstance(model, FailoverModel):
        model.on_ready = partial(_adopt_speakers, conversation, config)


def _adopt_speakers(conversation: Conversation, config: Config, server: RemoteBackend) -> None:
    names, persona = server.known_speakers
    if not names:
        return
    try:
        adopted = _choose_modes(config, names, persona)
    except ConfigError as error:
        _log.warning("%s; the server's model gets the name as it is", error)
        return
    conversation.speakers, conversation.other_speakers = adopted.speakers, adopted.other_speakers


def _choose_modes(config: Config, names: Sequence[str], persona: str, is_of_hub: bool = False) -> Conversation:
    chosen = config.conversation
    if names:
        in_person = resolve_speakers(replace(chosen, persona=chosen.persona or persona or names[0]), names)
    elif chosen.persona:
        in_person = resolve_speakers(chosen)
    else:
        in_person = _speak_to(chosen.you)
    in_person = in_person if chosen.cue is None else replace(in_person, cue=chosen.cue)
    plain = Speakers(you=chosen.you or NO_PERSONA.you)
    is_in_person = bool(chosen.persona) or (chosen.persona is None and (bool(persona) or is_of_hub))
    return Conversation("", in_person, plain) if is_in_person else Conversation("", plain, in_person)


def _speak_to(you: str) -> Speakers:
    """Returns the machine in person, whose cue names the operator, if `you` is not empty."""
    if not you:
        return MACHINE_PERSONA
    cue = MACHINE_PERSONA.cue.replace(f"\n{MACHINE_PERSONA.you}:", f"\n{you}:")
    return replace(MACHINE_PERSONA, you=you, cue=cue)


def resolve_speakers(config: ConversationConfig, known_names: Sequence[str] = ()) -> Speakers:
    """Returns the configured speakers. Raises ConfigError for a persona that is not among the model's `known_names`.

    Case is ignored, since a Model 33 has capitals only. A model without names accepts any persona.
    """
    persona = (config.persona or "").strip()
    try:
        return choose_speakers(persona, config.you, known_names)
    except ModelError as error:
        raise ConfigError(f"[conversation] persona = {persona!r}: {error}") from None
