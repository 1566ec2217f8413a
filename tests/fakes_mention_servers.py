"""Mastodon, Bluesky and X on the loopback, as far as their documents say how they behave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from fakes_teletype import wait_until

from daemon.bridges.mentions.oauth1 import OAuth1Keys, sign_request
from model.server.http.connections import ConnectionLimiter
from model.server.http.server import HardenedServer
from model.server.http.sockets import bind_sockets

TOKEN, PASSWORD = "tok-3cr3t-mastodon", "pass-3cr3t-word"
KEYS = OAuth1Keys("xk-3cr3t-a", "xk-3cr3t-b", "xt-3cr3t-c", "xt-3cr3t-d")
LOGIN_PAGE = b"<!DOCTYPE html><html><body>Welcome to the hotel. Please log in.</body></html>"


@dataclass
class Answer:
    """What a server sends."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def kind(self) -> str:
        return "text/html" if isinstance(self.body, bytes) else "application/json; charset=utf-8"


@dataclass
class Call:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeNetworkServer:
    """One server. `faults` are sent in place of the next answers, to paths that begin so; `on_post` runs at a post.

    `posts` are the texts that it has accepted, each with the message that it answers, or "".
    """

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    posts: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[str, Answer]] = field(default_factory=list)
    before_post: Callable[[], None] = lambda: None
    after_post: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answered(self) -> list[str]:
        return [above for _, above in self.posts if above]

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        data, more = b"", True
        while more:
            message = await receive()
            data, more = data + message.get("body", b""), message.get("more_body", False)
        call = Call(
            scope["method"],
            scope["path"],
            dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
            {name.decode(): value.decode() for name, value in scope["headers"]},
            json.loads(data) if data else None,
        )
        self.calls.append(call)
        answer = self._take_fault(call.path) or self.respond(call)
        headers = [(b"content-type", answer.kind.encode()), (b"content-length", str(len(answer.data)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.data})

    def _take_fault(self, path: str) -> Answer | None:
        for number, (prefix, answer) in enumerate(self.faults):
            if path.startswith(prefix):
                del self.faults[number]
                return answer
        return None

    def respond(self, call: Call) -> Answer:
        raise NotImplementedError

    def accept_post(self, text: str, above: str) -> None:
        self.posts.append((text, above))
        self.after_post()


@dataclass
class FakeMastodon(FakeNetworkServer):
    """docs.joinmastodon.org: methods notifications, statuses, accounts, instance; rate-limits."""

    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    max_characters: int = 500
    is_marked: bool = True
    requests: int = 0
    _last_id: int = 1000
    own: dict[str, Any] = field(default_factory=lambda: {"id": "7", "acct": "robo", "bot": True})

    def mention(self, author: str, content: str, **status: Any) -> str:
        """Adds a message to the account; returns its number. `content` is HTML."""
        account = {"id": f"a-{author}", "acct": author, "bot": status.pop("bot", False)}
        self._last_id += 1
        number = str(self._last_id)
        self.statuses[number] = {
            "id": number,
            "account": account,
            "content": content,
            "visibility": "public",
            "spoiler_text": "",
            "language": "en",
            "in_reply_to_id": None,
        } | status
        self._last_id += 1
        note = {"id": str(self._last_id), "type": "mention", "account": account, "status": self.statuses[number]}
        self.notes.append(note)
        return number

    def ask(self, author: str, text: str, **status: Any) -> str:
        link = '<p><span class="h-card"><a href="https://m.example/@robo" class="u-url mention">@<span>robo</span></a>'
        return self.mention(author, f"{link}</span> {text}</p>", **status)

    def respond(self, call: Call) -> Answer:
        if call.path == "/api/v2/instance":
            limits = {"statuses": {"max_characters": self.max_characters}}
            return Answer(200, {"domain": "m.example", "configuration": limits})
        if call.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, {"error": "The access token is invalid"})
        match call.path.split("/")[1:]:
            case ["api", "v1", "accounts", "verify_credentials"]:
                return Answer(200, self.own | {"bot": self.is_marked})
            case ["api", "v2", "notifications", "policy"]:
                return Answer(200, {"summary": {"pending_requests_count": self.requests}})
            case ["api", "v1", "notifications"]:
                return Answer(200, self._page(call.query), {"X-RateLimit-Remaining": "299"})
            case ["api", "v1", "statuses"]:
                return self._post(call)
            case ["api", "v1", "statuses", number, "context"]:
                if number not in self.statuses:
                    return Answer(404, {"error": "Record not found"})
                below = [one for one in self.statuses.values() if one["in_reply_to_id"] == number]
                return Answer(200, {"ancestors": [], "descendants": below})
            case ["api", "v1", "accounts", number, "statuses"]:
                own = [one for one in self.statuses.values() if one["account"]["id"] == number]
                return Answer(200, own[::-1])
        return Answer(404, {"error": "Not found"})

    def _page(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """`min_id`: the page of the next newer ones; the newest is first in any case."""
        limit = min(int(query.get("limit", "40")), 80)
        fresh = [note for note in self.notes if int(note["id"]) > int(query.get("min_id", "0"))]
        return (fresh[:limit] if "min_id" in query else fresh[-limit:])[::-1]

    def _post(self, call: Call) -> Answer:
        body, key = call.body, call.headers.get("idempotency-key", "")
        self.before_post()
        if key and key in self.keys:
            return Answer(200, self.keys[key])
        above = body.get("in_reply_to_id")
        if above is not None and above not in self.statuses:
            return Answer(404, {"error": "The post you are trying to reply to does not appear to exist"})
        if len(body["status"] + body.get("spoiler_text", "")) > self.max_characters:
            return Answer(422, {"error": "Validation failed: Text character limit of 500 exceeded"})
        self._last_id += 1
        status = {
            "id": str(self._last_id),
            "account": self.own,
            "content": f"<p>{body['status']}</p>",
            "visibility": body.get("visibility", "public"),
            "spoiler_text": body.get("spoiler_text", ""),
            "in_reply_to_id": above,
        }
        self.statuses[status["id"]] = status
        if key:
            self.keys[key] = status
        self.accept_post(body["status"], above or "")
        return Answer(200, status)


@dataclass
class FakeBluesky(FakeNetworkServer):
    """docs.bsky.app and atproto's lexicons: sessions, notifications, records, rate limits."""

    notes: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    labels: list[dict[str, Any]] = field(default_factory=list)
    sessions: int = 0
    refreshes: int = 0
    access: str = ""
    refresh: str = ""
    did: str = "did:plc:robo"

    def mention(self, author: str, text: str, reason: str = "mention", **note: Any) -> str:
        number = len(self.notes) + 1
        uri = f"at://did:plc:{author}/app.bsky.feed.post/{number}"
        author_view = {"did": f"did:plc:{author}", "handle": f"{author}.bsky.social", "labels": note.pop("labels", [])}
        self.notes.append(
            {
                "uri": uri,
                "cid": f"cid{number}",
                "author": author_view,
                "reason": reason,
                "record": {"text": text, "langs": ["en"], "createdAt": "x"} | note.pop("record", {}),
                "isRead": False,
                "indexedAt": f"2026-11-30T{8 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000Z",
            }
            | note
        )
        return uri

    def expire(self) -> None:
        """Lets the access token expire, as it does after two hours."""
        self.access = "expired"

    def respond(self, call: Call) -> Answer:
        method = call.path.removeprefix("/xrpc/")
        bearer = call.headers.get("authorization", "").removeprefix("Bearer ")
        if method == "com.atproto.server.createSession":
            if call.body.get("password") != PASSWORD:
                return Answer(401, {"error": "AuthenticationRequired", "message": "Invalid identifier or password"})
            self.sessions += 1
            return self._open_session()
        if method == "com.atproto.server.refreshSession":
            if bearer != self.refresh:
                return Answer(400, {"error": "ExpiredToken", "message": "Token has been revoked"})
            self.refreshes += 1
            return self._open_session()
        if bearer != self.access:
            return Answer(400, {"error": "ExpiredToken", "message": "Token has expired"})
        limit = {"RateLimit-Remaining": "2999"}
        match method:
            case "app.bsky.actor.getProfile":
                return Answer(200, {"did": self.did, "handle": "robo.bsky.social", "labels": self.labels}, limit)
            case "app.bsky.notification.listNotifications":
                return Answer(200, self._page(call.query), limit)
            case "com.atproto.repo.getRecord":
                record = self.records.get(call.query["rkey"])
                missing = {"error": "RecordNotFound", "message": "Could not locate record"}
                return Answer(400, missing) if record is None else Answer(200, {"uri": "at://x", "value": record})
            case "com.atproto.repo.createRecord":
                return self._create(call)
        return Answer(404, {"error": "XRPCNotSupported"})

    def _open_session(self) -> Answer:
        number = self.sessions + self.refreshes
        self.access, self.refresh = f"acc-3cr3t-{number}", f"ref-3cr3t-{number}"
        names = {"did": self.did, "handle": "robo.bsky.social"}
        return Answer(200, names | {"accessJwt": self.access, "refreshJwt": self.refresh})

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The newest first; the cursor leads to older ones."""
        end, limit = int(query.get("cursor", len(self.notes))), int(query["limit"])
        page = self.notes[max(0, end - limit) : end][::-1]
        return {"notifications": page} | ({"cursor": str(end - limit)} if end > limit else {})

    def _create(self, call: Call) -> Answer:
        body = call.body
        self.before_post()
        if body["rkey"] in self.records:
            return Answer(500, {"error": "InternalServerError", "message": "Internal Server Error"})
        self.records[body["rkey"]] = body["record"]
        self.accept_post(body["record"]["text"], body["record"].get("reply", {}).get("parent", {}).get("uri", ""))
        return Answer(200, {"uri": f"at://{self.did}/app.bsky.feed.post/{body['rkey']}", "cid": "c"})


@dataclass
class FakeX(FakeNetworkServer):
    """docs.x.com: users/me, users/:id/mentions, users/:id/tweets, tweets; signed by OAuth 1.0a."""

    tweets: list[dict[str, Any]] = field(default_factory=list)
    own: list[dict[str, Any]] = field(default_factory=list)
    _last_id: int = 1_800_000_000_000_000_000

    def mention(self, author: str, text: str) -> str:
        self._last_id += 1
        self.tweets.append(
            {"id": str(self._last_id), "author_id": str(900 + sum(author.encode())), "text": text, "lang": "en"}
        )
        self.tweets[-1]["username"] = author
        return str(self._last_id)

    def respond(self, call: Call) -> Answer:
        if not self._is_signed(call):
            return Answer(401, {"title": "Unauthorized", "status": 401})
        match call.path.split("/")[1:]:
            case ["2", "users", "me"]:
                return Answer(200, {"data": {"id": "42", "username": "robo"}})
            case ["2", "users", "42", "mentions"]:
                return Answer(200, self._page(call.query), {"x-rate-limit-remaining": "179"})
            case ["2", "users", "42", "tweets"]:
                fresh = [one for one in self.own if int(one["id"]) > int(call.query.get("since_id", "0"))]
                return Answer(200, {"data": fresh[::-1], "meta": {}})
            case ["2", "tweets"]:
                return self._post(call)
        return Answer(404, {"title": "Not Found Error"})

    def _is_signed(self, call: Call) -> bool:
        words = dict(part.split("=", 1) for part in call.headers.get("authorization", "OAuth ")[6:].split(", ") if part)
        signed = {name: unquote(value.strip('"')) for name, value in words.items()}
        nonce, timestamp = signed.get("oauth_nonce", ""), int(signed.get("oauth_timestamp", "0"))
        wanted = sign_request(KEYS, call.method, self.url + call.path, call.query, nonce, timestamp)
        return wanted == call.headers.get("authorization")

    def _page(self, query: Mapping[str, str]) -> dict[str, Any]:
        fresh = [one for one in self.tweets if int(one["id"]) > int(query.get("since_id", "0"))][::-1]
        start, limit = int(query.get("pagination_token", "0")), int(query["max_results"])
        page = fresh[start : start + limit]
        users = [{"id": one["author_id"], "username": one["username"]} for one in page]
        meta = {"result_count": len(page)} | ({"next_token": str(start + limit)} if start + limit < len(fresh) else {})
        shown = [{name: value for name, value in one.items() if name != "username"} for one in page]
        return {"data": shown, "includes": {"users": users}, "meta": meta} if page else {"meta": meta}

    def _post(self, call: Call) -> Answer:
        above = call.body.get("reply", {}).get("in_reply_to_tweet_id", "")
        self.before_post()
        self._last_id += 1
        references = [{"type": "replied_to", "id": above}] if above else []
        self.own.append({"id": str(self._last_id), "text": call.body["text"], "referenced_tweets": references})
        self.accept_post(call.body["text"], above)
        return Answer(201, {"data": {"id": str(self._last_id), "text": call.body["text"]}})


def ask(server: FakeNetworkServer, author: str, text: str) -> str:
    """Lets a person write to the account; returns the number of the message."""
    if isinstance(server, FakeMastodon):
        return server.ask(author, text)
    if isinstance(server, FakeBluesky):
        return server.mention(author, f"@robo.bsky.social {text}")
    assert isinstance(server, FakeX)
    return server.mention(author, f"@robo {text}")


def make_server(name: str) -> FakeNetworkServer:
    return {"mastodon": FakeMastodon, "bluesky": FakeBluesky, "x": FakeX}[name]()


def make_settings(name: str, server: FakeNetworkServer, folder: Path) -> dict[str, Any]:
    """Returns the keys of [mentions] for one account, whose secret is in a file of the folder."""
    keys = [getattr(KEYS, one) for one in KEYS.__slots__]
    file = folder / f"{name}.secret"
    file.write_text({"mastodon": TOKEN, "bluesky": PASSWORD, "x": "\n".join(keys)}[name] + "\n")
    chosen: dict[str, dict[str, Any]] = {
        "mastodon": {"mastodon": server.url, "mastodon_token_file": file},
        "bluesky": {"bluesky": "robo.bsky.social", "bluesky_server": server.url, "bluesky_password_file": file},
        "x": {"x": True, "x_server": server.url, "x_keys_file": file},
    }
    return chosen[name]


@asynccontextmanager
async def running_network(server: FakeNetworkServer) -> AsyncIterator[None]:
    """Serves it on a free port."""
    http_server = HardenedServer(server, ConnectionLimiter())
    sockets = bind_sockets("127.0.0.1", 0)
    server.port = sockets[0].getsockname()[1]
    serving = asyncio.ensure_future(http_server.serve_sockets(sockets))
    await wait_until(lambda: http_server.started)
    try:
        yield
    finally:
        http_server.stop()
        await serving
