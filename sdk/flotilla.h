/* flotilla.h -- libflotilla, the device's side of Flotilla.
 *
 * The library is a guest in an app: no threads, no timers, and no networking of its own beyond a
 * default libcurl transport that an app may replace.  It runs when it is called, keeps its state in
 * one directory, and a crash at any instant leaves the old or the new model, never neither.
 *
 *   flotilla_open    with the index root embedded in the app
 *   flotilla_poll    when flotilla_next_poll() says so: fetches and verifies what to run
 *   flotilla_want    -> the path of a model to load; installs it in slices, call again on AGAIN
 *   flotilla_load_begin / flotilla_load_end   around loading it: two deaths in between, and the
 *                    release before it is used again
 *   flotilla_first_token, flotilla_event, flotilla_observe   what happened in use
 *   flotilla_flush   sends anonymous reports that are due
 *   flotilla_close
 *
 * The device matches its own class and bucket; no attribute and no identifier leaves it.  It verifies
 * TUF metadata (theupdateframework.io, 1.0.x) from the embedded root on, refuses what is older,
 * expired, of another class or not what was signed, and then keeps running what is installed.
 *
 * All functions return an enum flotilla_code: 0 and above are no errors.  flotilla_error() has the
 * sentence.  Strings are UTF-8; times are UTC seconds since 1970; a struct flotilla belongs to one
 * thread at a time. */
#ifndef FLOTILLA_H
#define FLOTILLA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum flotilla_code {
	FLOTILLA_OK = 0,
	FLOTILLA_AGAIN = 1,   /* not finished: call again when there is time */
	FLOTILLA_NOTHING = 2, /* nothing is offered here, or nothing fits this device */
	FLOTILLA_LATER = 3,   /* install policy, spread or back-off: see flotilla_next_wake() */

	FLOTILLA_E_ARGUMENT = -1,
	FLOTILLA_E_MEMORY = -2,
	FLOTILLA_E_STATE = -3,	  /* the state directory cannot be read or written */
	FLOTILLA_E_DISK = -4,	  /* no room for the model */
	FLOTILLA_E_NETWORK = -5,  /* unreachable, cut off, or an unexpected answer */
	FLOTILLA_E_SIGNATURE = -6, /* unsigned, or by other keys */
	FLOTILLA_E_ROLLBACK = -7, /* older than what was trusted */
	FLOTILLA_E_EXPIRED = -8,  /* freeze: what the server has is too old */
	FLOTILLA_E_MIX = -9,	  /* documents that do not belong together */
	FLOTILLA_E_MALFORMED = -10, /* not the form of its kind */
	FLOTILLA_E_CLASS = -11,	  /* a document of another channel or class */
	FLOTILLA_E_CONTENT = -12, /* a chunk, recipe or file is not what was signed */
	FLOTILLA_E_TOO_MUCH = -13, /* the server sent more than was signed for */
	FLOTILLA_E_REVOKED = -14, /* what would be used is revoked */
	FLOTILLA_E_DEVELOPMENT = -15, /* signed with development keys, which this build refuses */
	FLOTILLA_E_PUBLISHER = -16, /* no publisher of the index vouches for this variant here */
	FLOTILLA_E_FLOOR = -17,	  /* older than the model's floor on this device */
	FLOTILLA_E_THRESHOLD = -18, /* signed, but by fewer keys than the root asks for */
	FLOTILLA_E_LENGTH = -19,  /* a document shorter or longer than was signed */
	FLOTILLA_E_HASH = -20	  /* a document whose bytes are not what was signed */
};

struct flotilla;

/* ---- transport ---- */

/* One GET or POST.  The body arrives in pieces through on_body, which returns 0 to go on. */
struct flotilla_request {
	const char *url;
	const char *etag;		/* send as If-None-Match; NULL: none */
	int64_t from, to;		/* inclusive byte range; to < 0: no Range header */
	int64_t max_bytes;		/* of the body; what is beyond is not read */
	int64_t timeout_ms;		/* of the whole, when small; 0: only stand-still is limited */
	const char *bearer;		/* Authorization; NULL: none */
	const void *post;		/* body to POST as application/json; NULL: GET */
	size_t post_len;
	int (*on_body)(void *arg, const void *bytes, size_t len);
	void *arg;
};
struct flotilla_response {
	int status;	     /* HTTP status; 0: no answer */
	char etag[80];	     /* "" none */
	int64_t range_from;  /* of Content-Range; -1: none */
	int64_t date, age;   /* Date as UTC seconds, Age in seconds; -1: none */
	int64_t retry_after; /* seconds; -1: none */
	char error[160];     /* why there was no answer */
};
/* 0, or -1 when there was no answer (response->error says why).  Redirects are not followed. */
typedef int flotilla_transport(void *arg, const struct flotilla_request *request,
			       struct flotilla_response *response);
/* The default: libcurl, one connection kept alive for each struct flotilla. */
flotilla_transport flotilla_transport_curl;
/* A connection pool of one for flotilla_transport_curl's arg, to share among handles of one thread. */
void *flotilla_curl_new(void);
void flotilla_curl_free(void *curl);

/* ---- opening ---- */

struct flotilla_options {
	const char *url;	 /* "https://models.example.com": the device listener or a CDN */
	const void *index_root;	 /* the root that `flotillad init` printed, embedded in the app */
	size_t index_root_len;
	const char *channel;	 /* "stable" */
	const char *attributes;	 /* JSON: {"os":"android","os_version":[15],"ram_mib":8192,...} */
	const char *runtimes;	 /* JSON: {"llama.cpp":"4000"}; NULL: none.  Reports name the first */
	const char *state_dir;	 /* the library's own; NULL: nothing outlives close (simulation) */
	const char *ingest_token; /* NULL: none */
	int os_major;		 /* coarse slice in reports: 1 to 10000; else: not known */
	int opt_out;		 /* 1: no reports, and never a candidate before completion */
	int print_only;		 /* 1: reports go to log instead of the network */
	int allow_development;	 /* 1: accept roots of development keys; a release build must not */

