/* The operator's hand and what follows from gates, each as one transaction over a real ledger and
 * publisher: starting, superseding, trying again, aborting the rest, revoking. */
#include "base/json.h"
#include "manifest/journal.h"
#include "manifest/publisher_store.h"
#include "rollout/act.h"
#include "rollout/group.h"
#include "rollout/stage.h"
#include "tests/support/failing_calls.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ARENA (8 << 20)

struct scene {
	struct house house;
	struct act_order order;
	char id[65];
	struct digest file;   /* to revoke */
	const char *class;    /* of the lane to act on */
	const char *rollout;  /* of that lane */
	unsigned count;
	struct err err;
};

static struct act act_of(const struct scene *s)
{
	return (struct act){s->house.publisher, s->house.cells, clock_s(&s->house.clock), "test", "q"};
}

static void open_scene(struct scene *s)
{
	*s = (struct scene){.order = {.model = "assistant", .release = "2.0.0", .channel = "stable"}};
	policy_default(&s->order.policy);
	house_open(&s->house, 1);
}

static void close_scene(struct scene *s)
{
	house_close(&s->house);
}

static json_t *classes(const char *one, const char *two)
{
	json_t *list = json_pack("[s]", one);
	if (two)
		json_array_append_new(list, json_string(two));
	return list;
}

static int start(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	const struct act act = act_of(s);
	return act_start(db, &act, &s->order, s->id, err);
}

/* 0, or -1 with s->err. */
static int try(struct scene *s, int (*fn)(struct db *db, void *arg, struct err *err))
{
	return ledger_run(s->house.ledger, fn, s, &s->err);
}

static void must(struct scene *s, int (*fn)(struct db *db, void *arg, struct err *err))
{
	ck_assert_msg(!try(s, fn), "%s", s->err.text);
}

static void refused(struct scene *s, int (*fn)(struct db *db, void *arg, struct err *err),
		    enum status status, const char *text)
{
	ck_assert_int_eq(try(s, fn), -1);
	ck_assert_msg(s->err.status == status && strstr(s->err.text, text), "%s", s->err.text);
}

static int on_lane(struct scene *s, struct db *db,
		   int (*fn)(struct db *db, const struct act *act, struct lane *lane, struct err *err),
		   struct err *err)
{
	struct lane lane;
	const struct act act = act_of(s);
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	if (lane_get(db, s->rollout, s->class, arena, &lane, err))
		return -1;
	return fn(db, &act, &lane, err);
}

static int advance_lane(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_advance(db, act, lane, "by hand", NULL, err);
}

static int gate_lane(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_take_back(db, act, lane, LANE_ROLLED_BACK, "window.crash: bad", NULL, err) ||
			       act_abort_rest(db, act, lane->rollout, err)
		       ? -1
		       : 0;
}

static int hold_lane(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_hold(db, act, lane, "operator: wait", NULL, err);
}

static int ask_lane(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_hold(db, act, lane, "approval: stage 2 waits for an operator", NULL, err);
}

static int approve_lane(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_approve(db, act, lane, "looks well", err);
}

static int resume_lane(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_resume(db, act, lane, "", err);
}

static int undo_lane(struct db *db, const struct act *act, struct lane *lane, struct err *err)
{
	return act_undo(db, act, lane, "", err);
}

