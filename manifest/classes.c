#include "manifest/classes.h"

#include "manifest/classes_internal.h"

#include "base/json.h"

#include <string.h>

static const struct {
	const char *name;
	unsigned types; /* bits of enum attr_type */
	bool many;	/* takes an array of values */
} operators[OP_COUNT] = {
#define ORDERED (1u << ATTR_INT | 1u << ATTR_VERSION)
	[OP_EQ] = {"eq", ORDERED | 1u << ATTR_TEXT, false},
	[OP_NE] = {"ne", ORDERED | 1u << ATTR_TEXT, false},
	[OP_IN] = {"in", ORDERED | 1u << ATTR_TEXT, true},
	[OP_NOT_IN] = {"not_in", ORDERED | 1u << ATTR_TEXT, true},
	[OP_GE] = {"ge", ORDERED, false},
	[OP_LE] = {"le", ORDERED, false},
	[OP_HAS] = {"has", 1u << ATTR_SETS, false},
	[OP_LACKS] = {"lacks", 1u << ATTR_SETS, false},
#undef ORDERED
};

/* The languages that a rule may need; this reader speaks cond/1. */
static const char *const spoken[] = {"cond/1"};

/* How the readers below go about it. */
struct reader {
	struct arena *arena;
	bool strict; /* as a server: unknown members and attributes are refused */
};

static int members_check(const struct reader *reader, const json_t *object,
			 const char *const *known, size_t count, struct err *err)
{
	const char *name;
	json_t *value;
	if (!json_is_object(object))
		return err_set(err, ERR_INVALID, "must be an object");
	if (!reader->strict)
		return 0;
	/* jansson iterates through a pointer that is not const, but changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		size_t i = 0;
		while (i < count && strcmp(known[i], name) != 0)
			i++;
		if (i == count)
			return err_set(err, ERR_INVALID, "%.64s: unknown member; remove it",
				       name);
	}
	return 0;
}

static int op_read(enum class_op *ret_op, const json_t *value, struct err *err)
{
	const char *name = json_string_value(value);
	for (unsigned i = 0; name && i < OP_COUNT; i++)
		if (strcmp(operators[i].name, name) == 0) {
			*ret_op = (enum class_op)i;
			return 0;
		}
	return err_set(err, ERR_INVALID,
		       "op: unknown operator \"%.32s\"; use eq ne in not_in ge le has lacks",
		       name ? name : "");
}

static int values_read(struct class_condition *c, const json_t *value,
		       const struct reader *reader, struct err *err)
{
	/* Sets are asked about one member, which is a text. */
	enum attr_type type = attr_type(c->attr) == ATTR_SETS ? ATTR_TEXT : attr_type(c->attr);
	bool many = operators[c->op].many;
	size_t count = many ? json_array_size(value) : 1;
	if (many && (!json_is_array(value) || count < 1 || count > CLASS_VALUES))
		return err_set(err, ERR_INVALID, "value: %s takes an array of 1 to %d values",
			       operators[c->op].name, CLASS_VALUES);
	if (!value)
		return err_set(err, ERR_INVALID, "value: missing");
	if (!(c->values = arena_array(reader->arena, count, sizeof c->values[0])))
		return err_nomem(err);
	for (; c->count < count; c->count++) {
		const json_t *one = many ? json_array_get(value, c->count) : value;
		if (attr_value_read(&c->values[c->count], type, one, reader->arena, err) < 0)
			return err_in(err, "value");
	}
	return 0;
}

static int condition_text(struct class_condition *c, struct arena *arena, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(8192);
	enum attr_type type = attr_type(c->attr) == ATTR_SETS ? ATTR_TEXT : attr_type(c->attr);
	buf_addf(&text, "%s %s ", attr_name(c->attr), operators[c->op].name);
	for (unsigned i = 0; i < c->count; i++) {
		buf_adds(&text, i ? ", " : "");
		attr_value_text(&c->values[i], type, &text);
	}
	if (buf_ok(&text, "condition", err) < 0)
		return -1;
	if (!(c->text = arena_dup(arena, text.data, text.len)))
		return err_nomem(err);
	return 0;
}

static int condition_read(struct class_condition *c, const json_t *object,
			  const struct reader *reader, struct err *err)
{
	static const char *const members[] = {"attr", "op", "value"};
	if (members_check(reader, object, members, COUNT_OF(members), err) < 0)
		return -1;
	const char *name = json_string_value(json_object_get(object, "attr"));
	if (!name)
		return err_set(err, ERR_INVALID, "attr: must be the name of an attribute");
	if (op_read(&c->op, json_object_get(object, "op"), err) < 0)
		return -1;
	if (attr_find(&c->attr, name) < 0) {
		if (reader->strict)
			return err_set(err, ERR_INVALID,
				       "attr: no attribute is called \"%.64s\"", name);
		/* An attribute of newer devices: missing here, so the condition is false. */
		c->text = arena_printf(reader->arena, "%.64s %s", name, operators[c->op].name);
		return c->text ? 0 : err_nomem(err);
	}
	if (!(operators[c->op].types & 1u << attr_type(c->attr)))
		return err_set(err, ERR_INVALID, "op: %s does not apply to %s",
			       operators[c->op].name, name);
	c->known = true;
	if (values_read(c, json_object_get(object, "value"), reader, err) < 0)
		return -1;
	return condition_text(c, reader->arena, err);
}

