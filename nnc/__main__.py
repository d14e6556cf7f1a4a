"""`python -m nnc` is the command `nnc`."""

import sys

from nnc.cli import main

sys.exit(main())
