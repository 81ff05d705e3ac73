/* tuf_client: our TUF client behind the command line of tuf-conformance, so that its suite, and the
 * attack suite, can drive it.
 *   tuf_client --metadata-dir DIR [--metadata-url URL] [--target-name NAME --target-base-url URL
 *              --target-dir DIR] [--timeout-ms N] init ROOT | refresh | download
 * Metadata is kept in DIR as root.json, timestamp.json, snapshot.json, targets.json.  Exit status: 0,
 * or 1 with the reason on standard error. */
#include "base/clock.h"
#include "base/file.h"
#include "manifest/tuf.h"
#include "sdk/flotilla.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct client {
	const char *dir, *url, *target, *target_url, *target_dir;
	int64_t timeout_ms;
	void *curl;
	struct tuf_trust trust;
};

typedef int update_fn(struct tuf_trust *trust, const char *bytes, size_t len, int64_t now,
		      struct err *err);

static int say(const struct err *err)
{
	fprintf(stderr, "tuf_client: %s\n", err->text);
	return 1;
}

static int on_body(void *arg, const void *bytes, size_t len)
{
	struct buf *buf = arg;
	buf_add(buf, bytes, len);
	return buf->failed;
}

/* The HTTP status, or 0 with *err. */
static int get(struct client *c, const char *url, struct buf *buf, struct err *err)
{
	struct flotilla_response response = {.status = 0};
	const struct flotilla_request request = {.url = url, .to = -1,
						 .max_bytes = (int64_t)buf->max + 1,
						 .timeout_ms = c->timeout_ms, .on_body = on_body,
						 .arg = buf};
	if (flotilla_transport_curl(c->curl, &request, &response)) {
		err_set_text(err, ERR_NETWORK, "network: %s: %s", url, response.error);
		return 0;
	}
	if (buf->failed) {
		err_set_text(err, ERR_TOO_LARGE, "too-large: %s: more than %zu bytes", url, buf->max);
		return 0;
	}
	return response.status;
}

static void local_path(const struct client *c, enum tuf_role role, char out[static 1200])
{
	snprintf(out, 1200, "%s/%s.json", c->dir, tuf_role_name(role));
}

static int store(const struct client *c, enum tuf_role role, const struct buf *buf, struct err *err)
{
	char path[1200];
	local_path(c, role, path);
	return file_write(path, buf->data, buf->len, 0644, err);
}

/* ---- what is there ---- */

static int load(struct client *c, enum tuf_role role, update_fn *update, struct err *err)
{
	char path[1200];
	AUTO_BUF struct buf buf = BUF_INIT(tuf_max_bytes(role));
	local_path(c, role, path);
	if (file_read(path, &buf, err))
		return -1;
	return update ? update(&c->trust, buf.data, buf.len, TUF_STORED, err)
		      : tuf_trust_root(&c->trust, buf.data, buf.len, err);
}

static int load_all(struct client *c, struct err *err)
{
	struct err ignored;
	if (load(c, TUF_ROOT, NULL, err))
		return -1;
	if (!load(c, TUF_TIMESTAMP, tuf_update_timestamp, &ignored) &&
	    !load(c, TUF_SNAPSHOT, tuf_update_snapshot, &ignored) &&
	    load(c, TUF_TARGETS, tuf_update_targets, &ignored))
		return 0; /* what does not fit is fetched again */
	return 0;
}

/* ---- a refresh ---- */

static int unexpected(const char *url, int status, struct err *err)
{
	return status ? err_set(err, ERR_NETWORK, "network: %s answered %d", url, status) : -1;
}

static int climb(struct client *c, struct err *err)
{
	for (unsigned i = 0; i < TUF_ROOT_STEPS; i++) {
		char url[1200];
		AUTO_BUF struct buf buf = BUF_INIT(TUF_ROOT_MAX);
		snprintf(url, sizeof url, "%s/%lld.root.json", c->url,
			 (long long)c->trust.version[TUF_ROOT] + 1);
		const int status = get(c, url, &buf, err);
		if (status == 404 || status == 403)
			return 0;
		if (status != 200)
			return unexpected(url, status, err);
		if (tuf_update_root(&c->trust, buf.data, buf.len, err) ||
		    store(c, TUF_ROOT, &buf, err))
			return -1;
	}
	return 0;
}

static int fetch(struct client *c, enum tuf_role role, const char *url, update_fn *update,
		 struct err *err)
{
	AUTO_BUF struct buf buf = BUF_INIT(tuf_max_bytes(role));
	const int status = get(c, url, &buf, err);
	if (status != 200)
		return unexpected(url, status, err);
	return update(&c->trust, buf.data ? buf.data : "", buf.len, clock_wall_ms() / 1000, err) ||
			       store(c, role, &buf, err)
		       ? -1
		       : 0;
}

