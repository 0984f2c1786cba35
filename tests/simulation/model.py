"""The protocol in ticks of a clock: the shipped decisions, with the smallest machines around them.

``dualjoe.lease`` and ``dualjoe.takeover`` decide; here are only messages, clocks, disks and faults. A state is a value,
and ``moves`` says what can happen next: search.py tries everything, test_simulation_model.py goes far. Messages can
come late, more than once, in any order or never: what was sent lies in ``mail`` until it is too old, and delivery does
not take it out. All clocks run alike; drift is the histories' subject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

from dualjoe import lease, sightings, takeover, timing
from dualjoe.lease import SECOND, NodeState
from dualjoe.pair import Action, Decision, Policy, Record, Sighting, World
from dualjoe.timing import Timing
from dualjoe.wire import Refused, Request, Stamp

NAMES = ("pc-a", "pc-b")
BEGINNING = 1000  # the first tick
LONG_AGO = -7  # ticks; what is older weighs the same
OUTCOMES = ("heard", "late", "missed")


class Violation(Exception):
    """A promise was broken."""


@dataclass(frozen=True)
class Bound:
    """How far to look. Ticks, and counts of what may go wrong in one history."""

    ttl: int = 2
    margin: int = 1
    stop: int = 1
    absent_wait: int = 1
    faults: int = 1
    requests: int = 1  # of people, for a switchover
    life: int = 2  # a message comes in so many ticks or never

    @property
    def policy(self) -> Policy:
        figures = Timing(ttl=self.ttl, margin=self.margin, stop=self.stop, heartbeat=1, confirm_checks=1)
        return Policy(*NAMES, timing=figures, auto_failback=False, absent_wait=self.absent_wait)


class Message(NamedTuple):
    """``to`` and ``of``: node numbers; ``of`` is only set for a question of the peer. ``stamp``: (boot, tick)."""

    verb: str
    to: int
    epoch: int
    stamp: tuple[int, int]
    sent: int
    answer: str = ""  # '': this is the question


class Node(NamedTuple):
    """``state``: None while the guard is down. ``hung``: ticks until systemd kills the guard. ``memory``: the term in
    which its newest memory was written."""

    state: NodeState | None
    epoch: int  # on disk
    term: int  # on disk
    boot: int = 0
    gateway: bool = False
    hung: int = 0
    frozen: bool = False
    memory: int = 0

    @property
    def answers(self) -> bool:
        return self.state is not None and not self.hung and not self.frozen


class Witness(NamedTuple):
    """``seen``: of each node; ``busy``: the verb each is answering; ``renewed``: the stamp each was renewed with."""

    up: bool
    frozen: bool
    record: Record
    disk: Record
    started_at: int
    seen: tuple[Sighting, ...]
    lease_sent_at: int | None = None
    busy: tuple[Message | None, ...] = (None, None)
    renewed: tuple[Any, ...] = (None, None)
    let_down: int = -1  # the node whose gateway did not become ready at the last grant


class Model(NamedTuple):
    """All of it at one moment."""

    now: int
    nodes: tuple[Node, ...]
    witness: Witness
    mail: frozenset[Message]
    faults: int
    requests: int


Move = tuple[str, Callable[[], Model]]


@contextmanager
def alike() -> Iterator[None]:
    """Clocks that run alike: whole ticks stay whole."""
    with mock.patch.object(timing, "DRIFT", 0.0), mock.patch.object(lease, "DRIFT", 0.0):
        yield


def _put(pair: tuple[Any, ...], index: int, value: Any) -> tuple[Any, ...]:
    return (value, pair[1]) if index == 0 else (pair[0], value)


class Protocol:
    """What can happen within a bound."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.policy = bound.policy
        self._hold = lease.hold_ns(bound.ttl, bound.margin)
        self._stop = bound.stop * SECOND

    # ---- beginnings

    def cold(self) -> Model:
        """Everything has just been switched on; both served at some time, PC-B last."""
        nodes = (
            self._booted(Node(None, 4, 3, memory=3), BEGINNING),
            self._booted(Node(None, 4, 4, memory=4), BEGINNING),
        )
        witness = self._started(Record(epoch=4, holder="pc-b"), BEGINNING)
        return Model(BEGINNING, nodes, witness, frozenset(), self.bound.faults, self.bound.requests)

    def serving(self) -> Model:
        """PC-A serves, and everyone is heard."""
        now = BEGINNING
        active = NodeState("0", 4, 4, lease.Lease(4, (now + self.bound.ttl) * SECOND))
        nodes = (Node(active, 4, 4, gateway=True, memory=4), Node(NodeState("0", 3, 3), 3, 3, memory=3))
        witness = self._started(Record(epoch=4, holder="pc-a"), now - 9)._replace(lease_sent_at=now)
        m = Model(now, nodes, witness, frozenset(), self.bound.faults, self.bound.requests)
        return self._look(self._look(m, 0, m.nodes[0], now), 1, m.nodes[1], now)

    def _booted(self, node: Node, now: int) -> Node:
        state = lease.started(str(node.boot), node.epoch, node.term, now * SECOND, self._hold)
        return node._replace(state=state, gateway=False, hung=0, frozen=False)

    def _started(self, record: Record, now: int) -> Witness:
        return Witness(True, False, record, record, now, tuple(Sighting(name) for name in NAMES))

    # ---- what can happen

    def tidy(self, m: Model) -> Model:
        """Without the messages that can change nothing any more."""
        mail = frozenset(message for message in m.mail if matters(message, m, self.bound.ttl))
        return m if len(mail) == len(m.mail) else m._replace(mail=mail)

    def moves(self, m: Model) -> Iterator[Move]:
        """Everything that can happen next, each with its name."""
        yield from self._ticks(m)
        for message in sorted(m.mail):
            yield from self._deliveries(m, message)
        for index, name in enumerate(NAMES):
            yield from self._node_moves(m, index, name)
        yield from self._witness_moves(m)

    def _ticks(self, m: Model) -> Iterator[Move]:
        listening = m.witness.up and not m.witness.frozen
        choices = [(OUTCOMES if node.answers else OUTCOMES[1:]) if listening else ("-",) for node in m.nodes]
        for first in choices[0]:
            for second in choices[1]:
                yield f"tick: pc-a {first}, pc-b {second}", partial(self._tick, m, (first, second))

    def _deliveries(self, m: Model, message: Message) -> Iterator[Move]:
        told = f"{message.verb}{' ' + message.answer if message.answer else ''} of {message.sent - m.now}"
        name = NAMES[message.to]
        if not message.answer:
            if m.nodes[message.to].answers:
                yield f"{name} gets {told}", partial(self._receive, m, message)
                if message.verb == "grant" and m.faults:
                    yield f"{name} gets {told}, and fails", partial(self._receive, _fault(m), message, True)
        elif message.verb == "promise":
            if m.nodes[message.to].answers:
                yield f"{name} gets {told}", partial(self._promised, m, message)
        elif m.witness.up and not m.witness.frozen and m.witness.busy[message.to] == message._replace(answer=""):
            for heard in (True, False):
                if m.nodes[message.to].answers or not heard:
                    look = "and looks" if heard else "and sees nothing"
                    yield f"t440 gets {told} from {name} {look}", partial(self._answered, m, message, heard)

    def _node_moves(self, m: Model, index: int, name: str) -> Iterator[Move]:
        node = m.nodes[index]
        put = partial(self._node, m, index)
        if node.frozen:
            yield f"{name} goes on", partial(self._thaw, m, index)
        elif node.state is None:
            yield f"{name} boots", partial(put, self._booted(node._replace(boot=node.boot + 1), m.now))
        elif node.state.lease is not None and node.state.lease.ending and not node.hung:
            stopped = replace(node.state, lease=None)
            yield f"{name} has stopped", partial(put, node._replace(state=stopped, gateway=False))
        if node.state is None or not m.faults:
            return
        put = partial(self._node, _fault(m), index)
        yield f"{name} loses power", partial(put, node._replace(state=None, gateway=False, hung=0, frozen=False))
        if node.answers:
            yield f"{name}: guard killed", partial(put, self._booted(node, m.now))
            yield f"{name} freezes", partial(put, node._replace(frozen=True))
            if node.gateway:
                yield f"{name}: guard hangs", partial(put, node._replace(hung=2))

    def _witness_moves(self, m: Model) -> Iterator[Move]:
        w = m.witness
        if not w.up:
            yield "t440 starts", partial(self._witness, m, self._started(w.disk, m.now))
            return
        if w.frozen:
            yield "t440 goes on", lambda: self._step(m._replace(witness=w._replace(frozen=False)))
        else:
            for index, name in enumerate(NAMES):
                if (asked := w.busy[index]) is not None:
                    yield f"t440 gives up {asked.verb} of {name}", partial(self._answered, m, asked, False)
                if m.requests and w.record.holder not in (None, name):
                    yield f"ada asks for {name}", partial(self._ask_for, m, name)
        if m.faults:
            yield "t440 loses power", partial(self._witness, _fault(m), w._replace(up=False, frozen=False))
            empty = w._replace(up=False, frozen=False, disk=Record())
            yield "t440 is replaced by an empty one", partial(self._witness, _fault(m), empty)
            if not w.frozen:
                yield "t440 freezes", partial(self._witness, _fault(m), w._replace(frozen=True))

    def _node(self, m: Model, index: int, node: Node) -> Model:
        before = m.nodes[index]
        if node.epoch < before.epoch or (node.state is not None and node.state.epoch != node.epoch):
            raise Violation(f"{NAMES[index]}: the epoch went from {before.epoch} to {node.epoch}")
        m = m._replace(nodes=_put(m.nodes, index, node))
        if all(each.gateway and not each.frozen for each in m.nodes):
            raise Violation("two gateways: pc-a, pc-b")
        return m

    @staticmethod
    def _witness(m: Model, witness: Witness) -> Model:
        return m._replace(witness=witness)

    # ---- time

    def _tick(self, m: Model, outcomes: tuple[str, str]) -> Model:
        before = m.nodes
        oldest = m.now + 1 - self.bound.life
        mail = frozenset(message for message in m.mail if message.sent >= oldest)
        m = m._replace(now=m.now + 1, mail=mail)
        for index in range(2):
            m = self._age(m, index)
        for index, outcome in enumerate(outcomes):
            if outcome == "heard" and m.nodes[index].answers:
                m = self._look(m, index, m.nodes[index], m.now)
            elif outcome == "late" and before[index].answers:  # it was told a tick ago
                m = self._look(m, index, before[index], m.now - 1)
            elif outcome != "-":
                m = self._miss(m, index)
        return m if "-" in outcomes else self._step(m)

    def _age(self, m: Model, index: int) -> Model:
        node = m.nodes[index]
        if node.frozen or node.state is None:
            return m
        if node.hung:
            left = node.hung - 1
            dead = node._replace(state=None, gateway=False, hung=0)
            return self._node(m, index, node._replace(hung=left) if left else dead)
        return self._ask_peer(self._due(m, index), index)

    def _due(self, m: Model, index: int) -> Model:
        """The guard's tick."""
        node = m.nodes[index]
        if node.state is None or node.state.lease is None:
            return m
        duty = lease.duty(node.state, m.now * SECOND, self._stop)
        if duty == "kill":
            return self._node(m, index, node._replace(state=replace(node.state, lease=None), gateway=False))
        if duty == "stop" and not node.state.lease.ending:
            return self._node(m, index, node._replace(state=lease.begin_end(node.state)))
        return m

    def _ask_peer(self, m: Model, index: int) -> Model:
        state = m.nodes[index].state
        if state is None or state.lease is None or state.lease.ending:
            return m
        if (lease.seconds_left(state, m.now * SECOND) or 0) > self.bound.ttl / 2:
            return m
        return self._post(m, Message("promise", 1 - index, state.lease.epoch, (0, 0), m.now))

    def _thaw(self, m: Model, index: int) -> Model:
        """The guard looks at the clock before its gateway does harm: what happens in between is the window that is
        allowed after a resume."""
        return self._due(m._replace(nodes=_put(m.nodes, index, m.nodes[index]._replace(frozen=False))), index)

    # ---- messages

    @staticmethod
    def _post(m: Model, message: Message) -> Model:
        return m._replace(mail=m.mail | {message})

    def _receive(self, m: Model, message: Message, fails: bool = False) -> Model:
        """A node carries out a verb, and answers."""
        now, node = m.now * SECOND, m.nodes[message.to]
        state = node.state
        assert state is not None
        stamp = Stamp(str(message.stamp[0]), message.stamp[1] * SECOND)
        request = Request(message.verb, message.epoch, stamp, self.bound.ttl)
        try:
            if message.verb == "renew":
                return self._node(m, message.to, node._replace(state=lease.renew(state, request, now)))
            if message.verb == "grant":
                node = self._granted(node, lease.grant(state, request, now, self._stop), fails)
            elif message.verb == "revoke":
                node = self._stored(node, lease.revoke(state, request))._replace(gateway=False)
            elif message.verb == "promise":
                node = self._stored(node, lease.promise(state, request, now, self.bound.margin))
            else:
                node = self._synced(m, message.to)
            answer = "not_ready" if fails else "ok"
        except Refused:
            answer = "refused"
        if message.verb == "promise" and answer == "ok":
            m = self._post(m, message._replace(to=1 - message.to, answer="ok"))
        elif answer != "refused" or message.verb == "sync":  # otherwise the same as no answer
            m = self._post(m, message._replace(answer=answer))
        return self._node(m, message.to, node)

    @staticmethod
    def _stored(node: Node, state: NodeState) -> Node:
        return node._replace(state=state, epoch=state.epoch, term=state.term)

    def _granted(self, node: Node, state: NodeState, fails: bool) -> Node:
        if fails:  # started, never ready, and stopped
            return self._stored(node, replace(state, lease=None))._replace(memory=state.term)
        return self._stored(node, state)._replace(gateway=True, memory=state.term)

    def _synced(self, m: Model, index: int) -> Node:
        node, peer = m.nodes[index], m.nodes[1 - index]
        assert node.state is not None
        if node.state.lease is not None or not peer.answers:
            raise Refused("sync_failed", "no memory came")
        return node._replace(memory=max(node.memory, peer.memory)) if peer.term > node.term else node

    def _promised(self, m: Model, message: Message) -> Model:
        node = m.nodes[message.to]
        assert node.state is not None
        state = lease.extend(node.state, message.epoch, message.sent * SECOND, self.bound.ttl)
        return self._node(m, message.to, node._replace(state=state))

    # ---- the witness

    def _look(self, m: Model, index: int, node: Node, told_at: int) -> Model:
        """The witness hears how a node was at ``told_at``."""
        assert node.state is not None
        probe = {
            "boot_id": node.state.boot_id,
            "stamp": (node.boot, told_at),
            "epoch": node.state.epoch,
            "term": node.state.term,
            "role": "passive" if node.state.lease is None else "active",
            "promise_left": lease.promise_left(node.state, told_at * SECOND),
            "gateway": {"state": "ready" if node.gateway else "stopped"},
            "fit": True,
        }
        checks = self.policy.timing.confirm_checks
        seen = sightings.heard(m.witness.seen[index], probe, m.now, checks)
        return m._replace(witness=m.witness._replace(seen=_put(m.witness.seen, index, seen)))

    @staticmethod
    def _miss(m: Model, index: int) -> Model:
        seen = sightings.missed(m.witness.seen[index])
        return m._replace(witness=m.witness._replace(seen=_put(m.witness.seen, index, seen)))

    def _view(self, m: Model) -> World:
        w = m.witness
        busy = {name: asked.verb for name, asked in zip(NAMES, w.busy, strict=True) if asked is not None}
        seen = dict(zip(NAMES, w.seen, strict=True))
        return World(m.now, w.started_at, seen, w.lease_sent_at, busy=busy)

    def _step(self, m: Model) -> Model:
        """Decide, store, act: as the coordinator does."""
        decision = takeover.decide(m.witness.record, self._view(m), self.policy)
        for action in decision.actions:
            if action.verb == "grant" and m.witness.seen[NAMES.index(action.node)].heard_at != m.now:
                return m  # it is looked at once more first
        m = self._store(m, decision.record)
        for action in decision.actions:
            index = NAMES.index(action.node)
            if action.verb == "renew":
                m = self._renew(m, index, action)
            elif m.witness.busy[index] is None:
                m = self._begin(m, index, action, decision)
        return m

    def _store(self, m: Model, record: Record) -> Model:
        if record.epoch < m.witness.record.epoch:
            raise Violation(f"the witness's epoch went from {m.witness.record.epoch} to {record.epoch}")
        return m._replace(witness=m.witness._replace(record=record, disk=record))

    def _renew(self, m: Model, index: int, action: Action) -> Model:
        stamp = m.witness.seen[index].probe["stamp"]
        if m.witness.renewed[index] == stamp:
            return m
        renewed = _put(m.witness.renewed, index, stamp)
        m = m._replace(witness=m.witness._replace(renewed=renewed, lease_sent_at=m.now))
        return self._post(m, Message("renew", index, action.epoch, stamp, m.now))

    def _begin(self, m: Model, index: int, action: Action, decision: Decision) -> Model:
        stamp = m.witness.seen[index].probe["stamp"] if action.verb == "grant" else (0, 0)
        message = Message(action.verb, index, action.epoch, stamp, m.now)
        w = m.witness._replace(busy=_put(m.witness.busy, index, message))
        if action.verb == "grant":
            self._judge(m, index, decision)
            w = w._replace(lease_sent_at=m.now, let_down=-1)
        return self._post(m._replace(witness=w), message)

    def _judge(self, m: Model, index: int, decision: Decision) -> None:
        """No older memory before newer that is at hand."""
        other = m.witness.seen[1 - index]
        older = m.nodes[index].memory < m.nodes[1 - index].memory
        if older and other.fit and m.witness.let_down != 1 - index:
            raise Violation(f"older memory: {NAMES[index]} is granted ({decision.situation})")

    def _answered(self, m: Model, message: Message, heard: bool) -> Model:
        """The answer to a slow verb is here, or is waited for no longer; then the node is looked at once more."""
        record, index, name = m.witness.record, message.to, NAMES[message.to]
        if message.verb == "revoke" and message.answer == "ok":
            record = takeover.on_revoked(record, name, message.epoch)
        elif message.verb == "sync":
            record = takeover.on_synced(record, name, message.answer == "ok", self.policy)
        elif message.verb == "grant" and message.answer == "not_ready":
            record = takeover.on_grant_failed(record, name, message.epoch, self._view(m), self.policy)
            m = m._replace(witness=m.witness._replace(let_down=index))
        m = self._store(m, record)
        m = self._look(m, index, m.nodes[index], m.now) if heard else self._miss(m, index)
        m = m._replace(witness=m.witness._replace(busy=_put(m.witness.busy, index, None)))
        return self._step(m)

    def _ask_for(self, m: Model, name: str) -> Model:
        record, _problem = takeover.request_move(m.witness.record, name, "ada", "asked", self._view(m), self.policy)
        return self._step(self._store(m._replace(requests=m.requests - 1), record))


