/* flotilla -- the operator's and CI's command line. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/cli.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_MAX 65536
#define WAITS_MS 10000
#define DEFAULT_SERVER "http://127.0.0.1:8081"

/* ---- what commands share ---- */

static struct cli the_cli; /* main()'s; cli_fail() tells where its token came from */
static char config_file[4096];	 /* likewise: its path */

#define MAKE_ONE "`flotilla token create NAME --role ROLE` makes one"

/* What there is to say of the token when the daemon does not take it; never the token. */
static void tell_token(const struct err *err)
{
	const bool refused = the_cli.api && api_refused(the_cli.api);
	const bool unread = !the_cli.api;
	if (err->status != ERR_UNAUTHORIZED && err->status != ERR_DENIED)
		return;
	if (!refused && !unread) /* somebody else's: a bucket */
		return;
	if (!the_cli.token_file)
		fprintf(stderr, "flotilla: no token was named: neither by --token-file FILE, FLOTILLA_TOKEN_FILE nor "
			"token_file in %s; " MAKE_ONE ", and flotillad init wrote the first to "
			"DATA_DIR/admin.token\n", config_file);
	else if (err->status == ERR_DENIED && strstr(err->text, "token")) /* it may also be our Host */
		fprintf(stderr, "flotilla: the token is that of %s, which %s names; another: " MAKE_ONE "\n",
			the_cli.token_file, the_cli.token_from);
	else if (err->status == ERR_UNAUTHORIZED)
		fprintf(stderr, "flotilla: the token was looked for in %s, which %s names; if it is there, it is "
			"mistyped, expired, revoked or another daemon's; with an admin's, " MAKE_ONE "\n",
			the_cli.token_file, the_cli.token_from);
}

int cli_fail(const struct err *err)
{
	fprintf(stderr, "flotilla: %s\n", err->text);
	tell_token(err);
	return api_exit(err);
}

