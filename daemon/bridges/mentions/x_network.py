"""X: its API v2, with the four keys of OAuth 1.0a. Off by default, because it costs money.

X has no key for a post that is sent twice: the account's own posts tell whether an answer is there. They are asked
after a wait that is longer than a request may take. What remains: a post that X takes in later than that, or shows in
that list later, is sent twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daemon.bridges.mentions.json_client import READ_TIMEOUT_S, JsonClient, JsonReply, describe_refusal
from daemon.bridges.mentions.mention import Mention, MentionPage, NetworkAccount, NewPost
from daemon.bridges.mentions.network import LoginRefused, NetworkTrouble, PostRefused
from daemon.bridges.mentions.oauth1 import OAuth1Keys, sign_request
from daemon.bridges.mentions.post_text import count_x_characters, split_leading_names

LIMIT = 280
PAGE_SIZE, MAX_PAGES = 100, 8  # X gives the newest 800 mentions
SETTLE_S = 2 * READ_TIMEOUT_S  # a request that is under way ends before it
FROM_THE_BEGINNING = "1"


class XNetwork:
    """Implements `MentionNetwork`. What `tidy_answer` has left of a text is no link."""

    name = "x"

    def __init__(self, client: JsonClient, read_keys: Callable[[], OAuth1Keys], settle_s: float = SETTLE_S) -> None:
        self.settle_s = settle_s
        self.own_names: Sequence[str] = ()
        self._client, self._read_keys = client, read_keys
        self._keys, self._own_id = OAuth1Keys("", "", "", ""), ""

    async def open_account(self) -> NetworkAccount:
        self._keys = self._read_keys()
        reply = await self._call("GET", "/2/users/me")
        own = reply.data.get("data") if isinstance(reply.data, dict) else None
        if not reply.is_ok or not isinstance(own, dict) or not str(own.get("id", "")).isdecimal():
            raise NetworkTrouble(f"x: the server does not say whose keys these are (status {reply.status})")
        self._own_id, self.own_names = str(own["id"]), (str(own.get("username", "")),)
        return NetworkAccount(f"@{self.own_names[0]}", LIMIT)

    async def fetch_mentions(self, last_id: str | None) -> MentionPage:
        query = {
            "max_results": str(PAGE_SIZE if last_id else 5),
            "tweet.fields": "author_id,referenced_tweets",
            "expansions": "author_id",
            "user.fields": "username",
        } | ({"since_id": last_id} if last_id else {})
        found: list[Mention] = []
        newest = last_id or FROM_THE_BEGINNING
        for _ in range(MAX_PAGES):
            reply = await self._call("GET", f"/2/users/{self._own_id}/mentions", query, bucket="mentions")
            if not reply.is_ok or not isinstance(reply.data, dict):
                raise NetworkTrouble(f"x: the server sends no mentions (status {reply.status})")
            users = {user.get("id"): user for user in _objects(_get_in(reply.data, "includes", "users"))}
            posts = [post for post in _objects(reply.data.get("data")) if str(post.get("id", "")).isdecimal()]
            newest = str(max([int(newest), *(int(post["id"]) for post in posts)]))
            found += [one for post in posts if (one := self._parse(post, users)) is not None]
            token = _get_in(reply.data, "meta", "next_token")
            if last_id is None or not isinstance(token, str):
                break
            query["pagination_token"] = token
        return MentionPage([] if last_id is None else found[::-1], newest)

    async def has_post(self, post: NewPost, mention: Mention | None) -> bool:
        query = {"max_results": "100", "tweet.fields": "referenced_tweets"}
        if mention is not None:
            query["since_id"] = mention.id
        reply = await self._call("GET", f"/2/users/{self._own_id}/tweets", query, bucket="own posts")
        if not reply.is_ok or not isinstance(reply.data, dict):
            raise NetworkTrouble(f"x: the server does not say whether it has a post (status {reply.status})")
        posts = _objects(reply.data.get("data"))
        if mention is None:
            return any(one.get("text") == post.text for one in posts)
        above = [reference for one in posts for reference in _objects(one.get("referenced_tweets"))]
        return any(one.get("type") == "replied_to" and one.get("id") == mention.id for one in above)

    async def send(self, post: NewPost, mention: Mention | None) -> None:
        body: dict[str, Any] = {"text": post.text}
        if mention is not None:
            body["reply"] = {"in_reply_to_tweet_id": mention.id}
        reply = await self._call("POST", "/2/tweets", body=body)
        if not reply.is_ok:
            keys = self._keys
            reason = describe_refusal(reply.data, keys.api_key, keys.api_secret, keys.token, keys.token_secret)
            if "oauth1-permissions" in str(reply.data):
                raise LoginRefused("x: the keys may only read: give the application the right to write, then new keys")
            raise PostRefused(f"status {reply.status}, {reason}")

    def measure(self, text: str) -> int:
        return count_x_characters(text)

    def count_overhead(self, mention: Mention | None) -> int:
        return 0

    async def close(self) -> None:
        await self._client.close()

    def _parse(self, post: Mapping[str, Any], users: Mapping[Any, Mapping[str, Any]]) -> Mention | None:
        author = users.get(post.get("author_id"), {}).get("username")
        if not isinstance(author, str) or not isinstance(post.get("text"), str):
            return None
        text, is_addressed = split_leading_names(post["text"], self.own_names)
        is_own = post.get("author_id") == self._own_id
        return Mention(str(post["id"]), author, text, is_addressed, is_own)

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, bucket: str = ""
    ) -> JsonReply:
        address = self._client.base_url + path
        signature = sign_request(self._keys, method, address, query or {}, secrets.token_hex(16), int(time.time()))
        headers = {"Authorization": signature}
        reply = await self._client.call(method, path, query=query, body=body, headers=headers, bucket=bucket)
        if reply.status == 401:
            raise LoginRefused("x: the server refuses the keys: make new ones for x_keys_file")
        if reply.status == 402:
            raise LoginRefused("x: the account's credit is used up: buy more in the console of X, or set x = false")
        return reply


def _objects(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _get_in(data: Mapping[str, Any], *names: str) -> Any:
    value: Any = data
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
