"""A mention of the machine's account, a post that answers one, and what a network says of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

PostKind = Literal["answer", "help", "wrong form", "daily"]


@dataclass(frozen=True, slots=True)
class Mention:
    """One message to the account. `id` is the message's own; `reply` is what its network needs for an answer.

    `names` are the account's names at the begin of the text, and `is_addressed` whether one of them was there, or the
    message answers one of ours.
    """

    id: str
    author: str  # as the network writes it, such as ada@example.org
    text: str  # without the names at its begin
    is_addressed: bool = True
    is_bot: bool = False
    visibility: str = "public"
    warning: str = ""  # the author's content warning
    reply: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether all may read it; then it comes to paper too."""
        return self.visibility in ("public", "unlisted")


@dataclass(frozen=True, slots=True)
class NewPost:
    """A text to send. The same `key` is the same post, however often it is sent."""

    key: str
    text: str


@dataclass(slots=True)
class PendingPost:
    """A post that is due: first without its text, then with it, until the network has it.

    `mention` is None for a daily post. `tries` counts the attempts to send it, those of earlier runs too; `tried_at` is
    the last, in seconds of the epoch.
    """

    kind: PostKind
    key: str
    mention: Mention | None = None
    text: str = ""
    seed: int = 0
    tries: int = 0
    tried_at: float = 0.0
    mark: str = ""  # after the text in the post, and not on paper: the receipt

    def find_wait(self, now: float, settle_s: float) -> float:
        """Returns the seconds until the network can tell whether it has the post, `settle_s` after the last attempt."""
        age_s = now - self.tried_at
        return settle_s - age_s if self.tries and 0 <= age_s < settle_s else 0.0

    @property
    def is_open(self) -> bool:
        """Whether all may read it."""
        return self.mention is None or self.mention.is_open

    @property
    def post(self) -> NewPost:
        return NewPost(self.key, f"{self.text} {self.mark}" if self.mark else self.text)


@dataclass(frozen=True, slots=True)
class MentionPage:
    """Mentions, the oldest first, and the place after them: what `last_id` is when they are noted."""

    mentions: Sequence[Mention]
    last_id: str
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class NetworkAccount:
    """The machine's account and what its server allows. `requests`: people whose messages wait for a permission."""

    name: str
    limit: int
    is_marked: bool | None = None  # as an automated account; None: the network does not tell
    requests: int = 0


def encode_pending(pending: PendingPost) -> dict[str, Any]:
    """Returns a record of JSON."""
    return asdict(pending)


def decode_pending(record: Mapping[str, Any]) -> PendingPost:
    """Raises KeyError, TypeError."""
    mention = record["mention"]
    values = {**record, "mention": None if mention is None else Mention(**mention)}
    return PendingPost(**values)
