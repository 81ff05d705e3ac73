/* What a device believes: a whole server in memory, honest and not. */
#include "sdk/flotilla.h"
#include "tests/support/fake_server.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PHONE "/v1/c/stable/phone"
#define TIMESTAMP PHONE "/tuf/timestamp.json"
#define ANOTHER_RULES                                                                     \
	"{\"schema\":1,\"rules\":[{\"class\":\"big\",\"any\":[{\"all\":["                 \
	"{\"attr\":\"ram_mib\",\"op\":\"ge\",\"value\":8192}]}]},{\"class\":\"phone\"}]}"

/* A server that offers 1.0.0, and a device of it that has polled. */
struct fixture {
	struct scratch dir;
	struct fake_server *s;
	struct fake_class *phone;
	const struct manifest_variant *old, *new;
	struct flotilla_options options;
	struct flotilla *device;
};

static void opens(struct fixture *t)
{
	const int code = flotilla_open(&t->device, &t->options);
	ck_assert_msg(code == FLOTILLA_OK, "open: %d: %s", code, flotilla_error(t->device));
}

static void reopens(struct fixture *t)
{
	flotilla_close(t->device);
	opens(t);
}

static void polls(struct fixture *t, int want)
{
	const int code = flotilla_poll(t->device);
	ck_assert_msg(code == want, "poll: %d instead of %d: %s", code, want,
		      flotilla_error(t->device));
}

/* What the device would run, by what it trusts now; it installs it. */
static void runs(struct fixture *t, const struct manifest_variant *variant)
{
	struct flotilla_model model;
	const int code = flotilla_want(t->device, FAKE_MODEL, &model);
	ck_assert_msg(code == FLOTILLA_OK, "want: %d: %s", code, flotilla_error(t->device));
	ck_assert_str_eq(model.variant, variant->ref.text);
}

static void begin(struct fixture *t)
{
	*t = (struct fixture){.s = fake_server_new()};
	scratch_make(&t->dir);
	t->phone = &t->s->classes[0];
	t->old = fake_variant(t->s, "assistant@1.0.0/q8_0", "ab");
	t->new = fake_variant(t->s, "assistant@2.0.0/q8_0", "ac");
	fake_offer(t->phone, t->old, NULL);
	fake_publish(t->s, t->phone);
	t->options = fake_options(t->s, t->dir.dir);
	opens(t);
	polls(t, FLOTILLA_OK);
	runs(t, t->old);
	fake_forget(t->s);
}

static void end(struct fixture *t)
{
	flotilla_close(t->device);
	fake_server_free(t->s);
	scratch_remove(&t->dir);
}
#define FIXTURE(t)                                                                        \
	__attribute__((cleanup(end))) struct fixture t;                                   \
	begin(&t)

static void publish_new(struct fixture *t)
{
	fake_offer(t->phone, t->new, NULL);
	fake_publish(t->s, t->phone);
}

/* The attack is refused, what was trusted stays, also after a restart; the honest server is
 * believed again. */
static void refuses(struct fixture *t, int code)
{
	polls(t, code);
	runs(t, t->old);
	reopens(t);
	runs(t, t->old);
	polls(t, code);
	runs(t, t->old);
}

static void recovers(struct fixture *t)
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

static struct kept keep(const struct fixture *t, const char *path)
{
	const struct fake_doc *doc = fake_get(t->s, path);
	ck_assert_ptr_nonnull(doc);
	struct kept kept = {malloc(doc->len), doc->len};
	memcpy(kept.bytes, doc->bytes, doc->len);
	return kept;
}

/* ---- polling ---- */

START_TEST(test_sdk_trust_first_poll_finds_the_class)
{
	FIXTURE(t);
	ck_assert_str_eq(flotilla_class(t.device), "phone");
}
END_TEST

