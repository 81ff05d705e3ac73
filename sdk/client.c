/* A handle: opening, errors, time, requests, polling. */
#include "sdk/internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "manifest/canon.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define OWN_ARENA 65536
#define SMALL_TIMEOUT_MS 30000
#define BACKOFF_MOST_S 86400
#define BACKOFF_FIRST_S 60
#define FIRST_POLL_S 3600
#define DAY_S 86400

/* ---- errors and time ---- */

int sdk_fail(struct flotilla *f, int code, const struct err *err)
{
	snprintf(f->error, sizeof(f->error), "%s", err->text);
	return code;
}

int sdk_say(struct flotilla *f, int code, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(f->error, sizeof(f->error), fmt, args);
	va_end(args);
	return code;
}

const char *flotilla_error(const struct flotilla *f)
{
	return f->error;
}

int64_t sdk_now(const struct flotilla *f)
{
	return f->o.now ? f->o.now(f->o.now_arg) : clock_wall_ms() / 1000;
}

int64_t sdk_event_time(const struct flotilla *f)
{
	return sdk_now(f) + f->clock_offset;
}

void sdk_log(struct flotilla *f, const char *text)
{
	if (f->o.log)
		f->o.log(f->o.log_arg, text);
}

/* ---- requests ---- */

int sdk_get(struct flotilla *f, const struct flotilla_request *request,
	    struct flotilla_response *response)
{
	*response = (struct flotilla_response){.range_from = -1, .date = -1, .age = -1,
					       .retry_after = -1};
	if (f->o.transport(f->o.transport_arg, request, response))
		return sdk_say(f, FLOTILLA_E_NETWORK, "%s: %s", request->url,
			       response->error[0] ? response->error : "no answer");
	f->answered = true;
	if (response->date > 0) {
		const int64_t age = response->age > 0 ? response->age : 0;
		f->clock_offset = response->date + age - sdk_now(f);
	}
	if (response->retry_after > 0) {
		const int64_t wait = response->retry_after < BACKOFF_MOST_S ? response->retry_after
									    : BACKOFF_MOST_S;
		f->not_before = sdk_now(f) + wait;
	}
	return response->status;
}

static int append(void *arg, const void *bytes, size_t len)
{
	struct buf *buf = arg;
	buf_add(buf, bytes, len);
	return buf->failed;
}

int sdk_get_buf(struct flotilla *f, const char *path, const char *etag, struct buf *buf,
		struct flotilla_response *response)
{
	char url[SDK_PATH];
	snprintf(url, sizeof(url), "%s%s", f->url, path);
	const struct flotilla_request request = {.url = url,
						 .etag = etag,
						 .to = -1,
						 /* One more than fits, to see that there is more. */
						 .max_bytes = (int64_t)buf->max + 1,
						 .timeout_ms = f->timeout_ms ? f->timeout_ms : SMALL_TIMEOUT_MS,
						 .on_body = append,
						 .arg = buf};
	const int status = sdk_get(f, &request, response);
	f->stats.bytes += buf->len;
	if (status >= 0 && buf->failed)
		return sdk_say(f, buf->full ? FLOTILLA_E_TOO_MUCH : FLOTILLA_E_MEMORY,
			       "%s: more than %zu bytes", path, buf->max);
	return status;
}

/* ---- opening ---- */

static int copy(char **slot, const char *text)
{
	*slot = text ? strdup(text) : NULL;
	return text && !*slot ? -1 : 0;
}

static int copy_options(struct flotilla *f, const struct flotilla_options *o)
{
	f->o = *o;
	if (copy(&f->url, o->url) || copy(&f->channel, o->channel) ||
	    copy(&f->state_dir, o->state_dir) || copy(&f->ingest_token, o->ingest_token) ||
	    copy(&f->shared_cache_dir, o->shared_cache_dir))
		return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
	for (size_t len = strlen(f->url); len && f->url[len - 1] == '/'; len--)
		f->url[len - 1] = 0;
	if (!f->o.transport) {
		f->own_curl = flotilla_curl_new();
		f->o.transport = flotilla_transport_curl;
		f->o.transport_arg = f->own_curl;
		if (!f->own_curl)
			return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
	}
	if (!f->o.slice_bytes)
		f->o.slice_bytes = 8 << 20;
	if (!f->o.enter_after_s)
		f->o.enter_after_s = DAY_S;
	return FLOTILLA_OK;
}

