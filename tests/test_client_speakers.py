"""A server tells the speakers of its model, and the daemon's conversation adopts them."""

import logging
from dataclasses import replace

import pytest
from fakes_completion_server import FakeBatchModel, running_server

from daemon.config import Config, ConversationConfig, ModelConfig
from daemon.conversation import Conversation
from daemon.model_factory import adopt_speakers_of_servers, load_conversation, open_remote_model
from model.dialogue import MACHINE_PERSONA, Speakers
from model.interface import CompletionRequest, Sampling

ANN = Speakers("Ann", "Bob", ("Bob", "Ann"))
UNCONFIGURED = ConversationConfig()


async def adopted(speakers: Speakers, chosen: ConversationConfig = UNCONFIGURED) -> Conversation:
    """Returns the conversation of a daemon whose server has a model with these speakers."""
    async with running_server(FakeBatchModel(), speakers=speakers) as (_, port):
        model_config = ModelConfig(name=f"http://127.0.0.1:{port}")
        config = Config(model=model_config, conversation=chosen)
        model = open_remote_model(model_config, CompletionRequest("", Sampling()))
        conversation = load_conversation(config)
        adopt_speakers_of_servers(model, conversation, config)
        await model.wait_ready()
        await model.close()
    return conversation


async def test_the_persona_of_a_servers_model_answers() -> None:
    assert await adopted(ANN) == Conversation("", ANN, Speakers())
    assert await adopted(replace(ANN, persona="")) == Conversation(
        "", Speakers(), replace(ANN, persona="Bob", you="Ann")
    )
    assert await adopted(Speakers()) == Conversation("", Speakers(), MACHINE_PERSONA)


async def test_the_configured_persona_goes_before_that_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    bob = Speakers("Bob", "Ann", ("Bob", "Ann"))
    assert (await adopted(ANN, ConversationConfig("BOB"))).speakers == bob
    assert (await adopted(ANN, ConversationConfig(""))).speakers == Speakers()
    with caplog.at_level(logging.WARNING):
        assert (await adopted(ANN, ConversationConfig("Zoe"))).speakers == Speakers("Zoe")
    assert "it knows Bob, Ann" in caplog.text
