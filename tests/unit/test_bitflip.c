/* Every byte of every signed document is changed in turn: what was changed is refused, or means
 * exactly what it meant. */
#include "base/json.h"
#include "manifest/attest.h"
#include "manifest/ceremony.h"
#include "tests/support/suite.h"
#include "tests/support/tuf_repo.h"

#include <stdlib.h>

static const uint8_t flips[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80};

/* A trust that has accepted everything before role. */
static void ready(struct tuf_trust *trust, const struct repo *repo, enum tuf_role role)
{
	tuf_init(trust);
	if (role > TUF_ROOT)
		repo_accept(trust, repo, TUF_ROOT, role - 1, NOW);
}

/* How many changed documents meant the same: those with a change outside what is signed. */
static unsigned flip_all(const struct repo *repo, enum tuf_role role)
{
	unsigned same = 0;
	struct tuf_trust trust, whole;
	AUTO_BUF struct buf copy = BUF_INIT(8 << 20);
	const struct buf *doc = &repo->doc[role];
	ready(&whole, repo, role);
	repo_accept(&whole, repo, role, role, NOW);
	ready(&trust, repo, role);
	buf_add(&copy, doc->data, doc->len);
	for (size_t i = 0; i < copy.len; i++)
		for (size_t k = 0; k < COUNT_OF(flips); k++) {
			struct err err;
			copy.data[i] ^= (char)flips[k];
			if (!repo_offer(&trust, role, &copy, NOW, &err)) {
				ck_assert_msg(json_equal(trust.body[role], whole.body[role]),
					      "%s: byte %zu ^ %02x was accepted",
					      tuf_role_name(role), i, flips[k]);
				same++;
				tuf_done(&trust);
				ready(&trust, repo, role);
			}
			copy.data[i] ^= (char)flips[k];
		}
	tuf_done(&trust);
	tuf_done(&whole);
	return same;
}

START_TEST(test_bitflip_first_root)
{
	AUTO_REPO struct repo repo;
	repo_init(&repo, "a", false);
	flip_all(&repo, TUF_ROOT);
}
END_TEST

START_TEST(test_bitflip_children_of_a_class)
{
	AUTO_REPO struct repo repo;
	repo_init(&repo, "a", false);
	/* Their hashes are named by their parents: not a byte may differ. */
	ck_assert_uint_eq(flip_all(&repo, TUF_SNAPSHOT), 0);
	ck_assert_uint_eq(flip_all(&repo, TUF_TARGETS), 0);
	flip_all(&repo, TUF_TIMESTAMP);
}
END_TEST

START_TEST(test_bitflip_index)
{
	AUTO_REPO struct repo repo;
	repo_init(&repo, NULL, true);
	flip_all(&repo, TUF_ROOT);
	ck_assert_uint_eq(flip_all(&repo, TUF_TARGETS), 0);
	ck_assert_uint_eq(flip_all(&repo, TUF_RULES), 0);
}
END_TEST

START_TEST(test_bitflip_next_root)
{
	AUTO_REPO struct repo repo;
	struct buf next = {0};
	struct tuf_trust trust;
	repo_init(&repo, "a", false);
	repo_sign(&next, repo_root_body(&repo.keys, 2, LATER, 0, 1), &repo.keys, KEY_ROOT, 0, 2);
	ready(&trust, &repo, TUF_TIMESTAMP);
	for (size_t i = 0; i < next.len; i++)
		for (size_t k = 0; k < COUNT_OF(flips); k++) {
			struct err err;
			next.data[i] ^= (char)flips[k];
			const int refused = tuf_update_root(&trust, next.data, next.len, &err);
			next.data[i] ^= (char)flips[k];
			if (refused)
				continue;
			json_auto_t *whole = json_parse(next.data, next.len, "root", &err);
			ck_assert_msg(json_equal(trust.body[TUF_ROOT],
						 json_object_get(whole, "signed")),
				      "root: byte %zu ^ %02x was accepted", i, flips[k]);
			tuf_done(&trust);
			ready(&trust, &repo, TUF_TIMESTAMP);
		}
	tuf_done(&trust);
	buf_done(&next);
}
END_TEST

START_TEST(test_bitflip_envelope)
{
	struct err err;
	struct sign_key key;
	AUTO_BUF struct buf text = BUF_INIT(DSSE_MAX);
	AUTO_DSSE struct dsse whole = {0};
	struct attest_file file = {.name = "model.gguf"};
	const char *channels[] = {"stable"};
	const struct attest attest = {.model = "assistant", .release = "2.0.0", .tier = "q8_0",
				      .format = "gguf", .channels = channels, .channel_count = 1,
				      .files = &file, .file_count = 1, .counter = 7, .floor = 3};
	key_from_seed(&key, &(struct key_seed){{3}});
	ck_assert_msg(!attest_sign(&attest, &key, &text, &err), "%s", err.text);
	ck_assert(!dsse_open(&whole, text.data, text.len, &err));
	for (size_t i = 0; i < text.len; i++)
		for (size_t k = 0; k < COUNT_OF(flips); k++) {
			AUTO_DSSE struct dsse dsse = {0};
			text.data[i] ^= (char)flips[k];
			if (!dsse_open(&dsse, text.data, text.len, &err) &&
			    dsse_signed_by(&dsse, &key.public)) {
				ck_assert_str_eq(dsse.type, whole.type);
				ck_assert_uint_eq(dsse.payload.len, whole.payload.len);
				ck_assert_mem_eq(dsse.payload.data, whole.payload.data,
						 whole.payload.len);
			}
			text.data[i] ^= (char)flips[k];
		}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_bitflip_first_root, test_bitflip_children_of_a_class, test_bitflip_index,
		test_bitflip_next_root, test_bitflip_envelope,
	};
	return suite_run("bitflip", tests, COUNT_OF(tests));
}