#define ON_LANE(verb)                                                                              \
	static int verb(struct db *db, void *arg, struct err *err)                                 \
	{                                                                                          \
		return on_lane(arg, db, verb##_lane, err);                                         \
	}
ON_LANE(advance)
ON_LANE(gate)
ON_LANE(hold)
ON_LANE(ask)
ON_LANE(approve)
ON_LANE(resume)
ON_LANE(undo)

static void at(struct scene *s, const char *rollout, const char *class)
{
	s->rollout = rollout;
	s->class = class;
}

/* ---- looking ---- */

static void check_lane(struct scene *s, const char *rollout, const char *class,
		       enum lane_state want, const char *reason)
{
	struct err err;
	struct lane lane;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	ck_assert_msg(!lane_get(s->house.db, rollout, class, arena, &lane, &err), "%s", err.text);
	ck_assert_msg(lane.state == want && strstr(lane.reason, reason), "%s/%s is %s: %s", rollout,
		      class, lane_state_names[lane.state], lane.reason);
}

static void check_rollout(struct scene *s, const char *id, const char *want)
{
	struct err err;
	struct rollout rollout;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	ck_assert_msg(!rollout_get(s->house.db, id, arena, &rollout, &err), "%s", err.text);
	ck_assert_str_eq(rollout.state, want);
}

static int64_t events(struct scene *s, const char *rollout, const char *kind)
{
	struct err err;
	int64_t count = 0;
	ck_assert_msg(!journal_count(s->house.db, rollout, NULL, kind, &count, &err), "%s", err.text);
	return count;
}

static bool audited(struct scene *s, const char *action, const char *resource)
{
	struct err err;
	json_t *items;
	size_t i;
	const json_t *item;
	bool found = false;
	ck_assert_msg(!journal_audits(s->house.db, 0, 1000, &items, &err), "%s", err.text);
	json_array_foreach (items, i, item)
		found |= !strcmp(json_string_value(json_object_get(item, "action")), action) &&
			 !strcmp(json_string_value(json_object_get(item, "resource")), resource);
	json_decref(items);
	return found;
}

/* ---- superseding ---- */

START_TEST(test_act_a_busy_class_is_refused_with_a_remedy)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	refused(&s, start, ERR_CONFLICT, "rollout r1");
	ck_assert(strstr(s.err.text, "flotilla rollout abort r1 --class budget"));
	ck_assert(strstr(s.err.text, "--supersede"));
	close_scene(&s);
}
END_TEST

START_TEST(test_act_supersede_replaces_the_named_lane_only)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	json_auto_t *named = classes("budget", NULL), *left = json_array();
	s.order.classes = named;
	s.order.supersede = true;
	s.order.left = left;
	must(&s, start);
	ck_assert_str_eq(s.id, "r2");
	check_lane(&s, "r1", "budget", LANE_ABORTED, "superseded by r2");
	check_lane(&s, "r2", "budget", LANE_RUNNING, "");
	check_lane(&s, "r1", "mid", LANE_RUNNING, "");
	check_rollout(&s, "r1", "active");
	ck_assert(house_published(&s.house, "budget", "\"r2\"") &&
		  !house_published(&s.house, "budget", "\"r1\"") &&
		  house_published(&s.house, "mid", "\"r1\""));
	ck_assert_int_eq(events(&s, "r1", "lane.superseded"), 1);
	ck_assert_int_eq(events(&s, "r1", "lane.aborted"), 0);
	ck_assert(audited(&s, "lane.superseded", "r1/budget"));
	ck_assert_int_eq(json_array_size(left), 1);
	/* 1 % of 1,200 devices */
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(left, 0), "devices")), 12);
	close_scene(&s);
}
END_TEST

START_TEST(test_act_supersede_wants_classes_by_name)
{
	struct scene s;
	open_scene(&s);
	s.order.supersede = true;
	refused(&s, start, ERR_INVALID, "name the classes");
	close_scene(&s);
}
END_TEST

START_TEST(test_act_supersede_of_many_devices_wants_a_yes)
{
	struct scene s;
	open_scene(&s);
	json_auto_t *named = classes("budget", "flagship");
	must(&s, start);
	at(&s, "r1", "flagship");
	must(&s, advance);
	must(&s, advance);
	s.order.classes = named;
	s.order.supersede = true;
	/* 20 % of flagship; nothing happens in budget either. */
	refused(&s, start, ERR_CONFLICT, "class flagship: about 240 devices (20 %) leave assistant@2.0.0");
	check_lane(&s, "r1", "budget", LANE_RUNNING, "");
	ck_assert(house_published(&s.house, "budget", "\"r1\""));
	s.order.confirmed = true;
	must(&s, start);
	check_lane(&s, "r1", "flagship", LANE_ABORTED, "superseded");
	check_lane(&s, "r1", "budget", LANE_ABORTED, "superseded");
	close_scene(&s);
}
END_TEST

