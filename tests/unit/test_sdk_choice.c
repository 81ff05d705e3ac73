/* What to run: the arm, the tier that fits, what was given up or revoked, and when. */
#include "tests/support/sdk_fixture.h"

/* ---- rollouts ---- */

START_TEST(test_sdk_choice_candidate_waits_for_a_settled_stable)
{
	FIXTURE(t);
	t.options.enter_after_s = 0; /* a day */
	reopens(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.old);
	loads(&t);
	t.s->now += FAKE_DAY - 1;
	runs(&t, t.old);
	t.s->now += 1;
	runs(&t, t.new);
	ck_assert_int_eq(t.model.candidate, 1);
	ck_assert(exists(&t, "1.0.0/q8_0/model.gguf")); /* the way back */
}
END_TEST

START_TEST(test_sdk_choice_rollback_downloads_nothing)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	loads(&t);
	fake_forget(t.s);
	publish(&t, t.old, NULL);
	runs(&t, t.old);
	holds(&t, "model.gguf", OLD_PIECES);
	ck_assert_uint_eq(fake_count(t.s, "/v1/packs/"), 0);
	ck_assert_uint_eq(fake_count(t.s, "/v1/recipes/"), 0);
	ck_assert(!exists(&t, "2.0.0"));
}
END_TEST

START_TEST(test_sdk_choice_completion_downloads_nothing)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	loads(&t);
	fake_forget(t.s);
	publish(&t, t.new, NULL);
	runs(&t, t.new);
	ck_assert_int_eq(t.model.candidate, 0);
	holds(&t, "model.gguf", NEW_PIECES);
	ck_assert_uint_eq(fake_count(t.s, "/v1/packs/"), 0);
	ck_assert(!exists(&t, "1.0.0"));
	reopens(&t);
	runs(&t, t.new);
}
END_TEST

/* A candidate is not loaded on old news; no network is no reason not to. */
START_TEST(test_sdk_choice_asks_before_it_loads_a_candidate_again)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	loads(&t);
	fake_forget(t.s);
	runs(&t, t.new);
	ck_assert_uint_eq(fake_count(t.s, "timestamp"), 0); /* not due yet */
	fake_offer(t.phone, t.old, NULL);
	fake_publish(t.s, t.phone);
	t.s->now = flotilla_next_poll(t.device);
	fake_break(t.s, (struct fake_fault){.match = "timestamp", .silent = true});
	runs(&t, t.new);
	fake_mend(t.s);
	t.s->now = flotilla_next_poll(t.device);
	runs(&t, t.old);
}
END_TEST

START_TEST(test_sdk_choice_held_lane_takes_nobody_new)
{
	FIXTURE(t);
	settles(&t);
	fake_offer(t.phone, t.old, t.new);
	t.phone->model.rollout.state = MANIFEST_HOLDING;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.old);
	t.phone->model.rollout.state = MANIFEST_RUNNING;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
	t.phone->model.rollout.state = MANIFEST_HOLDING;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new); /* who has it keeps it */
}
END_TEST

/* ---- deaths while loading ---- */

static void dies_loading(struct fixture *t)
{
	ck_assert_int_eq(flotilla_load_begin(t->device, FAKE_MODEL), FLOTILLA_OK);
	dies(t);
}

static void gives_up_after_two(struct fixture *t)
{
	runs(t, t->new);
	dies_loading(t);
	runs(t, t->new);
	dies_loading(t);
	runs(t, t->new);
	ck_assert_int_eq(flotilla_load_begin(t->device, FAKE_MODEL), FLOTILLA_AGAIN);
	fake_forget(t->s);
	runs(t, t->old);
	loads(t);
	polls(t, FLOTILLA_OK);
	dies(t);
	runs(t, t->old); /* for good */
	ck_assert_uint_eq(fake_count(t->s, "/v1/packs/"), 0);
	ck_assert(!exists(t, "2.0.0"));
}

START_TEST(test_sdk_choice_two_deaths_give_the_candidate_up)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	gives_up_after_two(&t);
}
END_TEST

/* Also where the device did not enter: a bucket that arrived late. */
START_TEST(test_sdk_choice_two_deaths_without_entering)
{
	FIXTURE(t);
	settles(&t);
	fake_offer(t.phone, t.old, t.new);
	t.phone->model.rollout.candidate = (struct slice){0, 0};
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	gives_up_after_two(&t);
}
END_TEST

START_TEST(test_sdk_choice_one_death_is_forgiven)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	for (unsigned i = 0; i < 4; i++) {
		runs(&t, t.new);
		dies_loading(&t);
		runs(&t, t.new);
		loads(&t);
	}
}
END_TEST

