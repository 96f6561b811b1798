"""What the tests of the server share with the conformance suite: its clients and carriers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
