#include "cli/sim_profile.h"

#include "base/json.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static const struct profile_behaviour healthy = {
	.class = "*", .variant = "*", .load_ms = {1200, 0.3}, .ttft_ms = {350, 0.4}};

static int keep(const char **text, struct arena *arena, struct err *err)
{
	*text = arena_strdup(arena, *text);
	return *text ? 0 : err_nomem(err);
}

/* An object as the SDK wants it: its text. */
static int keep_json(const char **ret, const json_t *object, struct arena *arena, struct err *err)
{
	char *text = object ? json_text(object) : NULL;
	*ret = text ? arena_strdup(arena, text) : arena_strdup(arena, "{}");
	free(text);
	return *ret ? 0 : err_nomem(err);
}

static int read_spread(struct profile_spread *ret, const json_t *list, const char *name,
		       struct err *err)
{
	if (!list)
		return 0;
	const double median = json_number_value(json_array_get(list, 0));
	const double sigma = json_number_value(json_array_get(list, 1));
	if (!(median >= 1) || !(sigma >= 0) || sigma > 3)
		return err_set(err, ERR_INVALID,
			       "%s: must be [median, at least 1, sigma of its logarithm, 0 to 3]", name);
	*ret = (struct profile_spread){median, sigma};
	return 0;
}

/* A probe score per mille: not lognormal, it has two ends. */
static int read_probe(struct profile_spread *ret, const json_t *list, struct err *err)
{
	if (!list)
		return 0;
	const double mean = json_number_value(json_array_get(list, 0));
	const double deviation = json_number_value(json_array_get(list, 1));
	if (!(mean >= 1 && mean <= 1000) || !(deviation >= 0 && deviation <= 500))
		return err_set(err, ERR_INVALID,
			       "probe_pm: must be [mean per mille, 1 to 1000, deviation, 0 to 500]");
	*ret = (struct profile_spread){mean, deviation};
	return 0;
}

/* One OS version, or several that devices have in turn. */
static int read_os(struct profile_class *c, const json_t *list, struct arena *arena,
		   struct err *err)
{
	size_t i;
	const json_t *major;
	int64_t *majors = arena_array(arena, json_array_size(list) + 1, sizeof(*majors));
	if (!majors)
		return err_nomem(err);
	majors[0] = c->os_major;
	c->os_major_count = list ? (unsigned)json_array_size(list) : 1;
	json_array_foreach (list, i, major) {
		majors[i] = json_integer_value(major);
		if (!json_is_integer(major) || majors[i] < 1 || majors[i] > 1000)
			return err_set(err, ERR_INVALID, "os_majors: must be numbers from 1 to 1000");
	}
	c->os_majors = majors;
	c->os_major = majors[0];
	return 0;
}

static int read_class(struct profile_class *c, const json_t *object, struct arena *arena,
		      struct err *err)
{
	json_t *attributes = NULL, *runtimes = NULL, *os_majors = NULL;
	*c = (struct profile_class){.full = 1, .disk_free_mib = 16384, .sessions_per_day = 6,
				    .requests_per_session = 3, .spread = 0.5, .link_kib_s = 4096,
				    .slow_kib_s = 128, .offline_s = 7200};
	const struct json_field fields[] = {
		FIELD_NAME("name", &c->name),
		FIELD_INT("devices", &c->devices, .min = 1, .max = PROFILE_DEVICES),
		FIELD_INT("full", &c->full, .optional = true, .min = 1, .max = PROFILE_DEVICES),
		FIELD_OBJECT("attributes", &attributes),
		FIELD_OBJECT("runtimes", &runtimes, .optional = true),
		FIELD_INT("os_major", &c->os_major, .optional = true, .max = 1000),
		FIELD_ARRAY("os_majors", &os_majors, .optional = true, .min = 1, .max = PROFILE_OS),
		FIELD_INT("disk_free_mib", &c->disk_free_mib, .optional = true, .min = 1),
		FIELD_REAL("sessions_per_day", &c->sessions_per_day, .optional = true, .max = 1000),
		FIELD_REAL("requests_per_session", &c->requests_per_session, .optional = true,
			   .min = 1, .max = 1000),
		FIELD_REAL("spread", &c->spread, .optional = true, .max = 3),
		FIELD_REAL("prone", &c->prone, .optional = true, .max = 3),
		FIELD_REAL("pace", &c->pace, .optional = true, .max = 3),
		FIELD_REAL("night", &c->night, .optional = true, .max = 1),
		FIELD_REAL("growth", &c->growth, .optional = true, .max = 10),
		FIELD_REAL("lost", &c->lost, .optional = true, .max = 1),
		FIELD_INT("link_kib_s", &c->link_kib_s, .optional = true, .min = 1),
		FIELD_REAL("slow", &c->slow, .optional = true, .max = 1),
		FIELD_INT("slow_kib_s", &c->slow_kib_s, .optional = true, .min = 1),
		FIELD_REAL("offline", &c->offline, .optional = true, .max = 1),
		FIELD_INT("offline_s", &c->offline_s, .optional = true, .min = 60, .max = 864000),
		FIELD_REAL("killed", &c->killed, .optional = true, .max = 1),
	};
	if (json_read(object, fields, COUNT_OF(fields), err) || keep(&c->name, arena, err) ||
	    keep_json(&c->attributes, attributes, arena, err) ||
	    keep_json(&c->runtimes, runtimes, arena, err) || read_os(c, os_majors, arena, err))
		return -1;
	if (c->offline >= 1)
		return err_set(err, ERR_INVALID, "offline: must be below 1: a share of time");
	if (c->full > c->devices)
		c->full = c->devices;
	return 0;
}

