"""Frames of SockJS as text: quoting, framings, posts; and what a client makes of them."""

from __future__ import annotations

import json
import re
from urllib.parse import quote as url_quote
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.wire.sockjs.frames import (
    ANOTHER_OPEN,
    FORMATS,
    HEART_BEAT,
    INTERRUPTED,
    OPEN,
    CloseFrame,
    PostError,
    close_frame,
    form_field,
    message_frame,
    quote,
    read_messages,
)
from tests.wire.sockjs.client import deframe

FRAGILE = [
    *range(0x20),
    *range(0x200C, 0x2010),
    *range(0x2028, 0x2030),
    *range(0x2060, 0x2070),
    *range(0xFFF0, 0x10000),
]
"""Characters that browsers change, or that JSON escapes; lone surrogates are never sent."""
SHORT = {0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r"}
texts = st.text(st.characters(exclude_categories=["Cs"]))


class TestQuoting:
    @pytest.mark.parametrize("code", FRAGILE, ids=hex)
    def test_a_fragile_character_goes_out_escaped_in_lower_case(self, code: int) -> None:
        quoted = quote(f"a{chr(code)}b".encode()).decode()
        assert quoted in (f'"a\\u{code:04x}b"', f'"a{SHORT.get(code)}b"')

    @pytest.mark.parametrize("text", ["\u200b", "\u2010", "\u2027", "\u2030", "\uffef", "é", "😀"])
    def test_what_is_not_fragile_goes_out_as_it_is(self, text: str) -> None:
        assert quote(text.encode()) == f'"{text}"'.encode()

    def test_json_itself(self) -> None:
        assert quote(b'"\\/') == b'"\\"\\\\/"'

    @given(texts)
    def test_it_is_the_text_again(self, text: str) -> None:
        quoted = quote(text.encode()).decode()
        assert json.loads(quoted) == text
        assert not re.search(
            "[\x00-\x1f\u200c-\u200f\u2028-\u202f\u2060-\u206f\ufff0-\uffff]", quoted
        )


class TestFrames:
    def test_open_and_heart_beat(self) -> None:
        assert (OPEN, HEART_BEAT) == (b"o", b"h")

    @pytest.mark.parametrize(
        ("messages", "frame"),
        [(["x"], b'a["x"]'), (["x", "y"], b'a["x","y"]'), ([""], b'a[""]')],
    )
    def test_messages_stand_in_one_array(self, messages: list[str], frame: bytes) -> None:
        assert message_frame([quote(each.encode()) for each in messages]) == frame

    def test_close_frames(self) -> None:
        assert close_frame(3000, "Go away!") == b'c[3000,"Go away!"]'
        assert INTERRUPTED == b'c[1002,"Connection interrupted"]'
        assert ANOTHER_OPEN == b'c[2010,"Another connection still open"]'
        assert isinstance(close_frame(1000, ""), CloseFrame)


class TestFramings:
    """What each transport makes of a frame; the client undoes it."""

    @pytest.mark.parametrize(
        ("transport", "sent"),
        [
            ("xhr", b'a["x"]\n'),
            ("xhr_streaming", b'a["x"]\n'),
            ("eventsource", b'data: a["x"]\r\n\r\n'),
            ("htmlfile", b'<script>\np("a[\\"x\\"]");\n</script>\r\n'),
            ("jsonp", b'/**/cb("a[\\"x\\"]");\r\n'),
        ],
    )
    def test_a_frame(self, transport: str, sent: bytes) -> None:
        assert FORMATS[transport].wrap(b'a["x"]', "cb") == sent

    @pytest.mark.parametrize("transport", FORMATS)
    def test_every_frame_is_terminated(self, transport: str) -> None:
        for frame in (OPEN, HEART_BEAT, b'a["\\n"]', close_frame(3000, "Go away!")):
            sent = FORMATS[transport].wrap(frame, "cb")
            assert deframe(transport, sent + sent) == ([frame.decode()] * 2, b"")

    @pytest.mark.parametrize("text", ["100%", "%20", "%", "%25", "%zz"])
    def test_a_percent_sign_survives_an_event(self, text: str) -> None:
        sent = FORMATS["eventsource"].wrap(message_frame([quote(text.encode())]), "")
        assert b"%" in sent
        assert not re.search(b"%(?!25)", sent)
        assert unquote(sent.decode()) == f'data: a["{text}"]\r\n\r\n'

    @pytest.mark.parametrize("transport", ["htmlfile", "jsonp"])
    @pytest.mark.parametrize("text", ["</script><script>alert(1)", "<!--", "a&b", "\u2028\u2029"])
    def test_markup_of_a_message_is_no_markup_of_the_page(self, transport: str, text: str) -> None:
        frame = message_frame([quote(text.encode())])
        sent = FORMATS[transport].wrap(frame, "cb")
        inside = sent.removeprefix(b"<script>\n").removesuffix(b"\n</script>\r\n")
        assert not re.search(b"[<>&]|\xe2\x80[\xa8\xa9]", inside)
        assert json.loads(deframe(transport, sent)[0][0][1:]) == [text]

    def test_markup_is_escaped_in_lower_case(self) -> None:
        assert FORMATS["jsonp"].wrap(b"<>&", "cb") == b'/**/cb("\\u003c\\u003e\\u0026");\r\n'

    @pytest.mark.parametrize("transport", FORMATS)
    @given(sent=st.lists(texts, min_size=1, max_size=3))
    def test_any_text_arrives(self, transport: str, sent: list[str]) -> None:
        frame = message_frame([quote(text.encode()) for text in sent])
        frames, rest = deframe(transport, FORMATS[transport].wrap(frame, "cb"))
        assert not rest
        assert [json.loads(each[1:]) for each in frames] == [sent]


class TestPreludes:
    def test_of_streams(self) -> None:
        assert FORMATS["xhr_streaming"].prelude("") == b"h" * 2_048 + b"\n"
        assert FORMATS["eventsource"].prelude("") == b"\r\n"
        page = FORMATS["htmlfile"].prelude("cb")
        assert len(page) > 1_024
        assert page.startswith(b"<!doctype html>\n<html><head>\n")
        assert b"\n    var c = parent.cb;\n" in page
        assert page.endswith(b" \r\n\r\n")

    def test_polls_have_none(self) -> None:
        assert {FORMATS[name].prelude("cb") for name in ("xhr", "jsonp")} == {b""}

    def test_content_types(self) -> None:
        script = "application/javascript; charset=UTF-8"
        assert {name: each.content_type for name, each in FORMATS.items()} == {
            "xhr": script,
            "xhr_streaming": script,
            "eventsource": "text/event-stream",
            "htmlfile": "text/html; charset=UTF-8",
            "jsonp": script,
        }


class TestPosts:
    def read(self, body: str | bytes, *, single: bool = False) -> list[bytes]:
        data = body.encode() if isinstance(body, str) else body
        return read_messages(data, 3, 5, single=single)

    @pytest.mark.parametrize(
        ("body", "messages"),
        [
            ('["a"]', [b"a"]),
            (' ["a",\n"b"] ', [b"a", b"b"]),
            ("[]", []),
            ('["", "a", ""]', [b"a"]),
            ('["\\u00e9é"]', ["éé".encode()]),
            ('["12345"]', [b"12345"]),
            ('["\\ud83d\\ude00"]', ["😀".encode()]),
        ],
    )
    def test_arrays(self, body: str, messages: list[bytes]) -> None:
        assert self.read(body) == messages

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("", "Payload expected."),
            ("{}", "Payload expected."),
            ("1", "Payload expected."),
            ('"a"', "Payload expected."),
            ("null", "Payload expected."),
            ("[1]", "Payload expected."),
            ('["a", null]', "Payload expected."),
            ('[["a"]]', "Payload expected."),
            ('["a', "Broken JSON encoding."),
            ('["a"]x', "Broken JSON encoding."),
            (b'["\xff"]', "Broken JSON encoding."),
            ("[" * 100_000, "Broken JSON encoding."),
            ("[" + "1" * 5_000 + "]", "Broken JSON encoding."),
            ('["a\\ud800b"]', "Broken JSON encoding."),
            (b'["\xed\xa0\x80"]', "Broken JSON encoding."),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_what_is_none(self, body: str | bytes, text: str) -> None:
        with pytest.raises(PostError) as caught:
            self.read(body)
        assert (caught.value.status, caught.value.text) == (500, text)

    @pytest.mark.parametrize("body", ['["1","2","3","4"]', '["123456"]', '["ééé"]'])
    def test_bounds(self, body: str) -> None:
        with pytest.raises(PostError) as caught:
            self.read(body)
        assert caught.value.status == 413

    def test_one_text_where_it_is_allowed(self) -> None:
        assert self.read('"a"', single=True) == [b"a"]
        assert self.read('["a"]', single=True) == [b"a"]
        assert self.read('""', single=True) == []
        with pytest.raises(PostError):
            self.read("1", single=True)


class TestForms:
    @pytest.mark.parametrize("text", ['["a"]', '["100%", "a+b", "é"]'])
    def test_the_field_of_messages(self, text: str) -> None:
        assert form_field(f"d={url_quote(text)}".encode()) == text.encode()
        assert form_field(f"x=1&d={url_quote(text)}&y".encode()) == text.encode()

    @pytest.mark.parametrize("body", [b"", b"d=", b"x=1", b"\xff", b"&".join([b"d=1"] * 17)])
    def test_what_is_none(self, body: bytes) -> None:
        assert form_field(body) == b""
