"""Where this kernel keeps what the census reads: offsets from BTF, and what differs between kernels.

Each layout is worked out on its own, so that a part that a kernel lays out in a way that is not known is
named as unseen while the others are read.
"""
