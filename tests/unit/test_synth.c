/* Synthetic models: their blocks mean what went in, the same options give the same bytes, and a change
 * changes what it says. */
#include "cli/synth.h"

#include "base/digest.h"
#include "base/file.h"
#include "store/format.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define VALUES 256

static float half(const uint8_t *p)
{
	const unsigned bits = p[0] | p[1] << 8;
	const double value = bits >> 10 & 31 ? ldexp(1024 + (bits & 1023), (int)(bits >> 10 & 31) - 25)
					     : ldexp(bits & 1023, -24);
	return (float)(bits & 0x8000 ? -value : value);
}

static void row_make(float *row)
{
	for (unsigned i = 0; i < VALUES; i++)
		row[i] = 0.02f * sinf((float)(i * i)) * (1 + (float)(i / 32) / 4);
}

/* Nothing is off by more than part of the largest of its block of len. */
static void check_close(const float *row, const float *back, unsigned len, double part, const char *what)
{
	for (unsigned at = 0; at < VALUES; at += len) {
		float max = 0;
		for (unsigned i = 0; i < len; i++)
			max = fmaxf(max, fabsf(row[at + i]));
		for (unsigned i = 0; i < len; i++)
			ck_assert_msg(fabsf(row[at + i] - back[at + i]) <= (float)part * max,
				      "%s: value %u: %g became %g", what, at + i, (double)row[at + i],
				      (double)back[at + i]);
	}
}

START_TEST(test_synth_blocks_mean_what_went_in)
{
	float row[VALUES], back[VALUES];
	uint8_t out[VALUES * 2];
	row_make(row);
	ck_assert_uint_eq(blocks_bytes(TIER_F16, VALUES), 2 * VALUES);
	blocks_put(TIER_F16, row, VALUES, out);
	for (unsigned i = 0; i < VALUES; i++)
		back[i] = half(out + 2 * (size_t)i);
	check_close(row, back, 1, 1.0 / 2048, "f16");

	ck_assert_uint_eq(blocks_bytes(TIER_Q8_0, VALUES), 34 * VALUES / 32);
	blocks_put(TIER_Q8_0, row, VALUES, out);
	for (unsigned i = 0; i < VALUES; i++)
		back[i] = half(out + 34 * (size_t)(i / 32)) * (float)(int8_t)out[34 * (i / 32) + 2 + i % 32];
	check_close(row, back, 32, 0.51 / 127, "q8_0");

	ck_assert_uint_eq(blocks_bytes(TIER_Q4_0, VALUES), 18 * VALUES / 32);
	blocks_put(TIER_Q4_0, row, VALUES, out);
	for (unsigned i = 0; i < VALUES; i++) {
		const uint8_t *block = out + 18 * (size_t)(i / 32);
		const int q = block[2 + i % 16] >> (i % 32 < 16 ? 0 : 4) & 15;
		back[i] = half(block) * (float)(q - 8);
	}
	check_close(row, back, 32, 1.01 / 8, "q4_0"); /* what would be +8 is +7 */
}
END_TEST

START_TEST(test_synth_q4_K_means_what_went_in)
{
	float row[VALUES], back[VALUES];
	uint8_t out[144];
	row_make(row);
	ck_assert_uint_eq(blocks_bytes(TIER_Q4_K, VALUES), sizeof(out));
	ck_assert_uint_eq(blocks_bytes(TIER_Q4_K, VALUES - 32), 0);
	blocks_put(TIER_Q4_K, row, VALUES, out);
	for (unsigned i = 0; i < VALUES; i++) {
		const unsigned b = i / 32;
		const uint8_t *s = out + 4;
		const int scale = b < 4 ? s[b] & 63 : (s[b + 4] & 15) | s[b - 4] >> 6 << 4;
		const int min = b < 4 ? s[b + 4] & 63 : s[b + 4] >> 4 | s[b] >> 6 << 4;
		const int q = out[16 + b / 2 * 32 + i % 32] >> (b % 2 ? 4 : 0) & 15;
		back[i] = half(out) * (float)(scale * q) - half(out + 2) * (float)min;
	}
	check_close(row, back, 32, 0.1, "q4_K");
}
END_TEST

