/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The few helpers and macros that the gate needs, so that a build wants clang and the kernel's own
 * headers (linux-libc-dev) and nothing else. Numbers are those of linux/bpf.h, which never change.
 */
#ifndef SLUICE_BPF_H
#define SLUICE_BPF_H

#include <linux/bpf.h>
#include <linux/types.h>

#define SEC(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Fields of a map definition in BTF: the loader reads types, not values. */
#define MAP_UINT(name, value) int(*name)[value]
#define MAP_TYPE(name, type) type *name

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) =
	(void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_redirect_map)(void *map, __u32 key, __u64 flags) =
	(void *)BPF_FUNC_redirect_map;
/* Both since Linux 5.18. */
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *context) =
	(void *)BPF_FUNC_xdp_get_buff_len;
static long (*const bpf_xdp_load_bytes)(struct xdp_md *context, __u32 offset, void *to, __u32 length) =
	(void *)BPF_FUNC_xdp_load_bytes;

/* A constant in network byte order. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NET16(x) __builtin_bswap16(x)
#else
#define NET16(x) (x)
#endif

#endif
