"""Debian's kernels, each booted under QEMU on this machine's files: there they run what stands in tests/."""