int cli_usage(const char *fmt, ...)
{
	va_list args;
	fputs("flotilla: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

void cli_say(const struct cli *cli, const char *fmt, ...)
{
	va_list args;
	if (cli->quiet)
		return;
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

void cli_waits(void *arg, const char *text)
{
	struct cli *cli = arg;
	const int64_t now = clock_monotonic_ms();
	int64_t before = atomic_load(&cli->waits_ms);
	if (cli->quiet || (before && now - before < WAITS_MS) ||
	    !atomic_compare_exchange_strong(&cli->waits_ms, &before, now))
		return;
	fprintf(stderr, "%sflotilla: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", text);
}

bool cli_confirm(const struct cli *cli, const char *fmt, ...)
{
	char answer[16];
	va_list args;
	if (cli->yes)
		return true;
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	if (!isatty(STDIN_FILENO)) {
		fputs("\nflotilla: not a terminal: say --yes if you mean it\n", stderr);
		return false;
	}
	fputs(" [y/N] ", stderr);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

struct api *cli_api(struct cli *cli, int *ret_exit)
{
	struct err err;
	const struct api_options options = {cli->server, cli->token_file, cli->timeout_s,
					    cli->verbose, cli_waits, cli};
	if (!cli->api && api_open(&cli->api, &options, &err)) {
		*ret_exit = cli_fail(&err);
		return NULL;
	}
	return cli->api;
}

int cli_release(const char *text, char **ret_model, char **ret_release)
{
	const char *at = strchr(text, '@');
	if (!at || at == text || !at[1]) {
		cli_usage("%s: not MODEL@RELEASE, like assistant@2.1.0", text);
		return -1;
	}
	*ret_model = strndup(text, (size_t)(at - text));
	*ret_release = strdup(at + 1);
	return *ret_model && *ret_release ? 0 : -1;
}

/* ---- options before the command ---- */

static const struct {
	const char *name, *value, *help;
} globals[] = {
	{"--server", "URL", "admin listener of flotillad (" DEFAULT_SERVER ")"},
	{"--token-file", "FILE", "file with the bearer token"},
	{"--timeout", "SECONDS", "of a request or a watch"},
	{"--if-version", "N", "change only if the object still has this version"},
	{"-o", "FORMAT", "table (the default) or json"},
	{"--yes", NULL, "do not ask"},
	{"-q", NULL, "say nothing but results"},
	{"-v", NULL, "show each request"},
};

/* The first who names one is heard. */
static void token_name(struct cli *cli, const char *file, const char *from)
{
	if (cli->token_file || !file)
		return;
	cli->token_file = file;
	cli->token_from = from;
}

static int set_global(struct cli *cli, const char *name, const char *value)
{
	char *end;
	if (!strcmp(name, "--server"))
		cli->server = value;
	else if (!strcmp(name, "--token-file"))
		token_name(cli, value, "--token-file");
	else if (!strcmp(name, "--if-version"))
		cli->if_version = value;
	else if (!strcmp(name, "--yes"))
		cli->yes = true;
	else if (!strcmp(name, "-q"))
		cli->quiet = true;
	else if (!strcmp(name, "-v"))
		cli->verbose = true;
	else if (!strcmp(name, "-o"))
		cli->output = strcmp(value, "json") ? OUTPUT_TABLE : OUTPUT_JSON;
	else if (!strcmp(name, "--timeout")) {
		cli->timeout_s = strtoll(value, &end, 10);
		if (*end || cli->timeout_s < 1)
			return cli_usage("--timeout %s: not a number of seconds", value);
	}
	return 0;
}

/* Of a command that writes a file, -o with anything but a format is that file: args.h. */
static bool is_file(const char *name, const char *value)
{
	return !strcmp(name, "-o") && value && strcmp(value, "json") && strcmp(value, "table");
}

/* Takes the options that every command has out of argv, wherever they stand before "--". */
static int take_globals(struct cli *cli, int *argc, char **argv)
{
	int kept = 1;
	bool stop = false;
	for (int i = 1; i < *argc; i++) {
		unsigned g = 0;
		stop = stop || !strcmp(argv[i], "--");
		while (g < COUNT_OF(globals) && (stop || strcmp(globals[g].name, argv[i])))
			g++;
		if (g == COUNT_OF(globals) || is_file(argv[i], argv[i + 1])) {
			argv[kept++] = argv[i];
			continue;
		}
		if (globals[g].value && i + 1 == *argc)
			return cli_usage("%s: its value is missing", argv[i]);
		const char *name = globals[g].name;
		if (set_global(cli, name, globals[g].value ? argv[++i] : ""))
			return EXIT_USAGE;
	}
	*argc = kept;
	argv[kept] = NULL;
	return 0;
}

/* ---- configuration file: `server = ...` and `token_file = ...` ---- */

static void config_find(void)
{
	char *out = config_file;
	const size_t room = sizeof(config_file);
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	if (xdg && *xdg)
		snprintf(out, room, "%s/flotilla/config", xdg);
	else
		snprintf(out, room, "%s/.config/flotilla/config", home ? home : "");
}

static int config_line(struct cli *cli, char *line)
{
	char *equals = strchr(line, '='), *key, *value;
	line += strspn(line, " \t");
	if (!*line || *line == '#')
		return 0;
	if (!equals)
		return cli_usage("%s: not `key = value`: %s", config_file, line);
	*equals = 0;
	key = strtok(line, " \t");
	value = strtok(equals + 1, " \t");
	if (key && value && !strcmp(key, "server"))
		cli->server = cli->server ? cli->server : strdup(value);
	else if (key && value && !strcmp(key, "token_file"))
		token_name(cli, strdup(value), config_file);
	else
		return cli_usage("%s: unknown or empty key: %s", config_file, key ? key : "");
	return 0;
}

static int read_config(struct cli *cli)
{
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(CONFIG_MAX);
	config_find();
	if (file_read(config_file, &text, &err))
		return err.status == ERR_NOT_FOUND ? 0 : cli_fail(&err);
	char *rest = text.data, *line;
	while (rest && (line = strsep(&rest, "\n")))
		if (config_line(cli, line))
			return EXIT_USAGE;
	return 0;
}

static void read_environment(struct cli *cli)
{
	if (!cli->server)
		cli->server = getenv("FLOTILLA_SERVER");
	token_name(cli, getenv("FLOTILLA_TOKEN_FILE"), "FLOTILLA_TOKEN_FILE");
}

/* ---- finding the command ---- */

static void print_commands(FILE *out, const char *group)
{
	for (unsigned t = 0; t < command_table_count; t++)
		for (unsigned i = 0; i < command_counts[t]; i++) {
			const struct command *c = &command_tables[t][i];
			char name[64];
			if (group && strcmp(group, c->group))
				continue;
			snprintf(name, sizeof(name), "%s%s%s %s", c->group, c->name ? " " : "",
				 c->name ? c->name : "", c->operands);
			fprintf(out, "  %-46s %s\n", name, c->help);
		}
}

static int help(FILE *out, int code)
{
	fputs("usage: flotilla [options] COMMAND [...]\n\n"
	      "Fleet manager for AI models on devices: push variants, roll them out class by class,\n"
	      "watch the evidence, take them back.\n\nCommands:\n",
	      out);
	print_commands(out, NULL);
	fputs("\nOptions of every command:\n", out);
	for (unsigned i = 0; i < COUNT_OF(globals); i++) {
		char left[48];
		snprintf(left, sizeof(left), "%s %s", globals[i].name,
			 globals[i].value ? globals[i].value : "");
		fprintf(out, "  %-26s %s\n", left, globals[i].help);
	}
	fputs("\nThe same can stand in FLOTILLA_SERVER and FLOTILLA_TOKEN_FILE, or as `server = ...`\n"
	      "and `token_file = ...` in $XDG_CONFIG_HOME/flotilla/config.\n"
	      "Exit codes: 0 done, 1 failed, 2 usage, 3 rolled back, 4 not authorised, 5 not found,\n"
	      "6 conflict, 7 unreachable, 124 watch timed out, 130 interrupted.\n",
	      out);
	return code;
}

static const struct command *find(int argc, char **argv)
{
	for (unsigned t = 0; t < command_table_count; t++)
		for (unsigned i = 0; i < command_counts[t]; i++) {
			const struct command *c = &command_tables[t][i];
			if (strcmp(c->group, argv[1]))
				continue;
			if (!c->name || (argc > 2 && !strcmp(c->name, argv[2])))
				return c;
		}
	return NULL;
}

static bool group_known(const char *group)
{
	for (unsigned t = 0; t < command_table_count; t++)
		for (unsigned i = 0; i < command_counts[t]; i++)
			if (!strcmp(command_tables[t][i].group, group))
				return true;
	return false;
}

static int unknown(int argc, char **argv)
{
	if (!group_known(argv[1]))
		return cli_usage("unknown command %s; see flotilla --help", argv[1]);
	const bool asked = argc > 2 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"));
	if (argc > 2 && !asked)
		cli_usage("unknown command %s %s; these exist:", argv[1], argv[2]);
	print_commands(asked ? stdout : stderr, argv[1]);
	return asked ? EXIT_DONE : EXIT_USAGE;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct args args;
	const struct command *command = find(argc, argv);
	if (!command)
		return unknown(argc, argv);
	const int words = command->name ? 2 : 1;
	const int r = args_parse(&args, command, argc - words, argv + words);
	if (r)
		return r > 0 ? EXIT_DONE : EXIT_USAGE;
	return command->run(cli, &args);
}

int main(int argc, char **argv)
{
	static char asked[] = "--help";
	struct cli *cli = &the_cli;
	signal(SIGPIPE, SIG_IGN);
	if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT))
		return cli_usage("cannot start libsodium or libcurl");
	if (take_globals(cli, &argc, argv))
		return EXIT_USAGE;
	read_environment(cli);
	if (argc < 2)
		return help(stderr, EXIT_USAGE);
	if (!strcmp(argv[1], "help") && argc > 2) { /* help COMMAND: as COMMAND --help */
		memmove(&argv[1], &argv[2], ((size_t)argc - 2) * sizeof(*argv));
		argv[argc - 1] = asked;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help(stdout, EXIT_DONE);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
		puts("flotilla " FLOTILLA_VERSION);
		return EXIT_DONE;
	}
	if (read_config(cli))
		return EXIT_USAGE;
	if (!cli->server)
		cli->server = DEFAULT_SERVER;
	const int code = run(cli, argc, argv);
	api_close(cli->api);
	curl_global_cleanup();
	if (fflush(stdout) && code == EXIT_DONE) {
		fprintf(stderr, "flotilla: cannot write the output: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return code;
}
