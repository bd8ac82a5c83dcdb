"""The loopback cluster of the gRPC transport's own tests serves here as well."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "server" / "peers"))
