/* Deltas of files: everything comes back, small changes are small, and nothing that is not the new file is
 * ever taken for it. */
#include "store/delta.h"

#include "store/element.h"
#include "store/lift.h"
#include "store/likeness.h"

#include "tests/support/between.h"
#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX (32 << 20)

struct tensor {
	const char *name, *type; /* "F16", "BF16", "I8", "BOOL" */
	size_t len;
	const char *seed; /* "^...": bytes of an F16 tensor, made BF16 */
	unsigned change; /* one byte in so many is one more; 0: none */
};

static void lift_halves(uint8_t *bytes, size_t len)
{
	struct err err;
	struct memory memory;
	uint8_t *copy = malloc(len);
	memcpy(copy, bytes, len);
	const struct source source = source_memory(&memory, copy, len);
	ck_assert(!lift_read(&source, 0, len, ELEMENT_F16, ELEMENT_BF16, bytes, &err));
	free(copy);
}

/* A safetensors file of these tensors. */
static void write_model(struct buf *out, const char *note, const struct tensor *t, unsigned count)
{
	AUTO_BUF struct buf header = BUF_INIT(MAX);
	size_t at = 0;
	buf_addf(&header, "{\"__metadata__\":{\"note\":\"%s\"}", note);
	for (unsigned i = 0; i < count; i++) {
		const size_t size = strstr(t[i].type, "F16") ? 2 : 1;
		buf_addf(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
			 t[i].name, t[i].type, t[i].len / size, at, at + t[i].len);
		at += t[i].len;
	}
	buf_addc(&header, '}');
	buf_add_le64(out, header.len);
	buf_add(out, header.data, header.len);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *bytes = malloc(t[i].len);
		const bool lifted = *t[i].seed == '^';
		model_stream(bytes, t[i].len, t[i].seed + lifted);
		if (lifted)
			lift_halves(bytes, t[i].len);
		for (size_t b = 0; t[i].change && b < t[i].len; b += t[i].change)
			bytes[b]++;
		buf_add(out, bytes, t[i].len);
		free(bytes);
	}
}

static void make(const struct buf *old, const struct buf *new, struct buf *delta,
		 struct delta_stats *stats)
{
	struct err err;
	struct memory a, b;
	const struct source before = source_memory(&a, old->data ? old->data : "", old->len);
	const struct source after = source_memory(&b, new->data ? new->data : "", new->len);
	ck_assert_msg(!between(&before, &after, delta, stats, &err), "%s", err.text);
	uint64_t all = stats->head;
	for (unsigned k = 0; k < DELTA_KINDS; k++)
		all += stats->stored[k];
	ck_assert_uint_eq(all, delta->len); /* these are shorter than a part: nothing fills it up */
	ck_assert_uint_eq(stats->bytes, delta->len);
}

static int apply(const struct buf *old, const void *delta, size_t len, struct buf *out,
		 struct err *err)
{
	struct memory a, b;
	const struct source before = source_memory(&a, old->data ? old->data : "", old->len);
	const struct source source = source_memory(&b, delta, len);
	const struct sink sink = sink_buf(out);
	return delta_apply(&before, &source, &sink, NULL, err);
}

static void round_trip(const struct buf *old, const struct buf *new, struct delta_stats *stats)
{
	struct err err;
	AUTO_BUF struct buf delta = BUF_INIT(MAX), out = BUF_INIT(MAX);
	make(old, new, &delta, stats);
	ck_assert_msg(!apply(old, delta.data, delta.len, &out, &err), "%s", err.text);
	ck_assert_uint_eq(out.len, new->len);
	ck_assert(!new->len || !memcmp(out.data, new->data, new->len));
}

#define A {"a", "F16", 3000000, "a", 0}
#define B {"b", "BF16", 1500000, "b", 0}
#define C {"c", "I8", 70000, "c", 0}

