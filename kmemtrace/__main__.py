"""python -m kmemtrace"""

import sys

from kmemtrace.commands import main

sys.exit(main())
