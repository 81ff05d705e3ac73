/* What a publisher says of a variant: written, read, compared with what is offered. */
#include "manifest/attest.h"

#include "manifest/publishers.h"
#include "tests/support/suite.h"
#include "tests/support/vectors.h"

#include <stdlib.h>

#define STATEMENT                                                                         \
	"{'_type':'https://in-toto.io/Statement/v1','predicateType':'urn:flotilla:variant:1'," \
	"'subject':[{'name':'m.gguf','digest':{'sha256':"                                 \
	"'abababababababababababababababababababababababababababababababab'}}],"          \
	"'predicate':{'model':'assistant','release':'2.1.0','tier':'q4_0','format':'gguf'," \
	"'channels':['stable'],'requires':{'ram_mib':900},'counter':7,'floor':5}}"

struct read {
	struct arena *arena;
	struct attest attest;
	struct err err;
	int code;
};

static void read_done(struct read *r)
{
	arena_free(r->arena);
}
#define AUTO_READ __attribute__((cleanup(read_done)))

/* A statement through an envelope, as it comes. */
static struct read reads_type(json_t *statement, const char *type)
{
	struct read r = {.arena = arena_new(ATTEST_ARENA)};
	struct sign_key key;
	AUTO_BUF struct buf out = BUF_INIT(DSSE_MAX);
	AUTO_DSSE struct dsse dsse = {0};
	char *text = json_dumps(statement, JSON_COMPACT);
	key_from_seed(&key, &(struct key_seed){{3}});
	ck_assert(!dsse_sign(type, text, strlen(text), &key, &out, &r.err));
	ck_assert_msg(!dsse_open(&dsse, out.data, out.len, &r.err), "%s", r.err.text);
	r.code = attest_parse(&r.attest, &dsse, r.arena, &r.err);
	free(text);
	return r;
}

static struct read reads(json_t *statement)
{
	return reads_type(statement, ATTEST_PAYLOAD);
}

START_TEST(test_attest_reads_every_member)
{
	json_auto_t *statement = json_of(STATEMENT);
	json_object_set_new(statement, "later", json_true()); /* of a newer tool */
	AUTO_READ struct read r = reads(statement);
	ck_assert_msg(r.code == 0, "%s", r.err.text);
	ck_assert_str_eq(r.attest.model, "assistant");
	ck_assert_str_eq(r.attest.release, "2.1.0");
	ck_assert_str_eq(r.attest.tier, "q4_0");
	ck_assert_str_eq(r.attest.format, "gguf");
	ck_assert_ptr_null(r.attest.base);
	ck_assert_uint_eq(r.attest.channel_count, 1);
	ck_assert_uint_eq(r.attest.file_count, 1);
	ck_assert_str_eq(r.attest.files[0].name, "m.gguf");
	ck_assert_int_eq(r.attest.counter, 7);
	ck_assert_int_eq(r.attest.floor, 5);
}
END_TEST

/* member of the predicate (or, from the top, "/member") set to value. */
static void refuses(const char *member, const char *value, const char *what)
{
	json_auto_t *statement = json_of(STATEMENT);
	json_t *at = member[0] == '/' ? statement : json_object_get(statement, "predicate");
	const char *name = member[0] == '/' ? member + 1 : member;
	if (value)
		json_object_set_new(at, name, json_of(value));
	else
		json_object_del(at, name);
	AUTO_READ struct read r = reads(statement);
	ck_assert_msg(r.code < 0, "%s = %s was accepted", member, value ? value : "nothing");
	ck_assert_int_eq(r.err.status, ERR_INVALID);
	ck_assert_msg(strstr(r.err.text, what) != NULL, "'%s' does not name '%s'", r.err.text, what);
}

