#include "manifest/dsse.h"

#include "base/json.h"

#include <sodium.h>
#include <string.h>

#define SIG_TEXT 96 /* a signature in base64, with room for its end */

/* Padded base64 of either alphabet, as the protocol wants readers to take. */
static int decode(uint8_t *out, size_t room, size_t *ret_len, const char *text, size_t len)
{
	static const int alphabets[] = {sodium_base64_VARIANT_ORIGINAL,
					sodium_base64_VARIANT_URLSAFE};
	for (size_t i = 0; i < COUNT_OF(alphabets); i++) {
		const char *end;
		if (sodium_base642bin(out, room, text, len, NULL, ret_len, &end, alphabets[i]) == 0 &&
		    end == text + len)
			return 0;
	}
	return -1;
}

/* What is signed; the protocol calls it the pre-authentication encoding. */
static int encode(struct buf *out, const char *type, const void *payload, size_t len,
		  struct err *err)
{
	buf_addf(out, "DSSEv1 %zu %s %zu ", strlen(type), type, len);
	buf_add(out, payload, len);
	return buf_ok(out, "envelope", err);
}

static int payload_read(struct buf *out, const char *text, struct err *err)
{
	const size_t len = strlen(text);
	size_t got;
	uint8_t *bytes = buf_grow(out, len + 1);
	if (!bytes)
		return buf_ok(out, "payload", err);
	if (decode(bytes, len, &got, text, len) < 0)
		return err_set(err, ERR_INVALID, "payload: must be padded base64");
	buf_grown(out, got);
	return 0;
}

static int signatures_check(const json_t *signatures, struct err *err)
{
	for (size_t i = 0; i < json_array_size(signatures); i++) {
		const char *sig = NULL, *keyid = NULL;
		const struct json_field fields[] = {
			FIELD_TEXT("sig", &sig, .min = 1, .max = SIG_TEXT),
			FIELD_TEXT("keyid", &keyid, .max = 256, .optional = true),
		};
		if (json_read_loose(json_array_get(signatures, i), fields, COUNT_OF(fields), err) < 0)
			return err_in(err, "signatures[%zu]", i);
	}
	return 0;
}

int dsse_open(struct dsse *dsse, const char *bytes, size_t len, struct err *err)
{
	const char *payload = NULL;
	json_t *signatures = NULL;
	*dsse = (struct dsse){.payload = {.max = 2 * DSSE_MAX}, .signed_bytes = {.max = 2 * DSSE_MAX}};
	const struct json_field fields[] = {
		FIELD_TEXT("payload", &payload, .max = DSSE_MAX),
		FIELD_TEXT("payloadType", &dsse->type, .min = 1, .max = 256),
		FIELD_ARRAY("signatures", &signatures, .min = 1, .max = DSSE_SIGNATURES),
	};
	if (len > DSSE_MAX)
		return err_set(err, ERR_TOO_LARGE, "envelope: %zu bytes; %d are allowed", len,
			       DSSE_MAX);
	dsse->envelope = json_parse(bytes, len, "envelope", err);
	if (!dsse->envelope ||
	    json_read_loose(dsse->envelope, fields, COUNT_OF(fields), err) < 0 ||
	    signatures_check(signatures, err) < 0 || payload_read(&dsse->payload, payload, err) < 0)
		return -1;
	return encode(&dsse->signed_bytes, dsse->type, dsse->payload.data ? dsse->payload.data : "",
		      dsse->payload.len, err);
}

void dsse_done(struct dsse *dsse)
{
	json_decref(dsse->envelope);
	buf_done(&dsse->payload);
	buf_done(&dsse->signed_bytes);
	dsse->envelope = NULL;
}

bool dsse_signed_by(const struct dsse *dsse, const struct public_key *key)
{
	const json_t *signatures = json_object_get(dsse->envelope, "signatures");
	for (size_t i = 0; i < json_array_size(signatures); i++) {
		const char *text =
			json_string_value(json_object_get(json_array_get(signatures, i), "sig"));
		uint8_t sig[SIG_TEXT];
		size_t len;
		if (text && decode(sig, sizeof sig, &len, text, strlen(text)) == 0 &&
		    len == KEY_SIGNATURE_LEN &&
		    key_verify(key, dsse->signed_bytes.data, dsse->signed_bytes.len, sig))
			return true;
	}
	return false;
}

static void add_base64(struct buf *out, const void *bytes, size_t len)
{
	const size_t room = sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL);
	char *text = buf_grow(out, room);
	if (!text)
		return;
	sodium_bin2base64(text, room, bytes, len, sodium_base64_VARIANT_ORIGINAL);
	buf_grown(out, room - 1);
}

int dsse_sign(const char *type, const void *payload, size_t len, const struct sign_key *key,
	      struct buf *out, struct err *err)
{
	AUTO_BUF struct buf to_sign = BUF_INIT(2 * DSSE_MAX);
	uint8_t signature[KEY_SIGNATURE_LEN];
	char id[DIGEST_HEX];
	if (encode(&to_sign, type, payload, len, err) < 0)
		return -1;
	key_sign(key, to_sign.data, to_sign.len, signature);
	digest_hex(&key->public.id, id);
	buf_adds(out, "{\"payload\":\"");
	add_base64(out, payload, len);
	buf_addf(out, "\",\"payloadType\":\"%s\",\"signatures\":[{\"keyid\":\"%s\",\"sig\":\"", type,
		 id);
	add_base64(out, signature, sizeof signature);
	buf_adds(out, "\"}]}");
	return buf_ok(out, "envelope", err);
}
