#include "manifest/doc.h"

#include "base/json.h"
#include "manifest/canon.h"
#include "tests/support/vectors.h"

#include <stdlib.h>

static struct arena *arena;

static void set_up(void)
{
	arena = arena_new(4 * MANIFEST_ARENA);
}

static void tear_down(void)
{
	arena_free(arena);
}

#define HEX(digit) digit digit digit digit digit digit digit digit
#define SHA(digit) HEX(digit) HEX(digit) HEX(digit) HEX(digit) \
	HEX(digit) HEX(digit) HEX(digit) HEX(digit)

#define TARGET(path, variant, tier, file_digit, more)                                          \
	"'" path "':{'length':1000,'hashes':{'sha256':'" SHA(file_digit) "'},'custom':{"        \
	"'variant':'" variant "','tier':'" tier "','format':'gguf','recipe':'" SHA("e") "',"     \
	"'stored_cap':600" more "}}"

static const char whole[] =
	"{'flotilla':{'schema':1,'channel':'stable','class':'android-8g','index_version':41,"
	"'poll_s':3600,'candidate_poll_s':600,'models':{'assistant':{"
	"'stable':['assistant@2.0.0/q8_0','assistant@2.0.0/q4_k_m'],"
	"'candidate':['assistant@2.1.0/q4_k_m'],"
	"'spread':{'since':1767225600,'s':7200,'salt':'s1'},"
	"'rollout':{'id':'r17','salt':'x9','stage':2,'state':'running','candidate_ppm':50000,"
	"'entering':{'candidate':[10000,50000],'control':[824000,910000]}}}},"
	"'revoked':['sha256:" SHA("d") "'],"
	"'install':{'metered':false,'charging':true,'idle':false,'hours':[22,6],'disk_mib':8000},"
	"'routing':{'mode':'prefer_local'},"
	"'telemetry':{'window_s':1800,'jitter_s':60,'windows':12,'outcome_deadline_s':7200}},"
	"'targets':{"
	TARGET("assistant/2.0.0/q8_0/model.gguf", "assistant@2.0.0/q8_0", "q8_0", "1",
	       ",'requires':{'ram_mib':6000}") ","
	TARGET("assistant/2.0.0/q4_k_m/model-00001.gguf", "assistant@2.0.0/q4_k_m", "q4_k_m", "2",
	       "") ","
	TARGET("assistant/2.0.0/q4_k_m/model-00002.gguf", "assistant@2.0.0/q4_k_m", "q4_k_m", "3",
	       "") ","
	TARGET("assistant/2.1.0/q4_k_m/Model.GGUF", "assistant@2.1.0/q4_k_m", "q4_k_m", "4",
	       ",'attest':'" SHA("a") "'") "}}";

static struct digest sha(const char *digits)
{
	struct digest digest;
	ck_assert_int_eq(digest_parse(&digest, digits), 0);
	return digest;
}

