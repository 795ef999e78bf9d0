"""``python -m dyn_lightning.cli``, the same as ``dyn-lightning``."""

import sys

from dyn_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
