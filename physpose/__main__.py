"""``python -m physpose``: the command line."""

import sys

from physpose.cli import main

sys.exit(main())
