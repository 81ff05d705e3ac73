#include "cli/args.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static void print_name(const struct command *command, FILE *out)
{
	fprintf(out, "flotilla %s%s%s", command->group, command->name ? " " : "",
		command->name ? command->name : "");
}

void args_help(const struct command *command, FILE *out)
{
	fputs("usage: ", out);
	print_name(command, out);
	fprintf(out, "%s%s%s\n\n%s.\n", command->option_count ? " [options]" : "",
		command->operands[0] ? " " : "", command->operands, command->help);
	if (command->option_count)
		fputs("\nOptions:\n", out);
	for (unsigned i = 0; i < command->option_count; i++) {
		const struct cli_option *o = &command->options[i];
		char left[48];
		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		fprintf(out, "  %-26s %s%s\n", left, o->help, o->repeat ? " (repeatable)" : "");
	}
	if (command->more)
		fprintf(out, "\n%s\n", command->more);
	fputs("\nOptions of every command: flotilla --help\n", out);
}

static int index_of(const struct command *command, const char *name)
{
	for (unsigned i = 0; i < command->option_count; i++)
		if (!strcmp(command->options[i].name, name))
			return (int)i;
	fprintf(stderr, "flotilla: no option --%s in the table\n", name);
	abort();
}

static int complain(const struct command *command, const char *what, const char *which)
{
	fprintf(stderr, "flotilla: %s%s; see ", what, which);
	print_name(command, stderr);
	fputs(" --help\n", stderr);
	return -1;
}

static int take(struct args *args, int index, const char *value)
{
	const struct cli_option *o = &args->command->options[index];
	unsigned *count = &args->counts[index];
	if (*count && !o->repeat)
		return complain(args->command, "given twice: --", o->name);
	if (*count == ARGS_REPEAT)
		return complain(args->command, "given too often: --", o->name);
	args->values[index][(*count)++] = value ? value : "";
	return 0;
}

/* What goes into the path of a URL: a character that means something there would be another request. */
static bool is_name_kind(const char *placeholder, size_t len)
{
	static const char *const kinds[] = {"NAME", "MODEL", "MODEL@RELEASE", "CLASS", "CHANNEL", "ID",
					    "PUBLISHER", "DIGEST|MODEL@RELEASE/TIER"};
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (strlen(kinds[i]) == len && !strncmp(kinds[i], placeholder, len))
			return true;
	return false;
}

static int check_name(const char *placeholder, size_t len, const char *value)
{
	if (!is_name_kind(placeholder, len))
		return 0;
	for (const unsigned char *c = (const unsigned char *)value; *c; c++)
		if (*c <= ' ' || *c >= 127 || strchr("?#%&\\\"<>", *c)) {
			fprintf(stderr, "flotilla: %.*s: '%s' is not a name\n", (int)len, placeholder,
				value);
			return -1;
		}
	return 0;
}

/* The n-th operand is what the n-th word of the operands' text says. */
static int check_names(const struct args *args)
{
	const char *word = args->command->operands;
	for (int i = 0; i < args->positional_count && *word; i++) {
		const size_t len = strcspn(word, " ");
		if (check_name(word, len, args->positional[i]))
			return -1;
		word += len + strspn(word + len, " ");
	}
	for (unsigned i = 0; i < args->command->option_count; i++) {
		const char *kind = args->command->options[i].value;
		for (unsigned k = 0; kind && k < args->counts[i]; k++)
			if (check_name(kind, strlen(kind), args->values[i][k]))
				return -1;
	}
	return 0;
}

/* -o FILE is short for --out FILE where a command has that. */
static int take_out(struct args *args, const char *value)
{
	for (unsigned i = 0; i < args->command->option_count; i++)
		if (!strcmp(args->command->options[i].name, "out"))
			return take(args, (int)i, value);
	return complain(args->command, "-o: neither table nor json: ", value);
}

static int parse_options(struct args *args, const struct command *command, int argc, char **argv)
{
	struct option longs[ARGS_OPTIONS + 2] = {{"help", no_argument, NULL, 'h'}};
	for (unsigned i = 0; i < command->option_count; i++)
		longs[i + 1] = (struct option){
			command->options[i].name,
			command->options[i].value ? required_argument : no_argument, NULL,
			(int)(256 + i)};
	int c;
	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "ho:", longs, NULL)) != -1) {
		if (c == 'h') {
			args_help(command, stdout);
			return 1;
		}
		if (c == '?')
			return complain(command, "unknown option, or its value is missing: ",
					argv[optind - 1]);
		if (c == 'o' ? take_out(args, optarg) : take(args, c - 256, optarg))
			return -1;
	}
	args->positional = argv + optind;
	args->positional_count = argc - optind;
	return 0;
}

int args_parse(struct args *args, const struct command *command, int argc, char **argv)
{
	*args = (struct args){.command = command};
	int r = parse_options(args, command, argc, argv);
	if (r)
		return r;
	if (args->positional_count < command->min_operands)
		return complain(command, "missing operand: ", command->operands);
	if (args->positional_count > command->max_operands)
		return complain(command, "unexpected operand: ",
				args->positional[command->max_operands]);
	return check_names(args);
}

unsigned args_count(const struct args *args, const char *name)
{
	return args->counts[index_of(args->command, name)];
}

const char *args_nth(const struct args *args, const char *name, unsigned index)
{
	return args->values[index_of(args->command, name)][index];
}

const char *args_text(const struct args *args, const char *name)
{
	return args_count(args, name) ? args_nth(args, name, 0) : NULL;
}

bool args_flag(const struct args *args, const char *name)
{
	return args_count(args, name) > 0;
}

int args_int(const struct args *args, const char *name, int64_t min, int64_t max,
	     int64_t fallback, int64_t *ret)
{
	const char *text = args_text(args, name);
	char *end;
	if (!text) {
		*ret = fallback;
		return 0;
	}
	errno = 0;
	const long long n = strtoll(text, &end, 10);
	if (errno || *end || end == text || n < min || n > max) {
		fprintf(stderr, "flotilla: --%s: %s is not a whole number in %lld..%lld\n", name,
			text, (long long)min, (long long)max);
		return -1;
	}
	*ret = n;
	return 0;
}