static int check_options(struct flotilla *f, const struct flotilla_options *o)
{
	if (!o->url || (strncmp(o->url, "http://", 7) != 0 && strncmp(o->url, "https://", 8) != 0))
		return sdk_say(f, FLOTILLA_E_ARGUMENT, "url: must start with http:// or https://");
	if (!o->index_root || !o->index_root_len)
		return sdk_say(f, FLOTILLA_E_ARGUMENT, "index_root: embed the index's root document");
	if (o->state_dir && strlen(o->state_dir) > SDK_DIR_MAX)
		return sdk_say(f, FLOTILLA_E_ARGUMENT, "state_dir: at most %d bytes", SDK_DIR_MAX);
	if (!o->channel || !json_name_ok(o->channel))
		return sdk_say(f, FLOTILLA_E_ARGUMENT, "channel: must be a channel's name");
	return FLOTILLA_OK;
}

static int read_attributes(struct flotilla *f, const char *text)
{
	struct err err;
	json_auto_t *object = json_parse(text ? text : "{}", text ? strlen(text) : 2, "attributes",
					 &err);
	if (!object || attrs_parse(&f->attrs, object, f->own, &err))
		return sdk_fail(f, FLOTILLA_E_ARGUMENT, &err);
	return FLOTILLA_OK;
}

static int read_runtimes(struct flotilla *f, const char *text)
{
	struct err err;
	const char *name;
	json_t *value;
	json_auto_t *object =
		json_parse(text ? text : "{}", text ? strlen(text) : 2, "runtimes", &err);
	if (!object)
		return sdk_fail(f, FLOTILLA_E_ARGUMENT, &err);
	f->runtimes = arena_array(f->own, json_object_size(object) + 1, sizeof(*f->runtimes));
	if (!f->runtimes)
		return sdk_say(f, FLOTILLA_E_MEMORY, "out of memory");
	json_object_foreach (object, name, value) {
		struct runtime *r = &f->runtimes[f->runtime_count++];
		r->name = arena_strdup(f->own, name);
		if (!r->name || version_read(&r->version, value, &err))
			return sdk_say(f, FLOTILLA_E_ARGUMENT, "runtimes: %s: not a version", name);
		if (f->runtime_count == 1 && json_is_string(value))
			snprintf(f->runtime, sizeof(f->runtime), "%s/%s", name,
				 json_string_value(value));
	}
	return FLOTILLA_OK;
}

static int open_all(struct flotilla *f, const struct flotilla_options *o)
{
	int code = check_options(f, o);
	if (!code)
		code = copy_options(f, o);
	if (!code)
		code = read_attributes(f, o->attributes);
	if (!code)
		code = read_runtimes(f, o->runtimes);
	if (!code)
		code = state_load(f);
	return code ? code : trust_open(f);
}

int flotilla_open(struct flotilla **ret_flotilla, const struct flotilla_options *options)
{
	struct flotilla *f = calloc(1, sizeof(*f));
	*ret_flotilla = NULL;
	if (!f || sodium_init() < 0) {
		free(f);
		return FLOTILLA_E_MEMORY;
	}
	f->share_fd = -1;
	tuf_init(&f->index);
	tuf_init(&f->repo);
	f->own = arena_new(OWN_ARENA);
	int code = f->own ? open_all(f, options) : FLOTILLA_E_MEMORY;
	/* The handle is given also on failure, for flotilla_error(); the caller closes it. */
	*ret_flotilla = f;
	return code;
}

