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
	struct sim_scout *scouts; /* one a class, for devices that believe it */
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
	const int64_t ms = own < SLEEP_MOST_MS * w->speed ? own * 1000 / w->speed : SLEEP_MOST_MS;
	if (own <= 0)
		return 0;
	return ms < 1 ? 1 : ms < SLEEP_MOST_MS ? ms : SLEEP_MOST_MS;
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
		c->scouts = calloc(f->world->profile->class_count, sizeof(*c->scouts));
		f->curls[i] = flotilla_curl_new();
		if (!c->devices || !c->heap || !c->scouts || !f->curls[i])
			return err_nomem(err);
	}
	return f->crews && f->curls ? 0 : err_nomem(err);
}

/* The crew's scout of a class, made for the first device that believes it. */
static int scout_of(struct crew *c, void *curl, unsigned class, struct sim_scout **ret_scout,
		    struct err *err)
{
	const struct sim_world *w = c->fleet->world;
	struct sim_scout *scout = &c->scouts[class];
	if (!scout->flotilla &&
	    sim_scout_init(scout, w, &w->profile->classes[class], curl, err))
		return -1;
	*ret_scout = scout;
	return 0;
}

static int make_device(struct crew *c, void *curl, unsigned class, unsigned index,
		       unsigned in_class, int64_t first_s, struct err *err)
{
	const struct sim_world *w = c->fleet->world;
	struct sim_device *d = &c->devices[c->count];
	struct sim_scout *scout = NULL;
	if (w->trusting && scout_of(c, curl, class, &scout, err))
		return -1;
	*d = (struct sim_device){.world = w, .class = &w->profile->classes[class], .index = index,
				 .curl = curl, .scout = scout};
	c->heap[c->count] = c->count;
	c->count++;
	return sim_device_init(d, in_class, first_s, err);
}

/* Devices go to the threads in turn, so that every thread has some of each class; those who believe a
 * scout in blocks, so that few are needed. */
static int make_devices(struct fleet *f, int64_t first_s, struct err *err)
{
	const struct profile *p = f->world->profile;
	unsigned index = 0;
	const uint64_t total = total_devices(p);
	for (unsigned k = 0; k < p->class_count; k++)
		for (unsigned i = 0; i < (unsigned)p->classes[k].devices; i++, index++) {
			const unsigned crew = f->world->trusting
						      ? (unsigned)(index * (uint64_t)f->crew_count / total)
						      : index % f->crew_count;
			if (make_device(&f->crews[crew], f->curls[crew], k, index, i, first_s, err))
				return -1;
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
		for (unsigned k = 0; c->scouts && k < f->world->profile->class_count; k++)
			sim_scout_done(&c->scouts[k]);
		pthread_mutex_destroy(&c->lock);
		free(c->scouts);
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

/* Sums of a class; those of flotilla_stats are of all lives of the app. */
struct class_sum {
	uint64_t devices, errors, returned, returned_chunks, sessions, crashes, load_failures, kills,
		bricked;
	struct flotilla_stats stats;
	json_t *running; /* {variant: devices} */
};

static void count_device(struct class_sum *sum, const struct sim_device *d)
{
	struct flotilla_stats now = {0}, *s = &sum->stats;
	if (d->flotilla)
		flotilla_stats(d->flotilla, &now);
	s->polls += d->stats.polls + now.polls;
	s->unchanged += d->stats.unchanged + now.unchanged;
	s->bytes += d->stats.bytes + now.bytes;
	s->reports += d->stats.reports + now.reports;
	s->report_errors += d->stats.report_errors + now.report_errors;
	s->full_downloads += d->stats.full_downloads + now.full_downloads;
	s->shared_downloads += d->stats.shared_downloads + now.shared_downloads;
	sum->devices++;
	sum->errors += d->errors;
	sum->returned += d->returned;
	sum->returned_chunks += d->returned_chunks;
	sum->sessions += d->sessions;
	sum->crashes += d->crashes;
	sum->load_failures += d->load_failures;
	sum->kills += d->kills;
	sum->bricked += d->bricked;
	add(sum->running, d->bricked ? "bricked" : d->variant[0] ? d->variant : "nothing", 1);
}

static void add_class(json_t *doc, const struct profile_class *c, struct class_sum *sum)
{
	json_t *class = member(member(doc, "classes"), c->name);
	const struct flotilla_stats *s = &sum->stats;
	add(doc, "devices", sum->devices);
	add(doc, "polls", s->polls);
	add(doc, "unchanged", s->unchanged);
	add(doc, "bytes", s->bytes);
	add(doc, "reports", s->reports);
	add(doc, "report_errors", s->report_errors);
	add(doc, "errors", sum->errors);
	add(class, "devices", sum->devices);
	json_object_set(class, "running", sum->running);
	add(class, "returned", sum->returned);
	add(class, "returned_chunks", sum->returned_chunks);
	add(class, "downloads", s->full_downloads);
	add(class, "shared", s->shared_downloads);
	add(class, "sessions", sum->sessions);
	add(class, "crashes", sum->crashes);
	add(class, "load_failures", sum->load_failures);
	add(class, "kills", sum->kills);
	add(class, "bricked", sum->bricked);
}

/* Of one thread's devices; how late they are. */
static int64_t count_crew(struct crew *c, struct class_sum *sums, json_t *doc)
{
	const struct profile_class *first = c->fleet->world->profile->classes;
	pthread_mutex_lock(&c->lock);
	for (uint32_t k = 0; k < c->count; k++) {
		const struct sim_device *d = &c->devices[k];
		count_device(&sums[d->class - first], d);
		if (d->error[0])
			json_object_set_new(doc, "last_error", json_string(d->error));
	}
	const int64_t late = c->late_s;
	pthread_mutex_unlock(&c->lock);
	return late;
}

/* A relay is told what devices would be. */
static void add_relay(json_t *doc, struct relay *relay)
{
	uint64_t refused, lost;
	relay_figures(relay, &refused, &lost);
	add(doc, "report_errors", refused + lost);
}

json_t *fleet_figures(struct fleet *f)
{
	json_t *doc = json_object();
	const struct profile *p = f->world->profile;
	struct class_sum sums[PROFILE_CLASSES] = {0};
	int64_t late = 0;
	for (unsigned k = 0; k < p->class_count; k++)
		sums[k].running = json_object();
	__atomic_store_n(&f->counting, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < f->crew_count; i++) {
		const int64_t of_crew = count_crew(&f->crews[i], sums, doc);
		late = of_crew > late ? of_crew : late;
	}
	__atomic_store_n(&f->counting, false, __ATOMIC_RELAXED);
	for (unsigned k = 0; k < p->class_count; k++) {
		add_class(doc, &p->classes[k], &sums[k]);
		json_decref(sums[k].running);
	}
	if (doc && f->world->relay)
		add_relay(doc, f->world->relay);
	if (doc)
		json_object_set_new(doc, "late_s", json_integer(late));
	return doc;
}
