/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What a firewall in eBPF does for a packet, piece by piece, on maps of the sizes asked for.
 *
 * Run by BPF_PROG_TEST_RUN, one operation a run. Which flow, packet or address it is comes from
 * numbers that the program draws itself, or from a list that it reads in order; the programs
 * named floor do that and nothing else, so that their time can be subtracted. The digest lets
 * the other side compare answers one by one.
 */
#include "bpf.h"

static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value,
					 __u64 flags) = (void *)BPF_FUNC_map_update_elem;

enum {
	FIRST_SOURCE = 0x0a000000,
	FIRST_DESTINATION = 0x0a800001,
	FIRST_POD = 0x0a000000,
	FIRST_BLOCK = 0x40000000,
	PODS_HERE = 64,
	FIRST_PORT = 0x8000,
	DNS = 53,
	HTTPS = 443,
	UDP = 17,
};

struct run {
	__u64 state;
	__u64 digest;
	__u32 next;
	/* Connections, or pods and blocks together. */
	__u32 count;
	__u32 identities;
	/* The length of the list of addresses less one, all ones. */
	__u32 mask;
};

struct flow {
	__u32 source;
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
	__u32 protocol;
};

struct connection {
	__u64 revision;
	__u64 packets;
};

struct prefix {
	__u32 len;
	/* In network byte order. */
	__u32 address;
};

struct allowed {
	__u32 source;
	__u32 destination;
	__u32 port;
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct run);
} run SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
} addresses SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, struct flow);
	MAP_TYPE(value, struct connection);
} connections SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_LPM_TRIE);
	MAP_UINT(map_flags, BPF_F_NO_PREALLOC);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, struct prefix);
	MAP_TYPE(value, __u32);
} prefixes SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, struct allowed);
	MAP_TYPE(value, __u32);
} policy SEC(".maps");

static ALWAYS_INLINE struct run *this_run(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&run, &zero);
}

/* xorshift64, as the other side has it. */
static ALWAYS_INLINE __u64 draw(struct run *r)
{
	__u64 x = r->state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	r->state = x;
	return x;
}

static ALWAYS_INLINE __u32 below(struct run *r, __u32 bound)
{
	return (draw(r) >> 32) * bound >> 32;
}

static ALWAYS_INLINE void answer(struct run *r, __u64 value)
{
	r->digest = r->digest * 31 + value;
}

static ALWAYS_INLINE struct flow flow_of(__u32 n)
{
	struct flow flow = {
		.source = FIRST_SOURCE + (n >> 8),
		.destination = FIRST_DESTINATION + (n & (PODS_HERE - 1)),
		.source_port = FIRST_PORT + (n & 0xff),
		.destination_port = DNS,
		.protocol = UDP,
	};
	return flow;
}

/* The first packet of a connection that policy speaks of; every eighth asks for another port. */
static ALWAYS_INLINE struct flow first_of(struct run *r)
{
	__u32 half = r->count / 2, identities = r->identities ? r->identities : 1;
	__u32 peer = below(r, r->count);
	__u64 more = draw(r);
	__u32 place = peer < half ? peer : peer - half;
	__u32 to = (place % identities + place / identities + 1) % identities;
	struct flow flow = {
		.source = peer < half ? FIRST_POD + peer : FIRST_BLOCK + (place << 8) + (more & 0xff),
		.destination = FIRST_POD + to + identities * ((more >> 8 & 0xff) * 10 >> 8),
		.source_port = FIRST_PORT + (more >> 19 & 0x3fff),
		.destination_port = (more >> 16 & 7) ? HTTPS : HTTPS + 1,
		.protocol = UDP,
	};
	return flow;
}

static ALWAYS_INLINE __u32 identity_of(__u32 address)
{
	struct prefix prefix = { .len = 32, .address = __builtin_bswap32(address) };
	__u32 *identity = bpf_map_lookup_elem(&prefixes, &prefix);

	return identity ? *identity : 0;
}

SEC("xdp")
int floor_flow(struct xdp_md *context)
{
	struct run *r = this_run();
	struct flow flow;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	flow = flow_of(below(r, r->count));
	answer(r, flow.source ^ flow.destination ^ flow.source_port);
	return XDP_PASS;
}

SEC("xdp")
int established(struct xdp_md *context)
{
	struct run *r = this_run();
	struct connection *found;
	struct flow flow;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	flow = flow_of(below(r, r->count));
	found = bpf_map_lookup_elem(&connections, &flow);
	if (found)
		found->packets++;
	answer(r, !!found);
	return XDP_PASS;
}

/* Opens the connections of consecutive numbers. */
SEC("xdp")
int insert(struct xdp_md *context)
{
	struct run *r = this_run();
	struct connection connection = { .revision = 1 };
	struct flow flow;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	flow = flow_of(r->next++);
	answer(r, !bpf_map_update_elem(&connections, &flow, &connection, BPF_ANY));
	return XDP_PASS;
}

SEC("xdp")
int floor_insert(struct xdp_md *context)
{
	struct run *r = this_run();
	struct flow flow;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	/* Numbers are left to those that insert. */
	flow = flow_of(r->next + below(r, r->count));
	answer(r, flow.source ^ flow.destination ^ flow.source_port);
	return XDP_PASS;
}

SEC("xdp")
int floor_first(struct xdp_md *context)
{
	struct run *r = this_run();
	struct flow flow;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	flow = first_of(r);
	answer(r, flow.source ^ flow.destination ^ flow.source_port ^ flow.destination_port);
	return XDP_PASS;
}

SEC("xdp")
int first(struct xdp_md *context)
{
	struct run *r = this_run();
	struct allowed asked;
	struct flow flow;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	flow = first_of(r);
	if (bpf_map_lookup_elem(&connections, &flow)) {
		answer(r, 2);
		return XDP_PASS;
	}
	asked.source = identity_of(flow.source);
	asked.destination = identity_of(flow.destination);
	asked.port = flow.protocol << 16 | flow.destination_port;
	answer(r, !!bpf_map_lookup_elem(&policy, &asked));
	return XDP_PASS;
}

SEC("xdp")
int floor_lpm(struct xdp_md *context)
{
	struct run *r = this_run();
	__u32 place, *address;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	place = r->next++ & r->mask;
	address = bpf_map_lookup_elem(&addresses, &place);
	answer(r, address ? *address : 0);
	return XDP_PASS;
}

SEC("xdp")
int lpm(struct xdp_md *context)
{
	struct run *r = this_run();
	__u32 place, *address;

	(void)context;
	if (!r)
		return XDP_ABORTED;
	place = r->next++ & r->mask;
	address = bpf_map_lookup_elem(&addresses, &place);
	answer(r, identity_of(address ? *address : 0));
	return XDP_PASS;
}

char peers_license[] SEC("license") = "Dual MIT/GPL";
