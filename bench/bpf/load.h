/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the sender and the sink agree on: where a frame of the load says when it was due, and what
 * it is known by.
 */
#ifndef SLUICE_LOAD_H
#define SLUICE_LOAD_H

#include "bpf.h"

enum {
	ETHERNET_LEN = 14,
	UDP_LEN = 8,
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	/* Behind the UDP header: 8 bytes of time in the byte order of this machine, then the mark. */
	STAMP_LEN = 8,
	MARK_LEN = 4,
	MARK = 0x65637553,
};

#define PAYLOAD_AT(ip_len) (ETHERNET_LEN + (ip_len) + UDP_LEN)

static __u64 (*const bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;

#endif
