/* Who vouches for a variant: the publishers that the offline-signed index names, and the envelope
 * that one of them signed.  What selects among variants cannot make one. */
#include "base/json.h"
#include "manifest/attest.h"
#include "manifest/dsse.h"
#include "sdk/internal.h"

#include <string.h>

/* ---- the list ---- */

void vouch_forget(struct flotilla *f)
{
	arena_free(f->vouching.arena);
	buf_done(&f->vouching.envelope);
	f->vouching = (struct vouching){0};
}

static int adopt_list(struct flotilla *f, const struct buf *text, const struct digest *digest)
{
	struct err err;
	struct publisher_list list;
	struct arena *arena = arena_new(PUBLISHERS_ARENA);
	json_auto_t *document = json_parse(text->data ? text->data : "", text->len,
					   PUBLISHERS_PATH, &err);
	if (!arena || !document || publishers_parse(&list, document, arena, &err)) {
		const int code = arena ? sdk_fail(f, FLOTILLA_E_MALFORMED, &err)
				       : sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
		arena_free(arena);
		return code;
	}
	vouch_forget(f);
	f->vouching.arena = arena;
	f->vouching.list = list;
	f->vouching.list_digest = *digest;
	f->vouching.known = true;
	return FLOTILLA_OK;
}

int vouch_update(struct flotilla *f)
{
	struct err err;
	struct tuf_target target;
	struct buf text = BUF_INIT(0);
	if (tuf_target_find(&f->index, PUBLISHERS_PATH, &target, &err))
		return sdk_fail(f, FLOTILLA_E_MIX, &err);
	if (f->vouching.known && digest_eq(&f->vouching.list_digest, &target.sha256))
		return FLOTILLA_OK;
	int code = trust_target(f, PUBLISHERS_PATH, PUBLISHERS_BYTES, &text);
	if (!code)
		code = adopt_list(f, &text, &target.sha256);
	if (!code)
		code = state_write(f, PUBLISHERS_PATH, text.data, text.len);
	buf_done(&text);
	return code;
}

void vouch_load(struct flotilla *f)
{
	struct err err;
	struct tuf_target target;
	struct digest have;
	AUTO_BUF struct buf text = BUF_INIT(PUBLISHERS_BYTES);
	if (!f->index.body[TUF_TARGETS] ||
	    tuf_target_find(&f->index, PUBLISHERS_PATH, &target, &err) ||
	    state_read(f, PUBLISHERS_PATH, &text, &err))
		return;
	digest_of(&have, text.data ? text.data : "", text.len);
	if (digest_eq(&have, &target.sha256) && adopt_list(f, &text, &have))
		sdk_log(f, "the stored list of publishers cannot be read; it is fetched again");
}

/* ---- an envelope ---- */

/* Kept from slice to slice of an install, so that it is fetched once. */
static int get_envelope(struct flotilla *f, const struct manifest_variant *v)
{
	struct vouching *w = &f->vouching;
	struct digest have;
	if (w->envelope.len && digest_eq(&w->envelope_digest, &v->attest))
		return FLOTILLA_OK;
	buf_done(&w->envelope);
	buf_init(&w->envelope, DSSE_MAX);
	const int code = fetch_blob(f, "attest", &v->attest, &w->envelope);
	digest_of(&have, w->envelope.data ? w->envelope.data : "", w->envelope.len);
	if (!code && digest_eq(&have, &v->attest)) {
		w->envelope_digest = have;
		return FLOTILLA_OK;
	}
	buf_done(&w->envelope);
	return code ? code
		    : sdk_say(f, FLOTILLA_E_PUBLISHER,
			      "%s: its envelope is not the one that the manifest names", v->ref.text);
}

/* Whether a publisher who may has said exactly this of exactly these files. */
static int check_envelope(struct flotilla *f, const struct manifest_variant *v,
			  struct arena *arena, struct attest *attest)
{
	struct err err;
	const struct buf *envelope = &f->vouching.envelope;
	AUTO_DSSE struct dsse dsse = {0};
	if (dsse_open(&dsse, envelope->data, envelope->len, &err) ||
	    !publishers_signer(&trust_verifier(f)->vouching.list, &dsse, v->ref.model, f->manifest.revoked,
			       f->manifest.revoked_count, &err) ||
	    attest_parse(attest, &dsse, arena, &err) || attest_covers(attest, v, &err) ||
	    attest_permits(attest, f->channel, &err))
		return sdk_say(f, FLOTILLA_E_PUBLISHER, "%s: %s", v->ref.text, err.text);
	return FLOTILLA_OK;
}

/* Once a day of a device, in its usage report. */
static void note_refused(struct flotilla *f, struct model_state *m)
{
	const struct metric *metric = metric_find("refused.floor");
	if (metric)
		m->in_day.counts[metric_index(metric)] = 1;
	f->dirty = true;
}

int vouch_variant(struct flotilla *f, struct model_state *m, const struct manifest_variant *v,
		  int64_t *ret_floor)
{
	const struct vouching *w = &trust_verifier(f)->vouching;
	struct attest attest = {0};
	*ret_floor = 0;
	if (!w->known || f->manifest.index_version > f->index_version)
		return sdk_say(f, FLOTILLA_E_PUBLISHER,
			       "who may publish is not known yet; nothing is installed until a poll succeeds");
	if (!publishers_needed(&w->list, v->ref.model))
		return FLOTILLA_OK;
	if (!v->has_attest)
		return sdk_say(f, FLOTILLA_E_PUBLISHER, "%s: no publisher has signed it",
			       v->ref.text);
	AUTO(arena_free) struct arena *arena = arena_new(ATTEST_ARENA);
	if (!arena)
		return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
	int code = get_envelope(f, v);
	if (!code)
		code = check_envelope(f, v, arena, &attest);
	if (code)
		return code;
	const int64_t listed = publishers_floor(&w->list, v->ref.model);
	const int64_t floor = listed > m->floor ? listed : m->floor;
	if (attest.counter >= floor) {
		*ret_floor = attest.floor;
		return FLOTILLA_OK;
	}
	note_refused(f, m);
	return sdk_say(f, FLOTILLA_E_FLOOR, "%s: release counter %lld is below the floor %lld",
		       v->ref.text, (long long)attest.counter, (long long)floor);
}
