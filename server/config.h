/* config.h -- what can be set, in one table that yields the file reader, the environment, the
 * flags, --help and the sample file.
 * Precedence: flags (--data-dir D or --data-dir=D) over environment (FLOTILLA_DATA_DIR) over the
 * file (data_dir = D, '#' begins a comment line).
 * Threads: a struct config is const once loaded. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct config {
	char *data_dir;
	char *device_listen, *admin_listen; /* "127.0.0.1:8080", "[::1]:8080", ":8080" */
	char *admin_hosts;		    /* comma-separated names the admin listener answers to */
	char *tls_cert_file, *tls_key_file; /* both or neither; "" = none */
	char *online_seed_file;		    /* "" = data_dir/keys/online.seed */
	char *ingest_token_file;	    /* "" = anyone may report */
	char *proxies;			    /* whose X-Forwarded-For is believed; see client.h */
	char *log_level;
	int64_t loops;	 /* device loops; 0 = one a core, 8 at the most */
	int64_t workers; /* 0 = one a core, 2 at the least */
	int64_t max_connections; /* of the device listener, all loops together */
	int64_t ledger_queue;	 /* operations waiting for the ledger */
	int64_t intake_queue;	 /* reports waiting for the ledger */
	int64_t max_nonces;	 /* reports told apart, over six days */
	int64_t network_rate, network_burst; /* reports of a network; see quota.h */
	int64_t relay_rate;		     /* reports a second of a relay's token */
	int64_t job_queue;	 /* jobs waiting for a worker */
	int64_t max_file_bytes;	 /* of one uploaded file */
	int64_t min_cohort;	 /* devices below which nothing is shown */
	int64_t reserve_mib;	 /* disk kept free for the control plane */
	int64_t clock_speed;	 /* own seconds a real one; development keys only */
	int64_t drain_s;	 /* for requests in flight at shutdown */
	bool insecure_dev;	 /* serve beyond loopback with development keys */
};

struct config_entry; /* a row of the table */

/* What the command line asked for besides values. */
struct config_asked {
	const char *command; /* first word without dashes; NULL: none */
	bool help, version, check, print, dev;
};

/* Defaults, then file (--config FILE or FLOTILLA_CONFIG), environment (environ, "NAME=value",
 * NULL-terminated) and arguments (argv[1..]).  All problems are reported together, one a line, in
 * *problems; -1 if there are any, with *err naming how many. */
int config_load(struct config *config, struct config_asked *asked, int argc,
		const char *const *argv, const char *const *environ_list, struct buf *problems,
		struct err *err) CHECKED;
void config_done(struct config *config);

void config_help(struct buf *out);   /* the flags */
void config_sample(struct buf *out); /* a file that sets every key to its default */

#endif
