"""Many lines on many replicas, event by event: who is sent where, who dies, who comes, what the wheels do meanwhile.

Replicas are reached as Ray Serve does it: by the ring, to the next where one is full, and to none that is known to be
dead. Pure: chance comes from outside, and the same chance gives the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from heapq import heappop, heappush
from math import inf
from typing import cast

from tools.bench.load.figures import ClientRecord, TimeSpan, subtract_counters
from tools.bench.simulate.autoscaler import Autoscaler
from tools.bench.simulate.client import SimulatedClient
from tools.bench.simulate.engines import EngineCostTable
from tools.bench.simulate.hash_ring import HashRing
from tools.bench.simulate.noisy_neighbours import NoisyNeighbours
from tools.bench.simulate.replica import SimulatedReplica
from tools.bench.simulate.scenario import Scenario, SimulationRandom


class SimulatedCluster:
    """All of it; `run` once."""

    def __init__(self, scenario: Scenario, costs: EngineCostTable, make_rng: Callable[[str], SimulationRandom]) -> None:
        """`chance` for what has this name."""
        self.scenario, self.now = scenario, 0.0
        self.moved_answers = 0  # answers that went on at another replica
        self.replica_counts: list[tuple[float, int]] = []  # how many replicas there were, from when on
        self.failed_at: dict[SimulatedReplica, float] = {}  # and when that was known
        self.replicas: list[SimulatedReplica] = []
        self._costs, self._rng, self._make_rng = costs, make_rng("the hall"), make_rng
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_count = self._named_replicas = 0
        self._routed: dict[str, SimulatedReplica] = {}
        names = [f"replica {number}" for number in range(scenario.replicas)]
        kept = names[: scenario.sampled_replicas] if 0 < scenario.sampled_replicas < scenario.replicas else names
        self._ring = HashRing(names)
        for name in kept:
            self._add_replica(name)
        self._named_replicas = len(names)
        self.clients = self._make_clients(set(kept) if len(kept) < len(names) else None, make_rng)
        self._counters_before: dict[str, float] = {}
        self.busy_before = [0.0] * len(self.replicas)  # seconds that each had worked when what counts began
        self._scaler = Autoscaler(scenario) if scenario.max_replicas else None

    def _make_clients(
        self, names: set[str] | None, make_rng: Callable[[str], SimulationRandom]
    ) -> list[SimulatedClient]:
        seats = []
        for number in range(self.scenario.clients):
            name = f"line-{self.scenario.seed}-{number}"
            if names is None or self._ring.home_replica(name) in names:
                seats.append(SimulatedClient(self, name, make_rng(name)))
                self.schedule(self.scenario.ramp_up_s * number / self.scenario.clients, seats[-1].start_turn)
        return seats

    def run(self) -> tuple[list[ClientRecord], TimeSpan]:
        """To its end: each line, and the time that counts."""
        case = self.scenario
        span = TimeSpan(case.warm_up_s, case.warm_up_s + case.seconds)
        for death in case.failure_times:
            self.schedule(span.started_at + death, self._fail_replica)
        if self._scaler:
            self.schedule(self._scaler.tick_s, self._autoscale)
        self._run_until(span.started_at)
        self.busy_before = [one.busy_s for one in self.replicas]
        self._counters_before = self._total_counters()
        self._run_until(span.ended_at)
        for seat in self.clients:
            seat.record.print_buffer.close(span.ended_at)
        return [seat.record for seat in self.clients], span

    def busy_shares(self, span: TimeSpan) -> list[float]:
        """Which part of the time each replica was at work that was there from first to last."""
        there = zip(self.replicas, self.busy_before, strict=False)
        return [(one.busy_s - before) / span.seconds for one, before in there if one not in self.failed_at]

    def engine_counters(self) -> dict[str, float]:
        """What all replicas together did in the time that counts, by the names of `model.server.engine.counters`."""
        return subtract_counters(self._counters_before, self._total_counters())

    def _total_counters(self) -> dict[str, float]:
        each = [asdict(one.counters()) for one in self.replicas]
        return {name: sum(one[name] for one in each) for name in each[0]} if each else {}

    def schedule(self, at: float, action: Callable[[], None]) -> None:
        self._event_count += 1
        heappush(self._events, (at, self._event_count, action))

    def choose_replica(self, conversation: str) -> SimulatedReplica | None:
        """Who has it, or the next that has room; None while there is none."""
        if len(self._routed) == 1:
            return next(iter(self._routed.values()))
        if (first := self._routed.get(self._ring.home_replica(conversation))) and len(
            first.sequences
        ) < 4 * self.scenario.target_answers:
            return first
        ranked = [self._routed[name] for name in self._ring.ranked_replicas(conversation) if name in self._routed]
        room = (one for one in ranked if len(one.sequences) < 4 * self.scenario.target_answers)
        return next(room, ranked[0] if ranked else None)

    def home_replica(self, conversation: str) -> str:
        """Whose it is by the ring as it now is."""
        return self._ring.home_replica(conversation)

    def failure_known_at(self, replica: SimulatedReplica) -> float | None:
        return self.failed_at.get(replica)

    def wake(self, replica: SimulatedReplica) -> None:
        """It may have been told something."""
        if replica.wakes_at < inf and replica not in self.failed_at:
            at = replica.wakes_at
            self.schedule(at, lambda: self._run_pass(replica, at))

    def _run_until(self, end: float) -> None:
        events = self._events
        while events and events[0][0] < end:
            self.now, _, what = heappop(events)
            what()

    def _run_pass(self, replica: SimulatedReplica, at: float) -> None:
        if replica.wakes_at != at or replica in self.failed_at:
            return  # it was roused before that
        over, handed = replica.run_pass(at)
        for turn, piece in handed:
            cast(SimulatedClient, turn.client).receive(piece, over)
        self.wake(replica)

    def _add_replica(self, name: str) -> None:
        case = self.scenario
        guests = None
        if case.slow_spell_s:
            guests = NoisyNeighbours(case.slowdown, case.slow_spell_s, self._make_rng(f"guests of {name}"), self.now)
        made = SimulatedReplica(
            name,
            self._costs,
            batch_size=case.batch_size,
            cache_slots=case.cache_slots,
            context=case.context,
            now=self.now,
            policy=case.policy,
            neighbours=guests,
        )
        self.replicas.append(made)
        self._routed[name] = made
        self.replica_counts.append((self.now, len(self._routed)))

    def _start_replica(self) -> None:
        """One more, when it has loaded; it has a name of its own, and so its own places on the ring."""

        def ready() -> None:
            self._add_replica(f"replica {self._named_replicas}")
            self._named_replicas += 1
            self._ring = HashRing(self._routed)

        self.schedule(self.now + self.scenario.startup_s, ready)

    def _fail_replica(self) -> None:
        """One that lives; its lines hear of it, and it is started anew, as soon as it is missed."""
        alive = [name for name, one in self._routed.items() if one not in self.failed_at]
        if not alive:
            return
        name = alive[self._rng.randrange(len(alive))]
        gone = self._routed[name]
        self.failed_at[gone] = missed = self.now + self.scenario.detection_s
        lines = sorted(gone.sequences, key=lambda turn: cast(SimulatedClient, turn.client).name)
        self.moved_answers += len(lines)
        for turn in lines:
            self.schedule(missed, cast(SimulatedClient, turn.client).interrupt)

        def noticed() -> None:
            if self._routed.pop(name, None) is None:
                return  # there were too many meanwhile, and nobody misses it
            self._ring = HashRing(self._routed)
            self.replica_counts.append((self.now, len(self._routed)))
            self._start_replica()

        self.schedule(missed, noticed)

    def _autoscale(self) -> None:
        assert self._scaler
        wanted = self._scaler.replica_delta(
            self.now, sum(len(one.sequences) for one in self._routed.values()), len(self._routed)
        )
        for _ in range(wanted):
            self._start_replica()
        for name in list(self._routed)[len(self._routed) + min(wanted, 0) :]:
            del self._routed[name]  # it ends what it has, and takes no more
            self.replica_counts.append((self.now, len(self._routed)))
        if wanted < 0:
            self._ring = HashRing(self._routed)
        self.schedule(self.now + self._scaler.tick_s, self._autoscale)
