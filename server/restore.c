#include "server/restore.h"

#include "base/json.h"
#include "manifest/offer.h"
#include "manifest/publisher_store.h"
#include "manifest/withdrawn.h"
#include "server/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES (32 << 20)
#define SUBJECT 320
/* Rollouts that were started after the backup are forgotten, their numbers are not: devices and
 * dashboards know them. */
#define SKIPPED_ROLLOUTS 1000

struct restoring {
	const struct app *app;
	struct db *db;
	const struct act *act;
	struct arena *arena;
	struct err *err;
};

static const char *text_of(const json_t *entry, const char *name)
{
	const char *text = json_string_value(json_object_get(entry, name));
	return text ? text : "";
}

/* ---- taking back again; each returns what came of it, NULL for an error ---- */

static const char *again_revocation(struct restoring *r, const json_t *entry)
{
	struct digest digest;
	if (digest_parse(&digest, text_of(entry, "digest")))
		return "not understood";
	return publisher_revocation_add(r->db, &digest, text_of(entry, "of"),
					text_of(entry, "reason"), r->act->actor, r->act->now, r->err)
		       ? NULL
		       : "revoked";
}

static const char *again_end(struct restoring *r, const json_t *entry)
{
	struct digest digest;
	if (digest_parse(&digest, text_of(entry, "digest")))
		return "not understood";
	if (!publisher_revocation_end(r->db, &digest, r->err))
		return "no longer revoked";
	return r->err->status == ERR_NOT_FOUND ? "was not revoked" : NULL;
}

static const char *again_publisher(struct restoring *r, const json_t *entry)
{
	struct digest key;
	if (!publisher_revoke(r->db, text_of(entry, "name"), "restored", r->act->actor, r->act->now,
			      &key, r->err))
		return "taken out";
	return r->err->status == ERR_NOT_FOUND ? "not there" : NULL;
}

/* One setting: floors only rise, and one that has risen already is fine. */
static int policy_again(struct restoring *r, json_t *body)
{
	json_auto_t *own = body;
	if (!own)
		return err_nomem(r->err);
	if (!publisher_policy_put(r->db, own, r->err))
		return 0;
	return r->err->status == ERR_CONFLICT ? 0 : -1;
}

static const char *again_policy(struct restoring *r, const json_t *entry)
{
	const json_t *policy = json_object_get(entry, "policy");
	json_t *floors = json_object_get(policy, "floors"), *value;
	const char *model;
	if (json_is_true(json_object_get(policy, "required")) &&
	    policy_again(r, json_pack("{s:b}", "required", 1)))
		return NULL;
	json_object_foreach (floors, model, value)
		if (policy_again(r, json_pack("{s:{s:O}}", "floors", model, value)))
			return NULL;
	return "as it was";
}

static const char *again_token(struct restoring *r, const json_t *entry)
{
	if (!auth_revoke(r->app->auth, r->db, text_of(entry, "id"), r->err))
		return "ended";
	return r->err->status == ERR_NOT_FOUND ? "not there" : NULL;
}

/* The lane that tries a release there, taken back. */
static int end_lane(struct restoring *r, const struct offer *offer, enum lane_state state,
		    const char *reason)
{
	struct lane lane;
	return lane_get(r->db, offer->rollout, offer->class, r->arena, &lane, r->err) ||
			       act_take_back(r->db, r->act, &lane, state, reason, NULL, r->err)
		       ? -1
		       : 0;
}

static enum lane_state state_of(const json_t *entry)
{
	return strcmp(text_of(entry, "state"), lane_state_names[LANE_ABORTED]) ? LANE_ROLLED_BACK
									      : LANE_ABORTED;
}

/* The lane that made it stable, undone; a release that came otherwise is only replaced. */
static int undo(struct restoring *r, const struct offer *offer, const json_t *entry)
{
	struct lane lane;
	if (offer->rollout && end_lane(r, offer, LANE_ABORTED, "what it was compared with was undone"))
		return -1;
	if (!lane_get(r->db, text_of(entry, "rollout"), offer->class, r->arena, &lane, r->err) &&
	    lane.state == LANE_COMPLETE && !strcmp(lane.release, offer->stable))
		return act_undo(r->db, r->act, &lane, "undone after the backup was made", r->err);
	return offer_undo(r->db, offer->channel, offer->class, offer->model, offer->stable, 0,
			  r->act->now, r->err);
}