def _fault(m: Model) -> Model:
    return m._replace(faults=m.faults - 1)


# ---- which states are the same


def key(m: Model) -> tuple[Any, ...]:
    """Equal for states from which the same can happen: clocks, epochs and boots count only against each other."""
    w = m.witness
    base = min(
        *(node.term for node in m.nodes),
        *(node.memory for node in m.nodes),
        w.record.epoch,
        w.disk.epoch,
        *(message.epoch for message in m.mail if message.epoch),
    )
    return (
        tuple(_node_key(node, m.now, base) for node in m.nodes),
        (w.up, w.frozen, w.let_down, _ago(w.started_at, m.now), _ago(w.lease_sent_at, m.now)),
        _record_key(w.record, base),
        None if w.record is w.disk else _record_key(w.disk, base),
        tuple(_seen_key(seen, m.nodes[index].boot, m.now, base) for index, seen in enumerate(w.seen)),
        tuple(asked and _message_key(asked, m, base) for asked in w.busy),
        tuple(stamp == seen.probe.get("stamp") for stamp, seen in zip(w.renewed, w.seen, strict=True)),
        frozenset(_message_key(message, m, base) for message in m.mail),
        (m.faults, m.requests),
    )


def _ago(moment: float | None, now: int) -> float | None:
    return None if moment is None else max(moment - now, LONG_AGO)