START_TEST(test_doc_every_member_is_read)
{
	struct manifest m;
	struct err err;
	json_auto_t *body = json_of(whole);
	ck_assert_msg(manifest_parse(&m, body, arena, &err) == 0, "%s", err.text);
	ck_assert_str_eq(m.channel, "stable");
	ck_assert_str_eq(m.class, "android-8g");
	ck_assert_int_eq(m.index_version, 41);
	ck_assert(!m.development);
	ck_assert(m.install.charging && !m.install.metered && m.install.hour_from == 22 &&
		  m.install.hour_to == 6 && m.install.disk_mib == 8000);
	ck_assert(m.telemetry.window_s == 1800 && m.telemetry.jitter_s == 60 &&
		  m.telemetry.windows == 12 && m.telemetry.outcome_deadline_s == 7200);
	ck_assert_str_eq(m.routing, "{\"mode\":\"prefer_local\"}");
	ck_assert_ptr_null(m.probes);
	struct digest revoked = sha(SHA("d")), kept = sha(SHA("1"));
	ck_assert(manifest_revoked(&m, &revoked) && !manifest_revoked(&m, &kept));
	const struct manifest_model *model = manifest_model_find(&m, "assistant");
	ck_assert_ptr_nonnull(model);
	ck_assert_ptr_null(manifest_model_find(&m, "translator"));
	ck_assert_uint_eq(model->stable_count, 2);
	ck_assert_str_eq(model->stable[1].tier, "q4_k_m");
	ck_assert_uint_eq(model->candidate_count, 1);
	ck_assert(model->spread.since == 1767225600 && model->spread.s == 7200);
	ck_assert_str_eq(model->spread.salt, "s1");
	ck_assert(model->has_rollout && model->rollout.stage == 2 &&
		  model->rollout.state == MANIFEST_RUNNING &&
		  model->rollout.candidate_ppm == 50000 && model->rollout.candidate.lo == 10000 &&
		  model->rollout.control.hi == 910000);
	ck_assert_str_eq(model->rollout.salt, "x9");
}
END_TEST

START_TEST(test_doc_files_are_grouped_by_variant)
{
	struct manifest m;
	struct err err;
	json_auto_t *body = json_of(whole);
	ck_assert_int_eq(manifest_parse(&m, body, arena, &err), 0);
	ck_assert_uint_eq(m.variant_count, 3);
	const struct manifest_variant *two =
		manifest_variant_find(&m, &m.models[0].stable[1]);
	ck_assert_uint_eq(two->file_count, 2);
	ck_assert_str_eq(two->files[1].name, "model-00002.gguf");
	ck_assert_int_eq(two->files[1].length, 1000);
	ck_assert_int_eq(two->files[1].stored_cap, 600);
	struct digest third = sha(SHA("3")), recipe = sha(SHA("e")), attest = sha(SHA("a"));
	ck_assert(digest_eq(&two->files[1].sha256, &third));
	ck_assert(digest_eq(&two->files[1].recipe, &recipe));
	ck_assert(!two->has_attest);
	const struct manifest_variant *candidate =
		manifest_variant_find(&m, &m.models[0].candidate[0]);
	ck_assert(candidate->has_attest && digest_eq(&candidate->attest, &attest));
	ck_assert_int_eq(m.variants[0].requires.ram_mib, 6000);
}
END_TEST

START_TEST(test_doc_a_manifest_survives_being_written)
{
	struct manifest m;
	struct err err;
	AUTO_BUF struct buf before = BUF_INIT(65536), after = BUF_INIT(65536);
	json_auto_t *body = json_of(whole);
	ck_assert_int_eq(manifest_parse(&m, body, arena, &err), 0);
	json_auto_t *written = manifest_json(&m, &err);
	ck_assert_msg(written != NULL, "%s", err.text);
	ck_assert_int_eq(canon_write(body, &before, &err), 0);
	ck_assert_int_eq(canon_write(written, &after, &err), 0);
	ck_assert_str_eq(after.data, before.data);
}
END_TEST

START_TEST(test_doc_members_of_newer_servers_are_ignored)
{
	struct manifest m;
	struct err err;
	json_auto_t *body = json_of(whole);
	json_t *flotilla = json_object_get(body, "flotilla");
	json_t *model = json_object_get(json_object_get(flotilla, "models"), "assistant");
	json_object_set_new(body, "more", json_integer(1));
	json_object_set_new(flotilla, "more", json_object());
	json_object_set_new(model, "more", json_true());
	json_object_set_new(json_object_get(model, "rollout"), "state", json_string("draining"));
	json_object_del(flotilla, "install");
	json_object_del(flotilla, "telemetry");
	json_object_del(flotilla, "poll_s");
	ck_assert_msg(manifest_parse(&m, body, arena, &err) == 0, "%s", err.text);
	ck_assert_int_eq(m.models[0].rollout.state, MANIFEST_STATE_OTHER);
	ck_assert(m.poll_s == 3600 && m.telemetry.windows == 24 && !m.install.metered);
}
END_TEST

