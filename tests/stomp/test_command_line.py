"""The line of a command: what is none is refused at its first wrong octet, however it is cut."""

from __future__ import annotations

import pytest

from stocksync_ws.codes import ErrorCode
from stocksync_ws.config import Limits
from stocksync_ws.errors import RemoteProtocolError
from stocksync_ws.stomp.command_line import COMMANDS, FIRST_FRAME, begins, may_begin_frame
from stocksync_ws.stomp.decoder import Decoder
from stocksync_ws.stomp.frame import Version

FOREIGN = [
    b'{"type":"hello"}',
    b"[]",
    b'["CONNECT\\naccept-version:1.2\\n\\n\\u0000"]',
    b"Hello, is anybody there?",
    b"PING",
    b"connect\naccept-version:1.2\n\n\0",
    b"CONNECT accept-version:1.2",
    b"CONNECT\\naccept-version:1.2\\n\\n^@",
    b"GET / HTTP/1.1\r\n",
    b" CONNECT\n\n\0",
    b"\n{",
    b"\x00\x01",
    "émile".encode(),
]


def failure(*messages: bytes, version: Version | None = None) -> RemoteProtocolError | None:
    decoder = Decoder(Limits())
    decoder.version = version
    try:
        for message in messages:
            decoder.feed(message)
            while decoder.next() is not None:
                pass
    except RemoteProtocolError as error:
        return error
    return None


@pytest.mark.parametrize("sent", FOREIGN)
def test_what_is_no_stomp_is_told_what_a_first_frame_looks_like(sent: bytes) -> None:
    assert not may_begin_frame(sent)
    octets = [bytes((octet,)) for octet in sent]
    for messages in ([sent], octets):
        error = failure(*messages)
        assert error is not None
        assert (error.code, error.detail) == (ErrorCode.UNKNOWN_COMMAND, FIRST_FRAME)


def test_later_frames_are_not_told_of_the_first() -> None:
    error = failure(b"PING", version=Version.V12)
    assert error is not None
    assert (error.code, error.detail) == (ErrorCode.UNKNOWN_COMMAND, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_may_begin(command: bytes) -> None:
    for line in (command, command + b"\r"):
        for size in range(len(line) + 1):
            assert begins(line[:size])
            assert may_begin_frame(b"\n\0\r\n" + line[:size])
    assert begins(command + b"\nwhatever")
    assert not begins(command + b" ")


@pytest.mark.parametrize("sent", [b"", b"\n", b"\r\n\n\0"])
def test_what_stands_between_frames_is_no_mistake(sent: bytes) -> None:
    assert may_begin_frame(sent)
    assert failure(sent) is None


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"CONNECT\naccept-version:1.2\n\n", ErrorCode.BODY_NOT_ALLOWED),
        (b"SEND\ndestination:/topic/a\ncontent-length:2\n\nhi", ErrorCode.MISSING_NUL),
    ],
)
@pytest.mark.parametrize("cuts", ["whole", "octets"])
def test_a_typed_nul_is_named(head: bytes, code: ErrorCode, cuts: str) -> None:
    sent = head + b"^@"
    error = failure(*([sent] if cuts == "whole" else [bytes((octet,)) for octet in sent]))
    assert error is not None
    assert error.code is code
    assert "^@" in error.detail
    other = failure(head + b"x")
    assert other is not None
    assert not other.detail


@pytest.mark.parametrize(
    ("sent", "wanting"),
    [
        (b"SEND\ndestination:/topic/a\n\nhello^@\n", "^@"),
        (b"CONNECT\n^@", "^@"),
        (b"CONNECT\naccept-version:1.2\n\n", "did not come"),
        (b"CONNECT\n\n\0\n", ""),
    ],
)
def test_what_an_unfinished_frame_lacks(sent: bytes, wanting: str) -> None:
    decoder = Decoder(Limits())
    decoder.feed(sent)
    while decoder.next() is not None:
        pass
    assert wanting in decoder.wanting
    assert bool(decoder.wanting) is bool(wanting)


@pytest.mark.parametrize(
    ("limits", "sent", "code", "detail"),
    [
        ({}, b"SEND\nk:" + b"v" * 9_128 + b"\n", ErrorCode.LIMIT_SIZE,
         "Limits.max_header_line=8192, got 9130"),
        ({}, b"SEND\nk:" + b"v" * 9_128, ErrorCode.LIMIT_SIZE,
         "Limits.max_header_line=8192, got at least 9130"),
        ({}, b"SEND\n" + (b"k:" + b"v" * 5_997 + b"\n") * 3, ErrorCode.LIMIT_SIZE,
         "Limits.max_header_block=16384, got at least 18005"),
        ({"max_header_line": 3, "max_header_block": 3}, b"SEND\n\n\0", ErrorCode.LIMIT_SIZE,
         "Limits.max_header_block=3, got at least 5"),
        ({"max_header_line": 3, "max_header_block": 3}, b"Hello\n", ErrorCode.UNKNOWN_COMMAND,
         FIRST_FRAME),
        ({}, b"SEND\n" + b"k:v\n" * 65, ErrorCode.LIMIT_COUNT,
         "Limits.max_headers=64, got at least 65"),
        ({}, b"SEND\nreceipt:" + b"r" * 129 + b"\n", ErrorCode.LIMIT_SIZE,
         "Limits.max_id=128, got 129"),
        ({}, b"SEND\ncontent-length:70000\n\n", ErrorCode.LIMIT_SIZE,
         "Limits.max_message_size=65536, got 70028"),
        ({}, b"SEND\n\n" + b"x" * 70_000, ErrorCode.LIMIT_SIZE,
         "Limits.max_message_size=65536, got at least 65537"),
        ({}, b"SEND\nid:a\nid:b\n\n\0", ErrorCode.REPEATED_HEADER, "It is id."),
    ],
)  # fmt: skip
def test_an_error_names_its_cause(
    limits: dict[str, int], sent: bytes, code: ErrorCode, detail: str
) -> None:
    decoder = Decoder(Limits(**limits))  # type: ignore[arg-type]
    decoder.feed(sent)
    with pytest.raises(RemoteProtocolError) as caught:
        decoder.next()
    assert (caught.value.code, caught.value.detail) == (code, detail)


def test_messages_of_one_frame_are_counted() -> None:
    error = failure(b"SEND\n\n", *[b"x"] * 130)
    assert error is not None
    assert error.code is ErrorCode.LIMIT_COUNT
    assert error.detail == "Limits.max_messages_per_frame=128, got 129"