START_TEST(test_act_supersede_of_the_last_lanes_ends_the_rollout)
{
	struct scene s;
	open_scene(&s);
	json_auto_t *named = classes("budget", NULL);
	s.order.classes = named;
	must(&s, start);
	s.order.supersede = true;
	must(&s, start);
	check_rollout(&s, "r1", "ended");
	check_rollout(&s, "r2", "active");
	close_scene(&s);
}
END_TEST

/* ---- trying again ---- */

START_TEST(test_act_retry_is_a_new_rollout_with_a_new_salt)
{
	struct scene s;
	struct err err;
	struct lane first, again;
	open_scene(&s);
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	json_auto_t *named = classes("mid", NULL);
	s.order.classes = named;
	must(&s, start);
	at(&s, "r1", "mid");
	must(&s, gate);
	refused(&s, start, ERR_CONFLICT, "--retry");
	s.order.retry = true;
	must(&s, start);
	ck_assert_str_eq(s.id, "r2");
	ck_assert_msg(!lane_get(s.house.db, "r1", "mid", arena, &first, &err) &&
			      !lane_get(s.house.db, "r2", "mid", arena, &again, &err),
		      "%s", err.text);
	ck_assert_str_ne(first.salt, again.salt);
	ck_assert(house_published(&s.house, "mid", again.salt));
	close_scene(&s);
}
END_TEST

/* ---- aborting the rest ---- */

START_TEST(test_act_enough_rolled_back_lanes_abort_the_rest)
{
	struct scene s;
	open_scene(&s);
	s.order.policy.abort_after_lanes = 2;
	must(&s, start);
	at(&s, "r1", "budget");
	must(&s, gate);
	check_lane(&s, "r1", "mid", LANE_RUNNING, "");
	at(&s, "r1", "flagship");
	must(&s, hold); /* a held lane is withdrawn too */
	at(&s, "r1", "mid");
	must(&s, gate);
	check_lane(&s, "r1", "budget", LANE_ROLLED_BACK, "window.crash");
	check_lane(&s, "r1", "mid", LANE_ROLLED_BACK, "window.crash");
	check_lane(&s, "r1", "flagship", LANE_ABORTED, "the limit is 2");
	ck_assert(!house_published(&s.house, "flagship", "2.0.0"));
	check_rollout(&s, "r1", "ended");
	close_scene(&s);
}
END_TEST

START_TEST(test_act_undone_lanes_do_not_abort_the_rest)
{
	struct scene s;
	open_scene(&s);
	s.order.policy.stage_count = 1;
	s.order.policy.abort_after_lanes = 2;
	must(&s, start);
	at(&s, "r1", "budget");
	must(&s, advance);
	check_lane(&s, "r1", "budget", LANE_COMPLETE, "");
	must(&s, undo);
	check_lane(&s, "r1", "budget", LANE_ROLLED_BACK, "undone");
	ck_assert(house_published(&s.house, "budget", "1.0.0") &&
		  !house_published(&s.house, "budget", "2.0.0"));
	at(&s, "r1", "mid");
	must(&s, gate);
	check_lane(&s, "r1", "flagship", LANE_RUNNING, "");
	close_scene(&s);
}
END_TEST

START_TEST(test_act_held_lanes_go_on_where_they_were)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	at(&s, "r1", "mid");
	refused(&s, resume, ERR_CONFLICT, "not held");
	must(&s, advance);
	must(&s, hold);
	ck_assert(house_published(&s.house, "mid", "holding"));
	must(&s, resume);
	check_lane(&s, "r1", "mid", LANE_RUNNING, "");
	ck_assert(house_published(&s.house, "mid", "\"stage\":2"));
	refused(&s, undo, ERR_CONFLICT, "did not complete");
	close_scene(&s);
}
END_TEST

