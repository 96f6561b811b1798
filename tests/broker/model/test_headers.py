"""Reserved headers: a closed list, in both directions."""

from __future__ import annotations

import pytest

from stocksync_ws.broker.model.headers import RESERVED, check_own, misread_life, strip_reserved

AT_WORK = ("destination", "content-length", "receipt", "transaction", "idempotency-key")


def test_the_list_is_closed() -> None:
    listed = """
        ack authorization content-length cookie delivery-attempt destination dropped duplicate
        heart-beat idempotency-key last-message-id login message-id original-destination
        passcode receipt receipt-id recovered redelivered replayed server session snapshot
        subscription transaction user-name x-death-reason
    """
    assert sorted(RESERVED) == listed.split()


def test_what_a_client_forges_is_stripped_and_counted() -> None:
    kept, stripped = strip_reserved({"ack": "1", "a": "2", "simpUser": "x", "user-name": "admin"})
    assert kept == (("a", "2"),)
    assert stripped == 3


@pytest.mark.parametrize("name", AT_WORK)
def test_what_does_its_work_is_not_passed_on_and_not_counted(name: str) -> None:
    assert strip_reserved({name: "x", "a": "1", "ack": "2"}) == ((("a", "1"),), 1)


TRIMMED = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""White space and line terminators of ECMAScript: what `trim` strips."""


@pytest.mark.parametrize("blank", TRIMMED, ids=ascii)
def test_blanks_around_a_name_do_not_hide_it(blank: str) -> None:
    for name in ("redelivered", "dropped", "destination", "simpUser", "reply-to"):
        for padded in (blank + name, name + blank, f"{blank} {name} {blank}"):
            assert strip_reserved({padded: "true", "a": "1"}) == ((("a", "1"),), 1), padded
            with pytest.raises(ValueError, match="set by the server"):
                check_own({padded: "x"})


def test_blanks_of_other_names_are_passed_on() -> None:
    headers = {" a": "1", "b\t": "2", "\ufeff": "3", "re delivered": "4", "xack ": "5"}
    assert strip_reserved(headers) == (tuple(headers.items()), 0)
    assert check_own(headers) == tuple(headers.items())


def test_others_are_passed_on_in_order() -> None:
    headers = {"b": "1", "content-type": "x", "reply-to": "y", "priority": "9", "Destination": "z"}
    assert strip_reserved(headers) == (tuple(headers.items()), 0)


@pytest.mark.parametrize("name", [*sorted(RESERVED), "simpSessionId", "simp"])
def test_our_own_caller_may_give_none_of_them(name: str) -> None:
    with pytest.raises(ValueError, match="set by the server"):
        check_own({"a": "1", name: "x"})


@pytest.mark.parametrize("headers", [{"": "x"}, {"a\0": "x"}, {"a": "x\0"}])
def test_nul_and_an_empty_name_cannot_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        check_own(headers)


def test_other_headers_of_our_caller_are_taken() -> None:
    assert check_own({"a": "1\n2", "content-type": "x"}) == (("a", "1\n2"), ("content-type", "x"))


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, ""),
        ({"expiration": "0", "expires": "9" * 15}, ""),
        ({"expiration": "10s"}, "expiration: milliseconds, up to 15 digits"),
        ({"expiration": "\u0663"}, "expiration: milliseconds, up to 15 digits"),
        ({"expiration": "1", "expires": "-1"}, "expires: milliseconds since 1970"),
        ({"expires": "9" * 16}, "expires: milliseconds since 1970"),
    ],
)
def test_an_end_of_life_is_digits(headers: dict[str, str], says: str) -> None:
    misread = misread_life(headers)
    assert misread.startswith(says)
    assert bool(misread) is bool(says)
