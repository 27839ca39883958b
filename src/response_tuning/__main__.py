"""``python -m response_tuning`` is the command ``response-tuning``."""

import sys

from response_tuning.cli.main import main

sys.exit(main())