START_TEST(test_act_approval_is_only_for_lanes_that_wait_for_it)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	at(&s, "r1", "mid");
	refused(&s, approve, ERR_CONFLICT, "does not wait for approval");
	must(&s, hold);
	refused(&s, approve, ERR_CONFLICT, "does not wait for approval");
	must(&s, resume);
	must(&s, ask);
	must(&s, approve);
	check_lane(&s, "r1", "mid", LANE_RUNNING, "");
	ck_assert(house_published(&s.house, "mid", "\"stage\":2"));
	close_scene(&s);
}
END_TEST

/* ---- revoking ---- */

static int revoke_file(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	const struct act act = act_of(s);
	return publisher_revocation_add(db, &s->file, "digest", "", "test", act.now, err) ||
			       act_revoke(db, &act, &s->file, 1, &s->count, err) ||
			       publish_all(s->house.publisher, db, err)
		       ? -1
		       : 0;
}

START_TEST(test_act_revoke_takes_candidates_back_everywhere)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	memset(s.file.bytes, 0, sizeof(s.file.bytes));
	s.file.bytes[31] = 0xaa; /* what the house's variants are made of */
	must(&s, revoke_file);
	ck_assert_int_eq(s.count, HOUSE_CLASSES);
	for (unsigned i = 0; i < HOUSE_CLASSES; i++) {
		check_lane(&s, "r1", house_classes[i], LANE_ABORTED, "revoked");
		ck_assert(!house_published(&s.house, house_classes[i], "2.0.0"));
		ck_assert(house_published(&s.house, house_classes[i], "\"revoked\":[\"sha256:0000"));
	}
	check_rollout(&s, "r1", "ended");
	refused(&s, start, ERR_CONFLICT, "assistant@2.0.0 is revoked");
	close_scene(&s);
}
END_TEST

START_TEST(test_act_revoke_leaves_other_candidates_alone)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	memset(s.file.bytes, 7, sizeof(s.file.bytes));
	must(&s, revoke_file);
	ck_assert_int_eq(s.count, 0);
	check_lane(&s, "r1", "mid", LANE_RUNNING, "");
	close_scene(&s);
}
END_TEST

/* ---- groups ---- */

static json_t *pair(const char *one, const char *two)
{
	return json_pack("[[s, s]]", one, two);
}

static void lead_of(struct scene *s, const char *class, const char *want)
{
	struct err err;
	struct lane lane;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	ck_assert_msg(!lane_get(s->house.db, s->id, class, arena, &lane, &err), "%s", err.text);
	ck_assert_str_eq(lane.lead, want);
	ck_assert_int_eq(lane.clock.devices, *want ? 2 * HOUSE_DEVICES : HOUSE_DEVICES);
}

START_TEST(test_act_a_group_moves_as_one)
{
	struct scene s;
	open_scene(&s);
	json_auto_t *groups = pair("mid", "budget");
	s.order.groups = groups;
	must(&s, start);
	lead_of(&s, "mid", "budget");
	lead_of(&s, "budget", "budget");
	lead_of(&s, "flagship", "");
	at(&s, "r1", "mid"); /* not the leader */
	must(&s, advance);
	ck_assert(house_published(&s.house, "budget", "\"stage\":2") &&
		  house_published(&s.house, "mid", "\"stage\":2") &&
		  house_published(&s.house, "flagship", "\"stage\":1"));
	must(&s, hold);
	check_lane(&s, "r1", "budget", LANE_HOLDING, "operator: wait");
	at(&s, "r1", "budget");
	must(&s, resume);
	check_lane(&s, "r1", "mid", LANE_RUNNING, "");
	for (unsigned i = 0; i < 4; i++)
		must(&s, advance);
	check_lane(&s, "r1", "mid", LANE_COMPLETE, "");
	ck_assert(!house_published(&s.house, "mid", "1.0.0"));
	check_lane(&s, "r1", "flagship", LANE_RUNNING, "");
	/* Completed, each is by itself again. */
	must(&s, undo);
	check_lane(&s, "r1", "budget", LANE_ROLLED_BACK, "undone");
	check_lane(&s, "r1", "mid", LANE_COMPLETE, "");
	ck_assert(house_published(&s.house, "budget", "1.0.0") &&
		  !house_published(&s.house, "mid", "1.0.0"));
	ck_assert_int_eq(events(&s, "r1", "lane.undone"), 1);
	close_scene(&s);
}
END_TEST

