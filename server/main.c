/* flotillad: command line, signals, exit codes.  0: fine; 1: it failed; 2: wrong usage. */
#include "base/buf.h"
#include "base/log.h"
#include "server/app.h"
#include "server/config.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTORS_BESIDE 1024 /* the admin listener, files that are written, the database */

#define TEXT_MAX ((size_t)65536)

static void usage(void)
{
	AUTO_BUF struct buf flags = BUF_INIT(TEXT_MAX);

	config_help(&flags);
	printf("flotillad " FLOTILLA_VERSION ": fleet manager for models on devices\n\n"
	       "  flotillad init --data-dir DIR [--dev]   make a data directory, keys, first token\n"
	       "  flotillad rebuild --data-dir DIR        make the store's rows again, from its files\n"
	       "  flotillad [run]                         serve\n\n"
	       "  --config FILE        read FILE first; FLOTILLA_<KEY> and flags win over it\n"
	       "  --check-config       read the configuration, tell what is wrong, exit\n"
	       "  --print-config       print a sample file with every key\n"
	       "  --help, --version\n\n%s",
	       flags.data ? flags.data : "");
}

static void print_sample(void)
{
	AUTO_BUF struct buf text = BUF_INIT(TEXT_MAX);

	config_sample(&text);
	fputs(text.data ? text.data : "", stdout);
}

/* As many descriptors as we may have.  A connection that downloads holds a second one. */
static void descriptors_raise(const struct config *config)
{
	const int64_t wanted = 2 * config->max_connections + DESCRIPTORS_BESIDE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < (rlim_t)wanted)
		log_event(LOG_WARN, "descriptors.few", F_INT("allowed", (int64_t)limit.rlim_max),
			  F_INT("wanted", wanted),
			  F_TEXT("text", "raise LimitNOFILE (ulimit -n), or lower max_connections"));
}

static int failed(const struct err *err)
{
	fprintf(stderr, "flotillad: %s\n", err->text);
	return 1;
}

/* Serve until SIGINT or SIGTERM.  Both are blocked before any thread starts, so that all threads
 * inherit that and only sigwait() here sees them. */
static int run(const struct config *config)
{
	struct app *app = NULL;
	sigset_t ends;
	struct err err;
	int number = 0;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	descriptors_raise(config);
	if (app_start(&app, config, &err) < 0)
		return failed(&err);
	sigwait(&ends, &number);
	log_event(LOG_INFO, "server.stopping", F_INT("signal", number));
	app_stop(app);
	return 0;
}

static int command(const struct config *config, const struct config_asked *asked)
{
	enum log_level level;
	struct err err;

	umask(077);
	if (log_level_parse(&level, config->log_level) == 0)
		log_set_level(level);
	if (sodium_init() < 0) {
		fprintf(stderr, "flotillad: the system gives no random numbers\n");
		return 1;
	}
	if (!asked->command || strcmp(asked->command, "run") == 0)
		return run(config);
	if (strcmp(asked->command, "init") == 0)
		return app_init(config, asked->dev, &err) < 0 ? failed(&err) : 0;
	if (strcmp(asked->command, "rebuild") == 0)
		return app_rebuild(config, &err) < 0 ? failed(&err) : 0;
	fprintf(stderr, "flotillad: %s: there is no such command; see --help\n",
		asked->command);
	return 2;
}

int main(int argc, char **argv)
{
	AUTO_BUF struct buf problems = BUF_INIT(TEXT_MAX);
	struct config config;
	struct config_asked asked;
	struct err err;
	int code = 0;

	if (config_load(&config, &asked, argc, (const char *const *)argv,
			(const char *const *)environ, &problems, &err) < 0 &&
	    !asked.help && !asked.version) {
		fprintf(stderr, "%sflotillad: %s\n", problems.data ? problems.data : "", err.text);
		code = 2;
	} else if (asked.help) {
		usage();
	} else if (asked.version) {
		puts("flotillad " FLOTILLA_VERSION);
	} else if (asked.print) {
		print_sample();
	} else if (asked.check) {
		puts("the configuration is fine");
	} else {
		code = command(&config, &asked);
	}
	config_done(&config);
	return code;
}
