/* Signed manifests as operators look at them. */
#include "base/json.h"
#include "manifest/publish.h"
#include "server/api.h"
#include "server/app.h"

#include <stdio.h>

int api_manifest_list(struct request *rq, struct reply *reply, struct err *err)
{
	json_t *items;
	return publish_list(rq->db, &items, err) ? -1 : reply_list(reply, rq, items, NULL, err);
}

int api_manifest_get(struct request *rq, struct reply *reply, struct err *err)
{
	char path[512];
	snprintf(path, sizeof(path), "/v1/c/%s/%s/manifest.json", rq->params[0], rq->params[1]);
	struct snapshot *snapshot = publisher_snapshot(rq->app->publisher);
	const struct doc *doc = snapshot_find(snapshot, path);
	int bad;
	if (doc) {
		reply_header(reply, "ETag", doc->etag);
		bad = reply_bytes(reply, 200, "application/json", doc->bytes, doc->len, err);
	} else {
		bad = err_set(err, ERR_NOT_FOUND,
			      "class %s of channel %s has no manifest; it may be pending: its root is"
			      " not signed yet",
			      rq->params[1], rq->params[0]);
	}
	snapshot_unref(snapshot);
	return bad;
}