/* ---- files ---- */

static void write_model(struct scratch *scratch, struct synth *synth, const char *name)
{
	struct err err;
	synth->dir = scratch->dir;
	synth->name = name;
	ck_assert_msg(!synth_write(synth, TIER_Q8_0, &err), "%s", err.text);
}

struct model {
	uint8_t *bytes;
	size_t len;
	struct format *format;
	const struct segment *list;
	uint32_t count;
};

static void model_read(struct model *m, const struct scratch *scratch, const char *name)
{
	char path[4096];
	struct stat st;
	struct err err;
	struct memory slot;
	snprintf(path, sizeof(path), "%s/%s-q8_0.gguf", scratch->dir, name);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert(fd >= 0 && !fstat(fd, &st));
	m->len = (size_t)st.st_size;
	m->bytes = malloc(m->len);
	ck_assert(!file_pread_all(fd, m->bytes, m->len, 0, &err));
	const struct source source = source_memory(&slot, m->bytes, m->len);
	ck_assert(!format_parse(&m->format, &source, &err));
	ck_assert_int_eq(format_state(m->format), FORMAT_KNOWN);
	m->list = format_segments(m->format, &m->count);
}

static void model_done(struct model *m)
{
	free(m->bytes);
	format_free(m->format);
}

/* How many tensors of b have the bytes of one in a, wherever it lies and whatever it is called. */
static unsigned shared(const struct model *a, const struct model *b, bool *ret_same_places)
{
	unsigned same = 0;
	*ret_same_places = a->len == b->len && a->count == b->count;
	for (uint32_t i = 0; i < b->count; i++)
		for (uint32_t k = 0; k < a->count; k++)
			if (a->list[k].len == b->list[i].len &&
			    !memcmp(a->bytes + a->list[k].at, b->bytes + b->list[i].at, a->list[k].len)) {
				same++;
				*ret_same_places &= i == k;
				break;
			}
	return same;
}

START_TEST(test_synth_changes_what_it_says)
{
	static const struct shape tiny = {64, 4, 192, 512, 4};
	static const unsigned all = 3 + 4 * 9;
	const struct synth base = {.seed = 3, .tuning = 1, .shape = tiny};
	struct synth grown = base;
	grown.shape.vocab += 32;
	const struct {
		const char *name;
		struct synth synth;
		unsigned same; /* tensors */
		bool places;
	} cases[] = {
		{"again", base, all, true},
		{"other", {.seed = 4, .shape = tiny}, 0, false},
		{"all", {.seed = 3, .step = 0.1, .shape = tiny}, 0, false},
		{"lora", {.seed = 3, .step = 0.1, .part = PART_LORA, .shape = tiny}, all - 16, true},
		{"last", {.seed = 3, .step = 0.1, .part = PART_LAST, .shape = tiny}, all - 18, true},
		{"head", {.seed = 3, .step = 0.1, .part = PART_HEAD, .shape = tiny}, all - 10, true},
		{"note", {.seed = 3, .note = "one more", .shape = tiny}, all, false},
		{"sorted", {.seed = 3, .sorted = true, .shape = tiny}, all, false},
		{"renamed", {.seed = 3, .renamed = true, .shape = tiny}, all, false},
		{"grown", grown, all - 2, false},
	};
	SCRATCH(scratch);
	struct synth first = base;
	struct model before;
	write_model(&scratch, &first, "first");
	model_read(&before, &scratch, "first");
	ck_assert_uint_eq(before.count, all);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct synth synth = cases[i].synth;
		struct model after;
		bool places;
		write_model(&scratch, &synth, cases[i].name);
		model_read(&after, &scratch, cases[i].name);
		ck_assert_uint_eq(after.count, all);
		ck_assert_msg(shared(&before, &after, &places) == cases[i].same, "%s", cases[i].name);
		if (cases[i].places)
			ck_assert_msg(places, "%s", cases[i].name);
		model_done(&after);
	}
	model_done(&before);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_synth_blocks_mean_what_went_in,
		test_synth_q4_K_means_what_went_in,
		test_synth_changes_what_it_says,
	};
	return suite_run("synth", tests, COUNT_OF(tests));
}