static const char *again_release(struct restoring *r, const json_t *entry)
{
	struct offer offer;
	const char *release = text_of(entry, "release");
	if (offer_get(r->db, text_of(entry, "channel"), text_of(entry, "class"),
		      text_of(entry, "model"), r->arena, &offer, r->err))
		return r->err->status == ERR_NOT_FOUND ? "not offered there" : NULL;
	if (offer.candidate && !strcmp(offer.candidate, release))
		return end_lane(r, &offer, state_of(entry), "taken back after the backup was made")
			       ? NULL
			       : "taken back";
	if (strcmp(offer.stable, release))
		return "not offered there";
	if (!undo(r, &offer, entry))
		return "undone";
	/* Nothing to go back to: it stays, and whoever reads this must act. */
	return r->err->status == ERR_CONFLICT ? "STILL STABLE: nothing came before it" : NULL;
}

/* ---- the kinds of entries, in the order they are shown in ---- */

static const struct {
	const char *what, *subject[4]; /* members that say what it is about */
	const char *(*again)(struct restoring *r, const json_t *entry);
} kinds[] = {
	{"revocation", {"of", "digest"}, again_revocation},
	{"revocation_end", {"digest"}, again_end},
	{"publisher", {"name"}, again_publisher},
	{"policy", {NULL}, again_policy},
	{"token", {"id"}, again_token},
	{"release", {"model", "release", "channel", "class"}, again_release},
};

/* Its place in kinds; COUNT_OF(kinds) when a newer program wrote it. */
static unsigned kind_of(const json_t *entry)
{
	unsigned kind = 0;
	while (kind < COUNT_OF(kinds) && strcmp(kinds[kind].what, text_of(entry, "what")))
		kind++;
	return kind;
}

static json_t *shown(const json_t *entry, const char *outcome)
{
	char subject[SUBJECT] = "";
	const unsigned kind = kind_of(entry);
	for (unsigned i = 0; kind < COUNT_OF(kinds) && i < COUNT_OF(kinds[0].subject); i++)
		if (kinds[kind].subject[i])
			snprintf(subject + strlen(subject), sizeof(subject) - strlen(subject),
				 "%s%s", i ? " " : "", text_of(entry, kinds[kind].subject[i]));
	json_t *out = json_pack("{s:s, s:s, s:O}", "what", text_of(entry, "what"), "subject", subject,
				"t", json_object_get(entry, "t"));
	if (out && outcome)
		json_object_set_new(out, "outcome", json_string(outcome));
	return out;
}

/* Into list, of which the entries of each kind stand together. */
static int show(json_t *list[static COUNT_OF(kinds) + 1], const json_t *entry,
		const char *outcome, struct err *err)
{
	const unsigned kind = kind_of(entry);
	if (!list[kind])
		list[kind] = json_array();
	return json_array_append_new(list[kind], shown(entry, outcome)) ? err_nomem(err) : 0;
}

static json_t *joined(json_t *list[static COUNT_OF(kinds) + 1])
{
	json_t *all = json_array();
	for (unsigned i = 0; i <= COUNT_OF(kinds); i++) {
		json_array_extend(all, list[i]);
		json_decref(list[i]);
	}
	return all;
}

/* Show every entry after that publication; r NULL: without doing anything about it. */
static int walk(struct restoring *r, const char *data_dir, int64_t publication, json_t **ret,
		struct err *err)
{
	json_t *list[COUNT_OF(kinds) + 1] = {NULL};
	json_auto_t *entries = NULL;
	json_t *entry;
	size_t i;
	if (withdrawn_since(data_dir, publication, &entries, err)) {
		/* The operator who asks is the one who can mend it. */
		if (err->status == ERR_CORRUPT)
			err->status = ERR_CONFLICT;
		return -1;
	}
	int bad = 0;
	json_array_foreach (entries, i, entry) {
		const unsigned kind = kind_of(entry);
		const char *outcome = NULL;
		if (r && !bad)
			outcome = kind < COUNT_OF(kinds) ? kinds[kind].again(r, entry)
							 : "of a newer program; not understood";
		bad = bad || (r && !outcome) || show(list, entry, outcome, err);
	}
	*ret = joined(list);
	if (bad)
		json_decref(*ret);
	return bad ? -1 : 0;
}