START_TEST(test_doc_a_manifest_may_be_empty)
{
	struct manifest m;
	struct err err;
	manifest_init(&m);
	m.channel = "stable";
	m.class = "other";
	m.development = true;
	json_auto_t *written = manifest_json(&m, &err);
	ck_assert_msg(written != NULL, "%s", err.text);
	ck_assert_int_eq(manifest_parse(&m, written, arena, &err), 0);
	ck_assert(m.development && m.model_count == 0 && m.variant_count == 0);
}
END_TEST

/* The member at a path of `flotilla` (from a leading '/': of the body) replaced; NULL: removed. */
static const struct {
	const char *path, *json, *why;
} spoiled[] = {
	{"schema", "2", "flotilla: schema"},
	{"schema", NULL, "flotilla: schema"},
	{"channel", "'Stable'", "flotilla: channel"},
	{"class", "7", "flotilla: class"},
	{"index_version", NULL, "flotilla: index_version"},
	{"poll_s", "0", "flotilla: poll_s"},
	{"models", "[]", "flotilla: models"},
	{"models/assistant/stable", "['assistant@9.9.9/q8_0']", "has no targets"},
	{"models/assistant/stable", "['other@1/t']", "models: assistant: stable: other@1/t"},
	{"models/assistant/stable", "[1]", "models: assistant: stable: 0"},
	{"models/assistant/stable", "'x'", "stable"},
	{"models/assistant/candidate", "[]", "candidate"},
	{"models/assistant/rollout", NULL, "candidate"},
	{"models/assistant/rollout/salt", "''", "rollout: salt"},
	{"models/assistant/rollout/salt",
	 "'12345678901234567890123456789012345678901234567890123456789012345'", "rollout: salt"},
	{"models/assistant/rollout/candidate_ppm", "1000001", "candidate_ppm"},
	{"models/assistant/rollout/entering/control", "[5,4]", "entering: control"},
	{"models/assistant/rollout/entering/control", "[5]", "entering: control"},
	{"models/assistant/rollout/entering/candidate", "[0,1000001]", "entering: candidate"},
	{"models/assistant/rollout/stage", "0", "stage"},
	{"models/assistant/spread/s", "-1", "spread: s"},
	{"revoked", "['" SHA("d") "']", "revoked: 0"},
	{"revoked", "[1]", "revoked: 0"},
	{"install/hours", "[22]", "install: hours"},
	{"install/hours", "[24,0]", "install: hours"},
	{"install/metered", "1", "install: metered"},
	{"telemetry/windows", "0", "telemetry: windows"},
	{"routing", "'x'", "routing"},
	{"/targets", NULL, "targets"},
	{"/targets/assistant|2.0.0|q8_0|model.gguf/length", "-1", "model.gguf: length"},
	{"/targets/assistant|2.0.0|q8_0|model.gguf/hashes", "{}", "sha256"},
	{"/targets/assistant|2.0.0|q8_0|model.gguf/custom", NULL, "custom"},
	{"/targets/assistant|2.0.0|q8_0|model.gguf/custom/variant", "'assistant@2.0.0/q4_k_m'",
	 "custom: variant"},
	{"/targets/assistant|2.0.0|q8_0|model.gguf/custom/recipe", "'x'", "custom: recipe"},
	{"/targets/assistant|2.0.0|q8_0|model.gguf/custom/stored_cap", NULL, "custom: stored_cap"},
	{"/targets/assistant|2.0.0|q8_0|model.gguf/custom/requires", "{'ram_mib':-1}",
	 "custom: requires: ram_mib"},
	{"/targets/assistant|2.0.0|q4_k_m|model-00002.gguf/custom/format", "'safetensors'",
	 "differs"},
	{"/targets/assistant|2.0.0|q4_k_m|model-00001.gguf/custom/requires", "{'ram_mib':1}",
	 "differs"},
};