START_TEST(test_sdk_trust_unchanged_is_one_request)
{
	FIXTURE(t);
	struct flotilla_stats stats;
	polls(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->hit_count, 1);
	ck_assert_str_eq(t.s->hits[0].path, TIMESTAMP);
	ck_assert_int_eq(t.s->hits[0].status, 304);
	flotilla_stats(t.device, &stats);
	ck_assert_uint_eq(stats.unchanged, 1);
}
END_TEST

START_TEST(test_sdk_trust_unchanged_is_one_request_after_restart)
{
	FIXTURE(t);
	reopens(&t);
	polls(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->hit_count, 1);
	ck_assert_int_eq(t.s->hits[0].status, 304);
	runs(&t, t.old);
}
END_TEST

START_TEST(test_sdk_trust_change_is_fetched)
{
	FIXTURE(t);
	publish_new(&t);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
	ck_assert_uint_eq(fake_count(t.s, PHONE), 4); /* timestamp, root 2, snapshot, targets */
	ck_assert_uint_eq(fake_count(t.s, "/v1/index"), 0);
}
END_TEST

START_TEST(test_sdk_trust_unreachable_keeps_what_is_there)
{
	FIXTURE(t);
	const int64_t usual = flotilla_next_wake(t.device) - t.s->now;
	fake_break(t.s, (struct fake_fault){.match = "/", .silent = true});
	refuses(&t, FLOTILLA_E_NETWORK);
	ck_assert_int_lt(flotilla_next_wake(t.device) - t.s->now, usual); /* it tries sooner */
	ck_assert_int_gt(flotilla_next_wake(t.device), t.s->now);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_server_error_is_a_network_error)
{
	FIXTURE(t);
	fake_break(t.s, (struct fake_fault){.match = "timestamp", .status = 500});
	refuses(&t, FLOTILLA_E_NETWORK);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_waits_as_long_as_the_server_asks)
{
	FIXTURE(t);
	fake_break(t.s, (struct fake_fault){.match = "timestamp", .status = 503,
					    .retry_after = 20000});
	polls(&t, FLOTILLA_E_NETWORK);
	ck_assert_int_ge(flotilla_next_wake(t.device), t.s->now + 20000);
}
END_TEST

/* ---- rollback ---- */

START_TEST(test_sdk_trust_refuses_old_timestamp)
{
	FIXTURE(t);
	const struct kept before = keep(&t, TIMESTAMP);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	fake_break(t.s, (struct fake_fault){.match = TIMESTAMP, .bytes = before.bytes,
					    .len = before.len});
	refuses(&t, FLOTILLA_E_ROLLBACK);
	recovers(&t);
	free(before.bytes);
}
END_TEST

START_TEST(test_sdk_trust_refuses_old_snapshot)
{
	FIXTURE(t);
	struct fake_repo *repo = &t.phone->repo;
	repo->version[TUF_SNAPSHOT]--;
	repo->version[TUF_TIMESTAMP]++;
	fake_sign_snapshot(t.s, repo);
	fake_sign_timestamp(t.s, repo);
	refuses(&t, FLOTILLA_E_ROLLBACK);
	repo->version[TUF_SNAPSHOT]++;
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_old_targets)
{
	FIXTURE(t);
	struct fake_repo *repo = &t.phone->repo;
	repo->version[TUF_TARGETS] -= 2;
	fake_publish(t.s, t.phone); /* targets one version lower than what is trusted */
	refuses(&t, FLOTILLA_E_ROLLBACK);
	repo->version[TUF_TARGETS] += 2;
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_old_index)
{
	FIXTURE(t);
	const struct kept before = keep(&t, "/v1/index/tuf/timestamp.json");
	fake_publish_index(t.s);
	t.phone->manifest.index_version = ++t.s->rules_version; /* it must look at the index */
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	t.phone->manifest.index_version++;
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = "/v1/index/tuf/timestamp",
					    .bytes = before.bytes, .len = before.len});
	polls(&t, FLOTILLA_E_ROLLBACK);
	reopens(&t);
	polls(&t, FLOTILLA_E_ROLLBACK);
	runs(&t, t.old);
	free(before.bytes);
}
END_TEST