/* ---- status ---- */

static json_t *summary(const struct publisher_restored *was, json_t *withdrawn)
{
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:o}", "restored", was->restored, "epoch",
			 (json_int_t)was->epoch, "publication", (json_int_t)was->publication,
			 "published", (json_int_t)was->published, "last_signed",
			 (json_int_t)was->last_signed, "withdrawn", withdrawn);
}

int restore_status(const struct app *app, struct db *db, json_t **ret, struct err *err)
{
	struct publisher_restored was;
	json_t *withdrawn;
	(void)db;
	publisher_restored(app->publisher, &was);
	if (walk(NULL, publisher_data_dir(app->publisher), was.publication, &withdrawn, err))
		return -1;
	*ret = summary(&was, withdrawn);
	return *ret ? 0 : err_nomem(err);
}

/* ---- going on ---- */

static int hold_lanes(struct restoring *r, json_t *held)
{
	struct lane *lanes;
	unsigned count;
	if (lane_list(r->db, NULL, r->arena, &lanes, &count, r->err))
		return -1;
	for (unsigned i = 0; i < count; i++) {
		if (lanes[i].state == LANE_RUNNING && lane_leads(&lanes[i]) &&
		    act_hold(r->db, r->act, &lanes[i], "restore", NULL, r->err))
			return -1;
		if (json_array_append_new(held, json_sprintf("%s/%s", lanes[i].rollout,
							     lanes[i].class)))
			return err_nomem(r->err);
	}
	return 0;
}

static int skip_numbers(struct db *db, struct err *err)
{
	int64_t number;
	char text[32];
	if (db_meta_next(db, "rollout", &number, err))
		return -1;
	snprintf(text, sizeof(text), "%lld", (long long)number + SKIPPED_ROLLOUTS);
	return db_meta_set(db, "rollout", text, err);
}

static int go_on(struct restoring *r, const struct publisher_restored *was, int64_t epoch,
		 json_t **ret)
{
	struct publisher *p = r->app->publisher;
	json_t *withdrawn;
	json_auto_t *held = json_array();
	if (publisher_anew(p, r->db, epoch ? epoch : was->epoch + 1, r->err) ||
	    walk(r, publisher_data_dir(p), was->publication, &withdrawn, r->err))
		return -1;
	*ret = summary(was, withdrawn);
	if (!*ret || json_object_set(*ret, "held", held))
		return err_nomem(r->err);
	if (hold_lanes(r, held) || skip_numbers(r->db, r->err) || publish_all(p, r->db, r->err) ||
	    publisher_anew_end(p, r->db, r->err))
		return -1;
	struct publisher_restored now;
	publisher_restored(p, &now);
	return json_object_set_new(*ret, "epoch", json_integer(now.epoch)) ? err_nomem(r->err) : 0;
}

int restore_run(const struct app *app, struct db *db, const struct act *act,
		const struct restore_order *order, json_t **ret, struct err *err)
{
	struct publisher_restored was;
	AUTO(arena_free) struct arena *arena = arena_new(ARENA_BYTES);
	struct restoring r = {app, db, act, arena, err};
	json_t *answer = NULL;
	if (!arena)
		return err_nomem(err);
	publisher_restored(app->publisher, &was);
	if (!was.restored && !order->force)
		return err_set(err, ERR_CONFLICT,
			       "nothing shows that this database was restored: it knows of all that was "
			       "published.  If the epoch's file came with the backup, say --force");
	if (go_on(&r, &was, order->epoch, &answer)) {
		json_decref(answer);
		return -1;
	}
	*ret = answer;
	return 0;
}
