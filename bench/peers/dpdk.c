/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DPDK's libraries as peers: rte_hash, rte_fib, rte_fib6 and rte_acl, one a process, on one core.
 *
 *   dpdk EAL-ARGUMENTS -- find COUNT CAPACITY
 *   dpdk EAL-ARGUMENTS -- insert COUNT CAPACITY
 *   dpdk EAL-ARGUMENTS -- fib PREFIXES ADDRESSES
 *   dpdk EAL-ARGUMENTS -- fib6 PREFIXES ADDRESSES
 *   dpdk EAL-ARGUMENTS -- acl RULES PACKETS
 *
 * It builds its table and says on a line of its own how many milliseconds that took, and how many
 * bytes of DPDK's memory the table has. Then each
 * line that it reads has a number of slices, and is answered with the nanoseconds that an item
 * took and the digest of all answers. `build` has the table built once more instead. Time is that of
 * the thread, so that what else the machine does is not counted. Files are arrays of the structs
 * below, in the byte order of the machine.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_acl.h>
#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_version.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>

enum { SLICE_LEN = 4096, BULK_LEN = 64, ACL_BATCH_LEN = 256 };

struct flow {
	uint32_t source;
	uint32_t destination;
	uint16_t source_port;
	uint16_t destination_port;
	uint32_t protocol;
};

struct prefix {
	uint32_t address;
	uint32_t len;
	uint32_t value;
};

struct prefix6 {
	uint8_t address[16];
	uint32_t len;
	uint32_t value;
};

struct rule {
	uint32_t source, source_len, destination, destination_len;
	uint16_t source_first, source_last, destination_first, destination_last;
	/* 0 for any. */
	uint32_t protocol;
};

struct packet {
	uint32_t source, destination;
	uint16_t source_port, destination_port;
	uint8_t protocol, reserved[3];
};

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, rte_strerror(rte_errno));
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

/* xorshift64, as the other side has it. */
static uint64_t state = 1;

static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static struct flow flow_of(uint32_t n)
{
	struct flow flow = {
		.source = 0x0a000000 + (n >> 8),
		.destination = 0x0a800001 + (n & 63),
		.source_port = 0x8000 + (n & 0xff),
		.destination_port = 53,
		.protocol = 17,
	};
	return flow;
}

static void *read_all(const char *path, size_t size, uint32_t *count)
{
	FILE *file = fopen(path, "rb");
	void *all;
	long len;

	if (!file || fseek(file, 0, SEEK_END) || (len = ftell(file)) < 0)
		die(path);
	rewind(file);
	all = malloc(len ? len : 1);
	*count = len / size;
	if (!all || fread(all, size, *count, file) != *count)
		die(path);
	fclose(file);
	return all;
}

static uint64_t digest;

static void answer(uint64_t value)
{
	digest = digest * 31 + value;
}

/* What a kind of table does. */
static void (*build)(char **arguments);
/* Returns nanoseconds that a slice took. */
static double (*slice)(void);
static uint32_t slice_len = SLICE_LEN;

static struct rte_hash *hash;
static uint32_t hash_count, hash_next;
static struct flow flows[SLICE_LEN];
static const void *keys[SLICE_LEN];

static void build_hash(char **arguments)
{
	struct rte_hash_parameters parameters = {
		.name = "flows",
		.entries = atoi(arguments[1]),
		.key_len = sizeof(struct flow),
		.hash_func = rte_hash_crc,
	};

	rte_hash_free(hash);
	hash = rte_hash_create(&parameters);
	if (!hash)
		die("rte_hash_create");
	hash_count = atoi(arguments[0]);
	for (hash_next = 0; hash_next < hash_count; hash_next++) {
		struct flow flow = flow_of(hash_next);

		if (rte_hash_add_key(hash, &flow) < 0)
			die("rte_hash_add_key");
	}
}

