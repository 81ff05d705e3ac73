/* Downloads and deltas interrupted at random, over and over: by death, cut connections, bodies that end
 * early, wrong bytes, 200 instead of 206, another range than was asked for.  In the end there is the new
 * file, whole, and each interruption has cost one chunk at the most.
 * INTERRUPTIONS=10000 SEED=n test_sdk_interrupted */
#include "base/chance.h"
#include "store/chunkmap.h"
#include "store/delta.h"
#include "tests/support/sdk_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define TENSORS 24
#define TABLE (DELTA_HEAD + (TENSORS + 1) * DELTA_ENTRY)
/* What may be fetched in vain: a chunk as a pack has it, and what had arrived with its last byte. */
#define CHUNK_COST (FAKE_PIECE + 1024 + 3000)

/* A killed process loses nothing that is written, and thousands of syncs would take long. */
int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

int fsync(int fd)
{
	(void)fd;
	return 0;
}

/* ---- what goes wrong ---- */

enum wrong {
	WRONG_CUT,   /* the connection breaks */
	WRONG_SHORT, /* the body ends early, and nobody says so */
	WRONG_BYTE,
	WRONG_WHOLE, /* 200 */
	WRONG_RANGE, /* what begins elsewhere */
	WRONG_DEATH, /* of the process, while bytes arrive */
	WRONG_KILLED, /* at any instant */
	WRONGS
};

/* Shared with the process that may die. */
struct shared {
	uint64_t useful; /* bytes of chunks that arrived, where they were wanted */
	uint64_t deaths, hits[WRONGS];
};

struct wire {
	struct fake_server *s;
	struct shared *shared;
	const struct flotilla_request *q;
	struct flotilla_response *r;
	enum wrong wrong;
	int64_t at;	/* of the bytes of this process that it strikes at; 0: never */
	int64_t passed; /* so far */
	int64_t begun;	/* bytes of this answer */
	bool ended;	/* this answer, early */
};

static bool is_chunks(const struct flotilla_request *q)
{
	if (strstr(q->url, "/v1/deltas/"))
		return q->to != TABLE - 1;
	return strstr(q->url, "/v1/packs/") || strstr(q->url, "/v1/blobs/");
}

static int hand_on(struct wire *w, const uint8_t *bytes, size_t len)
{
	const int64_t wanted = w->q->from - (w->r->range_from < 0 ? w->begun : w->q->from);
	w->shared->useful += wanted <= 0 ? len : 0;
	w->begun += (int64_t)len;
	return w->q->on_body(w->q->arg, bytes, len);
}

static int strike(struct wire *w, const uint8_t *bytes, size_t len)
{
	uint8_t copy[4096];
	w->shared->hits[w->wrong]++;
	switch (w->wrong) {
	case WRONG_DEATH:
		kill(getpid(), SIGKILL);
		return 1;
	case WRONG_BYTE:
		memcpy(copy, bytes, len);
		copy[len / 2] ^= 1;
		return hand_on(w, copy, len);
	default:
		w->ended = true;
		return 1;
	}
}

static int on_wire(void *arg, const void *bytes, size_t len)
{
	struct wire *w = arg;
	const int64_t before = w->passed;
	w->passed += (int64_t)len;
	if (w->at && w->wrong != WRONG_WHOLE && w->wrong != WRONG_RANGE && before < w->at &&
	    w->passed >= w->at)
		return strike(w, bytes, len);
	return hand_on(w, bytes, len);
}

/* These two concern a whole answer: the first after the byte at which they strike. */
static bool strikes_answer(struct wire *w)
{
	if (!w->at || w->passed < w->at || (w->wrong != WRONG_WHOLE && w->wrong != WRONG_RANGE))
		return false;
	w->at = 0;
	w->shared->hits[w->wrong]++;
	return true;
}

