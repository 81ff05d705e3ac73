#include "cli/simulate.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLEEP_MOST_MS 200

/* A thread and its devices; lock guards the devices while one is stepped or counted. */
struct crew {
	struct fleet *fleet;
	pthread_t thread;
	pthread_mutex_t lock;
	struct sim_device *devices;
	uint32_t *heap; /* indexes of devices, least wake first */
	uint32_t count;
	int64_t late_s; /* lately at the most */
	bool started;
};

struct fleet {
	const struct sim_world *world;
	struct crew *crews;
	unsigned crew_count;
	void **curls;
	bool stop;     /* atomic */
	bool counting; /* atomic: somebody waits for the crews' locks, which are not fair */
};

/* ---- a heap of devices by wake ---- */

static bool before(const struct crew *c, uint32_t a, uint32_t b)
{
	return c->devices[c->heap[a]].wake < c->devices[c->heap[b]].wake;
}

static void swap(struct crew *c, uint32_t a, uint32_t b)
{
	const uint32_t keep = c->heap[a];
	c->heap[a] = c->heap[b];
	c->heap[b] = keep;
}

static void sink(struct crew *c, uint32_t at)
{
	for (;;) {
		uint32_t least = at;
		for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < c->count; child++)
			if (before(c, child, least))
				least = child;
		if (least == at)
			return;
		swap(c, at, least);
		at = least;
	}
}

static void heap_make(struct crew *c)
{
	for (uint32_t i = c->count / 2 + 1; i-- > 0;)
		sink(c, i);
}

/* ---- threads ---- */

/* Real milliseconds until own second wake. */
static int64_t wait_ms(const struct sim_world *w, int64_t wake)
{
	const int64_t own = wake - sim_now(w);
	const int64_t ms = own <= 0 ? 0 : own < SLEEP_MOST_MS * w->speed ? own * 1000 / w->speed
									  : SLEEP_MOST_MS;
	return ms < SLEEP_MOST_MS ? ms : SLEEP_MOST_MS;
}

static void note_late(struct crew *c, int64_t late)
{
	/* The worst of lately: it fades. */
	c->late_s = late > c->late_s ? late : c->late_s - c->late_s / 64;
}

static void *crew_main(void *arg)
{
	struct crew *c = arg;
	const struct sim_world *w = c->fleet->world;
	while (!__atomic_load_n(&c->fleet->stop, __ATOMIC_RELAXED)) {
		struct sim_device *d = &c->devices[c->heap[0]];
		const int64_t ms = wait_ms(w, d->wake);
		if (ms || __atomic_load_n(&c->fleet->counting, __ATOMIC_RELAXED)) {
			clock_sleep_ms(ms ? ms : 1);
			continue;
		}
		pthread_mutex_lock(&c->lock);
		note_late(c, sim_now(w) - d->wake);
		sim_device_step(d);
		sink(c, 0);
		pthread_mutex_unlock(&c->lock);
	}
	return NULL;
}

/* ---- starting and ending ---- */

static unsigned total_devices(const struct profile *p)
{
	int64_t total = 0;
	for (unsigned i = 0; i < p->class_count; i++)
		total += p->classes[i].devices;
	return (unsigned)total;
}

static int make_crews(struct fleet *f, unsigned devices, struct err *err)
{
	const uint32_t room = devices / f->crew_count + 1;
	f->crews = calloc(f->crew_count, sizeof(*f->crews));
	f->curls = calloc(f->crew_count, sizeof(*f->curls));
	for (unsigned i = 0; f->crews && f->curls && i < f->crew_count; i++) {
		struct crew *c = &f->crews[i];
		c->fleet = f;
		pthread_mutex_init(&c->lock, NULL);
		c->devices = calloc(room, sizeof(*c->devices));
		c->heap = calloc(room, sizeof(*c->heap));
		f->curls[i] = flotilla_curl_new();
		if (!c->devices || !c->heap || !f->curls[i])
			return err_nomem(err);
	}
	return f->crews && f->curls ? 0 : err_nomem(err);
}

