/* Who may make what runs: publishers' envelopes, floors, revocations, and a server that has been
 * taken over together with all its online keys. */
#include "base/digest.h"
#include "base/hex.h"
#include "tests/support/told.h"

struct signers {
	struct sign_key ci, rogue;
	char list[2048]; /* publishers.json */
};

static void keys_make(struct signers *k)
{
	key_from_seed(&k->ci, &(struct key_seed){{1}});
	key_from_seed(&k->rogue, &(struct key_seed){{2}});
}

/* publishers.json with ci's key for models, and more members. */
static void names(struct fixture *t, struct signers *k, const char *models, const char *more)
{
	char hex[2 * KEY_PUBLIC_LEN + 1];
	hex_encode(hex, k->ci.public.bytes, KEY_PUBLIC_LEN);
	snprintf(k->list, sizeof(k->list),
		 "{\"schema\":1%s,\"publishers\":[{\"name\":\"ci\",\"models\":[%s],\"key\":"
		 "{\"keytype\":\"ed25519\",\"scheme\":\"ed25519\",\"keyval\":{\"public\":\"%s\"}}}]}",
		 more, models, hex);
	t->s->publishers = k->list;
	t->phone->manifest.index_version = ++t->s->rules_version;
	fake_publish_index(t->s);
}

static void signs(struct fixture *t, const struct manifest_variant *v, const struct sign_key *key,
		  int64_t counter, int64_t floor)
{
	fake_attest(t->s, v, &(struct attest){.counter = counter, .floor = floor}, key);
}

/* The device runs old; ci is the index's publisher of assistant from now on. */
static void begin_named(struct fixture *t, struct signers *k)
{
	begin(t);
	keys_make(k);
	names(t, k, "\"assistant\"", "");
	signs(t, t->old, &k->ci, 5, 3);
	fake_publish(t->s, t->phone);
	polls(t, FLOTILLA_OK);
	fake_forget(t->s);
}
#define NAMED(t, k)                                                                       \
	struct signers k;                                                                 \
	__attribute__((cleanup(end))) struct fixture t;                                   \
	begin_named(&t, &k)

/* new is offered and refused; old goes on running, also after a restart. */
static void refused_new(struct fixture *t, int code)
{
	publish(t, t->new, NULL);
	shows(t, code, t->old);
	reopens(t);
	shows(t, code, t->old);
	ck_assert(!exists(t, "2.0.0/q8_0/model.gguf"));
}

static void accepted_new(struct fixture *t)
{
	publish(t, t->new, NULL);
	runs(t, t->new);
	holds(t, "model.gguf", NEW_PIECES);
}

START_TEST(test_sdk_publisher_installs_what_is_signed)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 6, 3);
	accepted_new(&t);
	ck_assert_uint_eq(fake_count(t.s, "/v1/attest/"), 1);
}
END_TEST

START_TEST(test_sdk_publisher_refuses_unsigned)
{
	NAMED(t, k);
	refused_new(&t, FLOTILLA_E_PUBLISHER);
	signs(&t, t.new, &k.ci, 6, 3);
	accepted_new(&t);
}
END_TEST

START_TEST(test_sdk_publisher_refuses_forged)
{
	NAMED(t, k);
	signs(&t, t.new, &k.rogue, 6, 3);
	refused_new(&t, FLOTILLA_E_PUBLISHER);
	ck_assert_ptr_nonnull(strstr(flotilla_error(t.device), "no publisher"));
}
END_TEST

/* A genuine envelope of one release under the name of another. */
START_TEST(test_sdk_publisher_refuses_another_variants_envelope)
{
	NAMED(t, k);
	char path[128], hex[DIGEST_HEX];
	digest_hex(&t.old->attest, hex);
	snprintf(path, sizeof(path), "/v1/attest/%s", hex);
	const struct kept genuine = keep(&t, path);
	const struct buf envelope = {.data = genuine.bytes, .len = genuine.len};
	fake_envelope(t.s, t.new, &envelope);
	refused_new(&t, FLOTILLA_E_PUBLISHER);
	ck_assert_ptr_nonnull(strstr(flotilla_error(t.device), "release"));
	free(genuine.bytes);
}
END_TEST

START_TEST(test_sdk_publisher_refuses_other_files)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 6, 3);
	fake_variant_file(t.s, "extra.bin", "q"); /* not in the statement */
	refused_new(&t, FLOTILLA_E_PUBLISHER);
}
END_TEST

START_TEST(test_sdk_publisher_refuses_another_channel)
{
	NAMED(t, k);
	const char *beta[] = {"beta"}, *both[] = {"beta", "stable"};
	struct attest attest = {.counter = 6, .floor = 3, .channels = beta, .channel_count = 1};
	fake_attest(t.s, t.new, &attest, &k.ci);
	refused_new(&t, FLOTILLA_E_PUBLISHER);
	attest.channels = both;
	attest.channel_count = 2;
	fake_attest(t.s, t.new, &attest, &k.ci);
	accepted_new(&t);
}
END_TEST