def _record_key(record: Record, base: int) -> tuple[Any, ...]:
    steps = (record.target, record.prepared, record.synced, record.rescue, record.unsure)
    return record.epoch - base, record.holder, record.vacant, *steps


def _node_key(node: Node, now: int, base: int) -> tuple[Any, ...]:
    state = node.state
    told = None
    if state is not None:
        held = state.lease and (state.lease.epoch - base, state.lease.deadline // SECOND - now, state.lease.ending)
        told = (held, max(0, state.promised_until // SECOND - now))
    return told, node.epoch - base, node.term - base, node.gateway, node.hung, node.frozen, node.memory - base


def _seen_key(seen: Sighting, boot: int, now: int, base: int) -> tuple[Any, ...]:
    if seen.failures or not seen.probe:
        return min(seen.failures, 1), _ago(seen.heard_at, now)
    probe = seen.probe
    return (
        (_ago(seen.heard_at, now), _ago(seen.heard_since, now), _ago(seen.fit_since, now)),
        (probe["epoch"] - base, probe["term"] - base, probe["role"]),
        (probe["stamp"][0] == boot, _ago(probe["stamp"][1], now)),
        max(0.0, seen.promised_until - now),
    )


def _message_key(message: Message, m: Model, base: int) -> tuple[Any, ...]:
    boot, at = message.stamp
    stamp = (boot == m.nodes[message.to].boot, at - m.now) if at else None
    return message.verb, message.to, message.epoch - base, stamp, message.sent - m.now, message.answer


def matters(message: Message, m: Model, ttl: int) -> bool:
    """Whether a message can still change anything when it comes."""
    node = m.nodes[message.to]
    lease_now = None if node.state is None else node.state.lease
    deadline = 0 if lease_now is None else lease_now.deadline
    running = lease_now is not None and lease_now.epoch == message.epoch
    if message.verb == "promise":
        if not message.answer:
            return message.epoch >= node.epoch
        return running and deadline < (message.sent + ttl) * SECOND
    asked = m.witness.busy[message.to] == message._replace(answer="")
    if message.answer or message.verb == "sync":
        return asked
    if message.verb == "renew":
        late = running and deadline >= (message.stamp[1] + ttl) * SECOND
        return message.epoch > node.epoch or (running and not late)
    if message.verb == "grant":
        return message.epoch > node.epoch
    return message.epoch > node.epoch or running or (asked and message.epoch == node.epoch)
