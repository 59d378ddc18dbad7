"""`python -m oomsayer` is `oomsayer`."""

import sys

from oomsayer.cli.main import main

sys.exit(main())
