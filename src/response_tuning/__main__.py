"""``python -m response_tuning`` is the command ``response-tuning``."""

import sys

from response_tuning.cli import main

sys.exit(main())
