"""The servers that [model] names, put together as one Model."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from daemon.config import ModelConfig
from daemon.errors import ConfigError
from model.client.server_url import is_url
from model.interface import CompletionRequest, Model


def open_remote_model(
    config: ModelConfig,
    request_template: CompletionRequest,
    open_local: Callable[[str], Model] | None = None,
    max_tries: int | None = None,
) -> Model:
    """Those servers, in their order, and behind them the model here that `local` opens by its name.

    `about` is what is the same in each Ask; `tries`, how often each is asked in vain. Raises ConfigError, ModelError.
    """
    from model.client.api_key import read_api_key
    from model.client.failover import FailoverModel
    from model.client.http_client import ClientConfig
    from model.client.remote_model import RemoteModel

    urls = [name for name in (config.name, *config.otherwise) if is_url(name)]
    here = [name for name in config.otherwise if not is_url(name)]
    if len(here) > 1 or (here and config.otherwise[-1] != here[0]):
        raise ConfigError(f"[model] otherwise: {here[0]!r} is a model of this machine: one, and the last in the list")
    door = ClientConfig(
        api_key=read_api_key(config.key_file),
        allow_plain=config.allow_plain,
        ca_file=config.ca_file,
        first_token_s=config.first_token_s,
        request_template=request_template,
    )
    opener = partial(open_local, here[0]) if open_local is not None and here else None
    return FailoverModel([RemoteModel(url, door) for url in urls], opener, rng=random.Random(), max_tries=max_tries)
