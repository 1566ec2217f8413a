"""Bluesky: the XRPC of atproto, with an app password.

A session is kept on the disk and refreshed: a server allows few new ones a day. Each post has a record key that follows
from its mention, so that the server tells whether it has it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.bridges.mentions.json_client import JsonClient, JsonReply, describe_refusal
from daemon.bridges.mentions.mention import Mention, MentionPage, NetworkAccount, NewPost
from daemon.bridges.mentions.mention_state import write_private
from daemon.bridges.mentions.network import LoginRefused, NetworkTrouble, PostRefused
from daemon.bridges.mentions.post_text import count_graphemes, split_leading_names

LIMIT = 300  # graphemes, in the lexicon app.bsky.feed.post; and 3,000 bytes, which an answer never has
PAGE_SIZE, MAX_PAGES = 50, 20
OVERLAP_S = 600.0  # of two readings of the list
THE_BEGINNING = "1970-01-01T00:00:00.000Z"
POSTS = "app.bsky.feed.post"
_TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"
_EXPIRED = ("ExpiredToken", "InvalidToken")


@dataclass(slots=True)
class BlueskySession:
    """What the server gave for the password. Both tokens are secret."""

    did: str
    handle: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)


class BlueskyNetwork:
    """Implements `MentionNetwork`."""

    name = "bluesky"
    settle_s = 0.0  # the same key is the same post

    def __init__(self, client: JsonClient, identifier: str, read_password: Callable[[], str], file: Path) -> None:
        """`file` keeps the session."""
        self.own_names: Sequence[str] = ()
        self._client, self._identifier, self._read_password, self._file = client, identifier, read_password, file
        self._session: BlueskySession | None = None

    async def open_account(self) -> NetworkAccount:
        session = await self._open_session()
        profile = await self._get("app.bsky.actor.getProfile", {"actor": session.did})
        data = profile.data if profile.is_ok and isinstance(profile.data, dict) else {}
        handle = str(data.get("handle") or session.handle)
        self.own_names = (handle, session.did)
        return NetworkAccount(f"@{handle}", LIMIT, _is_labelled_bot(data))

    async def fetch_mentions(self, last_id: str | None) -> MentionPage:
        """The list begins with the newest; `last_id` is the time at which the last one came.

        The index of the network is made by many: a message may come a little later with an earlier time. So the last
        minutes are read again.
        """
        found: dict[str, Mention] = {}
        newest, since, cursor = last_id or "", last_id and _subtract_overlap(last_id), ""
        for _ in range(MAX_PAGES):
            query = {"limit": str(PAGE_SIZE)} | ({"cursor": cursor} if cursor else {})
            reply = await self._get("app.bsky.notification.listNotifications", query)
            notes = reply.data.get("notifications") if isinstance(reply.data, dict) else None
            if not reply.is_ok or not isinstance(notes, list):
                raise NetworkTrouble(f"bluesky: the server sends no list of notifications (status {reply.status})")
            timed = [(str(note.get("indexedAt", "")), note) for note in notes if isinstance(note, dict)]
            newest = max([newest, *(at for at, _ in timed)])
            since = since or _subtract_overlap(newest)
            fresh = [note for at, note in timed if at >= since]
            for mention in map(self._parse, fresh):
                if mention is not None:
                    found.setdefault(mention.id, mention)
            cursor = str(reply.data.get("cursor") or "")
            if not fresh or not cursor:
                break
        return MentionPage(list(reversed(found.values())), newest or THE_BEGINNING)

    async def has_post(self, post: NewPost, mention: Mention | None) -> bool:
        query = {"repo": self._require_session().did, "collection": POSTS, "rkey": make_record_key(post.key)}
        reply = await self._get("com.atproto.repo.getRecord", query)
        if reply.is_ok:
            return True
        if reply.status in (400, 404):
            return False
        raise NetworkTrouble(f"bluesky: the server does not say whether it has a post (status {reply.status})")

    async def send(self, post: NewPost, mention: Mention | None) -> None:
        record: dict[str, Any] = {
            "$type": POSTS,
            "text": post.text,
            "createdAt": _format_time(datetime.now(UTC)),
        }
        if mention is not None:
            record["reply"] = dict(mention.reply)
        key = make_record_key(post.key)
        body = {"repo": self._require_session().did, "collection": POSTS, "rkey": key, "record": record}
        reply = await self._call("POST", "com.atproto.repo.createRecord", body=body)
        if not reply.is_ok:
            session = self._require_session()
            reason = describe_refusal(reply.data, session.access, session.refresh)
            raise PostRefused(f"status {reply.status}, {reason}")

    def measure(self, text: str) -> int:
        return count_graphemes(text)

    def count_overhead(self, mention: Mention | None) -> int:
        return 0  # an answer in the thread reaches its author without a name

    async def close(self) -> None:
        await self._client.close()

    def _parse(self, note: Mapping[str, Any]) -> Mention | None:
        author, record = note.get("author"), note.get("record")
        if note.get("reason") not in ("mention", "reply") or not isinstance(author, dict):
            return None
        uri, cid, handle = note.get("uri"), note.get("cid"), author.get("handle")
        if not isinstance(record, dict) or not all(isinstance(one, str) and one for one in (uri, cid, handle)):
            return None
        own = {"uri": uri, "cid": cid}
        above = record.get("reply")
        root = above.get("root") if isinstance(above, dict) else None
        text, is_addressed = split_leading_names(str(record.get("text", "")), self.own_names)
        return Mention(
            str(uri),
            str(handle),
            text,
            is_addressed or note.get("reason") == "reply",
            _is_labelled_bot(author) or author.get("did") == self._require_session().did,
            reply={"root": root if _is_reference(root) else own, "parent": own},
        )

    # The session.

    def _require_session(self) -> BlueskySession:
        if self._session is None:
            raise NetworkTrouble("bluesky: no session")
        return self._session

    async def _open_session(self) -> BlueskySession:
        """Returns the session of an earlier run, or a new one."""
        if self._session is None:
            self._session = self._read_session()
        if self._session is None:
            body = {"identifier": self._identifier, "password": self._read_password()}
            reply = await self._client.call("POST", "/xrpc/com.atproto.server.createSession", body=body)
            self._session = self._take_session(reply)
            if self._session is None:
                raise LoginRefused(
                    "bluesky: the server refuses the password: make a new app password for bluesky_password_file"
                )
        return self._session

    async def _refresh_session(self) -> None:
        """Replaces the tokens; a session that is too old for that is opened anew."""
        session = self._require_session()
        headers = {"Authorization": f"Bearer {session.refresh}"}
        reply = await self._client.call("POST", "/xrpc/com.atproto.server.refreshSession", headers=headers)
        self._session = self._take_session(reply)
        if self._session is None:
            self._file.unlink(missing_ok=True)
            await self._open_session()

    def _take_session(self, reply: JsonReply) -> BlueskySession | None:
        """Returns the session of a reply, and keeps it; None if the server refuses."""
        data = reply.data
        names = ("did", "handle", "accessJwt", "refreshJwt")
        if not reply.is_ok and reply.status in (400, 401, 403):
            return None
        if not reply.is_ok or not isinstance(data, dict) or not all(isinstance(data.get(name), str) for name in names):
            raise NetworkTrouble(f"bluesky: the server opens no session (status {reply.status})")
        session = BlueskySession(*(data[name] for name in names))
        write_private(self._file, json.dumps({**asdict(session), "identifier": self._identifier}).encode())
        return session

    def _read_session(self) -> BlueskySession | None:
        try:
            values = json.loads(self._file.read_bytes())
            if values.pop("identifier") != self._identifier:
                return None  # another account was configured
            return BlueskySession(**values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    async def _get(self, method: str, query: Mapping[str, str]) -> JsonReply:
        return await self._call("GET", method, query=query)

    async def _call(self, verb: str, method: str, **parts: Any) -> JsonReply:
        """Calls a method; an access token that has expired, after two hours or so, is refreshed once."""
        for is_last in (False, True):
            headers = {"Authorization": f"Bearer {self._require_session().access}"}
            reply = await self._client.call(verb, f"/xrpc/{method}", headers=headers, **parts)
            error = reply.data.get("error") if isinstance(reply.data, dict) else None
            if reply.status != 401 and not (reply.status == 400 and error in _EXPIRED):
                return reply
            if not is_last:
                await self._refresh_session()
        raise LoginRefused("bluesky: the server refuses the session: make a new app password for bluesky_password_file")


def make_record_key(key: str) -> str:
    """Returns the record key of a post: the same for the same post, in the form of a TID (13 digits of 5 bits)."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) >> 1  # the highest bit of a TID is 0
    return "".join(_TID_DIGITS[(number >> shift) & 31] for shift in range(60, -5, -5))


def _subtract_overlap(moment: str) -> str:
    """Returns a time of the server, less the overlap, in the same form; as it is if it has another form."""
    try:
        earlier = datetime.fromisoformat(moment) - timedelta(seconds=OVERLAP_S)
    except (ValueError, OverflowError):
        return moment
    return _format_time(earlier.astimezone(UTC))


def _format_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_labelled_bot(profile: Mapping[str, Any]) -> bool:
    """Whether an account has given itself the label of bots."""
    labels = profile.get("labels")
    return isinstance(labels, list) and any(
        isinstance(label, dict) and label.get("val") == "bot" and label.get("src") == profile.get("did")
        for label in labels
    )


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("uri"), str) and isinstance(value.get("cid"), str)
