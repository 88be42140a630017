/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The sink: counts the frames of the load, and how long each was under way, and drops everything in
 * the driver, the cheapest end that a frame can have. What is not of the load counts nothing.
 */
#include "load.h"

enum {
	/* Each doubling of the time has so many buckets: what is read off is right to 3 %. */
	SUB_BITS = 5,
	BUCKETS = 1024,
};

struct seen {
	__u64 frames;
	__u64 bytes;
	__u64 times[BUCKETS];
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct seen);
} seen SEC(".maps");

/* The bucket of a time: below 32 ns its own, above by its highest six bits. */
static ALWAYS_INLINE __u64 bucket(__u64 ns)
{
	__u64 shift = 0;

#pragma clang loop unroll(full)
	for (int bits = 16; bits > 0; bits >>= 1)
		if (ns >> shift >> (SUB_BITS + bits))
			shift += bits;
	if (ns >> shift >> (SUB_BITS + 1))
		return BUCKETS - 1;
	if (ns >> SUB_BITS)
		return (shift << SUB_BITS) + (ns >> shift);
	return ns;
}

SEC("xdp")
int sluice_sink(struct xdp_md *context)
{
	__u8 *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 zero = 0;
	struct seen *what = bpf_map_lookup_elem(&seen, &zero);
	__u8 *payload;
	__u64 stamp, at;

	if (!what || (void *)(data + PAYLOAD_AT(IPV4_LEN) + STAMP_LEN + MARK_LEN) > end)
		return XDP_DROP;
	if (*(__u16 *)(data + 12) == NET16(0x0800)) {
		payload = data + PAYLOAD_AT(IPV4_LEN);
	} else {
		payload = data + PAYLOAD_AT(IPV6_LEN);
		if ((void *)(payload + STAMP_LEN + MARK_LEN) > end)
			return XDP_DROP;
	}
	if (*(__u32 *)(payload + STAMP_LEN) != MARK)
		return XDP_DROP;
	what->frames++;
	what->bytes += context->data_end - context->data;
	stamp = *(__u64 *)payload;
	if (stamp) {
		at = bucket(bpf_ktime_get_ns() - stamp);
		/* The verifier checks the register that the compiler compares, so there must be one. */
		asm volatile("" : "+r"(at));
		if (at >= BUCKETS)
			at = BUCKETS - 1;
		what->times[at]++;
	}
	return XDP_DROP;
}

char sink_license[] SEC("license") = "Dual MIT/GPL";
