"""One process of Redis, as a worker talks to it: commands over one connection, pushes over another.

Rule: both begin together and end together. Commands are answered in their order. A connection that
says nothing is asked, by a message that goes the way of every publication, from the one connection
to the other; what is not answered in time is dead. Now and then something is written, too: a master
that has become a replica goes on to answer, and says no to that.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    BackplaneCommand,
    BackplaneEvent,
    Read,
    Subscribe,
    Subscribed,
    Unsubscribe,
)
from stocksync_ws.redis.client import ReplyError
from stocksync_ws.redis.connections import Talk
from stocksync_ws.redis.directory import Place
from stocksync_ws.redis.facts import Facts, facts_of
from stocksync_ws.redis.packing import (
    Names,
    Packer,
    appended,
    command,
    history,
    pushed,
    reign,
)
from stocksync_ws.redis.scripts import APPEND, READ

__all__ = ["Node", "Worker", "is_gone"]

LATE = 0.25
"""Seconds that our own timer may be late before nobody is judged by it."""
WRITES = 5
"""Times `silence`: seconds between two looks whether Redis still takes what is written."""
AGAIN = 0.5
"""Seconds until a read that was refused is sent again."""
GONE = re.compile(
    r"(?:^|\s-)(?:ASK|CLUSTERDOWN|LOADING|MASTERDOWN|MOVED|NOAUTH|NOSCRIPT|READONLY|TRYAGAIN"
    r"|UNBLOCKED)\b"
)
"""The beginning of a refusal that says that this process is not, or not yet, the one to talk to;
Redis 6 has it in the middle, where a script was refused something.
"""


def is_gone(problem: str) -> bool:
    """A refusal is not of the command: another process, or another connection, would take it."""
    return GONE.search(problem) is not None


class Worker(NamedTuple):
    """The worker that talks."""

    name: str
    names: Names
    silence: float
    """Seconds without an answer after which Redis is dead."""
    token: Callable[[int], str]
    tell: Callable[[Sequence[BackplaneEvent]], None]
    """Told what has come."""
    ended: Callable[[str], None]
    """Told why it is over."""
    unsteady: Callable[[], None]
    """Told when generations begin so often that they say nothing."""
    refused: Callable[[str], None]
    """Told why a read was refused, which is asked again."""


class Node:
    """One process of Redis.

    Args:
        place: Where it is.
        worker: Who talks.
    """

    def __init__(self, place: Place, worker: Worker) -> None:
        self.partitions = place.partitions
        self._place = place
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._commands = Talk(self._replied, self._ended)
        self._pushes = Talk(self._pushed, self._ended)
        self._packer: Packer | None = None
        self._pending: deque[Append | Read | bytes | None] = deque()
        """Commands that are not answered; bytes: the answer that there must be; None: whatever it
        is.
        """
        self._since = 0.0
        """The time since when there is a command that is not answered."""
        self._followed: set[str] = set()
        self._subscribed: set[str] = set()
        """Those of which Redis has said so."""
        self._empty: set[str] = set()
        """Those that are followed, and to which nobody has written."""
        self._channels: dict[bytes, str] = {}
        """Those that are followed, or were, by the names under which Redis pushes them."""
        self._asked: deque[tuple[bytes, int | None]] = deque()
        """Channels that were subscribed, with the turn, or left, without an answer yet."""
        self._probe = worker.names.probe(worker.name, min(place.partitions, default=0))
        self._process = ""
        self._reign = b""
        self._probed: float | None = None
        """The time at which a probe was sent that has not come back."""
        self._judged = 0.0
        self._write_at = 0.0
        self._tick_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._publishes = "PUBLISH"
        self._anew: set[str] | None = None
        """Channels that have begun anew on this connection; None: what is there is trusted."""

    async def connect(self) -> tuple[Facts, Facts]:
        """Connect; what each of the two connections says of the other end."""
        await self._commands.open(self._place.connect())
        await self._pushes.open(self._place.connect())
        one, other = await self._commands.ask("INFO"), await self._pushes.ask("INFO")
        return facts_of(one), facts_of(other)

    async def ask(self, *words: str | bytes | int) -> Any:
        """One command, before `begin`."""
        return await self._commands.ask(*words)

    async def begin(self, process: str, *, cluster: bool, anew: bool) -> None:
        """Be ready for commands.

        Args:
            process: Which process it is; empty: that is not to be trusted.
            cluster: It is one of a cluster.
            anew: Every channel that is read for the first time begins anew.
        """
        if cluster:
            self._publishes = "SPUBLISH"
        self._anew = set() if anew else None
        digests = [(await self.ask("SCRIPT", "LOAD", text)).decode() for text in (APPEND, READ)]
        await self._pushes.ask(self._subscribes, self._probe)
        # Who may not publish would find out behind what a script has written already.
        self._probed = self._loop.time()
        await self.ask(self._publishes, self._probe, "")
        worker, run = self._worker, ""
        self._process = process
        self._reign = await self._commands.exchange(self._asks())
        if process:
            run = f"{process}:{self._reign.decode()}"
        self._packer = Packer(
            worker.names, worker.name, run, (digests[0], digests[1]), self._publishes, worker.token
        )
        self._tick()

    def _asks(self) -> bytes:
        """A command that asks which reign it is, and sees whether Redis takes what is written."""
        worker = self._worker
        fresh = self._process, worker.token(72)
        return reign(worker.names, self.partitions, worker.name, *fresh)

    @property
    def _subscribes(self) -> str:
        return "SUBSCRIBE" if self._publishes == "PUBLISH" else "SSUBSCRIBE"

    def close(self) -> None:
        """End; nothing is told any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._commands.close()
        self._pushes.close()

    def _ended(self, why: str) -> None:
        self._worker.ended(why)

    # What is sent

    def send(self, commands: Sequence[BackplaneCommand]) -> None:
        """Carry out commands in their order."""
        assert self._packer is not None
        packer, pending = self._packer, self._pending
        if not pending:
            self._since = self._loop.time()
        out: list[bytes] = []
        asked: list[bytes] = []
        for each in commands:
            if isinstance(each, Append):
                out.append(packer.append(each))
                pending.append(each)
            elif isinstance(each, Read):
                anew = self._anew is not None and each.channel not in self._anew
                if anew and self._anew is not None:
                    self._anew.add(each.channel)
                out.append(packer.read(each, anew=anew))
                pending.append(each)
            else:
                asked.append(self._attend(each))
        if out:
            self._commands.write(b"".join(out))
        if asked:
            self._pushes.write(b"".join(asked))

    def _attend(self, each: Subscribe | Unsubscribe) -> bytes:
        """Subscribe, or leave."""
        channel = each.channel
        name = self._worker.names.pushes(channel).encode()
        if isinstance(each, Subscribe):
            self._followed.add(channel)
            self._channels[name] = channel
            self._asked.append((name, each.turn))
            return command(self._subscribes, name)
        self._followed.discard(channel)
        self._subscribed.discard(channel)
        self._empty.discard(channel)
        self._asked.append((name, None))
        return command(self._subscribes.replace("SUB", "UNSUB"), name)

    def say(self, packed: bytes) -> None:
        """Send any command, whose answer says nothing."""
        self._wait_for(None)
        self._commands.write(packed)

    def _wait_for(self, answer: bytes | None) -> None:
        if not self._pending:
            self._since = self._loop.time()
        self._pending.append(answer)

    def keep_alive(self, *, empty: bool) -> None:
        """Tell Redis that the channels that are followed are in use: all of them, or those to which
        nobody has written.
        """
        channels = list(self._empty if empty else self._followed)
        self._empty.clear()
        self.send([Read(channel, 0, None, None) for channel in channels])

    # What comes

    def _replied(self, replies: Sequence[Any]) -> None:
        events: list[BackplaneEvent] = []
        for reply in replies:
            each = self._pending.popleft()
            if isinstance(reply, ReplyError):
                self._refused(each, str(reply), events)
            elif isinstance(each, Append):
                ours = 0
                for item in each.items:
                    ours += item.channel in self._subscribed
                event, unsteady = appended(each.number, reply, ours=ours)
                events.append(event)
                if unsteady:
                    self._worker.unsteady()
            elif isinstance(each, Read):
                self._has_read(each, reply, events)
            elif each is not None and each != reply:
                self._ended("another process of Redis has reigned meanwhile")
        if events:
            self._worker.tell(events)

    def _has_read(self, each: Read, reply: Sequence[Any], events: list[BackplaneEvent]) -> None:
        told, unsteady = history(each, reply)
        if unsteady:
            self._worker.unsteady()
        if told.top.offset == 0 and each.channel in self._followed:
            self._empty.add(each.channel)
        if each.turn:
            events.append(told)

    def _refused(
        self, each: Append | Read | bytes | None, problem: str, events: list[BackplaneEvent]
    ) -> None:
        """A command was refused: it alone, or this process is the wrong one."""
        if is_gone(problem):
            self._ended(f"Redis answers {problem}")
        elif isinstance(each, Append):
            events.append(Appended(each.number, AppendOutcome.REFUSED, problem=problem))
        elif isinstance(each, Read) and each.turn:
            self._worker.refused(problem)
            if self._anew is not None:
                self._anew.discard(each.channel)
            self._loop.call_later(AGAIN, self._read_again, each)

    def _read_again(self, read: Read) -> None:
        if not self._closed:
            self.send([read])

    def _pushed(self, pushes: Sequence[Any]) -> None:
        events: list[BackplaneEvent] = []
        for push in pushes:
            if isinstance(push, ReplyError):
                self._ended(f"Redis answers {push}")
                break
            kind, name, data = push
            if kind in (b"message", b"smessage"):
                channel = self._channels.get(name)
                if channel in self._followed:
                    assert channel is not None
                    events.append(pushed(channel, data))
                elif channel is None:
                    self._probed = None
            elif not self._attended(kind, name, events):
                self._ended("Redis pushes a channel no more: its keys have moved")
                break
        if events:
            self._worker.tell(events)

    def _attended(self, kind: bytes, name: bytes, events: list[BackplaneEvent]) -> bool:
        """A channel is subscribed, or left; whether that was asked for."""
        subscribed = kind in (b"subscribe", b"ssubscribe")
        if not self._asked or self._asked[0][0] != name:
            return False
        turn = self._asked.popleft()[1]
        if subscribed is (turn is None):
            return False
        channel = self._channels[name]
        if turn is not None:
            events.append(Subscribed(channel, turn))
            if channel in self._followed:
                self._subscribed.add(channel)
        elif channel not in self._followed:
            del self._channels[name]
        return True

    # Time

    def _tick(self) -> None:
        """Look whether Redis still answers. A loop that was blocked judges nobody by it."""
        now, silence = self._loop.time(), self._worker.silence
        if now - self._tick_at > LATE:
            self._judged = now
        # While anything comes at all, what was asked later may wait for it.
        since = [self._since] if self._pending else []
        if self._probed is not None:
            since.append(max(self._probed, self._pushes.heard))
        if since and now - max(min(since), self._judged, self._commands.heard) > silence:
            self._ended(f"Redis has not answered for {silence:g} s")
            return
        if now >= self._write_at:
            self._write_at = now + WRITES * silence
            self._wait_for(self._reign)
            self._commands.write(self._asks())
        if self._probed is None and now - self._pushes.heard > silence / 2:
            self._probed = now
            self.say(command(self._publishes, self._probe, ""))
        self._tick_at = now + silence / 4
        self._timer = self._loop.call_at(self._tick_at, self._tick)
