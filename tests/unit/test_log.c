#include "base/log.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* What is logged until log_end() goes to a file instead of stderr. */
static int log_begin(const struct scratch *scratch)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/log", scratch->dir);
	const int saved = dup(STDERR_FILENO);
	const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	ck_assert_int_ge(saved, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	close(fd);
	return saved;
}

static void log_end(const struct scratch *scratch, int saved, struct buf *text)
{
	char path[300];
	struct err err;
	dup2(saved, STDERR_FILENO);
	close(saved);
	snprintf(path, sizeof(path), "%s/log", scratch->dir);
	ck_assert_msg(!file_read(path, text, &err), "%s", err.text);
}

/* The line's JSON; the caller's.  Checks that it is one line. */
static json_t *parsed(const struct buf *text)
{
	struct err err;
	ck_assert_uint_gt(text->len, 0);
	ck_assert_ptr_eq(strchr(text->data, '\n'), text->data + text->len - 1);
	json_t *line = json_parse(text->data, text->len, "line", &err);
	ck_assert_msg(line != NULL, "%s in %s", err.text, text->data);
	return line;
}

static const char *text_of(const json_t *line, const char *name)
{
	return json_string_value(json_object_get(line, name));
}

START_TEST(test_log_writes_one_json_line)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf text = BUF_INIT(100000);
	struct err err;
	err_set(&err, ERR_FULL, "no room");
	const int saved = log_begin(&scratch);
	log_event(LOG_WARN, "blob.stored", F_TEXT("digest", "ab"), F_INT("bytes", -12),
		  F_REAL("ratio", 0.25), F_TEXT("none", NULL), F_REAL("odd", NAN), F_ERR(&err));
	log_end(&scratch, saved, &text);
	json_auto_t *line = parsed(&text);
	ck_assert_uint_eq(json_object_size(line), 9);
	ck_assert_str_eq(text_of(line, "level"), "warn");
	ck_assert_str_eq(text_of(line, "event"), "blob.stored");
	ck_assert_str_eq(text_of(line, "digest"), "ab");
	ck_assert_int_eq(json_integer_value(json_object_get(line, "bytes")), -12);
	ck_assert_double_eq(json_real_value(json_object_get(line, "ratio")), 0.25);
	ck_assert(json_is_null(json_object_get(line, "none")));
	ck_assert(json_is_null(json_object_get(line, "odd")));
	ck_assert_str_eq(text_of(line, "error"), "no room");
	const char *t = text_of(line, "t");
	ck_assert_uint_eq(strlen(t), 24);
	ck_assert(t[10] == 'T' && t[19] == '.' && t[23] == 'Z');
}
END_TEST

START_TEST(test_log_escapes_what_strangers_send)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf text = BUF_INIT(100000);
	const int saved = log_begin(&scratch);
	log_event(LOG_INFO, "e", F_TEXT("agent", "a\"b\\c\nd\x01\x7f \xc3\xa4 \xff \xc3"));
	log_end(&scratch, saved, &text);
	json_auto_t *line = parsed(&text);
	ck_assert_str_eq(text_of(line, "agent"), "a\"b\\c\nd\x01\x7f \xc3\xa4 ? ?");
}
END_TEST

START_TEST(test_log_cuts_long_texts_and_says_so)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf text = BUF_INIT(100000);
	char longer[5000];
	memset(longer, 'x', sizeof(longer) - 1);
	memcpy(longer + 2999, "\xe2\x82\xac", 3); /* a character over the edge */
	longer[sizeof(longer) - 1] = 0;
	const int saved = log_begin(&scratch);
	log_event(LOG_INFO, "e", F_TEXT("body", longer), F_INT("after", 1));
	log_end(&scratch, saved, &text);
	json_auto_t *line = parsed(&text);
	ck_assert_uint_eq(strlen(text_of(line, "body")), 3002 + 3);
	ck_assert_str_eq(text_of(line, "body") + 2998, "x\xe2\x82\xac...");
	ck_assert_int_eq(json_integer_value(json_object_get(line, "after")), 1);
}
END_TEST

START_TEST(test_log_drops_fields_without_room_and_says_so)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf text = BUF_INIT(100000);
	char longer[2500];
	memset(longer, '\n', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	const int saved = log_begin(&scratch);
	log_event(LOG_INFO, "e", F_INT("first", 1), F_TEXT("body", longer), F_INT("after", 1));
	log_end(&scratch, saved, &text);
	json_auto_t *line = parsed(&text);
	ck_assert(json_is_true(json_object_get(line, "cut")));
	ck_assert_int_eq(json_integer_value(json_object_get(line, "first")), 1);
	ck_assert_ptr_null(json_object_get(line, "body"));
	ck_assert_ptr_null(json_object_get(line, "after"));
}
END_TEST

START_TEST(test_log_level_keeps_lower_levels_out)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf text = BUF_INIT(100000);
	enum log_level level = LOG_ERROR;
	ck_assert_int_eq(log_level_parse(&level, "loud"), -1);
	ck_assert_int_eq(level, LOG_ERROR);
	ck_assert_int_eq(log_level_parse(&level, "warn"), 0);
	ck_assert_int_eq(level, LOG_WARN);
	const int saved = log_begin(&scratch);
	log_event(LOG_DEBUG, "by-default", F_INT("n", 0));
	log_set_level(LOG_WARN);
	log_event(LOG_INFO, "below", F_INT("n", 1));
	log_event(LOG_WARN, "at", F_INT("n", 2));
	log_set_level(LOG_INFO);
	log_end(&scratch, saved, &text);
	json_auto_t *line = parsed(&text);
	ck_assert_str_eq(text_of(line, "event"), "at");
}
END_TEST

#define LINES 200

static void *write_lines(void *letter)
{
	char body[1000];
	memset(body, *(char *)letter, sizeof(body) - 1);
	body[sizeof(body) - 1] = 0;
	for (int i = 0; i < LINES; i++)
		log_event(LOG_INFO, "line", F_TEXT("body", body));
	return NULL;
}

START_TEST(test_log_lines_of_many_threads_stay_whole)
{
	SCRATCH(scratch);
	AUTO_BUF struct buf text = BUF_INIT(10000000);
	static char letters[] = "abcd";
	pthread_t threads[4];
	const int saved = log_begin(&scratch);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, &letters[i]), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	log_end(&scratch, saved, &text);
	int lines = 0;
	for (char *at = text.data, *end; (end = strchr(at, '\n')); at = end + 1, lines++) {
		struct err err;
		json_auto_t *line = json_parse(at, (size_t)(end - at), "line", &err);
		ck_assert_msg(line != NULL, "%s", err.text);
		const char *body = text_of(line, "body");
		ck_assert_uint_eq(strspn(body, (char[]){body[0], 0}), 999);
	}
	ck_assert_int_eq(lines, LINES * (int)COUNT_OF(threads));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_log_writes_one_json_line,
		test_log_escapes_what_strangers_send,
		test_log_cuts_long_texts_and_says_so,
		test_log_drops_fields_without_room_and_says_so,
		test_log_level_keeps_lower_levels_out,
		test_log_lines_of_many_threads_stay_whole,
	};
	return suite_run("log", tests, COUNT_OF(tests));
}
