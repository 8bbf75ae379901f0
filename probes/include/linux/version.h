/* SPDX-License-Identifier: GPL-2.0-only */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KMEMTRACE_KERNEL_VERSION
