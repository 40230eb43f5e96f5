"""Put `smol` together in a folder, from the installed language and the tower. ``make smol`` runs this.

python -m pixeltune.bundled.smol [--out FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pixeltune.bundled.smol.assembly import assemble, write
from pixeltune.errors import UserError
from pixeltune.model.finding import SMOL


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pixeltune.bundled.smol", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=SMOL, help="folder to write; without it, --model smol")
    arguments = parser.parse_args()
    try:
        write(*assemble(), arguments.out)
    except UserError as error:
        print(f"pixeltune.bundled.smol: {error}", file=sys.stderr)
        return 2
    print(f"smol is in {arguments.out}: give --model smol" if arguments.out == SMOL else arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
