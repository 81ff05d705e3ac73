/* Health, readiness, status, metrics, and the API's own description. */
#include "base/clock.h"
#include "manifest/publish.h"
#include "rollout/engine.h"
#include "server/api.h"
#include "server/app.h"
#include "server/config.h"
#include "server/housekeeping.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/share.h"
#include "server/workers.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/delta_job.h"
#include "store/ledger.h"
#include "telemetry/intake.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define METRICS_MAX ((size_t)1024 * 1024)

/* The document, byte for byte, as the linker found it. */
__asm__(".section .rodata\n"
	".global flotilla_openapi\n"
	"flotilla_openapi:\n"
	".incbin \"schema/openapi.yaml\"\n"
	".global flotilla_openapi_end\n"
	"flotilla_openapi_end:\n"
	".byte 0\n"
	".previous\n");
extern const char flotilla_openapi[], flotilla_openapi_end[];

int api_openapi(struct request *rq, struct reply *reply, struct err *err)
{
	(void)rq;
	return reply_bytes(reply, 200, "application/yaml", flotilla_openapi,
			   /* cppcheck-suppress comparePointers; the linker puts one after the other */
			   (size_t)(flotilla_openapi_end - flotilla_openapi), err);
}

int api_healthz(struct request *rq, struct reply *reply, struct err *err)
{
	(void)rq;
	return reply_bytes(reply, 200, "text/plain", "ok\n", 3, err);
}

/* ---- Checks.  Each says in detail what is wrong and what to do. ---- */

#define DETAIL 256

static bool check_database(struct request *rq, char detail[static DETAIL])
{
	char value[64];
	struct err err;

	if (db_meta_get(rq->db, "ready", value, sizeof(value), &err) == 0 ||
	    err.status == ERR_NOT_FOUND)
		return true;
	snprintf(detail, DETAIL, "the database cannot be read; the log tells why");
	return false;
}

static bool check_disk(struct request *rq, char detail[static DETAIL])
{
	const struct config *config = rq->app->config;
	struct statvfs fs;
	int64_t mib;

	if (statvfs(config->data_dir, &fs) < 0) {
		snprintf(detail, DETAIL, "data_dir cannot be read");
		return false;
	}
	mib = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize / (1024 * 1024);
	snprintf(detail, DETAIL, "%lld MiB free", (long long)mib);
	if (mib >= config->reserve_mib)
		return true;
	snprintf(detail, DETAIL,
		 "%lld MiB free, below reserve_mib = %lld: uploads and reports are refused; make "
		 "room",
		 (long long)mib, (long long)config->reserve_mib);
	return false;
}

static bool check_ledger(struct request *rq, char detail[static DETAIL])
{
	struct ledger_stats stats;

	ledger_stats(rq->app->ledger, &stats);
	snprintf(detail, DETAIL, "%u waiting", stats.queued);
	if (stats.queued < rq->app->config->ledger_queue / 2)
		return true;
	snprintf(detail, DETAIL, "%u of %lld operations waiting: the disk does not keep up",
		 stats.queued, (long long)rq->app->config->ledger_queue);
	return false;
}

static bool check_keys(struct request *rq, char detail[static DETAIL])
{
	struct publisher_stats stats;

	publisher_stats(rq->app->publisher, &stats);
	snprintf(detail, DETAIL, "%s",
		 rq->app->development ? "development keys: not for production" : "offline root");
	if (stats.stranded)
		snprintf(detail, DETAIL,
			 "%u roots name an online seed that is gone: flotilla keys export, sign-root, "
			 "import",
			 stats.stranded);
	return !stats.stranded;
}

static bool check_restored(struct request *rq, char detail[static DETAIL])
{
	const bool withheld = publisher_withheld(rq->app->publisher);

	snprintf(detail, DETAIL, "%s",
		 withheld ? "a restored backup: nothing is signed or served; flotilla db status"
			  : "as new as what was published");
	return !withheld;
}

/* Whether devices get documents that they will still accept. */
static bool check_signing(struct request *rq, char detail[static DETAIL])
{
	struct publisher_stats stats;
	char doubt[200];
	int64_t left;

	publisher_stats(rq->app->publisher, &stats);
	left = stats.first_expiry - clock_s(&rq->app->clock);
	snprintf(detail, DETAIL, "%u repositories, %u documents", stats.repositories,
		 stats.documents);
	if (publisher_clock_doubt(rq->app->publisher, doubt)) {
		snprintf(detail, DETAIL, "not signing: %s", doubt);
		return false;
	}
	if (!stats.repositories) {
		snprintf(detail, DETAIL,
			 "nothing is published: sign the pending roots with the offline seed");
		return false;
	}
	if (!stats.first_expiry || left > 0)
		return true;
	snprintf(detail, DETAIL, "a document expired %lld s ago and was not signed anew",
		 (long long)-left);
	return false;
}