START_TEST(test_sdk_choice_failed_load_gives_the_candidate_up)
{
	const struct flotilla_loaded badly = {FLOTILLA_LOAD_OOM, -1, -1, -1};
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	ck_assert_int_eq(flotilla_load_begin(t.device, FAKE_MODEL), FLOTILLA_OK);
	ck_assert_int_eq(flotilla_load_end(t.device, FAKE_MODEL, &badly), FLOTILLA_OK);
	runs(&t, t.old);
	dies(&t);
	runs(&t, t.old);
	fake_offer(t.phone, t.old, t.new);
	t.phone->model.rollout.id = "r2"; /* tried again, by intent */
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
}
END_TEST

START_TEST(test_sdk_choice_stable_has_nothing_behind_it)
{
	FIXTURE(t);
	for (unsigned i = 0; i < 5; i++) {
		runs(&t, t.old);
		while (flotilla_load_begin(t.device, FAKE_MODEL) == FLOTILLA_AGAIN)
			runs(&t, t.old);
		dies(&t);
	}
	ck_assert_int_eq(flotilla_load_end(t.device, "translator", &(struct flotilla_loaded){0}),
			 FLOTILLA_E_ARGUMENT);
}
END_TEST

/* ---- what fits ---- */

START_TEST(test_sdk_choice_disk_full)
{
	FIXTURE(t);
	t.options.disk_free_mib = 1;
	reopens(&t);
	publish_foreign(&t, "klmnopqrst");
	shows(&t, FLOTILLA_E_DISK, t.old);
	ck_assert_uint_eq(fake_count(t.s, "/v1/packs/"), 0);
}
END_TEST

/* Tiers of one release; the large one wants 1,000 MiB. */
static void publish_tiers(struct fixture *t, const struct manifest_variant *large,
			  const struct manifest_variant *small)
{
	fake_offer(t->phone, large, NULL);
	fake_stable_add(t->phone, small);
	fake_publish(t->s, t->phone);
	polls(t, FLOTILLA_OK);
}

static const struct manifest_variant *needing(struct fixture *t, const char *ref,
					      const char *pieces, int64_t disk_free_mib)
{
	fake_variant(t->s, ref, pieces);
	struct manifest_variant *v = &t->s->variants[t->s->variant_count - 1];
	v->requires.disk_free_mib = disk_free_mib;
	return v;
}

START_TEST(test_sdk_choice_steps_down_a_tier)
{
	FIXTURE(t);
	const struct manifest_variant *large = needing(&t, "assistant@3.0.0/f16", "klmno", 1000);
	const struct manifest_variant *small = needing(&t, "assistant@3.0.0/q4_0", "kl", 0);
	t.options.disk_free_mib = 999;
	reopens(&t);
	publish_tiers(&t, large, small);
	runs(&t, small);
}
END_TEST

/* It is asked at install: what is here, or on its way, has its room already. */
START_TEST(test_sdk_choice_does_not_step_down_from_what_is_here)
{
	FIXTURE(t);
	const struct manifest_variant *large = needing(&t, "assistant@3.0.0/f16", "klmno", 1000);
	const struct manifest_variant *small = needing(&t, "assistant@3.0.0/q4_0", "kl", 0);
	t.options.disk_free_mib = 1000;
	reopens(&t);
	publish_tiers(&t, large, small);
	runs(&t, large);
	t.options.disk_free_mib = 999;
	reopens(&t);
	runs(&t, large);
}
END_TEST

START_TEST(test_sdk_choice_nothing_fits)
{
	FIXTURE(t);
	const struct manifest_variant *large = needing(&t, "assistant@3.0.0/f16", "kl", 1 << 30);
	publish(&t, large, NULL);
	shows(&t, FLOTILLA_NOTHING, t.old);
	ck_assert_ptr_nonnull(strstr(flotilla_error(t.device), "disk"));
}
END_TEST

/* What was begun and is no longer wanted makes room. */
START_TEST(test_sdk_choice_sweeps_what_nobody_needs)
{
	FIXTURE(t);
	t.options.slice_bytes = FAKE_PIECE;
	reopens(&t);
	publish_foreign(&t, "klmnopqrst");
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(flotilla_want(t.device, FAKE_MODEL, &t.model), FLOTILLA_AGAIN);
	ck_assert(exists(&t, "3.0.0/q8_0/model.gguf.part"));
	publish(&t, t.new, NULL);
	runs(&t, t.new);
	ck_assert(!exists(&t, "3.0.0"));
	ck_assert(!exists(&t, "1.0.0"));
}
END_TEST

/* ---- revoked ---- */

static void revokes(struct fixture *t, const struct manifest_variant *v)
{
	t->phone->manifest.revoked = &v->files[0].sha256;
	t->phone->manifest.revoked_count = 1;
}

