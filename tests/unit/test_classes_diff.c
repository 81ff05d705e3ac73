/* Which devices move: told by hand-made rules, and none forgotten among many made by chance. */
#include "manifest/classes_diff.h"

#include "base/json.h"
#include "tests/support/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
	struct arena *arena;
	struct class_rules before, after;
	struct class_moves *moves;
	unsigned count;
};

static void read_rules(struct fixture *f, struct class_rules *rules, const char *text)
{
	struct err err;
	char whole[8192];
	snprintf(whole, sizeof(whole), "{\"schema\":1,\"rules\":[%s]}", text);
	json_auto_t *document = json_parse(whole, strlen(whole), "rules", &err);
	ck_assert_msg(document && !classes_parse(rules, document, f->arena, &err), "%s: %s", text,
		      err.text);
}

static void diff(struct fixture *f, const char *before, const char *after)
{
	struct err err;
	f->arena = arena_new(CLASS_RULES_ARENA);
	read_rules(f, &f->before, before);
	read_rules(f, &f->after, after);
	ck_assert(!classes_diff(&f->before, &f->after, f->arena, &f->moves, &f->count, &err));
}

/* "class" stays, "class>a" moves all, "class=>a,b" may move some; blank-separated. */
static void told(const struct fixture *f, char out[static 400])
{
	out[0] = 0;
	for (unsigned i = 0; i < f->count; i++) {
		const struct class_moves *m = &f->moves[i];
		snprintf(out + strlen(out), 400 - strlen(out), "%s%s%s", i ? " " : "", m->from,
			 !m->count ? "" : m->some_stay ? "=>" : ">");
		for (unsigned k = 0; k < m->count; k++)
			snprintf(out + strlen(out), 400 - strlen(out), "%s%s", k ? "," : "", m->to[k]);
	}
}

#define RAM(class, op, mib) "{\"class\":\"" class "\",\"any\":[{\"all\":[{\"attr\":\"ram_mib\",\"op\":\"" op "\",\"value\":" #mib "}]}]}"
#define OS(class, op, os) "{\"class\":\"" class "\",\"any\":[{\"all\":[{\"attr\":\"os\",\"op\":\"" op "\",\"value\":\"" os "\"}]}]}"
#define REST "{\"class\":\"rest\"}"

START_TEST(test_classes_diff_tells_who_moves)
{
	static const struct {
		const char *before, *after, *told;
	} cases[] = {
		{REST, REST, "rest"},
		{RAM("a", "ge", 8) "," REST, RAM("a", "ge", 8) "," REST, "a rest"},
		/* Renamed, removed, carved out, widened, narrowed. */
		{RAM("a", "ge", 8) "," REST, RAM("b", "ge", 8) "," REST, "a>b rest"},
		{RAM("a", "ge", 8) "," REST, REST, "a>rest rest"},
		{RAM("a", "ge", 8) "," REST, RAM("b", "ge", 16) "," RAM("a", "ge", 8) "," REST,
		 "a=>b rest"},
		{RAM("a", "ge", 8) "," REST, RAM("a", "ge", 6) "," REST, "a rest=>a"},
		{RAM("a", "ge", 8) "," REST, RAM("a", "ge", 9) "," REST, "a=>rest rest"},
		/* A rule before others takes from those only that it meets. */
		{RAM("a", "ge", 8) "," RAM("b", "ge", 4) "," REST,
		 RAM("c", "le", 3) "," RAM("a", "ge", 8) "," RAM("b", "ge", 4) "," REST, "a b rest=>c"},
		{RAM("a", "ge", 8) "," OS("b", "eq", "ios") "," REST,
		 RAM("a", "ge", 8) "," OS("c", "eq", "android") "," OS("b", "eq", "ios") "," REST,
		 "a b rest=>c"},
		/* After them it takes from none of them. */
		{RAM("a", "ge", 8) "," REST, RAM("a", "ge", 8) "," RAM("c", "ge", 4) "," REST,
		 "a rest=>c"},
		/* Two that overlap, exchanged. */
		{RAM("a", "ge", 8) "," OS("b", "eq", "ios") "," REST,
		 OS("b", "eq", "ios") "," RAM("a", "ge", 8) "," REST, "a=>b b rest"},
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fixture f;
		char text[400];
		diff(&f, cases[i].before, cases[i].after);
		told(&f, text);
		ck_assert_msg(!strcmp(text, cases[i].told), "case %zu: %s instead of %s", i, text,
			      cases[i].told);
		arena_free(f.arena);
	}
}
END_TEST

/* ---- by chance ---- */

static unsigned long seed;

