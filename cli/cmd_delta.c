/* Deltas of plain files, without a server. */
#include "base/file.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/local.h"
#include "store/delta.h"
#include "store/survey.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a delta may make of an old file, unless told otherwise: so many times its bytes, and these. */
#define GROWTH_MAX ((uint64_t)64)
#define GROWTH_FREE ((uint64_t)1 << 30)

/* A file that is read, or one that is written under another name until it is whole. */
struct file {
	const char *path;
	char temporary[4096];
	int fd;
	uint64_t size;
	struct source source;
};

static int file_open(struct file *f, const char *path, struct err *err)
{
	f->path = path;
	if (local_open(path, &f->fd, &f->size, err))
		return -1;
	f->source = source_fd(&f->fd, f->size);
	return 0;
}

static int pair_open(struct file *a, struct file *b, const struct args *args, struct err *err)
{
	return file_open(a, args->positional[0], err) || file_open(b, args->positional[1], err) ? -1 : 0;
}

/* What is read is neither where out goes nor its name until then. */
static int file_create(struct file *out, const char *path, const struct file *a, const struct file *b,
		       struct err *err)
{
	const int read[] = {a->fd, b->fd};
	out->path = path;
	if (snprintf(out->temporary, sizeof(out->temporary), "%s.part", path) >=
	    (int)sizeof(out->temporary))
		return err_set(err, ERR_INVALID, "-o %s: too long", path);
	if (local_may_write("-o", path, read, 2, err) ||
	    local_may_write("-o", out->temporary, read, 2, err))
		return -1;
	unlink(out->temporary); /* of a run that was killed; another name of that file keeps its bytes */
	out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return out->fd < 0 ? err_sys(err, "cannot write %s", out->temporary) : 0;
}

/* Whole, or gone. */
static int file_end(struct file *f, int bad, struct err *err)
{
	if (!bad)
		bad = file_commit(f->fd, f->temporary, f->path, err);
	if (bad)
		unlink(f->temporary);
	return bad;
}

static void file_done(struct file *f)
{
	if (f->fd >= 0)
		close(f->fd);
}
#define AUTO_FILE __attribute__((cleanup(file_done)))

/* One file after the other: each is told from where the one before ended. */
struct telling {
	struct progress bar;
	uint64_t before;
};

static void read_so_far(void *arg, uint64_t done)
{
	struct telling *telling = arg;
	progress_set(&telling->bar, (int64_t)(telling->before + done));
}

static int made_so_far(void *arg, uint64_t done)
{
	read_so_far(arg, done);
	return 0;
}

static int compare(const struct file *old, const struct file *new, const struct sink_at *out,
		   struct telling *telling, struct delta_stats *stats, struct err *err)
{
	AUTO(recipe_free) struct recipe *before = NULL;
	AUTO(recipe_free) struct recipe *after = NULL;
	const struct delta_progress progress = {made_so_far, telling};
	if (survey_source(&old->source, read_so_far, telling, &before, err))
		return -1;
	telling->before = old->size;
	if (survey_source(&new->source, read_so_far, telling, &after, err))
		return -1;
	telling->before += new->size;
	const struct delta_side from = {&old->source, before}, to = {&new->source, after};
	return delta_make(&from, &to, out, &progress, stats, err);
}

