/* internal.h -- what a handle holds, for the files of sdk/ only.
 * Data goes one way: trust.c (what may be believed) -> choose.c (what to run) -> install.c, fetch.c
 * (have it) -> use.c (what happened) -> report.c (tell it); state.c keeps all of it.
 * Threads: as flotilla.h. */
#ifndef SDK_INTERNAL_H
#define SDK_INTERNAL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/attrs.h"
#include "manifest/bucket.h"
#include "manifest/doc.h"
#include "manifest/publishers.h"
#include "manifest/tuf.h"
#include "sdk/flotilla.h"
#include "store/recipe.h"
#include "telemetry/metric.h"
#include "telemetry/sketch.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define SDK_MODELS 8
#define SDK_NAME 65
#define SDK_VARIANT 200
#define SDK_PATH 1024
#define SDK_DIR_MAX 500 /* of state_dir: models lie below it */
#define SDK_COUNTERS 32	  /* at least as many as the metric table has */
#define SDK_HISTOGRAMS 8
#define SDK_QUEUE 256	  /* reports that wait to be sent */
#define SDK_STRIKES 2	  /* deaths while loading before a variant is given up */

/* What happened to a model in one span of time: a window, a rollout's W windows, a day. */
struct tally {
	uint32_t used;	/* windows used */
	uint32_t counts[SDK_COUNTERS];
	uint32_t hits[SDK_COUNTERS]; /* windows with any */
	uint16_t hists[SDK_HISTOGRAMS][SKETCH_BUCKETS];
};

/* A variant that is whole on this device. */
struct installed {
	char variant[SDK_VARIANT]; /* "": none */
	char dir[SDK_PATH];
	char file[MANIFEST_FILE_NAME + 1];
	char via[16];	    /* "delta", "chunks", "full", "cache" */
	int64_t loaded;	    /* when it was first loaded well; 0: never */
	int64_t floor;	    /* what its publisher said; it is the model's once this is stable */
};

/* The publishers that the trusted index names, and the envelope that was read last. */
struct vouching {
	struct arena *arena; /* of list */
	struct publisher_list list;
	struct digest list_digest;
	bool known;
	struct buf envelope;
	struct digest envelope_digest;
};

/* This device's part in one rollout. */
struct entry {
	char rollout[SDK_NAME];	   /* "": none */
	char variant[SDK_VARIANT]; /* of the arm: what it is to run */
	unsigned stage;
	bool candidate;
	int64_t entered; /* start of the slot */
	bool outcome_sent, summary_sent;
	int64_t left; /* when the arm's variant went from this device; 0: it has not */
	bool live; /* the arm's variant was loaded well: its windows count */
	int64_t first_window; /* start of the first whole window after entering */
};

struct model_state {
	char name[SDK_NAME];
	struct installed stable, candidate;
	int64_t floor; /* highest floor of any that was stable: nothing older is installed */
	struct entry entry;
	char given_up[SDK_VARIANT + SDK_NAME]; /* "rollout variant" that failed to load twice */
	char loading[SDK_VARIANT];	       /* marker: load_begin without load_end */
	unsigned strikes;
	char current[SDK_VARIANT]; /* what load_begin() loaded last */
	int64_t window;		   /* start of the one that tally counts; 0: none */
	int64_t day;		   /* likewise */
	int64_t day_wait;	   /* how long after its end it is told at the latest */
	bool window_any;	   /* something happened in it */
	struct tally in_window, in_rollout, in_day;
};

struct queued {
	int64_t due;
	char *text; /* owned; a report's JSON */
	bool day_first;
};

struct flotilla {
	/* options, copied */
	char *url, *channel, *state_dir, *ingest_token, *shared_cache_dir;
	struct flotilla_options o; /* its strings are not used */
	struct arena *own;	   /* attributes and runtimes live here */
	struct attrs attrs;
	struct runtime *runtimes;
	unsigned runtime_count;
	char runtime[64]; /* "llama.cpp/4000", for reports; "": none */
	void *own_curl; /* when the transport is ours alone */

