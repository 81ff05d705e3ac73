#include "cli/sign.h"

#include "base/json.h"
#include "manifest/attest.h"
#include "manifest/keystore.h"

#include <string.h>

static int64_t counter_of(const json_t *releases, const char *name)
{
	size_t i;
	json_t *item;
	json_array_foreach (json_object_get(releases, "items"), i, item) {
		const char *release = json_string_value(json_object_get(item, "release"));
		if (release && name && !strcmp(release, name))
			return json_integer_value(json_object_get(item, "counter"));
	}
	return 0;
}

static int64_t highest(const json_t *releases)
{
	size_t i;
	json_t *item;
	int64_t most = 0;
	json_array_foreach (json_object_get(releases, "items"), i, item) {
		const int64_t n = json_integer_value(json_object_get(item, "counter"));
		most = n > most ? n : most;
	}
	return most;
}

/* The lowest counter in use as a stable, or as the one before it; 0 when none is. */
static int64_t lowest_in_use(const json_t *releases, const json_t *offers, const char *model)
{
	static const char *const members[] = {"stable", "previous"};
	size_t i;
	json_t *offer;
	int64_t least = INT64_MAX;
	json_array_foreach (json_object_get(offers, "items"), i, offer) {
		const char *of = json_string_value(json_object_get(offer, "model"));
		for (size_t k = 0; of && !strcmp(of, model) && k < COUNT_OF(members); k++) {
			const char *release =
				json_string_value(json_object_get(offer, members[k]));
			const int64_t n = release ? counter_of(releases, release) : INT64_MAX;
			least = n < least ? n : least;
		}
	}
	return least == INT64_MAX ? 0 : least;
}

static int choose_counters(struct api *api, const struct signing *signing,
			   const struct sign_subject *subject, struct attest *out, struct err *err)
{
	char path[256];
	json_auto_t *releases = NULL, *offers = NULL;
	snprintf(path, sizeof(path), "/admin/v1/models/%s/releases", subject->model);
	if (api_get(api, path, &releases, err) || api_get(api, "/admin/v1/stable", &offers, err))
		return -1;
	const int64_t own = counter_of(releases, subject->release);
	out->counter = signing->counter >= 0 ? signing->counter : own ? own : highest(releases) + 1;
	out->floor = signing->floor >= 0 ? signing->floor
					 : lowest_in_use(releases, offers, subject->model);
	if (out->counter > SIGN_COUNTER_MAX)
		return err_set(err, ERR_INVALID,
			       "the server names a counter beyond 2^52; say --counter yourself");
	/* Asked for, a floor above the counter is refused; worked out, it cannot be meant. */
	if (signing->floor < 0 && out->floor > out->counter)
		out->floor = out->counter;
	return 0;
}

json_t *sign_variant(struct api *api, const struct signing *signing,
		     const struct sign_subject *subject, struct err *err)
{
	AUTO_KEY_SEED struct key_seed seed;
	AUTO_SIGN_KEY struct sign_key key;
	AUTO_BUF struct buf text = BUF_INIT(DSSE_MAX);
	AUTO(arena_free) struct arena *arena = arena_new(65536);
	struct attest_file file = {subject->file, subject->sha256};
	const char *channels[ARGS_REPEAT];
	struct attest attest = {.model = subject->model, .release = subject->release,
				.tier = subject->tier, .format = subject->format, .files = &file,
				.file_count = 1, .channels = channels,
				.channel_count = signing->channel_count};
	memcpy(channels, signing->channels, sizeof(channels));
	if (!arena) {
		err_nomem(err);
		return NULL;
	}
	if (keystore_seed_read(signing->key_file, &seed, err) ||
	    choose_counters(api, signing, subject, &attest, err) ||
	    requires_parse_strict(&attest.requires, subject->requires, arena, err))
		return NULL;
	key_from_seed(&key, &seed);
	return attest_sign(&attest, &key, &text, err)
		       ? NULL
		       : json_parse(text.data, text.len, "envelope", err);
}
