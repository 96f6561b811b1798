"""`python -m tests.spec` prints docs/contributing/conformance.md, `--write` writes it."""

import sys

from tests.spec import catalogue

if "--write" in sys.argv[1:]:
    catalogue.PAGE.write_text(catalogue.page())
else:
    sys.stdout.write(catalogue.page())