static double find_slice(void)
{
	int32_t found[SLICE_LEN];
	double start;

	for (int i = 0; i < SLICE_LEN; i++) {
		flows[i] = flow_of((draw() >> 32) * hash_count >> 32);
		keys[i] = &flows[i];
	}
	start = now();
	for (int i = 0; i < SLICE_LEN; i += BULK_LEN)
		rte_hash_lookup_bulk(hash, &keys[i], BULK_LEN, &found[i]);
	start = now() - start;
	for (int i = 0; i < SLICE_LEN; i++)
		answer(found[i] >= 0);
	return start;
}

/* Each newcomer in the place of an older one, whose end is not timed. */
static double insert_slice(void)
{
	int32_t added[SLICE_LEN];
	double start;

	for (int i = 0; i < SLICE_LEN; i++) {
		struct flow oldest = flow_of(hash_next - hash_count + i);

		rte_hash_del_key(hash, &oldest);
		flows[i] = flow_of(hash_next + i);
	}
	hash_next += SLICE_LEN;
	start = now();
	for (int i = 0; i < SLICE_LEN; i++)
		added[i] = rte_hash_add_key(hash, &flows[i]);
	start = now() - start;
	for (int i = 0; i < SLICE_LEN; i++)
		answer(added[i] >= 0);
	return start;
}

static struct rte_fib *fib;
static uint32_t *addresses, address_count, address_next;

static void build_fib(char **arguments)
{
	static struct prefix *prefixes;
	static uint32_t prefix_count;
	struct rte_fib_conf conf = {
		.type = RTE_FIB_DIR24_8,
		.default_nh = 0,
		.dir24_8 = { .nh_sz = RTE_FIB_DIR24_8_4B },
	};

	if (!prefixes) {
		prefixes = read_all(arguments[0], sizeof(*prefixes), &prefix_count);
		addresses = read_all(arguments[1], sizeof(*addresses), &address_count);
	}
	conf.max_routes = prefix_count;
	for (uint32_t i = 0; i < prefix_count; i++)
		conf.dir24_8.num_tbl8 += prefixes[i].len > 24;
	conf.dir24_8.num_tbl8 += 64;
	rte_fib_free(fib);
	fib = rte_fib_create("prefixes", SOCKET_ID_ANY, &conf);
	if (!fib)
		die("rte_fib_create");
	for (uint32_t i = 0; i < prefix_count; i++)
		if (rte_fib_add(fib, prefixes[i].address, prefixes[i].len, prefixes[i].value))
			die("rte_fib_add");
	if (rte_fib_select_lookup(fib, RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512))
		rte_fib_select_lookup(fib, RTE_FIB_LOOKUP_DEFAULT);
}

static double fib_slice(void)
{
	static uint64_t values[SLICE_LEN];
	double start = now();

	if (address_next + SLICE_LEN > address_count)
		address_next = 0;
	for (int i = 0; i < SLICE_LEN; i += BULK_LEN)
		rte_fib_lookup_bulk(fib, &addresses[address_next + i], &values[i], BULK_LEN);
	start = now() - start;
	address_next += SLICE_LEN;
	for (int i = 0; i < SLICE_LEN; i++)
		answer(values[i]);
	return start;
}

/* DPDK 24.11 gave addresses of IPv6 a type. */
#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
#define ADDRESS6(bytes) ((const struct rte_ipv6_addr *)(bytes))
#define ADDRESSES6(list) ((const struct rte_ipv6_addr *)(list))
#else
#define ADDRESS6(bytes) (bytes)
#define ADDRESSES6(list) (list)
#endif

static struct rte_fib6 *fib6;
static uint8_t (*addresses6)[16];

/* Nodes of 8 bits below the first 24 that no other prefix has made: no more than these. */
static uint32_t tables_of(const struct prefix6 *prefixes, uint32_t count)
{
	uint32_t tables = 64;

	for (uint32_t i = 0; i < count; i++)
		if (prefixes[i].len > 24)
			tables += (prefixes[i].len - 24 + 7) / 8;
	return tables;
}

