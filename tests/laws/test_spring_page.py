"""The page for who comes from Spring: it has their names, and ours on it exist."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stocksync_ws
from stocksync_ws import MessagingTemplate, StompApp
from stocksync_ws import testing as kit

PAGE = (Path(__file__).parents[2] / "docs" / "spring.md").read_text()
SETTINGS = frozenset(inspect.signature(StompApp).parameters)
PYTHON = frozenset(("async def", "def", "None", "Mapping[str, str]"))
"""What is no name of ours."""
THEIRS = """
EnableWebSocketMessageBroker registerStompEndpoints configureMessageBroker
configureWebSocketTransport configureClientInboundChannel configureClientOutboundChannel
addArgumentResolvers addReturnValueHandlers configureMessageConverters getPhase
addEndpoint setAllowedOrigins setAllowedOriginPatterns setHandshakeHandler addInterceptors
withSockJS setErrorHandler setPreserveReceiveOrder setOrder setUrlPathHelper
setHeartbeatTime setDisconnectDelay setStreamBytesLimit setHttpMessageCacheSize
setSessionCookieNeeded setWebSocketEnabled setClientLibraryUrl setSuppressCors setTransportHandlers
setMessageSizeLimit setSendTimeLimit setSendBufferSizeLimit setTimeToFirstMessage
addDecoratorFactory enableSimpleBroker setHeartbeatValue setTaskScheduler setSelectorHeaderName
enableStompBrokerRelay setApplicationDestinationPrefixes setUserDestinationPrefix
setUserRegistryOrder setPathMatcher setCacheLimit setPreservePublishOrder configureBrokerChannel
interceptors taskExecutor MessageMapping SubscribeMapping SendTo SendToUser MessageExceptionHandler
ControllerAdvice DestinationVariable Header Headers Payload Principal Validated
SimpMessagingTemplate convertAndSend convertAndSendToUser setSendTimeout SimpUserRegistry getUser
getUsers getUserCount findSubscriptions SessionConnectEvent SessionConnectedEvent
SessionSubscribeEvent SessionUnsubscribeEvent SessionDisconnectEvent BrokerAvailabilityEvent
preSend postSend afterSendCompletion ExecutorChannelInterceptor beforeHandshake afterHandshake
HttpSessionHandshakeInterceptor determineUser WebSocketMessageBrokerStats
EnableWebSocketSecurity MessageMatcherDelegatingAuthorizationManager anyMessage nullDestMatcher
simpTypeMatchers simpDestMatchers simpMessageDestMatchers simpSubscribeDestMatchers permitAll
denyAll authenticated hasRole hasAnyRole hasAuthority hasAnyAuthority access
XorCsrfChannelInterceptor sameOriginDisabled
"""
"""Annotations, configurers and builders that have a row."""
SPAN = re.compile(r"`([^`]+)`")


def rows() -> Iterator[tuple[str, str]]:
    """Their column and ours, of each row of the tables of names."""
    for table in re.split(r"^## ", PAGE, flags=re.MULTILINE)[2:]:
        for line in table.splitlines():
            cells = re.split(r"(?<!\\)\|", line)
            if line.startswith("| ") and not line.startswith("| Spring"):
                yield cells[1], cells[2]


def names(span: str) -> Iterator[str]:
    """Names of ours in a piece of code: of the application, of its settings, and public ones."""
    code = span.removeprefix("@")
    path = re.match(r"[A-Za-z_][\w.]*", code)
    if path is None:
        raise ValueError(f"{span!r} begins with no name")
    head, rest = path[0], code[path.end() :]
    yield head
    if head == "StompApp" and rest.startswith("("):
        yield from re.findall(r"(?<=[(, ])(\w+)=(?!=)", rest)[:1]
    yield from re.findall(r"\b[A-Z][A-Za-z]+(?=[(\[])", rest)


def exists(name: str) -> bool:
    head, *rest = name.split(".")
    found: Any
    if head == "ws":
        found = StompApp("/ws")
    elif name in SETTINGS:
        return True
    else:
        found = getattr(stocksync_ws, head, None) or getattr(kit, head, None)
        if head not in {*stocksync_ws.__all__, *kit.__all__}:
            return False
    for part in rest:
        fields = getattr(found, "__dataclass_fields__", {})
        if not hasattr(found, part) and part not in fields:
            return False
        found = getattr(found, part, None)
    return True


OURS = sorted(
    {name for _, ours in rows() for s in SPAN.findall(ours) if s not in PYTHON for name in names(s)}
)


@pytest.mark.parametrize("name", OURS)
def test_a_name_of_ours_exists(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize("name", THEIRS.split())
def test_a_name_of_theirs_has_a_row(name: str) -> None:
    spans = {word for theirs, _ in rows() for s in SPAN.findall(theirs) for word in _words(s)}
    assert name in spans


def _words(span: str) -> list[str]:
    return re.findall(r"\w+", span)


def test_every_row_says_something() -> None:
    found = list(rows())
    assert len(found) > 120
    for theirs, ours in found:
        assert theirs.strip()
        assert SPAN.search(ours) or ours.strip() == "—", theirs


@pytest.mark.parametrize("name", ["ws.nothing", "Nothing", "nothing", "Limits.nothing", "World.x"])
def test_a_name_that_does_not_exist_is_seen(name: str) -> None:
    assert not exists(name)


def test_names_are_found_in_code() -> None:
    assert list(names("@ws.authorize")) == ["ws.authorize"]
    assert list(names("StompApp(limits=Limits(…))")) == ["StompApp", "limits", "Limits"]
    assert list(names("CurrentUser[User]")) == ["CurrentUser"]
    assert list(names("heart_beat=(10, 10)")) == ["heart_beat"]
    assert list(names("SockJSOptions.xhr")) == ["SockJSOptions.xhr"]


def test_the_template_of_the_page_is_that_of_the_application() -> None:
    assert isinstance(StompApp("/ws").template, MessagingTemplate)