START_TEST(test_delta_of_what_trainers_do)
{
	static const struct tensor first[] = {A, B, C};
	static const struct {
		const char *what, *note;
		struct tensor tensors[4];
		unsigned count;
		unsigned ppm_max; /* of the new file */
	} cases[] = {
		{"nothing", "n", {A, B, C}, 3, 1000},
		{"metadata", "another note, and longer", {A, B, C}, 3, 1000},
		{"order", "n", {C, A, B}, 3, 1000},
		{"names", "n", {{"x", "F16", 3000000, "a", 0}, {"y", "BF16", 1500000, "b", 0}, C}, 3, 1000},
		{"one tensor a little", "n", {A, {"b", "BF16", 1500000, "b", 200}, C}, 3, 25000},
		{"renamed and changed", "n", {A, {"y", "BF16", 1500000, "b", 200}, C}, 3, 25000},
		{"rows added", "n", {A, B, {"c", "I8", 90000, "c", 0}}, 3, 25000},
		{"a tensor added", "n", {A, B, C, {"d", "I8", 50000, "d", 0}}, 4, 25000},
		{"a tensor dropped", "n", {A, C}, 2, 1000},
		{"all", "n", {{"a", "F16", 3000000, "z", 0}, {"b", "BF16", 1500000, "y", 0}}, 2, 1001000},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
		struct delta_stats stats;
		write_model(&old, "n", first, COUNT_OF(first));
		write_model(&new, cases[i].note, cases[i].tensors, cases[i].count);
		round_trip(&old, &new, &stats);
		uint64_t all = stats.head;
		for (unsigned k = 0; k < DELTA_KINDS; k++)
			all += stats.stored[k];
		ck_assert_msg(all * 1000000 <= new.len * (uint64_t)cases[i].ppm_max,
			      "%s: %llu of %zu bytes", cases[i].what, (unsigned long long)all, new.len);
	}
}
END_TEST

/* Like tensors, each of a chunk, that have all changed a little: without the right old one each is as large
 * as it is. */
START_TEST(test_delta_finds_what_a_tensor_was)
{
#define LIKE(name, seed, change) {name, "F16", 60000, seed, change}
#define FLAG(name, seed, change) {name, "BOOL", 60000, seed, change}
	static const struct tensor first[] = {LIKE("l.0", "p", 0), LIKE("l.1", "q", 0),
					      LIKE("l.2", "r", 0), FLAG("f.0", "s", 0),
					      FLAG("f.1", "t", 0)};
	static const struct {
		const char *what;
		struct tensor tensors[5];
		unsigned count;
	} cases[] = {
		{"renamed", {LIKE("a", "p", 200), LIKE("b", "q", 200), LIKE("c", "r", 200)}, 3},
		{"re-ordered", {LIKE("l.2", "r", 200), LIKE("l.0", "p", 200), LIKE("l.1", "q", 200)}, 3},
		{"both", {LIKE("a", "r", 200), LIKE("b", "p", 200), LIKE("c", "q", 200)}, 3},
		{"names swapped", {LIKE("l.1", "p", 200), LIKE("l.0", "q", 200), LIKE("l.2", "r", 200)}, 3},
		{"the first dropped, the others moved up", {LIKE("l.0", "q", 200), LIKE("l.1", "r", 200)}, 2},
		{"one twice", {LIKE("l.0", "q", 200), LIKE("x", "q", 300)}, 2},
		{"grown too", {{"a", "F16", 60600, "r", 200}, {"b", "F16", 60600, "q", 200}}, 2},
		{"cut too", {{"a", "F16", 50000, "r", 200}, {"b", "F16", 50000, "q", 200}}, 2},
		{"flags renamed", {FLAG("a", "s", 200), LIKE("b", "p", 200), FLAG("c", "t", 200)}, 3},
		{"flags re-ordered", {FLAG("f.1", "t", 200), FLAG("f.0", "s", 200)}, 2},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
		struct delta_stats stats;
		write_model(&old, "n", first, COUNT_OF(first));
		write_model(&new, "n", cases[i].tensors, cases[i].count);
		round_trip(&old, &new, &stats);
		ck_assert_msg(stats.bytes < new.len / 25, "%s: %llu of %zu bytes", cases[i].what,
			      (unsigned long long)stats.bytes, new.len);
	}
}
END_TEST

/* Chunks that are the same lead to the tensor, unless they are everywhere.  Two of three chunks change places
 * and names; the last are zeros, which both have; and the beginnings tell nothing.  The new second's middle
 * is as it was. */
START_TEST(test_delta_finds_a_tensor_by_its_chunks)
{
	static const struct tensor first[] = {{"a", "I8", 3 << 20, "a", 0}, {"b", "I8", 3 << 20, "b", 0}};
	static const struct tensor after[] = {{"x", "I8", 3 << 20, "b", 0}, {"y", "I8", 3 << 20, "a", 0}};
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
	const size_t mib = 1 << 20;
	struct delta_stats stats;
	write_model(&old, "n", first, 2);
	write_model(&new, "n", after, 2);
	char *before = old.data + old.len - 6 * mib, *now = new.data + new.len - 6 * mib;
	for (size_t tensor = 0; tensor < 2; tensor++) {
		memset(before + (3 * tensor + 2) * mib, 0, mib);
		memset(now + (3 * tensor + 2) * mib, 0, mib);
		memset(now + 3 * tensor * mib, 1, LIKENESS_BYTES_MAX);
	}
	for (size_t i = mib; i < 2 * mib; i += 200)
		now[i]++;
	round_trip(&old, &new, &stats);
	ck_assert_uint_lt(stats.bytes, new.len / 25);
}
END_TEST

