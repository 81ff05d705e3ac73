/* Every allocation of a delta's making fails once: there is an error, or a delta that still brings the file
 * back (a header that there is no memory to read makes a file one that nobody parses). */
#include "tests/support/between.h"
#include "tests/support/fault.h"
#include "tests/support/model.h"
#include "tests/support/suite.h"

#include <stdio.h>

#define TENSOR 2000
#define MAX (1 << 20)

/* Two tensors, the second of other bytes and another name each time. */
static void write_model(struct buf *out, const char *name)
{
	uint8_t bytes[TENSOR];
	char header[256];
	snprintf(header, sizeof(header),
		 "{\"same\":{\"dtype\":\"F16\",\"shape\":[%u],\"data_offsets\":[0,%u]},"
		 "\"%s\":{\"dtype\":\"F16\",\"shape\":[%u],\"data_offsets\":[%u,%u]}}",
		 TENSOR / 2, TENSOR, name, TENSOR / 2, TENSOR, 2 * TENSOR);
	buf_add_le64(out, strlen(header));
	buf_adds(out, header);
	model_stream(bytes, TENSOR, "same");
	buf_add(out, bytes, TENSOR);
	bytes[100] ^= (uint8_t)name[0];
	buf_add(out, bytes, TENSOR);
}

static void check_comes_back(const struct buf *old, const struct buf *new, const struct buf *delta)
{
	AUTO_BUF struct buf out = BUF_INIT(MAX);
	struct memory a, b;
	struct err err;
	const struct source before = source_memory(&a, old->data, old->len);
	const struct source from = source_memory(&b, delta->data, delta->len);
	const struct sink sink = sink_buf(&out);
	ck_assert_msg(!delta_apply(&before, &from, &sink, NULL, &err), "%s", err.text);
	ck_assert(out.len == new->len && !memcmp(out.data, new->data, new->len));
}

START_TEST(test_fault_delta_make_without_memory)
{
	AUTO_BUF struct buf old = BUF_INIT(MAX), new = BUF_INIT(MAX);
	struct memory a, b;
	write_model(&old, "a");
	write_model(&new, "b");
	const struct source before = source_memory(&a, old.data, old.len);
	const struct source after = source_memory(&b, new.data, new.len);
	int failed = 0;
	for (int nth = 1;; nth++) {
		AUTO_BUF struct buf delta = BUF_INIT(MAX);
		struct delta_stats stats;
		struct err err = {0};
		fault_arm(FAULT_MEMORY, nth);
		const int rc = between(&before, &after, &delta, &stats, &err);
		const bool fired = fault_fired();
		if (rc)
			ck_assert_msg(fired && err.status == ERR_SYSTEM, "call %d: %s", nth, err.text);
		else
			check_comes_back(&old, &new, &delta);
		failed += rc != 0;
		if (!fired)
			break;
	}
	ck_assert_int_gt(failed, 30);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {test_fault_delta_make_without_memory};
	return suite_run("fault_delta", tests, COUNT_OF(tests));
}
