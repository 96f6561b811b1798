"""Commands as bytes, and answers as events: what the client library would send and read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import Connection
from redis.crc import key_slot

from stocksync_ws.backplane import (
    Append,
    Appended,
    AppendOutcome,
    History,
    Item,
    Keep,
    Pushed,
    Read,
)
from stocksync_ws.position import Position
from stocksync_ws.redis.packing import (
    PARTITIONS,
    Names,
    Packer,
    appended,
    command,
    history,
    pushed,
)

NAMES = Names("shop")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def packer(run: str = "run", tokens: Iterator[int] | None = None) -> Packer:
    numbers = tokens or count()
    digests = "a" * 40, "b" * 40
    return Packer(NAMES, "w1", run, digests, "PUBLISH", lambda bits: f"token{next(numbers)}-")


def words_of(packed: bytes) -> list[bytes]:
    """The words of one packed command, which must be all there is."""
    head, _, rest = packed.partition(b"\r\n")
    found: list[bytes] = []
    for _ in range(int(head[1:])):
        size, _, rest = rest.partition(b"\r\n")
        assert size[:1] == b"$"
        length = int(size[1:])
        found.append(rest[:length])
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
    assert rest == b""
    return found


@given(st.lists(st.one_of(TEXTS, st.binary(max_size=30), st.integers()), min_size=1, max_size=8))
def test_a_command_is_packed_as_the_client_library_packs_it(words: list[str | bytes | int]) -> None:
    expected = b"".join(Connection().pack_command(*["SET", *words]))
    assert command("SET", *words) == expected


@given(TEXTS.filter(bool), st.binary(max_size=50), TEXTS, st.none() | TEXTS, st.booleans())
def test_an_append_is_one_whole_command(
    channel: str, payload: bytes, key: str, slot: str | None, twice: bool
) -> None:
    item = Item(channel, payload, Keep(10, 2.5, slot), Position("e", 3, 4))
    items = (item, item) if twice else (item,)
    append = Append(7, items, key, "digest" if key else "", 5)
    words = words_of(packer().append(append))
    count_of_keys = 4 * len(items) + bool(key)
    assert words[:3] == [b"EVALSHA", b"a" * 40, str(count_of_keys).encode()]
    keys, arguments = words[3 : 3 + count_of_keys], words[3 + count_of_keys :]
    assert len({key_slot(each) for each in keys}) == 1, "all keys are in one slot"
    assert len(arguments) == 9 + 9 * len(items)
    assert arguments[6:9] == [b"7", b"5", b"=digest" if key else b""]
    stands = b"" if slot is None else b"=" + slot.encode()
    pushes = NAMES.pushes(channel).encode()
    assert arguments[9:18] == [pushes, b"10", b"3", b"86400", stands, b"e", b"3", b"4", payload]


def test_what_is_kept_for_ever_has_no_time() -> None:
    item = Item("/topic/a", b"", Keep(10, 1e12), None)
    assert words_of(packer().append(Append(1, (item,))))[-7:] == [
        b"",
        b"",
        b"",
        b"",
        b"0",
        b"0",
        b"",
    ]


def test_what_is_kept_long_is_known_for_twice_as_long() -> None:
    item = Item("/topic/a", b"", Keep(10, 100_000.0), None)
    assert words_of(packer().append(Append(1, (item,))))[-7:-5] == [b"100000", b"200000"]


def test_no_epoch_and_no_generation_is_given_twice() -> None:
    item = Item("/topic/a", b"", Keep(10, 1.0), None)
    tokens = count()
    one, other = packer(tokens=tokens), packer(tokens=tokens)
    appends = [(one, 1), (one, 2), (other, 1), (other, 2)]
    found = [words_of(each.append(Append(number, (item,))))[11:14] for each, number in appends]
    reads = [one, one, other, other]
    found += [words_of(each.read(Read("/topic/a", 1, None, None)))[7:10] for each in reads]
    # The scripts put the number behind the epoch, and add it to the generation.
    epochs = [epoch + number for epoch, _, number in found]
    generations = [int(generation) + int(number) for _, generation, number in found]
    assert len(set(generations)) == len(set(epochs)) == len(found)
    assert all(0 < each < 2**53 for each in generations), "a number that every part can hold"


def test_a_read_without_a_start_is_one_of_no_messages() -> None:
    words = words_of(packer().read(Read("/topic/a", 1, None, None)))
    assert words[-5:] == [b"", b"200", b"1048576", b"0", b"600"]
    assert words_of(packer().read(Read("/topic/a", 1, 8, None), anew=True))[-5] == b"8"
    assert words_of(packer().read(Read("/topic/a", 1, 8, None), anew=True))[-2] == b"1"


def test_heads_of_many_channels_do_not_grow_for_ever() -> None:
    made = packer()
    for number in range(10_500):
        made.append(Append(1, (Item(f"/topic/{number}", b"", Keep(10, 1.0), None),)))
    assert len(made._heads) <= 10_000
    assert len(made._kept) <= 10_000
    assert len(made._ones) <= 10_000


@given(TEXTS.filter(bool), TEXTS)
def test_all_names_of_a_channel_are_in_one_slot(channel: str, worker: str) -> None:
    names = Names("shop")
    partition = names.partition(channel)
    assert 0 <= partition < PARTITIONS
    keys = [
        names.facts(channel),
        names.stream(channel),
        names.slots(channel),
        names.done(channel, worker),
        names.key(channel, worker),
        names.pushes(channel),
        names.tag(partition),
        names.probe(worker, partition),
        names.mark(worker, partition),
    ]
    assert len({key_slot(each.encode()) for each in keys}) == 1
    assert len(set(keys)) == len(keys)


def test_names_of_two_things_are_two() -> None:
    assert NAMES.key("/a", "b:c") != NAMES.key("/a:b", "c")
    assert NAMES.done("/a", "w") != NAMES.done("/b", "w")


@pytest.mark.parametrize(
    ("answer", "ours", "event", "unsteady"),
    [
        (
            b"accepted 3 0 e-1 0 7",
            1,
            Appended(5, AppendOutcome.ACCEPTED, (Position("e-1", 0, 7),), 2),
            False,
        ),
        (
            b"accepted 0 1 e 9 7 f 0 1",
            False,
            Appended(5, AppendOutcome.ACCEPTED, (Position("e", 9, 7), Position("f", 0, 1)), 0),
            True,
        ),
        (b"repeated 0 0", True, Appended(5, AppendOutcome.REPEATED), False),
        (b"mismatch 0 0", False, Appended(5, AppendOutcome.MISMATCH), False),
        (
            b"duplicate 0 0 e 0 7",
            False,
            Appended(5, AppendOutcome.DUPLICATE, (Position("e", 0, 7),)),
            False,
        ),
    ],
)
def test_an_answer_to_an_append_is_read(
    answer: bytes, ours: int, event: Appended, unsteady: bool
) -> None:
    assert appended(5, answer, ours=ours) == (event, unsteady)


def test_an_answer_to_a_read_is_read() -> None:
    answer = [b"e 12 9 3 8 0 0:0 12:5", b"4 0", b"a", b"8 12", b"b c\n"]
    assert history(Read("/topic/a", 6, 4, None), answer) == (
        History(
            "/topic/a",
            6,
            Position("e", 12, 9),
            3,
            ((0, 0), (12, 5)),
            ((Position("e", 0, 4), b"a"), (Position("e", 12, 8), b"b c\n")),
            8,
        ),
        False,
    )


def test_a_push_is_read() -> None:
    assert pushed("/topic/a", b"8 12 e x y\n z") == Pushed(
        "/topic/a", 7, Position("e", 12, 8), b"x y\n z"
    )
