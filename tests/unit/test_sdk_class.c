/* Whose documents a device believes: keys and roots, the class that rules lead it to, what it kept. */
#include "tests/support/sdk_fixture.h"

#define PHONE "/v1/c/stable/phone"
#define TIMESTAMP PHONE "/tuf/timestamp.json"
#define ANOTHER_RULES                                                                     \
	"{\"schema\":1,\"rules\":[{\"class\":\"big\",\"any\":[{\"all\":["                 \
	"{\"attr\":\"ram_mib\",\"op\":\"ge\",\"value\":8192}]}]},{\"class\":\"phone\"}]}"

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

START_TEST(test_sdk_class_refuses_wrong_key)
{
	wrong_key(KEY_TIMESTAMP);
	wrong_key(KEY_SNAPSHOT);
	wrong_key(KEY_TARGETS);
}
END_TEST

START_TEST(test_sdk_class_refuses_another_embedded_root)
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
START_TEST(test_sdk_class_newly_embedded_root_replaces_the_stored)
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

START_TEST(test_sdk_class_refuses_root_that_the_index_does_not_name)
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

START_TEST(test_sdk_class_class_without_root_is_pending)
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

START_TEST(test_sdk_class_unknown_channel)
{
	AUTO(fake_server_free) struct fake_server *s = fake_server_new();
	struct flotilla *device;
	struct flotilla_options o = fake_options(s, NULL);
	o.channel = "beta";
	ck_assert_int_eq(flotilla_open(&device, &o), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_poll(device), FLOTILLA_E_MIX);
	ck_assert_ptr_nonnull(strstr(flotilla_error(device), "roots/beta.json"));
	flotilla_close(device);
}
END_TEST

START_TEST(test_sdk_class_climbs_roots)
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

START_TEST(test_sdk_class_refuses_root_signed_by_itself_alone)
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

START_TEST(test_sdk_class_recovers_from_fast_forward)
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

START_TEST(test_sdk_class_refuses_manifest_of_another_class)
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

START_TEST(test_sdk_class_refuses_manifest_of_another_channel)
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

START_TEST(test_sdk_class_refuses_another_class_documents)
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

START_TEST(test_sdk_class_refuses_development)
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

START_TEST(test_sdk_class_follows_new_rules)
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
START_TEST(test_sdk_class_restarts_between_classes)
{
	FIXTURE(t);
	move_class(&t);
	fake_break(t.s, (struct fake_fault){.match = "/big/", .silent = true});
	polls(&t, FLOTILLA_E_NETWORK);
	reopens(&t);
	shows(&t, FLOTILLA_NOTHING, t.old);
	polls(&t, FLOTILLA_E_NETWORK);
	fake_mend(t.s);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
}
END_TEST

START_TEST(test_sdk_class_rules_that_failed_to_arrive_are_asked_again)
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

START_TEST(test_sdk_class_removed_class_leads_to_the_index)
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

START_TEST(test_sdk_class_survives_torn_files)
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

START_TEST(test_sdk_class_needs_no_state_directory)
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

START_TEST(test_sdk_class_refuses_bad_options)
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

/* In a simulation one handle verifies for others: they see what it saw last at their own polls, and
 * fetch no document. */
START_TEST(test_sdk_class_believes_who_verified)
{
	FIXTURE(t);
	struct fixture scout = t;
	t.options.state_dir = NULL;
	t.options.secret = (const uint8_t *)"sixteen bytes, 0";
	t.options.shared_cache_dir = t.dir.dir;
	t.options.verified_by = scout.device;
	opens(&t);
	polls(&t, FLOTILLA_OK);
	ck_assert_str_eq(flotilla_class(t.device), flotilla_class(scout.device));
	runs(&t, t.old);
	ck_assert_uint_eq(fake_count(t.s, "/tuf/"), 0);
	/* What it believes stays in force, and in memory, until it polls itself. */
	publish(&scout, t.new, NULL);
	runs(&t, t.old);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
	flotilla_close(t.device);
	t.device = scout.device;
}
END_TEST

/* A scout that has verified nothing is no authority. */
START_TEST(test_sdk_class_believes_nothing_of_nobody)
{
	FIXTURE(t);
	struct fixture scout = t;
	scout.options.state_dir = NULL;
	opens(&scout);
	t.options.verified_by = scout.device;
	t.options.state_dir = NULL;
	flotilla_close(t.device);
	opens(&t);
	polls(&t, FLOTILLA_E_NETWORK);
	ck_assert_str_eq(flotilla_class(t.device), "");
	flotilla_close(t.device);
	t.device = scout.device;
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_class_refuses_wrong_key,
		test_sdk_class_refuses_another_embedded_root,
		test_sdk_class_newly_embedded_root_replaces_the_stored,
		test_sdk_class_refuses_root_that_the_index_does_not_name,
		test_sdk_class_class_without_root_is_pending,
		test_sdk_class_unknown_channel,
		test_sdk_class_climbs_roots,
		test_sdk_class_refuses_root_signed_by_itself_alone,
		test_sdk_class_recovers_from_fast_forward,
		test_sdk_class_refuses_manifest_of_another_class,
		test_sdk_class_refuses_manifest_of_another_channel,
		test_sdk_class_refuses_another_class_documents,
		test_sdk_class_refuses_development,
		test_sdk_class_follows_new_rules,
		test_sdk_class_restarts_between_classes,
		test_sdk_class_rules_that_failed_to_arrive_are_asked_again,
		test_sdk_class_removed_class_leads_to_the_index,
		test_sdk_class_survives_torn_files,
		test_sdk_class_needs_no_state_directory,
		test_sdk_class_refuses_bad_options,
		test_sdk_class_believes_who_verified,
		test_sdk_class_believes_nothing_of_nobody,
	};
	return suite_run("sdk_class", tests, COUNT_OF(tests));
}
