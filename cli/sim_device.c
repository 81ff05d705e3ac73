#include "cli/sim_device.h"

#include "base/chance.h"
#include "base/clock.h"
#include "base/file.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define DAY 86400
#define DAY_S ((double)DAY)
#define HOUR_S 3600.0
#define SCOUT_POLL_S 600
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

/* ---- chance: seeded per device, so that a run can be repeated but for the network's timing ---- */

static uint64_t next_random(struct sim_device *d)
{
	return chance_next(&d->random);
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

/* A device's own factor, 1 on average over devices. */
static double own_factor(struct sim_device *d, double sigma)
{
	return sigma > 0 ? exp(sigma * normal(d) - sigma * sigma / 2) : 1;
}

static int64_t exponential(struct sim_device *d, double mean)
{
	const double s = -mean * log(uniform(d));
	return s < 1 ? 1 : s > 1e9 ? 1000000000 : (int64_t)s;
}

/* ---- when it is used ---- */

/* In the course of a day: as much at 15:00 UTC, least at 3:00. */
static bool awake(struct sim_device *d, int64_t now)
{
	const double second = (double)(now % DAY);
	const double from_least = 2 * M_PI * (second - 3 * HOUR_S) / DAY_S;
	return d->class->night <= 0 || !chance(d, d->class->night * (1 + cos(from_least)) / 2);
}

/* When the next session may come, for one who is awake then. */
static int64_t next_session(struct sim_device *d, int64_t now)
{
	const struct profile_class *c = d->class;
	const int64_t begin = d->world->own_ms / 1000;
	const double days = (double)(now - begin) / DAY_S;
	const double a_day = c->sessions_per_day / (1 - c->night / 2) * d->factor *
			     (1 + c->growth * days);
	return now + exponential(d, DAY_S / (a_day + 1e-9));
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

/* A report: lost on its way, to the relay, or to the daemon. */
static int post(struct sim_device *d, const struct flotilla_request *request,
		struct flotilla_response *response)
{
	const struct sim_world *w = d->world;
	const bool lost = chance(d, d->class->lost);
	if (!lost && !w->relay)
		return flotilla_transport_curl(d->curl, request, response);
	*response = (struct flotilla_response){.range_from = -1, .date = -1, .age = -1,
					       .retry_after = -1};
	response->status = lost || relay_take(w->relay, request->post, request->post_len) ? 202 : 503;
	return 0;
}

static int transport(void *arg, const struct flotilla_request *request,
		     struct flotilla_response *response)
{
	struct sim_device *d = arg;
	const int64_t now = sim_now(d->world);
	if (!offline(d, now))
		return request->post ? post(d, request, response)
				     : edge_get(d->world->edge, d->curl, now, request, response);
	snprintf(response->error, sizeof(response->error), "offline, as the profile says");
	return -1;
}

/* ---- scouts ---- */

static int scout_transport(void *arg, const struct flotilla_request *request,
			   struct flotilla_response *response)
{
	struct sim_scout *s = arg;
	return edge_get(s->world->edge, s->curl, sim_now(s->world), request, response);
}

int sim_scout_init(struct sim_scout *s, const struct sim_world *w,
		   const struct profile_class *class, void *curl, struct err *err)
{
	*s = (struct sim_scout){.world = w, .curl = curl};
	const struct flotilla_options options = {
		.url = w->url, .index_root = w->root, .index_root_len = w->root_len,
		.channel = w->profile->channel, .attributes = class->attributes,
		.allow_development = 1, .opt_out = 1, .transport = scout_transport,
		.transport_arg = s, .now = device_now, .now_arg = (void *)(uintptr_t)w};
	if (!flotilla_open(&s->flotilla, &options))
		return 0;
	err_set(err, ERR_INVALID, "the scout of %s: %s", class->name,
		s->flotilla ? flotilla_error(s->flotilla) : "out of memory");
	sim_scout_done(s);
	return -1;
}

void sim_scout_done(struct sim_scout *s)
{
	flotilla_close(s->flotilla);
	s->flotilla = NULL;
}

static void scout_poll(struct sim_scout *s, int64_t now)
{
	if (now < s->next_poll)
		return;
	s->next_poll = flotilla_poll(s->flotilla) < 0 ? now + WANT_AGAIN_S : now + SCOUT_POLL_S;
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
		.os_major = (int)d->os_major, .allow_development = 1,
		.transport = transport, .transport_arg = d, .now = device_now,
		.now_arg = (void *)(uintptr_t)w, .slice_bytes = SLICE_BYTES,
		.disk_free_mib = d->class->disk_free_mib,
		.shared_cache_dir = d->full ? NULL : shared, .secret = secret,
		/* On a fast clock the real network is delay enough. */
		.no_delay = w->speed > 1,
		.verified_by = d->scout ? d->scout->flotilla : NULL,
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

/* It never comes back. */
static void brick(struct sim_device *d)
{
	add_stats(d);
	d->bricked++;
	flotilla_kill(d->flotilla);
	d->flotilla = NULL;
}

static int64_t probe(struct sim_device *d, const struct profile_spread *s)
{
	const double score = s->median + s->sigma * normal(d);
	return s->median <= 0 ? -1 : score < 0 ? 0 : score > 1000 ? 1000 : (int64_t)score;
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
	if (chance(d, b->brick)) {
		brick(d);
		return false;
	}
	if (chance(d, b->load_fail))
		loaded.result = FLOTILLA_LOAD_FAILED;
	else if (chance(d, b->load_oom))
		loaded.result = FLOTILLA_LOAD_OOM;
	else
		loaded.load_ms = lognormal(d, &b->load_ms);
	loaded.probe_pm = probe(d, &b->probe_pm);
	d->load_failures += loaded.result != FLOTILLA_LOADED;
	flotilla_load_end(d->flotilla, model, &loaded);
	return loaded.result == FLOTILLA_LOADED;
}

static void observe(struct sim_device *d, const char *histogram, const struct profile_spread *s,
		    double factor)
{
	if (s->median > 0)
		flotilla_observe(d->flotilla, d->world->profile->model, histogram,
				 (int64_t)((double)lognormal(d, s) * factor));
}

static void event(struct sim_device *d, const char *counter, double p)
{
	if (chance(d, p))
		flotilla_event(d->flotilla, d->world->profile->model, counter, 1);
}

/* One request; whether the app is still there. */
static bool request(struct sim_device *d, const struct profile_behaviour *b)
{
	event(d, "requests", 1);
	if (chance(d, b->crash * d->prone)) {
		event(d, "crash", 1);
		d->crashes++;
		return false;
	}
	observe(d, "ttft_ms", &b->ttft_ms, d->pace);
	observe(d, "energy_mj_1k", &b->energy_mj_1k, d->pace);
	observe(d, "decode_mtps", &b->decode_mtps, 1 / d->pace);
	event(d, chance(d, b->timeout * d->prone) ? "err.timeout" : "ok", 1);
	event(d, "thumb.down", b->thumb_down * d->prone);
	event(d, "regenerate", b->regenerate * d->prone);
	return true;
}

/* Requests until the user has enough or the app has crashed. */
static void use(struct sim_device *d, const struct profile_behaviour *b)
{
	const int64_t requests = exponential(d, d->class->requests_per_session);
	d->sessions++;
	event(d, "sessions", 1);
	for (int64_t i = 0; i < requests && request(d, b); i++)
		;
}

static void session(struct sim_device *d, int64_t now)
{
	struct flotilla_model model;
	d->next_session = next_session(d, now);
	if (!awake(d, now) || !want(d, &model, now) || !model.variant)
		return;
	const struct profile_behaviour *b = profile_behaviour(
		d->world->profile, d->class->name, d->os_major, model.variant);
	if (load(d, b))
		use(d, b);
}

/* ---- the device ---- */

int sim_device_init(struct sim_device *d, unsigned in_class, int64_t first_s, struct err *err)
{
	const struct profile_class *class = d->class;
	const int64_t now = sim_now(d->world);
	d->random = d->world->seed * 0x2545f4914f6cdd1dU + d->index;
	d->os_major = class->os_majors[in_class % class->os_major_count];
	d->factor = own_factor(d, class->spread);
	d->prone = own_factor(d, class->prone);
	d->pace = own_factor(d, class->pace);
	d->full = in_class < (unsigned)class->full;
	d->mortal = chance(d, class->killed);
	d->kib_s = chance(d, class->slow) ? class->slow_kib_s : class->link_kib_s;
	d->wake = now + (int64_t)(uniform(d) * (double)first_s);
	d->online_until = class->offline > 0
				  ? now + exponential(d, (double)class->offline_s *
								 (1 / class->offline - 1))
				  : INT64_MAX;
	d->next_session = next_session(d, d->wake);
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
	if (d->scout)
		scout_poll(d->scout, now);
	const int code = flotilla_poll(d->flotilla);
	if (code < 0)
		note_error(d, "poll", code);
	else
		want(d, &model, now);
}

static void flush(struct sim_device *d)
{
	const int code = flotilla_flush(d->flotilla);
	if (code < 0)
		note_error(d, "flush", code);
}

void sim_device_step(struct sim_device *d)
{
	struct flotilla_model model;
	const int64_t now = sim_now(d->world);
	if (!d->flotilla) { /* bricked, or it could not be opened again after a kill */
		d->wake = INT64_MAX;
		return;
	}
	if (now >= flotilla_next_poll(d->flotilla))
		poll(d, now);
	if (now >= d->next_want)
		want(d, &model, now);
	if (now >= d->next_session)
		session(d, now);
	/* Last, so that what has just happened is told before other devices have their turn. */
	if (d->flotilla && now >= flotilla_next_wake(d->flotilla))
		flush(d);
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