	flotilla_transport *transport; /* NULL: flotilla_transport_curl */
	void *transport_arg;
	int64_t (*now)(void *arg); /* UTC seconds; NULL: the system's */
	void *now_arg;
	void (*log)(void *arg, const char *line); /* NULL: silent */
	void *log_arg;
	/* May this be downloaded now?  NULL: always.  metered, charging, idle: the signed policy. */
	int (*may_download)(void *arg, int metered, int charging, int idle, int64_t bytes);
	void *may_arg;

	int64_t slice_bytes;	/* of downloads a flotilla_want(); 0: 8 MiB */
	int64_t disk_free_mib;	/* for models; 0: asked of the file system */
	/* 1: a new stable for which there is no room beside the old one is made out of it, when there is
	 * a delta.  Until that is done there is neither, so the app must have the old one closed when it
	 * calls flotilla_want().  Candidates are never installed so. */
	int in_place;
	/* Simulation only. */
	const char *shared_cache_dir; /* one verified download for many devices of a process */
	const uint8_t *secret;	      /* 16 bytes instead of random ones */
	int no_delay;		      /* 1: reports are due at once */
	/* A handle of the same thread, channel and attributes, whose word is taken: a poll then fetches
	 * nothing but believes what that one verified last.  It must outlive this one. */
	const struct flotilla *verified_by;
	int64_t enter_after_s; /* how long stable must be in use before a rollout is entered; 0: 86,400 */
};
/* Reads the state directory, makes it when it is absent.  Everything in options is copied but
 * callbacks' args. */
int flotilla_open(struct flotilla **ret_flotilla, const struct flotilla_options *options);
void flotilla_close(struct flotilla *flotilla); /* saves; NULL is fine */
/* Simulation and tests: as if the process had died, nothing more is saved.  NULL is fine. */
void flotilla_kill(struct flotilla *flotilla);
const char *flotilla_error(const struct flotilla *flotilla); /* of the last failed call */

/* ---- polling ---- */

/* Fetch what changed and verify it.  On any error what was trusted stays in force and what is
 * installed keeps running. */
int flotilla_poll(struct flotilla *flotilla);
/* When to call flotilla_poll() next; and when there is anything to do at all, poll or flush (a
 * window that ends becomes a report, which is worth most when it is sent soon). */
int64_t flotilla_next_poll(const struct flotilla *flotilla);
int64_t flotilla_next_wake(const struct flotilla *flotilla);
/* The class this device matched; "" before the first poll. */
const char *flotilla_class(const struct flotilla *flotilla);

/* ---- models ---- */

struct flotilla_model {
	const char *path;    /* its directory */
	const char *file;    /* its first file, by name */
	const char *variant; /* "assistant@2.1.0/q4_k_m" */
	int candidate;	     /* 1: of a rollout under way */
}; /* strings live until the next call with the handle */

/* What to load now.  Installs what should run, in slices of options.slice_bytes: on AGAIN *ret_model
 * may already hold what is installed (path NULL: nothing yet).  Also on errors, when an older one
 * is installed. */
int flotilla_want(struct flotilla *flotilla, const char *model, struct flotilla_model *ret_model);

/* ---- using a model ---- */

enum flotilla_result {
	FLOTILLA_LOADED,
	FLOTILLA_LOAD_FAILED,
	FLOTILLA_LOAD_OOM,
	FLOTILLA_PROBE_FAILED
};
struct flotilla_loaded {
	enum flotilla_result result;
	int64_t load_ms, ttft_ms; /* -1: not measured */
	int64_t probe_pm;	  /* probe score per mille; -1: none */
};
/* Before loading what flotilla_want() gave: a marker is written, so that a death is noticed. */
int flotilla_load_begin(struct flotilla *flotilla, const char *model);
int flotilla_load_end(struct flotilla *flotilla, const char *model,
		      const struct flotilla_loaded *loaded);
/* Counters: sessions requests ok crash err.oom err.load err.timeout thermal.severe fallback.cloud
 * cancel regenerate thumb.up thumb.down probe.pass probe.fail route.local route.cloud tokens_out.
 * refused.floor is the library's own.  Histograms: ttft_ms load_ms decode_mtps prefill_mtps peak_mib energy_mj_1k. */
int flotilla_event(struct flotilla *flotilla, const char *model, const char *counter, int64_t n);
int flotilla_observe(struct flotilla *flotilla, const char *model, const char *histogram,
		     int64_t value);
int flotilla_first_token(struct flotilla *flotilla, const char *model, int64_t ms);

/* ---- reports ---- */

/* Send what is due.  LATER: some are not due, or the server asked to wait. */
int flotilla_flush(struct flotilla *flotilla);

/* ---- figures ---- */
struct flotilla_stats {
	uint64_t polls, unchanged; /* timestamp asked for; answered 304 */
	uint64_t bytes;		   /* of bodies received */
	uint64_t reports, report_errors;
	uint64_t full_downloads, shared_downloads;
	uint64_t chunks, chunks_reused; /* received, chunks_delta of them as differences; copied */
	uint64_t chunks_delta;
};
void flotilla_stats(const struct flotilla *flotilla, struct flotilla_stats *ret_stats);

#ifdef __cplusplus
}
#endif

#endif
