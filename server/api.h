/* api.h -- the handlers, one a row of routes.c, grouped by the file that holds them.
 * Each is a route_handler (route.h): 0 with the reply filled, or -1 with *err.  What each takes and
 * answers is told in schema/openapi.yaml.
 * Threads: see request.h. */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "server/reply.h"
#include "server/request.h"
#include "server/route.h"

/* api_device.c: params in the order of the braces */
route_handler api_document;	   /* anything that is in the snapshot under its own path */
route_handler api_target;	   /* {channel} {class} {path*}: raw file by TUF's name */
route_handler api_pack;		   /* {sha256} */
route_handler api_recipe;	   /* {sha256} */
route_handler api_map;		   /* {recipe} */
route_handler api_delta;	   /* {new} {old} {n} */
route_handler api_blob;		   /* {digest}: sha256:<hex> */
route_handler api_telemetry_post;  /* a report */
route_handler api_relay_post;	     /* many */

/* api_status.c */
route_handler api_healthz;
route_handler api_readyz;
route_handler api_metrics;
route_handler api_status;
route_handler api_openapi;

/* api_token.c */
route_handler api_token_list;
route_handler api_token_create;
route_handler api_token_revoke; /* {id} */

/* api_catalog.c */
route_handler api_model_list;
route_handler api_model_create;
route_handler api_model_get;	   /* {model} */
route_handler api_release_list;	   /* {model} */
route_handler api_release_create;  /* {model} */
route_handler api_release_get;	   /* {model} {release} */
route_handler api_release_publish; /* {model} {release} */
route_handler api_variant_put;	   /* {model} {release} {tier} */
route_handler api_variant_delete;  /* {model} {release} {tier} */
route_handler api_bootstrap;	   /* {model} */
route_handler api_stable_list;
route_handler api_channel_list;
route_handler api_channel_create;

/* api_trust.c */
route_handler api_publisher_list;
route_handler api_publisher_put;    /* {name} */
route_handler api_publisher_revoke; /* {name} */
route_handler api_publisher_policy;
route_handler api_revocation_list;
route_handler api_revocation_create;
route_handler api_revocation_end; /* {digest} */

/* api_keys.c */
route_handler api_keys_list;
route_handler api_keys_pending;
route_handler api_keys_import;
route_handler api_keys_rotate;
route_handler api_restored_status;
route_handler api_restored;
route_handler api_class_prepare;

/* api_class.c */
route_handler api_rules_get;
route_handler api_rules_put;
route_handler api_classes_list;
route_handler api_class_get; /* {class} */
route_handler api_class_put; /* {class} */
route_handler api_class_explain;
route_handler api_class_plan;

/* api_manifest.c */
route_handler api_manifest_list;
route_handler api_manifest_get; /* {channel} {class} */

/* api_care.c */
route_handler api_store_stat;
route_handler api_care_get;
route_handler api_care_post;

route_handler api_job_list; /* api_jobs.c */

/* api_store.c */
route_handler api_store_missing; /* BODY_SPOOL: digests */
route_handler api_store_file;	 /* {sha256} */
route_handler api_pack_put;	 /* {sha256}; BODY_SPOOL */
route_handler api_recipe_post;	 /* BODY_SPOOL */
route_handler api_upload_create;
route_handler api_upload_get;	 /* {id} */
route_handler api_upload_patch;	 /* {id}; BODY_APPEND, after: */
int api_upload_begin(struct request *rq, int *ret_fd, int64_t *max_body, struct err *err);
route_handler api_upload_finish; /* {id} */
route_handler api_upload_delete; /* {id} */

/* api_rollout.c */
route_handler api_rollout_start;
route_handler api_rollout_plan;
route_handler api_rollout_list;
route_handler api_rollout_get;	   /* {id} */
route_handler api_rollout_pause;   /* {id}, and so on: */
route_handler api_rollout_resume;
route_handler api_rollout_advance;
route_handler api_rollout_approve;
route_handler api_rollout_abort;
route_handler api_rollout_undo;
route_handler api_rollout_gates;
route_handler api_rollout_events;

/* api_fleet.c */
route_handler api_event_list;
route_handler api_audit_list;
route_handler api_census;
route_handler api_adoption;
route_handler api_drift;
route_handler api_history;

#endif
