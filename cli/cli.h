/* cli.h -- what every command shares: the options before it, the API, how to print.
 * Threads: the main thread. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/err.h"
#include "cli/api.h"
#include "cli/args.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum cli_output { OUTPUT_TABLE, OUTPUT_JSON };

struct cli {
	const char *server, *token_file, *if_version;
	const char *token_from; /* who named token_file: "--token-file" */
	int64_t timeout_s;
	enum cli_output output;
	bool yes, quiet, verbose;
	_Atomic int64_t waits_ms; /* monotonic: cli_waits() last said something */
	struct api *api; /* opened by cli_api() */
};

/* The API, opened on first use; NULL and *ret_exit with a message on stderr otherwise. */
struct api *cli_api(struct cli *cli, int *ret_exit);

/* Print "flotilla: text" and give the exit code that belongs to the error. */
int cli_fail(const struct err *err);
int cli_usage(const char *fmt, ...) PRINTF_LIKE(1, 2); /* prints, gives EXIT_USAGE */

/* A line on stderr unless --quiet: what was done, and what to do next. */
void cli_say(const struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same while waiting, beside a bar; arg is the struct cli.  Four packs that wait for the same daemon say
 * it once.  Any thread. */
void cli_waits(void *arg, const char *text);
/* Ask on a terminal; without one --yes is required.  Whether to go on. */
bool cli_confirm(const struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- printing (stdout) ---- */
struct column {
	const char *title;
	const char *path; /* members joined by dots, from the row */
	enum { COL_TEXT, COL_INT, COL_BYTES, COL_TIME, COL_PPM, COL_REAL } kind;
};
void out_json(const json_t *value);
/* rows: an array of objects. */
void out_table(const json_t *rows, const struct column *columns, unsigned count);
/* The whole document as JSON, or its rows (member "items" when doc is an object) as a table. */
int out_rows(const struct cli *cli, const json_t *doc, const struct column *columns,
	     unsigned count);
/* "1.4 MB" into out. */
void out_bytes(int64_t bytes, char out[static 24]);

/* GET path, print as rows.  The whole of a listing command. */
int cli_list(struct cli *cli, const char *path, const struct column *columns, unsigned count);
/* Send, print the reply as JSON when -o json, else say done. */
int cli_send(struct cli *cli, const char *method, const char *path, const json_t *body,
	     const char *fmt, ...) PRINTF_LIKE(5, 6);

/* ---- progress on a terminal (stderr) ---- */
struct progress {
	const char *label;
	int64_t total, done;	 /* bytes */
	int64_t started, shown;	 /* monotonic ms */
	bool on;
};
void progress_start(struct progress *p, const struct cli *cli, const char *label, int64_t total);
void progress_set(struct progress *p, int64_t done);
void progress_end(struct progress *p);

/* "assistant@2.1.0" into its two parts, allocated (free()).  -1: a message is on stderr. */
int cli_release(const char *text, char **ret_model, char **ret_release) CHECKED;

extern const struct command *const command_tables[];
extern const unsigned command_counts[];
extern const unsigned command_table_count;

#endif
