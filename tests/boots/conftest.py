"""These are for guests that are booted so (make test-kernels ARGS="--boot nokmem")."""

import os

import pytest

from tests.faults.conftest import FOLDER

# In a guest, the set-up says which of them runs.
collect_ignore_glob = [] if FOLDER in os.environ else ["test_*.py"]
pytest.register_assert_rewrite("tests.boots.command")