static unsigned below(unsigned n)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(seed >> 33) % n;
}

static const char *const texts[] = {"ios", "android", "linux"};
static const char *const members[] = {"vulkan", "metal", "webgpu"};

static void condition(char *out, size_t room)
{
	static const char *const integer_ops[] = {"ge", "le", "eq", "ne"};
	switch (below(4)) {
	case 0:
		snprintf(out, room, "{\"attr\":\"ram_mib\",\"op\":\"%s\",\"value\":%u}",
			 integer_ops[below(4)], below(5));
		return;
	case 1:
		snprintf(out, room, "{\"attr\":\"os\",\"op\":\"%s\",\"value\":[\"%s\",\"%s\"]}",
			 below(2) ? "in" : "not_in", texts[below(3)], texts[below(3)]);
		return;
	case 2:
		snprintf(out, room, "{\"attr\":\"gpu\",\"op\":\"%s\",\"value\":\"%s\"}",
			 below(2) ? "has" : "lacks", members[below(3)]);
		return;
	default:
		snprintf(out, room, "{\"attr\":\"os_version\",\"op\":\"%s\",\"value\":[%u,%u]}",
			 integer_ops[below(4)], below(2), below(3));
	}
}

static void rules_by_chance(char *out, size_t room)
{
	out[0] = 0;
	for (unsigned r = below(5); r > 0; r--) {
		snprintf(out + strlen(out), room - strlen(out), "{\"class\":\"c%u\",\"any\":[",
			 below(4));
		for (unsigned a = below(2) + 1; a > 0; a--) {
			snprintf(out + strlen(out), room - strlen(out), "{\"all\":[");
			for (unsigned c = below(3) + 1; c > 0; c--) {
				condition(out + strlen(out), room - strlen(out));
				snprintf(out + strlen(out), room - strlen(out), "%s",
					 c > 1 ? "," : "]}");
			}
			snprintf(out + strlen(out), room - strlen(out), "%s", a > 1 ? "," : "]},");
		}
	}
	snprintf(out + strlen(out), room - strlen(out), REST);
}

/* Each attribute may be missing. */
static void device_by_chance(char *out, size_t room)
{
	snprintf(out, room, "{");
	if (below(4))
		snprintf(out + strlen(out), room - strlen(out), "\"ram_mib\":%u,", below(6));
	if (below(4))
		snprintf(out + strlen(out), room - strlen(out), "\"os\":\"%s\",",
			 below(4) ? texts[below(3)] : "other");
	if (below(4))
		snprintf(out + strlen(out), room - strlen(out), "\"os_version\":[%u,%u],", below(3),
			 below(4));
	if (below(4))
		snprintf(out + strlen(out), room - strlen(out), "\"gpu\":[\"%s\",\"%s\"],",
			 members[below(3)], below(2) ? members[below(3)] : "none");
	if (out[strlen(out) - 1] == ',')
		out[strlen(out) - 1] = 0;
	snprintf(out + strlen(out), room - strlen(out), "}");
}

static void device_is_told(const struct fixture *f, const char *device)
{
	struct attrs attrs;
	struct err err;
	json_auto_t *object = json_parse(device, strlen(device), "device", &err);
	ck_assert_msg(object && !attrs_parse(&attrs, object, f->arena, &err), "%s: %s", device,
		      err.text);
	const char *from = f->before.rules[classes_match(&f->before, &attrs)].class;
	const char *to = f->after.rules[classes_match(&f->after, &attrs)].class;
	for (unsigned i = 0; i < f->count; i++) {
		const struct class_moves *m = &f->moves[i];
		bool found = !strcmp(from, to) && m->some_stay;
		if (strcmp(m->from, from))
			continue;
		for (unsigned k = 0; k < m->count; k++)
			found = found || !strcmp(m->to[k], to);
		ck_assert_msg(found, "seed %lu: %s moves from %s to %s untold", seed, device, from, to);
		return;
	}
	ck_abort_msg("class %s is not told of", from);
}

START_TEST(test_classes_diff_forgets_nobody)
{
	char before[4096], after[4096], device[400];
	for (unsigned round = 0; round < 3000; round++) {
		struct fixture f;
		seed = round;
		rules_by_chance(before, sizeof(before));
		rules_by_chance(after, sizeof(after));
		diff(&f, before, after);
		for (unsigned i = 0; i < 40; i++) {
			device_by_chance(device, sizeof(device));
			device_is_told(&f, device);
		}
		arena_free(f.arena);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_classes_diff_tells_who_moves,
		test_classes_diff_forgets_nobody,
	};
	return suite_run("classes_diff", tests, COUNT_OF(tests));
}
