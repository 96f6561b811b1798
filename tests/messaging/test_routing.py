"""Templates and the router, also against a matcher that knows nothing of tries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stocksync_ws.errors import ConfigurationError
from stocksync_ws.messaging.routing import Router, Template


def test_template_knows_its_text_and_its_variables() -> None:
    template = Template("/inventory/{product_id}/{action}")
    assert template.text == "/inventory/{product_id}/{action}"
    assert template.names == ("product_id", "action")
    assert repr(template) == "Template('/inventory/{product_id}/{action}')"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "leading slash is missing"),
        ("inventory", "leading slash is missing"),
        ("/", "empty segment"),
        ("/a/", "empty segment"),
        ("/a//b", "empty segment"),
        ("/a/./b", "a segment is '.'"),
        ("/a/../b", "a segment is '..'"),
        ("/a/*", "is a wildcard"),
        ("/a/**", "is a wildcard"),
        ("/a/x{b}", "not the whole segment"),
        ("/a/{b}x", "not the whole segment"),
        ("/a/{b", "not the whole segment"),
        ("/a/b}", "not the whole segment"),
        ("/a/{b}{c}", "not the whole segment"),
        ("/a/{{b}}", "not the whole segment"),
        ("/a/{}", "is no name a parameter can have"),
        ("/a/{1}", "is no name a parameter can have"),
        ("/a/{b-c}", "is no name a parameter can have"),
        ("/a/{id:[0-9]+}", "use {id} and give the parameter a type"),
        ("/a/\udc80", "a lone surrogate is no character"),
        ("/{a}/x/{a}", "{a} stands in it twice"),
    ],
)
def test_malformed_template_says_what_and_how(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Template(text)
    assert problem in str(caught.value)
    assert repr(text) in str(caught.value)
    assert "/inventory/{product_id}/adjust" in str(caught.value)


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("/a", "/a", {}),
        ("/a", "/b", None),
        ("/a", "a", None),
        ("/a", "/a/b", None),
        ("/a/{x}", "/a/1", {"x": "1"}),
        ("/a/{x}", "/a", None),
        ("/a/{x}", "/a/", None),
        ("/a/{x}", "/a/.", None),
        ("/a/{x}", "/a/..", None),
        ("/{x}/{y}", "/a%2F/ä", {"x": "a%2F", "y": "ä"}),
        ("/{x}", "a/b", None),
    ],
)
def test_template_matches(template: str, path: str, found: dict[str, str] | None) -> None:
    assert Template(template).match(path) == found
    router = Router[str]()
    router.add(Template(template), "it", label="f")
    assert router.match(path) == (None if found is None else ("it", found))


def test_expand_puts_values_in_and_ignores_others() -> None:
    assert Template("/topic/{x}/a").expand({"x": "1", "y": "2"}) == "/topic/1/a"


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "/"])
def test_expand_refuses_what_is_not_one_segment(value: str) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        Template("/topic/{x}").expand({"x": value})


def test_expand_names_the_missing_variable() -> None:
    with pytest.raises(ValueError, match=r"no value for \{x\}"):
        Template("/topic/{x}").expand({"y": "1"})


def test_literal_beats_variable_from_the_left_with_backtracking() -> None:
    router = Router[str]()
    for text in ("/a/{x}/c", "/{x}/b/d", "/a/b/{y}", "/a/b/c", "/{x}/{y}/{z}"):
        router.add(Template(text), text, label=text)
    assert router.match("/a/b/c") == ("/a/b/c", {})
    assert router.match("/a/b/x") == ("/a/b/{y}", {"y": "x"})
    assert router.match("/a/q/c") == ("/a/{x}/c", {"x": "q"})
    assert router.match("/q/b/d") == ("/{x}/b/d", {"x": "q"})
    # /a/... leads nowhere for /a/q/d: back to the variable in the first place.
    assert router.match("/a/q/d") == ("/{x}/{y}/{z}", {"x": "a", "y": "q", "z": "d"})
    assert router.match("/a/b") is None
    assert router.match("") is None
    assert router.match("x/a/b") is None


@pytest.mark.parametrize(("one", "other"), [("/a/{x}", "/a/{y}"), ("/a/b", "/a/b")])
def test_two_templates_of_one_shape_are_ambiguous(one: str, other: str) -> None:
    router = Router[int]()
    router.add(Template(one), 1, label="shop.adjust")
    with pytest.raises(ConfigurationError) as caught:
        router.add(Template(other), 2, label="shop.change")
    for part in ("ambiguous mapping", repr(one), repr(other), "shop.adjust", "shop.change"):
        assert part in str(caught.value)


def test_a_literal_path_costs_one_lookup_among_any_number_of_routes() -> None:
    class Path(str):
        __slots__ = ()
        splits = 0

        def split(self, *args: object, **kwargs: object) -> list[str]:  # type: ignore[override]
            Path.splits += 1
            return super().split(*args, **kwargs)  # type: ignore[arg-type]

    router = Router[int]()
    for number in range(1_000):
        router.add(Template(f"/r{number}/x"), number, label="f")
    assert router.match(Path("/r77/x")) == (77, {})
    assert Path.splits == 0


_SEGMENT = st.sampled_from(["a", "b", "c", "{x}"])


def _numbered(segments: list[str]) -> str:
    named = [f"{{v{at}}}" if s == "{x}" else s for at, s in enumerate(segments)]
    return "/" + "/".join(named)


@given(
    st.lists(st.lists(_SEGMENT, min_size=1, max_size=4).map(_numbered), max_size=12, unique=True),
    st.lists(st.sampled_from(["a", "b", "c", "d", ""]), min_size=1, max_size=4),
)
def test_router_agrees_with_a_naive_matcher(texts: list[str], segments: list[str]) -> None:
    router = Router[str]()
    for text in texts:
        router.add(Template(text), text, label=text)
    path = "/" + "/".join(segments)
    fitting = [text for text in texts if Template(text).match(path) is not None]
    # False sorts before True: literals first, from the left.
    fitting.sort(key=lambda text: ["{" in segment for segment in text.split("/")])
    expected = (fitting[0], Template(fitting[0]).match(path)) if fitting else None
    assert router.match(path) == expected


@given(
    st.dictionaries(
        st.sampled_from(["x", "y"]), st.text(st.characters(exclude_characters="/"), min_size=1)
    )
)
def test_expand_and_match_are_inverse(values: dict[str, str]) -> None:
    template = Template("/topic/{x}/{y}")
    try:
        path = template.expand(values)
    except ValueError:
        return
    assert template.match(path) == values


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("/a/*/{b}", "/a/x/y", {"b": "y"}),
        ("/a/*", "/a/..", None),
        ("/a/**", "/a", {}),
        ("/a/{b}/**", "/a/x/y/z", {"b": "x"}),
        ("/a/{b}/**", "/a", None),
        ("/**", "/a/b", {}),
    ],
)
def test_a_template_of_a_rule_matches_with_its_wildcards(
    template: str, path: str, found: dict[str, str] | None
) -> None:
    assert Template(template, wildcards=True).match(path) == found
