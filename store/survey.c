#include "store/survey.h"

#include "store/cut.h"

#include <stdlib.h>

#define READ_BYTES (1 << 20)

struct survey {
	struct recipe *recipe;
	struct cutter *cutter;
	struct digest_ctx *whole, *chunk;
};

static int end_chunk(struct survey *s, const struct cut *cut, struct err *err)
{
	struct digest digest;
	digest_end(s->chunk, &digest);
	digest_again(s->chunk);
	return recipe_add(s->recipe, &digest, cut->len, cut->type, err);
}

static int cut_bytes(struct survey *s, const uint8_t *bytes, size_t len, struct err *err)
{
	digest_add(s->whole, bytes, len);
	while (len) {
		bool ended;
		struct cut cut;
		const size_t n = cutter_take(s->cutter, bytes, len, &ended, &cut);
		digest_add(s->chunk, bytes, n);
		bytes += n;
		len -= n;
		if (ended && end_chunk(s, &cut, err))
			return -1;
	}
	return 0;
}

int survey_source(const struct source *source, void (*at)(void *arg, uint64_t bytes), void *arg,
		  struct recipe **ret_recipe, struct err *err)
{
	AUTO(cutter_free) struct cutter *cutter = cutter_new();
	AUTO(digest_free) struct digest_ctx *whole = digest_begin();
	AUTO(digest_free) struct digest_ctx *chunk = digest_begin();
	AUTO(recipe_free) struct recipe *recipe = recipe_new();
	AUTO_FREE uint8_t *buffer = malloc(READ_BYTES);
	struct survey s = {recipe, cutter, whole, chunk};
	struct cut cut;
	if (!cutter || !whole || !chunk || !recipe || !buffer)
		return err_nomem(err);
	for (uint64_t done = 0; done < source->size;) {
		const uint64_t left = source->size - done;
		const size_t len = left < READ_BYTES ? (size_t)left : READ_BYTES;
		if (source->read(source->arg, done, buffer, len, err) ||
		    cut_bytes(&s, buffer, len, err))
			return -1;
		done += len;
		if (at)
			at(arg, done);
	}
	if (cutter_end(cutter, &cut) && end_chunk(&s, &cut, err))
		return -1;
	digest_end(whole, &recipe->sha256);
	recipe->format = (uint8_t)cutter_format(cutter);
	*ret_recipe = TAKE(recipe);
	return 0;
}