START_TEST(test_attest_names_the_member_that_is_wrong)
{
	refuses("/_type", "'https://in-toto.io/Statement/v0.1'", "_type");
	refuses("/predicateType", "'https://slsa.dev/provenance/v1'", "predicateType");
	refuses("/subject", "[]", "subject");
	refuses("/subject", "[{'name':'m'}]", "subject[0]");
	refuses("/subject", "[{'name':'m','digest':{'sha256':'ab'}}]", "subject[0]");
	refuses("/predicate", NULL, "predicate");
	refuses("model", NULL, "predicate");
	refuses("model", "'No Name'", "model");
	refuses("release", "7", "release");
	refuses("tier", "''", "tier");
	refuses("format", NULL, "format");
	refuses("channels", "[]", "channels");
	refuses("channels", "['a',7]", "channels[1]");
	refuses("counter", NULL, "counter");
	refuses("counter", "0", "counter");
	refuses("floor", "-1", "floor");
	refuses("floor", "8", "floor");
	refuses("requires", "7", "requires");
}
END_TEST

START_TEST(test_attest_of_another_type_is_none)
{
	json_auto_t *statement = json_of(STATEMENT);
	AUTO_READ struct read r = reads_type(statement, "application/json");
	ck_assert_int_lt(r.code, 0);
	ck_assert_ptr_nonnull(strstr(r.err.text, "payloadType"));
}
END_TEST

START_TEST(test_attest_written_is_read_again)
{
	struct err err;
	json_auto_t *statement = json_of(STATEMENT);
	AUTO_READ struct read r = reads(statement);
	json_auto_t *again = attest_json(&r.attest, &err);
	ck_assert_msg(again != NULL, "%s", err.text);
	ck_assert(json_equal(again, statement));
	struct attest bad = r.attest;
	bad.counter = 0;
	ck_assert_ptr_null(attest_json(&bad, &err));
}
END_TEST

/* ---- comparing with what is offered ---- */

struct offered {
	struct manifest_variant variant;
	struct manifest_file files[2];
};

static void offer(struct offered *o, const struct attest *a)
{
	*o = (struct offered){.files = {{.name = "m.gguf"}, {.name = "n.gguf"}}};
	memset(o->files[0].sha256.bytes, 0xab, sizeof o->files[0].sha256.bytes);
	o->variant = (struct manifest_variant){
		.ref = {.model = "assistant", .release = "2.1.0", .tier = "q4_0"},
		.format = "gguf", .requires = a->requires, .files = o->files, .file_count = 1};
}

static void differs(const struct attest *a, const struct offered *o, const char *what)
{
	struct err err = {0};
	ck_assert_msg(attest_covers(a, &o->variant, &err) < 0, "%s did not matter", what);
	ck_assert_int_eq(err.status, ERR_UNTRUSTED);
	ck_assert_msg(strstr(err.text, what) != NULL, "'%s' does not name '%s'", err.text, what);
}

START_TEST(test_attest_covers_exactly_its_variant)
{
	struct err err;
	struct offered o;
	json_auto_t *statement = json_of(STATEMENT);
	AUTO_READ struct read r = reads(statement);
	offer(&o, &r.attest);
	ck_assert_msg(!attest_covers(&r.attest, &o.variant, &err), "%s", err.text);
	o.variant.ref.model = "other";
	differs(&r.attest, &o, "model");
	offer(&o, &r.attest);
	o.variant.ref.release = "2.1.1";
	differs(&r.attest, &o, "release");
	offer(&o, &r.attest);
	o.variant.ref.tier = "q8_0";
	differs(&r.attest, &o, "tier");
	offer(&o, &r.attest);
	o.variant.format = "onnx";
	differs(&r.attest, &o, "format");
	offer(&o, &r.attest);
	o.variant.requires = (struct requires){0};
	differs(&r.attest, &o, "requires");
	offer(&o, &r.attest);
	o.files[0].sha256.bytes[31] ^= 1;
	differs(&r.attest, &o, "m.gguf");
	offer(&o, &r.attest);
	o.files[0].name = "other.gguf";
	differs(&r.attest, &o, "other.gguf");
	offer(&o, &r.attest);
	o.variant.file_count = 2;
	differs(&r.attest, &o, "files");
	o.variant.file_count = 0;
	differs(&r.attest, &o, "files");
}
END_TEST

