#include "server/findings.h"

#include "store/inventory.h"

#define MOST 500 /* listed of each */

void findings_init(struct findings *findings, struct db *db)
{
	*findings = (struct findings){
		.db = db, .damage = json_array(), .push_again = json_array()};
}

void findings_done(struct findings *findings)
{
	json_decref(findings->damage);
	json_decref(findings->push_again);
	*findings = (struct findings){0};
}

static int file_note(void *arg, const struct inventory_file_name *file, struct err *err)
{
	struct findings *findings = arg;

	(void)err;
	if (findings->files++ < MOST)
		json_array_append_new(findings->push_again,
				      json_pack("{s:s, s:s, s:s, s:s}", "model", file->model,
						"release", file->release, "tier", file->tier,
						"file", file->name));
	return 0;
}

void findings_note(void *arg, const struct verify_damage *damage)
{
	struct findings *findings = arg;
	char hex[DIGEST_HEX];
	struct err err;

	digest_hex(&damage->name, hex);
	if (json_array_size(findings->damage) < MOST)
		json_array_append_new(findings->damage,
				      json_pack("{s:s, s:s, s:s}", "kind",
						blob_kind_name(damage->kind), "name", hex, "why",
						damage->why->text));
	if (damage->kind == BLOB_RECIPE &&
	    inventory_recipe_files(findings->db, &damage->name, file_note, findings, &err) < 0)
		return; /* the next look names them */
}

json_t *findings_json(const struct findings *findings, const struct verify_report *report)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:O, s:O, s:I}", "packs",
			 (json_int_t)report->packs, "recipes", (json_int_t)report->recipes, "deltas",
			 (json_int_t)report->deltas, "bytes",
			 (json_int_t)report->bytes, "damaged", (json_int_t)report->damaged,
			 "damage", findings->damage, "push_again", findings->push_again, "files",
			 (json_int_t)findings->files);
}

json_t *findings_gc_json(const struct gc_report *report, bool dry_run)
{
	const struct repack_report *repacked = &report->repacked;

	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I}}", "dry_run",
			 dry_run, "recipes", (json_int_t)report->recipes, "packs",
			 (json_int_t)report->packs, "deltas", (json_int_t)report->deltas, "orphans", (json_int_t)report->orphans, "bytes",
			 (json_int_t)report->bytes, "repacked", "packs",
			 (json_int_t)repacked->packs, "left", (json_int_t)repacked->left, "chunks",
			 (json_int_t)repacked->chunks, "bytes", (json_int_t)repacked->bytes, "made",
			 (json_int_t)repacked->made, "maps", (json_int_t)repacked->maps);
}
