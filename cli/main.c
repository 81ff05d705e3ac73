/* flotilla -- the operator's and CI's command line. */
#include "base/buf.h"
#include "base/file.h"
#include "cli/cli.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_MAX 65536
#define DEFAULT_SERVER "http://127.0.0.1:8081"

/* ---- what commands share ---- */

int cli_fail(const struct err *err)
{
	fprintf(stderr, "flotilla: %s\n", err->text);
	if (err->status == ERR_UNAUTHORIZED)
		fputs("flotilla: name a token with --token-file FILE or FLOTILLA_TOKEN_FILE;"
		      " flotillad init writes the first one to DATA_DIR/admin.token\n",
		      stderr);
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
					    cli->verbose};
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

static int set_global(struct cli *cli, const char *name, const char *value)
{
	char *end;
	if (!strcmp(name, "--server"))
		cli->server = value;
	else if (!strcmp(name, "--token-file"))
		cli->token_file = value;
	else if (!strcmp(name, "--if-version"))
		cli->if_version = value;
	else if (!strcmp(name, "--yes"))
		cli->yes = true;
	else if (!strcmp(name, "-q"))
		cli->quiet = true;
	else if (!strcmp(name, "-v"))
		cli->verbose = true;
	else if (!strcmp(name, "-o") && !strcmp(value, "json"))
		cli->output = OUTPUT_JSON;
	else if (!strcmp(name, "-o") && strcmp(value, "table"))
		return cli_usage("-o %s: neither table nor json", value);
	else if (!strcmp(name, "--timeout")) {
		cli->timeout_s = strtoll(value, &end, 10);
		if (*end || cli->timeout_s < 1)
			return cli_usage("--timeout %s: not a number of seconds", value);
	}
	return 0;
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
		if (g == COUNT_OF(globals)) {
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

static const char *config_path(char *out, size_t room)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	if (xdg && *xdg)
		snprintf(out, room, "%s/flotilla/config", xdg);
	else
		snprintf(out, room, "%s/.config/flotilla/config", home ? home : "");
	return out;
}

static int config_line(struct cli *cli, char *line, const char *path)
{
	char *equals = strchr(line, '='), *key, *value;
	line += strspn(line, " \t");
	if (!*line || *line == '#')
		return 0;
	if (!equals)
		return cli_usage("%s: not `key = value`: %s", path, line);
	*equals = 0;
	key = strtok(line, " \t");
	value = strtok(equals + 1, " \t");
	if (key && value && !strcmp(key, "server"))
		cli->server = cli->server ? cli->server : strdup(value);
	else if (key && value && !strcmp(key, "token_file"))
		cli->token_file = cli->token_file ? cli->token_file : strdup(value);
	else
		return cli_usage("%s: unknown or empty key: %s", path, key ? key : "");
	return 0;
}

static int read_config(struct cli *cli)
{
	char path[4096];
	struct err err;
	AUTO_BUF struct buf text = BUF_INIT(CONFIG_MAX);
	if (file_read(config_path(path, sizeof(path)), &text, &err))
		return err.status == ERR_NOT_FOUND ? 0 : cli_fail(&err);
	char *rest = text.data, *line;
	while (rest && (line = strsep(&rest, "\n")))
		if (config_line(cli, line, path))
			return EXIT_USAGE;
	return 0;
}

static void read_environment(struct cli *cli)
{
	if (!cli->server)
		cli->server = getenv("FLOTILLA_SERVER");
	if (!cli->token_file)
		cli->token_file = getenv("FLOTILLA_TOKEN_FILE");
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
	struct cli cli = {0};
	signal(SIGPIPE, SIG_IGN);
	if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT))
		return cli_usage("cannot start libsodium or libcurl");
	if (take_globals(&cli, &argc, argv))
		return EXIT_USAGE;
	read_environment(&cli);
	if (argc < 2)
		return help(stderr, EXIT_USAGE);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help(stdout, EXIT_DONE);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
		puts("flotilla " FLOTILLA_VERSION);
		return EXIT_DONE;
	}
	if (read_config(&cli))
		return EXIT_USAGE;
	if (!cli.server)
		cli.server = DEFAULT_SERVER;
	const int code = run(&cli, argc, argv);
	api_close(cli.api);
	curl_global_cleanup();
	if (fflush(stdout) && code == EXIT_DONE) {
		fprintf(stderr, "flotilla: cannot write the output: %s\n", strerror(errno));
		return EXIT_FAILED;
	}
	return code;
}
