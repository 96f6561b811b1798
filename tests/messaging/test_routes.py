"""From declarations to who is called: handlers, exception handlers, listeners."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from stocksync_ws import (
    SessionConnected,
    SessionDisconnected,
    controller,
    controller_advice,
    event_listener,
    message_exception_handler,
    message_mapping,
    snapshot,
    subscribe_mapping,
)
from stocksync_ws.broker.calls.events import BrokerAvailability
from stocksync_ws.broker.model.namespace import Namespace
from stocksync_ws.broker.model.pipeline import Mode
from stocksync_ws.config import BrokerConfig
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.decorators import declarations
from stocksync_ws.messaging.exchange import Exchange
from stocksync_ws.messaging.routes import Handler, Routes, compile_handler


def routes(*targets: object) -> Routes:
    found = [each for target in targets for each in declarations(target)]
    return Routes(found, {}, Namespace(BrokerConfig()))


def who(found: tuple[Handler, BaseException] | None) -> str:
    assert found is not None
    return found[0].label


class HasSession(Protocol):
    session_id: str


class Bad(Exception):
    pass


class Worse(Bad):
    pass


@controller("/c")
class Careful:
    @message_mapping("/a/{x}")
    def a(self, x: int) -> None: ...

    @subscribe_mapping("/a")
    async def b(self) -> None: ...

    @message_exception_handler(Bad)
    def own(self) -> None: ...


@controller()
class Careless:
    @message_mapping("/other")
    def a(self) -> None: ...


@controller_advice(order=1)
class First:
    @message_exception_handler(Exception)
    def any_error(self) -> None: ...

    @message_exception_handler()
    def by_annotation(self, error: KeyError | Bad) -> None: ...


@controller_advice(order=2)
class Second:
    @message_exception_handler(Worse)
    def closest(self) -> None: ...


@message_exception_handler(Worse)
def of_the_application() -> None: ...


class TestHandlers:
    def test_are_found_by_path_with_their_prefix(self) -> None:
        made = routes(Careful(), Careless())
        found = made.messages.match("/c/a/7")
        assert found is not None
        handler, variables = found
        assert dict(variables) == {"x": "7"}
        call = handler.call(Exchange(variables=variables))
        assert call.args == (7,)
        assert call.mode is Mode.POOL
        assert made.messages.match("/a/7") is None
        subscribe = made.subscribes.match("/c/a")
        assert subscribe is not None
        assert subscribe[0].call(Exchange()).mode is Mode.ASYNC

    def test_not_final_is_none_where_a_name_does_not_exist(self) -> None:
        def later(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

        [declared] = declarations(message_mapping("/a")(later))
        assert compile_handler(declared, (), {}, (), final=False) is None
        with pytest.raises(ConfigurationError, match="Nowhere"):
            compile_handler(declared, (), {}, (), final=True)


class TestExceptionHandlers:
    def test_the_controllers_own_comes_first(self) -> None:
        careful, made = Careful(), None
        made = routes(careful, Careless(), First(), Second(), of_the_application)
        [route, other] = self.handlers(made)
        assert "own" in who(made.exception_handler(route, Worse()))
        assert "by_annotation" in who(made.exception_handler(other, Worse()))

    def handlers(self, made: Routes) -> list[Handler]:
        found = [made.messages.match("/c/a/7"), made.messages.match("/other")]
        return [each[0] for each in found if each is not None]

    def test_advice_goes_by_order_before_closeness_and_by_closeness_within_one(self) -> None:
        made = routes(Careless(), Careful(), Second(), First(), of_the_application)
        _, other = self.handlers(made)
        assert "by_annotation" in who(made.exception_handler(other, KeyError()))
        assert "any_error" in who(made.exception_handler(other, ValueError()))
        assert "by_annotation" in who(made.exception_handler(other, Worse()))

    def test_the_applications_own_stand_behind_the_advice(self) -> None:
        made = routes(Careless(), Careful(), of_the_application, Second())
        _, other = self.handlers(made)
        assert "closest" in who(made.exception_handler(other, Worse()))
        made = routes(Careless(), Careful(), of_the_application)
        assert "of_the_application" in who(made.exception_handler(other, Worse()))
        assert made.exception_handler(other, Bad()) is None

    def test_the_cause_is_asked_when_nobody_fits(self) -> None:
        made = routes(Careful(), Careless())
        route, other = self.handlers(made)
        error = RuntimeError()
        error.__cause__ = middle = ValueError()
        middle.__cause__ = cause = Bad()
        found = made.exception_handler(route, error)
        assert found is not None
        assert found[1] is cause
        assert made.exception_handler(other, error) is None

    def test_a_circle_of_causes_ends(self) -> None:
        made = routes(Careful(), Careless())
        route, _ = self.handlers(made)
        one, two = RuntimeError(), ValueError()
        one.__cause__, two.__cause__ = two, one
        assert made.exception_handler(route, one) is None

    def test_the_context_is_not(self) -> None:
        made = routes(Careful())
        found = made.messages.match("/c/a/7")
        assert found is not None
        error = RuntimeError()
        error.__context__ = Bad()
        assert made.exception_handler(found[0], error) is None


class TestListeners:
    def test_by_class_in_the_order_of_declaration(self) -> None:
        @event_listener(SessionConnected, SessionDisconnected)
        def both(event: Any) -> None: ...

        @event_listener()
        def one(event: SessionConnected) -> None: ...

        @event_listener()
        def either(event: SessionConnected | BrokerAvailability) -> None: ...

        made = routes(both, one, either)
        heard = {
            kind: [each.label.split(".")[-1] for each in made.listening.of(kind)]
            for kind in (SessionConnected, SessionDisconnected, BrokerAvailability)
        }
        assert heard == {
            SessionConnected: ["both", "one", "either"],
            SessionDisconnected: ["both"],
            BrokerAvailability: ["either"],
        }

    def test_a_base_class_hears_of_all_below_it(self) -> None:
        @event_listener(object)
        def everything(event: Any) -> None: ...

        assert len(routes(everything).listening.of(SessionConnected)) == 1

    def test_a_parameter_may_be_annotated_by_its_shape_or_not_at_all(self) -> None:
        def shaped(event: HasSession) -> None: ...

        def anything(event: Any) -> None: ...

        def some(event: SessionConnected | SessionDisconnected) -> None: ...

        known = routes(*map(event_listener(SessionConnected), (shaped, anything, some)))
        assert len(known.listening.of(SessionConnected)) == 3


@pytest.mark.parametrize("mark", [message_exception_handler(), event_listener()])
def test_one_that_is_for_nothing_is_refused(mark: Any) -> None:
    def function(error) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(ConfigurationError, match="is for nothing"):
        routes(mark(function))


def test_a_snapshot_stands_where_something_is_published() -> None:
    def stock() -> str:
        return "stock"

    with pytest.raises(ConfigurationError, match="nobody can subscribe there"):
        routes(snapshot("/elsewhere/inventory")(stock))
