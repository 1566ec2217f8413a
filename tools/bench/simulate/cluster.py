"""The simulated cluster: many clients on many replicas, event by event, with failures and autoscaling.

Requests are routed as Ray Serve does it: by the hash ring, to the next replica if one is full, and to none that is
known to have failed. Pure: the random numbers are an argument, and the same numbers give the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from heapq import heappop, heappush
from math import inf
from typing import cast

from tools.bench.load.figures import ClientRecord, TimeSpan, subtract_counters
from tools.bench.simulate.client import SimulatedClient
from tools.bench.simulate.engine_costs import EngineCostTable
from tools.bench.simulate.ray_policies import Autoscaler, HashRing
from tools.bench.simulate.replica import SimulatedReplica
from tools.bench.simulate.scenario import NoisyNeighbours, Scenario, SimulationRandom

OVERLOAD = 4  # a replica is full with four times its target of answers


class SimulatedCluster:
    """All clients and replicas of one simulation. `run` may be called once."""

    def __init__(self, scenario: Scenario, costs: EngineCostTable, make_rng: Callable[[str], SimulationRandom]) -> None:
        """`make_rng` makes the random numbers of each object from its name. Other names would change all figures."""
        self.scenario, self.now = scenario, 0.0
        self.moved_answers = 0  # answers that continued at another replica
        self.replica_counts: list[tuple[float, int]] = []  # (moment, number of replicas from then on)
        self.failed_at: dict[SimulatedReplica, float] = {}  # when each failure becomes known
        self.replicas: list[SimulatedReplica] = []
        self._costs, self._rng, self._make_rng = costs, make_rng("the hall"), make_rng
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event_count = self._named_replicas = 0
        self._routed: dict[str, SimulatedReplica] = {}
        names = [f"replica {number}" for number in range(scenario.replicas)]
        sampled = names[: scenario.sampled_replicas] if 0 < scenario.sampled_replicas < scenario.replicas else names
        self._ring = HashRing(names)
        for name in sampled:
            self._add_replica(name)
        self._named_replicas = len(names)
        self.clients = self._make_clients(set(sampled) if len(sampled) < len(names) else None)
        self._counters_before: dict[str, float] = {}
        self.busy_before = [0.0] * len(self.replicas)  # busy seconds of each replica during the warm-up
        self._scaler = Autoscaler(scenario) if scenario.max_replicas else None

    def _make_clients(self, names: set[str] | None) -> list[SimulatedClient]:
        """Makes the clients of the replicas with these names; None: of all."""
        clients = []
        for number in range(self.scenario.clients):
            name = f"line-{self.scenario.seed}-{number}"
            if names is None or self._ring.home_replica(name) in names:
                clients.append(SimulatedClient(self, name, self._make_rng(name)))
                self.schedule(self.scenario.ramp_up_s * number / self.scenario.clients, clients[-1].start_turn)
        return clients

    def run(self) -> tuple[list[ClientRecord], TimeSpan]:
        """Runs to the end; returns the record of each client, and the measured span."""
        scenario = self.scenario
        span = TimeSpan(scenario.warm_up_s, scenario.warm_up_s + scenario.seconds)
        for failure in scenario.failure_times:
            self.schedule(span.started_at + failure, self._fail_replica)
        if self._scaler:
            self.schedule(self._scaler.tick_s, self._autoscale)
        self._run_until(span.started_at)
        self.busy_before = [replica.busy_s for replica in self.replicas]
        self._counters_before = self._total_counters()
        self._run_until(span.ended_at)
        for client in self.clients:
            client.record.print_buffer.close(span.ended_at)
        return [client.record for client in self.clients], span

    def busy_shares(self, span: TimeSpan) -> list[float]:
        """Returns the share of the span that each replica was busy; those that failed or were added are left out."""
        pairs = zip(self.replicas, self.busy_before, strict=False)
        return [(replica.busy_s - before) / span.seconds for replica, before in pairs if replica not in self.failed_at]

    def engine_counters(self) -> dict[str, float]:
        """Returns the sums over all replicas in the measured span, named as in `model.server.engine.counters`."""
        return subtract_counters(self._counters_before, self._total_counters())

    def _total_counters(self) -> dict[str, float]:
        counters = [asdict(replica.counters()) for replica in self.replicas]
        return {name: sum(values[name] for values in counters) for name in counters[0]} if counters else {}

    def schedule(self, at: float, action: Callable[[], None]) -> None:
        self._event_count += 1
        heappush(self._events, (at, self._event_count, action))

    def choose_replica(self, conversation: str) -> SimulatedReplica | None:
        """Returns the replica of a conversation, or the next with room; None if there is no replica."""
        if len(self._routed) == 1:
            return next(iter(self._routed.values()))
        limit = OVERLOAD * self.scenario.target_answers
        home = self._routed.get(self._ring.home_replica(conversation))
        if home and len(home.sequences) < limit:
            return home
        ranked = [self._routed[name] for name in self._ring.ranked_replicas(conversation) if name in self._routed]
        with_room = (replica for replica in ranked if len(replica.sequences) < limit)
        return next(with_room, ranked[0] if ranked else None)

    def home_replica(self, conversation: str) -> str:
        """Returns the name of the replica that the ring gives a conversation now."""
        return self._ring.home_replica(conversation)

    def failure_known_at(self, replica: SimulatedReplica) -> float | None:
        return self.failed_at.get(replica)

    def wake(self, replica: SimulatedReplica) -> None:
        """Schedules the next pass of a replica; needed after each command to the replica."""
        if replica.wakes_at < inf and replica not in self.failed_at:
            at = replica.wakes_at
            self.schedule(at, lambda: self._run_pass(replica, at))

    def _run_until(self, end: float) -> None:
        events = self._events
        while events and events[0][0] < end:
            self.now, _, action = heappop(events)
            action()

    def _run_pass(self, replica: SimulatedReplica, at: float) -> None:
        if replica.wakes_at != at or replica in self.failed_at:
            return  # a later command has rescheduled it
        ended_at, outputs = replica.run_pass(at)
        for sequence, chunk in outputs:
            cast(SimulatedClient, sequence.client).receive(chunk, ended_at)
        self.wake(replica)

    def _add_replica(self, name: str) -> None:
        scenario, neighbours = self.scenario, None
        if scenario.slow_spell_s:
            rng = self._make_rng(f"guests of {name}")
            neighbours = NoisyNeighbours(scenario.slowdown, scenario.slow_spell_s, rng, self.now)
        replica = SimulatedReplica(name, self._costs, scenario, self.now, neighbours)
        self.replicas.append(replica)
        self._routed[name] = replica
        self._note_count()

    def _note_count(self) -> None:
        self.replica_counts.append((self.now, len(self._routed)))

    def _start_replica(self) -> None:
        """Starts a replica with a new name, and so with new places on the ring; it takes requests once it is loaded."""

        def add() -> None:
            self._add_replica(f"replica {self._named_replicas}")
            self._named_replicas += 1
            self._ring = HashRing(self._routed)

        self.schedule(self.now + self.scenario.startup_s, add)

    def _fail_replica(self) -> None:
        """Kills a replica. When that is detected, its clients retry elsewhere and a new replica is started."""
        alive = [name for name, replica in self._routed.items() if replica not in self.failed_at]
        if not alive:
            return
        name = alive[self._rng.randrange(len(alive))]
        replica = self._routed[name]
        self.failed_at[replica] = detected_at = self.now + self.scenario.detection_s
        clients = [cast(SimulatedClient, sequence.client) for sequence in replica.sequences]
        self.moved_answers += len(clients)
        for client in sorted(clients, key=lambda client: client.name):
            self.schedule(detected_at, client.interrupt)

        def replace() -> None:
            if self._routed.pop(name, None) is None:
                return  # the autoscaler has removed it meanwhile
            self._ring = HashRing(self._routed)
            self._note_count()
            self._start_replica()

        self.schedule(detected_at, replace)

    def _autoscale(self) -> None:
        assert self._scaler
        active = sum(len(replica.sequences) for replica in self._routed.values())
        delta = self._scaler.replica_delta(self.now, active, len(self._routed))
        for _ in range(delta):
            self._start_replica()
        for name in list(self._routed)[len(self._routed) + min(delta, 0) :]:
            del self._routed[name]  # the replica finishes its answers and gets no more
            self._note_count()
        if delta < 0:
            self._ring = HashRing(self._routed)
        self.schedule(self.now + self._scaler.tick_s, self._autoscale)
