"""Settings: what is refused, with a text that says which one and how to mend it."""

from __future__ import annotations

import dataclasses
import math
from datetime import timedelta
from typing import Any

import pytest

from stocksync_ws.config import (
    BrokerConfig,
    EndpointConfig,
    Limits,
    SockJSOptions,
)
from stocksync_ws.errors import ConfigurationError
from stocksync_ws.policies import Latest, Queue, Stream, Topic, pause

DEFAULTS = (
    "handshake_timeout=5 max_handshake_bytes=16384 max_handshake_headers=100 connect_timeout=10"
    " pre_auth_bytes=16384 max_message_size=65536 max_fragments=1024 max_messages_per_frame=128"
    " frame_timeout=30 max_headers=64 max_header_line=8192 max_header_block=16384 max_id=128"
    " max_destination=255 max_segments=16 max_subscriptions=100 inbox=65536 read_budget=65536"
    " read_frames=64 sockjs_body=1048576 sockjs_messages=4096 sockjs_posts=8"
    " sockjs_sessions=10000 sockjs_remembered=10000 max_outbound_message=16777216"
    " send_queue=524288 send_queue_seconds=30"
    " send_stall_seconds=10"
    " max_total_queued=268435456 ping_after=25 pong_timeout=20 handler_timeout=30"
    " handler_threads=None max_connections=None close_timeout=5 shutdown_timeout=30"
    " max_reply_queues=100 max_receipts=256 max_transactions=8 max_transaction_frames=256"
    " max_transaction_bytes=262144"
    " transaction_timeout=60 ack_window=100 ack_window_bytes=524288 pending_messages=1000"
    " pending_bytes=524288 queue_messages=10000 queue_bytes=16777216 max_queues=10000"
    " max_streams=10000 max_stored=67108864 max_keys=10000 durable_seconds=300"
    " durable_messages=1000 durable_bytes=1048576 max_durables=10 idempotency_seconds=300"
    " presence_grace=5 presence_interval=0.1 presence_info=1024"
    " idempotency_keys=10000 history_bytes=1048576 owner_share=0.1 queue_idle_seconds=86400"
    " rated_users=10000"
)

FLUSH_DELAY = r"flush_delay: must be seconds above 0 and at most 0\.1, or None, not "
BEGINS = (
    r"Stream\.on_subscribe: must be 'live', 'history' or a whole number from 1 to history=50, not "
)