START_TEST(test_act_a_group_counts_as_one_lane_taken_back)
{
	struct scene s;
	open_scene(&s);
	json_auto_t *groups = pair("mid", "budget");
	s.order.groups = groups;
	s.order.policy.abort_after_lanes = 2;
	must(&s, start);
	at(&s, "r1", "budget");
	must(&s, gate);
	check_lane(&s, "r1", "mid", LANE_ROLLED_BACK, "window.crash");
	check_lane(&s, "r1", "flagship", LANE_RUNNING, "");
	close_scene(&s);
}
END_TEST

START_TEST(test_act_a_group_is_superseded_whole_or_not)
{
	struct scene s;
	open_scene(&s);
	json_auto_t *groups = pair("mid", "budget"), *one = classes("mid", NULL);
	json_auto_t *both = classes("mid", "budget"), *left = json_array();
	s.order.groups = groups;
	must(&s, start);
	s.order.groups = NULL;
	s.order.supersede = true;
	s.order.classes = one;
	refused(&s, start, ERR_CONFLICT, "class mid shares its lane of rollout r1 with budget");
	s.order.classes = both;
	s.order.left = left;
	must(&s, start);
	check_lane(&s, "r1", "mid", LANE_ABORTED, "superseded by r2");
	check_lane(&s, "r1", "budget", LANE_ABORTED, "superseded by r2");
	check_lane(&s, "r1", "flagship", LANE_RUNNING, "");
	lead_of(&s, "mid", "");
	ck_assert_int_eq(json_array_size(left), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(left, 1), "devices")), 12);
	close_scene(&s);
}
END_TEST

START_TEST(test_act_a_group_is_revoked_whole)
{
	struct scene s;
	open_scene(&s);
	json_auto_t *groups = pair("mid", "budget");
	s.order.groups = groups;
	must(&s, start);
	memset(s.file.bytes, 0, sizeof(s.file.bytes));
	s.file.bytes[31] = 0xaa;
	must(&s, revoke_file);
	ck_assert_int_eq(s.count, 2); /* the group, and flagship */
	for (unsigned i = 0; i < HOUSE_CLASSES; i++)
		check_lane(&s, "r1", house_classes[i], LANE_ABORTED, "revoked");
	close_scene(&s);
}
END_TEST

static int other_clock(struct db *db, void *arg, struct err *err)
{
	json_auto_t *settings = json_pack("{s:i, s:i}", "devices", HOUSE_DEVICES, "window_s", 7200);
	(void)arg;
	return class_put(db, "mid", settings, -1, err);
}

START_TEST(test_act_groups_that_cannot_be_are_refused)
{
	static const struct {
		const char *groups, *text;
	} bad[] = {{"[[\"mid\"]]", "groups[0]: must be two classes"},
		   {"[\"mid\"]", "groups[0]: must be two classes"},
		   {"[[\"mid\", 3]]", "groups[0][1]: must be a class's name"},
		   {"[[\"mid\", \"mid\"]]", "groups[0][1]: mid is named twice"},
		   {"[[\"mid\", \"budget\"], [\"flagship\", \"mid\"]]", "groups[1][1]: mid is named twice"},
		   {"[[\"mid\", \"tablet\"]]", "groups[0][1]: tablet is no class of this rollout"}};
	struct scene s;
	open_scene(&s);
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		json_auto_t *groups = json_loads(bad[i].groups, 0, NULL);
		s.order.groups = groups;
		refused(&s, start, ERR_INVALID, bad[i].text);
	}
	json_auto_t *groups = pair("mid", "budget");
	s.order.groups = groups;
	must(&s, other_clock);
	refused(&s, start, ERR_INVALID, "report by different clocks");
	close_scene(&s);
}
END_TEST

