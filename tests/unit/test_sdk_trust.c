/* What a device believes: a whole server in memory, honest and not. */
#include "sdk/flotilla.h"
#include "tests/support/fake_server.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <string.h>

#define PHONE "/v1/c/stable/phone"
#define AUTO_DEVICE __attribute__((cleanup(close_scope)))

static void close_scope(struct flotilla **device)
{
	flotilla_close(*device);
}

static struct flotilla *opened(const struct flotilla_options *options)
{
	struct flotilla *device;
	const int code = flotilla_open(&device, options);
	ck_assert_msg(code == FLOTILLA_OK, "open: %d: %s", code, flotilla_error(device));
	return device;
}

static void polls(struct flotilla *device, int want)
{
	const int code = flotilla_poll(device);
	ck_assert_msg(code == want, "poll: %d instead of %d: %s", code, want,
		      flotilla_error(device));
}

START_TEST(test_sdk_trust_first_poll)
{
	AUTO(fake_server_free) struct fake_server *s = fake_server_new();
	SCRATCH(dir);
	const struct flotilla_options o = fake_options(s, dir.dir);
	AUTO_DEVICE struct flotilla *device = opened(&o);
	polls(device, FLOTILLA_OK);
	ck_assert_str_eq(flotilla_class(device), "phone");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_trust_first_poll,
	};
	return suite_run("sdk_trust", tests, COUNT_OF(tests));
}
