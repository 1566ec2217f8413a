"""Mastodon, and servers with its interface: the REST API of docs.joinmastodon.org.

The server knows a post by its Idempotency-Key for an hour. Later the thread tells whether the answer is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daemon.bridges.mentions.json_client import JsonClient, JsonReply, describe_refusal
from daemon.bridges.mentions.mention import Mention, MentionPage, NetworkAccount, NewPost
from daemon.bridges.mentions.network import LoginRefused, NetworkTrouble, PostRefused
from daemon.bridges.mentions.post_text import count_graphemes, split_leading_names, strip_html

DEFAULT_LIMIT = 500  # of a server that does not name its own
PAGE_SIZE = 40
FROM_THE_BEGINNING = "0"


class MastodonNetwork:
    """Implements `MentionNetwork`."""

    name = "mastodon"
    settle_s = 0.0  # the same key is the same post

    def __init__(self, client: JsonClient, read_token: Callable[[], str]) -> None:
        self.own_names: Sequence[str] = ()
        self._client, self._read_token = client, read_token
        self._token = self._own_id = ""

    async def open_account(self) -> NetworkAccount:
        self._token = self._read_token()
        own = _require_object(await self._get("/api/v1/accounts/verify_credentials"))
        self._own_id = str(own.get("id", ""))
        handle, host = str(own.get("acct", "")), await self._find_domain()
        self.own_names = (handle, f"{handle}@{host}")
        requests = await self._count_requests()
        return NetworkAccount(f"@{handle}@{host}", await self._find_limit(), own.get("bot") is True, requests)

    async def fetch_mentions(self, last_id: str | None) -> MentionPage:
        query = {"types[]": "mention", "limit": str(PAGE_SIZE if last_id else 1)}
        if last_id is not None:
            query["min_id"] = last_id  # the oldest that are newer; since_id would leave out what is between
        reply = await self._get("/api/v1/notifications", query)
        if not isinstance(reply.data, list):
            raise NetworkTrouble("mastodon: the server sends no list of notifications")
        notes = [note for note in reply.data if isinstance(note, dict) and isinstance(note.get("id"), str)]
        if last_id is None:
            return MentionPage((), notes[0]["id"] if notes else FROM_THE_BEGINNING)
        found = [self._parse(note) for note in reversed(notes)]
        newest = notes[0]["id"] if notes else last_id
        return MentionPage([one for one in found if one], newest, has_more=len(notes) >= PAGE_SIZE)

    async def has_post(self, post: NewPost, mention: Mention | None) -> bool:
        if mention is not None:
            reply = await self._get(f"/api/v1/statuses/{mention.id}/context", bucket="context")
            if not reply.is_ok and reply.status not in (404, 410):
                raise NetworkTrouble(f"mastodon: the server does not say whether it has a post (status {reply.status})")
            found = reply.data.get("descendants") if isinstance(reply.data, dict) else []
            return any(
                _account_id(status) == self._own_id and status.get("in_reply_to_id") == mention.id
                for status in _objects(found)
            )
        query = {"limit": str(PAGE_SIZE), "exclude_reblogs": "true"}
        reply = await self._get(f"/api/v1/accounts/{self._own_id}/statuses", query)
        return any(strip_html(str(status.get("content"))) == post.text for status in _objects(reply.data))

    async def send(self, post: NewPost, mention: Mention | None) -> None:
        body: dict[str, Any] = {"status": _name_author(mention) + post.text}
        if mention is not None:
            body |= {"in_reply_to_id": mention.id, "visibility": mention.visibility}
            if mention.warning:
                body["spoiler_text"] = mention.warning
        headers = {**self._authorization(), "Idempotency-Key": post.key}
        reply = await self._client.call("POST", "/api/v1/statuses", body=body, headers=headers)
        self._check_login(reply)
        if not reply.is_ok:
            raise PostRefused(f"status {reply.status}, {describe_refusal(reply.data, self._token)}")

    def measure(self, text: str) -> int:
        return count_graphemes(text)

    def count_overhead(self, mention: Mention | None) -> int:
        return 0 if mention is None else count_graphemes(_name_author(mention) + mention.warning)

    async def close(self) -> None:
        await self._client.close()

    def _parse(self, note: Mapping[str, Any]) -> Mention | None:
        status, account = note.get("status"), note.get("account")
        if note.get("type") != "mention" or not isinstance(status, dict) or not isinstance(account, dict):
            return None
        author, mention_id = account.get("acct"), status.get("id")
        if not isinstance(author, str) or not isinstance(mention_id, str) or not mention_id.isalnum():
            return None
        text, is_addressed = split_leading_names(strip_html(str(status.get("content"))), self.own_names)
        return Mention(
            mention_id,
            author,
            text,
            is_addressed,
            account.get("bot") is True or account.get("id") == self._own_id,
            str(status.get("visibility") or "unlisted"),
            str(status.get("spoiler_text") or ""),
        )

    async def _find_domain(self) -> str:
        """Returns the server's name in the names of its accounts, which may differ from its address."""
        reply = await self._get("/api/v2/instance")
        self._instance = reply.data if reply.is_ok and isinstance(reply.data, dict) else {}
        return str(self._instance.get("domain") or self._client.base_url.partition("://")[2])

    async def _find_limit(self) -> int:
        statuses: Any = self._instance.get("configuration", {})
        statuses = statuses.get("statuses") if isinstance(statuses, dict) else None
        limit = statuses.get("max_characters") if isinstance(statuses, dict) else None
        return limit if isinstance(limit, int) and 50 <= limit <= 1_000_000 else DEFAULT_LIMIT

    async def _count_requests(self) -> int:
        """Returns how many people's messages wait until the account lets them in; 0 on a server without the filter."""
        reply = await self._client.call("GET", "/api/v2/notifications/policy", headers=self._authorization())
        summary = reply.data.get("summary") if isinstance(reply.data, dict) else None
        count = summary.get("pending_requests_count") if isinstance(summary, dict) else None
        return count if isinstance(count, int) else 0

    async def _get(self, path: str, query: Mapping[str, str] | None = None, bucket: str = "") -> JsonReply:
        reply = await self._client.call("GET", path, query=query, headers=self._authorization(), bucket=bucket)
        self._check_login(reply)
        return reply

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _check_login(self, reply: JsonReply) -> None:
        if reply.status == 401:
            raise LoginRefused("mastodon: the server refuses the token: make a new one for mastodon_token_file")
        if reply.status == 403:
            reason = describe_refusal(reply.data, self._token)
            raise LoginRefused(f"mastodon: the token needs the scopes read and write:statuses ({reason})")


def _require_object(reply: JsonReply) -> Mapping[str, Any]:
    if not reply.is_ok or not isinstance(reply.data, dict):
        raise NetworkTrouble(f"mastodon: the server knows no such request (status {reply.status}): is it Mastodon?")
    return reply.data


def _name_author(mention: Mention | None) -> str:
    """Returns the name before an answer: without it the author is not told of the answer."""
    return "" if mention is None else f"@{mention.author} "


def _objects(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _account_id(status: Mapping[str, Any]) -> Any:
    account = status.get("account")
    return account.get("id") if isinstance(account, dict) else None
