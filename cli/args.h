/* args.h -- commands and their options as one table, from which parsing and --help come.
 * Threads: the main thread. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "base/cc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define ARGS_OPTIONS 24
#define ARGS_REPEAT 64

struct cli;

/* Exit codes, the same for every command. */
enum cli_exit {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_ROLLED_BACK = 3, /* the rollout failed or was rolled back */
	EXIT_AUTH = 4,
	EXIT_NOT_FOUND = 5,
	EXIT_CONFLICT = 6,
	EXIT_UNREACHABLE = 7,
	EXIT_TIMEOUT = 124,
	EXIT_INTERRUPTED = 130
};

struct cli_option {
	const char *name;  /* without the dashes */
	const char *value; /* placeholder; NULL for a flag */
	const char *help;
	bool repeat; /* may be given several times */
};

struct args {
	const struct command *command;
	const char *values[ARGS_OPTIONS][ARGS_REPEAT]; /* borrowed from argv */
	unsigned counts[ARGS_OPTIONS];
	char **positional; /* borrowed from argv */
	int positional_count;
};

struct command {
	const char *group, *name; /* "rollout", "start"; name NULL for a command of one word */
	const char *operands;	  /* "MODEL@RELEASE", for help */
	int min_operands, max_operands;
	const char *help;      /* one line, imperative */
	const char *more;      /* further lines: examples, what happens next; may be NULL */
	const struct cli_option *options;
	unsigned option_count;
	int (*run)(struct cli *cli, const struct args *args); /* an enum cli_exit */
};

/* Parse what follows the command's words.  -o FILE is --out FILE where the command has that option.
 * Names of things (NAME, CLASS, ID ...) are refused when they cannot be ones.  -1: a message is on
 * stderr; 1: help was printed. */
int args_parse(struct args *args, const struct command *command, int argc, char **argv) CHECKED;
void args_help(const struct command *command, FILE *out);

/* The option's value; NULL when not given.  The name must be in the command's table. */
const char *args_text(const struct args *args, const char *name);
bool args_flag(const struct args *args, const char *name);
unsigned args_count(const struct args *args, const char *name);
const char *args_nth(const struct args *args, const char *name, unsigned index);
/* fallback when absent; -1 and a message on stderr when not a whole number in min..max. */
int args_int(const struct args *args, const char *name, int64_t min, int64_t max,
	     int64_t fallback, int64_t *ret) CHECKED;

#endif
