/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The gate: decides for each frame whether it goes to user space, to the node or nowhere.
 *
 * A frame that is redirected to user space cannot be given back to the kernel's receive path, so this
 * is where the node's own traffic is told apart. The gate judges nothing else: what it cannot read
 * (short, tagged, unknown) goes to the socket, where it is judged and counted by reason.
 *
 * If no socket is bound for the queue, the frame takes the port's fallback: drop unless configured. To pass
 * is for the time when nobody is there at all: while queue 0 has a socket, frames of others without drop.
 */
#include "bpf.h"

enum { ROLE_STEER = 0, ROLE_UPLINK = 1 };
enum { FALLBACK_DROP = 0, FALLBACK_PASS = 1 };

enum { SOCKETS_MAX = 64, NODE_ADDRESSES_MAX = 256 };

enum counter {
	COUNTER_STEERED,
	COUNTER_PASSED_TO_NODE,
	COUNTER_FALLBACK_DROPPED,
	COUNTER_FALLBACK_PASSED,
	COUNTERS
};

/* Mirrored by `record` in src/gate.rs; grow it only at the end. */
struct gate_config {
	__u32 role;
	__u32 fallback;
	__u8 mac[6];
	/* Not read here: what the next process is to know of the attach. */
	__u16 added_queues;
};

struct address {
	__u8 bytes[16];
};

struct {
	MAP_UINT(type, BPF_MAP_TYPE_XSKMAP);
	MAP_UINT(max_entries, SOCKETS_MAX);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
} sockets SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, 1);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, struct gate_config);
} config SEC(".maps");

/* IPv4 addresses are held as IPv4-mapped IPv6 (::ffff:a.b.c.d). */
struct {
	MAP_UINT(type, BPF_MAP_TYPE_HASH);
	MAP_UINT(max_entries, NODE_ADDRESSES_MAX);
	MAP_TYPE(key, struct address);
	MAP_TYPE(value, __u8);
} node_addresses SEC(".maps");

struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, COUNTERS);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u64);
} counters SEC(".maps");

struct ethernet {
	__u8 destination[6];
	__u8 source[6];
	__u16 type;
} __attribute__((packed));

struct ipv4 {
	__u8 version_and_length;
	__u8 to_destination[15];
	__u8 destination[4];
} __attribute__((packed));

struct ipv6 {
	__u8 version[4];
	__u8 payload_length[2];
	__u8 next_header;
	__u8 hop_limit;
	__u8 source[16];
	__u8 destination[16];
} __attribute__((packed));

/* RFC 826 for IPv4 over Ethernet. */
struct arp {
	__u16 hardware;
	__u16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__u16 operation;
	__u8 sender_mac[6];
	__u8 sender_ip[4];
	__u8 target_mac[6];
	__u8 target_ip[4];
} __attribute__((packed));

/* RFC 4861, sections 4.3 and 4.4: neighbour solicitation and advertisement. */
struct neighbour {
	__u8 type;
	__u8 code;
	__u8 checksum[2];
	__u8 reserved[4];
	__u8 target[16];
} __attribute__((packed));

enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_ARP = 0x0806, ETHERTYPE_IPV6 = 0x86dd };
enum { NEXT_HEADER_ICMPV6 = 58 };
enum { ICMPV6_ROUTER_ADVERTISEMENT = 134, ICMPV6_NEIGHBOUR_SOLICITATION = 135 };

/* The most that is ever read of a frame. */
enum { HEADERS_MAX = sizeof(struct ethernet) + sizeof(struct ipv6) + sizeof(struct neighbour) };

/* The beginning of a frame: in its first buffer, or copied out of several. */
struct headers {
	const void *data;
	/* Where the first buffer ends: with this, and nothing else, the verifier wants pointers compared. */
	const void *end;
	/* Bytes in a copy. Not its end: not every process may compare pointers to a program's stack. */
	__u64 length;
	int is_copy;
};

static ALWAYS_INLINE int reach_to(const struct headers *headers, const void *next)
{
	if (headers->is_copy)
		return (__u64)(next - headers->data) <= headers->length;
	return next <= headers->end;
}

static ALWAYS_INLINE void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);

	if (value)
		*value += 1;
}

