"""`python -m cairngym` is the `cairn` command."""

import sys

from cairngym.cli import main

if __name__ == "__main__":
    sys.exit(main())
