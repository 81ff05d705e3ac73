#include "cli/export_delta.h"

#include "base/file.h"
#include "store/delta.h"
#include "store/recipe.h"

#include <stdlib.h>

static int another(struct err *err)
{
	return err_set(err, ERR_UNTRUSTED, "not the delta that its map names");
}

static int table_check(const uint8_t *table, const struct delta_head *head, const struct digest *name,
		       uint64_t bytes, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO(delta_index_free) struct delta_index *index = NULL;
	struct digest digest;
	digest_of(&digest, table + head->table_len, head->len - head->table_len);
	if (!digest_eq(&digest, name))
		return another(err);
	if (recipe_parse(&recipe, table + head->table_len, head->len - head->table_len, err) ||
	    delta_index_parse(&index, table, head->len, recipe, err))
		return -1;
	return index->bytes == bytes ? 0 : another(err);
}

int export_delta_check(int fd, int64_t len, const struct digest *recipe, uint64_t bytes,
		       struct err *err)
{
	uint8_t first[DELTA_HEAD];
	struct delta_head head;
	if (len < (int64_t)DELTA_HEAD)
		return another(err);
	if (file_pread_all(fd, first, DELTA_HEAD, 0, err) || delta_head_parse(&head, first, err))
		return -1;
	if (head.len > (uint64_t)len)
		return another(err);
	AUTO_FREE uint8_t *table = malloc(head.len);
	if (!table)
		return err_nomem(err);
	if (file_pread_all(fd, table, head.len, 0, err))
		return -1;
	return table_check(table, &head, recipe, bytes, err);
}
