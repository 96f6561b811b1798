"""What the interoperability tests drive: the examples, a browser, and a place for its pages."""
