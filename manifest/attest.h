/* attest.h -- what a publisher says of a variant: an in-toto Statement (in-toto.io/Statement/v1) in
 * a DSSE envelope, made by CI with a key that no server has.
 *
 *   {"_type":"https://in-toto.io/Statement/v1",
 *    "subject":[{"name":"model.gguf","digest":{"sha256":HEX}}],
 *    "predicateType":"urn:flotilla:variant:1",
 *    "predicate":{"model":"assistant","release":"2.1.0","tier":"q4_k_m","format":"gguf",
 *      "channels":["stable"],"requires":{...},"base":"assistant@2.0.0/f16","counter":7,"floor":5}}
 *
 * counter rises with each release of a model.  floor: once this variant's release is a device's
 * stable, that device refuses variants with a counter below.  channels absent: any; base absent:
 * none (an adapter names what it adapts).
 * Threads: pure. */
#ifndef MANIFEST_ATTEST_H
#define MANIFEST_ATTEST_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/doc.h"
#include "manifest/dsse.h"

#include <jansson.h>
#include <stdint.h>

#define ATTEST_PAYLOAD "application/vnd.in-toto+json"
#define ATTEST_PREDICATE "urn:flotilla:variant:1"
#define ATTEST_FILES 200
#define ATTEST_CHANNELS 64
#define ATTEST_ARENA ((size_t)1024 * 1024)

struct attest_file {
	const char *name;
	struct digest sha256;
};

struct attest {
	const char *model, *release, *tier, *format;
	const char *base; /* NULL: none */
	const char **channels;
	unsigned channel_count; /* 0: any */
	struct requires requires;
	struct attest_file *files;
	unsigned file_count;
	int64_t counter, floor;
};

/* Read an opened envelope's statement; whose signature it carries is another question
 * (publishers_signer()).  Copied into the arena.  ERR_INVALID with the member's path. */
int attest_parse(struct attest *attest, const struct dsse *dsse, struct arena *arena,
		 struct err *err) CHECKED;

/* The statement, to be signed; the caller's.  ERR_INVALID when attest_parse() would refuse it. */
json_t *attest_json(const struct attest *attest, struct err *err) CHECKED;
/* Append the envelope of it, signed by key. */
int attest_sign(const struct attest *attest, const struct sign_key *key, struct buf *out,
		struct err *err) CHECKED;

/* Whether it is about exactly this variant: its names, files, format and requirements.
 * ERR_UNTRUSTED says what differs. */
int attest_covers(const struct attest *attest, const struct manifest_variant *variant,
		  struct err *err) CHECKED;
/* Whether it may be offered on the channel; ERR_UNTRUSTED. */
int attest_permits(const struct attest *attest, const char *channel, struct err *err) CHECKED;

#endif