START_TEST(test_group_baselines_add_up)
{
	struct err err;
	json_auto_t *large = json_pack("{s:i, s:{s:{s:i, s:i, s:f}}}", "edge", 140, "window", "crash",
				       "n", 5000, "k", 50, "phi", 2.0);
	json_auto_t *small = json_pack("{s:i, s:{s:{s:i, s:i, s:f}, s:{s:i, s:i}}}", "edge", 160,
				       "window", "crash", "n", 300, "k", 9, "phi", 3.5, "oom", "n", 300,
				       "k", 1);
	ck_assert_int_eq(group_join_baseline(large, small, &err), 0);
	const json_t *crash = json_object_get(json_object_get(large, "window"), "crash");
	ck_assert_int_eq(json_integer_value(json_object_get(crash, "n")), 5300);
	ck_assert_int_eq(json_integer_value(json_object_get(crash, "k")), 59);
	ck_assert(json_number_value(json_object_get(crash, "phi")) == 3.5);
	ck_assert_int_eq(json_integer_value(json_object_get(large, "edge")), 140);
	ck_assert_ptr_nonnull(json_object_get(json_object_get(large, "window"), "oom"));
}
END_TEST

/* ---- what fails half-way ---- */

static void check_superseded(struct scene *s, bool well)
{
	struct err err;
	struct lane lane;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	check_lane(s, "r1", "budget", well ? LANE_ABORTED : LANE_RUNNING, well ? "superseded" : "");
	check_lane(s, "r1", "mid", well ? LANE_ABORTED : LANE_RUNNING, well ? "superseded" : "");
	ck_assert_int_eq(lane_get(s->house.db, "r2", "mid", arena, &lane, &err), well ? 0 : -1);
	for (unsigned i = 1; i < HOUSE_CLASSES; i++) {
		ck_assert_int_eq(house_published(&s->house, house_classes[i], "\"r2\""), well);
		ck_assert_int_eq(house_published(&s->house, house_classes[i], "\"r1\""), !well);
	}
}

/* Every writing call of superseding a group fails once: all of it happened, or nothing, in rows and
 * manifests alike, and after a restart too; and it can be done again. */
START_TEST(test_act_every_call_of_superseding_fails_once)
{
	int nth = 0, refused_count = 0;
	do {
		struct scene s;
		open_scene(&s);
		json_auto_t *both = classes("mid", "budget"), *groups = pair("mid", "budget");
		s.order.groups = groups;
		must(&s, start);
		s.order.supersede = true;
		s.order.classes = both;
		atomic_store(&failures, 0);
		atomic_store(&error_number, ENOSPC);
		atomic_store(&countdown, ++nth);
		const bool well = !try(&s, start);
		atomic_store(&countdown, 0);
		check_superseded(&s, well);
		refused_count += !well;
		house_restart(&s.house);
		check_superseded(&s, well);
		if (!well) {
			must(&s, start);
			check_superseded(&s, true);
		}
		close_scene(&s);
		ck_assert_int_lt(nth, 1000);
	} while (atomic_load(&failures));
	ck_assert_int_gt(refused_count, 2);
}
END_TEST

/* ---- the audit log ---- */

static int note_much(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	char text[40001];
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	json_auto_t *data = json_pack("{s:s}", "text", text);
	const struct journal_entry entry = {.t = 1, .actor = "test", .action = "much",
					    .resource = s->id, .request = "", .data = data};
	return journal_audit(db, &entry, err);
}

/* A page of it is read whole: nobody fills it with what was sent. */
START_TEST(test_act_the_audit_log_keeps_digests_of_what_is_long)
{
	struct scene s;
	struct err err;
	json_t *items;
	int64_t rows;
	open_scene(&s);
	must(&s, note_much);
	ck_assert(!journal_audits(s.house.db, 0, 1000, &items, &err));
	const json_t *last = json_array_get(items, json_array_size(items) - 1);
	const json_t *data = json_object_get(last, "data");
	ck_assert_int_eq(json_integer_value(json_object_get(data, "bytes")), 40011);
	ck_assert_uint_eq(json_string_length(json_object_get(data, "sha256")), 64);
	ck_assert_msg(!journal_verify(s.house.db, &rows, &err), "%s", err.text);
	json_decref(items);
	close_scene(&s);
}
END_TEST

