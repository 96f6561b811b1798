"""What the conformance suite runs over: one module for each adapter, and the client it uses."""

import pytest

# They are no tests by their names, and assert all the same.
pytest.register_assert_rewrite(
    "suite", "sockjs_answers", "sockjs_suite", "carriers.sockjs", "carriers.stage"
)
