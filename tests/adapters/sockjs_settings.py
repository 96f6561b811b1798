"""SockJS where its options are not the default ones: what is off unless it is switched on, short
times, small bounds. Collected where a fixture `serve` says over what.

Rule: only bytes that come and go are looked at, and what the application was told.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from carriers.sockjs import HttpPage, text_of
from sockjs_answers import NOT_CACHED, SCRIPT, SHOP, TEXT, Serve, judge
from sockjs_suite import INTERRUPTED, each, http

OLD: dict[str, Any] = {"htmlfile": True, "jsonp": True, "cookie": True, "websocket": False}
"""What browsers need that are gone, without what they lack."""
NO_COOKIE = {"Cookie": "a=b"}
DUMMY = "JSESSIONID=dummy; path=/"
MARKUP = "</script><script>alert('&')</script>"
CONNECT = text_of("CONNECT", {"accept-version": "1.2", "host": "x"})
SUBSCRIBE = text_of("SUBSCRIBE", {"id": "1", "destination": "/topic/say"})


def say(body: str) -> str:
    return text_of("SEND", {"destination": "/topic/say"}, body)


# Sessions and their names


def test_a_session_is_known_by_its_name_alone_however_it_is_written(serve: Serve) -> None:
    page = http(serve().page("xhr"))
    page.name += "a%20b"
    page.connect().subscribe("/topic/say")
    page.name = page.name.replace("a%20", "%61%20")
    target = page.path("xhr_send", "any%20server") + "?t=1&access_token=secret"
    answer = page.browser.ask("POST", target, json.dumps([say("here")]).encode())
    assert answer.status == 204
    poll = page.browser.ask("POST", page.path("xhr", "another") + "?t=2")
    assert b"here" in poll.body


def test_what_waits_comes_in_one_frame_of_a_poll(serve: Serve) -> None:
    page = http(serve().page("xhr").connect().subscribe("/topic/say"))
    page.post(say("1"), say("2"), say("3"))
    frame = page.frame()
    assert [text[-2] for text in json.loads(frame[1:])] == ["1", "2", "3"]


@each
def test_fragile_characters_go_out_escaped_in_lower_case(serve: Serve, transport: str) -> None:
    page = serve().page(transport).connect().subscribe("/topic/say")
    page.say("\u200d\u2028\ufff0ü", "/topic/say")
    while "MESSAGE" not in (frame := page.frame()):
        pass
    assert "\\u200d\\u2028\\ufff0ü" in frame


def test_a_session_on_a_websocket_ends_with_its_connection(serve: Serve) -> None:
    stage = serve()
    stage.page("websocket").connect()
    stage.hang_up()
    assert stage.next_end().reason == "connection_lost"


def test_a_session_that_has_ended_is_remembered_for_a_while(serve: Serve) -> None:
    stage = serve(sockjs={"disconnect_delay": 0.3, "remember": 0.1})
    gone = http(stage.page("xhr").connect())
    stage.pass_time(0.35)
    assert stage.next_end().reason == "connection_lost"
    told: list[str] = []
    while (frame := gone.frame()) != "o":
        told.append(frame)
        stage.pass_time(0.1)
    assert set(told) <= {INTERRUPTED}


def test_over_the_bound_no_session_is_opened_and_the_others_go_on(serve: Serve) -> None:
    stage = serve(sockjs_sessions=1)
    page = http(stage.page("xhr_streaming").connect().subscribe("/topic/say"))
    for transport in ("xhr", "xhr_streaming"):
        other = http(stage.page(transport))
        answer = stage.browser().ask("POST", other.path(transport))
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
    page.say("still here")
    assert page.message().body == b"still here"


@pytest.mark.parametrize("origin", [SHOP, "null"])
def test_where_every_origin_is_allowed_each_is_echoed(serve: Serve, origin: str) -> None:
    stage = serve(origins=["*"])
    judge(stage, origin, stage.browser().ask("GET", "/ws/info", Origin=origin))
    judge(stage, origin, stage.browser().ask("POST", "/ws/0/s/xhr", Origin=origin))


# What is off


def test_without_websockets_there_are_none_below_the_endpoint(serve: Serve) -> None:
    stage = serve(sockjs={"websocket": False})
    assert json.loads(stage.browser().ask("GET", "/ws/info").body)["websocket"] is False
    for target in ("/ws/websocket", "/ws/a/s/websocket"):
        assert stage.browser().ask("GET", target).status == 404
        with pytest.raises(AssertionError, match=r"40[34]"):
            stage.open().upgrade(target=target)
    # The endpoint itself is not SockJS.
    stage.connect().subscribe("/topic/say")


def test_the_page_of_frames_is_the_same_under_each_of_its_names(serve: Serve) -> None:
    stage = serve(sockjs={"iframe": True, "client_url": "/lib/sockjs.js"}, origins=[])
    browser = stage.browser()
    page = browser.ask("GET", "/ws/iframe.html", Cookie="JSESSIONID=abc")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=UTF-8")
    assert b'<script src="/lib/sockjs.js"></script>' in page.body
    assert page.headers["cache-control"] == "public, max-age=31536000"
    assert "expires" in page.headers
    assert not {"last-modified", "set-cookie"} & page.headers.keys()
    tag = page.headers["etag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    for name in ("iframe-1.6.1.html", "iframe-0.1_2-a.html?t=1"):
        assert browser.ask("GET", f"/ws/{name}").body == page.body
        cached = browser.ask("GET", f"/ws/{name}", If_None_Match=tag)
        assert (cached.status, cached.body) == (304, b"")
        assert "content-type" not in cached.headers
        assert browser.ask("GET", f"/ws/{name}", If_None_Match='"other"').status == 200


def test_the_page_of_frames_is_no_bridge_where_origins_are_listed(serve: Serve) -> None:
    stage = serve(sockjs={"iframe": True, "client_url": "/lib/sockjs.js"})
    assert stage.browser().ask("GET", "/ws/iframe.html").status == 404


CALLBACKS = [
    ("", b'"callback" parameter required\n'),
    ("?c=", b'"callback" parameter required\n'),
    ("?c=a%28%29", b'invalid "callback" parameter\n'),
    ("?c=%3Cscript%3E", b'invalid "callback" parameter\n'),
    ("?c=" + "a" * 33, b'invalid "callback" parameter\n'),
]


def test_a_session_over_jsonp(serve: Serve) -> None:
    stage = serve(sockjs=OLD)
    page = http(stage.page("jsonp"))
    browser = page.browser
    for query, text in CALLBACKS:
        answer = browser.ask("GET", page.path("jsonp") + query)
        assert (answer.status, answer.body) == (500, text)

    def poll(name: str = "a.b-C_0") -> str:
        answer = browser.ask("GET", page.path("jsonp") + f"?c={name}", **NO_COOKIE)
        headers = answer.headers
        assert (answer.status, headers["content-type"]) == (200, SCRIPT)
        assert headers["cache-control"] == NOT_CACHED
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["set-cookie"] == DUMMY
        begin, end = f"/**/{name}(".encode(), b");\r\n"
        assert answer.body.startswith(begin)
        assert answer.body.endswith(end)
        assert b"<" not in answer.body
        frame: str = json.loads(answer.body[len(begin) : -len(end)])
        return frame

    def post(*messages: str, form: bool) -> None:
        body = json.dumps(messages)
        kind = "application/x-www-form-urlencoded" if form else "text/plain"
        answer = browser.ask(
            "POST",
            page.path("jsonp_send"),
            (f"d={quote(body)}" if form else body).encode(),
            Content_Type=kind,
            **NO_COOKIE,
        )
        assert (answer.status, answer.body) == (200, b"ok"), (answer.status, answer.body)
        assert answer.headers["content-type"] == TEXT
        assert answer.headers["set-cookie"] == DUMMY

    assert poll("a" * 32) == "o"
    post(CONNECT, form=True)
    assert poll().startswith('a["CONNECTED')
    post(SUBSCRIBE, say(MARKUP), form=False)
    [message] = json.loads(poll()[1:])
    assert message.endswith(f"\n\n{MARKUP}\0")
    for body, text in ((b"", b"Payload expected.\n"), (b"d=%5B", b"Broken JSON encoding.\n")):
        kind = "application/x-www-form-urlencoded"
        bad = browser.ask("POST", page.path("jsonp_send"), body, Content_Type=kind)
        assert (bad.status, bad.body) == (500, text)
    post(text_of("DISCONNECT"), form=True)
    assert poll().startswith("c[1000,")
    assert stage.next_end().reason == "client_disconnect"


def test_a_session_over_htmlfile(serve: Serve) -> None:
    stage = serve(sockjs=OLD | {"stream_bytes": 4_096})
    page = HttpPage(stage.browser(), "htmlfile", **NO_COOKIE)
    for query, text in CALLBACKS:
        answer = page.browser.ask("GET", page.path("htmlfile") + query)
        assert (answer.status, answer.body) == (500, text)

    def stream() -> list[str]:
        """The frames of one answer; who opens the session by it sends at once."""
        asked = page.browser.begin("GET", page.path("htmlfile") + "?c=cb", **NO_COOKIE)
        head = asked.head()
        assert (head.status, head.headers["content-type"]) == (200, "text/html; charset=UTF-8")
        assert head.headers["cache-control"] == NOT_CACHED
        assert head.headers["x-accel-buffering"] == "no"
        assert head.headers["set-cookie"] == DUMMY
        prelude = asked.chunk()
        assert len(prelude) > 1_024
        assert b"var c = parent.cb;" in prelude
        frames: list[str] = []
        while chunk := asked.chunk():
            begin, end = b"<script>\np(", b");\n</script>\r\n"
            assert chunk.startswith(begin)
            assert chunk.endswith(end)
            inner = chunk[len(begin) : -len(end)]
            assert not set(inner) & set(b"<>&")
            frames.append(json.loads(inner))
            if frames == ["o"]:
                page.post(CONNECT, SUBSCRIBE)
                for number in range(6):
                    page.post(say(f"{number} {MARKUP} {'x' * 1_000}"))
        page.browser.give_back(asked)
        return frames

    first = stream()
    page.post(text_of("DISCONNECT"))
    second = stream()
    assert (first[0], second[-1][:7]) == ("o", "c[1000,")
    assert 4_000 < sum(map(len, first)) < 6_500
    texts = [text for frame in (*first[1:], *second[:-1]) for text in json.loads(frame[1:])]
    assert texts.pop(0).startswith("CONNECTED")
    found = [text.partition("\n\n")[2] for text in texts]
    assert found == [f"{number} {MARKUP} {'x' * 1_000}\0" for number in range(6)]