static void build_fib6(char **arguments)
{
	static struct prefix6 *prefixes;
	static uint32_t prefix_count;
	struct rte_fib6_conf conf = {
		.type = RTE_FIB6_TRIE,
		.default_nh = 0,
		.trie = { .nh_sz = RTE_FIB6_TRIE_4B },
	};

	if (!prefixes) {
		prefixes = read_all(arguments[0], sizeof(*prefixes), &prefix_count);
		addresses6 = read_all(arguments[1], sizeof(*addresses6), &address_count);
	}
	conf.max_routes = prefix_count;
	conf.trie.num_tbl8 = tables_of(prefixes, prefix_count);
	rte_fib6_free(fib6);
	fib6 = rte_fib6_create("prefixes6", SOCKET_ID_ANY, &conf);
	if (!fib6)
		die("rte_fib6_create");
	for (uint32_t i = 0; i < prefix_count; i++)
		if (rte_fib6_add(fib6, ADDRESS6(prefixes[i].address), prefixes[i].len, prefixes[i].value))
			die("rte_fib6_add");
	if (rte_fib6_select_lookup(fib6, RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512))
		rte_fib6_select_lookup(fib6, RTE_FIB6_LOOKUP_DEFAULT);
}

static double fib6_slice(void)
{
	static uint64_t values[SLICE_LEN];
	double start = now();

	if (address_next + SLICE_LEN > address_count)
		address_next = 0;
	for (int i = 0; i < SLICE_LEN; i += BULK_LEN)
		rte_fib6_lookup_bulk(fib6, ADDRESSES6(addresses6 + address_next + i), &values[i], BULK_LEN);
	start = now() - start;
	address_next += SLICE_LEN;
	for (int i = 0; i < SLICE_LEN; i++)
		answer(values[i]);
	return start;
}

enum { PROTOCOL, SOURCE, DESTINATION, SOURCE_PORT, DESTINATION_PORT, FIELDS };

RTE_ACL_RULE_DEF(acl_rule, FIELDS);

/* In network byte order. rte_acl wants the first field to be one byte, and the others in groups of four. */
struct acl_key {
	uint8_t protocol, reserved[3];
	uint32_t source, destination;
	uint16_t source_port, destination_port;
};

static const struct rte_acl_field_def acl_fields[FIELDS] = {
	{ RTE_ACL_FIELD_TYPE_BITMASK, 1, PROTOCOL, 0, offsetof(struct acl_key, protocol) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, SOURCE, 1, offsetof(struct acl_key, source) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, DESTINATION, 2, offsetof(struct acl_key, destination) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, SOURCE_PORT, 3, offsetof(struct acl_key, source_port) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, DESTINATION_PORT, 3, offsetof(struct acl_key, destination_port) },
};

static struct rte_acl_ctx *acl;
static enum rte_acl_classify_alg acl_alg = RTE_ACL_CLASSIFY_DEFAULT;
static struct acl_key *acl_keys;
static uint32_t acl_count, acl_next;

static void read_packets(const char *path)
{
	struct packet *packets = read_all(path, sizeof(*packets), &acl_count);

	acl_keys = calloc(acl_count, sizeof(*acl_keys));
	if (!acl_keys)
		die("calloc");
	for (uint32_t i = 0; i < acl_count; i++) {
		acl_keys[i].protocol = packets[i].protocol;
		acl_keys[i].source = rte_cpu_to_be_32(packets[i].source);
		acl_keys[i].destination = rte_cpu_to_be_32(packets[i].destination);
		acl_keys[i].source_port = rte_cpu_to_be_16(packets[i].source_port);
		acl_keys[i].destination_port = rte_cpu_to_be_16(packets[i].destination_port);
	}
	free(packets);
}

