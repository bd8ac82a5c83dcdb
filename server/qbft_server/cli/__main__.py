"""`python -m qbft_server.cli`: the command line without an installed script."""

import sys

from qbft_server.cli import main

sys.exit(main())