static ALWAYS_INLINE int same_mac(const __u8 *a, const __u8 *b)
{
	__u8 difference = 0;

	for (int i = 0; i < 6; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static ALWAYS_INLINE int is_node_ipv4(const __u8 *ip)
{
	struct address key = {};

	key.bytes[10] = 0xff;
	key.bytes[11] = 0xff;
	for (int i = 0; i < 4; i++)
		key.bytes[12 + i] = ip[i];
	return bpf_map_lookup_elem(&node_addresses, &key) != 0;
}

static ALWAYS_INLINE int is_node_ipv6(const __u8 *ip)
{
	struct address key;

	for (int i = 0; i < 16; i++)
		key.bytes[i] = ip[i];
	return bpf_map_lookup_elem(&node_addresses, &key) != 0;
}

/*
 * Neighbour discovery has no extension headers in practice (RFC 6980 forbids fragments), so only an
 * ICMPv6 header that follows the IPv6 header at once is looked at; anything else meets the judge.
 */
static ALWAYS_INLINE int is_node_ipv6_frame(const struct headers *headers, const struct ipv6 *ip,
					    int own_mac)
{
	const struct neighbour *message = (const void *)(ip + 1);

	if (!reach_to(headers, ip + 1) || (ip->version[0] >> 4) != 6)
		return 0;
	if (own_mac && is_node_ipv6(ip->destination))
		return 1;
	if (ip->next_header != NEXT_HEADER_ICMPV6)
		return 0;
	if (!reach_to(headers, &message->code))
		return 0;
	if (message->type == ICMPV6_ROUTER_ADVERTISEMENT)
		return 1;
	if (message->type != ICMPV6_NEIGHBOUR_SOLICITATION || !reach_to(headers, message + 1))
		return 0;
	return is_node_ipv6(message->target);
}

static ALWAYS_INLINE int are_of_node(const struct headers *headers, const struct gate_config *gate)
{
	const struct ethernet *ethernet = headers->data;
	const void *payload = ethernet + 1;
	int own_mac, group;

	if (!reach_to(headers, payload))
		return 0;
	own_mac = same_mac(ethernet->destination, gate->mac);
	group = ethernet->destination[0] & 1;
	if (!own_mac && !group)
		return 0;

	if (ethernet->type == NET16(ETHERTYPE_IPV4)) {
		const struct ipv4 *ip = payload;

		if (!own_mac || !reach_to(headers, ip + 1) || (ip->version_and_length >> 4) != 4)
			return 0;
		return is_node_ipv4(ip->destination);
	}
	if (ethernet->type == NET16(ETHERTYPE_ARP)) {
		const struct arp *arp = payload;

		if (!reach_to(headers, arp + 1) || arp->protocol != NET16(ETHERTYPE_IPV4) ||
		    arp->hardware_length != 6 || arp->protocol_length != 4)
			return 0;
		return is_node_ipv4(arp->target_ip);
	}
	if (ethernet->type == NET16(ETHERTYPE_IPV6))
		return is_node_ipv6_frame(headers, payload, own_mac);
	return 0;
}

/*
 * True for a frame that belongs to the node's own stack.
 *
 * Where a frame's first buffer ends is the driver's choice: mlx5 leaves it empty. Then, and for frames that
 * are short, the headers are copied, wherever they lie.
 */
static ALWAYS_INLINE int is_node_frame(struct xdp_md *context, const struct gate_config *gate,
				       int may_have_frags)
{
	__u8 copy[HEADERS_MAX] = {};
	struct headers headers = {
		.data = (const void *)(long)context->data,
		.end = (const void *)(long)context->data_end,
	};
	__u64 length;

	if (!may_have_frags || reach_to(&headers, headers.data + HEADERS_MAX))
		return are_of_node(&headers, gate);
	length = bpf_xdp_get_buff_len(context);
	if (length > HEADERS_MAX)
		length = HEADERS_MAX;
	if (length < sizeof(struct ethernet) || bpf_xdp_load_bytes(context, 0, copy, length))
		return 0;
	headers = (struct headers){ .data = copy, .length = length, .is_copy = 1 };
	return are_of_node(&headers, gate);
}

static ALWAYS_INLINE int decide(struct xdp_md *context, int may_have_frags)
{
	__u32 queue = context->rx_queue_index;
	__u32 zero = 0;
	struct gate_config *gate = bpf_map_lookup_elem(&config, &zero);

	/* Cannot happen: the array has an element 0. The verifier wants an answer, and it is: closed. */
	if (!gate)
		return XDP_DROP;
	if (gate->role == ROLE_UPLINK && is_node_frame(context, gate, may_have_frags)) {
		count(COUNTER_PASSED_TO_NODE);
		return XDP_PASS;
	}
	if (bpf_map_lookup_elem(&sockets, &queue)) {
		count(COUNTER_STEERED);
		/* The socket may go away between the look and the redirect: then, too, the fallback. */
		return bpf_redirect_map(&sockets, queue,
					gate->fallback == FALLBACK_PASS ? XDP_PASS : XDP_DROP);
	}
	/* Somebody is there, but not for this queue, which may just have come: this is no time to pass. */
	if (gate->fallback == FALLBACK_PASS && !bpf_map_lookup_elem(&sockets, &zero)) {
		count(COUNTER_FALLBACK_PASSED);
		return XDP_PASS;
	}
	count(COUNTER_FALLBACK_DROPPED);
	return XDP_DROP;
}

SEC("xdp")
int sluice_gate(struct xdp_md *context)
{
	return decide(context, 0);
}

/* The same for an interface whose frames may lie in several buffers, on kernels that have those. */
SEC("xdp.frags")
int sluice_gate_frags(struct xdp_md *context)
{
	return decide(context, 1);
}

char gate_license[] SEC("license") = "Dual MIT/GPL";
