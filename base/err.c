#include "base/err.h"

#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[ERR_STATUSES] = {
	[ERR_NONE] = "none",
	[ERR_INVALID] = "invalid",
	[ERR_UNAUTHORIZED] = "unauthorized",
	[ERR_DENIED] = "denied",
	[ERR_NOT_FOUND] = "not-found",
	[ERR_CONFLICT] = "conflict",
	[ERR_STALE] = "stale",
	[ERR_MISSING_PRECONDITION] = "missing-precondition",
	[ERR_TOO_LARGE] = "too-large",
	[ERR_RANGE] = "range",
	[ERR_QUOTA] = "quota",
	[ERR_BUSY] = "busy",
	[ERR_FULL] = "full",
	[ERR_NETWORK] = "network",
	[ERR_UNTRUSTED] = "untrusted",
	[ERR_CORRUPT] = "corrupt",
	[ERR_SYSTEM] = "system",
};

/* Messages quote what strangers sent, and end in logs and JSON: only printable UTF-8 stays. */
static void clean(char *text)
{
	const size_t len = strlen(text);
	for (size_t i = 0, step; i < len; i += step) {
		const unsigned char c = (unsigned char)text[i];
		step = utf8_step(text + i, len - i);
		if (step && c >= 0x20 && c != 0x7f)
			continue;
		text[i] = '?';
		step = 1;
	}
}

void err_set_text(struct err *err, enum status status, const char *fmt, ...)
{
	va_list args;
	err->status = status;
	err->retry_s = 0;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	clean(err->text);
}

static enum status status_of(int code)
{
	if (code == ENOSPC || code == EDQUOT)
		return ERR_FULL;
	return code == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM;
}

void err_sys_text(struct err *err, const char *fmt, ...)
{
	const int code = errno;
	va_list args;
	va_start(args, fmt);
	int len = vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	if (len < 0)
		len = 0;
	if ((size_t)len < sizeof(err->text)) {
		char text[128];
		snprintf(err->text + len, sizeof(err->text) - (size_t)len, ": %s",
			 strerror_r(code, text, sizeof(text)));
	}
	err->status = status_of(code);
	err->retry_s = 0;
	clean(err->text);
}

void err_in_text(struct err *err, const char *fmt, ...)
{
	char context[sizeof(err->text)];
	char whole[2 * sizeof(err->text) + 2];
	va_list args;
	va_start(args, fmt);
	vsnprintf(context, sizeof(context), fmt, args);
	va_end(args);
	snprintf(whole, sizeof(whole), "%s: %s", context, err->text);
	whole[sizeof(err->text) - 1] = 0;
	strcpy(err->text, whole);
	clean(err->text);
}

const char *err_name(enum status status)
{
	return status < ERR_STATUSES ? names[status] : "system";
}