	char error[400];

	/* what is trusted */
	struct tuf_trust index, repo;
	char index_etag[80], repo_etag[80];
	char embedded[DIGEST_HEX]; /* digest of the root from which all that was reached */
	int64_t index_version;	 /* of the rules that chose class */
	char class[SDK_NAME];
	struct vouching vouching;
	struct arena *manifest_arena;
	unsigned *manifest_users; /* handles that hold it; in the arena */
	struct manifest manifest;
	bool has_manifest;
	int64_t newest_signed; /* latest time that a signed document proved */
	int64_t clock_offset;  /* server's time minus ours, from Date */
	bool answered;	       /* some server, since we were opened: the clock is as good as it gets */

	/* what is here */
	uint8_t secret[BUCKET_SECRET_LEN];
	struct model_state models[SDK_MODELS];
	unsigned model_count;
	struct queued queue[SDK_QUEUE];
	unsigned queue_len;
	int64_t last_day;	/* UTC day of the last usage report */
	int64_t next_poll, not_before; /* not_before: the server asked to wait, or back-off */
	unsigned failures;	/* polls in a row */
	int64_t timeout_ms;	/* of small requests; 0: the usual */
	int64_t flush_after;	/* back-off of reports alone */
	unsigned flush_failures;
	bool dirty;		/* state differs from what is saved */
	struct flotilla_stats stats;
	struct fetching *fetching; /* a download under way; fetch.c's */
	unsigned ways;		   /* that chunks of the install under way were had: bits of enum way */
	int share_fd;		   /* lock on a shared cache while filling it; -1: none */
};

