/* Deltas of files: everything comes back, small changes are small, and nothing that is not the new file is
 * ever taken for it. */
#include "store/delta.h"

#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX (32 << 20)

struct tensor {
	const char *name, *type; /* "F16", "BF16", "I8" */
	size_t len;
	const char *seed;
	unsigned change; /* one byte in so many is one more; 0: none */
};

/* A safetensors file of these tensors. */
static void write_model(struct buf *out, const char *note, const struct tensor *t, unsigned count)
{
	AUTO_BUF struct buf header = BUF_INIT(1 << 20);
	size_t at = 0;
	buf_addf(&header, "{\"__metadata__\":{\"note\":\"%s\"}", note);
	for (unsigned i = 0; i < count; i++) {
		const size_t size = strcmp(t[i].type, "I8") ? 2 : 1;
		buf_addf(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
			 t[i].name, t[i].type, t[i].len / size, at, at + t[i].len);
		at += t[i].len;
	}
	buf_addc(&header, '}');
	buf_add_le64(out, header.len);
	buf_add(out, header.data, header.len);
	for (unsigned i = 0; i < count; i++) {
		uint8_t *bytes = malloc(t[i].len);
		model_stream(bytes, t[i].len, t[i].seed);
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
	const struct sink sink = sink_buf(delta);
	ck_assert_msg(!delta_make(&before, &after, &sink, NULL, stats, &err), "%s", err.text);
	uint64_t all = stats->head;
	for (unsigned k = 0; k < DELTA_KINDS; k++)
		all += stats->stored[k];
	ck_assert_uint_eq(all, delta->len);
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

/* A small pair whose delta has every kind of record. */
static void small_pair(struct buf *old, struct buf *new)
{
	static const struct tensor before[] = {{"a", "F16", 4000, "a", 0}, {"b", "I8", 3000, "b", 0}};
	static const struct tensor after[] = {{"a", "F16", 4000, "a", 0},
					      {"b", "I8", 3000, "b", 90},
					      {"c", "I8", 500, "c", 0}};
	write_model(old, "a note", before, COUNT_OF(before));
	write_model(new, "an edited note", after, COUNT_OF(after));
}

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

static int fails(void *arg, const void *bytes, size_t len, struct err *err)
{
	unsigned *left = arg;
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
	for (unsigned writes = 0; writes < 6; writes++) {
		unsigned left = writes;
		struct err err;
		struct delta_stats stats;
		const struct sink sink = {fails, &left};
		ck_assert_int_eq(delta_make(&before, &after, &sink, NULL, &stats, &err), -1);
		ck_assert_int_eq(err.status, ERR_FULL);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_delta_of_what_trainers_do,
		test_delta_of_what_nobody_parses,
		test_delta_of_files_cut_short,
		test_delta_damaged_anywhere_is_refused,
		test_delta_another_old_file_is_refused,
		test_delta_a_sink_that_is_full,
	};
	return suite_run("delta", tests, COUNT_OF(tests));
}
