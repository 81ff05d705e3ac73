/* bench_resign DIR ROUNDS [CHANNELS CLASSES]: every manifest of a server (10 x 1,000) signed anew and
 * published in one transaction, against as many signatures (three a manifest, over texts of the same
 * lengths) and one commit of as many rows.  A line a round: manifests/s, the peer's manifests/s. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/offer.h"
#include "manifest/publish.h"
#include "server/app.h"
#include "server/device.h"
#include "store/ledger.h"

#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROLES 3 /* signed anew of each repository */
#define PUSH_ON_S (30 * 3600)

struct bench {
	int channels, classes;
	struct clock clock;
	struct keystore keys;
	struct publisher *publisher;
	struct ledger *ledger;
	int64_t signed_repos;
};

static void must(int bad, const struct err *err)
{
	if (!bad)
		return;
	fprintf(stderr, "bench_resign: %s\n", err->text);
	exit(1);
}

static double seconds(int64_t since_ms)
{
	return (double)(clock_monotonic_ms() - since_ms) / 1000;
}

/* ---- a server with many manifests ---- */

static int lookup(void *arg, const struct digest *recipe, struct catalog_file *ret, struct err *err)
{
	(void)arg;
	(void)err;
	*ret = (struct catalog_file){1000, 900, *recipe};
	return 0;
}

static int add_release(struct db *db, int64_t now, struct err *err)
{
	static const char *const tiers[] = {"f16", "q8_0", "q4_0"};
	const struct release_spec spec = {.model = "assistant", .release = "1.0.0"};
	json_auto_t *body = json_pack(
		"{s:s, s:[{s:s, s:s}]}", "format", "gguf", "files", "name", "model.gguf", "recipe",
		"00000000000000000000000000000000000000000000000000000000000000aa");
	if (catalog_model_add(db, "assistant", now, err) || catalog_release_add(db, &spec, now, err))
		return -1;
	for (size_t i = 0; i < COUNT_OF(tiers); i++)
		if (catalog_variant_put(db, "assistant", "1.0.0", tiers[i], body, lookup, NULL, now,
					err))
			return -1;
	return catalog_release_publish(db, "assistant", "1.0.0", now, err);
}

static json_t *rules(int classes)
{
	json_t *list = json_array();
	for (int i = 0; i < classes; i++) {
		char name[32];
		snprintf(name, sizeof name, "class-%d", i);
		json_t *rule = json_pack("{s:s}", "class", name);
		if (i + 1 < classes)
			json_object_set_new(rule, "any",
					    json_pack("[{s:[{s:s, s:s, s:i}]}]", "all", "attr", "ram_mib",
						      "op", "ge", "value", 100000 - i));
		json_array_append_new(list, rule);
	}
	return json_pack("{s:i, s:o}", "schema", 1, "rules", list);
}

static int fill(struct db *db, void *arg, struct err *err)
{
	struct bench *b = arg;
	const int64_t now = clock_s(&b->clock);
	int64_t version;
	json_auto_t *document = rules(b->classes);
	if (class_init(db, now, err) || add_release(db, now, err) ||
	    class_rules_put(db, document, -1, "bench", now, &version, err))
		return -1;
	for (int c = 0; c < b->channels; c++) {
		char channel[32], class[32];
		snprintf(channel, sizeof channel, "channel-%d", c);
		if (catalog_channel_add(db, channel, now, err))
			return -1;
		for (int i = 0; i < b->classes; i++) {
			snprintf(class, sizeof class, "class-%d", i);
			if (offer_bootstrap(db, channel, class, "assistant", "1.0.0", now, err))
				return -1;
		}
	}
	return publish_all(b->publisher, db, err);
}

static int resign(struct db *db, void *arg, struct err *err)
{
	struct bench *b = arg;
	return publish_due(b->publisher, db, (int64_t)b->channels * b->classes + 1, &b->signed_repos,
			   err);
}

static double ours(struct bench *b)
{
	struct err err;
	clock_fast(&b->clock, clock_ms(&b->clock) + PUSH_ON_S * 1000LL, 1);
	const int64_t since = clock_monotonic_ms();
	must(ledger_run(b->ledger, resign, b, &err), &err);
	const double took = seconds(since);
	if (b->signed_repos < (int64_t)b->channels * b->classes) {
		fprintf(stderr, "bench_resign: only %lld were signed\n", (long long)b->signed_repos);
		exit(1);
	}
	return took;
}

