"""The servers that [model] names, put together as one Model."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from daemon.config import ModelConfig
from daemon.errors import ConfigError
from model.base import Ask, Model
from model.far.address import is_url


def relay(
    model: ModelConfig, about: Ask, local: Callable[[str], Model] | None = None, tries: int | None = None
) -> Model:
    """Those servers, in their order, and behind them the model here that `local` opens by its name.

    `about` is what is the same in each Ask; `tries`, how often each is asked in vain. Raises ConfigError, ModelError.
    """
    from model.far.key import read_key
    from model.far.relay import Relay
    from model.far.remote import Remote
    from model.far.transport import Door

    urls = [name for name in (model.name, *model.otherwise) if is_url(name)]
    here = [name for name in model.otherwise if not is_url(name)]
    if len(here) > 1 or (here and model.otherwise[-1] != here[0]):
        raise ConfigError(f"[model] otherwise: {here[0]!r} is a model of this machine: one, and the last in the list")
    door = Door(
        key=read_key(model.key_file),
        allow_plain=model.allow_plain,
        ca_file=model.ca_file,
        first_token_s=model.first_token_s,
        about=about,
    )
    opener = partial(local, here[0]) if local is not None and here else None
    return Relay([Remote(url, door) for url in urls], opener, chance=random.Random(), tries=tries)