static int transport(void *arg, const struct flotilla_request *q, struct flotilla_response *r)
{
	struct wire *w = arg;
	struct flotilla_request mine = *q;
	if (!is_chunks(q))
		return fake_transport(w->s, q, r);
	w->q = q;
	w->r = r;
	w->begun = 0;
	w->ended = false;
	mine.on_body = on_wire;
	mine.arg = w;
	if (strikes_answer(w)) {
		if (w->wrong == WRONG_WHOLE)
			mine.to = -1;
		else
			mine.from += 1 + (mine.to - mine.from) / 2;
	}
	const int rc = fake_transport(w->s, &mine, r);
	return w->ended && w->wrong == WRONG_CUT ? -1 : rc;
}

/* ---- one process ---- */

static uint64_t chance; /* splitmix64's state */

static uint64_t random_below(uint64_t n)
{
	return chance_next(&chance) % n;
}

/* Until it is done, fails, or dies: true when it is done. */
static bool process(struct fixture *t, struct wire *w, unsigned lifetime_us)
{
	fflush(NULL);
	const pid_t pid = fork();
	if (!pid) {
		const struct itimerval timer = {{0, 0}, {0, (suseconds_t)lifetime_us}};
		struct flotilla *device;
		struct flotilla_model model;
		t->options.transport = transport;
		t->options.transport_arg = w;
		signal(SIGALRM, SIG_DFL);
		setitimer(ITIMER_REAL, &timer, NULL);
		int code = flotilla_open(&device, &t->options);
		for (unsigned i = 0; i < 200 && !code; i++) {
			code = flotilla_want(device, FAKE_MODEL, &model);
			if (code != FLOTILLA_AGAIN)
				_exit(code == FLOTILLA_OK ? 0 : 1);
			code = 0;
		}
		_exit(2);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		ck_assert(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGALRM);
		w->shared->deaths++;
		w->shared->hits[WRONG_KILLED] += WTERMSIG(status) == SIGALRM;
		return false;
	}
	ck_assert_int_lt(WEXITSTATUS(status), 2);
	return !WEXITSTATUS(status);
}

/* ---- stories ---- */

static const struct story {
	const char *name;
	unsigned note; /* of the new file; the old one's is 10 */
	bool delta, in_place, raw;
} stories[] = {
	{"packs", 10, false, false, false},
	{"a delta", 200, true, false, false},
	{"in place", 10, true, true, false},
	{"in place, all moved", 3000, true, true, false},
	{"the raw file", 10, false, false, true},
};

static void only_raw(struct fixture *t, const struct manifest_variant *v)
{
	struct err err;
	const struct fake_doc *doc = fake_get_named(t->s, "maps", &v->files[0].recipe);
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO_BUF struct buf bytes = BUF_INIT(CHUNKMAP_BYTES_MAX);
	ck_assert(!chunkmap_parse(&map, doc->bytes, doc->len, &err));
	for (uint32_t i = 0; i < map->count; i++)
		map->chunks[i].codec = 99;
	ck_assert_msg(!chunkmap_encode(map, &bytes, &err), "%s", err.text);
	fake_put_named(t->s, "maps", &v->files[0].recipe, &bytes);
	fake_raw(t->s, v);
}

static void has(struct fixture *t, const struct buf *want)
{
	char path[600];
	struct err err;
	AUTO_BUF struct buf have = BUF_INIT(16 << 20);
	opens(t);
	ck_assert_int_eq(wants(t), FLOTILLA_OK);
	snprintf(path, sizeof(path), "%s/model.gguf", t->model.path);
	ck_assert_msg(!file_read(path, &have, &err), "%s", err.text);
	ck_assert_uint_eq(have.len, want->len);
	ck_assert_mem_eq(have.data, want->data, have.len);
	flotilla_close(t->device);
}

