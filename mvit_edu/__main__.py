"""`python -m mvit_edu` is the command `mvit-edu`."""

import sys

from mvit_edu.cli import main

if __name__ == "__main__":
    sys.exit(main())
