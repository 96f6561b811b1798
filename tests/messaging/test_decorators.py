"""Marks, and how functions, controllers, advices and modules are read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.decorators import (
    Declaration,
    ExceptionMapping,
    Listener,
    MessageMapping,
    ReplyTo,
    SubscribeMapping,
    controller,
    controller_advice,
    declarations,
    event_listener,
    marks_of,
    message_exception_handler,
    message_mapping,
    send_to,
    send_to_user,
    snapshot,
    subscribe_mapping,
)


class Joined:
    pass


def one(target: Any) -> Declaration:
    (found,) = declarations(target)
    return found


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        call()
    return str(caught.value)


def in_module(**names: Any) -> ModuleType:
    module = ModuleType("shop")
    for name, item in names.items():
        if callable(item):
            item.__module__ = "shop"
        setattr(module, name, item)
    return module


# Marks


def test_decorators_return_the_function_unchanged() -> None:
    def handle() -> int:
        return 5

    decorated = handle
    for decorator in (
        message_mapping("/a"),
        subscribe_mapping("/b", inline=True),
        message_exception_handler(ValueError),
        event_listener(Joined),
        send_to("/topic/a"),
        send_to_user(),
    ):
        assert decorator(decorated) is handle
    assert handle() == 5
    assert marks_of(handle) == (
        ReplyTo((), user=True),
        ReplyTo(("/topic/a",)),
        Listener((Joined,)),
        ExceptionMapping((ValueError,)),
        SubscribeMapping("/b", inline=True),
        MessageMapping("/a"),
    )


def test_marks_of_something_without_marks() -> None:
    assert marks_of(len) == ()
    assert marks_of(int) == ()


def test_arguments_are_checked_at_once() -> None:
    def f() -> None: ...

    bad: Any = f
    for call, part in (
        (lambda: message_mapping(bad), 'write @message_mapping("/path") with parentheses'),
        (lambda: subscribe_mapping(bad), 'write @subscribe_mapping("/path") with parentheses'),
        (lambda: send_to(bad), 'write @send_to("/path") with parentheses'),
        (lambda: send_to_user(bad), 'write @send_to_user("/path") with parentheses'),
        (lambda: send_to(""), 'write @send_to("/path")'),
        (lambda: message_exception_handler(bad), "write @message_exception_handler() with paren"),
        (lambda: event_listener(bad), "write @event_listener() with parentheses"),
        (lambda: controller(bad), 'write @controller("/path") with parentheses'),
        (lambda: controller_advice(bad), "write @controller_advice() with parentheses"),
        (lambda: message_mapping("a"), "leading slash is missing"),
        (lambda: send_to("topic/a"), "leading slash is missing"),
        (lambda: send_to("/topic/*"), "is a wildcard"),
        (lambda: controller("/a/"), "empty segment"),
        (
            lambda: message_exception_handler(KeyboardInterrupt),  # type: ignore[arg-type]
            "KeyboardInterrupt is not below Exception",
        ),
    ):
        assert part in refusal(call), part


def test_targets_are_checked_at_once() -> None:
    async def coroutine() -> None: ...

    anything: Any = 5
    for call, part in (
        (lambda: message_mapping("/a")(Joined), "Joined is a class, which takes @controller"),
        (lambda: message_mapping("/a")(anything), "is for functions, not for 5"),
        (lambda: send_to("/a")(anything), "is for functions, not for 5"),
        (lambda: controller()(anything), "is for classes, not for 5"),
        (lambda: message_mapping("/a")(len), "cannot be marked"),
        (lambda: message_mapping("/a", inline=True)(coroutine), "is async and declared inline"),
        (lambda: event_listener(Joined, inline=True)(coroutine), "is async and declared inline"),
    ):
        assert part in refusal(call), part


# Functions


def test_declaration_of_a_function_in_any_order() -> None:
    @send_to("/topic/{x}")
    @message_mapping("/a/{x}", inline=True)
    @send_to_user("/queue/a", broadcast=False)
    def below(x: str) -> None: ...

    @message_mapping("/a/{x}", inline=True)
    @send_to("/topic/{x}")
    @send_to_user("/queue/a", broadcast=False)
    def above(x: str) -> None: ...

    for function in (below, above):
        found = one(function)
        assert found.function is function
        assert found.mapping == MessageMapping("/a/{x}", inline=True)
        assert found.replies == (
            ReplyTo(("/queue/a",), user=True, broadcast=False),
            ReplyTo(("/topic/{x}",)),
        )
        assert (found.advice_order, found.owner) == (None, None)
        assert found.label.startswith("@message_mapping('/a/{x}') ")
        assert found.label.endswith(function.__qualname__)


def test_one_function_may_have_several_mappings() -> None:
    @message_mapping("/a")
    @subscribe_mapping("/b")
    def handle() -> None: ...

    assert [found.mapping for found in declarations(handle)] == [
        MessageMapping("/a"),
        SubscribeMapping("/b"),
    ]


def test_labels_of_all_kinds() -> None:
    @subscribe_mapping("/a")
    @message_exception_handler(ValueError, KeyError)
    @event_listener()
    def handle() -> None: ...

    labels = [found.label.partition(" tests")[0] for found in declarations(handle)]
    labels = [label[: label.rindex(")") + 1] for label in labels]
    assert labels[0].startswith("@subscribe_mapping('/a')")
    assert labels[1].startswith("@message_exception_handler(ValueError, KeyError)")
    assert labels[2].startswith("@event_listener()")


def test_partials_and_callable_objects() -> None:
    class Handler:
        def __call__(self) -> None: ...

    handler = message_mapping("/a")(Handler())
    assert one(handler).function is handler
    partial = message_mapping("/b")(functools.partial(int, "5"))
    assert one(partial).mapping == MessageMapping("/b")
    assert "functools.partial" in one(partial).label


def test_foreign_decorator_below_ours_is_what_is_called() -> None:
    def foreign(function: Any) -> Any:
        @functools.wraps(function)
        def inner() -> int:
            return int(function()) + 1

        return inner

    @message_mapping("/a")
    @foreign
    @send_to("/topic/a")
    def handle() -> int:
        return 5

    found = one(handle)
    assert found.function() == 6
    assert found.replies == (ReplyTo(("/topic/a",)),)


def test_foreign_decorator_that_hides_ours_is_told() -> None:
    def hiding(function: Any) -> Any:
        @functools.wraps(function, updated=())
        def inner() -> None: ...

        return inner

    @hiding
    @message_mapping("/a")
    def handle() -> None: ...

    @controller()
    class Shop:
        @hiding
        @message_mapping("/a")
        def handle(self) -> None: ...

    part = "a foreign decorator above ours hides it; put ours on top"
    assert part in refusal(lambda: declarations(handle))
    assert part in refusal(lambda: declarations(Shop()))
    assert part in refusal(lambda: declarations(in_module(handle=handle)))


def test_marks_that_do_not_go_together() -> None:
    @send_to("/topic/a")
    def no_mapping() -> None: ...

    @event_listener(Joined)
    @send_to("/topic/a")
    def listener() -> None: ...

    @message_mapping("")
    def empty() -> None: ...

    @message_mapping("/a/{x}")
    @send_to("/topic/{y}")
    def unknown() -> None: ...

    @functools.wraps(len)
    def nothing() -> None: ...

    for function, part in (
        (no_mapping, "has a reply decorator and no mapping"),
        (listener, "what an event listener returns goes nowhere"),
        (empty, "an empty path needs a @controller with a prefix"),
        (unknown, "'/topic/{y}' needs {y}, which the mapping does not have"),
        (nothing, "declares nothing"),
        (5, "5 declares nothing"),
    ):
        assert part in refusal(lambda function=function: declarations(function)), part  # type: ignore[misc]


def test_variables_in_replies_of_exception_handlers_are_not_known_yet() -> None:
    @message_exception_handler(ValueError)
    @send_to("/topic/{x}")
    def handle() -> None: ...

    assert one(handle).replies == (ReplyTo(("/topic/{x}",)),)


# Controllers


def test_controller_joins_its_prefix_and_binds_its_methods() -> None:
    @controller("/inventory/{region}")
    class Inventory:
        text = "no method"

        class Inner:
            pass

        @message_mapping("/{sku}/adjust")
        def adjust(self) -> Any:
            return self

        @subscribe_mapping("")
        @staticmethod
        def all_of_them() -> str:
            return "static"

        @classmethod
        @event_listener(Joined)
        def joined(cls) -> Any:
            return cls

        @event_listener(Joined)
        @classmethod
        def joined_too(cls) -> Any:
            return cls

        @message_exception_handler(ValueError)
        def failed(self) -> None: ...

        def not_mapped(self) -> None: ...

        @property
        def broken(self) -> int:
            raise AssertionError("properties are not touched")

    inventory = Inventory()
    found = declarations(inventory)
    assert [each.mapping for each in found] == [
        MessageMapping("/inventory/{region}/{sku}/adjust"),
        SubscribeMapping("/inventory/{region}"),
        Listener((Joined,)),
        Listener((Joined,)),
        ExceptionMapping((ValueError,)),
    ]
    assert found[0].function() is inventory
    assert found[1].function() == "static"
    assert found[2].function() is found[3].function() is Inventory
    assert all(each.owner is inventory and each.advice_order is None for each in found)
    assert found[0].label.endswith("Inventory.adjust")


def test_prefix_and_path_may_not_share_a_variable() -> None:
    @controller("/{sku}")
    class Shop:
        @message_mapping("/{sku}")
        def handle(self) -> None: ...

    assert "{sku} stands in it twice" in refusal(lambda: declarations(Shop()))


def test_subclass_inherits_and_overrides() -> None:
    @controller("/base")
    @send_to("/topic/base")
    class Base:
        @message_mapping("/a")
        def a(self) -> str:
            return "base"

        @message_mapping("/b")
        def b(self) -> None: ...

    class Plain(Base):
        def a(self) -> str:  # without a decorator: no longer mapped
            return "plain"

    @controller("/own")
    class Own(Base):
        @message_mapping("/c")
        def c(self) -> None: ...

    assert [each.mapping for each in declarations(Plain())] == [MessageMapping("/base/b")]
    found = declarations(Own())
    assert [each.mapping for each in found] == [
        MessageMapping("/own/a"),
        MessageMapping("/own/b"),
        MessageMapping("/own/c"),
    ]
    assert {each.replies for each in found} == {(ReplyTo(("/topic/base",)),)}
    assert [each.mapping for each in declarations(Base())] == [
        MessageMapping("/base/a"),
        MessageMapping("/base/b"),
    ]


def test_replies_of_the_class_are_the_default_of_message_mappings_alone() -> None:
    @controller()
    @send_to("/topic/class")
    @send_to_user("/queue/class", broadcast=False)
    class Shop:
        @message_mapping("/none")
        def none(self) -> None: ...

        @message_mapping("/own")
        @send_to("/topic/own")
        def own(self) -> None: ...

        @message_mapping("/empty")
        @send_to()
        def empty(self) -> None: ...

        @subscribe_mapping("/direct")
        def direct(self) -> None: ...

        @message_exception_handler(ValueError)
        def failed(self) -> None: ...

        @event_listener(Joined)
        def joined(self) -> None: ...

    of_class = ReplyTo(("/topic/class",))
    of_user = ReplyTo(("/queue/class",), user=True, broadcast=False)
    assert [each.replies for each in declarations(Shop())] == [
        (of_user, of_class),
        (ReplyTo(("/topic/own",)),),
        (of_class,),
        (),
        (),
        (),
    ]


def test_empty_reply_without_a_class_is_the_default_destination() -> None:
    @message_mapping("/a")
    @send_to()
    def handle() -> None: ...

    assert one(handle).replies == (ReplyTo(()),)


def test_advice_holds_exception_handlers_with_its_order() -> None:
    @controller_advice(order=10)
    @send_to_user("/queue/errors", broadcast=False)
    class Errors:
        @message_exception_handler(ValueError)
        def failed(self) -> None: ...

    found = one(Errors())
    assert found.advice_order == 10
    assert found.replies == (ReplyTo(("/queue/errors",), user=True, broadcast=False),)

    @controller_advice()
    class Wrong:
        @message_mapping("/a")
        def handle(self) -> None: ...

    assert "only holds exception handlers" in refusal(lambda: declarations(Wrong()))


def test_classes_go_in_as_instances_and_are_one_thing() -> None:
    @controller()
    @controller_advice()
    class Both:
        pass

    @controller()
    class Empty:
        pass

    class Unmarked:
        @message_mapping("/a")
        def handle(self) -> None: ...

    assert "include(Empty(...))" in refusal(lambda: declarations(Empty))
    assert "both @controller and @controller_advice" in refusal(lambda: declarations(Both()))
    assert "declares nothing" in refusal(lambda: declarations(Empty()))
    assert "put @controller() above `class Unmarked`" in refusal(lambda: declarations(Unmarked()))


# Modules


def test_module_declares_its_own_functions_once() -> None:
    @message_mapping("/a")
    def a() -> None: ...

    @message_mapping("/b")
    def b() -> None: ...

    @message_mapping("/c")
    def imported() -> None: ...

    @controller()
    class Shop:
        @message_mapping("/d")
        def handle(self) -> None: ...

        def __call__(self) -> None: ...

    def helper() -> None: ...

    module = in_module(a=a, again=a, b=b, helper=helper, Shop=Shop, number=5, shop=Shop())
    module.imported = imported  # type: ignore[attr-defined]
    assert [each.mapping for each in declarations(module)] == [
        MessageMapping("/a"),
        MessageMapping("/b"),
    ]
    assert "declares nothing" in refusal(lambda: declarations(in_module(Shop=Shop)))


def test_a_snapshot_has_no_other_place_to_go() -> None:
    def stock() -> str:
        return "stock"

    marked = send_to("/topic/other")(snapshot("/topic/inventory")(stock))
    assert "leave the reply decorator out" in refusal(lambda: declarations(marked))
