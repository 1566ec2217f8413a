"""What would be answered now: the same reading, deciding and writing as the bridge's, without sending anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from daemon.bridges.mentions.mention import Mention
from daemon.bridges.mentions.mention_bridge import MentionBridge
from daemon.bridges.mentions.mention_rules import decide
from daemon.bridges.mentions.mention_state import MentionState, MentionStore


@dataclass(frozen=True, slots=True)
class PreviewedPost:
    """A mention, what becomes of it, and the text of the answer; no mention for a daily post."""

    mention: Mention | None
    decision: str
    text: str = ""


class ReadOnlyStore(MentionStore):
    """A file that is read and never written."""

    def write(self, state: MentionState) -> None:
        pass


async def preview_posts(bridge: MentionBridge) -> AsyncIterator[PreviewedPost]:
    """Yields what a running bridge would do with the mentions of now; its store must be a `ReadOnlyStore`.

    Before the first run nothing is answered that is there already. Raises NetworkTrouble, ModelError, DaemonError.
    """
    bridge.state = state = bridge.store.read()
    await bridge.refresh_account()
    page = await bridge.network.fetch_mentions(state.last_id)
    now, is_first = bridge.parts.wall_clock(), state.last_id is None
    for mention in page.mentions:
        if mention.id not in state.handled:
            decision = "said before the first run" if is_first else decide(mention, bridge.rules, state.people, now)
            if decision not in ("answer", "help", "wrong form"):
                yield PreviewedPost(mention, decision)
    bridge.note_page(page, is_first=is_first)
    bridge.plan_daily()
    for pending in state.pending:
        if not pending.text and not await bridge.write_text(pending):
            yield PreviewedPost(pending.mention, "the model has no answer")
        else:
            yield PreviewedPost(pending.mention, pending.kind, pending.text)
