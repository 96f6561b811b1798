"""What the conformance suite runs over: one module for each adapter, and the client it uses."""
