/* Members by table.  See scan.h. */
#include "base/scan.h"

#include "base/json.h"

#define MAX_INT ((int64_t)1 << 53)

/* The field of that name: mostly the one after the last. */
static int field_find(const struct scan_field *fields, unsigned count, unsigned first,
		      const struct scan_name *name)
{
	for (unsigned i = 0; i < count; i++) {
		const unsigned at = first + i < count ? first + i : first + i - count;
		if (scan_name_is(name, fields[at].name))
			return (int)at;
	}
	return -1;
}

static int text_read(struct scan *s, const struct scan_field *f, const char **target)
{
	size_t len;
	if (scan_text(s, target, &len))
		return -1;
	if (f->kind == SCAN_NAME && !json_name_ok(*target))
		return err_set(s->err, ERR_INVALID,
			       "must be a name: lower-case letters, digits, '.', '_', '-', at most 64,"
			       " starting with a letter or digit");
	if (f->kind == SCAN_TEXT && len > (size_t)f->max)
		return err_set(s->err, ERR_INVALID, "must have at most %lld bytes, has %zu",
			       (long long)f->max, len);
	return 0;
}

static int int_read(struct scan *s, const struct scan_field *f, int64_t *target)
{
	int64_t value;
	const int64_t max = f->max ? f->max : MAX_INT;
	if (scan_int(s, &value))
		return -1;
	if (value < f->min || value > max)
		return err_set(s->err, ERR_INVALID, "%lld is outside %lld..%lld", (long long)value,
			       (long long)f->min, (long long)max);
	*target = value;
	return 0;
}

static int value_read(struct scan *s, const struct scan_field *f, void *target)
{
	void *slot = (char *)target + f->at;
	switch (f->kind) {
	case SCAN_TEXT:
	case SCAN_NAME:
		return text_read(s, f, slot);
	case SCAN_INT:
		return int_read(s, f, slot);
	case SCAN_BOOL:
		return scan_bool(s, slot);
	case SCAN_OWN:
		return f->own(target, s);
	}
	return -1;
}

static int missing(struct scan *s, const struct scan_field *fields, unsigned count, uint64_t seen)
{
	for (unsigned i = 0; i < count; i++)
		if (!fields[i].optional && !(seen >> i & 1))
			return err_set(s->err, ERR_INVALID, "%s: missing", fields[i].name);
	return 0;
}

static int unknown_member(struct scan *s, const struct scan_name *name, bool strict)
{
	if (!strict)
		return scan_skip(s);
	return err_set(s->err, ERR_INVALID,
		       "%.*s: unknown member; remove it or check its spelling",
		       (int)(name->len < 64 ? name->len : 64), name->at);
}

int scan_fields(struct scan *s, const struct scan_field *fields, unsigned count, bool strict,
		void *target)
{
	UNINITIALIZED struct scan_object object;
	struct scan_name name;
	uint64_t seen = 0;
	unsigned next = 0;
	int got;
	if (scan_object(s, &object))
		return -1;
	while ((got = scan_member(s, &object, &name)) > 0) {
		const int i = field_find(fields, count, next, &name);
		if (i < 0) {
			if (unknown_member(s, &name, strict))
				return -1;
			continue;
		}
		const int null = scan_null(s);
		if (null < 0 || (!null && value_read(s, &fields[i], target)))
			return fields[i].kind == SCAN_OWN ? -1 : err_in(s->err, "%s", fields[i].name);
		next = (unsigned)i + 1;
		seen |= null ? 0 : (uint64_t)1 << i;
	}
	return got ? -1 : missing(s, fields, count, seen);
}
