/* The documents that a file stands for: what they say, who signed them, and taking them back. */
#include "manifest/ceremony_internal.h"

#include "base/json.h"
#include "manifest/canon.h"
#include "manifest/publishers.h"
#include "manifest/tuf_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNSIGNED "missing; sign-root has not been run"
#define CHANGED "not what the file says; export it again"

/* ---- what they say ---- */

json_t *ceremony_root_body(const struct ceremony_repo *r, struct err *err)
{
	const unsigned threshold = (unsigned)r->threshold;
	const struct tuf_key_set offline = {r->root, r->root_count, threshold};
	const struct tuf_root_spec spec = {
		.version = r->version,
		.expires = r->expires,
		.roles = {[TUF_ROOT] = offline,
			  [TUF_TIMESTAMP] = {&r->online[0], 1, 1},
			  [TUF_SNAPSHOT] = {&r->online[1], 1, 1},
			  [TUF_TARGETS] = r->channel ? (struct tuf_key_set){&r->online[2], 1, 1}
						     : (struct tuf_key_set){r->targets,
									    r->targets_count,
									    threshold}},
	};
	return tuf_root_body(&spec, err);
}

static int add_file(struct ceremony_index *index, json_t *targets, const char *path,
		    const json_t *content, struct err *err)
{
	struct digest digest;
	if (index->file_count == COUNT_OF(index->files))
		return err_set(err, ERR_INVALID, "index.channels: at most %d", CEREMONY_CHANNELS);
	struct ceremony_file *file = &index->files[index->file_count++];
	snprintf(file->path, sizeof(file->path), "%s", path);
	buf_init(&file->bytes, FILE_MAX);
	if (canon_write(content, &file->bytes, err) || buf_ok(&file->bytes, path, err))
		return -1;
	digest_of(&digest, file->bytes.data, file->bytes.len);
	if (json_object_set_new(targets, path,
				tuf_target_json((int64_t)file->bytes.len, &digest, NULL)))
		return err_nomem(err);
	return 0;
}

/* The first roots that this very file makes, into {channel: {class: digest}}. */
static int add_first_roots(const json_t *file, json_t *channels, struct err *err)
{
	struct ceremony_repo r;
	for (size_t i = 0; i < ceremony_repo_total(file); i++) {
		struct digest digest;
		char hex[DIGEST_HEX];
		if (ceremony_read_repo(&r, file, i, err))
			return -1;
		json_t *classes = r.channel ? json_object_get(channels, r.channel) : NULL;
		if (!r.channel || r.version != 1)
			continue;
		json_auto_t *body = ceremony_root_body(&r, err);
		if (!classes)
			return err_set(err, ERR_INVALID, "index.channels: %s is missing",
				       r.channel);
		if (!body || canon_digest(body, &digest, err))
			return -1;
		digest_hex(&digest, hex);
		if (json_object_set_new(classes, r.class, json_string(hex)))
			return err_nomem(err);
	}
	return 0;
}

static int add_channel_files(const json_t *file, struct ceremony_index *index, json_t *targets,
			     const json_t *wanted, struct err *err)
{
	const char *name;
	json_t *roots;
	json_auto_t *channels = json_deep_copy(wanted);
	if (!channels)
		return err_nomem(err);
	if (add_first_roots(file, channels, err))
		return -1;
	json_object_foreach (channels, name, roots) {
		char path[160];
		if (!json_name_ok(name) || !json_is_object(roots))
			return err_set(err, ERR_INVALID, "index.channels: %.64s: must be {class: digest}",
				       name);
		snprintf(path, sizeof(path), "roots/%s.json", name);
		json_auto_t *content = json_pack("{s:i, s:s, s:O}", "schema", 1, "channel", name,
						 "roots", roots);
		if (!content)
			return err_nomem(err);
		if (add_file(index, targets, path, content, err))
			return -1;
	}
	return 0;
}

/* publishers.json must be one that devices can read. */
static int check_publishers(const json_t *publishers, struct err *err)
{
	struct publisher_list list;
	AUTO(arena_free) struct arena *arena = arena_new(PUBLISHERS_ARENA);
	if (!arena)
		return err_nomem(err);
	return publishers_parse(&list, publishers, arena, err) ? err_in(err, "index.publishers") : 0;
}

json_t *ceremony_index_body(const json_t *file, struct ceremony_index *index, struct err *err)
{
	json_t *rules = NULL, *publishers = NULL, *channels = NULL, *signers = NULL, *known = NULL,
	       *document = NULL;
	const struct json_field fields[] = {
		FIELD_INT("version", &index->version, .min = 1),
		FIELD_INT("expires", &index->expires, .min = 1),
		FIELD_OBJECT("rules", &rules),
		FIELD_OBJECT("signers", &signers, .optional = true),
		FIELD_OBJECT("publishers", &publishers),
		FIELD_OBJECT("published", &known, .optional = true),
		FIELD_OBJECT("channels", &channels),
		FIELD_OBJECT("document", &document, .optional = true),
	};
	json_auto_t *targets = json_object();
	if (json_read(json_object_get(file, "index"), fields, COUNT_OF(fields), err) ||
	    key_parse(&index->rules, rules, err)) {
		err_in(err, "index");
		return NULL;
	}
	if (check_publishers(publishers, err) ||
	    add_file(index, targets, PUBLISHERS_PATH, publishers, err) ||
	    add_channel_files(file, index, targets, channels, err))
		return NULL;
	json_t *delegations =
		tuf_delegations_json(&(struct tuf_key_set){&index->rules, 1, 1}, "rules.json", err);
	if (!delegations)
		return NULL;
	json_t *content =
		json_pack("{s:O, s:o}", "targets", targets, "delegations", delegations);
	if (!content)
		err_nomem(err);
	return tuf_targets_body(index->version, index->expires, content, err);
}