void flotilla_close(struct flotilla *f)
{
	if (f && f->url && f->own)
		state_save(f);
	flotilla_kill(f);
}

void flotilla_kill(struct flotilla *f)
{
	if (!f)
		return;
	fetch_drop(f);
	share_unlock(f);
	tuf_done(&f->index);
	tuf_done(&f->repo);
	vouch_forget(f);
	trust_forget_manifest(f);
	arena_free(f->own);
	for (unsigned i = 0; i < f->queue_len; i++)
		free(f->queue[i].text);
	flotilla_curl_free(f->own_curl);
	sodium_memzero(f->secret, sizeof(f->secret));
	free(f->url);
	free(f->channel);
	free(f->state_dir);
	free(f->ingest_token);
	free(f->shared_cache_dir);
	free(f);
}

/* ---- models and figures ---- */

struct model_state *sdk_model(struct flotilla *f, const char *name)
{
	for (unsigned i = 0; i < f->model_count; i++)
		if (!strcmp(f->models[i].name, name))
			return &f->models[i];
	if (f->model_count == SDK_MODELS || !json_name_ok(name))
		return NULL;
	struct model_state *m = &f->models[f->model_count++];
	memset(m, 0, sizeof(*m));
	snprintf(m->name, sizeof(m->name), "%s", name);
	return m;
}

const char *flotilla_class(const struct flotilla *f)
{
	return f->class;
}

void flotilla_stats(const struct flotilla *f, struct flotilla_stats *ret_stats)
{
	*ret_stats = f->stats;
}

/* ---- polling ---- */

/* +- 10 %, so that devices that started together drift apart. */
static int64_t jittered(int64_t seconds)
{
	const int64_t tenth = seconds / 10;
	return seconds - tenth + (int64_t)randombytes_uniform((uint32_t)(2 * tenth + 1));
}

static bool runs_candidate(const struct flotilla *f)
{
	for (unsigned i = 0; i < f->model_count; i++)
		if (f->models[i].candidate.variant[0] ||
		    (f->models[i].entry.rollout[0] && f->models[i].entry.candidate))
			return true;
	return false;
}

static int64_t poll_interval(const struct flotilla *f)
{
	if (!f->has_manifest)
		return FIRST_POLL_S;
	return runs_candidate(f) ? f->manifest.candidate_poll_s : f->manifest.poll_s;
}

int64_t sdk_backoff(unsigned failures)
{
	int64_t wait = BACKOFF_FIRST_S;
	for (unsigned i = 0; i < failures && wait < BACKOFF_MOST_S; i++)
		wait *= 2;
	return jittered(wait);
}

static void back_off(struct flotilla *f)
{
	const int64_t wait = sdk_backoff(f->failures), usual = jittered(poll_interval(f));
	f->failures++;
	f->next_poll = sdk_now(f) + (wait < usual ? wait : usual);
}

int flotilla_poll(struct flotilla *f)
{
	use_roll(f);
	const int code = trust_poll(f);
	if (code < 0) {
		back_off(f);
	} else {
		f->failures = 0;
		f->next_poll = sdk_now(f) + jittered(poll_interval(f));
		for (unsigned i = 0; i < f->model_count; i++)
			choose_enter_control(f, &f->models[i]);
	}
	f->dirty = true;
	const int saved = state_save(f);
	return code ? code : saved;
}

int64_t flotilla_next_poll(const struct flotilla *f)
{
	return f->next_poll < f->not_before ? f->not_before : f->next_poll;
}

int64_t flotilla_next_wake(const struct flotilla *f)
{
	int64_t flush = use_next(f);
	for (unsigned i = 0; i < f->queue_len; i++)
		if (f->queue[i].due < flush)
			flush = f->queue[i].due;
	if (flush < f->flush_after)
		flush = f->flush_after;
	if (flush < f->not_before)
		flush = f->not_before;
	const int64_t poll = flotilla_next_poll(f);
	return flush < poll ? flush : poll;
}
