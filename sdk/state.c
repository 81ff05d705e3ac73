/* What outlives a process: one directory, every file replaced whole (base/file.h), state.json last,
 * so that what it names is there.  A torn or foreign state.json starts anew with a fresh secret:
 * the device then is another one to every rollout, and nothing else is lost. */
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "sdk/internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_MAX (4 << 20)
#define SCHEMA 1

static void path_of(const struct flotilla *f, const char *name, char out[static SDK_PATH])
{
	snprintf(out, SDK_PATH, "%s/%s", f->state_dir, name);
}

int state_write(struct flotilla *f, const char *name, const void *bytes, size_t len)
{
	char path[SDK_PATH];
	struct err err;
	if (!f->state_dir)
		return FLOTILLA_OK;
	path_of(f, name, path);
	if (file_write(path, bytes, len, 0600, &err))
		return sdk_fail(f, FLOTILLA_E_STATE, &err);
	return FLOTILLA_OK;
}

int state_read(struct flotilla *f, const char *name, struct buf *buf, struct err *err)
{
	char path[SDK_PATH];
	if (!f->state_dir)
		return err_set(err, ERR_NOT_FOUND, "no state directory");
	path_of(f, name, path);
	return file_read(path, buf, err);
}

void state_remove(struct flotilla *f, const char *name)
{
	char path[SDK_PATH];
	if (!f->state_dir)
		return;
	path_of(f, name, path);
	unlink(path);
}

/* ---- tallies ---- */

/* Only what is not zero: {"name":n} of an array in the metric table's order. */
static json_t *counts_json(const uint32_t *counts)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < metric_count() && i < SDK_COUNTERS; i++)
		if (counts[i])
			json_object_set_new(object, metric_at(i)->name, json_integer(counts[i]));
	return object;
}

static json_t *hist_json(const uint16_t *counts)
{
	json_t *object = json_object();
	for (unsigned b = 0; b < SKETCH_BUCKETS; b++)
		if (counts[b]) {
			char key[16];
			snprintf(key, sizeof(key), "%u", b);
			json_object_set_new(object, key, json_integer(counts[b]));
		}
	return object;
}

static json_t *tally_json(const struct tally *t)
{
	json_t *hists = json_array();
	for (unsigned h = 0; h < SDK_HISTOGRAMS; h++)
		json_array_append_new(hists, hist_json(t->hists[h]));
	return json_pack("{s:I, s:o, s:o, s:o}", "used", (json_int_t)t->used, "n",
			 counts_json(t->counts), "hit", counts_json(t->hits), "h", hists);
}

static void read_counts(const json_t *object, uint32_t *counts)
{
	for (unsigned i = 0; i < metric_count() && i < SDK_COUNTERS; i++)
		counts[i] = (uint32_t)json_integer_value(
			json_object_get(object, metric_at(i)->name));
}

static void read_tally(const json_t *object, struct tally *t)
{
	const json_t *hists = json_object_get(object, "h");
	const char *key;
	json_t *value;
	memset(t, 0, sizeof(*t));
	t->used = (uint32_t)json_integer_value(json_object_get(object, "used"));
	read_counts(json_object_get(object, "n"), t->counts);
	read_counts(json_object_get(object, "hit"), t->hits);
	for (unsigned h = 0; h < SDK_HISTOGRAMS; h++)
		json_object_foreach (json_array_get(hists, h), key, value) {
			const unsigned long b = strtoul(key, NULL, 10);
			if (b < SKETCH_BUCKETS)
				t->hists[h][b] = (uint16_t)json_integer_value(value);
		}
}

/* ---- models ---- */

static json_t *installed_json(const struct installed *i)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:I}", "variant", i->variant, "file", i->file, "via",
			 i->via, "loaded", (json_int_t)i->loaded, "floor", (json_int_t)i->floor);
}