static void spoil(json_t *body, const char *path, const char *json)
{
	char copy[200];
	strcpy(copy, path[0] == '/' ? path + 1 : path);
	json_t *at = path[0] == '/' ? body : json_object_get(body, "flotilla");
	char *name = strtok(copy, "/");
	for (char *next; (next = strtok(NULL, "/")); name = next) {
		for (char *c = name; *c; c++)
			*c = *c == '|' ? '/' : *c;
		at = json_object_get(at, name);
		ck_assert_msg(at != NULL, "%s", path);
	}
	if (json)
		json_object_set_new(at, name, json_of(json));
	else
		ck_assert_int_eq(json_object_del(at, name), 0);
}

START_TEST(test_doc_spoiled_members_are_refused_by_path)
{
	struct manifest m = {.poll_s = 42};
	struct err err = {0};
	json_auto_t *body = json_of(whole);
	spoil(body, spoiled[_i].path, spoiled[_i].json);
	ck_assert_msg(manifest_parse(&m, body, arena, &err) < 0, "%s", spoiled[_i].path);
	ck_assert_int_eq(err.status, ERR_INVALID);
	ck_assert_msg(strstr(err.text, spoiled[_i].why) != NULL, "%s: %s", spoiled[_i].path,
		      err.text);
	ck_assert_int_eq(m.poll_s, 42);
}
END_TEST

START_TEST(test_doc_paths_have_four_segments)
{
	static const char *const bad[] = {
		"a/1/t", "a/1/t/", "a/1/t/f/g", "/a/1/t/f", "a//t/f", "a/1/t/../f", "a/1/t/.f",
		"A/1/t/f", "a/1/t/f%00", "",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct manifest m;
		struct err err;
		json_auto_t *body = json_of(whole);
		json_t *targets = json_object_get(body, "targets");
		json_object_set(targets, bad[i],
				json_object_get(targets, "assistant/2.0.0/q8_0/model.gguf"));
		ck_assert_msg(manifest_parse(&m, body, arena, &err) < 0, "%s", bad[i]);
	}
}
END_TEST

/* n files of one variant. */
static void files_of(struct manifest *m, struct manifest_variant *variant,
		     struct manifest_file *files, unsigned n)
{
	struct err err;
	manifest_init(m);
	m->channel = "stable";
	m->class = "a";
	*variant = (struct manifest_variant){.format = "gguf", .files = files, .file_count = n};
	ck_assert_int_eq(variant_make(&variant->ref, "m", "1", "t", arena, &err), 0);
	for (unsigned i = 0; i < n; i++)
		files[i] = (struct manifest_file){.name = arena_printf(arena, "f%u", i),
						  .length = i};
	m->variants = variant;
	m->variant_count = 1;
}

