#include "base/log.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 4096
#define TEXT_BYTES 3000 /* of one text; dots stand for the rest */
#define TAIL ",\"cut\":true}\n" /* ends a line whose later fields had no room */

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static atomic_int lowest = LOG_INFO;

void log_set_level(enum log_level level)
{
	atomic_store(&lowest, (int)level);
}

int log_level_parse(enum log_level *ret_level, const char *text)
{
	for (unsigned i = 0; i < COUNT_OF(level_names); i++)
		if (!strcmp(level_names[i], text)) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	return -1;
}

/* One line in the making, on the stack; there is always room for the tail. */
struct line {
	char bytes[LINE_BYTES];
	size_t len;
	size_t whole; /* length up to the last field that fitted */
	int cut;
};

static void add(struct line *line, const char *text, size_t len)
{
	if (line->cut || line->len + len > LINE_BYTES - sizeof(TAIL)) {
		line->cut = 1;
		return;
	}
	memcpy(line->bytes + line->len, text, len);
	line->len += len;
}

static void addf(struct line *line, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void addf(struct line *line, const char *fmt, ...)
{
	char text[128];
	va_list args;
	va_start(args, fmt);
	const int len = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (len > 0)
		add(line, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
}

static void add_string(struct line *line, const char *text)
{
	const size_t len = strnlen(text, TEXT_BYTES + 4);
	size_t at = 0;
	add(line, "\"", 1);
	while (at < len && at < TEXT_BYTES) {
		const unsigned char c = (unsigned char)text[at];
		const size_t step = utf8_step(text + at, len - at);
		if (!step)
			add(line, "?", 1);
		else if (c == '"' || c == '\\')
			addf(line, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			addf(line, "\\u%04x", c);
		else
			add(line, text + at, step);
		at += step ? step : 1;
	}
	if (at < len)
		add(line, "...", 3);
	add(line, "\"", 1);
}

static void add_field(struct line *line, const struct log_field *field)
{
	addf(line, ",\"%s\":", field->name);
	if (field->kind == LOG_F_INT)
		addf(line, "%lld", (long long)field->number);
	else if (field->kind == LOG_F_REAL && isfinite(field->real))
		addf(line, "%.6g", field->real);
	else if (field->kind == LOG_F_TEXT && field->text)
		add_string(line, field->text);
	else
		add(line, "null", 4);
	if (!line->cut)
		line->whole = line->len;
}

static void add_time(struct line *line)
{
	const int64_t ms = clock_wall_ms();
	char text[CLOCK_TEXT];
	clock_text(ms / 1000, text);
	addf(line, "{\"t\":\"%.19s.%03dZ\"", text, (int)(ms % 1000));
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
	       size_t count)
{
	if ((int)level < atomic_load(&lowest))
		return;
	struct line line = {.len = 0};
	add_time(&line);
	addf(&line, ",\"level\":\"%s\",\"event\":\"%s\"", level_names[level], event);
	line.whole = line.len;
	for (size_t i = 0; i < count; i++)
		add_field(&line, &fields[i]);
	line.len = line.whole;
	const char *end = line.cut ? TAIL : "}\n";
	memcpy(line.bytes + line.len, end, strlen(end));
	line.len += strlen(end);
	/* One write, so that lines of many threads do not mix; a log that fails cannot be logged. */
	while (write(STDERR_FILENO, line.bytes, line.len) < 0 && errno == EINTR)
		;
}