START_TEST(test_sdk_publisher_refuses_another_model)
{
	NAMED(t, k);
	names(&t, &k, "\"translator\"", ",\"required\":true");
	signs(&t, t.new, &k.ci, 6, 3);
	refused_new(&t, FLOTILLA_E_PUBLISHER);
	names(&t, &k, "\"*\"", "");
	accepted_new(&t);
}
END_TEST

START_TEST(test_sdk_publisher_refuses_altered_envelope)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 6, 3);
	fake_break(t.s, (struct fake_fault){.match = "/v1/attest/", .flip = true, .flip_at = 40});
	refused_new(&t, FLOTILLA_E_PUBLISHER);
	fake_break(t.s, (struct fake_fault){.match = "/v1/attest/", .extra = 1 << 20});
	shows(&t, FLOTILLA_E_TOO_MUCH, t.old);
	fake_break(t.s, (struct fake_fault){.match = "/v1/attest/", .status = 404});
	shows(&t, FLOTILLA_E_NETWORK, t.old);
	fake_mend(t.s);
	accepted_new(&t);
}
END_TEST

/* ---- counters and floors ---- */

static void counts_refusals(struct fixture *t, const char *what)
{
	t->s->now += 2 * FAKE_DAY;
	ck_assert_int_ge(flotilla_flush(t->device), 0);
	t->s->now += FAKE_DAY;
	ck_assert_int_ge(flotilla_flush(t->device), 0);
	unsigned found = 0;
	for (unsigned i = 0; i < t->s->post_count; i++)
		found += strstr(t->s->posts[i], what) != NULL;
	ck_assert_uint_eq(found, 1);
}

START_TEST(test_sdk_publisher_replayed_older_counter_is_refused)
{
	NAMED(t, k);
	loads(&t);
	signs(&t, t.new, &k.ci, 7, 6);
	accepted_new(&t); /* the floor is 6 now */
	publish(&t, t.old, NULL);
	shows(&t, FLOTILLA_E_FLOOR, t.new);
	reopens(&t);
	shows(&t, FLOTILLA_E_FLOOR, t.new);
	loads(&t);
	counts_refusals(&t, "\"refused.floor\":1");
}
END_TEST

START_TEST(test_sdk_publisher_goes_back_down_to_the_floor)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 7, 5);
	accepted_new(&t);
	publish(&t, t.old, NULL); /* counter 5 */
	runs(&t, t.old);
}
END_TEST

/* A candidate raises no floor before it is stable; then it does, without a download. */
START_TEST(test_sdk_publisher_floor_rises_with_promotion)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 7, 6);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	publish(&t, t.old, NULL);
	runs(&t, t.old);
	publish(&t, t.old, t.new);
	t.phone->model.rollout.id = "r2";
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
	publish(&t, t.new, NULL);
	runs(&t, t.new);
	publish(&t, t.old, NULL);
	shows(&t, FLOTILLA_E_FLOOR, t.new);
}
END_TEST

START_TEST(test_sdk_publisher_obeys_the_indexs_floor)
{
	NAMED(t, k);
	names(&t, &k, "\"assistant\"", ",\"floors\":{\"assistant\":9}");
	signs(&t, t.new, &k.ci, 8, 3);
	refused_new(&t, FLOTILLA_E_FLOOR);
	signs(&t, t.new, &k.ci, 9, 3);
	accepted_new(&t);
}
END_TEST

/* ---- taking back ---- */

START_TEST(test_sdk_publisher_revoked_key_in_the_manifest)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 6, 3);
	t.phone->manifest.revoked = &k.ci.public.id;
	t.phone->manifest.revoked_count = 1;
	refused_new(&t, FLOTILLA_E_PUBLISHER);
	ck_assert_ptr_nonnull(strstr(flotilla_error(t.device), "revoked"));
}
END_TEST

START_TEST(test_sdk_publisher_removed_from_the_index)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 6, 3);
	t.s->publishers = "{\"schema\":1,\"required\":true,\"publishers\":[]}";
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	refused_new(&t, FLOTILLA_E_PUBLISHER);
}
END_TEST

/* A candidate that nobody vouches for is evidence against the rollout. */
START_TEST(test_sdk_publisher_refused_candidate_is_reported)
{
	NAMED(t, k);
	settles(&t);
	publish(&t, t.old, t.new);
	shows(&t, FLOTILLA_E_PUBLISHER, t.old);
	ck_assert_int_ge(flotilla_flush(t.device), 0);
	AUTO_TOLD struct told outcome = told(&t, REPORT_OUTCOME, 0);
	ck_assert_int_eq(outcome.entry->result, REPORT_VERIFY);
}
END_TEST

