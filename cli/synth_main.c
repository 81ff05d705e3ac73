/* flotilla-synth -- a synthetic checkpoint, and fine-tunes of it, as real GGUF v3 files: synth.h. */
#include "base/file.h"
#include "cli/synth.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#define ROWS_MAX 4096
#define TIERS_UNASKED TIER_BF16 /* those before it are written when none is named */

static const char *const part_names[PARTS] = {"all", "lora", "last", "head"};

static const struct {
	const char *name;
	struct shape shape;
} sizes[] = {
	{"tiny", {64, 2, 192, 512, 4}},		/* 0.2 M parameters: tests */
	{"demo", {512, 6, 1536, 8192, 8}},	/* 29 M: 100 MB in three tiers */
	{"large", {1024, 8, 2816, 32000, 16}},	/* 168 M; 20 % of them attention, 19.5 % the head */
};

static int usage(FILE *out, int code)
{
	fputs("usage: flotilla-synth [options] DIR NAME\n\n"
	      "Writes DIR/NAME-f16.gguf, NAME-q8_0.gguf and NAME-q4_0.gguf: a synthetic checkpoint\n"
	      "in the layouts llama.cpp reads.  The same options give the same bytes.\n\n"
	      "  --size T      tiny (0.5 MB), demo (100 MB, the default) or large (600 MB, all three)\n"
	      "  --seed N      of the checkpoint (1)\n"
	      "  --tier T      only this one: f16, q8_0, q4_0, bf16, q4_K\n\n"
	      "What happened to it:\n\n"
	      "  --step X      a fine-tune: weights move by X sigma of their tensor, e.g. 0.01\n"
	      "  --tuning N    seed of the fine-tune (1)\n"
	      "  --part P      what it moves: all (the default); lora: attention, by a product of rank 16;\n"
	      "                last: two blocks; head: and norms\n"
	      "  --rows N      after --size: N more rows of vocabulary\n"
	      "  --note TEXT   more metadata, so that everything behind it moves\n"
	      "  --renamed     tensors are called as in other files\n"
	      "  --sorted      tensors lie in the order of their names\n",
	      out);
	return code;
}

static int set_size(struct synth *synth, const char *name)
{
	for (unsigned i = 0; i < COUNT_OF(sizes); i++)
		if (!strcmp(sizes[i].name, name)) {
			synth->shape = sizes[i].shape;
			return 0;
		}
	return -1;
}

static int index_of(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

/* A whole number; -1 and a message otherwise. */
static int number(const char *option, const char *text, uint64_t *ret)
{
	char *end;
	errno = 0;
	const unsigned long long n = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-') {
		fprintf(stderr, "flotilla-synth: --%s: %s is not a whole number\n", option, text);
		return -1;
	}
	*ret = n;
	return 0;
}

static int set_step(struct synth *synth, const char *text)
{
	char *end;
	const double x = strtod(text, &end);
	if (*end || end == text || !(x > 0 && x <= 10)) {
		fprintf(stderr, "flotilla-synth: --step: must be above 0 and at most 10\n");
		return -1;
	}
	synth->step = x;
	return 0;
}

static int set_part(struct synth *synth, const char *name)
{
	const int part = index_of(part_names, PARTS, name);
	if (part < 0)
		return -1;
	synth->part = (enum part)part;
	return 0;
}

static int add_rows(struct synth *synth, const char *text)
{
	uint64_t rows;
	if (number("rows", text, &rows))
		return -1;
	if (rows > ROWS_MAX) {
		fprintf(stderr, "flotilla-synth: --rows: at most %d\n", ROWS_MAX);
		return -1;
	}
	synth->shape.vocab += (unsigned)rows;
	return 0;
}

/* What happened to the checkpoint. */
static int set_change(struct synth *synth, int option)
{
	switch (option) {
	case 'x':
		return set_step(synth, optarg);
	case 't':
		return number("tuning", optarg, &synth->tuning);
	case 'p':
		return set_part(synth, optarg);
	case 'r':
		return add_rows(synth, optarg);
	case 'N':
		synth->note = optarg;
		return 0;
	case 'R':
		synth->renamed = true;
		return 0;
	case 'S':
		synth->sorted = true;
		return 0;
	default:
		return -1;
	}
}

static int parse(struct synth *synth, int *only, int argc, char **argv)
{
	static const struct option options[] = {
		{"size", required_argument, NULL, 's'},	  {"seed", required_argument, NULL, 'n'},
		{"tier", required_argument, NULL, 'T'},	  {"help", no_argument, NULL, 'h'},
		{"step", required_argument, NULL, 'x'},	  {"tuning", required_argument, NULL, 't'},
		{"part", required_argument, NULL, 'p'},	  {"rows", required_argument, NULL, 'r'},
		{"note", required_argument, NULL, 'N'},	  {"renamed", no_argument, NULL, 'R'},
		{"sorted", no_argument, NULL, 'S'},	  {NULL, 0, NULL, 0},
	};
	int c;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		int bad;
		if (c == 'h')
			exit(usage(stdout, 0));
		else if (c == 's')
			bad = set_size(synth, optarg);
		else if (c == 'n')
			bad = number("seed", optarg, &synth->seed);
		else if (c == 'T')
			bad = (*only = index_of(tier_names, TIERS, optarg)) < 0;
		else
			bad = set_change(synth, c);
		if (bad)
			return -1;
	}
	return argc - optind == 2 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct synth synth = {.seed = 1, .tuning = 1};
	struct err err;
	int only = -1;
	set_size(&synth, "demo");
	if (parse(&synth, &only, argc, argv))
		return usage(stderr, 2);
	synth.dir = argv[optind];
	synth.name = argv[optind + 1];
	int bad = file_mkdirs(synth.dir, 0755, &err);
	for (int tier = 0; !bad && tier < TIERS; tier++)
		if (only < 0 ? tier < TIERS_UNASKED : only == tier)
			bad = synth_write(&synth, (enum tier)tier, &err);
	if (bad)
		fprintf(stderr, "flotilla-synth: %s\n", err.text);
	return bad ? 1 : 0;
}