static int alternative_read(struct class_alternative *alternative, const json_t *object,
			    const struct reader *reader, struct err *err)
{
	static const char *const members[] = {"all"};
	const json_t *all = json_object_get(object, "all");
	size_t count = json_array_size(all);
	if (members_check(reader, object, members, COUNT_OF(members), err) < 0)
		return -1;
	if (!json_is_array(all) || count < 1 || count > CLASS_CONDITIONS)
		return err_set(err, ERR_INVALID, "all: must be an array of 1 to %d conditions",
			       CLASS_CONDITIONS);
	if (!(alternative->all = arena_array(reader->arena, count, sizeof alternative->all[0])))
		return err_nomem(err);
	for (; alternative->count < count; alternative->count++)
		if (condition_read(&alternative->all[alternative->count],
				   json_array_get(all, alternative->count), reader, err) < 0)
			return err_in(err, "all[%u]", alternative->count);
	return 0;
}

static int needs_check(const json_t *needs, struct err *err)
{
	if (needs && !json_is_array(needs))
		return err_set(err, ERR_INVALID, "needs: must be an array of texts");
	for (size_t i = 0; i < json_array_size(needs); i++) {
		const char *need = json_string_value(json_array_get(needs, i));
		size_t known = 0;
		while (need && known < COUNT_OF(spoken) && strcmp(spoken[known], need) != 0)
			known++;
		if (!need || known == COUNT_OF(spoken))
			return err_set(err, ERR_INVALID,
				       "needs[%zu]: \"%.32s\" is not known here; \"cond/1\" is", i,
				       need ? need : "");
	}
	return 0;
}

static int any_read(struct class_rule *rule, const json_t *any, const struct reader *reader,
		    struct err *err)
{
	size_t count = json_array_size(any);
	if (!json_is_array(any) || count < 1 || count > CLASS_ALTERNATIVES)
		return err_set(err, ERR_INVALID, "any: must be an array of 1 to %d alternatives",
			       CLASS_ALTERNATIVES);
	if (!(rule->any = arena_array(reader->arena, count, sizeof rule->any[0])))
		return err_nomem(err);
	for (; rule->count < count; rule->count++)
		if (alternative_read(&rule->any[rule->count], json_array_get(any, rule->count),
				     reader, err) < 0)
			return err_in(err, "any[%u]", rule->count);
	return 0;
}

/* What a device may fail to understand and a server must not publish. */
static int matcher_read(struct class_rule *rule, const json_t *object,
			const struct reader *reader, struct err *err)
{
	static const char *const members[] = {"class", "needs", "any"};
	const json_t *any = json_object_get(object, "any");
	rule->always = !any;
	if (members_check(reader, object, members, COUNT_OF(members), err) < 0 ||
	    needs_check(json_object_get(object, "needs"), err) < 0)
		return -1;
	return any ? any_read(rule, any, reader, err) : 0;
}

static int rule_read(struct class_rule *rule, const json_t *object, const struct reader *reader,
		     struct err *err)
{
	const char *class = json_string_value(json_object_get(object, "class"));
	if (!class || !json_name_ok(class))
		return err_set(err, ERR_INVALID,
			       "class: must be a name of lower-case letters, digits, '.', '_', "
			       "'-'");
	if (!(rule->class = arena_strdup(reader->arena, class)))
		return err_nomem(err);
	if (matcher_read(rule, object, reader, err) == 0)
		return 0;
	if (reader->strict || err->status != ERR_INVALID)
		return -1;
	rule->skipped = arena_strdup(reader->arena, err->text);
	return rule->skipped ? 0 : err_nomem(err);
}

static int document_read(struct class_rules *rules, const json_t *document,
			 const struct reader *reader, struct err *err)
{
	struct class_rules out = {0};
	json_t *array = NULL;
	int64_t schema = 0;
	const struct json_field fields[] = {
		FIELD_INT("schema", &schema, .min = 1, .max = 1),
		FIELD_INT("version", &out.version, .optional = true),
		FIELD_ARRAY("rules", &array, .min = 1, .max = CLASS_RULES),
	};
	if ((reader->strict ? json_read(document, fields, COUNT_OF(fields), err)
			    : json_read_loose(document, fields, COUNT_OF(fields), err)) < 0)
		return -1;
	size_t count = json_array_size(array);
	if (!(out.rules = arena_array(reader->arena, count, sizeof out.rules[0])))
		return err_nomem(err);
	for (; out.count < count; out.count++)
		if (rule_read(&out.rules[out.count], json_array_get(array, out.count), reader,
			      err) < 0)
			return err_in(err, "rules[%u]", out.count);
	const json_t *last = json_array_get(array, count - 1);
	if (json_object_get(last, "any") || json_object_get(last, "needs"))
		return err_set(err, ERR_INVALID,
			       "rules[%zu]: the last rule must match all; leave out its \"any\" "
			       "and \"needs\"",
			       count - 1);
	*rules = out;
	return 0;
}