/* The device has the old model, is told of the new one, and is closed. */
static void prepare(struct fixture *t, const struct story *story, struct buf *new)
{
	AUTO_BUF struct buf old = BUF_INIT(16 << 20);
	fake_model(&old, TENSORS, 1, 0, 10);
	fake_model(new, TENSORS, 1, 40, story->note);
	const struct manifest_variant *from = fake_variant_bytes(t->s, "assistant@5.0.0/f16", &old);
	const struct manifest_variant *to = fake_variant_bytes(t->s, "assistant@5.1.0/f16", new);
	t->options.slice_bytes = 6 * FAKE_PIECE;
	reopens(t);
	publish(t, from, NULL);
	runs(t, from);
	if (story->delta)
		fake_delta(t->s, from, to);
	if (story->raw)
		only_raw(t, to);
	publish(t, to, NULL);
	t->options.in_place = story->in_place;
	t->options.disk_free_mib = story->in_place ? 64 : 0;
	flotilla_close(t->device);
}

/* Bytes of chunks that the story takes when nothing goes wrong. */
static uint64_t undisturbed(const struct story *story, struct shared *shared)
{
	FIXTURE(t);
	AUTO_BUF struct buf new = BUF_INIT(16 << 20);
	struct wire wire = {.s = t.s, .shared = shared};
	prepare(&t, story, &new);
	const uint64_t before = shared->useful;
	ck_assert(process(&t, &wire, 0));
	const uint64_t bytes = shared->useful - before;
	has(&t, &new);
	opens(&t); /* for end() */
	return bytes;
}

/* One download with as many interruptions as it takes; how many. */
static unsigned disturbed(const struct story *story, struct shared *shared, uint64_t bytes)
{
	FIXTURE(t);
	AUTO_BUF struct buf new = BUF_INIT(16 << 20);
	unsigned interruptions = 0;
	prepare(&t, story, &new);
	const uint64_t before = shared->useful;
	for (bool done = false; !done; interruptions++) {
		const enum wrong wrong = (enum wrong)random_below(WRONGS);
		struct wire wire = {.s = t.s, .shared = shared, .wrong = wrong,
				    .at = wrong == WRONG_KILLED ? 0 : 1 + (int64_t)random_below(bytes / 8)};
		done = process(&t, &wire, wrong == WRONG_KILLED ? 100 + (unsigned)random_below(4000) : 0);
		ck_assert_uint_lt(interruptions, 2000);
	}
	const uint64_t cost = shared->useful - before;
	ck_assert_msg(cost <= bytes + interruptions * (uint64_t)CHUNK_COST,
		      "%s: %llu bytes instead of %llu after %u interruptions", story->name,
		      (unsigned long long)cost, (unsigned long long)bytes, interruptions);
	has(&t, &new);
	opens(&t);
	return interruptions;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(test_sdk_interrupted)
{
	const uint64_t wanted = setting("INTERRUPTIONS", 200), seed = setting("SEED", 1);
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t done = 0, files = 0, bytes[COUNT_OF(stories)];
	ck_assert(shared != MAP_FAILED);
	chance = seed;
	for (unsigned i = 0; i < COUNT_OF(stories); i++)
		bytes[i] = undisturbed(&stories[i], shared);
	for (; done < wanted; files++)
		done += disturbed(&stories[files % COUNT_OF(stories)], shared,
				  bytes[files % COUNT_OF(stories)]);
	printf("seed %llu: %llu processes, %llu died, %llu files whole; cut %llu, short %llu, wrong byte "
	       "%llu, 200 %llu, other range %llu, death %llu, killed %llu\n",
	       (unsigned long long)seed, (unsigned long long)done, (unsigned long long)shared->deaths,
	       (unsigned long long)files, (unsigned long long)shared->hits[WRONG_CUT],
	       (unsigned long long)shared->hits[WRONG_SHORT],
	       (unsigned long long)shared->hits[WRONG_BYTE],
	       (unsigned long long)shared->hits[WRONG_WHOLE],
	       (unsigned long long)shared->hits[WRONG_RANGE],
	       (unsigned long long)shared->hits[WRONG_DEATH],
	       (unsigned long long)shared->hits[WRONG_KILLED]);
	for (unsigned i = 0; i < WRONGS; i++)
		ck_assert_uint_gt(shared->hits[i], 0);
	munmap(shared, sizeof(*shared));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sdk_interrupted");
	TCase *all = tcase_create("all");
	tcase_set_timeout(all, 7200);
	tcase_add_test(all, test_sdk_interrupted);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
