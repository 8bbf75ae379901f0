"""The live tests on other kernels: Debian's, each booted under QEMU."""
