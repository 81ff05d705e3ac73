/* flotillad init.  See app.h. */
#include "server/app.h"

#include "base/file.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/journal.h"
#include "manifest/keystore.h"
#include "manifest/publish.h"
#include "server/auth.h"
#include "server/config.h"
#include "store/db.h"
#include "store/ledger.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_MAX_BYTES 1200
#define INDEX_ROOT "/v1/index/tuf/1.root.json"

struct init {
	struct clock clock;
	struct auth *auth;
	struct publisher *publisher;
	struct token_made admin;
};

/* All rows in one transaction. */
static int rows_run(struct db *db, void *arg, struct err *err)
{
	struct init *init = arg;
	int64_t now = clock_s(&init->clock);
	const struct token_spec spec = {.name = "admin", .role = ROLE_ADMIN};
	const struct journal_entry entry = {.t = now,
					    .actor = "init",
					    .action = "server.init",
					    .resource = "flotillad",
					    .request = ""};

	if (class_init(db, now, err) < 0 || catalog_channel_add(db, "stable", now, err) < 0 ||
	    auth_insert(init->auth, db, &spec, &init->admin, err) < 0 ||
	    journal_audit(db, &entry, err) < 0)
		return -1;
	return publish_all(init->publisher, db, err);
}

static int rows_make(struct init *init, const char *data_dir, const struct keystore *keys,
		     struct err *err)
{
	struct ledger *ledger = NULL;
	int result;
	AUTO(db_close) struct db *db = NULL;

	clock_real(&init->clock);
	if (app_db_open(&db, data_dir, true, err) < 0 ||
	    auth_new(&init->auth, db, &init->clock, err) < 0 ||
	    publisher_new(&init->publisher, keys, &init->clock, err) < 0 ||
	    publisher_load(init->publisher, db, err) < 0 ||
	    ledger_new(&ledger, TAKE(db), 16, err) < 0)
		return -1;
	result = ledger_run(ledger, rows_run, init, err);
	ledger_free(ledger);
	return result;
}

static int token_write(const struct init *init, const char *data_dir, struct err *err)
{
	char path[PATH_MAX_BYTES], text[TOKEN_SECRET + 1];
	int result;

	snprintf(path, sizeof(path), "%s/admin.token", data_dir);
	snprintf(text, sizeof(text), "%s\n", init->admin.secret);
	result = file_write(path, text, strlen(text), 0600, err);
	sodium_memzero(text, sizeof(text));
	if (result == 0)
		printf("admin token:   %s\n", path);
	return result;
}

/* The index root that an app embeds, as a file beside the database. */
static int root_write(const struct init *init, const char *data_dir, struct err *err)
{
	struct snapshot *snapshot = publisher_snapshot(init->publisher);
	const struct doc *doc = snapshot_find(snapshot, INDEX_ROOT);
	char path[PATH_MAX_BYTES];
	int result = 0;

	snprintf(path, sizeof(path), "%s/index.root.json", data_dir);
	if (doc)
		result = file_write(path, doc->bytes, doc->len, 0644, err);
	if (doc && result == 0)
		printf("index root:    %s (embed it in the app)\n", path);
	if (!doc)
		printf("index root:    none yet; sign the pending roots with the offline seed\n");
	snapshot_unref(snapshot);
	return result;
}

static int fresh_check(const char *data_dir, struct err *err)
{
	char path[PATH_MAX_BYTES];

	snprintf(path, sizeof(path), "%s/flotilla.db", data_dir);
	if (access(path, F_OK) == 0)
		return err_set(err, ERR_CONFLICT,
			       "%s already holds a database; choose another --data-dir, or run it",
			       data_dir);
	return 0;
}

static int init_steps(struct init *init, const char *data_dir, bool development, struct err *err)
{
	AUTO_KEYSTORE struct keystore keys = {0};

	if (keystore_init(data_dir, development, err) < 0 ||
	    keystore_load(&keys, data_dir, NULL, err) < 0 ||
	    rows_make(init, data_dir, &keys, err) < 0)
		return -1;
	printf("data:          %s\n", data_dir);
	if (token_write(init, data_dir, err) < 0 || root_write(init, data_dir, err) < 0)
		return -1;
	if (development)
		printf("DEVELOPMENT KEYS: roots are signed with a seed in this directory.  Devices are\n"
		       "served on loopback only, unless --insecure-dev.  Never ship an app that\n"
		       "trusts this root.\n");
	printf("start it with: flotillad --data-dir %s\n", data_dir);
	return 0;
}

int app_init(const struct config *config, bool development, struct err *err)
{
	struct init init = {0};
	int fd AUTO_FD = -1;
	int result;

	if (file_mkdirs(config->data_dir, 0700, err) < 0 ||
	    app_lock(config->data_dir, &fd, err) < 0 || fresh_check(config->data_dir, err) < 0)
		return -1;
	result = init_steps(&init, config->data_dir, development, err);
	publisher_free(init.publisher);
	auth_free(init.auth);
	sodium_memzero(&init.admin, sizeof(init.admin));
	return result;
}