static int read_behaviour(struct profile_behaviour *b, const json_t *object, struct arena *arena,
			  struct err *err)
{
	json_t *load_ms = NULL, *ttft_ms = NULL, *energy = NULL, *decode = NULL, *probe = NULL;
	*b = healthy;
	const struct json_field fields[] = {
		FIELD_TEXT("class", &b->class, .optional = true, .min = 1, .max = 64),
		FIELD_TEXT("variant", &b->variant, .optional = true, .min = 1, .max = 200),
		FIELD_INT("os_major", &b->os_major, .optional = true, .min = 1, .max = 1000),
		FIELD_REAL("load_fail", &b->load_fail, .optional = true, .max = 1),
		FIELD_REAL("load_oom", &b->load_oom, .optional = true, .max = 1),
		FIELD_REAL("brick", &b->brick, .optional = true, .max = 1),
		FIELD_REAL("crash", &b->crash, .optional = true, .max = 1),
		FIELD_REAL("timeout", &b->timeout, .optional = true, .max = 1),
		FIELD_REAL("thumb_down", &b->thumb_down, .optional = true, .max = 1),
		FIELD_REAL("regenerate", &b->regenerate, .optional = true, .max = 1),
		FIELD_ARRAY("load_ms", &load_ms, .optional = true, .min = 2, .max = 2),
		FIELD_ARRAY("ttft_ms", &ttft_ms, .optional = true, .min = 2, .max = 2),
		FIELD_ARRAY("energy_mj_1k", &energy, .optional = true, .min = 2, .max = 2),
		FIELD_ARRAY("decode_mtps", &decode, .optional = true, .min = 2, .max = 2),
		FIELD_ARRAY("probe_pm", &probe, .optional = true, .min = 2, .max = 2),
	};
	if (json_read(object, fields, COUNT_OF(fields), err) ||
	    read_spread(&b->load_ms, load_ms, "load_ms", err) ||
	    read_spread(&b->ttft_ms, ttft_ms, "ttft_ms", err) ||
	    read_spread(&b->energy_mj_1k, energy, "energy_mj_1k", err) ||
	    read_spread(&b->decode_mtps, decode, "decode_mtps", err) ||
	    read_probe(&b->probe_pm, probe, err))
		return -1;
	return keep(&b->class, arena, err) || keep(&b->variant, arena, err) ? -1 : 0;
}

static int read_classes(struct profile *p, const json_t *list, struct arena *arena,
			struct err *err)
{
	size_t i;
	const json_t *object;
	p->class_count = (unsigned)json_array_size(list);
	p->classes = arena_array(arena, p->class_count, sizeof(*p->classes));
	if (!p->classes)
		return err_nomem(err);
	json_array_foreach (list, i, object)
		if (read_class(&p->classes[i], object, arena, err))
			return err_in(err, "classes[%zu]", i);
	return 0;
}

static int read_behaviours(struct profile *p, const json_t *list, struct arena *arena,
			   struct err *err)
{
	size_t i;
	const json_t *object;
	p->behaviour_count = (unsigned)json_array_size(list);
	p->behaviours = arena_array(arena, p->behaviour_count + 1, sizeof(*p->behaviours));
	if (!p->behaviours)
		return err_nomem(err);
	json_array_foreach (list, i, object)
		if (read_behaviour(&p->behaviours[i], object, arena, err))
			return err_in(err, "behaviour[%zu]", i);
	return 0;
}

int profile_read(struct profile *profile, const json_t *document, struct arena *arena,
		 struct err *err)
{
	int64_t schema = 0;
	json_t *classes = NULL, *behaviour = NULL;
	struct profile p = {.channel = "stable"};
	const struct json_field fields[] = {
		FIELD_INT("schema", &schema, .min = 1, .max = 1),
		FIELD_NAME("channel", &p.channel, .optional = true),
		FIELD_NAME("model", &p.model),
		FIELD_INT("enter_after_s", &p.enter_after_s, .optional = true, .min = 1),
		FIELD_ARRAY("classes", &classes, .min = 1, .max = PROFILE_CLASSES),
		FIELD_ARRAY("behaviour", &behaviour, .optional = true, .max = PROFILE_BEHAVIOURS),
	};
	if (json_read(document, fields, COUNT_OF(fields), err) || keep(&p.channel, arena, err) ||
	    keep(&p.model, arena, err) || read_classes(&p, classes, arena, err) ||
	    read_behaviours(&p, behaviour, arena, err))
		return -1;
	*profile = p;
	return 0;
}

const struct profile_behaviour *profile_behaviour(const struct profile *profile,
						  const char *class, int64_t os_major,
						  const char *variant)
{
	for (unsigned i = 0; i < profile->behaviour_count; i++) {
		const struct profile_behaviour *b = &profile->behaviours[i];
		if ((!b->os_major || b->os_major == os_major) && !fnmatch(b->class, class, 0) &&
		    !fnmatch(b->variant, variant, 0))
			return b;
	}
	return &healthy;
}
