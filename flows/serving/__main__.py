"""`python -m flows.serving`, which is `make server`."""

import sys

from flows.serving.up import main

sys.exit(main())