/* ---- the peer ---- */

/* The documents of one repository, as they are published. */
static size_t lengths(struct bench *b, size_t out[ROLES])
{
	struct snapshot *s = publisher_snapshot(b->publisher);
	const struct doc *targets = snapshot_find(s, "/v1/c/channel-0/class-0/manifest.json");
	const struct doc *timestamp = snapshot_find(s, "/v1/c/channel-0/class-0/tuf/timestamp.json");
	out[0] = targets->len;
	out[1] = out[2] = timestamp->len;
	snapshot_unref(s);
	return out[0] + out[1] + out[2];
}

static double signatures(const struct bench *b, const size_t len[ROLES])
{
	static uint8_t text[1 << 20];
	uint8_t pk[32], sk[64], sig[64];
	crypto_sign_keypair(pk, sk);
	const int64_t since = clock_monotonic_ms();
	for (int i = 0; i < b->channels * b->classes; i++)
		for (int r = 0; r < ROLES; r++) {
			text[0] = sig[0];
			crypto_sign_detached(sig, NULL, text, len[r], sk);
		}
	return seconds(since);
}

static void sql(sqlite3 *db, const char *text)
{
	if (sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK)
		return;
	fprintf(stderr, "bench_resign: %s\n", sqlite3_errmsg(db));
	exit(1);
}

static double commit(const struct bench *b, const char *dir, const size_t len[ROLES])
{
	static const uint8_t text[1 << 20];
	char path[1200];
	sqlite3 *db;
	sqlite3_stmt *q;
	snprintf(path, sizeof path, "%s/peer.db", dir);
	unlink(path);
	sqlite3_open(path, &db);
	sql(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		"CREATE TABLE d (repo INT, role INT, bytes BLOB, PRIMARY KEY (repo, role))");
	sqlite3_prepare_v2(db, "INSERT INTO d VALUES (?, ?, ?)", -1, &q, NULL);
	const int64_t since = clock_monotonic_ms();
	sql(db, "BEGIN");
	for (int i = 0; i < b->channels * b->classes; i++)
		for (int r = 0; r < ROLES; r++) {
			sqlite3_bind_int(q, 1, i);
			sqlite3_bind_int(q, 2, r);
			sqlite3_bind_blob(q, 3, text, (int)len[r], SQLITE_STATIC);
			if (sqlite3_step(q) != SQLITE_DONE)
				sql(db, "broken");
			sqlite3_reset(q);
		}
	sql(db, "COMMIT");
	const double took = seconds(since);
	sqlite3_finalize(q);
	sqlite3_close(db);
	unlink(path);
	return took;
}

int main(int argc, char **argv)
{
	struct err err;
	struct db *db;
	size_t len[ROLES];
	struct bench b = {.channels = argc > 4 ? atoi(argv[3]) : 10,
			  .classes = argc > 4 ? atoi(argv[4]) : 1000};
	if (argc < 3 || sodium_init() < 0)
		return 2;
	clock_fast(&b.clock, clock_wall_ms(), 1);
	must(file_mkdirs(argv[1], 0700, &err) || keystore_init(argv[1], true, &err) ||
		     keystore_load(&b.keys, argv[1], NULL, &err) ||
		     app_db_open(&db, argv[1], true, &err) ||
		     publisher_new(&b.publisher, &b.keys, &b.clock, &err) ||
		     publisher_load(b.publisher, db, &err) || ledger_new(&b.ledger, db, 64, &err),
	     &err);
	publisher_on_doc(b.publisher, device_doc_ready, NULL);
	must(ledger_run(b.ledger, fill, &b, &err), &err);
	lengths(&b, len);
	const double manifests = (double)b.channels * b.classes;
	for (int round = 0; round < atoi(argv[2]); round++) {
		const double peer = signatures(&b, len) + commit(&b, argv[1], len);
		printf("%.1f %.1f\n", manifests / ours(&b), manifests / peer);
		fflush(stdout);
	}
	ledger_free(b.ledger);
	publisher_free(b.publisher);
	keystore_done(&b.keys);
	return 0;
}