static const struct {
	const char *name;
	bool (*run)(struct request *rq, char detail[static DETAIL]);
} checks[] = {
	{"database", check_database},
	{"disk", check_disk},
	{"ledger", check_ledger},
	{"restore", check_restored},
	{"signing", check_signing},
	{"keys", check_keys},
};

/* [{name, ok, detail}]; *ret_ready: all are. */
static json_t *checks_json(struct request *rq, bool *ret_ready)
{
	json_t *list = json_array();

	*ret_ready = true;
	for (size_t i = 0; i < COUNT_OF(checks); i++) {
		char detail[DETAIL] = "";
		bool ok = checks[i].run(rq, detail);

		*ret_ready = *ret_ready && ok;
		json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", checks[i].name,
						      "ok", ok, "detail", detail));
	}
	return list;
}

int api_readyz(struct request *rq, struct reply *reply, struct err *err)
{
	bool ready;
	json_t *list = checks_json(rq, &ready);

	return reply_json(reply, ready ? 200 : 503,
			  json_pack("{s:b, s:b, s:o}", "ready", ready, "development_keys",
				    rq->app->development, "checks", list),
			  err);
}

static json_t *clock_json(const struct clock *clock)
{
	return json_pack("{s:I, s:I, s:I}", "real_ms", (json_int_t)clock_wall_ms(), "own_ms",
			 (json_int_t)clock_ms(clock), "speed", (json_int_t)clock->speed);
}

int api_status(struct request *rq, struct reply *reply, struct err *err)
{
	const struct app *app = rq->app;
	char text[CLOCK_TEXT];
	bool ready;
	json_t *list = checks_json(rq, &ready);

	clock_text(clock_s(&app->clock), text);
	return reply_json(
		reply, 200,
		json_pack("{s:s, s:s, s:o, s:b, s:b, s:o, s:{s:s, s:s}, s:I}", "version",
			  FLOTILLA_VERSION, "time", text, "clock", clock_json(&app->clock),
			  "development_keys", app->development, "ready", ready, "checks", list,
			  "addresses", "device", app->config->device_listen, "admin",
			  app->config->admin_listen, "uptime_s",
			  (json_int_t)((clock_wall_ms() - app->started_ms) / 1000)),
		err);
}

/* ---- Metrics. ---- */

static void ledger_metrics(const struct app *app, struct buf *out)
{
	struct ledger_stats stats;

	ledger_stats(app->ledger, &stats);
	metrics_value(out, "flotilla_ledger_commits_total", "counter", "Durable commits",
		      (double)stats.commits);
	metrics_value(out, "flotilla_ledger_operations_total", "counter",
		      "Operations in them", (double)stats.operations);
	metrics_value(out, "flotilla_ledger_failures_total", "counter",
		      "Operations that failed", (double)stats.failures);
	metrics_value(out, "flotilla_ledger_queued", "gauge", "Operations waiting",
		      stats.queued);
	metrics_value(out, "flotilla_ledger_commit_seconds_total", "counter",
		      "Time spent in commits", (double)stats.commit_us_sum / 1e6);
}

static void intake_metrics(const struct app *app, struct buf *out)
{
	struct intake_stats stats;

	intake_stats(app->intake, &stats);
	metrics_value(out, "flotilla_reports_merged_total", "counter", "Reports counted",
		      (double)stats.verdicts[INTAKE_MERGED]);
	metrics_value(out, "flotilla_reports_duplicate_total", "counter",
		      "Reports seen before", (double)stats.verdicts[INTAKE_DUPLICATE]);
	metrics_value(out, "flotilla_reports_unknown_total", "counter",
		      "Reports about what is not known", (double)stats.verdicts[INTAKE_UNKNOWN]);
	metrics_value(out, "flotilla_reports_refused_total", "counter",
		      "Reports refused because too many wait", (double)stats.refused);
	metrics_value(out, "flotilla_reports_queued", "gauge", "Reports waiting", stats.queued);
	metrics_value(out, "flotilla_reports_remembered", "gauge",
		      "Reports of which a copy would be known", (double)stats.nonces);
}

static void worker_metrics(const struct app *app, struct buf *out)
{
	struct workers_stats stats, bulk;

	workers_stats(app->workers, &stats);
	workers_stats(app->bulk, &bulk);
	metrics_value(out, "flotilla_jobs_total", "counter", "Jobs begun by workers, of both listeners",
		      (double)(stats.jobs + bulk.jobs));
	metrics_value(out, "flotilla_jobs_refused_total", "counter",
		      "Jobs refused because too many wait", (double)(stats.refused + bulk.refused));
	metrics_value(out, "flotilla_jobs_queued", "gauge", "Jobs waiting",
		      stats.queued + bulk.queued);
	metrics_value(out, "flotilla_workers_busy", "gauge", "Workers at work",
		      stats.busy + bulk.busy);
}

