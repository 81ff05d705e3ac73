/* A holder's part: public keys and signatures added, and what is still lacking. */
#include "manifest/ceremony_internal.h"

#include "base/json.h"
#include "manifest/tuf_build.h"

#include <stdlib.h>
#include <string.h>

static void holder_key(const struct key_seed *holder, const struct ceremony_repo *r,
		       enum key_role role, struct sign_key *key)
{
	key_derive(key, holder, &(struct key_use){r->channel, r->class, role, 0});
}

/* ---- deriving ---- */

/* Whether it was added: neither there already, nor one too many. */
static int add_key(const struct ceremony_repo *r, const char *name, const struct public_key *list,
		   unsigned count, const struct public_key *key, bool *ret_added, struct err *err)
{
	json_t *offline = json_object_get(r->object, "offline");
	json_t *keys = json_object_get(offline, name);
	if (count >= r->holders || ceremony_among(key, list, count))
		return 0;
	if (!keys && json_object_set_new(offline, name, keys = json_array()))
		return err_nomem(err);
	if (json_array_append_new(keys, key_json(key)))
		return err_nomem(err);
	*ret_added = true;
	return 0;
}

static int derive_repo(const struct ceremony_repo *r, const struct key_seed *holder,
		       bool *ret_added, struct err *err)
{
	AUTO_SIGN_KEY struct sign_key root;
	AUTO_SIGN_KEY struct sign_key targets;
	holder_key(holder, r, KEY_ROOT, &root);
	holder_key(holder, r, KEY_TARGETS, &targets);
	if (add_key(r, "root", r->root, r->root_count, &root.public, ret_added, err))
		return -1;
	return r->channel ? 0
			  : add_key(r, "targets", r->targets, r->targets_count, &targets.public,
				    ret_added, err);
}

int ceremony_derive(json_t *file, const struct key_seed *holder, unsigned *ret_added,
		    struct err *err)
{
	unsigned added = 0;
	struct ceremony_repo r;
	for (size_t i = 0; i < ceremony_repo_total(file); i++) {
		bool one = false;
		if (ceremony_read_repo(&r, file, i, err) || derive_repo(&r, holder, &one, err))
			return -1;
		added += one;
	}
	*ret_added = added;
	return 0;
}

/* ---- signing ---- */

/* document with key's signature over body; body must be what the document says already. */
static json_t *cosigned(const json_t *document, const json_t *body, const struct sign_key *key,
			struct err *err)
{
	AUTO_BUF struct buf out = BUF_INIT(2 * FILE_MAX);
	const struct sign_key *const keys[] = {key};
	if (!document)
		return tuf_sign(body, keys, 1, &out, err)
			       ? NULL
			       : json_parse(out.data, out.len, "document", err);
	if (!json_equal(json_object_get(document, "signed"), body)) {
		err_set_text(err, ERR_CONFLICT,
			     "document: not what the file says; it was changed after somebody signed");
		return NULL;
	}
	char *text = json_text(document);
	if (!text) {
		err_nomem(err);
		return NULL;
	}
	const int bad = tuf_cosign(text, strlen(text), key, &out, err);
	free(text);
	return bad ? NULL : json_parse(out.data, out.len, "document", err);
}

static int sign_repo(struct ceremony_repo *r, const struct key_seed *holder, unsigned *ret_signed,
		     struct err *err)
{
	AUTO_SIGN_KEY struct sign_key key;
	struct public_key before[CEREMONY_HOLDERS];
	struct ceremony_signers old = {0};
	holder_key(holder, r, KEY_ROOT, &key);
	if (r->previous &&
	    ceremony_role_keys(json_object_get(r->previous, "signed"), "root", before, &old, err))
		return -1;
	if (!ceremony_among(&key.public, r->root, r->root_count) &&
	    !ceremony_among(&key.public, before, old.count))
		return 0;
	json_auto_t *body = ceremony_root_body(r, err);
	json_t *document = body ? cosigned(r->document, body, &key, err) : NULL;
	if (!document)
		return -1;
	if (json_object_set_new(r->object, "document", document))
		return err_nomem(err);
	++*ret_signed;
	return 0;
}

