"""``python -m pixeltune``: the command line, where its script is not on the path."""

from pixeltune.cli.main import main

raise SystemExit(main())