/* ---- freeze ---- */

START_TEST(test_sdk_trust_refuses_expired)
{
	FIXTURE(t);
	t.s->now += 4 * FAKE_DAY;
	refuses(&t, FLOTILLA_E_EXPIRED);
	fake_publish_index(t.s);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_to_be_frozen_by_304)
{
	FIXTURE(t);
	fake_publish_index(t.s);
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	t.phone->repo.life_s = 3600;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	fake_forget(t.s);
	t.s->now += 3601;
	polls(&t, FLOTILLA_E_EXPIRED);
	ck_assert_int_eq(t.s->hits[0].status, 304);
}
END_TEST

START_TEST(test_sdk_trust_clock_set_back_does_not_help)
{
	FIXTURE(t);
	t.s->now += FAKE_DAY;
	fake_publish(t.s, t.phone); /* proves that it is a day later */
	const struct kept frozen = keep(&t, TIMESTAMP);
	polls(&t, FLOTILLA_OK);
	t.s->now += 4 * FAKE_DAY;
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	t.s->now -= 40 * FAKE_DAY; /* the battery was empty */
	t.phone->repo.life_s = 3600;
	fake_publish(t.s, t.phone); /* so signed then, or by who turned the server's clock */
	polls(&t, FLOTILLA_E_EXPIRED);
	free(frozen.bytes);
}
END_TEST

START_TEST(test_sdk_trust_expired_installs_nothing)
{
	FIXTURE(t);
	struct flotilla_model model;
	publish_new(&t);
	polls(&t, FLOTILLA_OK);
	t.s->now += 4 * FAKE_DAY;
	polls(&t, FLOTILLA_E_EXPIRED);
	ck_assert_int_eq(flotilla_want(t.device, FAKE_MODEL, &model), FLOTILLA_E_EXPIRED);
	ck_assert_str_eq(model.variant, t.old->ref.text);
	ck_assert_uint_eq(fake_count(t.s, "/v1/packs/"), 0);
}
END_TEST

/* ---- mix and match, arbitrary bytes ---- */

static void altered(const char *match, int64_t at, int code)
{
	FIXTURE(t);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = match, .flip = true, .flip_at = at});
	refuses(&t, code);
	recovers(&t);
}

START_TEST(test_sdk_trust_refuses_altered_timestamp)
{
	altered(TIMESTAMP, 60, FLOTILLA_E_SIGNATURE); /* in a signature's hex */
}
END_TEST

START_TEST(test_sdk_trust_refuses_altered_children)
{
	altered(".snapshot.json", 60, FLOTILLA_E_MIX);
	altered(".targets.json", 60, FLOTILLA_E_MIX);
	altered(".targets.json", 900, FLOTILLA_E_MIX);
}
END_TEST

START_TEST(test_sdk_trust_refuses_documents_of_another_publication)
{
	FIXTURE(t);
	char path[256];
	snprintf(path, sizeof(path), PHONE "/tuf/%lld.targets.json",
		 (long long)t.phone->repo.version[TUF_TARGETS]);
	const struct kept before = keep(&t, path);
	publish_new(&t);
	fake_break(t.s, (struct fake_fault){.match = ".targets.json", .bytes = before.bytes,
					    .len = before.len});
	refuses(&t, FLOTILLA_E_MIX);
	recovers(&t);
	free(before.bytes);
}
END_TEST

START_TEST(test_sdk_trust_refuses_garbage)
{
	FIXTURE(t);
	fake_break(t.s, (struct fake_fault){.match = TIMESTAMP, .bytes = "<html>", .len = 6});
	refuses(&t, FLOTILLA_E_MALFORMED);
	fake_break(t.s, (struct fake_fault){.match = TIMESTAMP, .bytes = "", .len = 0});
	refuses(&t, FLOTILLA_E_MALFORMED);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_cut_document)
{
	FIXTURE(t);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = ".targets.json", .cut = 100});
	refuses(&t, FLOTILLA_E_NETWORK);
	recovers(&t);
}
END_TEST