START_TEST(test_doc_targets_are_limited)
{
	struct manifest m;
	struct manifest_variant variant;
	struct manifest_file files[MANIFEST_TARGETS + 1];
	struct err err;
	files_of(&m, &variant, files, MANIFEST_TARGETS);
	json_auto_t *most = manifest_json(&m, &err);
	ck_assert_msg(most != NULL, "%s", err.text);
	files_of(&m, &variant, files, MANIFEST_TARGETS + 1);
	ck_assert_ptr_null(manifest_json(&m, &err));
	ck_assert_int_eq(err.status, ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_doc_what_devices_refuse_is_not_written)
{
	struct manifest m;
	struct manifest_variant variant;
	struct manifest_file files[2];
	struct err err;
	files_of(&m, &variant, files, 2);
	files[1].name = "f0";
	ck_assert_ptr_null(manifest_json(&m, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "twice"));
	files[1].name = "../f1";
	ck_assert_ptr_null(manifest_json(&m, &err));
	files[1].name = "f1";
	m.probes = "{\"broken\"";
	ck_assert_ptr_null(manifest_json(&m, &err));
	m.probes = NULL;
	struct manifest_model model = {.name = "m", .stable = &variant.ref, .stable_count = 1,
				       .has_rollout = true,
				       .rollout = {.id = "r1", .salt = "s", .stage = 1}};
	m.models = &model;
	m.model_count = 1;
	ck_assert_ptr_null(manifest_json(&m, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "candidate"));
}
END_TEST

START_TEST(test_doc_buckets_are_placed)
{
	static const struct {
		int64_t bucket;
		enum manifest_arm arm;
		bool enters;
	} cases[] = {
		{0, ARM_CANDIDATE, false},	{9999, ARM_CANDIDATE, false},
		{10000, ARM_CANDIDATE, true},	{49999, ARM_CANDIDATE, true},
		{50000, ARM_NONE, false},	{823999, ARM_NONE, false},
		{824000, ARM_CONTROL, true},	{909999, ARM_CONTROL, true},
		{910000, ARM_NONE, false},	{999999, ARM_NONE, false},
	};
	struct manifest m;
	struct err err;
	json_auto_t *body = json_of(whole);
	ck_assert_int_eq(manifest_parse(&m, body, arena, &err), 0);
	struct manifest_model *model = &m.models[0];
	bool enters;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		ck_assert_int_eq(manifest_place(model, cases[i].bucket, &enters), cases[i].arm);
		ck_assert_int_eq(enters, cases[i].enters);
	}
	model->rollout.state = MANIFEST_HOLDING;
	ck_assert_int_eq(manifest_place(model, 10000, &enters), ARM_CANDIDATE);
	ck_assert(!enters);
	model->has_rollout = false;
	ck_assert_int_eq(manifest_place(model, 10000, &enters), ARM_NONE);
}
END_TEST

START_TEST(test_doc_the_first_variant_that_fits_is_chosen)
{
	struct manifest m;
	struct err err;
	struct attrs attrs = {0};
	struct facts facts = {.disk_free_mib = -1, .ram_mib = 8000};
	json_auto_t *body = json_of(whole);
	ck_assert_int_eq(manifest_parse(&m, body, arena, &err), 0);
	const struct manifest_model *model = &m.models[0];
	const struct manifest_variant *variant = manifest_choose(
		&m, model->stable, model->stable_count, &attrs, &facts, &err);
	ck_assert_str_eq(variant->ref.tier, "q8_0");
	facts.ram_mib = 2000;
	variant = manifest_choose(&m, model->stable, model->stable_count, &attrs, &facts, &err);
	ck_assert_str_eq(variant->ref.tier, "q4_k_m");
	ck_assert_ptr_null(manifest_choose(&m, model->stable, 1, &attrs, &facts, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "6000 MiB"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("doc");
	TCase *all = tcase_create("all");
	tcase_add_checked_fixture(all, set_up, tear_down);
	tcase_add_test(all, test_doc_every_member_is_read);
	tcase_add_test(all, test_doc_files_are_grouped_by_variant);
	tcase_add_test(all, test_doc_a_manifest_survives_being_written);
	tcase_add_test(all, test_doc_members_of_newer_servers_are_ignored);
	tcase_add_test(all, test_doc_a_manifest_may_be_empty);
	tcase_add_loop_test(all, test_doc_spoiled_members_are_refused_by_path, 0,
			    COUNT_OF(spoiled));
	tcase_add_test(all, test_doc_paths_have_four_segments);
	tcase_add_test(all, test_doc_targets_are_limited);
	tcase_add_test(all, test_doc_what_devices_refuse_is_not_written);
	tcase_add_test(all, test_doc_buckets_are_placed);
	tcase_add_test(all, test_doc_the_first_variant_that_fits_is_chosen);
	suite_add_tcase(suite, all);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
