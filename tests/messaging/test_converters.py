"""Converters of the application: bodies in and out by content type, and what goes wrong in one."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass, is_dataclass
from typing import Annotated, Any

import cbor2
import pydantic
import pytest

from stocksync_ws import ConfigurationError, ConversionError, Payload, StompApp, send_to
from stocksync_ws.testing import Peer, World

CBOR = "application/cbor"


@dataclass
class Reading:
    sensor: str
    value: float


class Opaque:
    """A class that JSON does not know."""

    def __init__(self, held: object = None) -> None:
        self.held = held


def encode(payload: object) -> bytes:
    if isinstance(payload, Opaque):
        return cbor2.dumps({"opaque": payload.held})
    return cbor2.dumps(asdict(payload) if is_dataclass(payload) else payload)  # type: ignore[arg-type]


def decode(body: bytes, kind: Any) -> Any:
    given = cbor2.loads(body)
    return Opaque(given) if kind is Opaque else pydantic.TypeAdapter(kind).validate_python(given)


def application() -> StompApp:
    app = StompApp("/ws", client_send=["/topic/**"])
    app.converter(CBOR, encode=encode, decode=decode)
    return app


def send(peer: Peer, destination: str, body: bytes, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    peer.send_to(destination, body, **headers)


READING = {"sensor": "a", "value": 1.5}


# In


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (CBOR, cbor2.dumps(READING)),
        ("Application/CBOR", cbor2.dumps(READING)),
        (" application/cbor ; charset=latin-9; version=1", cbor2.dumps(READING)),
        ("application/json", json.dumps(READING).encode()),
        (None, json.dumps(READING).encode()),
    ],
)
def test_the_content_type_of_a_send_decides_who_reads_it(
    content_type: str | None, body: bytes
) -> None:
    app = application()
    got: list[Reading] = []

    @app.message_mapping("/readings")
    def handle(reading: Reading) -> None:
        got.append(reading)

    with World(app) as world:
        send(world.connect(), "/app/readings", body, content_type)
        world.settle()
    assert got == [Reading("a", 1.5)]


def test_the_declared_type_is_handed_in_as_it_stands() -> None:
    app = StompApp("/ws")
    asked: list[Any] = []
    app.converter(CBOR, encode=encode, decode=lambda body, kind: asked.append(kind))

    @app.message_mapping("/bare")
    def bare(payload): ...  # type: ignore[no-untyped-def]

    @app.message_mapping("/text")
    def text(payload: str) -> None: ...

    @app.message_mapping("/union")
    def union(payload: list[Reading] | None) -> None: ...

    @app.message_mapping("/marked")
    def marked(payload: Annotated[int, Payload(), "said"]) -> None: ...

    with World(app) as world:
        peer = world.connect()
        for path in ("bare", "text", "union", "marked"):
            send(peer, f"/app/{path}", b"", CBOR)
        world.settle()
    assert asked[:3] == [Any, str, list[Reading] | None]
    assert asked[3].__metadata__[1] == "said"


def test_octets_and_a_default_are_no_matter_of_a_converter() -> None:
    app = application()
    got: list[object] = []

    @app.message_mapping("/octets")
    def octets(body: bytes) -> None:
        got.append(body)

    @app.message_mapping("/default")
    def default(reading: Reading | None = None) -> None:
        got.append(reading)

    with World(app) as world:
        peer = world.connect()
        send(peer, "/app/octets", b"\xff\x00", CBOR)
        send(peer, "/app/default", b"", CBOR)
        world.settle()
    assert got == [b"\xff\x00", None]


def test_a_content_type_without_converter_stays_what_it_was() -> None:
    app = application()
    told: list[str] = []

    @app.message_mapping("/readings")
    def handle(reading: Reading) -> None: ...

    @app.message_exception_handler(ConversionError)
    def failed(error: ConversionError) -> None:
        told.append(str(error))

    with World(app) as world:
        peer = world.connect()
        for content_type in ("application/x-msgpack", "cbor", "application/cbor;="):
            send(peer, "/app/readings", cbor2.dumps(READING), content_type)
        world.settle()
    assert told == [
        "header content-type: neither text nor JSON; a `bytes` parameter takes anything",
        "header content-type: not of the form type/subtype",
        "header content-type: malformed parameters",
    ]


def test_a_form_of_json_and_of_text_may_have_a_converter() -> None:
    app = StompApp("/ws")
    for content_type in ("application/problem+json", "text/csv"):
        app.converter(content_type, encode=encode, decode=lambda body, kind: body.split(b","))
    got: list[object] = []

    @app.message_mapping("/rows")
    def rows(fields: list[bytes] | str) -> None:
        got.append(fields)

    with World(app) as world:
        peer = world.connect()
        send(peer, "/app/rows", b"a,b", "text/csv;header=absent")
        send(peer, "/app/rows", b"{},[]", "application/problem+json")
        send(peer, "/app/rows", b'["a"]', "application/other+json")
        world.settle()
    assert got == [[b"a", b"b"], [b"{}", b"[]"]]


def test_a_class_that_only_a_converter_knows_may_be_a_payload() -> None:
    app = application()
    got: list[object] = []

    @app.message_mapping("/opaque")
    def handle(opaque: Opaque) -> None:
        got.append(opaque.held)

    @app.message_exception_handler(ConversionError)
    def failed(error: ConversionError) -> None:
        got.append(str(error))

    with World(app) as world:
        peer = world.connect()
        send(peer, "/app/opaque", cbor2.dumps(7), CBOR)
        send(peer, "/app/opaque", b"7", None)
        send(peer, "/app/opaque", b"7", "application/json")
        world.settle()
    refused = "header content-type: Opaque can only be read from application/cbor"
    assert got == [7, refused, refused]


def test_without_a_converter_such_a_class_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="Opaque cannot be decoded from JSON"):

        @StompApp("/ws").message_mapping("/opaque")
        def handle(opaque: Opaque) -> None: ...


@pytest.mark.parametrize("raised", [ValueError("secret"), KeyError(1), ConversionError("$.a", "b")])
def test_what_decode_raises_is_the_mapped_error_with_its_cause(raised: Exception) -> None:
    app = StompApp("/ws")
    told: list[ConversionError] = []

    def fails(body: bytes, kind: Any) -> Any:
        raise raised

    app.converter(CBOR, encode=encode, decode=fails)

    @app.message_mapping("/readings")
    def handle(reading: Reading) -> None: ...

    @app.message_exception_handler(ConversionError)
    def failed(error: ConversionError) -> None:
        told.append(error)

    with World(app) as world:
        send(world.connect(), "/app/readings", b"", CBOR)
        world.settle()
    (error,) = told
    if isinstance(raised, ConversionError):
        assert error is raised
    else:
        assert str(error) == f"$: decode= of application/cbor raised {type(raised).__name__}"
        assert error.__cause__ is raised


def test_unmapped_it_is_bad_payload_and_the_text_of_the_cause_stays_here() -> None:
    app = application()

    @app.message_mapping("/readings")
    def handle(reading: Reading) -> None: ...

    with World(app) as world:
        peer = world.connect()
        send(peer, "/app/readings", cbor2.dumps({"sensor": "secret"}), CBOR)
        error = peer.error()
    assert error.headers["code"] == "bad-payload"
    assert b"secret" not in error.body


# Out


def test_each_mapping_may_say_what_it_returns() -> None:
    app = application()

    @app.message_mapping("/readings", content_type=CBOR)
    @send_to("/topic/one", "/topic/two")
    def handle(value: float) -> Reading:
        if value < 0:
            raise ValueError
        return Reading("a", value)

    @app.subscribe_mapping("/last", content_type="Application/CBOR;version=1")
    def last() -> Reading:
        return Reading("a", 1)

    @app.snapshot("/topic/one", content_type=CBOR)
    async def first() -> Opaque:
        return Opaque(0)

    @app.message_exception_handler(ValueError, content_type=CBOR)
    def failed(error: ValueError) -> dict[str, str]:
        return {"error": "value"}

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/app/last")
        answer = peer.message()
        assert answer.headers["content-type"] == "Application/CBOR;version=1"
        assert cbor2.loads(answer.body) == {"sensor": "a", "value": 1}
        peer.subscribe("/topic/one")
        assert cbor2.loads(peer.message().body) == {"opaque": 0}
        peer.subscribe("/topic/two")
        peer.subscribe("/user/queue/errors")
        peer.send_to("/app/readings", "1.5")
        for _ in range(2):
            reply = peer.message()
            assert reply.headers["content-type"] == CBOR
            assert cbor2.loads(reply.body) == READING
        peer.send_to("/app/readings", "-1")
        assert cbor2.loads(peer.message().body) == {"error": "value"}


def test_what_is_octets_already_is_sent_as_it_is() -> None:
    app = application()

    @app.message_mapping("/raw", content_type=CBOR)
    def raw(size: int) -> bytes:
        return b"\x00" * size

    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/raw")
        peer.send_to("/app/raw", "2")
        app.template.convert_and_send("/topic/raw", bytearray(b"\x01"), {"content-type": CBOR})
        app.template.send("/topic/raw", b"\x02", {"content-type": CBOR})
        for body in (b"\x00\x00", b"\x01", b"\x02"):
            message = peer.message()
            assert (message.body, message.headers["content-type"]) == (body, CBOR)


@pytest.mark.parametrize("payload", [Reading("a", 1.5), "text", None, [1]])
def test_a_publisher_asks_by_its_content_type(payload: Any) -> None:
    app = application()
    asked = "application/CBOR; version=2"
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/topic/a")
        published = world.run(
            app.template.publish("/topic/a", payload, {"content-type": asked, "x": "y"})
        )
        assert published.receivers == 1
        message = peer.message()
        assert (message.headers["content-type"], message.headers["x"]) == (asked, "y")
        wanted = READING if isinstance(payload, Reading) else payload
        assert cbor2.loads(message.body) == wanted
        app.template.convert_and_send("/topic/a", payload, {"content-type": "text/x"})
        assert peer.message().body == (b"text" if payload == "text" else _json(payload))
        app.template.convert_and_send("/topic/a", payload, {"x": "y"})
        assert peer.message().headers["content-type"] != asked


def _json(payload: object) -> bytes:
    given = asdict(payload) if isinstance(payload, Reading) else payload
    return json.dumps(given, separators=(",", ":")).encode()


def test_a_publisher_reaches_a_user_in_that_content_type_too() -> None:
    class Ann:
        name = "ann"

    async def authenticate(request: Any) -> Ann:
        return Ann()

    app = StompApp("/ws", authenticator=authenticate)
    app.converter(CBOR, encode=encode, decode=decode)
    with World(app) as world:
        peer = world.connect()
        peer.subscribe("/user/queue/a")
        app.template.convert_and_send_to_user("ann", "/queue/a", 7, {"content-type": CBOR})
        assert cbor2.loads(peer.message().body) == 7


def test_headers_that_are_none_are_the_same_mistake_as_ever() -> None:
    app = application()
    wrong: Any = ["content-type"]
    with pytest.raises(ValueError, match="headers are a mapping"):
        app.template.convert_and_send("/topic/a", 1, wrong)


def told_by_hand(payload: object) -> bytes:
    raise ConversionError("$.a", "no sensor")


@pytest.mark.parametrize(
    ("give", "says", "cause"),
    [
        (lambda payload: str(payload), "encode= of application/cbor must return bytes, not", None),
        (told_by_hand, r"\$\.a: no sensor", None),
        (lambda payload: 1 / 0, "encode= of application/cbor raised", ZeroDivisionError),
    ],
)
def test_what_encode_does_wrong_is_told_to_whoever_publishes_or_in_the_log(
    give: Any, says: str, cause: type | None, caplog: pytest.LogCaptureFixture
) -> None:
    app = StompApp("/ws")
    app.converter(CBOR, encode=give, decode=decode)

    @app.message_mapping("/a", content_type=CBOR)
    def a() -> int:
        return 1

    with pytest.raises(ConversionError, match=says) as raised:
        app.template.convert_and_send("/topic/a", 1, {"content-type": CBOR})
    assert type(raised.value.__cause__) is (cause or type(None))
    with World(app, raise_errors=False) as world, caplog.at_level(logging.ERROR):
        peer = world.connect()
        peer.send_to("/app/a")
        assert peer.error().headers["code"] == "handler-failed"
    assert re.search(says, caplog.text)
    assert cause is None or cause.__name__ in caplog.text


# Declaring


async def later(*given: Any) -> bytes:
    return b""


class Later:
    async def __call__(self, *given: Any) -> bytes:
        return b""


WRONG: list[tuple[Any, Any, Any, str]] = [
    (7, encode, decode, "a content type is a text such as 'application/cbor', without parameters"),
    ("cbor", encode, decode, "a content type is a text"),
    ("application/cbor;version=1", encode, decode, "without parameters, not 'application/cbor;v"),
    (" application/cbor", encode, decode, "a content type is a text"),
    ("application/json", encode, decode, "application/json is what is written of everything but"),
    ("Text/Plain", encode, decode, "text/plain is what is written of a str, and cannot be repla"),
    ("application/octet-stream", encode, decode, "Use a content type of your own, such as"),
    (CBOR, None, decode, "encode= of application/cbor must be a function that is not async"),
    (CBOR, Later(), decode, "encode= of application/cbor must be a function that is not async"),
    (CBOR, encode, later, "decode= of application/cbor must be a function that is not async"),
]


@pytest.mark.parametrize(("content_type", "gives", "takes", "says"), WRONG)
def test_a_converter_that_cannot_work_is_refused(
    content_type: Any, gives: Any, takes: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        StompApp("/ws").converter(content_type, encode=gives, decode=takes)


def test_a_content_type_has_one_converter_whatever_its_case() -> None:
    app = application()
    with pytest.raises(ConfigurationError, match="application/cbor has one already"):
        app.converter("Application/Cbor", encode=encode, decode=decode)


def test_after_the_start_it_is_too_late() -> None:
    app = application()
    app.check()
    with pytest.raises(ConfigurationError, match="the application has started"):
        app.converter("application/x-msgpack", encode=encode, decode=decode)


def test_a_mapping_with_a_content_type_that_nothing_converts_is_refused_at_the_start() -> None:
    app = StompApp("/ws")

    @app.message_mapping("/a", content_type="Application/CBOR; version=1")
    def a() -> Opaque:
        return Opaque()

    with pytest.raises(ConfigurationError) as raised:
        app.check()
    assert "nothing converts content_type='Application/CBOR; version=1'" in str(raised.value)
    assert "write ws.converter('application/cbor', encode=..., decode=...)" in str(raised.value)
    app.converter(CBOR, encode=encode, decode=decode)  # It may also come later than its mappings.
    app.check()


@pytest.mark.parametrize("content_type", [7, "cbor", "application/cbor\nx:y", 'a/b;c="\0"', ""])
def test_a_content_type_that_is_none_is_refused_where_it_is_written(content_type: Any) -> None:
    app = StompApp("/ws")
    for declare in (app.message_mapping, app.subscribe_mapping):
        with pytest.raises(ConfigurationError, match="content_type is a text such as"):
            declare("/a", content_type=content_type)
    with pytest.raises(ConfigurationError, match="@snapshot: content_type is a text"):
        app.snapshot("/topic/a", content_type=content_type)
    with pytest.raises(ConfigurationError, match="@message_exception_handler: content_type"):
        app.message_exception_handler(KeyError, content_type=content_type)


@pytest.mark.parametrize("content_type", ["*/*", "application/*"])
def test_a_range_of_content_types_is_none_that_anybody_sends(content_type: str) -> None:
    with pytest.raises(ConfigurationError, match="a content type is a text such as"):
        StompApp("/ws").converter(content_type, encode=bytes, decode=lambda body, kind: body)