/* ---- a server that is no longer ours ---- */

/* All online keys: those of rules, snapshot and timestamp of the index, and of the class.  Not the
 * index's targets and root, and no publisher's. */
START_TEST(test_sdk_publisher_owner_of_online_keys_adds_no_publisher)
{
	NAMED(t, k);
	/* Its own list, under the true list's name, signed by another key than the offline one. */
	char mine[2048];
	const struct sign_key honest = k.ci;
	k.ci = k.rogue;
	t.s->index.generation[KEY_TARGETS]++;
	names(&t, &k, "\"*\"", "");
	memcpy(mine, k.list, sizeof(mine));
	signs(&t, t.new, &k.rogue, 100, 1);
	fake_offer(t.phone, t.new, NULL);
	fake_publish(t.s, t.phone);
	ck_assert_int_eq(flotilla_poll(t.device), FLOTILLA_E_SIGNATURE);
	shows(&t, FLOTILLA_E_PUBLISHER, t.old); /* the manifest is genuine, the publisher is not */
	/* The owner signs again. */
	t.s->index.generation[KEY_TARGETS]--;
	k.ci = honest;
	names(&t, &k, "\"assistant\"", "");
	polls(&t, FLOTILLA_OK);
	shows(&t, FLOTILLA_E_PUBLISHER, t.old);
}
END_TEST

/* A manifest that is newer than the index we could read: the list may be newer, too. */
START_TEST(test_sdk_publisher_installs_nothing_on_an_old_index)
{
	NAMED(t, k);
	signs(&t, t.new, &k.ci, 6, 3);
	names(&t, &k, "\"assistant\"", "");
	fake_offer(t.phone, t.new, NULL);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = "/v1/index/", .status = 503});
	polls(&t, FLOTILLA_E_NETWORK);
	shows(&t, FLOTILLA_E_PUBLISHER, t.old);
	fake_mend(t.s);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
}
END_TEST

/* Bytes of a list that is not the one that was signed, at its own path. */
START_TEST(test_sdk_publisher_refuses_swapped_list)
{
	NAMED(t, k);
	names(&t, &k, "\"assistant\"", ",\"required\":true");
	fake_break(t.s, (struct fake_fault){.match = ".publishers.json", .bytes = "{}", .len = 2});
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_E_HASH);
	fake_break(t.s, (struct fake_fault){.match = ".publishers.json", .extra = 100});
	polls(&t, FLOTILLA_E_TOO_MUCH);
	runs(&t, t.old);
	fake_mend(t.s);
	signs(&t, t.new, &k.ci, 6, 3);
	accepted_new(&t);
}
END_TEST

/* The list outlives a restart without the network, and a spoiled one is fetched anew. */
START_TEST(test_sdk_publisher_list_is_kept)
{
	NAMED(t, k);
	signs(&t, t.new, &k.rogue, 6, 3);
	publish(&t, t.new, NULL);
	reopens(&t);
	shows(&t, FLOTILLA_E_PUBLISHER, t.old);
	ck_assert_ptr_null(strstr(flotilla_error(t.device), "not known yet"));
	flotilla_close(t.device);
	char path[600];
	struct err err;
	snprintf(path, sizeof(path), "%s/publishers.json", t.dir.dir);
	ck_assert(!file_write(path, "{\"schema\":1}", 12, 0600, &err));
	opens(&t);
	shows(&t, FLOTILLA_E_PUBLISHER, t.old);
	ck_assert_ptr_nonnull(strstr(flotilla_error(t.device), "not known yet"));
	signs(&t, t.new, &k.ci, 6, 3);
	accepted_new(&t);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_publisher_installs_what_is_signed,
		test_sdk_publisher_refuses_unsigned,
		test_sdk_publisher_refuses_forged,
		test_sdk_publisher_refuses_another_variants_envelope,
		test_sdk_publisher_refuses_other_files,
		test_sdk_publisher_refuses_another_channel,
		test_sdk_publisher_refuses_another_model,
		test_sdk_publisher_refuses_altered_envelope,
		test_sdk_publisher_replayed_older_counter_is_refused,
		test_sdk_publisher_goes_back_down_to_the_floor,
		test_sdk_publisher_floor_rises_with_promotion,
		test_sdk_publisher_obeys_the_indexs_floor,
		test_sdk_publisher_revoked_key_in_the_manifest,
		test_sdk_publisher_removed_from_the_index,
		test_sdk_publisher_refused_candidate_is_reported,
		test_sdk_publisher_owner_of_online_keys_adds_no_publisher,
		test_sdk_publisher_installs_nothing_on_an_old_index,
		test_sdk_publisher_refuses_swapped_list,
		test_sdk_publisher_list_is_kept,
	};
	return suite_run("sdk_publisher", tests, COUNT_OF(tests));
}
