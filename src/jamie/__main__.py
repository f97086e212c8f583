"""`python -m jamie` is the command line."""

from __future__ import annotations

import sys

from jamie.cli import main

sys.exit(main())
