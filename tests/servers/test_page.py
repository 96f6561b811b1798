"""The page about servers says what the table says that the tests go by."""

from __future__ import annotations

from page import PAGE, with_table


def test_the_page_about_servers_is_not_stale() -> None:
    text = PAGE.read_text()
    assert with_table(text) == text, "python tests/servers/page.py"