/* ---- what is undone ---- */

/* Whether a report of the lane counts. */
static int enter(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	struct report r = {.kind = REPORT_ENTER, .channel = "stable", .class = s->class,
			   .os_major = 15, .runtime = "", .at = clock_s(&s->house.clock),
			   .entry_len = 1};
	bool known;
	r.entries[0] = (struct report_entry){.model = "assistant", .variant = "", .rollout = s->rollout,
					     .stage = 1, .arm = REPORT_ARM_CANDIDATE, .entered = r.at,
					     .via = "", .load_ms = -1, .ttft_ms = -1, .probe_pm = -1};
	if (cells_add(s->house.cells, db, &r, &known, err))
		return -1;
	s->count = known;
	return 0;
}

static int gate_and_fail(struct db *db, void *arg, struct err *err)
{
	return gate(db, arg, err) ? -1 : err_set(err, ERR_INVALID, "on second thoughts");
}

/* An operation that ends a lane and then fails has not ended it, neither in rows nor for its reports. */
START_TEST(test_act_what_is_undone_has_ended_nothing)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	at(&s, "r1", "mid");
	must(&s, enter);
	ck_assert_uint_eq(s.count, 1);
	refused(&s, gate_and_fail, ERR_INVALID, "on second thoughts");
	check_lane(&s, "r1", "mid", LANE_RUNNING, "");
	must(&s, enter);
	ck_assert_uint_eq(s.count, 1);
	must(&s, gate);
	must(&s, enter);
	ck_assert_uint_eq(s.count, 0);
	close_scene(&s);
}
END_TEST

static int close_lane(struct db *db, void *arg, struct err *err)
{
	struct scene *s = arg;
	struct lane lane;
	bool active;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA);
	if (lane_get(db, s->rollout, s->class, arena, &lane, err))
		return -1;
	lane.closed[CELLS_SLOT]++;
	if (lane_close(db, &lane, &active, err))
		return -1;
	s->count = active;
	return 0;
}

/* Who read the lane while it was active learns that it is not. */
START_TEST(test_act_lanes_that_are_over_close_no_more)
{
	struct scene s;
	open_scene(&s);
	must(&s, start);
	at(&s, "r1", "mid");
	must(&s, close_lane);
	ck_assert_uint_eq(s.count, 1);
	must(&s, gate);
	must(&s, close_lane);
	ck_assert_uint_eq(s.count, 0);
	close_scene(&s);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_act_the_audit_log_keeps_digests_of_what_is_long,
		test_act_what_is_undone_has_ended_nothing,
		test_act_lanes_that_are_over_close_no_more,
		test_act_a_busy_class_is_refused_with_a_remedy,
		test_act_supersede_replaces_the_named_lane_only,
		test_act_supersede_wants_classes_by_name,
		test_act_supersede_of_many_devices_wants_a_yes,
		test_act_supersede_of_the_last_lanes_ends_the_rollout,
		test_act_retry_is_a_new_rollout_with_a_new_salt,
		test_act_enough_rolled_back_lanes_abort_the_rest,
		test_act_undone_lanes_do_not_abort_the_rest,
		test_act_held_lanes_go_on_where_they_were,
		test_act_approval_is_only_for_lanes_that_wait_for_it,
		test_act_revoke_takes_candidates_back_everywhere,
		test_act_revoke_leaves_other_candidates_alone,
		test_act_a_group_moves_as_one,
		test_act_a_group_counts_as_one_lane_taken_back,
		test_act_a_group_is_superseded_whole_or_not,
		test_act_a_group_is_revoked_whole,
		test_act_groups_that_cannot_be_are_refused,
		test_group_baselines_add_up,
		test_act_every_call_of_superseding_fails_once,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("act", tests, COUNT_OF(tests));
}