START_TEST(test_sdk_choice_revoked_is_not_shown)
{
	FIXTURE(t);
	revokes(&t, t.old);
	publish(&t, t.old, NULL);
	shows(&t, FLOTILLA_E_REVOKED, NULL);
	ck_assert_int_lt(flotilla_load_begin(t.device, FAKE_MODEL), 0);
	publish(&t, t.new, NULL); /* the replacement cannot be had yet */
	fake_break(t.s, (struct fake_fault){.match = "/v1/packs/", .silent = true});
	shows(&t, FLOTILLA_E_NETWORK, NULL);
	fake_mend(t.s);
	runs(&t, t.new);
}
END_TEST

START_TEST(test_sdk_choice_revoked_candidate_leaves_stable)
{
	FIXTURE(t);
	settles(&t);
	publish(&t, t.old, t.new);
	runs(&t, t.new);
	revokes(&t, t.new);
	publish(&t, t.old, t.new);
	runs(&t, t.old);
	ck_assert(!exists(&t, "2.0.0"));
}
END_TEST

START_TEST(test_sdk_choice_revoked_tier_steps_down)
{
	FIXTURE(t);
	const struct manifest_variant *large = needing(&t, "assistant@3.0.0/f16", "klmno", 0);
	const struct manifest_variant *small = needing(&t, "assistant@3.0.0/q4_0", "kl", 0);
	revokes(&t, large);
	publish_tiers(&t, large, small);
	runs(&t, small);
}
END_TEST

/* ---- when ---- */

struct policy {
	int allow, metered, charging, idle;
	int64_t bytes;
};

static int ask(void *arg, int metered, int charging, int idle, int64_t bytes)
{
	struct policy *p = arg;
	*p = (struct policy){p->allow, metered, charging, idle, bytes};
	return p->allow;
}

START_TEST(test_sdk_choice_asks_the_app)
{
	FIXTURE(t);
	struct policy p = {0};
	t.options.may_download = ask;
	t.options.may_arg = &p;
	reopens(&t);
	t.phone->manifest.install.charging = true;
	publish(&t, t.new, NULL);
	shows(&t, FLOTILLA_LATER, t.old);
	ck_assert_int_eq(p.charging, 1);
	ck_assert_int_eq(p.metered + p.idle, 0);
	ck_assert_int_eq(p.bytes, t.new->files[0].stored_cap);
	ck_assert_uint_eq(fake_count(t.s, "/v1/recipes/"), 0);
	p.allow = 1;
	runs(&t, t.new);
}
END_TEST

START_TEST(test_sdk_choice_spreads_a_new_stable)
{
	FIXTURE(t);
	t.phone->model.spread = (struct manifest_spread){t.s->now + 1000, 600, "spread"};
	publish(&t, t.new, NULL);
	shows(&t, FLOTILLA_LATER, t.old);
	t.s->now += 1600;
	runs(&t, t.new);
}
END_TEST

START_TEST(test_sdk_choice_first_install_is_not_spread)
{
	FIXTURE(t);
	SCRATCH(dir);
	flotilla_close(t.device);
	t.options.state_dir = dir.dir;
	opens(&t);
	t.phone->model.spread = (struct manifest_spread){t.s->now + 1000, 600, "spread"};
	publish(&t, t.new, NULL);
	runs(&t, t.new);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_choice_candidate_waits_for_a_settled_stable,
		test_sdk_choice_rollback_downloads_nothing,
		test_sdk_choice_completion_downloads_nothing,
		test_sdk_choice_asks_before_it_loads_a_candidate_again,
		test_sdk_choice_held_lane_takes_nobody_new,
		test_sdk_choice_two_deaths_give_the_candidate_up,
		test_sdk_choice_two_deaths_without_entering,
		test_sdk_choice_one_death_is_forgiven,
		test_sdk_choice_failed_load_gives_the_candidate_up,
		test_sdk_choice_stable_has_nothing_behind_it,
		test_sdk_choice_disk_full,
		test_sdk_choice_steps_down_a_tier,
		test_sdk_choice_does_not_step_down_from_what_is_here,
		test_sdk_choice_nothing_fits,
		test_sdk_choice_sweeps_what_nobody_needs,
		test_sdk_choice_revoked_is_not_shown,
		test_sdk_choice_revoked_candidate_leaves_stable,
		test_sdk_choice_revoked_tier_steps_down,
		test_sdk_choice_asks_the_app,
		test_sdk_choice_spreads_a_new_stable,
		test_sdk_choice_first_install_is_not_spread,
	};
	return suite_run("sdk_choice", tests, COUNT_OF(tests));
}
