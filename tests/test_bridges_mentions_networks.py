"""The three networks against servers on the loopback: paging, limits of rate, 401, 5xx, login pages, sessions."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from datetime import time as TimeOfDay
from pathlib import Path
from typing import Any

import pytest
from fakes_daemon import ScriptedModel, split_words
from fakes_irc import ListedQueue
from fakes_mention_servers import (
    LOGIN_PAGE,
    PASSWORD,
    TOKEN,
    Answer,
    FakeBluesky,
    FakeMastodon,
    FakeNetworkServer,
    ask,
    make_server,
    make_settings,
    running_network,
)

from daemon.bridge_config import MentionsConfig
from daemon.bridges.chat_answer import ChatVoice
from daemon.bridges.mentions.bluesky import make_record_key
from daemon.bridges.mentions.json_client import READ_TIMEOUT_S, JsonClient, find_wait
from daemon.bridges.mentions.mention_bridge import FIRST_WAIT_S, MAX_WAIT_S, REFUSED_WAIT_S, MentionBridge, MentionParts
from daemon.bridges.mentions.mention_state import MentionStatus, MentionStore
from daemon.bridges.mentions.network import MentionNetwork
from daemon.bridges.mentions.open_mentions import open_networks, parse_daily
from daemon.bridges.mentions.preview import ReadOnlyStore, preview_posts
from daemon.errors import ConfigError, DaemonError
from daemon.spool.operator import OperatorDesk
from model.interface import Sampling
from tools.mentions import format_account, format_preview

NAMES = ("bluesky", "mastodon", "x")
SECRETS = (TOKEN, PASSWORD, "3cr3t")


@dataclass
class MentionBench:
    """A bridge to one server; `restart` replaces it, as after a kill."""

    name: str
    server: FakeNetworkServer
    folder: Path
    parts: MentionParts
    queue: ListedQueue
    model: ScriptedModel
    bridge: MentionBridge = field(init=False)
    _opened: list[MentionNetwork] = field(default_factory=list)

    def restart(self) -> None:
        [network] = open_networks(MentionsConfig(**make_settings(self.name, self.server, self.folder)), self.folder)
        self._opened.append(network)
        store = MentionStore(self.folder / f"mentions-{self.name}.json")
        self.bridge = MentionBridge(network, store, self.parts, random.Random(1))
        self.bridge.state = store.read()

    async def close(self) -> None:
        for network in self._opened:
            await network.close()


@asynccontextmanager
async def running_bench(name: str, folder: Path, words: str = "It types.", **parts: Any) -> AsyncIterator[MentionBench]:
    """Yields a bench whose bridge has read the account once: what comes now is answered."""
    server, queue = make_server(name), ListedQueue()
    model = ScriptedModel(split_words(words), pause_s=0.0, loading_s=0.0, context=1000)
    async with running_network(server):
        chosen = MentionParts(queue, model, ChatVoice("Robo"), Sampling(length=280), **parts)
        bench = MentionBench(name, server, folder, chosen, queue, model)
        try:
            bench.restart()
            ask(server, "old", "said before the first run")
            assert await bench.bridge.work_once() == chosen.poll_s
            assert server.posts == []
            yield bench
        finally:
            await bench.close()


@pytest.mark.parametrize("name", NAMES)
async def test_a_mention_is_answered_in_its_thread_once_and_comes_to_paper(name: str, tmp_path: Path) -> None:
    async with running_bench(name, tmp_path) as bench:
        number = ask(bench.server, "ada", "what is a platen?")
        for _ in range(3):
            await bench.bridge.work_once()
            bench.restart()
        [(text, above)] = bench.server.posts
        assert above == number
        assert text == {"mastodon": "@ada It types."}.get(name, "It types.")
        [asked, answered] = bench.queue.lines
        assert asked.startswith("ada")
        assert asked.endswith(": what is a platen?")
        assert answered == "Robo: It types."
        assert bench.model.last_prompt.endswith(": what is a platen?\nRobo:")


@pytest.mark.parametrize("name", NAMES)
async def test_many_mentions_in_pages_are_all_read_the_oldest_first(name: str, tmp_path: Path) -> None:
    async with running_bench(name, tmp_path) as bench:
        asked = [ask(bench.server, f"p{number % 7}", f"line {number}") for number in range(225)]
        last_id, read, has_more = bench.bridge.state.last_id, [], True
        while has_more:
            page = await bench.bridge.network.fetch_mentions(last_id)
            last_id, has_more = page.last_id, page.has_more
            read += [mention.id for mention in page.mentions if mention.id not in bench.bridge.state.handled]
        assert read == asked


@pytest.mark.parametrize("name", NAMES)
async def test_the_post_and_its_number_are_on_the_disk_before_it_is_sent(name: str, tmp_path: Path) -> None:
    async with running_bench(name, tmp_path) as bench:
        seen: list[tuple[str, int, str]] = []

        def look() -> None:
            state = bench.bridge.store.read()
            seen.append((state.pending[0].text, state.pending[0].tries, state.last_id or ""))

        bench.server.before_post = look
        ask(bench.server, "ada", "hello")
        await bench.bridge.work_once()
        assert seen == [("It types.", 1, bench.bridge.state.last_id)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_answer_whose_end_is_unknown_is_sent_once(name: str, moment: str, tmp_path: Path) -> None:
    """The server fails before it takes the post, or after that; in between the bridge is made anew."""
    async with running_bench(name, tmp_path) as bench:

        def fail() -> None:
            raise OSError("the server dies")

        number = ask(bench.server, "ada", "hello")
        if moment == "before":
            bench.server.before_post = fail
        else:
            bench.server.after_post = fail
        assert await bench.bridge.work_once() < 10
        bench.server.before_post = bench.server.after_post = lambda: None
        if isinstance(bench.server, FakeMastodon):
            bench.server.keys.clear()  # it knows the key for an hour
        bench.model.words = split_words("Something else.")
        bench.restart()
        if (settle_s := bench.bridge.network.settle_s) > 0:  # no key: it asks when a request under way must have ended
            assert settle_s > READ_TIMEOUT_S
            posts, asked = len(bench.server.posts), len(bench.server.answered())
            assert 0.9 * settle_s < await bench.bridge.work_once() <= settle_s
            assert (len(bench.server.posts), len(bench.server.answered())) == (posts, asked)
            bench.parts = replace(bench.parts, wall_clock=lambda: time.time() + settle_s)
            bench.restart()
        await bench.bridge.work_once()
        assert bench.server.answered() == [number]
        assert "It types." in bench.server.posts[0][0]
        assert bench.queue.lines[-1] == "Robo: It types."


@pytest.mark.parametrize("name", NAMES)
async def test_a_token_that_is_refused_is_told_once_and_read_again(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_bench(name, tmp_path) as bench:
        config = MentionsConfig(**make_settings(name, bench.server, tmp_path))
        file = config.mastodon_token_file or config.bluesky_password_file or config.x_keys_file
        assert file is not None
        good = file.read_text()
        number = ask(bench.server, "ada", "hello")
        bench.server.faults += [(path, Answer(401, {"error": f"bad {TOKEN}"})) for path in ("/api/v1/noti", "/2/us")]
        if isinstance(bench.server, FakeBluesky):
            bench.server.access = bench.server.refresh = "revoked"
            file.write_text("wrong-3cr3t")
        assert await bench.bridge.work_once() == REFUSED_WAIT_S
        file.write_text("\n".join(["wrong-3cr3t"] * (4 if name == "x" else 1)))
        assert await bench.bridge.work_once() == REFUSED_WAIT_S
        assert caplog.text.count("refuses the") == 1
        file.write_text(good)
        assert await bench.bridge.work_once() == bench.parts.poll_s
        assert bench.server.answered() == [number]
        assert "answers again" in caplog.text
        assert bench.bridge.state.status.trouble == ""
    shown = caplog.text + (tmp_path / f"mentions-{name}.json").read_text()
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize("name", NAMES)
async def test_a_login_page_in_place_of_json_is_told_once_in_one_line(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_bench(name, tmp_path) as bench:
        number = ask(bench.server, "ada", "hello")
        pages = [
            Answer(200, LOGIN_PAGE),
            Answer(302, LOGIN_PAGE, {"location": "http://login/"}),
            Answer(511, LOGIN_PAGE),
        ]
        bench.server.faults += [("/", page) for page in pages]
        for _ in pages:
            assert await bench.bridge.work_once() == 60.0
        [line] = [record.getMessage() for record in caplog.records if "login" in record.getMessage()]
        assert "\n" not in line
        assert bench.bridge.state.status.trouble == line
        await bench.bridge.work_once()
        assert bench.server.answered() == [number]


@pytest.mark.parametrize("name", NAMES)
async def test_faults_of_the_server_are_tried_again_with_growing_waits(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_bench(name, tmp_path) as bench:
        number = ask(bench.server, "ada", "hello")
        bench.server.faults += [("/", Answer(503, {"error": "overloaded"})) for _ in range(12)]
        waits = [await bench.bridge.work_once() for _ in range(12)]
        assert 0.75 * FIRST_WAIT_S <= waits[0] <= 1.25 * FIRST_WAIT_S
        assert 0.75 * MAX_WAIT_S <= waits[-1] <= 1.25 * MAX_WAIT_S
        assert len([record for record in caplog.records if "503" in record.getMessage()]) == 1
        await bench.bridge.work_once()
        assert bench.server.answered() == [number]


@pytest.mark.parametrize("name", NAMES)
async def test_a_limit_of_rate_is_kept_and_told_once(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reset = {
        "mastodon": ("X-RateLimit-Reset", datetime.fromtimestamp(time.time() + 120, UTC).isoformat()),
        "bluesky": ("RateLimit-Reset", str(int(time.time()) + 120)),
        "x": ("x-rate-limit-reset", str(int(time.time()) + 120)),
    }[name]
    path = {"mastodon": "/api/v1/statuses", "bluesky": "/xrpc/com.atproto.repo.createR", "x": "/2/tweets"}[name]
    async with running_bench(name, tmp_path) as bench:
        number = ask(bench.server, "ada", "hello")
        bench.server.faults.append((path, Answer(429, {"error": "Too many requests"}, dict([reset]))))
        assert 100 < await bench.bridge.work_once() <= 121
        posts = [call for call in bench.server.calls if call.method == "POST"]
        assert 100 < await bench.bridge.work_once() <= 121
        assert [call for call in bench.server.calls if call.method == "POST"] == posts
        assert caplog.text.count("the limit of requests is reached") == 1
        bench.restart()
        await bench.bridge.work_once()
        assert bench.server.answered() == [number]


async def test_the_last_request_of_a_limit_is_the_last(tmp_path: Path) -> None:
    async with running_bench("mastodon", tmp_path) as bench:
        reset = datetime.fromtimestamp(time.time() + 60, UTC).isoformat()
        limit = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        bench.server.faults.append(("/api/v1/notifications", Answer(200, [], limit)))
        assert await bench.bridge.work_once() == bench.parts.poll_s
        count = len(bench.server.calls)
        assert 50 < await bench.bridge.work_once() <= 60
        assert len(bench.server.calls) == count


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"x-rate-limit-reset": "1120"}, 120.0),
        ({"x-ratelimit-reset": "1970-01-01T00:18:00.000Z"}, 80.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:18:00 GMT"}, 80.0),
        ({"ratelimit-reset": "10"}, 1.0),
        ({"ratelimit-reset": "99999999999"}, 3600.0),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_the_time_until_requests_are_welcome(headers: dict[str, str], wait_s: float | None) -> None:
    assert find_wait(headers, 1000.0) == wait_s


@pytest.mark.parametrize("visibility", ["direct", "private", "public", "unlisted"])
async def test_an_answer_on_mastodon_has_the_visibility_and_the_warning_of_its_mention(
    visibility: str, tmp_path: Path
) -> None:
    async with running_bench("mastodon", tmp_path) as bench:
        assert isinstance(bench.server, FakeMastodon)
        bench.server.ask("ann@far.example", "hello", visibility=visibility, spoiler_text="paper")
        await bench.bridge.work_once()
        [sent] = [call for call in bench.server.calls if call.method == "POST"]
        assert sent.body["visibility"] == visibility
        assert sent.body["spoiler_text"] == "paper"
        assert sent.body["status"] == "@ann@far.example It types."
        assert sent.headers["idempotency-key"].startswith("asr33-mastodon-robo-")
        assert len(bench.queue.lines) == (2 if visibility in ("public", "unlisted") else 0)


async def test_an_answer_has_whole_sentences_within_the_limit_that_the_server_names(tmp_path: Path) -> None:
    sentences = " ".join(f"Sentence number {number} is here." for number in range(40))
    async with running_bench("mastodon", tmp_path, sentences) as bench:
        assert isinstance(bench.server, FakeMastodon)
        bench.server.max_characters = 120
        bench.restart()
        bench.server.ask("ann", "hello")
        await bench.bridge.work_once()
        [(text, _)] = bench.server.posts
        assert text.startswith("@ann Sentence number 0 is here. Sentence")
        assert text.endswith("is here.")
        assert 80 < len(text) <= 120


async def test_people_who_wait_for_a_permission_and_a_missing_mark_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running_bench("mastodon", tmp_path) as bench:
        assert isinstance(bench.server, FakeMastodon)
        bench.server.requests, bench.server.is_marked = 3, False
        bench.restart()
        await bench.bridge.work_once()
        status = bench.bridge.store.read().status
        assert (status.requests, status.is_marked) == (3, False)
        assert "3 people wait" in caplog.text
        assert "not marked as an automated account" in caplog.text


async def test_an_answer_to_a_message_that_is_gone_is_left_out_and_the_next_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_bench("mastodon", tmp_path) as bench:
        assert isinstance(bench.server, FakeMastodon)
        gone, there = ask(bench.server, "ada", "one"), ask(bench.server, "bob", "two")
        del bench.server.statuses[gone]
        await bench.bridge.work_once()
        assert bench.server.answered() == [there]
        assert bench.bridge.state.pending == []
        assert "a message of ada is left out" in caplog.text


async def test_fifty_restarts_and_twenty_expiries_make_one_bluesky_session(tmp_path: Path) -> None:
    async with running_bench("bluesky", tmp_path) as bench:
        assert isinstance(bench.server, FakeBluesky)
        for number in range(50):
            bench.restart()
            if number % 5 < 2:
                bench.server.expire()
            if number % 10 == 0:
                ask(bench.server, f"p{number}", "hello")
            await bench.bridge.work_once()
        assert bench.server.sessions == 1
        assert bench.server.refreshes == 20
        assert len(bench.server.posts) == 5
        file = tmp_path / "mentions-bluesky.session"
        assert file.stat().st_mode & 0o777 == 0o600
        assert PASSWORD not in file.read_text()


async def test_a_session_that_is_too_old_to_be_refreshed_is_opened_anew(tmp_path: Path) -> None:
    async with running_bench("bluesky", tmp_path) as bench:
        assert isinstance(bench.server, FakeBluesky)
        bench.server.access = bench.server.refresh = "revoked"
        ask(bench.server, "ada", "hello")
        await bench.bridge.work_once()
        assert bench.server.sessions == 2
        assert len(bench.server.posts) == 1


async def test_an_answer_on_bluesky_is_in_the_thread_with_a_record_key_of_its_own(tmp_path: Path) -> None:
    async with running_bench("bluesky", tmp_path) as bench:
        assert isinstance(bench.server, FakeBluesky)
        root = {"uri": "at://did:plc:x/app.bsky.feed.post/1", "cid": "c1"}
        uri = bench.server.mention("ada", "and then?", "reply", record={"reply": {"root": root, "parent": root}})
        bench.server.mention("ann", "nice", "like")
        bot = {"did": "did:plc:bot", "val": "bot", "src": "did:plc:bot"}
        bench.server.mention("bot", "@robo.bsky.social hi", labels=[bot])
        await bench.bridge.work_once()
        [(key, record)] = bench.server.records.items()
        assert record["reply"]["root"] == root
        assert record["reply"]["parent"]["uri"] == uri
        assert record["createdAt"].endswith("Z")
        assert key == make_record_key(f"asr33-bluesky-did:plc:robo-{uri}")
        assert len(key) == 13
        assert key[0] in "234567abcdefghij"


async def test_an_answer_on_x_has_no_link_and_costs_one_post(tmp_path: Path) -> None:
    async with running_bench("x", tmp_path, "Look at https://a.example now.See b.com or @ann.") as bench:
        ask(bench.server, "ada", "hello")
        await bench.bridge.work_once()
        assert [text for text, _ in bench.server.posts] == ["Look at now. See b. com or ann."]
        assert not [call for call in bench.server.calls if call.path.endswith("/42/tweets")]


@pytest.mark.parametrize("name", NAMES)
async def test_a_daily_post_is_made_once_a_day_over_a_kill(name: str, tmp_path: Path) -> None:
    now = datetime(2026, 11, 30, 8, 0, tzinfo=UTC).timestamp()
    parts = {"daily_at": TimeOfDay(9), "daily_prompt": "What is new?", "zone": UTC, "wall_clock": lambda: now}
    async with running_bench(name, tmp_path, **parts) as bench:

        def fail() -> None:
            raise OSError("the server dies")

        now += 2 * 3600
        bench.server.after_post = fail
        await bench.bridge.work_once()
        bench.server.after_post = lambda: None
        for _ in range(3):
            bench.restart()
            await bench.bridge.work_once()
        assert bench.server.posts == [("It types.", "")]
        assert bench.model.last_prompt.startswith("You: What is new?")
        now += 24 * 3600
        await bench.bridge.work_once()
        assert len(bench.server.posts) == 2


async def test_help_wrong_forms_and_bots(tmp_path: Path) -> None:
    async with running_bench("mastodon", tmp_path) as bench:
        assert isinstance(bench.server, FakeMastodon)
        bench.server.ask("ada", "help")
        for _ in range(2):
            bench.server.mention("bob", "<p>I like @robo a lot</p>")
        bench.server.ask("other-bot", "hello", bot=True)
        await bench.bridge.work_once()
        texts = [text for text, _ in bench.server.posts]
        assert [text.split()[0] for text in texts] == ["@ada", "@bob"]
        assert "Begin a message with my name, robo" in texts[0]
        assert "did not understand" in texts[1]
        assert bench.model.prompts == 0


async def test_a_damaged_file_is_an_error_with_a_cure_and_no_second_answer(tmp_path: Path) -> None:
    store = MentionStore(tmp_path / "mentions-x.json")
    for damaged in (b"", b"{}", b'{"version": 1}', b"[]", b"\xff"):
        store.path.write_bytes(damaged)
        with pytest.raises(DaemonError, match="move it away"):
            store.read()


async def test_a_preview_shows_the_answers_and_sends_and_notes_nothing(tmp_path: Path) -> None:
    async with running_bench("mastodon", tmp_path) as bench:
        assert isinstance(bench.server, FakeMastodon)
        before = bench.bridge.store.path.read_bytes()
        bench.server.ask("ada", "hello")
        bench.server.ask("bot", "hello", bot=True)
        preview = MentionBridge(bench.bridge.network, ReadOnlyStore(bench.bridge.store.path), bench.parts)
        shown = [format_preview("mastodon", post) async for post in preview_posts(preview)]
        assert shown == [
            "mastodon: bot (public): hello\n  a bot\n",
            "mastodon: ada (public): hello\n  answer: It types.\n",
        ]
        assert bench.server.posts == []
        assert bench.bridge.store.path.read_bytes() == before


def test_the_status_of_an_account_is_a_line_and_one_for_each_thing_to_do() -> None:
    status = MentionStatus("@robo@m.example", 500, False, 3, "mastodon: the server refuses the token", 7, 1)
    lines = list(format_account("mastodon", status, 2))
    assert lines[0] == "mastodon: @robo@m.example, 500 characters a post, 7 posts, 2 due, 1 left out"
    assert lines[1] == "  trouble: mastodon: the server refuses the token"
    assert "automated account" in lines[2]
    assert "3 people wait" in lines[3]
    assert len(list(format_account("x", MentionStatus("@robo", 280, None), 0))) == 1


async def test_a_name_that_leaves_no_room_and_a_post_that_is_there_already_stop_nothing(tmp_path: Path) -> None:
    async with running_bench("mastodon", tmp_path) as bench:
        assert isinstance(bench.server, FakeMastodon)
        bench.server.ask("a" * 490, "hello")
        number = bench.server.ask("ada", "hello")
        there = {"id": "9", "account": bench.server.own, "content": "It types.", "in_reply_to_id": number}
        bench.server.statuses["9"] = there  # of a request that was under way
        bench.server.faults.append(("/api/v1/statuses", Answer(422, {"error": "duplicate"})))
        await bench.bridge.work_once()
        assert bench.server.posts == []
        assert (bench.bridge.state.status.answered, bench.bridge.state.status.dropped) == (1, 1)
        assert bench.queue.lines[-1] == "Robo: It types."


async def test_the_trouble_of_a_bridge_is_in_the_status_and_on_paper_until_it_ends() -> None:
    desk, printed = OperatorDesk(), []

    async def print_message(text: str) -> None:
        printed.append(text)

    desk.show_trouble("x", "x: the limit of requests is reached")
    await desk.print_queue(print_message)
    desk.show_trouble("x", "")
    await desk.print_queue(print_message)
    assert printed[0].endswith("-- x: the limit of requests is reached --\n")
    assert "limit" not in printed[1]


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({"mastodon": "m.example"}, "mastodon_token_file: name the file"),
        ({"mastodon": "m.example", "mastodon_token_file": Path("/gone")}, "No such file"),
        ({"mastodon": "m.example", "mastodon_token_file": Path("/dev/null")}, "on one line"),
        ({"x": True, "x_keys_file": Path("/dev/null")}, "the 4 keys there, one a line"),
        ({"bluesky": "a.b", "bluesky_server": "http://far.example"}, "https://HOST"),
    ],
)
def test_a_wrong_setting_is_an_error_with_a_cure(settings: dict[str, Any], cure: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=cure):
        list(open_networks(MentionsConfig(**settings), tmp_path))


@pytest.mark.parametrize("daily", ["25:00", "morning", "8"])
def test_a_daily_post_has_a_time(daily: str) -> None:
    with pytest.raises(ConfigError, match="08:30"):
        parse_daily(daily)


def test_a_token_goes_over_plain_http_to_this_computer_alone() -> None:
    JsonClient("mastodon", "http://127.0.0.1:80")
    for url in ("http://m.example", "ftp://m.example", "m"):
        with pytest.raises(ConfigError, match="https://HOST"):
            JsonClient("mastodon", url)