static json_t *entry_json(const struct entry *e)
{
	return json_pack("{s:s, s:s, s:I, s:b, s:I, s:b, s:b, s:b, s:I, s:I}", "rollout", e->rollout,
			 "variant", e->variant, "stage", (json_int_t)e->stage, "candidate",
			 (int)e->candidate, "entered", (json_int_t)e->entered, "outcome_sent",
			 (int)e->outcome_sent, "summary_sent", (int)e->summary_sent, "live",
			 (int)e->live, "left", (json_int_t)e->left, "first_window",
			 (json_int_t)e->first_window);
}

static json_t *model_json(const struct model_state *m)
{
	return json_pack("{s:s, s:I, s:o, s:o, s:o, s:s, s:s, s:I, s:s, s:I, s:I, s:b, s:o, s:o, s:o}",
			 "name", m->name, "floor", (json_int_t)m->floor, "stable", installed_json(&m->stable), "candidate",
			 installed_json(&m->candidate), "entry", entry_json(&m->entry), "given_up",
			 m->given_up, "loading", m->loading, "strikes", (json_int_t)m->strikes,
			 "current", m->current, "window", (json_int_t)m->window, "day",
			 (json_int_t)m->day, "window_any", (int)m->window_any, "in_window",
			 tally_json(&m->in_window), "in_rollout", tally_json(&m->in_rollout),
			 "in_day", tally_json(&m->in_day));
}

static void read_text(const json_t *object, const char *name, char *out, size_t room)
{
	const char *text = json_string_value(json_object_get(object, name));
	snprintf(out, room, "%s", text ? text : "");
}