/* Thousands of tensors, all alike, all renamed: by which of them it goes matters little, but that it ends. */
#define MANY 4000u
START_TEST(test_delta_of_tensors_without_number)
{
	struct tensor *list = calloc(MANY, sizeof(*list));
	char(*names)[8] = calloc(MANY, sizeof(*names));
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
	struct delta_stats stats;
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "a%u", i);
		list[i] = (struct tensor){names[i], "I8", 300, "a", 290 - i % 7};
	}
	write_model(&old, "n", list, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		names[i][0] = 'b';
		list[i].change = 280 - i % 7;
	}
	write_model(&new, "n", list, MANY);
	free(list);
	free(names);
	round_trip(&old, &new, &stats);
	ck_assert_uint_gt(stats.chunks[DELTA_DIFF], MANY / 2);
}
END_TEST

START_TEST(test_delta_of_what_nobody_parses)
{
	static const size_t lens[] = {0, 1, 1000, 3000000};
	for (size_t a = 0; a < COUNT_OF(lens); a++)
		for (size_t b = 0; b < COUNT_OF(lens); b++) {
			AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
			struct delta_stats stats;
			uint8_t *bytes = malloc(3000001);
			model_stream(bytes, 3000001, "opaque");
			buf_add(&old, bytes, lens[a]);
			buf_add(&new, bytes, lens[b]);
			if (lens[b] > 2000) {
				new.data[1000]++;
				buf_add(&new, "tail", 4);
			}
			free(bytes);
			round_trip(&old, &new, &stats);
			if (lens[a] == 3000000 && lens[b] == 3000000)
				ck_assert_uint_gt(stats.raw[DELTA_COPY], 2000000);
		}
}
END_TEST

/* Nothing in common: no frame against the old file fits in less than the chunk itself. */
START_TEST(test_delta_of_strangers)
{
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
	struct delta_stats stats;
	model_data(&old, 3000000, "one");
	model_data(&new, 3000000, "other");
	round_trip(&old, &new, &stats);
	ck_assert_uint_eq(stats.raw[DELTA_DATA], 3000000);
}
END_TEST

/* A small pair whose delta has every kind of record. */
static void small_pair(struct buf *old, struct buf *new)
{
	static const struct tensor before[] = {{"a", "F16", 4000, "a", 0},
					       {"b", "I8", 3000, "b", 0},
					       {"d", "F16", 2000, "d", 0}};
	static const struct tensor after[] = {{"a", "F16", 4000, "a", 0},
					      {"b", "I8", 3000, "b", 90},
					      {"c", "I8", 500, "c", 0},
					      {"d", "BF16", 2000, "^d", 300}};
	write_model(old, "a note", before, COUNT_OF(before));
	write_model(new, "an edited note", after, COUNT_OF(after));
}

/* Tensors of another tier, larger than chunks, grown ones and short ones. */
START_TEST(test_delta_between_tiers)
{
	static const struct tensor halves[] = {{"a", "F16", 3000000, "a", 0},
					       {"b", "F16", 7000, "b", 0},
					       {"c", "F16", 5000, "c", 0}};
	static const struct tensor brains[] = {{"a", "BF16", 3000000, "^a", 5000},
					       {"b", "BF16", 7000, "^b", 0},
					       {"c", "BF16", 5002, "^c", 0}};
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
	struct delta_stats stats;
	write_model(&old, "n", halves, COUNT_OF(halves));
	write_model(&new, "n", brains, COUNT_OF(brains));
	round_trip(&old, &new, &stats);
	ck_assert_uint_ge(stats.chunks[DELTA_LIFT], 4);
	ck_assert_uint_ge(stats.raw[DELTA_LIFT], 3007000);
	ck_assert_uint_lt(stats.stored[DELTA_LIFT], 10000);
	/* Back: a bf16 has fewer bits, but most are told by the exponent of the half it was. */
	round_trip(&new, &old, &stats);
	ck_assert_uint_gt(stats.chunks[DELTA_LIFT], 0);
}
END_TEST

