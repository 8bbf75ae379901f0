#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/kmemtrace")

from kmemtrace.__main__ import start

sys.exit(start())