static int64_t read_int(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static bool read_bool(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

static void read_installed(struct flotilla *f, const json_t *object, struct installed *i)
{
	read_text(object, "variant", i->variant, sizeof(i->variant));
	read_text(object, "file", i->file, sizeof(i->file));
	read_text(object, "via", i->via, sizeof(i->via));
	i->loaded = read_int(object, "loaded");
	i->floor = read_int(object, "floor");
	install_place(f, i);
}

static void read_entry(const json_t *object, struct entry *e)
{
	read_text(object, "rollout", e->rollout, sizeof(e->rollout));
	read_text(object, "variant", e->variant, sizeof(e->variant));
	e->stage = (unsigned)read_int(object, "stage");
	e->candidate = read_bool(object, "candidate");
	e->entered = read_int(object, "entered");
	e->outcome_sent = read_bool(object, "outcome_sent");
	e->summary_sent = read_bool(object, "summary_sent");
	e->live = read_bool(object, "live");
	e->left = read_int(object, "left");
	e->first_window = read_int(object, "first_window");
}

static void read_model(struct flotilla *f, const json_t *object)
{
	const char *name = json_string_value(json_object_get(object, "name"));
	struct model_state *m = name ? sdk_model(f, name) : NULL;
	if (!m)
		return;
	m->floor = read_int(object, "floor");
	read_installed(f, json_object_get(object, "stable"), &m->stable);
	read_installed(f, json_object_get(object, "candidate"), &m->candidate);
	read_entry(json_object_get(object, "entry"), &m->entry);
	read_text(object, "given_up", m->given_up, sizeof(m->given_up));
	read_text(object, "loading", m->loading, sizeof(m->loading));
	read_text(object, "current", m->current, sizeof(m->current));
	m->strikes = (unsigned)read_int(object, "strikes");
	m->window = read_int(object, "window");
	m->day = read_int(object, "day");
	m->day_wait = use_day_wait();
	m->window_any = read_bool(object, "window_any");
	read_tally(json_object_get(object, "in_window"), &m->in_window);
	read_tally(json_object_get(object, "in_rollout"), &m->in_rollout);
	read_tally(json_object_get(object, "in_day"), &m->in_day);
}

/* ---- the whole ---- */

static json_t *lists_json(const struct flotilla *f, json_t *root)
{
	json_t *models = json_array(), *queue = json_array();
	for (unsigned i = 0; i < f->model_count; i++)
		json_array_append_new(models, model_json(&f->models[i]));
	for (unsigned i = 0; i < f->queue_len; i++)
		json_array_append_new(queue, json_pack("{s:I, s:s}", "due",
						       (json_int_t)f->queue[i].due, "report",
						       f->queue[i].text));
	json_object_set_new(root, "models", models);
	json_object_set_new(root, "queue", queue);
	return root;
}

int state_save(struct flotilla *f)
{
	char secret[2 * BUCKET_SECRET_LEN + 1];
	if (!f->dirty || !f->state_dir)
		return FLOTILLA_OK;
	hex_encode(secret, f->secret, BUCKET_SECRET_LEN);
	json_auto_t *root = json_pack(
		"{s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "schema", SCHEMA, "secret", secret,
		"embedded", f->embedded, "class", f->class, "index_etag", f->index_etag, "repo_etag", f->repo_etag,
		"index_version", (json_int_t)f->index_version, "newest_signed",
		(json_int_t)f->newest_signed, "last_day", (json_int_t)f->last_day);
	sodium_memzero(secret, sizeof(secret));
	char *text = root ? json_text(lists_json(f, root)) : NULL;
	if (!text)
		return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
	const int code = state_write(f, "state.json", text, strlen(text));
	free(text);
	f->dirty = code != FLOTILLA_OK;
	return code;
}

static void fresh_secret(struct flotilla *f)
{
	if (f->o.secret)
		memcpy(f->secret, f->o.secret, BUCKET_SECRET_LEN);
	else
		randombytes_buf(f->secret, BUCKET_SECRET_LEN);
	f->dirty = true;
}

static void read_queue(struct flotilla *f, const json_t *list)
{
	size_t i;
	const json_t *item;
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(json_object_get(item, "report"));
		if (!text || f->queue_len == SDK_QUEUE)
			continue;
		struct queued *q = &f->queue[f->queue_len];
		*q = (struct queued){.due = read_int(item, "due"), .text = strdup(text)};
		f->queue_len += q->text != NULL;
	}
}

static int read_root(struct flotilla *f, const json_t *root)
{
	size_t i;
	const json_t *model;
	const char *secret = json_string_value(json_object_get(root, "secret"));
	if (read_int(root, "schema") != SCHEMA || !secret ||
	    strlen(secret) != 2 * BUCKET_SECRET_LEN ||
	    hex_decode(f->secret, BUCKET_SECRET_LEN, secret))
		return -1;
	read_text(root, "embedded", f->embedded, sizeof(f->embedded));
	read_text(root, "class", f->class, sizeof(f->class));
	read_text(root, "index_etag", f->index_etag, sizeof(f->index_etag));
	read_text(root, "repo_etag", f->repo_etag, sizeof(f->repo_etag));
	f->index_version = read_int(root, "index_version");
	f->newest_signed = read_int(root, "newest_signed");
	f->last_day = read_int(root, "last_day");
	const json_t *models = json_object_get(root, "models");
	json_array_foreach (models, i, model) {
		read_model(f, model);
	}
	read_queue(f, json_object_get(root, "queue"));
	return 0;
}

int state_load(struct flotilla *f)
{
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(STATE_MAX);
	if (f->state_dir && file_mkdirs(f->state_dir, 0700, &err))
		return sdk_fail(f, FLOTILLA_E_STATE, &err);
	if (state_read(f, "state.json", &text, &err)) {
		fresh_secret(f);
		return err.status == ERR_NOT_FOUND ? FLOTILLA_OK
						   : sdk_fail(f, FLOTILLA_E_STATE, &err);
	}
	json_auto_t *root = json_parse(text.data ? text.data : "", text.len, "state.json", &err);
	if (!root || read_root(f, root)) {
		sdk_log(f, "state.json cannot be read; starting anew");
		fresh_secret(f);
	}
	return FLOTILLA_OK;
}
