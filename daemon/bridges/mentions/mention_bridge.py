"""The bridge of one account: it reads mentions, answers them exactly once, and tells its troubles once.

Before anything is sent, the file has the mention, the answer and its key. After a kill the network is asked whether it
has the answer already.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from datetime import time as TimeOfDay
from pathlib import Path

from daemon.bridges.chat_answer import ChatAnswer, ChatVoice, answer_room
from daemon.bridges.chat_text import clean_name, cut_to_sentences
from daemon.bridges.mentions.mention import Mention, MentionPage, NetworkAccount, PendingPost
from daemon.bridges.mentions.mention_rules import (
    MentionRules,
    decide,
    find_daily_key,
    fit_names,
    make_fixed_answer,
)
from daemon.bridges.mentions.mention_state import MentionState, MentionStore
from daemon.bridges.mentions.network import LoginRefused, MentionNetwork, NetworkTrouble, PostRefused
from daemon.bridges.mentions.post_text import MIN_ROOM, fit_mark, tidy_answer
from daemon.bridges.print_queue import PrintQueue
from daemon.people import ForgetScope
from model.errors import ModelError
from model.interface import Model, Sampling

MAX_PENDING = 200  # answers that are due; more mentions wait on the server
MAX_EMPTY_ANSWERS = 5  # of the model to one mention, each with another seed
FIRST_WAIT_S, MAX_WAIT_S = 5.0, 600.0  # after a trouble
REFUSED_WAIT_S = 600.0  # the operator may put a new token into the file
ACCOUNT_INTERVAL_S = 1_800.0  # the account, its limit and the requests to it are asked again

_log = logging.getLogger("asr33")


@dataclass(frozen=True, slots=True)
class MentionParts:
    """What the bridge uses of the daemon. `queue` None: nothing comes to paper."""

    queue: PrintQueue | None
    model: Model
    voice: ChatVoice
    sampling: Sampling
    is_model_free: Callable[[], bool] = lambda: True
    note_answer: Callable[[str, PendingPost, ChatAnswer], None] = lambda network, pending, answer: None
    show_trouble: Callable[[str, str], None] = lambda network, trouble: None
    keep_s: float = 86_400.0
    poll_s: float = 60.0
    ignored: frozenset[str] = frozenset()
    person_hour: int = 6
    daily_at: TimeOfDay | None = None
    daily_prompt: str = ""
    make_mark: Callable[[str, int, str], str] = lambda network, seed, prompt: ""  # the receipt of a post
    zone: tzinfo | None = None
    is_clock_set: Callable[[], bool] = lambda: True
    wall_clock: Callable[[], float] = time.time


@dataclass(slots=True)
class MentionBridge:
    """One account on one network."""

    network: MentionNetwork
    store: MentionStore
    parts: MentionParts
    rng: random.Random = field(default_factory=random.Random)
    state: MentionState = field(default_factory=MentionState)
    _account: NetworkAccount | None = None
    rules: MentionRules = field(default_factory=lambda: MentionRules(frozenset()))
    _account_at: float = float("-inf")
    _failures: int = 0

    async def run(self) -> None:
        """Answers until it is cancelled. Raises DaemonError for a damaged file, OSError for a full disk."""
        self.state = self.store.read()
        self.state.status.trouble = ""  # each run tells it
        while True:
            wait_s = await self.work_once()
            await asyncio.sleep(wait_s)

    async def work_once(self) -> float:
        """Reads and answers what there is; returns the seconds until the next time."""
        try:
            await self.refresh_account()
            await self._send_pending()
            has_more = await self._read_mentions()
            self.plan_daily()
            await self._send_pending()
        except NetworkTrouble as trouble:
            return self._note_trouble(trouble)
        except ModelError as error:
            return self._note_trouble(NetworkTrouble(f"{self.network.name}: the model does not answer: {error}"))
        self._note_trouble(None)
        return 0.0 if has_more else self.parts.poll_s

    async def refresh_account(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._account is not None and now - self._account_at < ACCOUNT_INTERVAL_S:
            return
        account = await self.network.open_account()
        status, before = self.state.status, replace(self.state.status)
        status.account, status.limit, status.is_marked = account.name, account.limit, account.is_marked
        status.requests = account.requests
        if self._account is None:
            _log.info("%s: answers as %s, in %d characters", self.network.name, account.name, account.limit)
            if account.is_marked is False:
                cure = "mark it in the account's settings"
                _log.warning("%s: %s is not marked as an automated account: %s", self.network.name, account.name, cure)
        if account.requests > before.requests:
            text = "%s: %d people wait in the account's notification requests; they are answered once you accept them"
            _log.info(text, self.network.name, account.requests)
        names = fit_names(self.network.own_names)
        self.rules = MentionRules(names, self.parts.ignored, person_hour=self.parts.person_hour)
        self._account, self._account_at = account, now
        if status != before:
            self._save()

    async def _read_mentions(self) -> bool:
        """Notes the new mentions; returns whether more wait on the server."""
        if len(self.state.pending) >= MAX_PENDING:
            return False
        page = await self.network.fetch_mentions(self.state.last_id)
        is_first = self.state.last_id is None
        if self.note_page(page, is_first=is_first):
            self._save()
        return page.has_more and not is_first

    def note_page(self, page: MentionPage, *, is_first: bool) -> bool:
        """Decides about the mentions of a page; returns whether the state has changed."""
        state, now = self.state, self.parts.wall_clock()
        is_changed, state.last_id = page.last_id != state.last_id, page.last_id
        for mention in page.mentions:
            if mention.id in state.handled:
                continue
            is_changed = True
            state.note_handled(mention.id)
            decision = "ignored" if is_first else decide(mention, self.rules, state.people, now)
            if decision == "answer" or decision == "help" or decision == "wrong form":
                state.people.note(mention.author, decision, now)
                state.pending.append(PendingPost(decision, self._make_key(mention.id), mention))
            elif decision == "budget":
                state.status.dropped += 1
                _log.info("%s: %s has had its answers for now", self.network.name, clean_name(mention.author))
        return is_changed

    def plan_daily(self) -> None:
        parts, state = self.parts, self.state
        if parts.daily_at is None or not parts.is_clock_set():
            return
        now = datetime.fromtimestamp(parts.wall_clock(), parts.zone)
        if not state.last_daily:  # the first run posts at the next time, not for one that is past
            is_past = now.time() >= parts.daily_at
            state.last_daily = (now.date() - timedelta(days=not is_past)).isoformat()
            self._save()
        if day := find_daily_key(now, parts.daily_at, state.last_daily):
            state.last_daily = day
            state.pending.append(PendingPost("daily", self._make_key(f"daily-{day}")))
            self._save()

    def _make_key(self, what: str) -> str:
        """Returns the key of a post: the same after a restart, and another one for another account."""
        return f"asr33-{self.network.name}-{min(self.rules.own_names, default='')}-{what}"

    async def _send_pending(self) -> None:
        while self.state.pending:
            pending = self.state.pending[0]
            if not pending.text and not await self.write_text(pending):
                self._drop(pending, "there is no text for it")
                continue
            if not self._is_due(pending):
                continue
            try:
                await self._send_once(pending)
            except PostRefused as refusal:
                if not await self.network.has_post(pending.post, pending.mention):  # it may be refused as a repetition
                    self._drop(pending, f"the network does not take the answer: {refusal}")
                    continue
            except NetworkTrouble as trouble:
                pending.tried_at = 0.0 if trouble.is_certain else pending.tried_at
                self.state.pending = self._discard(pending) + [pending] * self._is_due(pending)
                self._save()
                raise  # if the trouble is this post's, the others go on
            await self._print(pending)
            self.state.pending = self._discard(pending)
            self.state.status.answered += 1
            self._save()

    async def _send_once(self, pending: PendingPost) -> None:
        if (wait_s := pending.find_wait(self.parts.wall_clock(), self.network.settle_s)) > 0:
            raise NetworkTrouble(f"{self.network.name}: it does not tell yet whether it has the last post", wait_s)
        if pending.tries and await self.network.has_post(pending.post, pending.mention):
            return
        pending.tries, pending.tried_at = pending.tries + 1, self.parts.wall_clock()
        self._save()  # before the answer is sent: after a kill it is known that it may be there
        await self.network.send(pending.post, pending.mention)

    async def write_text(self, pending: PendingPost) -> bool:
        """Gives the post its text, within the limit; returns False if the model has none."""
        account, parts, mention, network = self._account, self.parts, pending.mention, self.network
        assert account is not None
        room = account.limit - self.network.count_overhead(mention)
        if room < MIN_ROOM:
            return False
        if pending.kind in ("help", "wrong form"):
            name = account.name.lstrip("@").partition("@")[0]  # without the sign: it mentions no account
            text = make_fixed_answer(pending.kind, parts.voice.persona, name)
            pending.text = cut_to_sentences(text, room, self.network.measure)
            return bool(pending.text)
        lines = self._make_lines(mention)
        for number in range(MAX_EMPTY_ANSWERS):
            seed = (parts.sampling.seed + self.state.status.answered + number) % 2**31
            length = min(parts.sampling.length or room, room)
            sampling = replace(parts.sampling, seed=seed, length=length, stop=parts.voice.find_stops(lines))
            answer = await answer_room(parts.model, parts.voice, lines, sampling, parts.is_model_free)
            left, pending.mark = fit_mark(parts.make_mark(network.name, seed, answer.prompt), room, network.measure)
            pending.text = cut_to_sentences(tidy_answer(answer.text), left, network.measure)
            if pending.text:
                pending.seed = seed
                shown = replace(answer, text=pending.text, prompt=answer.prompt if pending.is_open else "")
                if self._is_due(pending):
                    parts.note_answer(self.network.name, pending, shown)
                return True
        return False

    def _make_lines(self, mention: Mention | None) -> list[tuple[str, str]]:
        author, text = ("You", self.parts.daily_prompt) if mention is None else (mention.author, mention.text)
        return [(clean_name(author.partition("@")[0]), text)]

    async def _print(self, pending: PendingPost) -> None:
        """Puts an open mention and its answer on paper. The keys let no restart print them twice."""
        if self.parts.queue is None or not pending.is_open or not self._is_due(pending):
            return
        name, persona, mention = self.network.name, clean_name(self.parts.voice.persona or "Teletype"), pending.mention
        author = clean_name(mention.author if mention else persona)
        asked = [(f"{author}: {mention.text}", "")] if mention is not None and mention.text else []
        lines = [*asked, (f"{persona}: {pending.text}", "-answer")]
        for text, suffix in lines:
            job = name, author, text, pending.key + suffix, self.parts.keep_s, pending.key
            if (await self.parts.queue.submit(*job)).is_denied:
                break

    def _drop(self, pending: PendingPost, reason: str) -> None:
        author = pending.mention and clean_name(pending.mention.author)
        whose = f"a message of {author}" if author else "the daily post"
        _log.warning("%s: %s is left out: %s", self.network.name, whose, reason)
        self.state.pending = self._discard(pending)
        self.state.status.dropped += 1
        self._save()

    def forget(self, scope: ForgetScope) -> tuple[Path, int]:
        """Removes what is known of a person, from the file too; returns it and the number of texts. Raises OSError."""
        if self.state.last_id is None:  # it reads the file later
            self.state = self.store.read()
        count = self.state.forget(scope)
        self._save()
        return self.store.path, count

    def _is_due(self, pending: PendingPost) -> bool:
        return any(one is pending for one in self.state.pending)

    def _discard(self, pending: PendingPost) -> list[PendingPost]:
        return [one for one in self.state.pending if one is not pending]

    def _save(self) -> None:
        self.store.write(self.state)

    def _note_trouble(self, trouble: NetworkTrouble | None) -> float:
        """Tells a trouble once, and its end; returns the seconds to wait."""
        status, text = self.state.status, "" if trouble is None else str(trouble)
        if text != status.trouble:
            status.trouble = text
            self.parts.show_trouble(self.network.name, text)
            if text:
                _log.warning("%s", text)
            else:
                _log.info("%s: answers again", self.network.name)
            with suppress(OSError):
                self._save()
        if trouble is None:
            self._failures = 0
            return 0.0
        if isinstance(trouble, LoginRefused):
            self._account = None  # the token is read again
            return REFUSED_WAIT_S
        self._failures += 1
        if trouble.wait_s is not None:
            return trouble.wait_s
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 20), MAX_WAIT_S)
        return wait_s * self.rng.uniform(0.75, 1.25)
