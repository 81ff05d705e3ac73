/* What to run: the arm by bucket, the variant by what fits. */
#include "sdk/internal.h"

#include <stdio.h>
#include <string.h>

static bool any_revoked(const struct flotilla *f, const struct manifest_variant *v)
{
	for (unsigned i = 0; i < v->file_count; i++)
		if (manifest_revoked(&f->manifest, &v->files[i].sha256))
			return true;
	return false;
}

/* Requirements are those of installing it: what is here has its room, and what is on its way has a
 * part of it. */
static struct facts facts_of(const struct flotilla *f, const struct model_state *m,
			     const struct manifest_variant *v)
{
	struct facts facts = {f->runtimes, f->runtime_count, -1, -1};
	const int64_t room = install_room(f);
	if (!strcmp(m->stable.variant, v->ref.text) || !strcmp(m->candidate.variant, v->ref.text))
		facts.disk_free_mib = INT64_MAX;
	else if (room >= 0)
		facts.disk_free_mib = (room + install_held(f, v)) >> 20;
	return facts;
}

/* The first of the list that this device can install and may load. */
static const struct manifest_variant *fitting(const struct flotilla *f, const struct model_state *m,
					      const struct variant_ref *list, unsigned count,
					      struct err *why)
{
	err_set(why, ERR_NOT_FOUND, "nothing of %s is offered", m->name);
	for (unsigned i = 0; i < count; i++) {
		const struct manifest_variant *v = manifest_variant_find(&f->manifest, &list[i]);
		const struct facts facts = facts_of(f, m, v);
		if (any_revoked(f, v))
			err_set(why, ERR_UNTRUSTED, "%s is revoked", v->ref.text);
		else if (requires_met(&v->requires, &f->attrs, &facts, why))
			return v;
	}
	return NULL;
}

static bool given_up(const struct model_state *m, const struct manifest_model *model)
{
	const size_t len = strlen(model->rollout.id);
	return !strncmp(m->given_up, model->rollout.id, len) && m->given_up[len] == ' ';
}

/* Both arms are of devices that have had their stable in use for a day: a fresh install takes stable
 * first, and the two stay comparable. */
static bool settled(const struct flotilla *f, const struct model_state *m)
{
	return m->stable.variant[0] && m->stable.loaded &&
	       sdk_now(f) - m->stable.loaded >= f->o.enter_after_s;
}

/* Whether this device takes the candidate, and whether it enters by that. */
static bool takes_candidate(const struct flotilla *f, const struct model_state *m,
			    const struct manifest_model *model, bool *ret_enters)
{
	*ret_enters = false;
	if (!model->has_rollout || f->o.opt_out || given_up(m, model))
		return false;
	const int64_t bucket = bucket_of(model->rollout.salt, f->secret);
	if (manifest_place(model, bucket, ret_enters) != ARM_CANDIDATE)
		return false;
	if (!strcmp(m->entry.rollout, model->rollout.id)) {
		/* Who entered as control finishes its own windows first. */
		*ret_enters = false;
		return m->entry.candidate || m->entry.summary_sent;
	}
	const bool has = m->candidate.variant[0] != 0;
	/* While the lane holds nobody new takes it; who has it keeps it. */
	return has || (model->rollout.state == MANIFEST_RUNNING && settled(f, m));
}

void choose(struct flotilla *f, const char *name, struct choice *c)
{
	const struct model_state *m = sdk_model(f, name);
	*c = (struct choice){.model = f->has_manifest ? manifest_model_find(&f->manifest, name)
						      : NULL};
	if (!c->model || !m) {
		err_set(&c->why, ERR_NOT_FOUND, "%s is not offered to class %s", name,
			f->class[0] ? f->class : "(none yet)");
		return;
	}
	const struct manifest_model *model = c->model;
	if (takes_candidate(f, m, model, &c->may_enter)) {
		c->variant = fitting(f, m, model->candidate, model->candidate_count, &c->why);
		c->candidate = c->variant != NULL;
	}
	if (!c->variant) {
		c->may_enter = false;
		c->variant = fitting(f, m, model->stable, model->stable_count, &c->why);
	}
	/* A completion is no stampede: each device waits its share, unless it has nothing at all. */
	if (c->variant && !c->candidate && m->stable.variant[0])
		c->not_before = model->spread.since +
				bucket_spread(model->spread.salt ? model->spread.salt : "",
					      f->secret, model->spread.s);
}

/* Control is enrolled when and as a candidate would be, its requirements included. */
void choose_enter_control(struct flotilla *f, struct model_state *m)
{
	const struct manifest_model *model =
		f->has_manifest ? manifest_model_find(&f->manifest, m->name) : NULL;
	const struct manifest_variant *candidate;
	struct err why;
	bool enters;
	if (!model || !model->has_rollout || f->o.opt_out ||
	    !strcmp(m->entry.rollout, model->rollout.id))
		return;
	const int64_t bucket = bucket_of(model->rollout.salt, f->secret);
	if (manifest_place(model, bucket, &enters) != ARM_CONTROL || !enters)
		return;
	if (model->rollout.state != MANIFEST_RUNNING || !settled(f, m))
		return;
	candidate = fitting(f, m, model->candidate, model->candidate_count, &why);
	if (!candidate || install_may_download(f, candidate))
		return;
	use_enter(f, m, model, false, m->stable.variant);
}
