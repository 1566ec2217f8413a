"""What the bridge needs of a network: its account, the mentions since the last, and a way to post exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from daemon.bridges.mentions.mention import Mention, MentionPage, NetworkAccount, NewPost


class NetworkTrouble(Exception):
    """The network does not answer as it should, for now; the message is one line without a secret.

    `wait_s`: when to try again; None: after a growing wait. `is_certain`: the network has not taken the request.
    """

    def __init__(self, message: str, wait_s: float | None = None, *, is_certain: bool = False) -> None:
        super().__init__(message)
        self.wait_s, self.is_certain = wait_s, is_certain


class LoginRefused(NetworkTrouble):
    """The network does not know the token or the password."""


class PostRefused(Exception):
    """The network will never take this post, such as an answer to a message that was deleted."""


class MentionNetwork(Protocol):
    """One account on one network. Every method raises NetworkTrouble."""

    name: str  # such as mastodon; a file and a source of the spool are called so
    settle_s: float  # after an attempt whose end is not known, until `has_post` is certain
    own_names: Sequence[str]  # of the account, once `open_account` has returned

    async def open_account(self) -> NetworkAccount:
        """Logs in, and asks what the account is called and what the server allows."""
        ...

    async def fetch_mentions(self, last_id: str | None) -> MentionPage:
        """Returns the mentions after the last, and perhaps some again. With None nothing of the page is answered."""
        ...

    async def has_post(self, post: NewPost, mention: Mention | None) -> bool:
        """Whether the network has this post already, from an attempt whose end is not known."""
        ...

    async def send(self, post: NewPost, mention: Mention | None) -> None:
        """Sends a post, as an answer to a mention if there is one. Raises PostRefused too."""
        ...

    def measure(self, text: str) -> int:
        """Returns the length of a text as the network counts it."""
        ...

    def count_overhead(self, mention: Mention | None) -> int:
        """Returns how much of the limit is used before the text."""
        ...

    async def close(self) -> None: ...
