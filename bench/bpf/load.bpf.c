/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The load: writes the headers of the next flow into a frame and sends it back out.
 *
 * Run by BPF_PROG_TEST_RUN with live frames. Their pages are used again with whatever the last
 * receiver wrote into them (a lower TTL, other MACs), so the whole header is written each time.
 */
#include "bpf.h"

enum { HEADER_LEN = 42, SOURCE_PORT_AT = 34 };

struct load {
	__u8 header[HEADER_LEN];
	__u16 first_port;
	__u16 flows;
	__u16 reserved;
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct load);
} load SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
} next SEC(".maps");

SEC("xdp")
int sluice_load(struct xdp_md *context)
{
	__u8 *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 zero = 0;
	struct load *what = bpf_map_lookup_elem(&load, &zero);
	__u32 *flow = bpf_map_lookup_elem(&next, &zero);
	__u16 port;

	if (!what || !flow || (void *)(data + HEADER_LEN) > end)
		return XDP_ABORTED;
	for (int i = 0; i < HEADER_LEN; i++)
		data[i] = what->header[i];
	port = what->first_port + *flow;
	data[SOURCE_PORT_AT] = port >> 8;
	data[SOURCE_PORT_AT + 1] = port & 0xff;
	*flow = *flow + 1 < what->flows ? *flow + 1 : 0;
	return XDP_TX;
}

char load_license[] SEC("license") = "Dual MIT/GPL";
