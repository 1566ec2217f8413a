"""The bridge: the device is announced, its state is published, and each message for it becomes a job of the spool.

It runs beside the session. The spool decides when a message is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from daemon.bridges.backoff import Backoff
from daemon.bridges.mqtt.broker import Broker, BrokerAccount, BrokerLost, LastWill, connect_broker
from daemon.bridges.mqtt.discovery import OFFLINE, ONLINE, DeviceTopics, MachineReading
from daemon.bridges.mqtt.note import MAX_NOTE_BYTES, NoteRefused, read_note
from daemon.bridges.print_queue import PrintQueue, PrintReceipt

SOURCE, PERSON = "mqtt", "home"
POLL_S = 1.0  # of the machine's state
NUMBERS_INTERVAL_S = 30.0  # between two messages in which the numbers alone have changed
TELL_INTERVAL_S = 60.0  # between two lines of the log about refused messages
_FAREWELL_S = 2.0

_log = logging.getLogger("asr33")


@dataclass(slots=True)
class MqttBridge:
    """One device at one broker. `discovery` is the retained message about it; None: it is not announced."""

    account: BrokerAccount
    topics: DeviceTopics
    discovery: dict[str, Any] | None
    queue: PrintQueue
    read_machine: Callable[[], MachineReading]
    keep_s: float = 3600.0
    backoff: Backoff = field(default_factory=Backoff)
    _refused: int = 0  # messages since the last line of the log
    _told_at: float = float("-inf")

    async def run(self) -> None:
        """Connects again and again; never returns."""
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            try:
                await self._serve_once()
            except BrokerLost as lost:
                self.backoff.note_end(loop.time() - started_at)
                self.backoff.tell_once(f"{self.account.address}: {lost}; trying again")
                await asyncio.sleep(self.backoff.choose_wait(is_refused=lost.is_refused))

    async def _serve_once(self) -> None:
        will = LastWill(self.topics.availability, OFFLINE)
        async with connect_broker(self.account, will, MAX_NOTE_BYTES) as broker:
            try:
                await self._announce(broker)
                _log.info("%s: the machine is the device %s", self.account.address, self.topics.id)
                await _run_until_first(self._listen(broker), self._report(broker))
            finally:  # after a clean end the broker does not publish the last will
                with contextlib.suppress(BrokerLost, TimeoutError):
                    async with asyncio.timeout(_FAREWELL_S):
                        await broker.publish(self.topics.availability, OFFLINE, retain=True)

    async def _announce(self, broker: Broker) -> None:
        await broker.subscribe(self.topics.notify)
        if self.discovery is not None:
            await broker.publish(self.topics.config, json.dumps(self.discovery), retain=True)
        await broker.publish(self.topics.state, self.read_machine().to_json(), retain=True)
        await broker.publish(self.topics.availability, ONLINE, retain=True)

    async def _report(self, broker: Broker) -> None:
        """Publishes the state when it changes, and the numbers now and then."""
        loop = asyncio.get_running_loop()
        last, last_at = self.read_machine(), loop.time()
        while True:
            await asyncio.sleep(POLL_S)
            reading = self.read_machine()
            is_due = loop.time() - last_at >= NUMBERS_INTERVAL_S and reading != last
            if reading.state != last.state or is_due:
                last, last_at = reading, loop.time()
                await broker.publish(self.topics.state, reading.to_json(), retain=True)

    async def _listen(self, broker: Broker) -> None:
        async for payload, is_retained in broker.messages():
            if payload:  # an empty message ends what was retained, and is not retained itself
                await self._print(broker, payload, is_retained=is_retained)
                await broker.publish(self.topics.notify, "", retain=True)

    async def _print(self, broker: Broker, payload: bytes, *, is_retained: bool) -> None:
        """Hands a message to the spool; the sender can read in the receipt when it prints, or why it does not."""
        try:
            receipt = await self.queue.submit(
                SOURCE, PERSON, read_note(payload, is_retained=is_retained), keep_s=self.keep_s
            )
        except NoteRefused as refusal:
            receipt = PrintReceipt(refusal=str(refusal))
        fields: dict[str, Any] = {"refusal": receipt.refusal} if receipt.refusal else {"place": receipt.place}
        if receipt.place or receipt.seconds:
            fields["seconds"] = None if receipt.seconds == float("inf") else round(receipt.seconds)
        if receipt.refusal:
            self._tell_refusal(receipt.refusal)
        await broker.publish(self.topics.receipt, json.dumps(fields))

    def _tell_refusal(self, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        self._refused += 1
        if now - self._told_at >= TELL_INTERVAL_S:
            _log.warning("%s: %d not printed, the last one: %s", self.topics.notify, self._refused, reason)
            self._refused, self._told_at = 0, now


async def _run_until_first(*works: Any) -> None:
    """Runs all until one ends, raises what that one raised, and cancels the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