static void endless(const char *match)
{
	FIXTURE(t);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = match, .extra = 64 << 20});
	refuses(&t, FLOTILLA_E_TOO_MUCH);
	ck_assert_uint_lt(fake_sent(t.s, match), 4 * TUF_TARGETS_MAX);
	recovers(&t);
}

START_TEST(test_sdk_trust_refuses_endless_data)
{
	endless("timestamp.json");
	endless(".snapshot.json");
	endless(".targets.json");
}
END_TEST

START_TEST(test_sdk_trust_refuses_altered_index_file)
{
	FIXTURE(t);
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = "index/targets/", .flip = true,
					    .flip_at = 3});
	polls(&t, FLOTILLA_E_MIX);
	fake_break(t.s, (struct fake_fault){.match = "index/targets/", .extra = 100});
	polls(&t, FLOTILLA_E_TOO_MUCH);
	runs(&t, t.old);
	recovers(&t);
}
END_TEST

/* ---- keys ---- */

static void wrong_key(enum key_role role)
{
	FIXTURE(t);
	t.phone->repo.generation[role]++;
	fake_publish(t.s, t.phone);
	refuses(&t, FLOTILLA_E_SIGNATURE);
	t.phone->repo.generation[role]--;
	recovers(&t);
}

START_TEST(test_sdk_trust_refuses_wrong_key)
{
	wrong_key(KEY_TIMESTAMP);
	wrong_key(KEY_SNAPSHOT);
	wrong_key(KEY_TARGETS);
}
END_TEST

START_TEST(test_sdk_trust_refuses_another_embedded_root)
{
	FIXTURE(t);
	AUTO(fake_server_free) struct fake_server *other = fake_server_new();
	SCRATCH(dir);
	other->seed.bytes[0]++;
	other->index.generation[KEY_ROOT] = 1; /* of quite other keys */
	fake_rotate(other, &other->index, 0);
	struct flotilla_options o = fake_options(t.s, dir.dir);
	o.index_root = other->index.doc[TUF_ROOT].data;
	o.index_root_len = other->index.doc[TUF_ROOT].len;
	struct flotilla *device;
	ck_assert_int_eq(flotilla_open(&device, &o), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_poll(device), FLOTILLA_E_SIGNATURE);
	flotilla_close(device);
}
END_TEST

/* An app that was built anew for another server must not go on believing the old one. */
START_TEST(test_sdk_trust_newly_embedded_root_replaces_the_stored)
{
	FIXTURE(t);
	AUTO(fake_server_free) struct fake_server *other = fake_server_new();
	fake_rotate(t.s, &t.s->index, 1 << KEY_ROOT);
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK); /* a root later than the embedded one is stored */
	flotilla_close(t.device);
	const struct flotilla_options before = t.options;
	other->seed.bytes[0]++;
	other->index.version[TUF_ROOT] = 0;
	fake_rotate(other, &other->index, 0);
	t.options.index_root = other->index.doc[TUF_ROOT].data;
	t.options.index_root_len = other->index.doc[TUF_ROOT].len;
	opens(&t);
	polls(&t, FLOTILLA_E_SIGNATURE); /* the old server's documents */
	flotilla_close(t.device);
	t.options = before;
	opens(&t);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.old);
}
END_TEST

START_TEST(test_sdk_trust_refuses_root_that_the_index_does_not_name)
{
	AUTO(fake_server_free) struct fake_server *s = fake_server_new();
	SCRATCH(dir);
	struct flotilla *device;
	const struct flotilla_options o = fake_options(s, dir.dir);
	fake_class_add(s, "big");
	const struct fake_doc *other = fake_get(s, "/v1/c/stable/big/tuf/1.root.json");
	fake_put(s, PHONE "/tuf/1.root.json", other->bytes, other->len);
	ck_assert_int_eq(flotilla_open(&device, &o), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_poll(device), FLOTILLA_E_SIGNATURE);
	flotilla_close(device);
}
END_TEST

