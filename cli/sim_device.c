#include "cli/sim_device.h"

#include "base/clock.h"
#include "base/file.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define DAY_S 86400.0
#define WANT_AGAIN_S 60	   /* another try at what could not be had now */
#define SLICE_BYTES (4 << 20)

int64_t sim_now(const struct sim_world *w)
{
	return (w->own_ms + (clock_monotonic_ms() - w->mono_ms) * w->speed) / 1000;
}

static int64_t device_now(void *arg)
{
	return sim_now(arg);
}

/* ---- chance: splitmix64 (Steele, Lea, Flood 2014), seeded per device, so that a run can be
 * repeated but for the network's timing ---- */

static uint64_t next_random(struct sim_device *d)
{
	uint64_t z = d->random += 0x9e3779b97f4a7c15U;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

/* In (0, 1). */
static double uniform(struct sim_device *d)
{
	return ((double)(next_random(d) >> 11) + 0.5) / 9007199254740992.0;
}

static bool chance(struct sim_device *d, double p)
{
	return p > 0 && uniform(d) < p;
}

static double normal(struct sim_device *d)
{
	return sqrt(-2 * log(uniform(d))) * cos(2 * M_PI * uniform(d));
}

static int64_t lognormal(struct sim_device *d, const struct profile_spread *s)
{
	return (int64_t)(s->median * exp(s->sigma * normal(d)));
}

static int64_t exponential(struct sim_device *d, double mean)
{
	const double s = -mean * log(uniform(d));
	return s < 1 ? 1 : s > 1e9 ? 1000000000 : (int64_t)s;
}

/* ---- the link ---- */

static bool offline(struct sim_device *d, int64_t now)
{
	const struct profile_class *c = d->class;
	if (c->offline <= 0)
		return false;
	while (now >= d->online_until) {
		d->offline_until = d->online_until + exponential(d, (double)c->offline_s);
		d->online_until = d->offline_until +
				  exponential(d, (double)c->offline_s * (1 / c->offline - 1));
	}
	return now < d->offline_until;
}

static int transport(void *arg, const struct flotilla_request *request,
		     struct flotilla_response *response)
{
	struct sim_device *d = arg;
	if (!offline(d, sim_now(d->world)))
		return flotilla_transport_curl(d->curl, request, response);
	snprintf(response->error, sizeof(response->error), "offline, as the profile says");
	return -1;
}

/* ---- lives of the app ---- */

static void add_stats(struct sim_device *d)
{
	struct flotilla_stats s;
	flotilla_stats(d->flotilla, &s);
	d->stats.polls += s.polls;
	d->stats.unchanged += s.unchanged;
	d->stats.bytes += s.bytes;
	d->stats.reports += s.reports;
	d->stats.report_errors += s.report_errors;
	d->stats.full_downloads += s.full_downloads;
	d->stats.shared_downloads += s.shared_downloads;
	d->stats.chunks += s.chunks;
	d->stats.chunks_reused += s.chunks_reused;
}

static void note_error(struct sim_device *d, const char *what, int code)
{
	/* A planned offline spell is no error. */
	if (offline(d, sim_now(d->world)))
		return;
	d->errors++;
	snprintf(d->error, sizeof(d->error), "%s: %d: %.150s", what, code,
		 flotilla_error(d->flotilla));
}

/* The secret is the seed's and the index's, so that buckets are the same in each run. */
static void secret_of(const struct sim_device *d, uint8_t secret[static 16])
{
	const uint64_t in[2] = {d->world->seed, d->index};
	crypto_generichash(secret, 16, (const unsigned char *)in, sizeof(in), NULL, 0);
}

static int open_app(struct sim_device *d, struct err *err)
{
	const struct sim_world *w = d->world;
	uint8_t secret[16];
	char state[600], shared[600];
	secret_of(d, secret);
	snprintf(state, sizeof(state), "%.400s/device-%u", w->work_dir, d->index);
	snprintf(shared, sizeof(shared), "%.400s/%s", w->work_dir, d->class->name);
	const struct flotilla_options options = {
		.url = w->url, .index_root = w->root, .index_root_len = w->root_len,
		.channel = w->profile->channel, .attributes = d->class->attributes,
		.runtimes = d->class->runtimes, .ingest_token = w->ingest_token,
		.state_dir = d->full || d->mortal ? state : NULL,
		.os_major = (int)d->class->os_major, .allow_development = 1,
		.transport = transport, .transport_arg = d, .now = device_now,
		.now_arg = (void *)(uintptr_t)w, .slice_bytes = SLICE_BYTES,
		.disk_free_mib = d->class->disk_free_mib,
		.shared_cache_dir = d->full ? NULL : shared, .secret = secret,
		/* On a fast clock the real network is delay enough. */
		.no_delay = w->speed > 1,
		.enter_after_s = w->profile->enter_after_s};
	const int code = flotilla_open(&d->flotilla, &options);
	if (!code)
		return 0;
	err_set(err, ERR_INVALID, "device %u of %s: %s", d->index, d->class->name,
		d->flotilla ? flotilla_error(d->flotilla) : "out of memory");
	flotilla_close(d->flotilla);
	d->flotilla = NULL;
	return -1;
}

/* The process dies and is started again: what was not saved is lost. */
static void restart(struct sim_device *d)
{
	struct err err;
	add_stats(d);
	d->kills++;
	flotilla_kill(d->flotilla);
	if (open_app(d, &err)) {
		d->errors++;
		snprintf(d->error, sizeof(d->error), "%.190s", err.text);
	}
}

/* ---- what the app does ---- */

static void note_running(struct sim_device *d, const struct flotilla_model *model,
			 uint64_t chunks_before)
{
	struct flotilla_stats s;
	const char *variant = model->variant ? model->variant : "";
	if (!strcmp(variant, d->variant))
		return;
	flotilla_stats(d->flotilla, &s);
	if (d->candidate && !model->candidate) {
		d->returned++;
		d->returned_chunks += s.chunks - chunks_before;
	}
	snprintf(d->variant, sizeof(d->variant), "%s", variant);
	d->candidate = model->candidate;
}

/* Ask what to run; whether there is something. */
static bool want(struct sim_device *d, struct flotilla_model *model, int64_t now)
{
	struct flotilla_stats before, after;
	flotilla_stats(d->flotilla, &before);
	const int code = flotilla_want(d->flotilla, d->world->profile->model, model);
	flotilla_stats(d->flotilla, &after);
	note_running(d, model, before.chunks);
	d->next_want = INT64_MAX;
	if (code == FLOTILLA_AGAIN)
		d->next_want = now + 1 + (int64_t)(after.bytes - before.bytes) / 1024 / d->kib_s;
	else if (code == FLOTILLA_LATER || code == FLOTILLA_E_NETWORK)
		d->next_want = now + WANT_AGAIN_S;
	if (code < 0)
		note_error(d, "want", code);
	return model->path != NULL;
}

static bool load(struct sim_device *d, const struct profile_behaviour *b)
{
	const char *model = d->world->profile->model;
	struct flotilla_loaded loaded = {FLOTILLA_LOADED, -1, -1, -1};
	if (flotilla_load_begin(d->flotilla, model))
		return false;
	if (d->mortal && chance(d, 0.1)) {
		restart(d);
		return false;
	}
	if (chance(d, b->load_fail))
		loaded.result = FLOTILLA_LOAD_FAILED;
	else if (chance(d, b->load_oom))
		loaded.result = FLOTILLA_LOAD_OOM;
	else
		loaded.load_ms = lognormal(d, &b->load_ms);
	d->load_failures += loaded.result != FLOTILLA_LOADED;
	flotilla_load_end(d->flotilla, model, &loaded);
	return loaded.result == FLOTILLA_LOADED;
}

/* Requests until the user has enough or the app has crashed. */
static void use(struct sim_device *d, const struct profile_behaviour *b)
{
	const char *model = d->world->profile->model;
	const int64_t requests = exponential(d, d->class->requests_per_session);
	d->sessions++;
	flotilla_event(d->flotilla, model, "sessions", 1);
	for (int64_t i = 0; i < requests; i++) {
		flotilla_event(d->flotilla, model, "requests", 1);
		if (chance(d, b->crash)) {
			flotilla_event(d->flotilla, model, "crash", 1);
			d->crashes++;
			return;
		}
		flotilla_first_token(d->flotilla, model, lognormal(d, &b->ttft_ms));
		flotilla_event(d->flotilla, model, chance(d, b->timeout) ? "err.timeout" : "ok", 1);
	}
}

static void session(struct sim_device *d, int64_t now)
{
	struct flotilla_model model;
	const double mean = DAY_S / (d->class->sessions_per_day * d->factor);
	d->next_session = now + exponential(d, mean < 1e9 ? mean : 1e9);
	if (!want(d, &model, now) || !model.variant)
		return;
	const struct profile_behaviour *b = profile_behaviour(
		d->world->profile, d->class->name, model.variant);
	if (load(d, b))
		use(d, b);
}

/* ---- the device ---- */

int sim_device_init(struct sim_device *d, const struct sim_world *world,
		    const struct profile_class *class, unsigned index, unsigned in_class,
		    void *curl, int64_t first_s, struct err *err)
{
	const int64_t now = sim_now(world);
	*d = (struct sim_device){.world = world, .class = class, .index = index, .curl = curl,
				 .random = world->seed * 0x2545f4914f6cdd1dU + index};
	d->factor = exp(class->spread * normal(d) - class->spread * class->spread / 2);
	d->full = in_class < (unsigned)class->full;
	d->mortal = chance(d, class->killed);
	d->kib_s = chance(d, class->slow) ? class->slow_kib_s : class->link_kib_s;
	d->wake = now + (int64_t)(uniform(d) * (double)first_s);
	d->online_until = class->offline > 0
				  ? now + exponential(d, (double)class->offline_s *
								 (1 / class->offline - 1))
				  : INT64_MAX;
	d->next_session = d->wake + exponential(d, DAY_S / (class->sessions_per_day * d->factor +
							    1e-9));
	d->next_want = INT64_MAX;
	d->next_kill = d->mortal ? now + exponential(d, DAY_S) : INT64_MAX;
	return open_app(d, err);
}

void sim_device_done(struct sim_device *d)
{
	if (d->flotilla)
		add_stats(d);
	flotilla_close(d->flotilla);
	d->flotilla = NULL;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void poll(struct sim_device *d, int64_t now)
{
	struct flotilla_model model;
	const int code = flotilla_poll(d->flotilla);
	if (code < 0)
		note_error(d, "poll", code);
	else
		want(d, &model, now);
}

void sim_device_step(struct sim_device *d)
{
	struct flotilla_model model;
	const int64_t now = sim_now(d->world);
	if (!d->flotilla) { /* it could not be opened again after a kill */
		d->wake = INT64_MAX;
		return;
	}
	if (now >= flotilla_next_poll(d->flotilla))
		poll(d, now);
	if (now >= flotilla_next_wake(d->flotilla)) {
		const int code = flotilla_flush(d->flotilla);
		if (code < 0)
			note_error(d, "flush", code);
	}
	if (now >= d->next_want)
		want(d, &model, now);
	if (now >= d->next_session)
		session(d, now);
	if (d->flotilla && now >= d->next_kill) {
		restart(d);
		d->next_kill = now + exponential(d, DAY_S);
	}
	d->wake = d->flotilla ? least(flotilla_next_wake(d->flotilla),
				      least(d->next_want, least(d->next_session, d->next_kill)))
			      : INT64_MAX;
	if (d->wake <= now)
		d->wake = now + 1;
}
