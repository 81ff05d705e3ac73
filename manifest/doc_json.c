/* A manifest written; the reverse of doc.c. */
#include "manifest/doc.h"

#include "base/json.h"
#include "manifest/tuf_build.h"

#include <string.h>

/* Each maker returns a value of its own, or NULL without memory; json_pack() and json_..._new()
 * hand on a NULL they are given, so only the last result needs a look. */

static json_t *refs_json(const struct variant_ref *refs, unsigned count)
{
	json_auto_t *array = json_array();
	for (unsigned i = 0; i < count; i++)
		if (json_array_append_new(array, json_string(refs[i].text)) < 0)
			return NULL;
	return TAKE(array);
}

static json_t *spread_json(const struct manifest_spread *spread)
{
	return json_pack("{s:I, s:I, s:s}", "since", (json_int_t)spread->since, "s",
			 (json_int_t)spread->s, "salt", spread->salt ? spread->salt : "");
}

static json_t *slice_json(struct slice slice)
{
	return json_pack("[I, I]", (json_int_t)slice.lo, (json_int_t)slice.hi);
}

static json_t *rollout_json(const struct manifest_rollout *rollout)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:I, s:{s:o, s:o}}", "id", rollout->id, "salt",
			 rollout->salt, "stage", (json_int_t)rollout->stage, "state",
			 rollout->state == MANIFEST_RUNNING ? "running" : "holding",
			 "candidate_ppm", (json_int_t)rollout->candidate_ppm, "entering",
			 "candidate", slice_json(rollout->candidate), "control",
			 slice_json(rollout->control));
}

static json_t *model_json(const struct manifest_model *model)
{
	json_auto_t *object =
		json_pack("{s:o, s:o}", "stable", refs_json(model->stable, model->stable_count),
			  "spread", spread_json(&model->spread));
	int failed = !object;
	if (model->has_rollout) {
		failed |= json_object_set_new(object, "candidate",
					      refs_json(model->candidate,
							model->candidate_count)) < 0;
		failed |= json_object_set_new(object, "rollout", rollout_json(&model->rollout)) <
			  0;
	}
	return failed ? NULL : TAKE(object);
}

static json_t *models_json(const struct manifest *manifest)
{
	json_auto_t *object = json_object();
	for (unsigned i = 0; i < manifest->model_count; i++)
		if (json_object_set_new(object, manifest->models[i].name,
					model_json(&manifest->models[i])) < 0)
			return NULL;
	return TAKE(object);
}

static json_t *revoked_json(const struct manifest *manifest)
{
	json_auto_t *array = json_array();
	for (unsigned i = 0; i < manifest->revoked_count; i++) {
		char hex[DIGEST_HEX];
		digest_hex(&manifest->revoked[i], hex);
		if (json_array_append_new(array, json_sprintf("sha256:%s", hex)) < 0)
			return NULL;
	}
	return TAKE(array);
}

static json_t *install_json(const struct manifest_install *install)
{
	json_auto_t *object = json_pack("{s:b, s:b, s:b}", "metered", install->metered, "charging",
					install->charging, "idle", install->idle);
	int failed = !object;
	if (install->hour_from != install->hour_to)
		failed |= json_object_set_new(object, "hours",
					      json_pack("[I, I]", (json_int_t)install->hour_from,
							(json_int_t)install->hour_to)) < 0;
	if (install->disk_mib > 0)
		failed |= json_object_set_new(object, "disk_mib",
					      json_integer(install->disk_mib)) < 0;
	return failed ? NULL : TAKE(object);
}

static json_t *telemetry_json(const struct manifest_telemetry *telemetry)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "window_s", (json_int_t)telemetry->window_s,
			 "jitter_s", (json_int_t)telemetry->jitter_s, "windows",
			 (json_int_t)telemetry->windows, "outcome_deadline_s",
			 (json_int_t)telemetry->outcome_deadline_s);
}

static int extra_add(json_t *object, const char *name, const char *text, struct err *err)
{
	if (!text)
		return 0;
	json_t *value = json_parse(text, strlen(text), name, err);
	if (!value)
		return -1;
	return json_object_set_new(object, name, value) < 0 ? err_nomem(err) : 0;
}