static int delta_of(struct cli *cli, const struct file *old, const struct file *new,
		    const struct sink_at *out, struct delta_stats *stats, struct err *err)
{
	struct telling telling = {.before = 0};
	progress_start(&telling.bar, cli, "comparing", (int64_t)(old->size + 2 * new->size));
	const int bad = compare(old, new, out, &telling, stats, err);
	progress_end(&telling.bar);
	return bad;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static json_t *stat_rows(const struct delta_stats *s)
{
	static const char *const names[] = {
		[DELTA_DATA] = "sent whole", [DELTA_COPY] = "copied",
		[DELTA_DIFF] = "differences", [DELTA_PREFIX] = "against the old header",
		[DELTA_LIFT] = "from another tier"};
	json_t *rows = json_array();
	for (unsigned k = 0; k < DELTA_KINDS; k++)
		json_array_append_new(
			rows, json_pack("{s:s, s:I, s:I, s:I}", "chunks_are", names[k], "chunks",
					(json_int_t)s->chunks[k], "raw", (json_int_t)s->raw[k], "delta",
					(json_int_t)s->stored[k]));
	return rows;
}

static int tell_json(const struct delta_stats *stats, const struct file *old, const struct file *new)
{
	json_auto_t *doc = json_pack("{s:I, s:I, s:I, s:o}", "old", (json_int_t)old->size, "new",
				     (json_int_t)new->size, "delta", (json_int_t)stats->bytes, "kinds",
				     stat_rows(stats));
	out_json(doc);
	return EXIT_DONE;
}

static int delta_make_command(struct cli *cli, const struct args *args)
{
	struct err err;
	struct delta_stats stats;
	AUTO_FILE struct file old = {.fd = -1};
	AUTO_FILE struct file new = {.fd = -1};
	AUTO_FILE struct file out = {.fd = -1};
	const char *path = args_text(args, "out");
	char size[24];
	if (!path)
		return cli_usage("-o FILE: where to write the delta is required");
	if (pair_open(&old, &new, args, &err) || file_create(&out, path, &old, &new, &err))
		return cli_fail(&err);
	const struct sink_at sink = sink_at_fd(&out.fd);
	if (file_end(&out, delta_of(cli, &old, &new, &sink, &stats, &err), &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON)
		return tell_json(&stats, &old, &new);
	out_bytes((int64_t)stats.bytes, size);
	cli_say(cli, "%s: %s, %.2f %% of the new file; flotilla delta apply %s %s -o NEW", path, size,
		percent(stats.bytes, new.size), args->positional[0], path);
	return EXIT_DONE;
}

static int apply_to(struct cli *cli, const struct file *old, const struct file *delta,
		    const struct delta_want *want, struct file *out, struct err *err)
{
	const struct sink sink = sink_fd(&out->fd);
	struct telling telling = {.before = 0};
	const struct delta_progress progress = {made_so_far, &telling};
	progress_start(&telling.bar, cli, "applying", (int64_t)old->size);
	const int bad =
		delta_apply_wanted(&old->source, &delta->source, want, &sink, &progress, err);
	progress_end(&telling.bar);
	return file_end(out, bad, err);
}

static int delta_apply_command(struct cli *cli, const struct args *args)
{
	struct err err;
	struct digest sha256;
	int64_t max;
	AUTO_FILE struct file old = {.fd = -1};
	AUTO_FILE struct file delta = {.fd = -1};
	AUTO_FILE struct file out = {.fd = -1};
	const char *path = args_text(args, "out"), *hex = args_text(args, "sha256");
	if (!path)
		return cli_usage("-o FILE: where to write the new file is required");
	if (hex && digest_parse(&sha256, hex))
		return cli_usage("--sha256: must be 64 lower-case hex digits");
	if (args_int(args, "max-bytes", 0, INT64_MAX, -1, &max))
		return EXIT_USAGE;
	if (pair_open(&old, &delta, args, &err) || file_create(&out, path, &old, &delta, &err))
		return cli_fail(&err);
	const struct delta_want want = {.max = max < 0 ? GROWTH_MAX * old.size + GROWTH_FREE : (uint64_t)max,
					.sha256 = hex ? &sha256 : NULL};
	if (apply_to(cli, &old, &delta, &want, &out, &err))
		return cli_fail(&err);
	cli_say(cli, hex ? "%s: verified" : "%s: what the delta states", path);
	return EXIT_DONE;
}

/* ---- stat ---- */

static int nowhere(void *arg, uint64_t at, const void *bytes, size_t len, struct err *err)
{
	(void)arg;
	(void)at;
	(void)bytes;
	(void)len;
	(void)err;
	return 0;
}

static int delta_stat_command(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"CHUNKS", "chunks_are", COL_TEXT},
						{"COUNT", "chunks", COL_INT},
						{"OF THE NEW FILE", "raw", COL_BYTES},
						{"IN THE DELTA", "delta", COL_BYTES}};
	struct err err;
	struct delta_stats stats;
	const struct sink_at sink = {nowhere, NULL};
	AUTO_FILE struct file old = {.fd = -1};
	AUTO_FILE struct file new = {.fd = -1};
	if (pair_open(&old, &new, args, &err) || delta_of(cli, &old, &new, &sink, &stats, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON)
		return tell_json(&stats, &old, &new);
	json_auto_t *rows = stat_rows(&stats);
	out_table(rows, columns, COUNT_OF(columns));
	char size[24];
	out_bytes((int64_t)stats.bytes, size);
	printf("delta: %s, %.2f %% of the new file\n", size, percent(stats.bytes, new.size));
	return EXIT_DONE;
}

static const struct cli_option out_options[] = {
	{"out", "FILE", "write it here; -o FILE is the same", false},
};

static const struct cli_option apply_options[] = {
	{"out", "FILE", "write it here; -o FILE is the same", false},
	{"sha256", "HEX", "refuse another new file than this one", false},
	{"max-bytes", "N", "refuse a longer new file (64 times the old one, and 1 GiB)", false},
};

/* clang-format off */
const struct command delta_commands[DELTA_COMMANDS] = {
	{"delta", "make", "OLD NEW", 2, 2, "Write what it takes to make one file from another",
	 "For GGUF and safetensors files numbers are compared in their own arithmetic, of other tiers\n"
	 "too (q4_0 and q8_0, say); any others by their chunks.  No server is needed.", out_options, COUNT_OF(out_options),
	 delta_make_command},
	{"delta", "apply", "OLD DELTA", 2, 2, "Make the new file, and verify it",
	 "The delta itself states what it makes: verified is that nothing else came out.  Whoever did not make\n"
	 "it tells with --sha256 which file it must be.", apply_options, COUNT_OF(apply_options),
	 delta_apply_command},
	{"delta", "stat", "OLD NEW", 2, 2, "Tell how large a delta would be, and why", NULL, NULL, 0,
	 delta_stat_command},
};