int classes_parse(struct class_rules *rules, const json_t *document, struct arena *arena,
		  struct err *err)
{
	const struct reader reader = {.arena = arena, .strict = false};
	return document_read(rules, document, &reader, err);
}

int classes_parse_strict(struct class_rules *rules, const json_t *document, struct arena *arena,
			 struct err *err)
{
	const struct reader reader = {.arena = arena, .strict = true};
	return document_read(rules, document, &reader, err);
}

int classes_order(enum attr_type type, const struct attr_value *a, const struct attr_value *b)
{
	if (type == ATTR_VERSION)
		return version_cmp(&a->version, &b->version);
	if (type == ATTR_INT)
		return (a->number > b->number) - (a->number < b->number);
	return strcmp(a->text, b->text);
}

static bool among(const struct class_condition *c, const struct attr_value *value)
{
	for (unsigned i = 0; i < c->count; i++)
		if (classes_order(attr_type(c->attr), value, &c->values[i]) == 0)
			return true;
	return false;
}

static bool set_has(const struct attr_value *value, const char *member)
{
	for (unsigned i = 0; i < value->set_count; i++)
		if (strcmp(value->set[i], member) == 0)
			return true;
	return false;
}

bool classes_holds(const struct class_condition *c, const struct attr_value *value)
{
	if (!c->known || !value->present)
		return false;
	switch (c->op) {
	case OP_EQ:
	case OP_IN:
		return among(c, value);
	case OP_NE:
	case OP_NOT_IN:
		return !among(c, value);
	case OP_GE:
		return classes_order(attr_type(c->attr), value, &c->values[0]) >= 0;
	case OP_LE:
		return classes_order(attr_type(c->attr), value, &c->values[0]) <= 0;
	case OP_HAS:
		return set_has(value, c->values[0].text);
	case OP_LACKS:
		return !set_has(value, c->values[0].text);
	case OP_COUNT:
		break;
	}
	return false;
}

/* The first condition that fails; NULL: all hold. */
static const struct class_condition *first_failing(const struct class_alternative *alternative,
						   const struct attrs *attrs)
{
	for (unsigned i = 0; i < alternative->count; i++) {
		const struct class_condition *c = &alternative->all[i];
		if (!c->known || !classes_holds(c, &attrs->value[c->attr]))
			return c;
	}
	return NULL;
}

static bool rule_matches(const struct class_rule *rule, const struct attrs *attrs)
{
	if (rule->skipped)
		return false;
	for (unsigned i = 0; i < rule->count; i++)
		if (!first_failing(&rule->any[i], attrs))
			return true;
	return rule->always;
}

unsigned classes_match(const struct class_rules *rules, const struct attrs *attrs)
{
	unsigned i = 0;
	while (i + 1 < rules->count && !rule_matches(&rules->rules[i], attrs))
		i++;
	return i;
}

static json_t *reason_json(const struct class_condition *c, unsigned index,
			   const struct attrs *attrs)
{
	AUTO_BUF struct buf text = BUF_INIT(16384);
	buf_addf(&text, "any[%u]: %s: ", index, c->text);
	if (c->known) {
		buf_adds(&text, "it is ");
		attr_value_text(&attrs->value[c->attr], attr_type(c->attr), &text);
	} else {
		buf_adds(&text, "this attribute is not known here");
	}
	return text.failed ? NULL : json_stringn(text.data, text.len);
}

static json_t *rule_json(const struct class_rule *rule, bool matched, const struct attrs *attrs)
{
	json_auto_t *reasons = json_array();
	int failed = !reasons;
	if (!matched && rule->skipped)
		failed |= json_array_append_new(
			reasons, json_sprintf("skipped: %s", rule->skipped)) < 0;
	for (unsigned i = 0; !matched && !rule->skipped && i < rule->count; i++) {
		const struct class_condition *c = first_failing(&rule->any[i], attrs);
		failed |= c && json_array_append_new(reasons, reason_json(c, i, attrs)) < 0;
	}
	if (failed)
		return NULL;
	return json_pack("{s:s, s:b, s:O}", "class", rule->class, "matched", matched, "reasons",
			 reasons);
}

json_t *classes_explain(const struct class_rules *rules, const struct attrs *attrs,
			struct err *err)
{
	unsigned match = classes_match(rules, attrs);
	json_auto_t *tried = json_array();
	int failed = !tried;
	for (unsigned i = 0; !failed && i <= match; i++)
		failed = json_array_append_new(
				 tried, rule_json(&rules->rules[i], i == match, attrs)) < 0;
	json_t *out = failed ? NULL
			     : json_pack("{s:s, s:i, s:I, s:O}", "class",
					 rules->rules[match].class, "rule", (int)match, "version",
					 (json_int_t)rules->version, "rules", tried);
	if (!out)
		err_nomem(err);
	return out;
}