START_TEST(test_attest_permits_its_channels)
{
	struct err err;
	json_auto_t *statement = json_of(STATEMENT);
	AUTO_READ struct read r = reads(statement);
	ck_assert(!attest_permits(&r.attest, "stable", &err));
	ck_assert(attest_permits(&r.attest, "stable2", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "stable2"));
	r.attest.channel_count = 0;
	ck_assert(!attest_permits(&r.attest, "anything", &err));
}
END_TEST

/* ---- who may ---- */

static struct publisher_list list_of(const char *more, const char *models, struct arena *arena)
{
	char text[1024];
	struct err err;
	struct publisher_list list;
	snprintf(text, sizeof text,
		 "{'schema':1%s,'publishers':[{'name':'ci','models':[%s],'key':{'keytype':'ed25519',"
		 "'scheme':'ed25519','keyval':{'public':"
		 "'1111111111111111111111111111111111111111111111111111111111111111'}}}]}",
		 more, models);
	json_auto_t *document = json_of(text);
	ck_assert_msg(!publishers_parse(&list, document, arena, &err), "%s", err.text);
	json_auto_t *again = publishers_json(&list, &err);
	ck_assert_ptr_nonnull(again);
	ck_assert(json_equal(json_object_get(again, "publishers"),
			     json_object_get(document, "publishers")));
	return list;
}

START_TEST(test_attest_publishers_are_needed_where_named)
{
	AUTO(arena_free) struct arena *arena = arena_new(PUBLISHERS_ARENA);
	struct publisher_list list = list_of("", "'assistant'", arena);
	ck_assert(publishers_needed(&list, "assistant"));
	ck_assert(!publishers_needed(&list, "other"));
	list = list_of("", "'*'", arena);
	ck_assert(publishers_needed(&list, "other"));
	list = list_of(",'required':true", "'assistant'", arena);
	ck_assert(publishers_needed(&list, "other"));
	list = list_of(",'floors':{'assistant':9}", "'assistant'", arena);
	ck_assert_int_eq(publishers_floor(&list, "assistant"), 9);
	ck_assert_int_eq(publishers_floor(&list, "other"), 0);
}
END_TEST

START_TEST(test_attest_publishers_name_what_is_wrong)
{
	static const struct {
		const char *text, *what;
	} bad[] = {
		{"{'publishers':[]}", "schema"},
		{"{'schema':2,'publishers':[]}", "schema"},
		{"{'schema':1}", "publishers"},
		{"{'schema':1,'publishers':[{}]}", "publishers[0]"},
		{"{'schema':1,'publishers':[{'name':'ci','models':['a'],'key':{}}]}", "key"},
		{"{'schema':1,'publishers':[],'floors':{'a':-1}}", "floors"},
		{"{'schema':1,'publishers':[],'floors':{'A b':1}}", "floors"},
		{"{'schema':1,'publishers':[],'required':1}", "required"},
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct err err = {0};
		struct publisher_list list;
		AUTO(arena_free) struct arena *arena = arena_new(PUBLISHERS_ARENA);
		json_auto_t *document = json_of(bad[i].text);
		ck_assert_msg(publishers_parse(&list, document, arena, &err) < 0, "%s",
			      bad[i].text);
		ck_assert_msg(strstr(err.text, bad[i].what) != NULL, "'%s' does not name %s",
			      err.text, bad[i].what);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_attest_reads_every_member,
		test_attest_names_the_member_that_is_wrong,
		test_attest_of_another_type_is_none,
		test_attest_written_is_read_again,
		test_attest_covers_exactly_its_variant,
		test_attest_permits_its_channels,
		test_attest_publishers_are_needed_where_named,
		test_attest_publishers_name_what_is_wrong,
	};
	return suite_run("attest", tests, COUNT_OF(tests));
}
