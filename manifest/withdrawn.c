#include "manifest/withdrawn.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "manifest/publish_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 1100
#define FILE_MAX (256 << 20)
#define LINE_MAX_BYTES 16384

static void path_of(char out[static PATH_BYTES], const char *data_dir)
{
	snprintf(out, PATH_BYTES, "%s/" WITHDRAWN_FILE, data_dir);
}

/* ---- adding ---- */

/* Where the last whole line ends: a crash may have left a part of one behind it. */
static int whole_end(int fd, int64_t *ret_end, struct err *err)
{
	char tail[LINE_MAX_BYTES];
	const int64_t size = lseek(fd, 0, SEEK_END);
	const int64_t from = size > LINE_MAX_BYTES ? size - LINE_MAX_BYTES : 0;
	if (size < 0)
		return err_sys(err, "cannot measure " WITHDRAWN_FILE);
	if (file_pread_all(fd, tail, (size_t)(size - from), from, err))
		return -1;
	int64_t end = size;
	while (end > from && tail[end - from - 1] != '\n')
		end--;
	if (end == from && from)
		return err_set(err, ERR_CORRUPT, WITHDRAWN_FILE ": its end is not text; move it away");
	*ret_end = end;
	return 0;
}

static int append(const char *data_dir, const char *line, size_t len, struct err *err)
{
	char path[PATH_BYTES];
	int64_t end;
	path_of(path, data_dir);
	const bool is_new = access(path, F_OK) != 0;
	AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "cannot open %s", path);
	if (whole_end(fd, &end, err) || file_pwrite_all(fd, line, len, end, err))
		return err_in(err, WITHDRAWN_FILE);
	if (ftruncate(fd, end + (int64_t)len) || fdatasync(fd))
		return err_sys(err, "cannot write %s", path);
	return is_new ? file_sync_dir(data_dir, err) : 0;
}

struct noted {
	struct publisher *p;
	int64_t publication;
};

static void note(void *arg)
{
	struct noted *noted = arg;
	publisher_came_to(noted->p, noted->publication);
	free(noted);
}

/* The next publication, although this signs nothing: a backup is older or newer than it. */
static int number(struct publisher *p, struct db *db, int64_t *ret, struct err *err)
{
	struct noted *noted = malloc(sizeof(*noted));
	if (!noted)
		return err_nomem(err);
	if (publisher_next_publication(p, db, ret, err)) {
		free(noted);
		return -1;
	}
	*noted = (struct noted){p, *ret};
	return db_after_commit(db, note, free, noted, err);
}

int withdrawn_add(struct publisher *p, struct db *db, json_t *entry, struct err *err)
{
	json_auto_t *own = entry;
	int64_t publication;
	AUTO_BUF struct buf line = BUF_INIT(LINE_MAX_BYTES);
	if (!own)
		return err_nomem(err);
	if (publisher_may_sign(p, clock_s(p->clock), err) || number(p, db, &publication, err))
		return -1;
	if (json_object_set_new(own, "publication", json_integer(publication)) ||
	    json_object_set_new(own, "t", json_integer(clock_s(p->clock))))
		return err_nomem(err);
	char *text = json_dumps(own, JSON_COMPACT | JSON_SORT_KEYS);
	if (!text)
		return err_nomem(err);
	buf_adds(&line, text);
	buf_addc(&line, '\n');
	free(text);
	return buf_ok(&line, WITHDRAWN_FILE, err) ||
			       append(p->keys.data_dir, line.data, line.len, err)
		       ? -1
		       : 0;
}

/* ---- reading ---- */

static int read_line(const char *line, size_t len, unsigned number, int64_t publication,
		     json_t *entries, struct err *err)
{
	struct err why;
	json_auto_t *entry = json_parse(line, len, WITHDRAWN_FILE, &why);
	const json_t *at = json_object_get(entry, "publication");
	if (!json_is_integer(at) || !json_is_string(json_object_get(entry, "what")))
		return err_set(err, ERR_CORRUPT,
			       WITHDRAWN_FILE ": line %u is damaged: mend or remove it, and try again",
			       number);
	if (json_integer_value(at) <= publication)
		return 0;
	return json_array_append(entries, entry) ? err_nomem(err) : 0;
}

int withdrawn_since(const char *data_dir, int64_t publication, json_t **ret_entries,
		    struct err *err)
{
	char path[PATH_BYTES];
	unsigned number = 1;
	AUTO_BUF struct buf text = BUF_INIT(FILE_MAX);
	json_auto_t *entries = json_array();
	path_of(path, data_dir);
	if (!entries)
		return err_nomem(err);
	if (file_read(path, &text, err) && err->status != ERR_NOT_FOUND)
		return -1;
	const char *at = text.data, *end;
	while (at && (end = strchr(at, '\n'))) {
		if (read_line(at, (size_t)(end - at), number++, publication, entries, err))
			return -1;
		at = end + 1;
	}
	*ret_entries = json_incref(entries);
	return 0;
}