/* The header promises more tensors than the old, then the new file has. */
START_TEST(test_delta_of_files_cut_short)
{
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
	struct delta_stats stats;
	small_pair(&old, &new);
	for (size_t cut = 1; cut < 4000; cut += 133) {
		AUTO_BUF struct buf a = BUF_INIT(MAX), b = BUF_INIT(MAX);
		buf_add(&a, old.data, old.len - cut);
		buf_add(&b, new.data, new.len - cut);
		round_trip(&a, &new, &stats);
		round_trip(&old, &b, &stats);
		round_trip(&a, &b, &stats);
	}
}
END_TEST

START_TEST(test_delta_damaged_anywhere_is_refused)
{
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX), delta = BUF_INIT(MAX);
	struct delta_stats stats;
	small_pair(&old, &new);
	make(&old, &new, &delta, &stats);
	for (unsigned k = 0; k < DELTA_KINDS; k++)
		ck_assert_msg(stats.chunks[k] > 0, "no record of kind %u", k);
	uint8_t *copy = malloc(delta.len + 1);
	for (size_t at = 0; at < delta.len; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct err err;
			AUTO_BUF struct buf out = BUF_INIT(MAX);
			memcpy(copy, delta.data, delta.len);
			copy[at] ^= (uint8_t)(1u << bit);
			if (apply(&old, copy, delta.len, &out, &err)) {
				ck_assert_msg(err.status == ERR_INVALID || err.status == ERR_UNTRUSTED ||
						      err.status == ERR_TOO_LARGE,
					      "byte %zu: %s", at, err.text);
				continue;
			}
			ck_assert_msg(out.len == new.len && !memcmp(out.data, new.data, new.len),
				      "byte %zu, bit %u: another file was made", at, bit);
		}
	for (size_t len = 0; len < delta.len; len++) {
		struct err err;
		AUTO_BUF struct buf out = BUF_INIT(MAX);
		memcpy(copy, delta.data, len);
		ck_assert_int_eq(apply(&old, copy, len, &out, &err), -1);
	}
	free(copy);
	struct err err;
	AUTO_BUF struct buf out = BUF_INIT(MAX);
	buf_addc(&delta, 'x');
	ck_assert_int_eq(apply(&old, delta.data, delta.len, &out, &err), -1);
	ck_assert_msg(strstr(err.text, "behind") != NULL, "%s", err.text);
}
END_TEST

START_TEST(test_delta_another_old_file_is_refused)
{
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX), delta = BUF_INIT(MAX);
	struct delta_stats stats;
	struct err err;
	small_pair(&old, &new);
	make(&old, &new, &delta, &stats);
	AUTO_BUF struct buf out = BUF_INIT(MAX);
	ck_assert_int_eq(apply(&new, delta.data, delta.len, &out, &err), -1);
	ck_assert_int_eq(err.status, ERR_UNTRUSTED);
	old.data[old.len - 10] ^= 1;
	buf_reset(&out);
	ck_assert_int_eq(apply(&old, delta.data, delta.len, &out, &err), -1);
	ck_assert_int_eq(err.status, ERR_UNTRUSTED);
	ck_assert_msg(strstr(err.text, "old file") != NULL, "%s", err.text);
}
END_TEST

static int fails(void *arg, uint64_t at, const void *bytes, size_t len, struct err *err)
{
	unsigned *left = arg;
	(void)at;
	(void)bytes;
	(void)len;
	return (*left)-- ? 0 : err_set(err, ERR_FULL, "no space");
}

START_TEST(test_delta_a_sink_that_is_full)
{
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
	struct memory a, b;
	small_pair(&old, &new);
	const struct source before = source_memory(&a, old.data, old.len);
	const struct source after = source_memory(&b, new.data, new.len);
	unsigned writes = 0;
	for (int bad = -1; bad; writes++) {
		unsigned left = writes;
		struct err err;
		struct delta_stats stats;
		const struct sink_at sink = {fails, &left};
		bad = between_to(&before, &after, &sink, &stats, &err);
		ck_assert(!bad || err.status == ERR_FULL);
	}
	ck_assert_uint_ge(writes, 4); /* chunks, and the head */
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_delta_of_what_trainers_do,
		test_delta_finds_what_a_tensor_was,
		test_delta_finds_a_tensor_by_its_chunks,
		test_delta_of_tensors_without_number,
		test_delta_of_what_nobody_parses,
		test_delta_of_strangers,
		test_delta_of_files_cut_short,
		test_delta_between_tiers,
		test_delta_damaged_anywhere_is_refused,
		test_delta_another_old_file_is_refused,
		test_delta_a_sink_that_is_full,
	};
	return suite_run("delta", tests, COUNT_OF(tests));
}
