#include "store/recipe.h"

#include "base/grow.h"
#include "store/codec.h"
#include "store/le.h"

#include <string.h>

static const uint8_t recipe_magic[4] = {'F', 'L', 'R', 'C'};

struct recipe *recipe_new(void)
{
	return calloc(1, sizeof(struct recipe));
}

void recipe_free(struct recipe *recipe)
{
	if (!recipe)
		return;
	free(recipe->chunks);
	free(recipe);
}

int recipe_add(struct recipe *recipe, const struct digest *digest, uint32_t len, uint8_t type,
	       struct err *err)
{
	if (!len || len > CHUNK_RAW_MAX)
		return err_set(err, ERR_INVALID, "recipe: chunk %u: length %u is outside 1..%u",
			       recipe->count, len, CHUNK_RAW_MAX);
	if (recipe->count == RECIPE_CHUNKS_MAX)
		return err_set(err, ERR_TOO_LARGE, "recipe: more than %u chunks",
			       RECIPE_CHUNKS_MAX);
	if (len > RECIPE_FILE_MAX - recipe->length)
		return err_set(err, ERR_TOO_LARGE, "recipe: a file longer than %llu bytes",
			       RECIPE_FILE_MAX);
	struct recipe_chunk *chunks =
		grow_array(recipe->chunks, &recipe->room, recipe->count, sizeof *chunks);
	if (!chunks)
		return err_nomem(err);
	recipe->chunks = chunks;
	chunks[recipe->count++] = (struct recipe_chunk){
		.digest = *digest, .len = len, .type = type, .at = recipe->length};
	recipe->length += len;
	return 0;
}

int recipe_encode(const struct recipe *recipe, struct buf *out, struct digest *ret_name,
		  struct err *err)
{
	size_t begin = out->len;

	buf_add(out, recipe_magic, sizeof recipe_magic);
	buf_addc(out, RECIPE_VERSION);
	buf_addc(out, (char)recipe->format);
	buf_add(out, "\0", 2);
	buf_add_le64(out, recipe->length);
	buf_add(out, recipe->sha256.bytes, DIGEST_LEN);
	buf_add_le32(out, recipe->count);
	for (uint32_t i = 0; i < recipe->count; i++) {
		const struct recipe_chunk *chunk = &recipe->chunks[i];
		buf_add(out, chunk->digest.bytes, DIGEST_LEN);
		buf_add_le32(out, chunk->len);
		buf_addc(out, (char)chunk->type);
	}
	if (buf_ok(out, "recipe", err))
		return -1;
	digest_of(ret_name, out->data + begin, out->len - begin);
	return 0;
}

static int recipe_check_head(const uint8_t *p, size_t len, struct err *err)
{
	if (len > RECIPE_BYTES_MAX)
		return err_set(err, ERR_TOO_LARGE, "recipe: longer than %u bytes",
			       RECIPE_BYTES_MAX);
	if (len < RECIPE_HEAD || memcmp(p, recipe_magic, sizeof recipe_magic))
		return err_set(err, ERR_INVALID, "recipe: does not begin like one");
	if (p[4] != RECIPE_VERSION)
		return err_set(err, ERR_INVALID,
			       "recipe: version %u is not known here; update this program", p[4]);
	if (p[6] || p[7])
		return err_set(err, ERR_INVALID, "recipe: reserved bytes are not zero");
	uint32_t count = le_u32(p + 48);
	if (count > RECIPE_CHUNKS_MAX)
		return err_set(err, ERR_TOO_LARGE, "recipe: %u chunks, at most %u", count,
			       RECIPE_CHUNKS_MAX);
	if (len != RECIPE_HEAD + (size_t)count * RECIPE_ENTRY)
		return err_set(err, ERR_INVALID, "recipe: %zu bytes cannot hold %u chunks exactly",
			       len, count);
	return 0;
}

int recipe_parse(struct recipe **ret_recipe, const void *bytes, size_t len, struct err *err)
{
	const uint8_t *p = bytes;

	if (recipe_check_head(p, len, err))
		return -1;
	AUTO(recipe_free) struct recipe *recipe = recipe_new();
	if (!recipe)
		return err_nomem(err);
	recipe->format = p[5];
	memcpy(recipe->sha256.bytes, p + 16, DIGEST_LEN);
	for (const uint8_t *entry = p + RECIPE_HEAD; entry < p + len; entry += RECIPE_ENTRY) {
		struct digest digest;
		memcpy(digest.bytes, entry, DIGEST_LEN);
		if (recipe_add(recipe, &digest, le_u32(entry + 32), entry[36], err))
			return -1;
	}
	if (recipe->length != le_u64(p + 8))
		return err_set(err, ERR_INVALID,
			       "recipe: the chunks add up to %llu bytes, not to the %llu stated",
			       (unsigned long long)recipe->length,
			       (unsigned long long)le_u64(p + 8));
	*ret_recipe = TAKE(recipe);
	return 0;
}

uint32_t recipe_find(const struct recipe *recipe, uint64_t at)
{
	uint32_t low = 0, high = recipe->count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (recipe->chunks[middle].at <= at)
			low = middle;
		else
			high = middle;
	}
	return low;
}
