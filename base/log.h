/* log.h -- JSON lines on stderr, one event a line, whole lines also from many threads.
 * log_event(LOG_INFO, "blob.stored", F_TEXT("digest", hex), F_INT("bytes", n));
 * writes {"t":"2026-01-02T03:04:05.678Z","level":"info","event":"blob.stored",...}.
 * Only request edges, thread loops and main log; library code returns errors.  No secrets.
 * Threads: any. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/cc.h"
#include "base/err.h"

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
	enum { LOG_F_TEXT, LOG_F_INT, LOG_F_REAL } kind;
	const char *name;
	const char *text; /* NULL is written as null */
	int64_t number;
	double real; /* not finite is written as null */
};

#define F_TEXT(n, v)                                                                      \
	((struct log_field){.kind = LOG_F_TEXT, .name = (n), .text = (v)})
#define F_INT(n, v)                                                                       \
	((struct log_field){.kind = LOG_F_INT, .name = (n), .number = (int64_t)(v)})
#define F_REAL(n, v) ((struct log_field){.kind = LOG_F_REAL, .name = (n), .real = (v)})
/* An error's text, under "error". */
#define F_ERR(e) ((struct log_field){.kind = LOG_F_TEXT, .name = "error", .text = (e)->text})

void log_set_level(enum log_level level); /* before threads start; LOG_INFO at first */
int log_level_parse(enum log_level *ret_level, const char *text) CHECKED;
void log_write(enum log_level level, const char *event, const struct log_field *fields,
	       size_t count);
#define log_event(level, event, ...)                                                      \
	log_write((level), (event), (const struct log_field[]){__VA_ARGS__},              \
		  sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

#endif
