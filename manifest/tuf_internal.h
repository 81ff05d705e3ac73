/* tuf_internal.h -- what tuf.c and tuf_read.c share.  Threads: pure. */
#ifndef MANIFEST_TUF_INTERNAL_H
#define MANIFEST_TUF_INTERNAL_H

#include "base/buf.h"
#include "manifest/tuf.h"

/* A document that is read but not yet trusted. */
struct tuf_doc {
	enum tuf_role role;
	json_t *whole;		  /* owned */
	json_t *body;		  /* `signed`, borrowed from whole */
	const json_t *signatures; /* an array, borrowed from whole */
	struct buf canon;	  /* what was signed */
	int64_t version, expires;
};

void tuf_doc_done(struct tuf_doc *doc);
#define AUTO_TUF_DOC __attribute__((cleanup(tuf_doc_done)))

/* Fill *doc (zeroed but for its role) from bytes and check its form: size, header, and the members
 * that its role must have.  Says nothing about trust. */
int tuf_doc_read(struct tuf_trust *trust, struct tuf_doc *doc, const char *bytes, size_t len,
		 struct err *err) CHECKED;

/* Note why role's document is refused; -1. */
int tuf_refuse(struct tuf_trust *trust, enum tuf_refusal refusal, enum tuf_role role,
	       struct err *err, const char *fmt, ...) PRINTF_LIKE(5, 6);
/* *err says what is wrong with the form of role's document: make that a refusal.  Running out of
 * memory is not the document's fault and stays what it is.  -1. */
int tuf_malformed(struct tuf_trust *trust, enum tuf_role role, struct err *err);

/* One entry of "meta" or of "targets"; ERR_INVALID. */
int tuf_meta_read(struct tuf_meta *meta, const json_t *object, struct err *err) CHECKED;
int tuf_target_read(struct tuf_target *target, const json_t *object, struct err *err) CHECKED;

/* The entry of a targets body that delegates to "rules"; NULL: none. */
const json_t *tuf_rules_delegation(const json_t *targets);

/* A member that is a text; NULL otherwise. */
static inline const char *tuf_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

#endif