START_TEST(test_sdk_trust_class_without_root_is_pending)
{
	AUTO(fake_server_free) struct fake_server *s = fake_server_new();
	SCRATCH(dir);
	struct flotilla *device;
	struct flotilla_options o = fake_options(s, dir.dir);
	o.attributes = "{\"ram_mib\":1024}"; /* class "small", which the index does not name */
	ck_assert_int_eq(flotilla_open(&device, &o), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_poll(device), FLOTILLA_E_CLASS);
	fake_class_add(s, "small");
	fake_publish_index(s);
	ck_assert_int_eq(flotilla_poll(device), FLOTILLA_OK);
	ck_assert_str_eq(flotilla_class(device), "small");
	flotilla_close(device);
}
END_TEST

START_TEST(test_sdk_trust_climbs_roots)
{
	FIXTURE(t);
	fake_rotate(t.s, &t.phone->repo, 1 << KEY_ROOT | 1 << KEY_TIMESTAMP);
	fake_rotate(t.s, &t.phone->repo, 1 << KEY_ROOT);
	fake_rotate(t.s, &t.phone->repo, 1 << KEY_SNAPSHOT | 1 << KEY_TARGETS);
	fake_rotate(t.s, &t.s->index, 1 << KEY_ROOT | 1 << KEY_TARGETS | 1 << KEY_RULES);
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	recovers(&t);
	reopens(&t);
	fake_forget(t.s);
	polls(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->hit_count, 1); /* all of it was kept */
	runs(&t, t.new);
}
END_TEST

START_TEST(test_sdk_trust_refuses_root_signed_by_itself_alone)
{
	FIXTURE(t);
	t.phone->repo.generation[KEY_ROOT] = 5; /* an attacker's */
	fake_rotate(t.s, &t.phone->repo, 1 << KEY_TARGETS);
	publish_new(&t);
	polls(&t, FLOTILLA_E_SIGNATURE);
	runs(&t, t.old);
	reopens(&t);
	polls(&t, FLOTILLA_E_SIGNATURE);
	runs(&t, t.old);
}
END_TEST

START_TEST(test_sdk_trust_recovers_from_fast_forward)
{
	FIXTURE(t);
	struct fake_repo *repo = &t.phone->repo;
	const int64_t before = repo->version[TUF_TIMESTAMP];
	repo->version[TUF_TIMESTAMP] = 1000000; /* the thief of a key */
	repo->version[TUF_SNAPSHOT] = 1000000;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	repo->version[TUF_TIMESTAMP] = repo->version[TUF_SNAPSHOT] = before;
	fake_publish(t.s, t.phone);
	refuses(&t, FLOTILLA_E_ROLLBACK);
	fake_rotate(t.s, repo, 1 << KEY_TIMESTAMP | 1 << KEY_SNAPSHOT);
	recovers(&t);
}
END_TEST

/* ---- what the manifest says of itself ---- */

START_TEST(test_sdk_trust_refuses_manifest_of_another_class)
{
	FIXTURE(t);
	t.phone->manifest.class = "big";
	fake_offer(t.phone, t.new, NULL);
	fake_publish(t.s, t.phone);
	refuses(&t, FLOTILLA_E_CLASS);
	t.phone->manifest.class = "phone";
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_manifest_of_another_channel)
{
	FIXTURE(t);
	t.phone->manifest.channel = "beta";
	fake_offer(t.phone, t.new, NULL);
	fake_publish(t.s, t.phone);
	refuses(&t, FLOTILLA_E_CLASS);
	t.phone->manifest.channel = "stable";
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_another_class_documents)
{
	FIXTURE(t);
	struct fake_class *big = fake_class_add(t.s, "big");
	fake_publish(t.s, big);
	fake_publish(t.s, big);
	const struct kept theirs = keep(&t, "/v1/c/stable/big/tuf/timestamp.json");
	fake_break(t.s, (struct fake_fault){.match = TIMESTAMP, .bytes = theirs.bytes,
					    .len = theirs.len});
	refuses(&t, FLOTILLA_E_SIGNATURE);
	recovers(&t);
	free(theirs.bytes);
}
END_TEST