static int sign_index(json_t *file, const struct key_seed *holder, unsigned *ret_signed,
		      struct err *err)
{
	static const struct ceremony_repo index_repo = {0};
	AUTO_SIGN_KEY struct sign_key key;
	AUTO_CEREMONY_INDEX struct ceremony_index index = {0};
	struct public_key keys[CEREMONY_HOLDERS];
	struct ceremony_signers signers;
	json_t *object = json_object_get(file, "index");
	if (!object)
		return 0;
	holder_key(holder, &index_repo, KEY_TARGETS, &key);
	if (ceremony_index_signers(file, keys, &signers, err))
		return -1;
	if (!ceremony_among(&key.public, signers.keys, signers.count))
		return 0;
	json_auto_t *body = ceremony_index_body(file, &index, err);
	json_t *document =
		body ? cosigned(json_object_get(object, "document"), body, &key, err) : NULL;
	if (!document)
		return err_in(err, "index");
	if (json_object_set_new(object, "document", document))
		return err_nomem(err);
	++*ret_signed;
	return 0;
}

int ceremony_sign(json_t *file, const struct key_seed *holder, struct ceremony_count *ret_count,
		  struct err *err)
{
	struct ceremony_count count;
	struct ceremony_repo r;
	unsigned mine = 0;
	if (ceremony_count(file, &count, err))
		return -1;
	if (count.lacking)
		return err_set(err, ERR_CONFLICT,
			       "%u repositories lack holders' keys; first every holder runs keys derive",
			       count.lacking);
	for (size_t i = 0; i < ceremony_repo_total(file); i++)
		if (ceremony_read_repo(&r, file, i, err) || sign_repo(&r, holder, &mine, err))
			return err_in(err, "repos[%zu]", i);
	if (sign_index(file, holder, &mine, err) || ceremony_count(file, &count, err))
		return -1;
	count.mine = mine;
	*ret_count = count;
	return 0;
}

/* ---- counting ---- */

static bool repo_lacks_keys(const struct ceremony_repo *r)
{
	return r->root_count < r->holders || (!r->channel && r->targets_count < r->holders);
}

static int repo_complete(const struct ceremony_repo *r, bool *ret_complete, struct err *err)
{
	struct public_key before[CEREMONY_HOLDERS];
	struct ceremony_signers old, new = {r->root, r->root_count, (unsigned)r->threshold};
	*ret_complete = ceremony_enough(r->document, &new);
	if (!r->previous)
		return 0;
	if (ceremony_role_keys(json_object_get(r->previous, "signed"), "root", before, &old, err))
		return -1;
	*ret_complete &= ceremony_enough(r->document, &old);
	return 0;
}

int ceremony_count(const json_t *file, struct ceremony_count *ret_count, struct err *err)
{
	struct ceremony_count count = {.documents = (unsigned)ceremony_repo_total(file)};
	struct public_key keys[CEREMONY_HOLDERS];
	struct ceremony_signers signers;
	struct ceremony_repo r;
	const json_t *index = json_object_get(file, "index");
	for (size_t i = 0; i < ceremony_repo_total(file); i++) {
		bool complete;
		if (ceremony_read_repo(&r, file, i, err) || repo_complete(&r, &complete, err))
			return -1;
		count.lacking += repo_lacks_keys(&r);
		count.complete += complete && !repo_lacks_keys(&r);
	}
	if (index) {
		if (ceremony_index_signers(file, keys, &signers, err))
			return -1;
		count.documents++;
		count.complete += ceremony_enough(json_object_get(index, "document"), &signers);
	}
	*ret_count = count;
	return 0;
}