static void build_acl(char **arguments)
{
	static struct rule *rules;
	static uint32_t rule_count;
	struct rte_acl_param parameters = { "rules", SOCKET_ID_ANY, RTE_ACL_RULE_SZ(FIELDS), 0 };
	struct rte_acl_config config = { .num_categories = 1, .num_fields = FIELDS };

	if (!rules) {
		rules = read_all(arguments[0], sizeof(*rules), &rule_count);
		read_packets(arguments[1]);
		slice_len = RTE_MIN((uint32_t)SLICE_LEN, acl_count);
	}
	rte_acl_free(acl);
	parameters.max_rule_num = rule_count;
	acl = rte_acl_create(&parameters);
	if (!acl)
		die("rte_acl_create");
	for (uint32_t i = 0; i < rule_count; i++) {
		const struct rule *r = &rules[i];
		struct acl_rule rule = { .data = { .category_mask = 1 } };

		rule.data.priority = RTE_ACL_MAX_PRIORITY - i;
		rule.data.userdata = i + 1;
		rule.field[PROTOCOL].value.u8 = r->protocol;
		rule.field[PROTOCOL].mask_range.u8 = r->protocol ? 0xff : 0;
		rule.field[SOURCE].value.u32 = r->source;
		rule.field[SOURCE].mask_range.u32 = r->source_len;
		rule.field[DESTINATION].value.u32 = r->destination;
		rule.field[DESTINATION].mask_range.u32 = r->destination_len;
		rule.field[SOURCE_PORT].value.u16 = r->source_first;
		rule.field[SOURCE_PORT].mask_range.u16 = r->source_last;
		rule.field[DESTINATION_PORT].value.u16 = r->destination_first;
		rule.field[DESTINATION_PORT].mask_range.u16 = r->destination_last;
		if (rte_acl_add_rules(acl, (struct rte_acl_rule *)&rule, 1))
			die("rte_acl_add_rules");
	}
	memcpy(config.defs, acl_fields, sizeof(acl_fields));
	if (rte_acl_build(acl, &config))
		die("rte_acl_build");
	if (!rte_acl_set_ctx_classify(acl, RTE_ACL_CLASSIFY_AVX512X32))
		acl_alg = RTE_ACL_CLASSIFY_AVX512X32;
}

static double acl_slice(void)
{
	static uint32_t found[SLICE_LEN];
	static const uint8_t *data[SLICE_LEN];
	double start;

	if (acl_next + slice_len > acl_count)
		acl_next = 0;
	for (uint32_t i = 0; i < slice_len; i++)
		data[i] = (const uint8_t *)&acl_keys[acl_next + i];
	acl_next += slice_len;
	start = now();
	for (uint32_t i = 0; i < slice_len; i += ACL_BATCH_LEN)
		rte_acl_classify_alg(acl, &data[i], &found[i], RTE_MIN((uint32_t)ACL_BATCH_LEN, slice_len - i), 1,
				     acl_alg);
	start = now() - start;
	for (uint32_t i = 0; i < slice_len; i++)
		answer(found[i]);
	return start;
}

static const struct {
	const char *name;
	void (*build)(char **arguments);
	double (*slice)(void);
} kinds[] = {
	{ "find", build_hash, find_slice },
	{ "insert", build_hash, insert_slice },
	{ "fib", build_fib, fib_slice },
	{ "fib6", build_fib6, fib6_slice },
	{ "acl", build_acl, acl_slice },
};

static size_t allocated(void)
{
	struct rte_malloc_socket_stats all = { 0 };

	rte_malloc_get_socket_stats(0, &all);
	return all.heap_allocsz_bytes;
}

/* What DPDK has before there is a table. */
static size_t others;

static void timed_build(char **arguments)
{
	double start = now();

	build(arguments);
	printf("%.3f %zu\n", (now() - start) / 1e6, allocated() - others);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int used = rte_eal_init(argc, argv);
	char line[64];

	if (used < 0)
		die("rte_eal_init");
	argv += used + 1;
	if (argc - used != 4)
		die("want a kind and two arguments");
	for (unsigned i = 0; i < RTE_DIM(kinds); i++)
		if (!strcmp(argv[0], kinds[i].name)) {
			build = kinds[i].build;
			slice = kinds[i].slice;
		}
	if (!build)
		die(argv[0]);
	others = allocated();
	timed_build(argv + 1);
	while (fgets(line, sizeof(line), stdin)) {
		int slices = atoi(line);
		double took = 0;

		if (!strncmp(line, "build", 5)) {
			timed_build(argv + 1);
			continue;
		}
		digest = 0;
		for (int i = 0; i < slices; i++)
			took += slice();
		printf("%.4f %" PRIu64 "\n", took / ((double)slices * slice_len), digest);
		fflush(stdout);
	}
	return 0;
}
