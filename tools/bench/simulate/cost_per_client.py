"""What one line costs, by what a run took: a share of machines, memory, and bytes on the way. Pure.

No watts and no euros: they depend on whose electricity and whose machine it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.clock import CHARACTER_S
from model.openai_api import response
from tools.bench.simulate.engines import EngineCostTable

CHARS_PER_TOKEN = 4  # characters
CHUNK_BYTES = 6  # bytes of HTTP's own around an event: its length in hex, and two ends of line
TLS_BYTES = 22  # of TLS 1.3 around that
PACKET_BYTES = 52  # of TCP and IP, where each event goes alone


@dataclass(frozen=True, slots=True)
class ClientCost:
    """Of one line. `core_ms`: of a core's time in a second, the engine's and Python's together."""

    core_ms: float
    cache_mb: float  # of its own, with the context full
    weights_mb: float  # its share
    bytes_a_character: float  # on the wire, all of it
    bytes_a_second: float  # while its wheel turns


def event_bytes(model: str = "gpt2") -> int:
    """Of one token of our stream, as it leaves the server's app."""
    chunk = response.CompletionChunk("cmpl-" + 24 * "0", 1_700_000_000, model, " and", (290,))
    return len(response.encode_event(chunk))


def cost_per_client(costs: EngineCostTable, clients: float, busy: float, context: int) -> ClientCost:
    """`lines` of one replica that was at work for this part of the time."""
    sent = (event_bytes() + CHUNK_BYTES + TLS_BYTES + PACKET_BYTES) / CHARS_PER_TOKEN
    return ClientCost(
        core_ms=1000 * busy * costs.cores / clients,
        cache_mb=context * costs.a_token / 1e6,
        weights_mb=costs.weights / clients / 1e6,
        bytes_a_character=sent,
        bytes_a_second=sent / CHARACTER_S,
    )