/* ---- client.c ---- */
int sdk_fail(struct flotilla *f, int code, const struct err *err); /* keeps the text, gives code */
int sdk_say(struct flotilla *f, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int64_t sdk_now(const struct flotilla *f);   /* the app's clock */
int64_t sdk_event_time(const struct flotilla *f); /* corrected by the server's Date */
int64_t sdk_backoff(unsigned failures); /* seconds until another try: a minute, two, four ... */
void sdk_log(struct flotilla *f, const char *text);
int sdk_get(struct flotilla *f, const struct flotilla_request *request,
	    struct flotilla_response *response); /* counts, corrects the clock */
/* GET url-path whole into buf (bounded by buf->max).  The HTTP status, or a code below 0. */
int sdk_get_buf(struct flotilla *f, const char *path, const char *etag, struct buf *buf,
		struct flotilla_response *response);
struct model_state *sdk_model(struct flotilla *f, const char *name); /* made when absent; NULL: full */

/* ---- trust.c ---- */
int trust_poll(struct flotilla *f);
int trust_open(struct flotilla *f); /* the embedded root, and what was stored */
int trust_manifest(struct flotilla *f); /* parse the trusted targets */
bool trust_fresh(const struct flotilla *f); /* whole, and not expired */
void trust_forget_manifest(struct flotilla *f);
/* Who verified what this handle trusts: itself, but for simulations. */
static inline const struct flotilla *trust_verifier(const struct flotilla *f)
{
	return f->o.verified_by ? f->o.verified_by : f;
}

/* A file that the index names into buf, of max bytes at most; verified. */
int trust_target(struct flotilla *f, const char *target, int64_t max, struct buf *buf);

/* ---- vouch.c ---- */
int vouch_update(struct flotilla *f); /* the list that the trusted index names now */
void vouch_load(struct flotilla *f);  /* the stored one, when it is still that */
void vouch_forget(struct flotilla *f);
/* Whether this variant may be installed: signed by a publisher for this channel, not below the
 * floor.  *ret_floor: what the publisher says of releases before it; 0 without a publisher. */
int vouch_variant(struct flotilla *f, struct model_state *m, const struct manifest_variant *v,
		  int64_t *ret_floor);

/* ---- choose.c ---- */
struct choice {
	const struct manifest_variant *variant; /* NULL: nothing fits; why says so */
	const struct manifest_model *model;
	bool candidate;	   /* it is a rollout's candidate */
	bool may_enter;	   /* candidate: enters now if it has not */
	int64_t not_before; /* spread: not to be installed earlier; 0: now */
	struct err why;
};
void choose(struct flotilla *f, const char *model, struct choice *ret_choice);
/* Control enters under the conditions under which a candidate does. */
void choose_enter_control(struct flotilla *f, struct model_state *m);

/* ---- fetch.c ---- */
/* Bring one file of a variant to path, a slice at a time.  OK, AGAIN, or an error. */
int fetch_file(struct flotilla *f, const struct manifest_file *file, const char *path);
/* The same where there is no room beside the file at old_path, which becomes it and is gone from then
 * on.  E_DISK, and nothing has happened, when there is no delta from it. */
int fetch_over(struct flotilla *f, const struct manifest_file *file, const char *path,
	       const char *old_path);
/* Simulation: read and verify one chunk of it, no more. */
int fetch_probe(struct flotilla *f, const struct manifest_file *file);
void fetch_drop(struct flotilla *f);
/* /v1/KIND/NAME whole, at most buf->max bytes; not verified. */
int fetch_blob(struct flotilla *f, const char *kind, const struct digest *name, struct buf *buf);
#define RECIPE_SUFFIX ".recipe" /* beside each file lies its recipe */
/* Call each() with the recipe, and its name, of every file that lies whole in dir, until it returns not
 * 0: that. */
typedef int fetch_each(void *arg, const char *path, const struct recipe *recipe,
		       const struct digest *name);
int fetch_recipes(const char *dir, fetch_each *each, void *arg);

/* ---- install.c ---- */
/* over: what may be turned into it when there is no room for both; NULL: nothing. */
int install_variant(struct flotilla *f, const struct manifest_variant *variant,
		    const struct installed *over, struct installed *ret_installed);
/* OK, or LATER: by the signed policy and the app. */
int install_may_download(struct flotilla *f, const struct manifest_variant *variant);
/* The candidate goes, and with it this device's part in the rollout. */
void install_abandon(struct flotilla *f, struct model_state *m);
/* One of m's; forgotten durably, then removed. */
void install_remove(struct flotilla *f, struct model_state *m, struct installed *installed);
void install_place(struct flotilla *f, struct installed *installed); /* its dir, or empty */
int64_t install_room(const struct flotilla *f); /* bytes free for models; -1: not known */
/* Bytes that its files take already, whole or in part. */
int64_t install_held(const struct flotilla *f, const struct manifest_variant *variant);
void share_unlock(struct flotilla *f);

/* ---- use.c ---- */
/* Become part of the rollout, in that arm, with that variant: once, before any download. */
void use_enter(struct flotilla *f, struct model_state *m, const struct manifest_model *model,
	       bool candidate, const char *variant);
void use_roll(struct flotilla *f); /* windows and days that have ended become reports */
int64_t use_next(const struct flotilla *f); /* when the next of them will, by the app's clock */
int64_t use_day_wait(void); /* drawn anew for each day, and at each start */

/* ---- report.c ---- */
void report_enter(struct flotilla *f, struct model_state *m);
void report_outcome(struct flotilla *f, struct model_state *m, const char *result,
		    const struct flotilla_loaded *loaded, const char *variant, const char *via);
void report_window(struct flotilla *f, struct model_state *m);
void report_summary(struct flotilla *f, struct model_state *m);
void report_usage(struct flotilla *f, struct model_state *m);
int report_flush(struct flotilla *f);

/* ---- state.c ---- */
int state_load(struct flotilla *f);
int state_save(struct flotilla *f); /* when dirty */
int state_write(struct flotilla *f, const char *name, const void *bytes, size_t len);
int state_read(struct flotilla *f, const char *name, struct buf *buf, struct err *err);
void state_remove(struct flotilla *f, const char *name);

#endif
