/* The entropy coder: what is written is read, vectors change nothing, damage does no harm. */
#include "store/rans.h"

#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>

#define MOST 50000u
#define ROOM (4 * MOST + 20000)

struct coder {
	struct rans_writer writer;
	struct rans_reader reader;
	uint8_t symbols[MOST], contexts[MOST], back[MOST + 1], coded[ROOM];
};

static struct coder *coder_new(void)
{
	struct coder *c = calloc(1, sizeof(*c));
	ck_assert_ptr_nonnull(c);
	return c;
}

/* Symbols that thin out, the faster the higher the context; with width 0 there is only one. */
static void fill(struct coder *c, size_t n, unsigned contexts, unsigned width)
{
	model_stream(c->symbols, n, "symbols");
	model_stream(c->contexts, n, "contexts");
	for (size_t i = 0; i < n; i++) {
		c->contexts[i] = (uint8_t)(c->contexts[i] % contexts);
		for (unsigned k = 0; k < c->contexts[i] % 4u; k++)
			c->symbols[i] = (uint8_t)(c->symbols[i] * c->symbols[i] / 256);
		c->symbols[i] = (uint8_t)(c->symbols[i] % (width + 1));
	}
}

/* Bytes of tables, and with them. */
static size_t write_all(struct coder *c, size_t n, size_t *ret_len)
{
	static uint8_t other[ROOM];
	memset(c->writer.counts, 0, sizeof(c->writer.counts));
	rans_count(&c->writer, c->symbols, c->contexts, n);
	const size_t tables = rans_tables_write(&c->writer, c->coded, ROOM);
	ck_assert_uint_gt(tables, 0);
	const size_t len = rans_encode(&c->writer, c->symbols, c->contexts, n, c->coded + tables,
				       ROOM - tables);
	ck_assert_uint_ge(len, RANS_STATES);
	c->writer.plain = true;
	ck_assert_uint_eq(rans_encode(&c->writer, c->symbols, c->contexts, n, other, ROOM - tables), len);
	ck_assert_int_eq(memcmp(other, c->coded + tables, len), 0);
	c->writer.plain = false;
	*ret_len = tables + len;
	return tables;
}

static bool read_all(struct coder *c, size_t n, size_t tables, size_t len, size_t piece)
{
	ck_assert_uint_eq(rans_tables_read(&c->reader, c->coded, len), tables);
	ck_assert(rans_begin(&c->reader, c->coded + tables, len - tables));
	c->back[n] = 0x55;
	for (size_t at = 0; at < n; at += piece)
		rans_decode(&c->reader, c->contexts + at, n - at < piece ? n - at : piece, c->back + at);
	ck_assert_uint_eq(c->back[n], 0x55);
	return rans_done(&c->reader);
}

START_TEST(test_rans_comes_back)
{
	static const size_t counts[] = {0, 1, 31, 32, 33, 63, 64, 1000, 4096, MOST};
	static const unsigned widths[] = {0, 1, 15, 100, 255};
	struct coder *c = coder_new();
	for (size_t k = 0; k < COUNT_OF(counts); k++)
		for (size_t w = 0; w < COUNT_OF(widths); w++)
			for (unsigned contexts = 1; contexts <= RANS_CONTEXTS; contexts += 5)
				for (unsigned plain = 0; plain < 2; plain++) {
					const size_t n = counts[k];
					size_t len;
					fill(c, n, contexts, widths[w]);
					const size_t tables = write_all(c, n, &len);
					c->reader.plain = plain;
					ck_assert(read_all(c, n, tables, len, plain ? 32 : 4096));
					ck_assert_int_eq(memcmp(c->back, c->symbols, n), 0);
				}
	free(c);
}
END_TEST

/* A symbol in fifty is not the likely one: a seventh of a bit each, where Huffman takes one. */
START_TEST(test_rans_spends_parts_of_bits)
{
	struct coder *c = coder_new();
	size_t len;
	for (size_t i = 0; i < MOST; i++)
		c->symbols[i] = i % 50 == 7;
	write_all(c, MOST, &len);
	ck_assert_uint_lt(len, MOST * 145 / 1000 / 8 + 200);
	free(c);
}
END_TEST

START_TEST(test_rans_without_room)
{
	struct coder *c = coder_new();
	size_t len;
	fill(c, 3000, 3, 255);
	const size_t tables = write_all(c, 3000, &len);
	for (size_t room = 0; room < len - tables; room += 7)
		ck_assert_uint_eq(rans_encode(&c->writer, c->symbols, c->contexts, 3000, c->coded, room), 0);
	for (size_t room = 0; room < tables; room += 7) {
		memset(c->writer.counts, 0, sizeof(c->writer.counts));
		rans_count(&c->writer, c->symbols, c->contexts, 3000);
		ck_assert_uint_eq(rans_tables_write(&c->writer, c->coded, room), 0);
	}
	free(c);
}
END_TEST

/* Every bit of what was written, turned: refused, or read as other symbols, the same with and without
 * vectors. */
START_TEST(test_rans_damaged)
{
	struct coder *c = coder_new();
	static uint8_t other[MOST];
	const size_t n = 500;
	size_t len;
	fill(c, n, 2, 40);
	const size_t tables = write_all(c, n, &len);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		c->coded[bit / 8] ^= (uint8_t)(1u << bit % 8);
		bool done[2] = {false, false};
		for (unsigned plain = 0; plain < 2; plain++) {
			c->reader.plain = plain;
			const size_t got = rans_tables_read(&c->reader, c->coded, len);
			if (!got || !rans_begin(&c->reader, c->coded + got, len - got))
				continue;
			rans_decode(&c->reader, c->contexts, n, plain ? other : c->back);
			done[plain] = rans_done(&c->reader);
		}
		ck_assert(done[0] == done[1]);
		ck_assert(!done[0] || !memcmp(c->back, other, n));
		if (bit >= 8 * tables)
			ck_assert(!done[0] || memcmp(c->back, c->symbols, n) != 0);
		c->coded[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t cut = 0; cut < tables; cut++)
		ck_assert_uint_eq(rans_tables_read(&c->reader, c->coded, cut), 0);
	ck_assert(!rans_begin(&c->reader, c->coded, RANS_STATES - 1));
	free(c);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_rans_comes_back,
		test_rans_spends_parts_of_bits,
		test_rans_without_room,
		test_rans_damaged,
	};
	return suite_run("rans", tests, COUNT_OF(tests));
}