static int fetch_child(struct client *c, enum tuf_role role, update_fn *update, struct err *err)
{
	char url[1200];
	struct tuf_meta meta;
	if (tuf_meta_get(&c->trust, role, &meta, err))
		return -1;
	if (c->trust.body[role] && c->trust.version[role] == meta.version)
		return 0;
	snprintf(url, sizeof url, "%s/%lld.%s.json", c->url, (long long)meta.version,
		 tuf_role_name(role));
	return fetch(c, role, url, update, err);
}

static int refresh(struct client *c, struct err *err)
{
	char url[1200];
	snprintf(url, sizeof url, "%s/timestamp.json", c->url);
	if (load_all(c, err) || climb(c, err) ||
	    fetch(c, TUF_TIMESTAMP, url, tuf_update_timestamp, err) ||
	    fetch_child(c, TUF_SNAPSHOT, tuf_update_snapshot, err) ||
	    fetch_child(c, TUF_TARGETS, tuf_update_targets, err))
		return -1;
	if (tuf_expires(&c->trust) <= clock_wall_ms() / 1000)
		return err_set(err, ERR_UNTRUSTED, "expired: what the server has is too old");
	return 0;
}

/* ---- a target ---- */

static int download(struct client *c, struct err *err)
{
	char url[2400], path[2400], hex[DIGEST_HEX];
	struct tuf_target target;
	struct digest have;
	const char *slash = c->target ? strrchr(c->target, '/') : NULL;
	const int dir = slash ? (int)(slash + 1 - c->target) : 0;
	if (!c->target || !c->target_url || !c->target_dir)
		return err_set(err, ERR_INVALID,
			       "--target-name, --target-base-url and --target-dir are required");
	if (refresh(c, err) || tuf_target_find(&c->trust, c->target, &target, err))
		return -1;
	AUTO_BUF struct buf buf = BUF_INIT((size_t)target.length);
	digest_hex(&target.sha256, hex);
	snprintf(url, sizeof url, "%s/%.*s%s.%s", c->target_url, dir, c->target, hex,
		 c->target + dir);
	const int status = get(c, url, &buf, err);
	if (status != 200)
		return unexpected(url, status, err);
	digest_of(&have, buf.data ? buf.data : "", buf.len);
	if ((int64_t)buf.len != target.length || !digest_eq(&have, &target.sha256))
		return err_set(err, ERR_UNTRUSTED, "hash: %s is not what was signed", c->target);
	snprintf(path, sizeof path, "%s/%s", c->target_dir, c->target + dir);
	return file_write(path, buf.data ? buf.data : "", buf.len, 0644, err);
}

static int init(struct client *c, const char *root, struct err *err)
{
	AUTO_BUF struct buf buf = BUF_INIT(TUF_ROOT_MAX);
	if (!root)
		return err_set(err, ERR_INVALID, "init: give the trusted root's file");
	return file_read(root, &buf, err) || file_mkdirs(c->dir, 0755, err) ||
			       tuf_trust_root(&c->trust, buf.data, buf.len, err) ||
			       store(c, TUF_ROOT, &buf, err)
		       ? -1
		       : 0;
}

static const char **option(struct client *c, const char *name)
{
	static const char *const names[] = {"--metadata-dir", "--metadata-url", "--target-name",
					    "--target-base-url", "--target-dir"};
	const char **slots[] = {&c->dir, &c->url, &c->target, &c->target_url, &c->target_dir};
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (!strcmp(name, names[i]))
			return slots[i];
	return NULL;
}

static int run(struct client *c, const char *command, const char *operand, struct err *err)
{
	if (!c->dir || !command)
		return err_set(err, ERR_INVALID, "usage: tuf_client --metadata-dir DIR ... "
						 "init ROOT | refresh | download");
	if (!strcmp(command, "init"))
		return init(c, operand, err);
	if (!c->url)
		return err_set(err, ERR_INVALID, "--metadata-url is required");
	if (!strcmp(command, "refresh"))
		return refresh(c, err);
	if (!strcmp(command, "download"))
		return download(c, err);
	return err_set(err, ERR_INVALID, "%s: not init, refresh or download", command);
}

int main(int argc, char **argv)
{
	struct client c = {.timeout_ms = 30000};
	struct err err = {0};
	int i = 1;
	for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		const char **slot = option(&c, argv[i]);
		if (slot)
			*slot = argv[i + 1];
		else if (!strcmp(argv[i], "--timeout-ms"))
			c.timeout_ms = atoll(argv[i + 1]);
	}
	tuf_init(&c.trust);
	c.curl = flotilla_curl_new();
	const int bad = run(&c, i < argc ? argv[i] : NULL, i + 1 < argc ? argv[i + 1] : NULL, &err);
	flotilla_curl_free(c.curl);
	tuf_done(&c.trust);
	return bad ? say(&err) : 0;
}
