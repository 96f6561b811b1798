"""Which parameter gets what, in each role, and what a declaration that cannot work is told."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional
from uuid import UUID

import pytest

from stocksync_ws.broker.model.session import Session
from stocksync_ws.errors import AccessDenied, ConfigurationError, ConversionError
from stocksync_ws.messaging.binding import (
    DestinationVariable,
    Exchange,
    Header,
    Plan,
    Role,
    plan,
)
from stocksync_ws.types import Principal
from tests.broker.kit import record

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTheTypeChecker


def session_of(user: Any = None) -> Session:
    made = record()
    made.user = user
    return Session(made)


class FakeFrame:
    def __init__(self, body: bytes = b"", **headers: str) -> None:
        self.body = body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Template:
    pass


class User(Principal):
    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name


class Staff(User):
    pass


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Flagged(Enum):
    ON = True
    NEVER = None


@dataclass
class Update:
    name: str
    quantity: int = 1


@dataclass
class Named:
    name: str = ""


@dataclass
class Holder:
    item: NotYet  # type: ignore[name-defined]  # noqa: F821


class Joined:
    pass


class Left:
    pass


class OutOfStock(Exception):
    pass


SESSION = session_of()
FRAMEWORK: Mapping[type, Callable[[Exchange], object]] = {
    Session: lambda exchange: exchange.session,
    FakeFrame: lambda exchange: exchange.frame,
    Template: lambda exchange: exchange.template,
}
LABEL = "@message_mapping('/inventory/{product_id}')"


def make(function: Any, role: Role = Role.MESSAGE, *names: str, final: bool = True) -> Plan | None:
    return plan(function, role=role, names=names, framework=FRAMEWORK, label=LABEL, final=final)


def bind(function: Any, role: Role = Role.MESSAGE, *names: str, **slots: Any) -> Any:
    made = make(function, role, *names)
    assert made is not None
    slots.setdefault("session", SESSION)
    slots.setdefault("frame", FakeFrame())
    args, kwargs = made.bind(Exchange(**slots))
    return function(*args, **kwargs)


def refusal(function: Any, role: Role = Role.MESSAGE, *names: str, final: bool = True) -> str:
    with pytest.raises(ConfigurationError) as caught:
        make(function, role, *names, final=final)
    return str(caught.value)


# What parameters get


def test_all_kinds_of_parameters_at_once() -> None:
    def adjust(
        update: Update,
        /,
        product_id: str,
        user: User | None,
        session: Session,
        frame: FakeFrame | None,
        *,
        trace: Annotated[str | None, Header("traceparent")] = None,
        headers: Mapping[str, str],
        template: Template,
    ) -> tuple[Any, ...]:
        return update, product_id, user, session, frame, trace, headers, template

    frame = FakeFrame(b'{"name":"a"}', traceparent="00", x="y")
    template = Template()
    found = bind(
        adjust, Role.MESSAGE, "product_id", frame=frame, variables={"product_id": "p1"},
        template=template,
    )  # fmt: skip
    assert found == (
        Update("a"), "p1", None, SESSION, frame, "00", {"traceparent": "00", "x": "y"}, template
    )  # fmt: skip


def test_a_handler_without_payload_ignores_the_body() -> None:
    def ping() -> str:
        return "pong"

    assert bind(ping, frame=FakeFrame(b"\xff{")) == "pong"


def test_an_unannotated_payload_is_json_as_it_is() -> None:
    def handle(payload):  # type: ignore[no-untyped-def]
        return payload

    assert bind(handle, frame=FakeFrame(b"[1]")) == [1]


def test_foreign_metadata_changes_nothing() -> None:
    def handle(payload: Annotated[int, "positive"]) -> int:
        return payload

    assert bind(handle, frame=FakeFrame(b"5")) == 5


def test_content_type_reaches_the_decoder() -> None:
    def handle(payload: str) -> str:
        return payload

    assert bind(handle, frame=FakeFrame(b'"a"')) == '"a"'
    assert bind(handle, frame=FakeFrame(b'"a"', content_type="application/json")) == "a"


def test_default_payload_is_for_an_empty_body() -> None:
    def handle(payload: Update | None = None) -> Update | None:
        return payload

    assert bind(handle) is None
    assert bind(handle, frame=FakeFrame(b'{"name":"a"}')) == Update("a")


def test_empty_body_without_default_does_not_fit() -> None:
    def handle(payload: Update) -> None: ...

    with pytest.raises(ConversionError, match="the body is empty"):
        bind(handle)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "a", "a"),
        (Any, "a", "a"),
        (int, "-12", -12),
        (float, "1.5e2", 150.0),
        (bool, "true", True),
        (bool, "false", False),
        (Decimal, "1.50", Decimal("1.50")),
        (
            UUID,
            "12345678-1234-5678-1234-567812345678",
            UUID(int=0x12345678123456781234567812345678),
        ),
        (datetime, "2026-11-24T01:02", datetime(2026, 11, 24, 1, 2)),
        (Color, "red", Color.RED),
        (Level, "1", Level.LOW),
        (Flagged, "true", Flagged.ON),
        (Literal["a", 1], "1", 1),
        (int | None, "1", 1),
        (int | Color, "red", Color.RED),
    ],
)
def test_variables_are_read_by_their_annotation(annotation: Any, text: str, value: object) -> None:
    def handle(it: Any) -> Any:
        return it

    handle.__annotations__["it"] = annotation
    found = bind(handle, Role.SUBSCRIBE, "it", variables={"it": text})
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "problem"),
    [
        (int, "1.0", "expected int"),
        (int, " 1", "expected int"),
        (int, "1_0", "expected int"),
        (int, "٣", "expected int"),
        (int, "9" * 5_000, "a number has too many digits"),
        (int, str(2**63), "integer beyond 64 bits"),
        (int, "9" * 4_300, "integer beyond 64 bits"),
        (float, "nan", "expected float"),
        (float, "1e999", "number out of range"),
        (bool, "1", "expected 'true' or 'false'"),
        (Decimal, "1e99999", "number out of range"),
        (Decimal, "", "expected decimal number"),
        (UUID, "12345678123456781234567812345678", "expected UUID"),
        (datetime, "now", "expected ISO 8601 datetime"),
        (Color, "blue", "expected one of 'red'"),
        (Flagged, "None", "expected one of 'true'"),
        (int | Color, "blue", "expected int | Color"),
    ],
)
def test_variables_that_do_not_fit_name_the_variable(
    annotation: Any, text: str, problem: str
) -> None:
    def handle(it: Any) -> Any: ...

    handle.__annotations__["it"] = annotation
    with pytest.raises(ConversionError) as caught:
        bind(handle, Role.SUBSCRIBE, "it", variables={"it": text})
    assert (caught.value.path, caught.value.problem) == ("it", problem)


def test_destination_variable_under_another_name() -> None:
    def handle(
        product: Annotated[str, DestinationVariable("class")],
        it: Annotated[int, DestinationVariable],
    ) -> tuple[str, int]:
        return product, it

    variables = {"class": "a", "it": "5"}
    assert bind(handle, Role.MESSAGE, "class", "it", variables=variables) == ("a", 5)


def test_headers_by_name_with_defaults_and_types() -> None:
    def handle(
        content_length: Annotated[int, Header()],
        dry_run: Annotated[bool, "note", Header] = False,
        version: Annotated[int | None, Header("x")] = 1,
        optional: Annotated[int | None, Header()] = ...,  # type: ignore[assignment]
    ) -> tuple[object, ...]:
        return content_length, dry_run, version, optional

    assert bind(handle, frame=FakeFrame(content_length="5")) == (5, False, 1, ...)
    frame = FakeFrame(content_length="5", dry_run="true", x="2", optional="3")
    assert bind(handle, frame=frame) == (5, True, 2, 3)


def test_optional_header_without_default_is_none() -> None:
    def handle(trace: Annotated[str | None, Header()]) -> str | None:
        return trace

    assert bind(handle) is None


def test_required_header_missing_or_unfit() -> None:
    def handle(trace_id: Annotated[int, Header()]) -> None: ...

    with pytest.raises(ConversionError) as caught:
        bind(handle)
    assert (caught.value.path, caught.value.problem) == ("header trace-id", "missing")
    with pytest.raises(ConversionError) as caught:
        bind(handle, frame=FakeFrame(trace_id="secret"))
    assert (caught.value.path, caught.value.problem) == ("header trace-id", "expected int")


def test_all_headers_as_a_copy_or_a_view() -> None:
    def copy(headers: dict[str, str]) -> dict[str, str]:
        headers["new"] = "1"
        return headers

    def view(headers: Mapping[str, str]) -> Mapping[str, str]:
        return headers

    frame = FakeFrame(a="b")
    assert bind(copy, frame=frame) == {"a": "b", "new": "1"}
    assert frame.headers == {"a": "b"}
    with pytest.raises(TypeError):
        bind(view, frame=frame)["a"] = "c"


# Principals


def test_principal_of_an_anonymous_session() -> None:
    def needs(user: Principal) -> Principal:
        return user

    def optional(user: Principal | None) -> Principal | None:
        return user

    def default(user: Principal = User("guest")) -> str:  # noqa: B008
        return user.name

    with pytest.raises(AccessDenied, match="user: the session is anonymous"):
        bind(needs)
    assert bind(optional) is None
    assert bind(default) == "guest"
    user = User("ann")
    assert bind(needs, session=session_of(user)) is user


def test_principal_of_another_class() -> None:
    def staff(user: Staff) -> str:
        return user.name

    assert bind(staff, session=session_of(Staff("bob"))) == "bob"
    with pytest.raises(AccessDenied, match="the user is no Staff"):
        bind(staff, session=session_of(User("ann")))


def test_who_is_asked_before_the_body_is_looked_at() -> None:
    def handle(update: Update, user: Principal) -> None: ...

    with pytest.raises(AccessDenied):
        bind(handle, frame=FakeFrame(b"{"))


def test_a_payload_with_a_name_is_no_principal() -> None:
    def handle(named: Named) -> Named:
        return named

    assert bind(handle, frame=FakeFrame(b'{"name":"a"}')) == Named("a")


# Roles


def test_error_handler_gets_the_exception_and_what_the_message_had() -> None:
    def handle(
        product_id: str,
        error: OutOfStock | ValueError,
        user: Principal | None,
        amount: Annotated[int | None, DestinationVariable()],
    ) -> tuple[object, ...]:
        return product_id, error, user, amount

    made = make(handle, Role.ERROR, "product_id", "amount")
    assert made is not None
    assert made.accepts == (OutOfStock, ValueError)
    error = OutOfStock()
    assert bind(
        handle, Role.ERROR, "product_id", "amount", error=error, variables={"product_id": "p"}
    ) == ("p", error, None, None)
    # One handler serves several templates: this message had no product.
    with pytest.raises(ConversionError, match="product_id: missing in the destination"):
        bind(handle, Role.ERROR, "product_id", "amount", error=error)


def test_error_handler_without_annotation_or_without_exception() -> None:
    def handle(error):  # type: ignore[no-untyped-def]
        return error

    def silent() -> None: ...

    error = OutOfStock()
    assert bind(handle, Role.ERROR, error=error) is error
    made = make(silent, Role.ERROR)
    assert made is not None
    assert made.accepts == ()


def test_event_listener_gets_the_event_and_framework_types() -> None:
    def listen(event: Joined | Left, template: Template) -> tuple[object, object]:
        return event, template

    def untyped(event):  # type: ignore[no-untyped-def]
        return event

    event, template = Joined(), Template()
    assert bind(listen, Role.EVENT, event=event, template=template) == (event, template)
    made = make(listen, Role.EVENT)
    assert made is not None
    assert made.accepts == (Joined, Left)
    assert bind(untyped, Role.EVENT, event=event) is event


def test_authenticator_gets_the_request_whatever_its_annotation() -> None:
    def authenticate(request: Unknown) -> object:  # type: ignore[name-defined]  # noqa: F821
        return request

    assert bind(authenticate, Role.CONNECT, event="request") == "request"


def test_methods_partials_and_callable_objects() -> None:
    class Handler:
        def method(self, payload: int) -> int:
            return payload

        def __call__(self, payload: int) -> int:
            return payload

        @staticmethod
        def static(payload: int) -> int:
            return payload

        @classmethod
        def of_class(cls, payload: int) -> int:
            return payload

    def two(payload: int, *, extra: str) -> int:
        return payload

    def wrapper(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs) + 1

        return inner

    handler = Handler()
    frame = FakeFrame(b"5")
    for function in (handler.method, handler, handler.static, handler.of_class):
        assert bind(function, frame=frame) == 5
    assert bind(wrapper(handler.method), frame=frame) == 6
    made = make(functools.partial(two, 5), Role.SUBSCRIBE, "extra")
    assert made is not None
    assert made.bind(Exchange(variables={"extra": "a"})) == ((), {"extra": "a"})


# Annotations whose names are not there (yet)


def test_unknown_name_may_come_later_but_not_after_the_start() -> None:
    def handle(payload: ComesLater) -> object:  # type: ignore[name-defined]  # noqa: F821
        return payload

    assert make(handle, final=False) is None
    text = refusal(handle)
    for part in ("ComesLater", "import ComesLater", "TYPE_CHECKING", "test_binding.py:", LABEL):
        assert part in text
    globals()["ComesLater"] = int
    try:
        assert bind(handle, frame=FakeFrame(b"5")) == 5
    finally:
        del globals()["ComesLater"]


def test_unknown_name_inside_the_payload_class_may_come_later_too() -> None:
    def handle(payload: Holder) -> None: ...

    assert make(handle, final=False) is None
    text = refusal(handle)
    assert "import NotYet" in text
    assert "parameter 'payload'" in text


def test_name_of_the_type_checker_alone_says_so() -> None:
    def handle(payload: OnlyForTheTypeChecker) -> None: ...

    assert "import OnlyForTheTypeChecker at the top of the module" in refusal(handle)


def test_names_inside_annotations_that_are_objects() -> None:
    def handle(payload: Any) -> Any:
        return payload

    handle.__annotations__["payload"] = list["Color"]
    assert bind(handle, frame=FakeFrame(b'["red"]')) == [Color.RED]
    handle.__annotations__["payload"] = Optional["NowhereToBeSeen"]  # noqa: F821
    assert make(handle, final=False) is None
    text = refusal(handle)
    assert "handle(payload: NowhereToBeSeen | None)" in text
    assert "import NowhereToBeSeen" in text


def test_attribute_of_a_half_imported_module_may_come_later() -> None:
    def handle(payload: functools.not_there) -> None: ...  # type: ignore[name-defined]

    assert make(handle, final=False) is None
    assert "not_there" in refusal(handle)


def test_return_annotations_are_nobodys_business() -> None:
    def handle() -> Missing:  # type: ignore[name-defined]  # noqa: F821
        return 1

    assert bind(handle) == 1


def test_local_names_are_found_when_the_function_uses_them() -> None:
    @dataclass
    class Local:
        a: int

    def handle(payload: Local) -> bool:
        return isinstance(payload, Local)

    assert bind(handle, frame=FakeFrame(b'{"a":1}'))


def test_a_local_name_that_is_not_assigned_yet_may_come_later() -> None:
    def handle(payload: later) -> object:  # type: ignore[valid-type]
        return later, payload

    assert make(handle, final=False) is None
    later = int
    assert make(handle) is not None


# Declarations that cannot work


def test_two_parameters_left_prints_all_there_is_to_know() -> None:
    def adjust(update: Update, product_id: str, amount: int = 0) -> None: ...

    text = refusal(adjust, Role.MESSAGE, "product_id")
    lines = text.splitlines()
    code = adjust.__code__
    assert lines[0] == (
        f"{code.co_filename}:{code.co_firstlineno}: "
        f"adjust(update: Update, product_id: str, amount: int = 0)"
    )
    assert lines[1] == f"  {LABEL}"
    assert lines[2] == (
        "  parameter 'amount': two parameters are left for the payload, 'update' and 'amount'"
    )
    assert lines[3] == "  possible fixes:"
    assert lines[4] == "    - if it is the session's user, annotate it CurrentUser[User]"
    assert lines[-2] == (
        "    - if the sender's body holds both, make one payload of them: a dataclass with update"
        " and amount"
    )
    assert "    - if it is part of the destination, put {amount} into the template" in lines
    assert "    - if it is a header, annotate it Annotated[int, Header()]" in lines
    assert any("Principal, Session, FakeFrame, Template" in line for line in lines)


def test_unfit_parameters_per_role() -> None:
    def payload(update: Update) -> None: ...
    def untyped(update) -> None: ...  # type: ignore[no-untyped-def]
    def principal(user: Principal) -> None: ...
    def header(a: Annotated[str, Header()]) -> None: ...
    def headers(headers: dict[str, str]) -> None: ...
    def variable(a: Annotated[str, DestinationVariable()]) -> None: ...
    def two_events(one: Joined, two: Left) -> None: ...
    def no_event(event: Joined | None) -> None: ...
    def text(event: Literal["a"]) -> None: ...
    def fatal(error: KeyboardInterrupt) -> None: ...
    def two_errors(one: OutOfStock, two: ValueError) -> None: ...
    def two_untyped(one, two) -> None: ...  # type: ignore[no-untyped-def]
    def both(one, two: OutOfStock) -> None: ...  # type: ignore[no-untyped-def]

    none = "neither a frame nor a session"
    for function, role, part in (
        (payload, Role.SUBSCRIBE, "a SUBSCRIBE has no body"),
        (untyped, Role.SUBSCRIBE, "Annotated[str, Header()]"),
        (payload, Role.ERROR, "exception handlers do not get"),
        (principal, Role.EVENT, none),
        (header, Role.EVENT, none),
        (headers, Role.EVENT, none),
        (variable, Role.EVENT, none),
        (two_events, Role.EVENT, "'one' is the event already"),
        (no_event, Role.EVENT, "None is no class of events"),
        (text, Role.EVENT, "Literal['a'] is no class of events"),
        (fatal, Role.ERROR, "KeyboardInterrupt is beyond Exception"),
        (two_errors, Role.ERROR, "the exception is asked for twice"),
        (two_untyped, Role.ERROR, "'one' is the error already"),
        (both, Role.ERROR, "the exception is asked for twice"),
    ):
        assert part in refusal(function, role), function


def test_authenticators_take_exactly_one_parameter() -> None:
    def none() -> None: ...
    def two(a: object, b: object) -> None: ...
    def keyword(*, a: object) -> None: ...

    for function in (none, two, keyword):
        assert "exactly one positional parameter" in refusal(function, Role.CONNECT)


def test_starred_parameters_have_no_meaning() -> None:
    def args(*args: int) -> None: ...
    def kwargs(**kwargs: int) -> None: ...

    assert "*args has no meaning" in refusal(args)
    assert "name the parameters one by one" in refusal(kwargs)


def test_variable_that_the_template_does_not_have() -> None:
    def handle(a: Annotated[str, DestinationVariable("b")]) -> None: ...

    assert "no variable {b}; it has {c}, {d}" in refusal(handle, Role.MESSAGE, "c", "d")
    assert "it has no variables" in refusal(handle)


def test_types_that_cannot_be_converted() -> None:
    def variable(a: list[int]) -> None: ...
    def header(a: Annotated[Update, Header()]) -> None: ...
    def payload(a: Callable[[], None]) -> None: ...

    assert "list[int] cannot be read from a text" in refusal(variable, Role.MESSAGE, "a")
    assert "take a str and convert it" in refusal(header)
    assert "it is the payload, and Callable" in refusal(payload)
    assert "annotate it CurrentUser[Callable" in refusal(payload)


def test_annotation_that_cannot_be_evaluated() -> None:
    def handle(a: 1 / 0) -> None: ...  # type: ignore[valid-type]

    assert "cannot be evaluated: division by zero" in refusal(handle)


def test_builtins_without_signature() -> None:
    assert "has no signature to bind" in refusal(type)
    assert "has no signature to bind" in refusal(5)


def test_place_of_functions_without_code() -> None:
    # Built in, with a signature, but in no file.
    assert refusal(sorted).startswith("sorted(iterable, key=None, reverse=False)\n")