static json_t *flotilla_json(const struct manifest *m, struct err *err)
{
	json_auto_t *object = json_pack(
		"{s:i, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "schema", 1, "channel",
		m->channel, "class", m->class, "index_version", (json_int_t)m->index_version,
		"poll_s", (json_int_t)m->poll_s, "candidate_poll_s",
		(json_int_t)m->candidate_poll_s, "models", models_json(m), "revoked",
		revoked_json(m), "install", install_json(&m->install), "telemetry",
		telemetry_json(&m->telemetry));
	if (!object ||
	    (m->development && json_object_set_new(object, "development", json_true()) < 0)) {
		err_nomem(err);
		return NULL;
	}
	if (extra_add(object, "routing", m->routing, err) < 0 ||
	    extra_add(object, "probes", m->probes, err) < 0)
		return NULL;
	return TAKE(object);
}

static json_t *custom_json(const struct manifest_variant *variant,
			   const struct manifest_file *file)
{
	char recipe[DIGEST_HEX], attest[DIGEST_HEX];
	digest_hex(&file->recipe, recipe);
	digest_hex(&variant->attest, attest);
	json_auto_t *custom = json_pack("{s:s, s:s, s:s, s:s, s:I}", "variant", variant->ref.text,
					"tier", variant->ref.tier, "format", variant->format,
					"recipe", recipe, "stored_cap",
					(json_int_t)file->stored_cap);
	json_auto_t *requires = requires_json(&variant->requires);
	int failed = !custom || !requires;
	if (json_object_size(requires) > 0)
		failed |= json_object_set(custom, "requires", requires) < 0;
	if (variant->has_attest)
		failed |= json_object_set_new(custom, "attest", json_string(attest)) < 0;
	return failed ? NULL : TAKE(custom);
}

static int file_add(json_t *targets, const struct manifest_variant *variant,
		    const struct manifest_file *file, struct err *err)
{
	AUTO_BUF struct buf path = BUF_INIT(1024);
	buf_addf(&path, "%s/%s/%s/%s", variant->ref.model, variant->ref.release,
		 variant->ref.tier, file->name);
	if (buf_ok(&path, "targets: path", err) < 0)
		return -1;
	if (json_object_get(targets, path.data))
		return err_set(err, ERR_INVALID, "targets: %s: twice", path.data);
	json_t *custom = custom_json(variant, file);
	if (!custom ||
	    json_object_set_new(targets, path.data,
				tuf_target_json(file->length, &file->sha256, custom)) < 0)
		return err_nomem(err);
	return 0;
}

static json_t *targets_json(const struct manifest *manifest, struct err *err)
{
	json_auto_t *targets = json_object();
	if (!targets) {
		err_nomem(err);
		return NULL;
	}
	for (unsigned i = 0; i < manifest->variant_count; i++) {
		const struct manifest_variant *variant = &manifest->variants[i];
		for (unsigned k = 0; k < variant->file_count; k++)
			if (file_add(targets, variant, &variant->files[k], err) < 0)
				return NULL;
	}
	return TAKE(targets);
}

/* What devices would refuse must not be published: read it as they do. */
static int readable(const json_t *content, struct err *err)
{
	struct manifest parsed;
	AUTO(arena_free) struct arena *arena = arena_new(MANIFEST_ARENA);
	if (!arena)
		return err_nomem(err);
	return manifest_parse(&parsed, content, arena, err);
}

json_t *manifest_json(const struct manifest *manifest, struct err *err)
{
	json_auto_t *targets = targets_json(manifest, err);
	if (!targets)
		return NULL;
	json_auto_t *flotilla = flotilla_json(manifest, err);
	if (!flotilla)
		return NULL;
	json_auto_t *content = json_pack("{s:O, s:O}", "flotilla", flotilla, "targets", targets);
	if (!content) {
		err_nomem(err);
		return NULL;
	}
	return readable(content, err) < 0 ? NULL : TAKE(content);
}