class TestLimits:
    def test_the_defaults(self) -> None:
        expected = {}
        for item in DEFAULTS.split():
            name, _, value = item.partition("=")
            expected[name] = None if value == "None" else float(value)
        assert dataclasses.asdict(Limits()) == expected

    @pytest.mark.parametrize("value", [0, -1, -0.5, float("nan"), "5", True, None, b"1"])
    def test_each_is_a_positive_number(self, value: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"Limits\.inbox: must be a positive number"):
            Limits(inbox=value)

    @pytest.mark.parametrize("name", ["handler_threads", "max_connections"])
    def test_two_may_be_none(self, name: str) -> None:
        Limits(**{name: None})
        with pytest.raises(ConfigurationError, match=name):
            Limits(**{name: 0})

    @pytest.mark.parametrize(
        ("given", "name"),
        [
            ({"max_header_line": 20_000}, "max_header_line"),
            ({"max_header_block": 70_000}, "max_header_block"),
            ({"send_queue": 300_000_000}, "send_queue"),
            ({"owner_share": 1.01}, "owner_share"),
        ],
    )
    def test_they_may_not_contradict_each_other(self, given: dict[str, Any], name: str) -> None:
        with pytest.raises(ConfigurationError, match=rf"Limits\.{name}: must not exceed"):
            Limits(**given)

    def test_frozen_and_by_name_only(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Limits().inbox = 1  # type: ignore[misc]
        with pytest.raises(TypeError):
            Limits(5)  # type: ignore[misc]


class TestBrokerConfig:
    def test_the_defaults(self) -> None:
        assert dataclasses.asdict(BrokerConfig()) == {
            "application_prefixes": ("/app",),
            "broker_prefixes": ("/topic", "/queue"),
            "queue_prefixes": ("/queue",),
            "user_prefix": "/user",
            "client_send": (),
            "client_subscribe": ("/topic/**",),
            "heart_beat": (10.0, 10.0),
            "missed_heart_beats": 3.0,
            "error_destination": "/queue/errors",
            "destinations": {},
            "presence": (),
            "presence_prefix": "/presence",
            "sessions_per_user": None,
            "session_wins": "newest",
            "limits": dataclasses.asdict(Limits()),
            "session_rate": None,
            "user_rate": None,
            "backplane": None,
        }

    @pytest.mark.parametrize("prefix", ["", "/", "app", "/app/", "//app", "/a//b", "/app*", "/*"])
    @pytest.mark.parametrize(
        "setting", ["application_prefixes", "broker_prefixes", "queue_prefixes"]
    )
    def test_a_malformed_prefix(self, setting: str, prefix: str) -> None:
        with pytest.raises(ConfigurationError, match="like '/topic'"):
            BrokerConfig(**{setting: (prefix,)})

    def test_a_malformed_user_prefix_or_error_destination(self) -> None:
        with pytest.raises(ConfigurationError):
            BrokerConfig(user_prefix="user")
        with pytest.raises(ConfigurationError):
            BrokerConfig(error_destination="queue/errors")

    @pytest.mark.parametrize(
        "given",
        [
            {"application_prefixes": ("/app\udc80",)},
            {"queue_prefixes": ("/queue\ud800",)},
            {"user_prefix": "/user\udc80"},
            {"error_destination": "/queue/\udc80"},
            {"client_send": ("/topic/\udc80",)},
            {"client_subscribe": ("/topic/\udc80/**",)},
            {"destinations": {"/topic/\udc80": Topic()}},
        ],
    )
    def test_a_lone_surrogate_is_no_character(self, given: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="a lone surrogate"):
            BrokerConfig(**given)

    def test_nor_in_a_path_or_a_dead_letter(self) -> None:
        with pytest.raises(ConfigurationError, match="a lone surrogate"):
            EndpointConfig(path="/ws\udc80")
        with pytest.raises(ConfigurationError, match="a lone surrogate"):
            Topic(dead_letter="/topic/\udc80")

    @pytest.mark.parametrize(
        "given",
        [
            {"application_prefixes": ("/topic",)},
            {"application_prefixes": ("/topic/app",)},
            {"broker_prefixes": ("/topic", "/user")},
            {"user_prefix": "/app/user"},
            {"application_prefixes": ("/app", "/app/v2")},
        ],
    )
    def test_prefixes_may_not_overlap(self, given: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="overlap"):
            BrokerConfig(**{"client_subscribe": (), **given})

    def test_the_same_prefix_twice_is_refused_however_the_texts_were_made(self) -> None:
        for twice in (("/feed", "/feed"), ("/feed", "".join(["/fe", "ed"]))):
            with pytest.raises(ConfigurationError, match="overlap"):
                BrokerConfig(broker_prefixes=("/topic", *twice))

    def test_a_common_beginning_is_no_overlap(self) -> None:
        BrokerConfig(broker_prefixes=("/topic", "/topic2"), application_prefixes=("/app", "/app2"))

    @pytest.mark.parametrize(
        ("pattern", "problem"),
        [
            ("topic/a", "/segments"),
            ("", "/segments"),
            ("/", "/segments"),
            ("/topic//a", "/segments"),
            ("/topic/", "/segments"),
            ("/topic/**/a", "only be the last"),
            ("/nowhere/**", "under no broker prefix"),
            ("/app/x", "under no broker prefix"),
            ("/*/a", "under no broker prefix"),
            ("/**", "under no broker prefix"),
        ],
    )
    @pytest.mark.parametrize("setting", ["client_send", "client_subscribe"])
    def test_a_malformed_pattern(self, setting: str, pattern: str, problem: str) -> None:
        with pytest.raises(ConfigurationError, match=problem):
            BrokerConfig(**{setting: (pattern,)})

    def test_patterns(self) -> None:
        BrokerConfig(client_send=("/topic/chat/**", "/queue/*", "/topic/a"), client_subscribe=())

    @pytest.mark.parametrize(
        "beat", [(-1.0, 0.0), (0.0, 1_000_000.0), (float("nan"), 1.0), (1.0,), (1.0, 1.0, 1.0)]
    )
    def test_a_heart_beat_is_two_times(self, beat: Any) -> None:
        with pytest.raises(ConfigurationError, match="heart_beat"):
            BrokerConfig(heart_beat=beat)

    def test_a_heart_beat_in_milliseconds_is_told_in_seconds(self) -> None:
        BrokerConfig(heart_beat=(600, 0))
        with pytest.raises(ConfigurationError, match=r"if that is ms, write \(10\.0, 0\.0\)"):
            BrokerConfig(heart_beat=(10_000, 0))
        with pytest.raises(ConfigurationError, match=r"SockJSOptions\.heart_beat: is in seconds"):
            SockJSOptions(heart_beat=25_000)

    @pytest.mark.parametrize("limits", [{}, None, {"max_id": 1}])
    def test_limits_are_limits(self, limits: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"write limits=Limits\("):
            BrokerConfig(limits=limits)

    @pytest.mark.parametrize("missed", [1.0, 0.0, -3.0, float("nan")])
    def test_more_than_one_heart_beat_may_be_missed(self, missed: float) -> None:
        with pytest.raises(ConfigurationError, match="missed_heart_beats"):
            BrokerConfig(missed_heart_beats=missed)


class TestEndpointConfig:
    def test_origins(self) -> None:
        EndpointConfig(
            path="/ws",
            allowed_origins=("*", "null", "file://", "https://shop.example", "http://a:8080"),
        )

    @pytest.mark.parametrize(
        "origin",
        ["", "shop.example", "https://", "://x", "https://a/b", "https://a/", "https://*.example"],
    )
    def test_a_malformed_origin(self, origin: str) -> None:
        with pytest.raises(ConfigurationError, match="allowed_origins"):
            EndpointConfig(path="/ws", allowed_origins=(origin,))

    @pytest.mark.parametrize("path", ["/größe", "/a b", "/a%20b", "/x|y", "/ws[1]", "/w?s", "/#"])
    def test_a_path_that_hosts_and_clients_write_in_two_ways(self, path: str) -> None:
        with pytest.raises(ConfigurationError, match=r"path: .* must be letters, digits and"):
            EndpointConfig(path=path)

    @pytest.mark.parametrize("path", ["/ws", "/a/b", "/~x", "/a;b", "/v1.2", "/@me", "/a:b=c,d"])
    def test_a_path_that_both_write_alike(self, path: str) -> None:
        assert EndpointConfig(path=path).path == path

    @pytest.mark.parametrize("path", ["", "/", "ws", "/ws/", "//ws"])
    def test_a_malformed_path(self, path: str) -> None:
        with pytest.raises(ConfigurationError, match="path"):
            EndpointConfig(path=path)


class TestSockJSOptions:
    def test_what_is_on(self) -> None:
        options = dataclasses.asdict(SockJSOptions())
        off = {name for name, value in options.items() if value is False}
        assert off == {"iframe", "htmlfile", "jsonp", "cookie"}
        assert EndpointConfig(path="/ws").sockjs is None
        conformance = SockJSOptions.conformance()
        assert conformance.iframe
        assert conformance.htmlfile
        assert conformance.jsonp

    @pytest.mark.parametrize("name", ["heart_beat", "disconnect_delay", "stream_bytes", "remember"])
    @pytest.mark.parametrize("value", [0, -1, float("nan")])
    def test_times_and_sizes_are_positive(self, name: str, value: float) -> None:
        given: Any = {name: value}
        with pytest.raises(ConfigurationError, match=rf"SockJSOptions\.{name}: must be a positive"):
            SockJSOptions(**given)

    @pytest.mark.parametrize(
        "url", ["/sockjs.js", "https://cdn.example/a.js?v=1", "http://[::1]/x"]
    )
    def test_addresses(self, url: str) -> None:
        assert SockJSOptions(iframe=True, client_url=url).client_url == url

    def test_another_address_is_a_whole_one(self) -> None:
        url = "https://one.shop.example/inventory-ws"
        assert SockJSOptions(base_url=url).base_url == url
        with pytest.raises(ConfigurationError, match="must be a whole address such as"):
            SockJSOptions(base_url="/inventory-ws")

    @pytest.mark.parametrize(
        "url", ["", "sockjs.js", "ftp://a", 'https://a"onload=x', "/a b", "/a>", "/a\n", "/\u2028"]
    )
    def test_addresses_that_cannot_stand_in_a_page(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"SockJSOptions\.client_url"):
            SockJSOptions(iframe=True, client_url=url)
        with pytest.raises(ConfigurationError, match=r"SockJSOptions\.base_url"):
            SockJSOptions(base_url=url)

    def test_the_iframe_page_needs_a_client(self) -> None:
        SockJSOptions(client_url=None)
        with pytest.raises(ConfigurationError, match="the iframe page needs"):
            SockJSOptions(iframe=True)


class TestDestinations:
    def test_a_dict_is_no_policy(self) -> None:
        wrong: Any = {"/queue/**": {"dead_letter": "/queue/dead"}}
        with pytest.raises(
            ConfigurationError, match=r"needs a Topic\(…\), .* or Queue\(…\), not \{"
        ):
            BrokerConfig(destinations=wrong)

    def test_dead_letters_must_lead_somewhere(self) -> None:
        policy = Queue(dead_letter="/dlq/x")
        with pytest.raises(ConfigurationError, match="under no broker prefix"):
            BrokerConfig(destinations={"/queue/**": policy})
        BrokerConfig(destinations={"/queue/**": Queue(dead_letter="/queue/dead")})

    @pytest.mark.parametrize(
        ("kind", "wrong", "text"),
        [
            (Topic, {"overflow": "drop_newest"}, r"Topic\.overflow: must be 'disconnect' or"),
            (Topic, {"ack_timeout": 0}, r"Topic\.ack_timeout: must be a number above 0, not 0"),
            (Topic, {"ack_timeout": "5"}, r"Topic\.ack_timeout: must be a number above 0"),
            *(
                (kind, {"flush_delay": wrong}, rf"{kind.__name__}\.{FLUSH_DELAY}{text}$")
                for kind in (Topic, Stream)
                for wrong, text in (
                    (0, "0; None turns it off"),
                    (-0.001, "-0.001"),
                    (0.11, r"0\.11"),
                    (5, r"5; if that is ms, write flush_delay=0\.005"),
                    (2_000, "2000"),
                    (math.nan, "nan"),
                    (math.inf, "inf"),
                    (True, "True"),
                    ("5ms", "'5ms'"),
                    (timedelta(milliseconds=5), r"datetime\..*: write 0\.005"),
                )
            ),
            (Stream, {"history": 0}, r"Stream\.history: must be a whole number above 0, not 0"),
            (Stream, {"history": 1.5}, r"Stream\.history: must be a whole number above 0"),
            (Stream, {"history": True}, r"Stream\.history: must be a whole number above 0"),
            (Stream, {"seconds": 0}, r"Stream\.seconds: must be a number above 0, not 0"),
            (Stream, {"seconds": math.inf}, r"Stream\.seconds: must be a number above 0"),
            (Stream, {"seconds": math.nan}, r"Stream\.seconds: must be a number above 0"),
            *(
                (Stream, {"history": 50, "on_subscribe": wrong}, BEGINS)
                for wrong in (0, -1, 51, 1.0, True, "all", "5", None)
            ),
            (Latest, {"key": ""}, r"Latest\.key: must be the name of a header, not ''"),
            (Latest, {"key": None}, r"Latest\.key: must be the name of a header, not None"),
            (
                Queue,
                {"max_deliveries": 0},
                r"Queue\.max_deliveries: must be a whole number above 0",
            ),
            (Queue, {"retry": ()}, r"Queue\.retry: must be a tuple of seconds, such as \(0, 1"),
            (Queue, {"retry": 1.0}, r"Queue\.retry: must be a tuple of seconds"),
            (Queue, {"retry": [0, 1]}, r"Queue\.retry: must be a tuple of seconds"),
            (Queue, {"retry": (0, -1)}, r"Queue\.retry: must be a tuple of seconds"),
            (Queue, {"retry": (0, True)}, r"Queue\.retry: must be a tuple of seconds"),
            (Queue, {"retry": (0, math.inf)}, r"Queue\.retry: must be a tuple of seconds"),
            (Queue, {"dead_letter": 7}, r"Queue\.dead_letter: must be a text like '/topic', not 7"),
            (Queue, {"dead_letter": "dead"}, r"Queue\.dead_letter: 'dead' must be like '/topic'"),
        ],
    )
    def test_a_policy_is_checked_where_it_is_written(
        self, kind: Any, wrong: dict[str, Any], text: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=text):
            kind(**wrong)

    @pytest.mark.parametrize(
        ("kind", "foreign"),
        [
            (Topic, "history"),
            (Topic, "key"),
            (Topic, "on_subscribe"),
            (Stream, "key"),
            (Latest, "history"),
            (Latest, "on_subscribe"),
            (Latest, "flush_delay"),
            (Queue, "flush_delay"),
            (Queue, "on_subscribe"),
            (Queue, "history"),
            (Queue, "overflow"),
        ],
    )
    def test_a_field_stands_only_where_it_means_something(self, kind: Any, foreign: str) -> None:
        with pytest.raises(TypeError, match=foreign):
            kind(**{foreign: 1})

    @pytest.mark.parametrize("seconds", [None, 1e-6, 0.005, 0.1])
    @pytest.mark.parametrize("kind", [Topic, Stream])
    def test_messages_may_wait_for_each_other(self, kind: Any, seconds: float | None) -> None:
        assert kind(flush_delay=seconds).flush_delay == seconds
        assert kind().flush_delay is None

    @pytest.mark.parametrize("begins", ["live", "history", 1, 50])
    def test_with_what_a_subscription_to_a_stream_begins(self, begins: Any) -> None:
        assert Stream(history=50, on_subscribe=begins).on_subscribe == begins
        assert Stream().on_subscribe == "live"

    def test_a_queue_is_below_a_queue_prefix_and_nothing_else_is(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"'/queue/a' is below a queue prefix: write Q"
        ):
            BrokerConfig(destinations={"/queue/a": Stream()})
        with pytest.raises(ConfigurationError, match=r"'/topic/a' is below no queue prefix: write"):
            BrokerConfig(destinations={"/topic/a": Queue()})
        BrokerConfig(
            broker_prefixes=("/topic", "/jobs"),
            queue_prefixes=("/jobs",),
            destinations={"/jobs/a": Queue(), "/topic/a": Latest()},
        )

    def test_the_pause_before_each_delivery(self) -> None:
        pauses = [pause(Queue(), attempt) for attempt in range(7)]
        assert pauses == [0, 0, 1, 2, 4, 4, 4]
        assert [pause(Topic(retry=(5,)), attempt) for attempt in (0, 1, 9)] == [5, 5, 5]


@pytest.mark.parametrize("beat", [(math.inf, 1), (1, math.nan)])
def test_a_heart_beat_is_no_endless_time(beat: tuple[float, float]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"must be two times in seconds like \(10.0, 10.0\)"
    ):
        BrokerConfig(heart_beat=beat)
