/* SPDX-License-Identifier: GPL-2.0-only */
/* BCC's prelude includes it and uses nothing from it. */
