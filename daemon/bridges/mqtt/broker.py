"""The connection to a broker of MQTT 5: the one door to aiomqtt, whose errors are translated here.

MQTT 5 is needed because its clients tell the broker how long a message may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from daemon.bridges.server_address import ServerAddress

ANSWER_S = 5.0  # for each answer of the broker
MAX_WAITING = 50  # messages; more are dropped
_HEADER_BYTES = 2_048  # of a packet: its topic and its properties
# CONNACK's codes that another attempt alone does not change - MQTT 5.0, table 3-1.
_REFUSALS = {
    132: "the broker does not know MQTT 5: mosquitto does since 1.6",
    133: "the broker refuses the client's name: choose another [mqtt] id",
    134: "the broker refuses the account: see [mqtt] user and password_file",
    135: "the broker refuses the account: see [mqtt] user and password_file",
    138: "the broker has banned this client",
}

ResultT = TypeVar("ResultT")

_library_log = logging.getLogger("asr33.mqtt")
_library_log.setLevel(logging.CRITICAL)  # each failure is an error too, which the bridge tells


class BrokerLost(Exception):
    """There is no connection, or no more; the message is one line. `is_refused`: another attempt does not help."""

    def __init__(self, reason: str, *, is_refused: bool = False) -> None:
        super().__init__(reason)
        self.is_refused = is_refused


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """Who the client is. Two connections with the same `client_id` end each other."""

    address: ServerAddress
    client_id: str
    user: str = ""
    password: str = field(default="", repr=False)
    keepalive_s: int = 30  # after 1.5 times this the broker takes a silent client for lost: MQTT 5.0 3.1.2.10


@dataclass(frozen=True, slots=True)
class LastWill:
    """What the broker publishes, and retains, when the connection is lost."""

    topic: str
    payload: str


class Broker:
    """An open connection. Each method raises BrokerLost."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def subscribe(self, topic: str) -> None:
        options = SubscribeOptions(qos=1, noLocal=True)
        codes = await _finish(self._client.subscribe(topic, options=options))
        if any(code.is_failure for code in codes if isinstance(code, ReasonCode)):
            raise BrokerLost(f"the broker does not let this account read {topic}: see its access list", is_refused=True)

    async def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        """Returns when the broker has the message."""
        await _finish(self._client.publish(topic, payload, qos=1, retain=retain))

    async def messages(self) -> AsyncIterator[tuple[bytes, bool]]:
        """Yields each message with whether the broker had retained it."""
        with _translate_errors():
            async for message in self._client.messages:
                yield message.payload, message.retain


@asynccontextmanager
async def connect_broker(account: BrokerAccount, will: LastWill, max_payload_bytes: int) -> AsyncIterator[Broker]:
    """Yields a connection; a longer message than `max_payload_bytes` does not come. Raises BrokerLost."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = max_payload_bytes + _HEADER_BYTES
    client = aiomqtt.Client(
        account.address.host,
        account.address.port,
        username=account.user or None,
        password=account.password or None,
        identifier=account.client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=True),
        timeout=ANSWER_S,
        keepalive=account.keepalive_s,
        max_queued_incoming_messages=MAX_WAITING,
        properties=properties,
        tls_context=account.address.tls,
        logger=_library_log,
    )
    await _finish(client.__aenter__())
    try:
        yield Broker(client)
    finally:
        with contextlib.suppress(BrokerLost):  # the connection is lost already, or the broker is silent
            await _finish(client.__aexit__(None, None, None))


async def _finish(call: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Returns the result of a call of the library, as a task of its own. Raises BrokerLost.

    The library waits with `asyncio.wait_for`. In Python 3.11 that loses a cancellation which comes together with the
    answer: the bridge would go on, and the daemon would wait for its end for ever.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task})
        with _translate_errors():
            return task.result()
    finally:
        task.cancel()


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except aiomqtt.MqttError as error:
        raise _translate(error) from None


def _translate(error: aiomqtt.MqttError) -> BrokerLost:
    cause = error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"its certificate is not accepted ({cause.verify_message}): see [mqtt] ca_file"
        return BrokerLost(reason, is_refused=True)
    if isinstance(cause, ssl.SSLError):
        return BrokerLost("it does not speak TLS on this port: 8883 is usual, or [mqtt] tls = false")
    if isinstance(cause, OSError):
        return BrokerLost(cause.strerror or str(cause) or "no answer")
    if isinstance(error.__cause__, aiomqtt.MqttCodeError):  # the reason of the end, under that of the caller
        error = error.__cause__
    code = error.rc.value if isinstance(error, aiomqtt.MqttCodeError) and isinstance(error.rc, ReasonCode) else None
    if isinstance(error, MqttConnectError):
        reason = _REFUSALS.get(code or 0, f"the broker refuses the connection (code {code})")
        return BrokerLost(reason, is_refused=code in _REFUSALS)
    if code is None:
        return BrokerLost("the broker does not answer")
    # The broker ends a connection whose name another client uses. The library does not hand on its reason.
    return BrokerLost("the connection ended; if it often does, another client has the same name: see [mqtt] id")
