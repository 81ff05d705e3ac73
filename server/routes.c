/* THE table.  A row: method, pattern, least role, handler, then what differs from "a worker runs
 * it, no body, admin listener".  schema/openapi.yaml describes the same rows; a test compares. */
#include "server/api.h"
#include "server/route.h"

#include "telemetry/report.h"

#define MIB ((int64_t)1024 * 1024)
#define PACK_MAX (72 * MIB)    /* 64 MiB of chunks and the footer */
#define RECIPE_MAX (64 * MIB)
#define DIGESTS_MAX (32 * MIB) /* 2^20 digests */
#define UPLOAD_MAX (1LL << 50) /* .begin lowers it to max_file_bytes */
#define RULES_MAX (2 * MIB)
#define CEREMONY_MAX (64 * MIB)
#define RELAY_MAX (4 * MIB)   /* 1,000 reports, mostly compressed */

#define DEVICE .where = ON_LOOP, .listeners = LISTENER_DEVICE
#define DEVICE_WORKER .listeners = LISTENER_DEVICE
#define BOTH .where = ON_LOOP, .listeners = LISTENER_DEVICE | LISTENER_ADMIN
#define ADMIN_API "/admin/v1"

/* clang-format off */
const struct route routes[] = {
	/* Devices: documents, all from the published snapshot. */
	{ GET, "/v1/index/tuf/{file}", ROLE_ANYONE, api_document, DEVICE,
	  .summary = "A TUF document of the index: class rules, publishers, class roots" },
	{ GET, "/v1/index/targets/{path*}", ROLE_ANYONE, api_document, DEVICE,
	  .summary = "A target of the index by its consistent-snapshot name" },
	{ GET, "/v1/c/{channel}/{class}/tuf/{file}", ROLE_ANYONE, api_document, DEVICE,
	  .summary = "A TUF document of a class" },
	{ GET, "/v1/c/{channel}/{class}/manifest.json", ROLE_ANYONE, api_document, DEVICE,
	  .summary = "The manifest of a class: its current targets.json" },
	{ GET, "/v1/c/{channel}/{class}/targets/{path*}", ROLE_ANYONE, api_target, DEVICE_WORKER,
	  .summary = "A raw file by TUF's consistent-snapshot name" },
	{ GET, "/v1/attest/{sha256}", ROLE_ANYONE, api_document, DEVICE,
	  .summary = "The DSSE envelope of a variant" },

	/* Devices: bytes. */
	{ GET, "/v1/packs/{sha256}", ROLE_ANYONE, api_pack, DEVICE_WORKER,
	  .summary = "A pack of chunks; single ranges" },
	{ GET, "/v1/recipes/{sha256}", ROLE_ANYONE, api_recipe, DEVICE_WORKER,
	  .summary = "A file's recipe: its chunks' digests" },
	{ GET, "/v1/maps/{recipe}", ROLE_ANYONE, api_map, DEVICE_WORKER,
	  .summary = "Where a recipe's chunks lie: packs, offsets, codecs" },
	{ GET, "/v1/deltas/{new}/{old}/{n}", ROLE_ANYONE, api_delta, DEVICE_WORKER,
	  .summary = "A part of the delta between two recipes, which the new one's map lists; single ranges" },
	{ GET, "/v1/blobs/{digest}", ROLE_ANYONE, api_blob, DEVICE_WORKER,
	  .summary = "A whole raw file for curl and browsers; identity with ranges, or zstd" },
	{ POST, "/v1/telemetry", ROLE_ANYONE, api_telemetry_post, BODY_MEMORY, REPORT_MAX_BYTES,
	  DEVICE, .summary = "One anonymous report; 202 once it is durable" },
	{ POST, "/v1/telemetry/batch", ROLE_RELAY, api_relay_post, BODY_SPOOL, RELAY_MAX,
	  DEVICE_WORKER, .summary = "Reports that a relay gathered, one a line; 202 once all are durable" },

	/* Both. */
	{ GET, "/healthz", ROLE_ANYONE, api_healthz, BOTH,
	  .summary = "Whether the process answers" },
	{ GET, "/readyz", ROLE_ANYONE, api_readyz, .listeners = LISTENER_DEVICE | LISTENER_ADMIN,
	  .summary = "Whether it can do its work, check by check" },

	/* Operations. */
	{ GET, "/metrics", ROLE_ANYONE, api_metrics,
	  .summary = "Prometheus metrics of the daemon" },
	{ GET, "/openapi.yaml", ROLE_ANYONE, api_openapi,
	  .summary = "This document" },
	{ GET, ADMIN_API "/status", ROLE_VIEWER, api_status,
	  .summary = "Version, clock, checks, addresses" },

	/* Catalog. */
	{ GET, ADMIN_API "/models", ROLE_VIEWER, api_model_list,
	  .summary = "Models" },
	{ POST, ADMIN_API "/models", ROLE_PUBLISHER, api_model_create, BODY_JSON,
	  .summary = "Create a model" },
	{ GET, ADMIN_API "/models/{model}", ROLE_VIEWER, api_model_get,
	  .summary = "A model" },
	{ GET, ADMIN_API "/models/{model}/releases", ROLE_VIEWER, api_release_list,
	  .summary = "A model's releases" },
	{ POST, ADMIN_API "/models/{model}/releases", ROLE_PUBLISHER, api_release_create, BODY_JSON,
	  .summary = "Create a draft release" },
	{ GET, ADMIN_API "/models/{model}/releases/{release}", ROLE_VIEWER, api_release_get,
	  .summary = "A release with its variants and files" },
	{ PUT, ADMIN_API "/models/{model}/releases/{release}/variants/{tier}", ROLE_PUBLISHER,
	  api_variant_put, BODY_JSON,
	  .summary = "Set a variant of a draft release" },
	{ DELETE, ADMIN_API "/models/{model}/releases/{release}/variants/{tier}", ROLE_PUBLISHER,
	  api_variant_delete,
	  .summary = "Remove a variant of a draft release" },
	{ POST, ADMIN_API "/models/{model}/releases/{release}/publish", ROLE_PUBLISHER,
	  api_release_publish, BODY_MAYBE,
	  .summary = "Publish a release; it is immutable afterwards" },
	{ POST, ADMIN_API "/models/{model}/bootstrap", ROLE_OPERATOR, api_bootstrap, BODY_JSON,
	  .summary = "Set a model's first stable release on a channel" },
	{ GET, ADMIN_API "/stable", ROLE_VIEWER, api_stable_list,
	  .summary = "What each channel, class and model runs" },
	{ GET, ADMIN_API "/channels", ROLE_VIEWER, api_channel_list,
	  .summary = "Channels" },
	{ POST, ADMIN_API "/channels", ROLE_OPERATOR, api_channel_create, BODY_JSON,
	  .all_models = true, .summary = "Create a channel" },

	/* Signing keys. */
	{ GET, ADMIN_API "/keys", ROLE_VIEWER, api_keys_list,
	  .summary = "Which roots are signed, by how many, and which await it" },
	{ GET, ADMIN_API "/keys/pending", ROLE_ADMIN, api_keys_pending,
	  .all_models = true, .summary = "What awaits offline signatures, as a file to send round" },
	{ POST, ADMIN_API "/keys/roots", ROLE_ADMIN, api_keys_import, BODY_JSON, CEREMONY_MAX,
	  .all_models = true, .summary = "Take that file back, signed" },
	{ POST, ADMIN_API "/keys/rotate", ROLE_ADMIN, api_keys_rotate, BODY_MAYBE,
	  .all_models = true, .summary = "Make the next online seed" },

	/* A backup that was put back. */
	{ GET, ADMIN_API "/restored", ROLE_VIEWER, api_restored_status,
	  .summary = "Whether the database was restored, and what was taken back since" },
	{ POST, ADMIN_API "/restored", ROLE_ADMIN, api_restored, BODY_MAYBE,
	  .all_models = true, .summary = "Go on from a restored database" },

	/* Who may publish, and what is taken back. */
	{ GET, ADMIN_API "/publishers", ROLE_VIEWER, api_publisher_list,
	  .summary = "Publishers: as they will be signed, and as they are" },
	{ PUT, ADMIN_API "/publishers/{name}", ROLE_ADMIN, api_publisher_put, BODY_JSON,
	  .all_models = true, .summary = "Add or replace a publisher's key and models" },
	{ DELETE, ADMIN_API "/publishers/{name}", ROLE_ADMIN, api_publisher_revoke,
	  .all_models = true, .summary = "Revoke a publisher's key, at once" },
	{ PUT, ADMIN_API "/publisher-policy", ROLE_ADMIN, api_publisher_policy, BODY_JSON,
	  .all_models = true, .summary = "Whether every model needs a publisher; floors of counters" },
	{ GET, ADMIN_API "/revocations", ROLE_VIEWER, api_revocation_list,
	  .summary = "What devices must not load or believe" },
	{ POST, ADMIN_API "/revocations", ROLE_OPERATOR, api_revocation_create, BODY_JSON,
	  .summary = "Stop a file, a variant or a key everywhere" },
	{ DELETE, ADMIN_API "/revocations/{digest}", ROLE_ADMIN, api_revocation_end,
	  .all_models = true, .summary = "Allow it again" },

	/* Classes. */
	{ GET, ADMIN_API "/class-rules", ROLE_VIEWER, api_rules_get,
	  .summary = "The class rules; ETag" },
	{ PUT, ADMIN_API "/class-rules", ROLE_OPERATOR, api_rules_put, BODY_JSON, RULES_MAX,
	  .all_models = true, .summary = "Replace the class rules; If-Match" },
	{ GET, ADMIN_API "/classes", ROLE_VIEWER, api_classes_list,
	  .summary = "Classes" },
	{ POST, ADMIN_API "/classes", ROLE_OPERATOR, api_class_prepare, BODY_JSON,
	  .all_models = true, .summary = "Make a class before rules lead to it, so that its roots can be signed" },
	{ GET, ADMIN_API "/classes/{class}", ROLE_VIEWER, api_class_get,
	  .summary = "A class's settings; ETag" },
	{ PUT, ADMIN_API "/classes/{class}", ROLE_OPERATOR, api_class_put, BODY_JSON,
	  .all_models = true, .summary = "Replace a class's settings; If-Match" },
	{ POST, ADMIN_API "/class-explain", ROLE_VIEWER, api_class_explain, BODY_JSON,
	  .summary = "Which class a device's attributes lead to, and why" },
	{ POST, ADMIN_API "/class-plan", ROLE_VIEWER, api_class_plan, BODY_JSON, RULES_MAX,
	  .summary = "Which devices other rules would move, and which lanes that touches" },

	/* Manifests. */
	{ GET, ADMIN_API "/manifests", ROLE_VIEWER, api_manifest_list,
	  .summary = "Published manifests with their versions" },
	{ GET, ADMIN_API "/manifests/{channel}/{class}", ROLE_VIEWER, api_manifest_get,
	  .summary = "The current manifest of a class" },

	/* Rollouts. */
	{ POST, ADMIN_API "/rollout-plan", ROLE_VIEWER, api_rollout_plan, BODY_JSON,
	  .summary = "What a rollout would need: devices, nights, bytes, and what stands in its way" },
	{ POST, ADMIN_API "/rollouts", ROLE_OPERATOR, api_rollout_start, BODY_JSON,
	  .summary = "Start a rollout" },
	{ GET, ADMIN_API "/rollouts", ROLE_VIEWER, api_rollout_list,
	  .summary = "Rollouts" },
	{ GET, ADMIN_API "/rollouts/{id}", ROLE_VIEWER, api_rollout_get,
	  .summary = "A rollout with its lanes" },
	{ POST, ADMIN_API "/rollouts/{id}/pause", ROLE_OPERATOR, api_rollout_pause, BODY_MAYBE,
	  .summary = "Hold lanes" },
	{ POST, ADMIN_API "/rollouts/{id}/resume", ROLE_OPERATOR, api_rollout_resume, BODY_MAYBE,
	  .summary = "Let held lanes go on" },
	{ POST, ADMIN_API "/rollouts/{id}/advance", ROLE_OPERATOR, api_rollout_advance, BODY_MAYBE,
	  .summary = "Advance lanes to the next stage by hand" },
	{ POST, ADMIN_API "/rollouts/{id}/approve", ROLE_OPERATOR, api_rollout_approve, BODY_MAYBE,
	  .summary = "Approve the stage that lanes wait for" },
	{ POST, ADMIN_API "/rollouts/{id}/abort", ROLE_OPERATOR, api_rollout_abort, BODY_MAYBE,
	  .summary = "Withdraw the candidate" },
	{ POST, ADMIN_API "/rollouts/{id}/undo", ROLE_OPERATOR, api_rollout_undo, BODY_MAYBE,
	  .summary = "Return completed lanes to their previous stable" },
	{ GET, ADMIN_API "/rollouts/{id}/gates", ROLE_VIEWER, api_rollout_gates,
	  .summary = "What each gate of a lane knows" },
	{ GET, ADMIN_API "/rollouts/{id}/events", ROLE_VIEWER, api_rollout_events,
	  .summary = "A rollout's transitions with their evidence" },
	{ GET, ADMIN_API "/events", ROLE_VIEWER, api_event_list,
	  .summary = "Everything that happened, in order" },
	{ GET, ADMIN_API "/audit", ROLE_VIEWER, api_audit_list,
	  .summary = "Who changed what: the hash-chained audit log" },
	{ GET, ADMIN_API "/fleet/census", ROLE_VIEWER, api_census,
	  .summary = "Active devices by class and variant, never below min_cohort" },
	{ GET, ADMIN_API "/fleet/adoption", ROLE_VIEWER, api_adoption,
	  .summary = "How fast releases spread: days to 50, 90 and 99 % of active devices" },
	{ GET, ADMIN_API "/fleet/drift", ROLE_VIEWER, api_drift,
	  .summary = "Active devices that run what no manifest of theirs names, and why" },
	{ GET, ADMIN_API "/fleet/history", ROLE_VIEWER, api_history,
	  .summary = "A metric by the hour or day, never below min_cohort" },

	/* Tokens. */
	{ GET, ADMIN_API "/tokens", ROLE_ADMIN, api_token_list,
	  .all_models = true, .summary = "Tokens, without their secrets" },
	{ POST, ADMIN_API "/tokens", ROLE_ADMIN, api_token_create, BODY_JSON,
	  .all_models = true, .secret = true, .summary = "Make a token; its secret is told once" },
	{ DELETE, ADMIN_API "/tokens/{id}", ROLE_ADMIN, api_token_revoke,
	  .all_models = true, .summary = "End a token" },

	/* Store. */
	{ GET, ADMIN_API "/store", ROLE_VIEWER, api_store_stat,
	  .summary = "Sizes of the store" },
	{ GET, ADMIN_API "/jobs", ROLE_VIEWER, api_job_list,
	  .summary = "Deltas waiting, being made, made, dropped, failed" },
	{ GET, ADMIN_API "/store/care", ROLE_VIEWER, api_care_get,
	  .summary = "What is done for the store, and what the last runs found" },
	{ POST, ADMIN_API "/store/care", ROLE_OPERATOR, api_care_post, BODY_JSON,
	  .summary = "Collect, look over or scrub now, in the background" },
	{ POST, ADMIN_API "/store/missing", ROLE_PUBLISHER, api_store_missing, BODY_SPOOL, DIGESTS_MAX,
	  .summary = "Which of n chunk digests are missing, as a bitmap" },
	{ GET, ADMIN_API "/store/files/{sha256}", ROLE_PUBLISHER, api_store_file,
	  .summary = "The recipe of a file that is stored already" },
	{ PUT, ADMIN_API "/store/packs/{sha256}", ROLE_PUBLISHER, api_pack_put, BODY_SPOOL, PACK_MAX,
	  .summary = "Store a pack; every chunk is decoded and hashed" },
	{ POST, ADMIN_API "/store/recipes", ROLE_PUBLISHER, api_recipe_post, BODY_SPOOL, RECIPE_MAX,
	  .summary = "Store a recipe; the whole file is hashed again" },
	{ POST, ADMIN_API "/store/uploads", ROLE_PUBLISHER, api_upload_create, BODY_MAYBE,
	  .summary = "Begin a resumable upload of a raw file" },
	{ GET, ADMIN_API "/store/uploads/{id}", ROLE_PUBLISHER, api_upload_get,
	  .summary = "How far an upload is" },
	{ PATCH, ADMIN_API "/store/uploads/{id}", ROLE_PUBLISHER, api_upload_patch, BODY_APPEND,
	  UPLOAD_MAX, api_upload_begin,
	  .summary = "Append bytes at Upload-Offset" },
	{ DELETE, ADMIN_API "/store/uploads/{id}", ROLE_PUBLISHER, api_upload_delete,
	  .summary = "Give an upload up" },
	{ POST, ADMIN_API "/store/uploads/{id}/finish", ROLE_PUBLISHER, api_upload_finish, BODY_MAYBE,
	  .summary = "Check, cut and store an uploaded file" },
};
/* clang-format on */

const unsigned route_count = sizeof(routes) / sizeof(routes[0]);
