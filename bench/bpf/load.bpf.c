/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The load: writes the next flow's headers, of the next size in turn, into a frame and sends it
 * back out.
 *
 * Run by BPF_PROG_TEST_RUN with live frames. Their pages are used again with whatever the last
 * receiver wrote into them (a lower TTL, other MACs), so the whole header is written each time; the
 * payload is zeros, which nobody writes to, but for the stamp and the mark.
 *
 * A frame that is not due yet is dropped, that is tried again: between two batches the kernel does
 * what else it has to do on this core.
 */
#include "load.h"

static long (*const bpf_xdp_adjust_tail)(struct xdp_md *context, int delta) =
	(void *)BPF_FUNC_xdp_adjust_tail;

enum {
	KINDS_MAX = 16,
	HEADER_LEN = 64,
	FLOWS_MAX = 4096,
	PORT_BITS = 15,
	/* A sender that is later than this was not kept waiting by the forwarder but by the machine. */
	LATE_MAX_NS = 100000,
};

/* Frames of one size. Sums are those of 16-bit words as they lie in memory, without what differs
 * from frame to frame: source port, the source's last two bytes, stamp, the checksums themselves. */
struct kind {
	__u32 len;
	__u32 ip_sum;
	__u32 udp_sum;
	__u32 reserved;
	__u8 header[HEADER_LEN];
};

struct load {
	/* Between two frames; 0: none. */
	__u64 interval_ns;
	/* To send. */
	__u64 frames;
	__u32 flows;
	/* Of the map of flows; 0: flows are numbered. */
	__u32 listed;
	__u32 kinds_len;
	__u32 len_max;
	__u32 is_v6;
	__u32 reserved;
	struct kind kinds[KINDS_MAX];
};

struct progress {
	__u64 due_ns;
	__u64 sent;
	/* Frames that were due while the sender was kept from sending, and were never sent. */
	__u64 missed;
	__u32 flow;
	__u32 kind;
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
	MAP_TYPE(value, struct progress);
} progress SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, FLOWS_MAX);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
} flows SEC(".maps");

static ALWAYS_INLINE __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* ip_len is a constant at each call. */
static ALWAYS_INLINE int write_frame(struct xdp_md *context, const struct kind *kind, __u32 flow,
				     __u64 stamp, const int ip_len)
{
	__u8 *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const int header_len = PAYLOAD_AT(ip_len);
	__u16 port = NET16((__u16)(1 << PORT_BITS | (flow & ((1 << PORT_BITS) - 1))));
	__u16 host = NET16((__u16)((flow >> PORT_BITS) + 1));
	__u64 sum = (__u64)kind->udp_sum + port + host;
	__u16 checksum;

	if ((void *)(data + header_len + STAMP_LEN + MARK_LEN) > end)
		return XDP_ABORTED;
#pragma clang loop unroll(full)
	for (int at = 0; at + 8 <= header_len; at += 8)
		*(__u64 *)(data + at) = *(const __u64 *)(kind->header + at);
#pragma clang loop unroll(full)
	for (int at = header_len & ~7; at < header_len; at += 2)
		*(__u16 *)(data + at) = *(const __u16 *)(kind->header + at);
	if (ip_len == IPV4_LEN) {
		*(__u16 *)(data + ETHERNET_LEN + 14) = host;
		*(__u16 *)(data + ETHERNET_LEN + 10) = folded((__u64)kind->ip_sum + host);
	} else {
		*(__u16 *)(data + ETHERNET_LEN + 22) = host;
	}
	*(__u64 *)(data + header_len) = stamp;
	*(__u32 *)(data + header_len + STAMP_LEN) = MARK;
	sum += (stamp & 0xffffffff) + (stamp >> 32);
	checksum = folded(sum);
	*(__u16 *)(data + ETHERNET_LEN + ip_len) = port;
	/* 0 would mean that there is none (RFC 768). */
	*(__u16 *)(data + ETHERNET_LEN + ip_len + 6) = checksum ? checksum : 0xffff;
	return XDP_TX;
}

SEC("xdp")
int sluice_load(struct xdp_md *context)
{
	__u32 zero = 0, number, *flow;
	struct load *what = bpf_map_lookup_elem(&load, &zero);
	struct progress *done = bpf_map_lookup_elem(&progress, &zero);
	struct kind *kind;
	__u64 stamp = 0;
	int act;

	if (!what || !done)
		return XDP_ABORTED;
	if (done->sent >= what->frames)
		return XDP_DROP;
	if (what->interval_ns) {
		__u64 now = bpf_ktime_get_ns();

		if (now < done->due_ns)
			return XDP_DROP;
		if (now - done->due_ns > LATE_MAX_NS) {
			if (done->due_ns)
				done->missed += (now - done->due_ns) / what->interval_ns;
			done->due_ns = now;
		}
		stamp = done->due_ns;
		done->due_ns += what->interval_ns;
	}
	if (done->kind >= KINDS_MAX)
		return XDP_ABORTED;
	kind = &what->kinds[done->kind];
	if (kind->len != what->len_max &&
	    bpf_xdp_adjust_tail(context, (int)kind->len - (int)what->len_max))
		return XDP_ABORTED;
	number = done->flow;
	if (what->listed) {
		flow = bpf_map_lookup_elem(&flows, &number);
		if (!flow)
			return XDP_ABORTED;
		number = *flow;
	}
	act = what->is_v6 ? write_frame(context, kind, number, stamp, IPV6_LEN) :
			    write_frame(context, kind, number, stamp, IPV4_LEN);
	done->flow = done->flow + 1 < what->flows ? done->flow + 1 : 0;
	done->kind = done->kind + 1 < what->kinds_len ? done->kind + 1 : 0;
	done->sent++;
	return act;
}

char load_license[] SEC("license") = "Dual MIT/GPL";