/* Devices go to the threads in turn, so that every thread has some of each class. */
static int make_devices(struct fleet *f, int64_t first_s, struct err *err)
{
	const struct profile *p = f->world->profile;
	unsigned index = 0;
	for (unsigned k = 0; k < p->class_count; k++)
		for (unsigned i = 0; i < (unsigned)p->classes[k].devices; i++, index++) {
			struct crew *c = &f->crews[index % f->crew_count];
			if (sim_device_init(&c->devices[c->count], f->world, &p->classes[k], index,
					    i, f->curls[index % f->crew_count], first_s, err))
				return -1;
			c->heap[c->count] = c->count;
			c->count++;
		}
	return 0;
}

static int start_threads(struct fleet *f, struct err *err)
{
	for (unsigned i = 0; i < f->crew_count; i++) {
		struct crew *c = &f->crews[i];
		heap_make(c);
		if (!c->count)
			continue;
		if (pthread_create(&c->thread, NULL, crew_main, c))
			return err_set(err, ERR_SYSTEM, "cannot start %u threads; use --threads",
				       f->crew_count);
		c->started = true;
	}
	return 0;
}

int fleet_start(struct fleet **ret_fleet, const struct sim_world *world, unsigned threads,
		int64_t first_s, struct err *err)
{
	struct fleet *f = calloc(1, sizeof(*f));
	if (!f)
		return err_nomem(err);
	f->world = world;
	f->crew_count = threads;
	if (make_crews(f, total_devices(world->profile), err) || make_devices(f, first_s, err) ||
	    start_threads(f, err)) {
		fleet_free(f);
		return -1;
	}
	*ret_fleet = f;
	return 0;
}

void fleet_free(struct fleet *f)
{
	if (!f)
		return;
	__atomic_store_n(&f->stop, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; f->crews && i < f->crew_count; i++) {
		struct crew *c = &f->crews[i];
		if (c->started)
			pthread_join(c->thread, NULL);
		for (uint32_t k = 0; k < c->count; k++)
			sim_device_done(&c->devices[k]);
		pthread_mutex_destroy(&c->lock);
		free(c->devices);
		free(c->heap);
		flotilla_curl_free(f->curls ? f->curls[i] : NULL);
	}
	free(f->crews);
	free(f->curls);
	free(f);
}

/* ---- figures ---- */

static void add(json_t *object, const char *name, uint64_t n)
{
	const json_int_t had = json_integer_value(json_object_get(object, name));
	json_object_set_new(object, name, json_integer(had + (json_int_t)n));
}

static json_t *member(json_t *object, const char *name)
{
	json_t *found = json_object_get(object, name);
	if (!found) {
		found = json_object();
		json_object_set_new(object, name, found);
	}
	return found;
}

static void count_device(json_t *doc, const struct sim_device *d)
{
	struct flotilla_stats s = d->stats, now = {0};
	json_t *class = member(member(doc, "classes"), d->class->name);
	if (d->flotilla)
		flotilla_stats(d->flotilla, &now);
	add(doc, "devices", 1);
	add(doc, "polls", s.polls + now.polls);
	add(doc, "unchanged", s.unchanged + now.unchanged);
	add(doc, "bytes", s.bytes + now.bytes);
	add(doc, "reports", s.reports + now.reports);
	add(doc, "report_errors", s.report_errors + now.report_errors);
	add(doc, "errors", d->errors);
	add(class, "devices", 1);
	add(member(class, "running"), d->variant[0] ? d->variant : "nothing", 1);
	add(class, "returned", d->returned);
	add(class, "returned_chunks", d->returned_chunks);
	add(class, "downloads", s.full_downloads + now.full_downloads);
	add(class, "shared", s.shared_downloads + now.shared_downloads);
	add(class, "sessions", d->sessions);
	add(class, "crashes", d->crashes);
	add(class, "load_failures", d->load_failures);
	add(class, "kills", d->kills);
	if (d->error[0])
		json_object_set_new(doc, "last_error", json_string(d->error));
}

json_t *fleet_figures(struct fleet *f)
{
	json_t *doc = json_object();
	int64_t late = 0;
	__atomic_store_n(&f->counting, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; doc && i < f->crew_count; i++) {
		struct crew *c = &f->crews[i];
		pthread_mutex_lock(&c->lock);
		late = c->late_s > late ? c->late_s : late;
		for (uint32_t k = 0; k < c->count; k++)
			count_device(doc, &c->devices[k]);
		pthread_mutex_unlock(&c->lock);
	}
	__atomic_store_n(&f->counting, false, __ATOMIC_RELAXED);
	if (doc)
		json_object_set_new(doc, "late_s", json_integer(late));
	return doc;
}
