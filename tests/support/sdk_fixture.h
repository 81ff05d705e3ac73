/* sdk_fixture.h -- for unit tests of the SDK: a server that offers assistant@1.0.0/q8_0, and a device
 * of it that has polled and installed it. */
#ifndef TESTS_SUPPORT_SDK_FIXTURE_H
#define TESTS_SUPPORT_SDK_FIXTURE_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/file.h"
#include "sdk/flotilla.h"
#include "tests/support/fake_server.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OLD_PIECES "abAcdefghi"
#define NEW_PIECES "abAcxefyhi" /* two of ten are new */

struct fixture {
	struct scratch dir;
	struct fake_server *s;
	struct fake_class *phone;
	const struct manifest_variant *old, *new;
	struct flotilla_options options;
	struct flotilla *device;
	struct flotilla_model model; /* of the last want */
};

UNUSED static void opens(struct fixture *t)
{
	const int code = flotilla_open(&t->device, &t->options);
	ck_assert_msg(code == FLOTILLA_OK, "open: %d: %s", code, flotilla_error(t->device));
}

UNUSED static void reopens(struct fixture *t)
{
	flotilla_close(t->device);
	opens(t);
}

/* As reopens(), but the process died in between. */
UNUSED static void dies(struct fixture *t)
{
	flotilla_kill(t->device);
	opens(t);
}

UNUSED static void polls(struct fixture *t, int want)
{
	const int code = flotilla_poll(t->device);
	ck_assert_msg(code == want, "poll: %d instead of %d: %s", code, want,
		      flotilla_error(t->device));
}

/* Until it is done or fails. */
UNUSED static int wants(struct fixture *t)
{
	int code;
	unsigned calls = 0;
	do {
		ck_assert_uint_lt(calls++, 1000);
		code = flotilla_want(t->device, FAKE_MODEL, &t->model);
	} while (code == FLOTILLA_AGAIN);
	return code;
}

/* What the device shows though its want ends with code; NULL: nothing. */
UNUSED static void shows(struct fixture *t, int code, const struct manifest_variant *variant)
{
	const int got = wants(t);
	ck_assert_msg(got == code, "want: %d instead of %d: %s", got, code,
		      flotilla_error(t->device));
	if (!variant) {
		ck_assert_ptr_null(t->model.path);
		return;
	}
	ck_assert_ptr_nonnull(t->model.path);
	ck_assert_str_eq(t->model.variant, variant->ref.text);
}

/* What the device would run, by what it trusts now; it installs it. */
UNUSED static void runs(struct fixture *t, const struct manifest_variant *variant)
{
	shows(t, FLOTILLA_OK, variant);
}

UNUSED static void begin(struct fixture *t)
{
	*t = (struct fixture){.s = fake_server_new()};
	scratch_make(&t->dir);
	t->phone = &t->s->classes[0];
	t->old = fake_variant(t->s, "assistant@1.0.0/q8_0", OLD_PIECES);
	t->new = fake_variant(t->s, "assistant@2.0.0/q8_0", NEW_PIECES);
	fake_offer(t->phone, t->old, NULL);
	fake_publish(t->s, t->phone);
	t->options = fake_options(t->s, t->dir.dir);
	opens(t);
	polls(t, FLOTILLA_OK);
	runs(t, t->old);
	fake_forget(t->s);
}

UNUSED static void end(struct fixture *t)
{
	flotilla_close(t->device);
	fake_server_free(t->s);
	scratch_remove(&t->dir);
}
#define FIXTURE(t)                                                                        \
	__attribute__((cleanup(end))) struct fixture t;                                   \
	begin(&t)

UNUSED static void publish(struct fixture *t, const struct manifest_variant *stable,
			   const struct manifest_variant *candidate)
{
	fake_offer(t->phone, stable, candidate);
	fake_publish(t->s, t->phone);
	polls(t, FLOTILLA_OK);
}

/* One good load of what the last want gave. */
UNUSED static void loads(struct fixture *t)
{
	const struct flotilla_loaded well = {FLOTILLA_LOADED, 900, 250, -1};
	ck_assert_int_eq(flotilla_load_begin(t->device, FAKE_MODEL), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_load_end(t->device, FAKE_MODEL, &well), FLOTILLA_OK);
}

/* The stable has been in use long enough for rollouts to be entered. */
UNUSED static void settles(struct fixture *t)
{
	loads(t);
	t->s->now += 2;
}

/* The model that the last want gave is whole and of these pieces. */
UNUSED static void holds(const struct fixture *t, const char *name, const char *pieces)
{
	char path[600];
	struct err err;
	const size_t len = strlen(pieces) * FAKE_PIECE;
	AUTO_BUF struct buf have = BUF_INIT(16 << 20);
	uint8_t *want = malloc(len);
	ck_assert_ptr_nonnull(t->model.path);
	snprintf(path, sizeof(path), "%s/%s", t->model.path, name);
	ck_assert_msg(!file_read(path, &have, &err), "%s", err.text);
	fake_content(pieces, want);
	ck_assert_uint_eq(have.len, len);
	ck_assert_mem_eq(have.data, want, len);
	free(want);
}

UNUSED static bool exists(const struct fixture *t, const char *below)
{
	char path[600];
	snprintf(path, sizeof(path), "%s/models/assistant/%s", t->dir.dir, below);
	return !access(path, F_OK);
}

UNUSED static struct flotilla_stats stats_of(const struct fixture *t)
{
	struct flotilla_stats stats;
	flotilla_stats(t->device, &stats);
	return stats;
}

/* Nothing of the old is reused, so that all chunks of the new are fetched. */
UNUSED static const struct manifest_variant *publish_foreign(struct fixture *t, const char *pieces)
{
	const struct manifest_variant *v = fake_variant(t->s, "assistant@3.0.0/q8_0", pieces);
	publish(t, v, NULL);
	fake_forget(t->s);
	return v;
}

UNUSED static void publish_new(struct fixture *t)
{
	fake_offer(t->phone, t->new, NULL);
	fake_publish(t->s, t->phone);
}

/* The attack is refused, what was trusted stays, also after a restart; the honest server is
 * believed again. */
UNUSED static void refuses(struct fixture *t, int code)
{
	polls(t, code);
	runs(t, t->old);
	reopens(t);
	runs(t, t->old);
	polls(t, code);
	runs(t, t->old);
}

UNUSED static void recovers(struct fixture *t)
{
	fake_mend(t->s);
	publish_new(t);
	polls(t, FLOTILLA_OK);
	runs(t, t->new);
}

/* A copy of a document as it is served now. */
struct kept {
	char *bytes;
	size_t len;
};

UNUSED static struct kept keep(const struct fixture *t, const char *path)
{
	const struct fake_doc *doc = fake_get(t->s, path);
	ck_assert_ptr_nonnull(doc);
	struct kept kept = {malloc(doc->len), doc->len};
	memcpy(kept.bytes, doc->bytes, doc->len);
	return kept;
}

#endif