/* ---- signatures ---- */

/* How many of the signers have signed the document. */
static unsigned valid_signatures(const json_t *document, const struct ceremony_signers *signers)
{
	unsigned valid = 0;
	struct err ignored;
	AUTO_BUF struct buf canon = BUF_INIT(2 * FILE_MAX);
	const json_t *list = json_object_get(document, "signatures");
	const json_t *body = json_object_get(document, "signed");
	if (!json_is_object(body) || canon_write(body, &canon, &ignored))
		return 0;
	for (unsigned i = 0; i < signers->count; i++)
		valid += tuf_signed_by(list, &canon, &signers->keys[i]);
	return valid;
}

bool ceremony_enough(const json_t *document, const struct ceremony_signers *signers)
{
	return signers->threshold && document &&
	       valid_signatures(document, signers) >= signers->threshold;
}

/* ---- taking it back ---- */

int ceremony_root_digest(const char *bytes, size_t len, struct digest *ret_digest, struct err *err)
{
	json_auto_t *document = json_parse(bytes, len, "root", err);
	if (!document)
		return -1;
	const json_t *body = json_object_get(document, "signed");
	if (!json_is_object(body))
		return err_set(err, ERR_INVALID, "signed: missing in a root");
	return canon_digest(body, ret_digest, err);
}

void ceremony_root_done(struct ceremony_root *root)
{
	buf_done(&root->document);
}

/* Through the eyes of a device that trusts the root before it. */
static int verify_root(const struct ceremony_repo *r, const struct buf *document, struct err *err)
{
	AUTO_TUF struct tuf_trust trust;
	tuf_init(&trust);
	if (!r->previous)
		return tuf_trust_root(&trust, document->data, document->len, err);
	char *text = json_text(r->previous);
	if (!text)
		return err_nomem(err);
	const int bad = tuf_trust_root(&trust, text, strlen(text), err);
	free(text);
	return bad ? -1 : tuf_update_root(&trust, document->data, document->len, err);
}

int ceremony_root(const json_t *file, size_t i, struct ceremony_root *ret_root, struct err *err)
{
	struct ceremony_repo r;
	AUTO_CEREMONY_ROOT struct ceremony_root root = {.document = BUF_INIT(TUF_ROOT_MAX)};
	if (ceremony_read_repo(&r, file, i, err))
		return -1;
	if (!r.document)
		return err_set(err, ERR_UNTRUSTED, "repos[%zu].document: " UNSIGNED, i);
	json_auto_t *body = ceremony_root_body(&r, err);
	if (!body)
		return err_in(err, "repos[%zu]", i);
	if (!json_equal(json_object_get(r.document, "signed"), body))
		return err_set(err, ERR_UNTRUSTED, "repos[%zu].document: " CHANGED, i);
	if (canon_write(r.document, &root.document, err) ||
	    buf_ok(&root.document, "document", err) || verify_root(&r, &root.document, err))
		return err_in(err, "repos[%zu].document", i);
	root.channel = r.channel;
	root.class = r.class;
	root.version = r.version;
	root.expires = r.expires;
	root.timestamp = r.online[0];
	root.snapshot = r.online[1];
	root.targets = r.online[2];
	root.previous = r.previous;
	*ret_root = root;
	root.document = (struct buf)BUF_INIT(0);
	return 0;
}

void ceremony_index_done(struct ceremony_index *index)
{
	buf_done(&index->document);
	for (unsigned i = 0; i < index->file_count; i++)
		buf_done(&index->files[i].bytes);
	index->file_count = 0;
}

int ceremony_index(const json_t *file, const json_t *index_root, struct ceremony_index *ret_index,
		   struct err *err)
{
	struct public_key keys[CEREMONY_HOLDERS];
	struct ceremony_signers signers;
	*ret_index = (struct ceremony_index){.document = BUF_INIT(TUF_TARGETS_MAX)};
	const json_t *document = json_object_get(json_object_get(file, "index"), "document");
	if (!document)
		return err_set(err, ERR_UNTRUSTED, "index.document: " UNSIGNED);
	json_auto_t *body = ceremony_index_body(file, ret_index, err);
	if (!body)
		return -1;
	if (!json_equal(json_object_get(document, "signed"), body))
		return err_set(err, ERR_UNTRUSTED, "index.document: " CHANGED);
	if (ceremony_role_keys(index_root, "targets", keys, &signers, err))
		return -1;
	if (!ceremony_enough(document, &signers))
		return err_set(err, ERR_UNTRUSTED,
			       "index.document: %u of %u signatures; more holders must run keys "
			       "sign-root",
			       valid_signatures(document, &signers), signers.threshold);
	return canon_write(document, &ret_index->document, err) ||
			       buf_ok(&ret_index->document, "index", err)
		       ? -1
		       : 0;
}