START_TEST(test_sdk_trust_refuses_development)
{
	FIXTURE(t);
	t.phone->manifest.development = false;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	t.options.allow_development = 0;
	reopens(&t);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.old);
	t.phone->manifest.development = true;
	fake_offer(t.phone, t.new, NULL);
	fake_publish(t.s, t.phone);
	refuses(&t, FLOTILLA_E_DEVELOPMENT);
	t.phone->manifest.development = false;
	recovers(&t);
}
END_TEST

/* ---- classes ---- */

/* Rules by which this device is in class "big", which offers 2.0.0. */
static struct fake_class *move_class(struct fixture *t)
{
	struct fake_class *big = fake_class_add(t->s, "big");
	t->s->rules = ANOTHER_RULES;
	t->s->rules_version++;
	fake_publish_index(t->s);
	big->manifest.index_version = t->phone->manifest.index_version = t->s->rules_version;
	fake_offer(big, t->new, NULL);
	fake_publish(t->s, big);
	fake_publish(t->s, t->phone);
	return big;
}

START_TEST(test_sdk_trust_follows_new_rules)
{
	FIXTURE(t);
	move_class(&t);
	polls(&t, FLOTILLA_OK);
	ck_assert_str_eq(flotilla_class(t.device), "big");
	runs(&t, t.new);
	reopens(&t);
	ck_assert_str_eq(flotilla_class(t.device), "big");
	fake_forget(t.s);
	polls(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->hit_count, 1);
	runs(&t, t.new);
}
END_TEST

/* Between the classes: the new one's repository does not answer yet. */
START_TEST(test_sdk_trust_restarts_between_classes)
{
	FIXTURE(t);
	struct flotilla_model model;
	move_class(&t);
	fake_break(t.s, (struct fake_fault){.match = "/big/", .silent = true});
	polls(&t, FLOTILLA_E_NETWORK);
	reopens(&t);
	flotilla_want(t.device, FAKE_MODEL, &model);
	ck_assert_str_eq(model.variant, t.old->ref.text);
	polls(&t, FLOTILLA_E_NETWORK);
	fake_mend(t.s);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
}
END_TEST

START_TEST(test_sdk_trust_rules_that_failed_to_arrive_are_asked_again)
{
	FIXTURE(t);
	move_class(&t);
	fake_break(t.s, (struct fake_fault){.match = "targets/", .silent = true});
	polls(&t, FLOTILLA_E_NETWORK);
	ck_assert_str_eq(flotilla_class(t.device), "phone");
	fake_mend(t.s);
	polls(&t, FLOTILLA_OK);
	ck_assert_str_eq(flotilla_class(t.device), "big");
}
END_TEST

START_TEST(test_sdk_trust_removed_class_leads_to_the_index)
{
	FIXTURE(t);
	move_class(&t);
	fake_break(t.s, (struct fake_fault){.match = PHONE, .status = 404});
	polls(&t, FLOTILLA_E_NETWORK);
	polls(&t, FLOTILLA_OK);
	ck_assert_str_eq(flotilla_class(t.device), "big");
	runs(&t, t.new);
}
END_TEST

/* ---- what is stored ---- */

static void spoiled(const char *name)
{
	FIXTURE(t);
	char path[300];
	fake_rotate(t.s, &t.s->index, 1 << KEY_ROOT);
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	flotilla_close(t.device);
	snprintf(path, sizeof(path), "%s/%s", t.dir.dir, name);
	ck_assert_int_eq(truncate(path, 40), 0);
	opens(&t);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.old);
	recovers(&t);
}

