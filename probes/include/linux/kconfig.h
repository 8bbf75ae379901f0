/* SPDX-License-Identifier: GPL-2.0-only */
/* BCC includes this first of all. The tree that it is in stands in for the kernel's
 * headers, so that none need be installed; it holds what BCC's prelude asks for. */
#define CONFIG_BPF_SYSCALL 1
