"""Decoding: the rows D and B of the conformance list, C of the threats, G, E, H of STOMP A.

Every row is fed whole, cut in two at every octet, and octet by octet, with one and the same result.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits
from stocksync_ws.errors import LimitExceeded, RemoteProtocolError
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import Frame, Version

V10, V11, V12 = Version
SMALL = Limits(max_header_line=128, max_header_block=128, max_message_size=128)
WIDE = Limits(max_messages_per_frame=1_000_000)
Failure = tuple[ErrorCode, str | None, dict[str, str]]


def decode(
    messages: Iterable[bytes], version: Version | None, limits: Limits = WIDE, server: bool = False
) -> tuple[list[Frame], Failure | None, bool]:
    """Frames, the failure, and whether a frame is left unfinished."""
    decoder = Decoder(limits, server_frames=server)
    decoder.version = version
    frames: list[Frame] = []
    for message in messages:
        decoder.feed(message)
        try:
            while (frame := decoder.next()) is not None:
                frames.append(frame)
                assert not decoder.mid_frame
        except RemoteProtocolError as error:
            assert_dead(decoder, error)
            return frames, (error.code, error.command, dict(error.headers)), False
    return frames, None, decoder.mid_frame


def assert_dead(decoder: Decoder, error: RemoteProtocolError) -> None:
    """No resynchronisation: every later call raises the same again."""
    assert (error.code.code == "limit") is isinstance(error, LimitExceeded)
    assert not decoder.mid_frame
    for _ in range(2):
        with pytest.raises(type(error)) as again:
            decoder.next()
        assert again.value.code is error.code
        assert (again.value.command, again.value.headers) == (error.command, error.headers)
        with pytest.raises(type(error)):
            decoder.feed(b"CONNECT\n\n\0")


def every_way(
    data: bytes, version: Version | None, limits: Limits = WIDE, server: bool = False
) -> tuple[list[Frame], Failure | None, bool]:
    result = decode([data], version, limits, server)
    for cut in range(1, len(data)):
        assert decode([data[:cut], data[cut:]], version, limits, server) == result, cut
    assert decode([data[i : i + 1] for i in range(len(data))], version, limits, server) == result
    assert decode([b"", *[bytes([octet]) for octet in data], b""], version, limits, server) == (
        result
    )
    return result


def send(body: bytes = b"", **headers: str) -> Frame:
    return Frame("SEND", {key.replace("_", "-"): value for key, value in headers.items()}, body)


def row(name: str, data: bytes, *frames: Frame, version: Version | None = V12) -> object:
    return pytest.param(data, version, list(frames), id=f"{name}-{version}")


BODY = b"The body of the message"
TEXT = b"destination:test\n"
CONNECT = Frame("CONNECT", {"accept-version": "1.1", "host": "github.org"})
DISCONNECT = Frame("DISCONNECT", {})

GOOD = [
    *[row("D1", b"DISCONNECT\n\n\0", DISCONNECT, version=version) for version in (None, *Version)],
    row("D2", b"DISCONNECT\r\n\r\n\0", DISCONNECT),
    row("D2", b"DISCONNECT\r\n\r\n\0", DISCONNECT, version=None),
    *[
        row("D3", b"CONNECT\naccept-version:1.1\nhost:github.org\n\n\0", CONNECT, version=version)
        for version in (None, *Version)
    ],
    *[
        row(
            "D3-crlf",
            b"CONNECT\r\naccept-version:1.1\r\nhost:github.org\r\n\r\n\0",
            CONNECT,
            version=v,
        )
        for v in (None, *Version)
    ],
    *[
        row(
            "D4", b"SEND\n" + TEXT + b"\n" + BODY + b"\0", send(BODY, destination="test"), version=v
        )
        for v in (None, *Version)
    ],
    *[
        row(
            "D5",
            b"SEND\n" + TEXT + b"content-length:23\n\n" + BODY + b"\0",
            send(BODY, destination="test", content_length="23"),
            version=v,
        )
        for v in (None, *Version)
    ],
    row("D7", b"SEND\ncontent-length:0\n\n\0", send(content_length="0")),
    row(
        "D8",
        b"SEND\ncontent-length:23\n\nThe b\0dy \0f the message\0",
        send(b"The b\0dy \0f the message", content_length="23"),
    ),
    row(
        "D11",
        b"DISCONNECT\na\\c\\r\\n\\\\b:alpha\\cbravo\\r\\n\\\\\n\n\0",
        Frame("DISCONNECT", {"a:\r\n\\b": "alpha:bravo\r\n\\"}),
    ),
    row("D11", b"SEND\na\\c\\n\\\\b:x\\c\n\n\0", Frame("SEND", {"a:\n\\b": "x:"}), version=V11),
    row("D11", b"SEND\na\\c\\r:x\\t\\\n\n\0", Frame("SEND", {"a\\c\\r": "x\\t\\"}), version=V10),
    *[
        row("D12", b"CONNECT\nkey:\\value\n\n\0", Frame("CONNECT", {"key": "\\value"}), version=v)
        for v in (None, *Version)
    ],
    row("D12", b"STOMP\nkey:\\\n\n\0", Frame("STOMP", {"key": "\\"}), version=None),
    row("D14", b"DISCONNECT\n\n\0\n\n\n", DISCONNECT),
    row("D15", b"SEND\na:1\n\nx\0SEND\n\ny\0", send(b"x", a="1"), send(b"y")),
    row("D16", b"SEND\nkey:\n\n\0", send(key="")),
    row("D16", b"SEND\nkey:\n\n\0", send(key=""), version=V10),
    row("D19", b"SEND\ncontent-type:@;;\n\n\0", send(content_type="@;;")),
    row("D20", b"\n"),
    row("D26", b"SEND\r\na:b\r\n\r\nx\r\n\0", send(b"x\r\n", a="b")),
    row("D27", b"SEND\nfoo:1\nfoo:2\n\n\0", send(foo="1")),
    row("G1", b"SEND\ndestination:/queue/a\n\nhi\0\n\n", send(b"hi", destination="/queue/a")),
    row("G3", b"\n\n\r\nCONNECT\n\n\0\r\n\n", Frame("CONNECT", {}), version=None),
    *[row("G3", b"\n\r\n\0\r\nSEND\n\n\0", send(), version=v) for v in (None, *Version)],
    row("G4", b"\0\0SEND\n\n\0\0\n\0", send()),
    row("G4", b"\0\0CONNECT\n\n\0", Frame("CONNECT", {}), version=None),
    row("G7", b"SEND\nx:\n\n\0", send(x="")),
    row("G8", b"SEND\ncl\xc3\xa9:\xc3\xa9\n\n\xff\0", Frame("SEND", {"clé": "é"}, b"\xff")),
    row("G9", b"SEND\nk:a:b\n\n\0", send(k="a:b")),
    row("G10", b"SEND\ncontent-length:3\n\na\0b\0", send(b"a\0b", content_length="3")),
    row(
        "G12",
        b"ACK\nid:1\ncontent-length:0\n\n\0",
        Frame("ACK", {"id": "1", "content-length": "0"}),
    ),
    row("E1", b"SEND\nk:a\\\\c\n\n\0", send(k="a\\c")),
    row("E1-run", b"SEND\nk:\\\\\\\\\\\\\\n\n\n\0", send(k="\\\\\\\n")),
    row("E1-mixed", b"SEND\nk:\\c\\\\\\c\\\\n\n\n\0", send(k=":\\:\\n")),
    row(
        "E3",
        b"CONNECT\npasscode:pa:ss\n\n\0",
        Frame("CONNECT", {"passcode": "pa:ss"}),
        version=None,
    ),
    row("E6", b"SEND\nk:a\\cb\n\n\0", send(k="a\\cb"), version=V10),
    row("CR-is-data", b"SEND\nk\r:a\rb\r\n\n\0", Frame("SEND", {"k\r": "a\rb\r"}), version=V11),
    row("CR-is-data", b"SEND\nk:\r\n\n\0", send(k="\r"), version=V10),
    row(
        "1.0-trim",
        b"SEND\ndestination: \t/q \nb:  \n\n\0",
        send(destination="/q ", b=""),
        version=V10,
    ),
    row(
        "1.0-trim",
        b"SEND\ncontent-length: 2\n\na\0\0",
        send(b"a\0", content_length="2"),
        version=V10,
    ),
    row("no-trim", b"SEND\nk: v \n\n\0", send(k=" v "), version=V11),
    row("no-trim", b"SEND\n k : v \n\n\0", Frame("SEND", {" k ": " v "})),
    row("1.0-body", b"SUBSCRIBE\na:b\n\nxyz\0", Frame("SUBSCRIBE", {"a": "b"}), version=V10),
    row(
        "1.0-body-length",
        b"SUBSCRIBE\ncontent-length:3\n\nx\0z\0DISCONNECT\n\n\0",
        Frame("SUBSCRIBE", {"content-length": "3"}),
        DISCONNECT,
        version=V10,
    ),
    row(
        "CONNECT-of-1.0",
        b"CONNECT\ncontent-length: 0\n\n\0",
        Frame("CONNECT", {"content-length": " 0"}),
        version=None,
    ),
    row("C6", b"SEND\ndestination:/a:b\n\n\0", send(destination="/a:b")),
    row("C7-05", b"SEND\ncontent-length:05\n\nabcde\0", send(b"abcde", content_length="05")),
    row(
        "C7-same",
        b"SEND\ncontent-length:1\ncontent-length:1\n\n\0\0",
        send(b"\0", content_length="1"),
    ),
    row("C8", b"SEND\nContent-Length:5\n\nx\0", Frame("SEND", {"Content-Length": "5"}, b"x")),
    row("C15", b"SEND\ndestination:/a\ndestination:/a\n\n\0", send(destination="/a")),
    row("C21", b"SEND\nx:\x1b[31m\x7f\n\n\0", send(x="\x1b[31m\x7f")),
    row("CRLF-blank-later", b"SEND\r\n\r\nb\n\nc\0", send(b"b\n\nc")),
    row("empty-body-then-LFs", b"SEND\n\n\n\n\0", send(b"\n\n")),
    row("ack-id", b"ACK\nid:" + b"i" * 149 + b"\n\n\0", Frame("ACK", {"id": "i" * 149})),
    row("send-id", b"SEND\nid:" + b"i" * 500 + b"\n\n\0", send(id="i" * 500)),
]


@pytest.mark.parametrize(("data", "version", "frames"), GOOD)
def test_accepted(data: bytes, version: Version | None, frames: list[Frame]) -> None:
    assert every_way(data, version) == (frames, None, False)


def bad(
    name: str,
    data: bytes,
    code: str,
    command: str | None = None,
    version: Version | None = V12,
    **headers: str,
) -> object:
    read = {key.replace("_", "-"): value for key, value in headers.items()}
    enum = (
        ErrorCode.LIMIT_SIZE
        if code == "limit"
        else next(member for member in ErrorCode if member.code == code)
    )
    return pytest.param(data, version, (enum, command, read), id=f"{name}-{version}")


LENGTHS = [
    "abc",
    "5abc",
    "1e1",
    "1_0",
    "+5",
    " 5",
    "5 ",
    "\u0665",
    "-1",
    "0x5",
    "",
    "00000000005",
    "\xb2",
]
BLANK = b"SEND\nreceipt:r\n"

BAD = [
    bad("D6", b"SEND\ncontent-length:-1\n\nx\0", "bad-content-length", "SEND", content_length="-1"),
    bad(
        "D9",
        b"SEND\ncontent-length:23\n\n" + BODY + b"*",
        "missing-nul",
        "SEND",
        content_length="23",
    ),
    bad("D13", b"CONNECT\n\nx\0", "body-not-allowed", "CONNECT", None),
    bad("D22", b"SEND\na:alpha\\x\\n\nMessage body\0", "bad-escape", "SEND"),
    bad("D23", b"SEND\na:alpha\\\n\nMessage body\0", "bad-escape", "SEND"),
    bad("D24", b"FOO\n\n\0", "unknown-command"),
    bad("D25", b"SEND\nreceipt:r\nno colon\n\n\0", "bad-header", "SEND", receipt="r"),
    bad("G2", b"send\ndestination:/q\n\nx\0", "unknown-command"),
    bad("G6-name", b"SEND\n:v\n\n\0", "bad-header", "SEND"),
    bad("G6-name", b"SEND\n:v\n\n\0", "bad-header", "SEND", V10),
    bad("G8", b"SEND\nk:\xff\n\n\0", "bad-utf8", "SEND"),
    bad("G10", b"SEND\ncontent-length:1\n\nabc\0", "missing-nul", "SEND", content_length="1"),
    bad("E5", b"SEND\nk:a\\tb\n\n\0", "bad-escape", "SEND"),
    bad("E5", b"SEND\nk:a\\rb\n\n\0", "bad-escape", "SEND", V11),
    bad("E5-name", b"SEND\nk\\x:a\n\n\0", "bad-escape", "SEND"),
    bad("E5-colon", b"SEND\nk\\:a\n\n\0", "bad-escape", "SEND"),
    bad("C1", b"SEND\nreceipt:1\ndestination:/a\\tb\n\nx\0", "bad-escape", "SEND", receipt="1"),
    bad("C2", b"SEND\ndestination:/a\\\n\nx\0", "bad-escape", "SEND"),
    bad("C3-header", b"SEND\na:b\rc\n\n\0", "bad-header", "SEND"),
    bad("C3-name", b"SEND\n\ra:b\n\n\0", "bad-header", "SEND"),
    bad("C3-two", b"SEND\na:b\r\r\n\n\0", "bad-header", "SEND"),
    bad("C3-connect", b"CONNECT\na:b\rc\n\n\0", "bad-header", "CONNECT", None),
    bad("C3-connect", b"CONNECT\na:b\rc\n\n\0", "bad-header", "CONNECT", V11),
    bad("C3-command", b"SE\rND\n\n\0", "unknown-command"),
    bad("C3-between", b"\rSEND\n\n\0", "bad-header"),
    bad("C3-between", b"\n\0\r\r\n", "bad-header", None, V10),
    bad("CRLF", b"SEND\r\n\r\n\0", "unknown-command", None, V11),
    bad("CRLF-blank", b"SEND\n\r\n\0", "bad-header", "SEND", V10),
    bad("C4-header", b"SEND\na:b\0c\n\n\0", "bad-header", "SEND"),
    bad("C4-no-line", b"SEND\nreceipt:r\nab\0", "bad-header", "SEND", receipt="r"),
    bad("C4-blank", b"SEND\nreceipt:r\n\0", "bad-header", "SEND", receipt="r"),
    bad("C4-command", b"SE\0ND\n\n\0", "unknown-command"),
    bad("C4-only", b"SEND\0", "unknown-command"),
    *[
        bad(
            "C7",
            f"SEND\ncontent-length:{value}\n\n\0".encode(),
            "bad-content-length",
            "SEND",
            content_length=value,
        )
        for value in LENGTHS
    ],
    bad(
        "C7-cr",
        b"SEND\ncontent-length:5\\n\n\nabcde\0",
        "bad-content-length",
        "SEND",
        content_length="5\n",
    ),
    bad(
        "C7-zeros",
        b"SEND\ncontent-length:00000000005\n\nabcde\0",
        "bad-content-length",
        "SEND",
        content_length="00000000005",
    ),
    bad(
        "C7-on-ack",
        b"ACK\ncontent-length:x\n\n\0",
        "bad-content-length",
        "ACK",
        content_length="x",
    ),
    bad(
        "C7-connect",
        b"CONNECT\naccept-version:1.2\ncontent-length: 0\n\n\0",
        "bad-content-length",
        "CONNECT",
        None,
        accept_version="1.2",
        content_length=" 0",
    ),
    bad(
        "C7-big",
        b"SEND\ncontent-length:2147483648\n\n",
        "limit",
        "SEND",
        content_length="2147483648",
    ),
    bad(
        "C7-two",
        b"SEND\ncontent-length:1\ncontent-length:2\n\n",
        "bad-content-length",
        "SEND",
        content_length="1",
    ),
    bad("C9", b"SEND\ncontent-length:1\n\nhi\0", "missing-nul", "SEND", content_length="1"),
    bad(
        "C10",
        b"SUBSCRIBE\nid:1\ncontent-length:40\n\n\0SEND\n\n\0",
        "body-not-allowed",
        "SUBSCRIBE",
        id="1",
        content_length="40",
    ),
    bad("C11", b"SUBSCRIBE\nid:1\n\nx\0", "body-not-allowed", "SUBSCRIBE", id="1"),
    bad("C11", b"SUBSCRIBE\nid:1\n\nx\0", "body-not-allowed", "SUBSCRIBE", V11, id="1"),
    bad("C11-lf", b"DISCONNECT\n\n\n\0", "body-not-allowed", "DISCONNECT"),
    bad("C11-ack", b"ACK\nid:1\n\nx\0", "body-not-allowed", "ACK", id="1"),
    bad(
        "C11-length",
        b"CONNECT\ncontent-length:1\n\n",
        "body-not-allowed",
        "CONNECT",
        None,
        content_length="1",
    ),
    bad("C12-padded", b"SEND \n\n\0", "unknown-command"),
    bad("C12-bom", b"\xef\xbb\xbfCONNECT\n\n\0", "unknown-command", None, None),
    bad("C12-utf8", b"\xff\n\n\0", "unknown-command"),
    *[
        bad("C13", command + b"\n\n\0", "unknown-command", command.decode())
        for command in (b"MESSAGE", b"CONNECTED", b"ERROR", b"RECEIPT")
    ],
    bad("NACK", b"NACK\nmessage-id:1\n\n\0", "unknown-command", "NACK", V10),
    bad("C14-overlong", b"SEND\nk:\xc0\xaf\n\n\0", "bad-utf8", "SEND"),
    bad("C14-surrogate", b"SEND\nk:\xed\xa0\x80\n\n\0", "bad-utf8", "SEND"),
    *[
        bad(
            "C15",
            f"SEND\n{name}:a\n{name}:b\n\n\0".encode(),
            "repeated-header",
            "SEND",
            **{name: "a"},
        )
        for name in ("destination", "id", "ack", "transaction", "receipt", "login", "passcode")
    ],
    bad("C16-command", b"A" * 17, "unknown-command"),
    bad("C16-command", b"A" * 40 + b"\n", "unknown-command"),
    bad("C16-command", b"A" * 16 + b"\n", "unknown-command"),
]


@pytest.mark.parametrize(("data", "version", "failure"), BAD)
def test_refused(data: bytes, version: Version | None, failure: Failure) -> None:
    assert every_way(data, version) == ([], failure, False)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(data, id=f"D10-{index}" if index < 1 else f"D17-{index}")
        for index, data in enumerate(
            [
                b"SEND\ncontent-length:23\n\nThe body",
                b"MESSAG",
                b"SEND\ndestination",
                b"SEND\ndestination:",
                b"SEND\ndestination:test",
                b"SEND\ndestination:test\n",
                b"SEND\ndestination:test\n\n",
                b"SEND\ndestination:test\n\nThe body",
                b"SEND\ncontent-type:text/plain;charset=U",  # D18
                b"SEND\na:long\\",  # D21
                b"SEND\r",
                b"DISCONNECT\n\n",
                b"ACK\ncontent-length:5\n\n",
            ]
        )
    ],
)
@pytest.mark.parametrize("version", [None, *Version])
def test_a_prefix_of_a_frame_waits(data: bytes, version: Version | None) -> None:
    frames, failure, mid_frame = every_way(data, version)
    assert (frames, failure, mid_frame) == ([], None, True)


def test_every_prefix_of_every_good_row_waits() -> None:
    for param in GOOD:
        data, version, frames = param.values  # type: ignore[attr-defined]
        for end in range(len(data)):
            read, failure, _ = decode([data[:end]], version)
            assert failure is None
            assert read == frames[: len(read)]


def test_what_stands_between_frames_begins_none() -> None:
    decoder = Decoder(WIDE)
    for message in (b"\n", b"\0", b"\r", b"", b"\n\r", b"\n"):
        decoder.feed(message)
        assert decoder.next() is None
        assert not decoder.mid_frame
    decoder.feed(b"S")
    assert decoder.next() is None
    assert decoder.mid_frame
    decoder.feed(b"END\n\n\0")
    assert decoder.next() == send()
    assert not decoder.mid_frame


# -- Versions ------------------------------------------------------------------------------------


def test_frames_are_decoded_with_the_version_that_then_holds() -> None:
    decoder = Decoder(WIDE)
    assert decoder.version is None
    decoder.feed(b"CONNECT\naccept-version:1.1\n\n\0SEND\na:\\c\r\n\n\0")
    first = decoder.next()
    assert first is not None
    assert first.command == "CONNECT"
    decoder.version = V11
    assert decoder.version is V11
    assert decoder.next() == send(a=":\r")


def test_a_second_connect_is_read_by_the_rules_of_connect() -> None:
    for version in Version:
        frames, _, _ = every_way(b"CONNECT\r\na:\\x\r\n\r\n\0", version)
        assert frames == [Frame("CONNECT", {"a": "\\x"})]


SERVER = [
    (
        b"CONNECTED\nversion:1.2\nuser-name:a\\b:c\n\n\0",
        Frame("CONNECTED", {"version": "1.2", "user-name": "a\\b:c"}),
    ),
    (b"MESSAGE\na:\\c\n\nx\0", Frame("MESSAGE", {"a": ":"}, b"x")),
    (b"MESSAGE\nreceipt:" + b"i" * 300 + b"\n\n\0", Frame("MESSAGE", {"receipt": "i" * 300})),
    (b"MESSAGE\nmessage-id:" + b"i" * 300 + b"\n\n\0", Frame("MESSAGE", {"message-id": "i" * 300})),
    (
        b"ERROR\nmessage:Unknown action\\c x\n\ny\0",
        Frame("ERROR", {"message": "Unknown action: x"}, b"y"),
    ),
    (b"RECEIPT\nreceipt-id:1\n\n\0", Frame("RECEIPT", {"receipt-id": "1"})),
]


@pytest.mark.parametrize(("data", "frame"), SERVER)
@pytest.mark.parametrize("version", [None, V11, V12])
def test_what_a_server_sends(data: bytes, frame: Frame, version: Version | None) -> None:
    assert every_way(data, version, server=True) == ([frame], None, False)


def test_a_server_may_not_send_what_a_client_sends() -> None:
    assert every_way(b"SEND\n\n\0", V12, server=True) == (
        [],
        (ErrorCode.UNKNOWN_COMMAND, "SEND", {}),
        False,
    )
    assert every_way(b"RECEIPT\n\nx\0", V12, server=True) == (
        [],
        (ErrorCode.BODY_NOT_ALLOWED, "RECEIPT", {}),
        False,
    )


# -- ACK with the content-length of a MESSAGE: the border of the message counts ------------------

ECHO = b"ACK\nid:1\ncontent-length:5\n\n"
ECHOED = Frame("ACK", {"id": "1", "content-length": "5"})
NOT_ALLOWED = (ErrorCode.BODY_NOT_ALLOWED, "ACK", {"id": "1", "content-length": "5"})


@pytest.mark.parametrize("rest", [b"", b"\n", b"\r\n", b"\n\n\r\n"])
def test_an_echoed_length_passes_when_only_eols_follow(rest: bytes) -> None:
    assert every_way(ECHO + b"\0" + rest, V12) == ([ECHOED], None, False)
    assert decode([ECHO.replace(b"ACK", b"NACK") + b"\0" + rest], V12)[1] is None


@pytest.mark.parametrize("rest", [b"x", b"\0", b"\n\0", b"SEND\n\n\0", b"\r\r\n"])
def test_an_echoed_length_is_refused_when_more_follows(rest: bytes) -> None:
    assert decode([ECHO + b"\0" + rest], V12) == ([], NOT_ALLOWED, False)
    assert decode([ECHO, b"\0" + rest], V12) == ([], NOT_ALLOWED, False)


def test_an_echoed_length_and_the_next_message() -> None:
    both = ([ECHOED, send()], None, False)
    assert decode([ECHO + b"\0", b"SEND\n\n\0"], V12) == both
    assert decode([ECHO + b"\0\r", b"\nSEND\n\n\0"], V12) == both
    frames, failure, _ = decode([ECHO + b"\0\r", b"SEND\n\n\0"], V12)
    assert frames == [ECHOED]
    assert failure == (ErrorCode.BAD_HEADER, None, {})


def test_an_echoed_length_may_be_larger_than_a_frame() -> None:
    data = b"ACK\nid:1\ncontent-length:9999999999\n\n\0"
    assert every_way(data, V12)[1] is None


def test_an_echoed_length_never_covers_a_body() -> None:
    assert every_way(ECHO + b"hello\0", V12) == ([], NOT_ALLOWED, False)


# -- Streams (rows B) ----------------------------------------------------------------------------


def test_b1_b7_within_the_limit() -> None:
    frames = [send(b"Message body", a="alpha")]
    assert every_way(b"SEND\na:alpha\n\nMessage body\0", V12, SMALL) == (frames, None, False)


def test_b2_two_chunks() -> None:
    decoder = Decoder(SMALL)
    decoder.feed(b"SEND\na:alpha\n\nMessage")
    assert decoder.next() is None
    decoder.feed(b" body\0")
    assert decoder.next() == send(b"Message body", a="alpha")


@pytest.mark.parametrize(
    "header", [pytest.param(b"content-length:19", id="B3"), pytest.param(b"a:alpha", id="B4")]
)
def test_b3_b4_three_chunks(header: bytes) -> None:
    decoder = Decoder(SMALL)
    decoder.feed(b"SEND\na:alpha\n\nPayload1\0SEND\n" + header + b"\n")
    assert decoder.next() == send(b"Payload1", a="alpha")
    assert decoder.next() is None
    decoder.feed(b"\nPayload2a")
    assert decoder.next() is None
    decoder.feed(b"-Payload2b\0")
    frame = decoder.next()
    assert frame is not None
    assert frame.body == b"Payload2a-Payload2b"
    assert decoder.next() is None


def test_b5_a_length_over_the_limit_fails_with_the_head() -> None:
    data = b"SEND\na:1\n\nPayload1\0SEND\ncontent-length:129\n\n"
    assert every_way(data, V12, SMALL) == (
        [send(b"Payload1", a="1")],
        (ErrorCode.LIMIT_SIZE, "SEND", {"content-length": "129"}),
        False,
    )


def test_b6_a_body_over_the_limit() -> None:
    limits = Limits(max_header_line=10, max_header_block=15, max_message_size=20)
    assert every_way(b"SEND\na:alpha\n\nMessage body", V12, limits) == (
        [],
        (ErrorCode.LIMIT_SIZE, "SEND", {"a": "alpha"}),
        False,
    )


# -- Limits are exact: N passes, N + 1 does not, however it is cut -------------------------------

LIMIT = ErrorCode.LIMIT_SIZE
COUNT = ErrorCode.LIMIT_COUNT


@pytest.mark.parametrize("separator", [b"\n", b"\r\n"])
def test_header_count(separator: bytes) -> None:
    limits = Limits(max_headers=3)
    for names, good in (((b"a", b"b", b"c"), True), ((b"a", b"b", b"c", b"d"), False)):
        lines = [b"SEND", *[name + b":1" for name in names], b"", b"\0"]
        frames, failure, _ = every_way(separator.join(lines), V12, limits)
        assert (len(frames), failure is None) == (good, good)
    assert failure == (COUNT, "SEND", {"a": "1", "b": "1", "c": "1"})


def test_c17_repeated_headers_are_counted() -> None:
    assert every_way(b"SEND\n" + b"a:1\n" * 64 + b"\n\0", V12)[1] is None
    assert every_way(b"SEND\n" + b"a:1\n" * 65 + b"\n\0", V12)[1] == (COUNT, "SEND", {"a": "1"})
    assert decode([b"SEND\n" + b"a:1\n" * 1_000_000], V12)[1] == (COUNT, "SEND", {"a": "1"})


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_header_line(end: bytes) -> None:
    limits = Limits(max_header_line=20)
    line = b"a:" + b"x" * (18 - len(end)) + end
    assert every_way(b"SEND\n" + line + b"\n\n\0", V12, limits)[1] is None
    assert every_way(b"SEND\nax" + line[1:] + b"\n\n\0", V12, limits)[1] == (LIMIT, "SEND", {})
    assert every_way(b"SEND\n" + line + b"x", V12, limits)[1] == (LIMIT, "SEND", {})
    # NUL as the octet too many: the limit comes first; before it the NUL does.
    assert every_way(b"SEND\n" + b"x" * 20 + b"\0", V12, limits)[1] == (LIMIT, "SEND", {})
    nul = (ErrorCode.BAD_HEADER, "SEND", {})
    assert every_way(b"SEND\n" + b"x" * 19 + b"\0xxx\n", V12, limits)[1] == nul


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
@pytest.mark.parametrize("lines", [1, 3])
def test_header_block(eol: bytes, lines: int) -> None:
    """From the command to the end of the blank line, line ends included."""
    limits = Limits(max_header_line=95, max_header_block=100)
    start = b"SEND" + eol + (b"b:1" + eol) * (lines - 1) + b"a:"
    for size in (99, 100, 101, 102, 103):
        data = start + b"x" * (size - len(start) - 2 * len(eol)) + eol + eol + b"\0"
        assert data.index(b"\0") == size
        frames, failure, _ = every_way(data, V12, limits)
        assert (len(frames), failure is None) == (size <= 100, size <= 100)


def test_header_block_that_ends_exactly_with_a_line() -> None:
    limits = Limits(max_header_line=8, max_header_block=9)
    assert every_way(b"SEND\na:1\n\n\0", V12, limits)[1] == (LIMIT, "SEND", {"a": "1"})


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("command", [b"SEND", b"SUBSCRIBE"])
def test_message_size(length: bool, command: bytes) -> None:
    """The whole frame, NUL included; a 1.0 SUBSCRIBE has a body too."""
    for body in range(75, 110):
        head = command + (b"\ncontent-length:%d\n\n" % body if length else b"\n\n")
        data = head + b"x" * body + b"\0"
        frames, failure, _ = every_way(data, V10, SMALL)
        assert (len(frames), failure is None) == (len(data) <= 128,) * 2
        frames, failure, _ = decode([data], V12, SMALL)
        if command == b"SEND":
            assert (len(frames), failure is None) == (len(data) <= 128,) * 2
        else:
            assert failure is not None


def test_message_size_of_a_frame_without_a_body() -> None:
    limits = Limits(max_header_line=12, max_header_block=12, max_message_size=12)
    assert every_way(b"DISCONNECT\n\n\0", V12, limits)[1] == (LIMIT, "DISCONNECT", {})
    assert every_way(b"ACK\n\n\0", V12, limits)[1] is None


def test_c22_the_limit_falls_when_the_count_passes() -> None:
    decoder = Decoder(SMALL)
    decoder.feed(b"SEND\n\n" + b"x" * 121)
    assert decoder.next() is None
    assert decoder.mid_frame
    decoder.feed(b"x")
    with pytest.raises(LimitExceeded):
        decoder.next()


@pytest.mark.parametrize("name", ["receipt", "transaction", "id", "subscription", "message-id"])
@pytest.mark.parametrize("filler", ["x", "é", "\n"])
def test_ids_are_bounded_in_octets(name: str, filler: str) -> None:
    limits = Limits(max_id=8)
    longest = 8 + (21 if name == "id" else 0)
    for size in (longest, longest + 1):
        value = (filler * size).encode()[:size].decode(errors="replace").replace("�", "y")
        while len(value.encode()) < size:
            value += "z"
        written = value.replace("\n", "\\n").encode()
        result = every_way(b"ACK\n" + name.encode() + b":" + written + b"\n\n\0", V12, limits)
        if size == longest:
            assert result == ([Frame("ACK", {name: value})], None, False)
        else:
            assert result == ([], (LIMIT, "ACK", {}), False)


def test_ids_of_a_subscribe() -> None:
    limits = Limits(max_id=8)
    assert every_way(b"SUBSCRIBE\nid:12345678\n\n\0", V12, limits)[1] is None
    assert every_way(b"SUBSCRIBE\nid:123456789\n\n\0", V12, limits)[1] == (LIMIT, "SUBSCRIBE", {})


def test_c19_messages_of_one_frame() -> None:
    limits = Limits(max_messages_per_frame=3)
    three = [b"\nSEND", b"\n\n", b"x\0"]
    assert decode(three * 2, V12, limits) == ([send(b"x")] * 2, None, False)
    four = [b"SEND", b"\n", b"\n", b"x\0"]
    assert decode(four, V12, limits) == ([], (COUNT, "SEND", {}), False)
    assert decode([b"SEND", b"", b"", b"\n\n\0"], V12, limits)[1] == (COUNT, None, {})
    # What stands between frames counts for none, and a frame counts from its own first message.
    gap = [b"\n"] * 9
    assert decode([*gap, *three, *gap, b"SEND\n\nx\0SEND", b"\n\n", b"\0"], V12, limits)[1] is None


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"])
def test_limits_are_those_of_one_frame(eol: bytes) -> None:
    limits = Limits(max_headers=2, max_header_line=20, max_header_block=40, max_message_size=60)
    frame = eol.join([b"SEND", b"a:1", b"b:2", b"", b"some body\0"])
    assert every_way(frame * 9, V12, limits) == (
        [send(b"some body", a="1", b="2")] * 9,
        None,
        False,
    )


def test_a_body_that_is_thrown_away_is_not_kept_meanwhile() -> None:
    decoder = Decoder(WIDE)
    decoder.version = V10
    decoder.feed(b"SUBSCRIBE\n\n")
    for _ in range(9):
        assert decoder.next() is None
        assert not decoder._held
        decoder.feed(b"x" * 1000)


def test_c18_a_flood_between_frames_is_not_kept() -> None:
    decoder = Decoder(WIDE)
    for _ in range(20):
        decoder.feed(b"\n\0\r\n" * 16_384)
        assert decoder.next() is None
        assert not decoder.mid_frame
    decoder.feed(b"SEND\n\n\0")
    assert decoder.next() == send()


def test_feeding_before_none_loses_nothing() -> None:
    decoder = Decoder(WIDE)
    decoder.feed(b"SEND\n\na\0SEND\n")
    assert decoder.next() == send(b"a")
    decoder.feed(b"\nb\0")
    assert decoder.next() == send(b"b")


def test_what_is_kept_is_said_wherever_a_frame_was_cut() -> None:
    frame = b"SEND\ndestination:/a\ncontent-length:5\n\nhello\0"
    for version in (Version.V10, Version.V12):
        for cut in range(1, len(frame)):
            decoder = Decoder(WIDE)
            decoder.version = version
            decoder.feed(frame[:cut])
            assert decoder.next() is None
            assert decoder.kept == cut
            decoder.feed(frame[cut:])
            assert decoder.kept == len(frame)
            assert decoder.next() is not None
            assert decoder.kept == 0
            assert decoder.next() is None


def test_a_message_is_kept_whole_while_frames_are_left_in_it() -> None:
    frame = b"SEND\ndestination:/a\n\nhello\0"
    for version in (Version.V10, Version.V12):
        decoder = Decoder(WIDE)
        decoder.version = version
        decoder.feed(frame * 2)
        for kept in (2 * len(frame), 0):
            assert decoder.next() is not None
            assert decoder.kept == kept