START_TEST(test_sdk_trust_survives_torn_files)
{
	spoiled("index.root.json");
	spoiled("index.timestamp.json");
	spoiled("index.rules.json");
	spoiled("class.root.json");
	spoiled("class.snapshot.json");
	spoiled("class.targets.json");
	spoiled("state.json");
}
END_TEST

START_TEST(test_sdk_trust_needs_no_state_directory)
{
	AUTO(fake_server_free) struct fake_server *s = fake_server_new();
	struct flotilla *device;
	const struct flotilla_options o = fake_options(s, NULL);
	ck_assert_int_eq(flotilla_open(&device, &o), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_poll(device), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_poll(device), FLOTILLA_OK);
	ck_assert_int_eq(s->hits[s->hit_count - 1].status, 304);
	flotilla_close(device);
}
END_TEST

START_TEST(test_sdk_trust_refuses_bad_options)
{
	AUTO(fake_server_free) struct fake_server *s = fake_server_new();
	const struct flotilla_options good = fake_options(s, NULL);
	struct flotilla_options bad[6] = {good, good, good, good, good, good};
	bad[0].url = "ftp://models.example.com";
	bad[1].index_root = "{}", bad[1].index_root_len = 2;
	bad[2].channel = "Not a name";
	bad[3].attributes = "{\"ram_mib\":\"much\"}";
	bad[4].runtimes = "[";
	bad[5].index_root = NULL;
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		struct flotilla *device;
		ck_assert_int_eq(flotilla_open(&device, &bad[i]), FLOTILLA_E_ARGUMENT);
		ck_assert_str_ne(flotilla_error(device), "");
		flotilla_close(device);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_trust_first_poll_finds_the_class,
		test_sdk_trust_unchanged_is_one_request,
		test_sdk_trust_unchanged_is_one_request_after_restart,
		test_sdk_trust_change_is_fetched,
		test_sdk_trust_unreachable_keeps_what_is_there,
		test_sdk_trust_server_error_is_a_network_error,
		test_sdk_trust_waits_as_long_as_the_server_asks,
		test_sdk_trust_refuses_old_timestamp,
		test_sdk_trust_refuses_old_snapshot,
		test_sdk_trust_refuses_old_targets,
		test_sdk_trust_refuses_old_index,
		test_sdk_trust_refuses_expired,
		test_sdk_trust_refuses_to_be_frozen_by_304,
		test_sdk_trust_clock_set_back_does_not_help,
		test_sdk_trust_expired_installs_nothing,
		test_sdk_trust_refuses_altered_timestamp,
		test_sdk_trust_refuses_altered_children,
		test_sdk_trust_refuses_documents_of_another_publication,
		test_sdk_trust_refuses_garbage,
		test_sdk_trust_refuses_cut_document,
		test_sdk_trust_refuses_endless_data,
		test_sdk_trust_refuses_altered_index_file,
		test_sdk_trust_refuses_wrong_key,
		test_sdk_trust_refuses_another_embedded_root,
		test_sdk_trust_newly_embedded_root_replaces_the_stored,
		test_sdk_trust_refuses_root_that_the_index_does_not_name,
		test_sdk_trust_class_without_root_is_pending,
		test_sdk_trust_climbs_roots,
		test_sdk_trust_refuses_root_signed_by_itself_alone,
		test_sdk_trust_recovers_from_fast_forward,
		test_sdk_trust_refuses_manifest_of_another_class,
		test_sdk_trust_refuses_manifest_of_another_channel,
		test_sdk_trust_refuses_another_class_documents,
		test_sdk_trust_refuses_development,
		test_sdk_trust_follows_new_rules,
		test_sdk_trust_restarts_between_classes,
		test_sdk_trust_rules_that_failed_to_arrive_are_asked_again,
		test_sdk_trust_removed_class_leads_to_the_index,
		test_sdk_trust_survives_torn_files,
		test_sdk_trust_needs_no_state_directory,
		test_sdk_trust_refuses_bad_options,
	};
	return suite_run("sdk_trust", tests, COUNT_OF(tests));
}
