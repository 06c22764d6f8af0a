"""`python -m reidentify`."""

import sys

from reidentify.cli import main

sys.exit(main())