static void publisher_metrics(const struct app *app, struct buf *out)
{
	struct publisher_stats stats;

	publisher_stats(app->publisher, &stats);
	metrics_value(out, "flotilla_signed_documents_total", "counter", "Documents signed",
		      (double)stats.signed_documents);
	metrics_value(out, "flotilla_snapshot_swaps_total", "counter",
		      "Times the published documents were swapped", (double)stats.swaps);
	metrics_value(out, "flotilla_signing_refusals_total", "counter",
		      "Times the clock guard refused to sign", (double)stats.refusals);
	metrics_value(out, "flotilla_documents", "gauge", "Documents published",
		      stats.documents);
	metrics_value(out, "flotilla_repositories", "gauge", "Repositories published",
		      stats.repositories);
	metrics_value(out, "flotilla_stranded_roots", "gauge",
		      "Roots that name an online seed which is gone", (double)stats.stranded);
	metrics_value(out, "flotilla_restored", "gauge",
		      "1 while a restored database waits for an operator",
		      publisher_withheld(app->publisher));
	metrics_value(out, "flotilla_first_expiry_seconds", "gauge",
		      "Own time at which the first current document expires",
		      (double)stats.first_expiry);
}

static void engine_metrics(const struct app *app, struct buf *out)
{
	struct engine_stats stats;

	engine_stats(app->engine, &stats);
	metrics_value(out, "flotilla_engine_ticks_total", "counter", "Looks of the engine at the lanes",
		      (double)stats.ticks);
	metrics_value(out, "flotilla_engine_failures_total", "counter",
		      "Of these, those in which something failed", (double)stats.failures);
	metrics_value(out, "flotilla_engine_decisions_total", "counter",
		      "Lanes that the engine advanced, held or took back", (double)stats.decisions);
	metrics_value(out, "flotilla_engine_tick_max_seconds", "gauge",
		      "The longest look since the start", (double)stats.tick_us_max / 1e6);
	metrics_value(out, "flotilla_lanes", "gauge", "Lanes that are running or holding",
		      stats.lanes);
}

static void care_metrics(const struct app *app, struct buf *out)
{
	metrics_value(out, "flotilla_store_collected_timestamp_seconds", "gauge",
		      "Real time at which the last collection ended; 0: none did",
		      (double)housekeeping_last(app->housekeeping, CHORE_GC));
	metrics_value(out, "flotilla_store_scrubbed_timestamp_seconds", "gauge",
		      "Real time at which the last scrub ended; 0: none did",
		      (double)housekeeping_last(app->housekeeping, CHORE_SCRUB));
	metrics_value(out, "flotilla_store_damaged", "gauge",
		      "Packs, recipes and deltas that the last scrub found damaged",
		      (double)housekeeping_damaged(app->housekeeping));
}

static int delta_metrics(struct request *rq, struct buf *out, struct err *err)
{
	struct delta_job_sums sums;

	if (delta_job_sum(rq->db, &sums, err) < 0)
		return -1;
	metrics_value(out, "flotilla_deltas_queued", "gauge", "Deltas waiting or being made",
		      (double)(sums.count[DELTA_QUEUED] + sums.count[DELTA_RUNNING]));
	metrics_value(out, "flotilla_deltas_failed", "gauge", "Deltas that could not be made",
		      (double)sums.count[DELTA_FAILED]);
	metrics_value(out, "flotilla_deltas", "gauge", "Deltas that are made and listed",
		      (double)sums.count[DELTA_DONE]);
	metrics_value(out, "flotilla_delta_bytes", "gauge", "Bytes of these", (double)sums.bytes);
	return 0;
}

static void store_metrics(const struct app *app, struct buf *out)
{
	struct blobs_stats stats;

	blobs_stats(app->blobs, &stats);
	metrics_value(out, "flotilla_mapped_bytes", "gauge", "Bytes of files kept mapped",
		      (double)stats.mapped_bytes);
	metrics_value(out, "flotilla_disk_free_bytes", "gauge", "Free on the data disk",
		      (double)stats.disk_free);
	metrics_value(out, "flotilla_answers_fed", "gauge", "Files being unpacked for clients",
		      shares_taken(app->feeds));
}

int api_metrics(struct request *rq, struct reply *reply, struct err *err)
{
	const struct app *app = rq->app;
	AUTO_BUF struct buf out = BUF_INIT(METRICS_MAX);
	size_t len;
	char *text;

	metrics_text(app->metrics, routes, route_count, &out);
	metrics_value(&out, "flotilla_http_swept_total", "counter",
		      "Connections ended by a deadline",
		      (double)(listener_swept(app->device) + listener_swept(app->admin)));
	ledger_metrics(app, &out);
	intake_metrics(app, &out);
	worker_metrics(app, &out);
	publisher_metrics(app, &out);
	store_metrics(app, &out);
	engine_metrics(app, &out);
	care_metrics(app, &out);
	if (delta_metrics(rq, &out, err) < 0)
		return -1;
	metrics_value(&out, "flotilla_clock_seconds", "gauge", "The server's own time",
		      (double)clock_ms(&app->clock) / 1e3);
	if (buf_ok(&out, "metrics", err) < 0)
		return -1;
	text = buf_take(&out, &len);
	reply_take(reply, 200, "text/plain; version=0.0.4", text, len);
	return 0;
}
