#include "base/clock.h"
#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CELL_BYTES 160
#define BAR_WIDTH 24
#define REDRAW_MS 100

void out_json(const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	puts(text ? text : "null");
	free(text);
}

void out_bytes(int64_t bytes, char out[static 24])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	unsigned unit = 0;
	while (value >= 1000 && unit + 1 < COUNT_OF(units)) {
		value /= 1000;
		unit++;
	}
	snprintf(out, 24, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* ---- tables ---- */

static const json_t *at_path(const json_t *row, const char *path)
{
	char name[64];
	while (row && *path) {
		const size_t len = strcspn(path, ".");
		snprintf(name, sizeof(name), "%.*s", (int)len, path);
		row = json_object_get(row, name);
		path += len + (path[len] == '.');
	}
	return row;
}

static void join_texts(const json_t *list, char out[static CELL_BYTES])
{
	size_t i, len = 0;
	const json_t *item;
	out[0] = 0;
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(item);
		const int n = snprintf(out + len, CELL_BYTES - len, "%s%s", i ? "," : "",
				       text ? text : "?");
		len = n < 0 || len + (size_t)n >= CELL_BYTES ? CELL_BYTES - 1 : len + (size_t)n;
	}
}

static void number_text(const json_t *value, const struct column *column, char *out)
{
	const int64_t n = json_is_integer(value) ? json_integer_value(value)
						 : (int64_t)json_number_value(value);
	char when[CLOCK_TEXT];
	switch (column->kind) {
	case COL_BYTES:
		out_bytes(n, out);
		return;
	case COL_TIME:
		clock_text(n, when);
		snprintf(out, CELL_BYTES, "%s", n ? when : "-");
		return;
	case COL_PPM:
		snprintf(out, CELL_BYTES, "%.4g %%", (double)n / 1e4);
		return;
	case COL_REAL:
		snprintf(out, CELL_BYTES, "%.4g", json_number_value(value));
		return;
	default:
		snprintf(out, CELL_BYTES, "%lld", (long long)n);
	}
}

static void cell_text(const json_t *row, const struct column *column, char out[static CELL_BYTES])
{
	const json_t *value = at_path(row, column->path);
	if (json_is_string(value))
		snprintf(out, CELL_BYTES, "%s", json_string_value(value));
	else if (json_is_number(value))
		number_text(value, column, out);
	else if (json_is_boolean(value))
		snprintf(out, CELL_BYTES, "%s", json_is_true(value) ? "yes" : "no");
	else if (json_is_array(value))
		join_texts(value, out);
	else
		snprintf(out, CELL_BYTES, "-");
}

static size_t width_of(const json_t *rows, const struct column *column)
{
	size_t i, width = strlen(column->title);
	const json_t *row;
	json_array_foreach (rows, i, row) {
		char text[CELL_BYTES];
		cell_text(row, column, text);
		if (strlen(text) > width)
			width = strlen(text);
	}
	return width;
}

static bool right_aligned(const struct column *column)
{
	return column->kind != COL_TEXT && column->kind != COL_TIME;
}

static void put_cell(const struct column *column, const char *text, size_t width, bool last)
{
	if (right_aligned(column))
		printf("%*s%s", (int)width, text, last ? "\n" : "  ");
	else if (last)
		printf("%s\n", text);
	else
		printf("%-*s  ", (int)width, text);
}

void out_table(const json_t *rows, const struct column *columns, unsigned count)
{
	size_t i, *widths = calloc(count, sizeof(*widths));
	const json_t *row;
	if (!widths)
		return;
	for (unsigned c = 0; c < count; c++) {
		widths[c] = width_of(rows, &columns[c]);
		put_cell(&columns[c], columns[c].title, widths[c], c + 1 == count);
	}
	json_array_foreach (rows, i, row)
		for (unsigned c = 0; c < count; c++) {
			char text[CELL_BYTES];
			cell_text(row, &columns[c], text);
			put_cell(&columns[c], text, widths[c], c + 1 == count);
		}
	free(widths);
}

int out_rows(const struct cli *cli, const json_t *doc, const struct column *columns,
	     unsigned count)
{
	const json_t *items = json_object_get(doc, "items");
	if (cli->output == OUTPUT_JSON)
		out_json(doc);
	else
		out_table(items ? items : doc, columns, count);
	return EXIT_DONE;
}

int cli_list(struct cli *cli, const char *path, const struct column *columns, unsigned count)
{
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_get(api, path, &doc, &err))
		return cli_fail(&err);
	return out_rows(cli, doc, columns, count);
}

int cli_send(struct cli *cli, const char *method, const char *path, const json_t *body,
	     const char *fmt, ...)
{
	int code;
	struct err err;
	json_auto_t *doc = NULL;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	if (api_send(api, method, path, body, &doc, &err))
		return cli_fail(&err);
	if (cli->output == OUTPUT_JSON && doc)
		out_json(doc);
	if (!cli->quiet) {
		va_list args;
		va_start(args, fmt);
		vfprintf(stderr, fmt, args);
		va_end(args);
		fputc('\n', stderr);
	}
	return EXIT_DONE;
}

/* ---- progress ---- */

void progress_start(struct progress *p, const struct cli *cli, const char *label, int64_t total)
{
	*p = (struct progress){.label = label, .total = total, .started = clock_monotonic_ms(),
			       .on = !cli->quiet && isatty(STDERR_FILENO)};
}

static void draw(const struct progress *p, int64_t now)
{
	char done[24], total[24], rate[24], bar[BAR_WIDTH + 1];
	const int64_t ms = now - p->started;
	const int64_t per_s = ms > 0 ? p->done * 1000 / ms : 0;
	const int64_t left = per_s > 0 ? (p->total - p->done) / per_s : 0;
	const int filled = p->total > 0 ? (int)(p->done * BAR_WIDTH / p->total) : BAR_WIDTH;
	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR_WIDTH] = 0;
	out_bytes(p->done, done);
	out_bytes(p->total, total);
	out_bytes(per_s, rate);
	fprintf(stderr, "\r%-24.24s [%s] %s of %s, %s/s, %lld:%02lld left   ", p->label, bar, done,
		total, rate, (long long)(left / 60), (long long)(left % 60));
}

void progress_set(struct progress *p, int64_t done)
{
	const int64_t now = clock_monotonic_ms();
	p->done = done < p->total ? done : p->total;
	if (!p->on || now - p->shown < REDRAW_MS)
		return;
	p->shown = now;
	draw(p, now);
}

void progress_end(struct progress *p)
{
	if (!p->on)
		return;
	draw(p, clock_monotonic_ms());
	fputc('\n', stderr);
}
