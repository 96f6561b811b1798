"""Whatever leaves us means the same to every parser: ours, stomp.py's and stompman's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stocksync_ws import Limits
from stocksync_ws.broker.model.headers import RESERVED
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import Version
from stocksync_ws.testing.world import World

Meaning: TypeAlias = tuple[str, Mapping[str, str], bytes]
ACTS = RESERVED | {"expires", "expiration", "reply-to", "id"}
SPECIAL = "\\:\n\r nrc\ttäé€🚚-a"


def ours(raw: bytes, version: Version) -> Meaning:
    decoder = Decoder(Limits(), server_frames=True)
    decoder.version = version
    decoder.feed(raw)
    frame = decoder.next()
    assert frame is not None
    assert decoder.next() is None
    return frame.command, frame.headers, frame.body


def stomp_py(raw: bytes, version: Version) -> Meaning:
    utils: Any = pytest.importorskip("stomp.utils")
    frame = utils.parse_frame(raw[:-1])  # its transport takes the NUL away
    return frame.cmd, frame.headers, frame.body


def stompman(raw: bytes, version: Version) -> Meaning:
    serde: Any = pytest.importorskip("stompman.serde")
    (frame,) = serde.FrameParser().parse_frames_from_chunk(raw)
    command = serde.FRAMES_TO_COMMANDS[type(frame)].decode()
    return command, frame.headers, getattr(frame, "body", b"")


def texts(forbidden: str, most: int) -> st.SearchStrategy[str]:
    wide = st.characters(exclude_categories=["Cs"], exclude_characters="\0" + forbidden)
    narrow = st.sampled_from([each for each in SPECIAL if each not in forbidden])
    return st.text(st.one_of(narrow, wide), max_size=most)


def headers(forbidden: str) -> st.SearchStrategy[dict[str, str]]:
    names = texts(forbidden, 12).filter(
        lambda name: name and name not in ACTS and not name.startswith("simp")
    )
    return st.dictionaries(names, texts(forbidden, 30), max_size=5)


@pytest.mark.parametrize(
    ("parse", "version", "forbidden"),
    [
        (ours, "1.1", "\r"),
        (ours, "1.2", ""),
        (ours, "1.0", "\r\n:"),
        (stomp_py, "1.1", "\r"),
        (stomp_py, "1.2", ""),
        (stomp_py, "1.0", "\r\n:\\"),  # it unescapes in 1.0 too
        (stompman, "1.1", "\r"),
        (stompman, "1.2", "\r"),  # it does not know this escape
    ],
)
def test_a_message_means_the_same_to_every_parser(
    world: World, parse: Callable[[bytes, Version], Meaning], version: str, forbidden: str
) -> None:
    sender, listener = world.connect("1.2"), world.connect(version)
    destination = "/topic/ä:b\\" if version != "1.0" else "/topic/ä"
    listener.subscribe(destination, id="s")
    listener.raw()

    @settings(max_examples=60, deadline=None)
    @given(headers(forbidden), st.binary(max_size=40))
    def check(sent: dict[str, str], body: bytes) -> None:
        if version == "1.0":
            sent = {name: value.lstrip(" \t") for name, value in sent.items()}
        fields = {"destination": destination, **sent}
        frame = _encode(fields, body)
        sender.send(frame, binary=True)
        (raw,) = listener.raw()
        command, got, content = parse(raw, Version(version))
        assert command == "MESSAGE"
        assert content == body
        assert got["subscription"] == "s"
        assert got["destination"] == destination
        assert {name: got[name] for name in sent} == sent
        expected = {"subscription", "destination", "message-id", *sent}
        assert set(got) == expected | ({"content-length"} if body else set())

    check()


def _encode(fields: dict[str, str], body: bytes) -> bytes:
    """By hand, so that the encoder is not judged by itself."""
    table = str.maketrans({"\\": "\\\\", ":": "\\c", "\n": "\\n", "\r": "\\r"})
    lines = [f"{n.translate(table)}:{v.translate(table)}\n" for n, v in fields.items()]
    head = f"SEND\n{''.join(lines)}content-length:{len(body)}\n\n"
    return head.encode() + body + b"\0"


@pytest.mark.parametrize("parse", [ours, stomp_py, stompman])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
def test_our_other_frames_mean_the_same_to_every_parser(
    world: World, parse: Callable[[bytes, Version], Meaning], version: str
) -> None:
    peer = world.upgrade()
    peer.send(f"CONNECT\naccept-version:{version}\nhost:h\n\n\0")
    peer.send("SEND\ndestination:/topic/a\nreceipt:a\\c\\n\\\\b\n\n\0")
    peer.send("SUBSCRIBE\nid:s\\c1\ndestination:/topic/a\\cb\nack:x\nreceipt:\\\\n\n\n\0")
    hello, receipt, error = (parse(raw, Version(version)) for raw in peer.raw())
    assert (hello[0], hello[1]["version"]) == ("CONNECTED", version)
    assert receipt == ("RECEIPT", {"receipt-id": "a:\n\\b"}, receipt[2])
    assert not receipt[2]
    assert error[0] == "ERROR"
    assert error[1]["receipt-id"] == "\\n"
    assert error[1]["destination"] == "/topic/a:b"
    assert error[1]["subscription"] == "s:1"
    assert error[1]["content-length"] == str(len(error[2]))
