/* Having what should run: installs in slices, keeps the last good one, removes what nobody needs. */
#include "base/file.h"
#include "sdk/fetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ASK_FIRST_MS 2000	    /* how long loading a candidate may wait for news of it */
#define SPARE_BYTES ((int64_t)64 << 20) /* that an install leaves free */

/* ---- one variant ---- */

static bool whole(const char *path, int64_t length)
{
	struct stat st;
	return !stat(path, &st) && S_ISREG(st.st_mode) && st.st_size == length;
}

int64_t install_room(const struct flotilla *f)
{
	struct statvfs fs;
	const char *base = f->shared_cache_dir ? f->shared_cache_dir : f->state_dir;
	if (f->o.disk_free_mib)
		return f->o.disk_free_mib << 20;
	if (!base || statvfs(base, &fs))
		return -1;
	return (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
}

static void path_of_dir(const struct flotilla *f, const struct variant_ref *ref,
			char out[static SDK_PATH])
{
	const char *base = f->shared_cache_dir ? f->shared_cache_dir : f->state_dir;
	snprintf(out, SDK_PATH, "%.500s/models/%s/%s/%s", base ? base : "", ref->model,
		 ref->release, ref->tier);
}

/* Bytes on disk of one file, whole or in part. */
static int64_t held(const char *dir, const char *name)
{
	char path[SDK_PATH];
	struct stat st;
	snprintf(path, sizeof(path), "%.800s/%.128s", dir, name);
	if (!stat(path, &st))
		return (int64_t)st.st_blocks * 512;
	snprintf(path, sizeof(path), "%.800s/%.128s.part", dir, name);
	return stat(path, &st) ? 0 : (int64_t)st.st_blocks * 512;
}

int64_t install_held(const struct flotilla *f, const struct manifest_variant *v)
{
	char dir[SDK_PATH];
	int64_t sum = 0;
	path_of_dir(f, &v->ref, dir);
	for (unsigned i = 0; i < v->file_count; i++)
		sum += held(dir, v->files[i].name);
	return sum;
}

static int room_for(struct flotilla *f, int64_t more)
{
	const int64_t room = install_room(f);
	if (room < 0 || room > more + SPARE_BYTES)
		return FLOTILLA_OK;
	return sdk_say(f, FLOTILLA_E_DISK, "no room for %lld more bytes", (long long)more);
}

void share_unlock(struct flotilla *f)
{
	if (f->share_fd >= 0)
		close(f->share_fd);
	f->share_fd = -1;
}

/* In place of the file of the same name in old's directory. */
static int install_over(struct flotilla *f, const struct manifest_file *file, const char *path,
			const struct installed *old)
{
	char old_path[SDK_PATH];
	struct stat st;
	snprintf(old_path, sizeof(old_path), "%.800s/%.128s", old->dir, file->name);
	if (fetch_inplace_begun(path) && stat(old_path, &st))
		return fetch_file(f, file, path);
	if (stat(old_path, &st))
		return FLOTILLA_E_DISK; /* as room_for() said */
	const int64_t more = file->length - (int64_t)st.st_size, room = install_room(f);
	return room > more ? fetch_over(f, file, path, old_path) : FLOTILLA_E_DISK;
}

static int install_file(struct flotilla *f, const struct manifest_file *file, const char *dir,
			const struct installed *over)
{
	char path[SDK_PATH];
	snprintf(path, sizeof(path), "%.800s/%.128s", dir, file->name);
	if (whole(path, file->length))
		return FLOTILLA_OK;
	const int code = room_for(f, file->length - held(dir, file->name));
	if (code == FLOTILLA_E_DISK && over)
		return install_over(f, file, path, over);
	return code ? code : fetch_file(f, file, path);
}

/* One device at a time fills a shared directory; the lock lasts from slice to slice. */
static int share_lock(struct flotilla *f, const char *dir)
{
	char path[SDK_PATH];
	if (f->share_fd >= 0)
		return FLOTILLA_OK;
	snprintf(path, sizeof(path), "%.800s/.lock", dir);
	f->share_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (f->share_fd < 0)
		return sdk_say(f, FLOTILLA_E_STATE, "cannot open %s", path);
	if (!flock(f->share_fd, LOCK_EX | LOCK_NB))
		return FLOTILLA_OK;
	share_unlock(f);
	return sdk_say(f, FLOTILLA_AGAIN, "another device of this cache is fetching it");
}

/* Many simulated devices share one verified file; each still reads one range of it. */
static int share_file(struct flotilla *f, const struct manifest_file *file, const char *dir,
		      bool *ret_full)
{
	char path[SDK_PATH];
	snprintf(path, sizeof(path), "%.800s/%.128s", dir, file->name);
	if (whole(path, file->length))
		return fetch_probe(f, file);
	int code = share_lock(f, dir);
	if (code)
		return code;
	*ret_full = true;
	code = fetch_file(f, file, path);
	if (code != FLOTILLA_AGAIN)
		share_unlock(f);
	return code;
}

static int dir_of(struct flotilla *f, const struct manifest_variant *v, char out[static SDK_PATH])
{
	struct err err;
	if (!f->shared_cache_dir && !f->state_dir)
		return sdk_say(f, FLOTILLA_E_STATE, "no state directory to install into");
	path_of_dir(f, &v->ref, out);
	return file_mkdirs(out, 0700, &err) ? sdk_fail(f, FLOTILLA_E_STATE, &err) : FLOTILLA_OK;
}

/* How most of an install was had that is over now. */
static const char *via(const struct flotilla *f)
{
	return f->ways & 1u << WAY_RAW ? "full" : f->ways & 1u << WAY_DELTA ? "delta" : "chunks";
}

int install_variant(struct flotilla *f, const struct manifest_variant *v,
		    const struct installed *over, struct installed *ret_installed)
{
	struct installed done = {.variant = ""};
	bool full = !f->shared_cache_dir;
	int code = dir_of(f, v, done.dir);
	for (unsigned i = 0; !code && i < v->file_count; i++)
		code = f->shared_cache_dir ? share_file(f, &v->files[i], done.dir, &full)
					   : install_file(f, &v->files[i], done.dir, over);
	if (code)
		return code;
	f->stats.full_downloads += full;
	f->stats.shared_downloads += !full;
	snprintf(done.variant, sizeof(done.variant), "%s", v->ref.text);
	snprintf(done.file, sizeof(done.file), "%s", v->file_count ? v->files[0].name : "");
	snprintf(done.via, sizeof(done.via), "%s", full ? via(f) : "cache");
	f->ways = 0;
	*ret_installed = done;
	return FLOTILLA_OK;
}

static void remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		char file[SDK_PATH + 300];
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlink(file);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

/* Each directory of models/MODEL/RELEASE/TIER that is not kept, and releases that are empty. */
static void sweep_release(const char *release, const char *const *keep, unsigned count)
{
	DIR *dir = opendir(release);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		char tier[SDK_PATH];
		bool kept = entry->d_name[0] == '.';
		snprintf(tier, sizeof(tier), "%.800s/%.200s", release, entry->d_name);
		for (unsigned i = 0; i < count; i++)
			kept |= !strcmp(tier, keep[i]);
		if (!kept)
			remove_dir(tier);
	}
	if (dir)
		closedir(dir);
	rmdir(release);
}

/* What neither runs nor is on its way: superseded downloads, and what a crash left behind.
 * incoming: the directory of an install under way; "": none.  A shared download is others' too. */
static void sweep(const struct flotilla *f, const struct model_state *m, const char *incoming)
{
	char path[SDK_PATH];
	const char *const keep[] = {m->stable.dir, m->candidate.dir, incoming};
	if (f->shared_cache_dir || !f->state_dir)
		return;
	snprintf(path, sizeof(path), "%.500s/models/%s", f->state_dir, m->name);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		char release[SDK_PATH];
		snprintf(release, sizeof(release), "%.700s/%.200s", path, entry->d_name);
		if (entry->d_name[0] != '.')
			sweep_release(release, keep, COUNT_OF(keep));
	}
	if (dir)
		closedir(dir);
}

/* It is no longer named before it goes: a crash in between leaves what the next sweep takes. */
void install_remove(struct flotilla *f, struct model_state *m, struct installed *i)
{
	if (!i->variant[0])
		return;
	memset(i, 0, sizeof(*i));
	f->dirty = true;
	fetch_drop(f); /* its file may go too; it is begun again */
	if (!state_save(f))
		sweep(f, m, "");
}

/* The directory is found anew at each start: systems move apps' storage. */
void install_place(struct flotilla *f, struct installed *i)
{
	struct variant_ref ref;
	struct err err;
	if (i->variant[0] && !variant_parse(&ref, i->variant, f->own, &err))
		path_of_dir(f, &ref, i->dir);
	else
		memset(i, 0, sizeof(*i));
}

static int is_revoked(void *arg, const char *path, const struct recipe *recipe,
		      const struct digest *name)
{
	const struct flotilla *f = arg;
	(void)path;
	(void)name;
	return manifest_revoked(&f->manifest, &recipe->sha256);
}

/* What is installed need not be in the manifest any more: its recipes tell. */
static bool may_be_used(struct flotilla *f, const struct installed *i)
{
	char path[2 * SDK_PATH];
	snprintf(path, sizeof(path), "%s/%s", i->dir, i->file);
	if (!i->variant[0] || access(path, F_OK))
		return false;
	return !f->has_manifest || !f->manifest.revoked_count ||
	       !fetch_recipes(i->dir, is_revoked, f);
}

/* ---- wanting ---- */

static void show(struct model_state *m, const struct installed *i, bool candidate,
		 struct flotilla_model *ret)
{
	*ret = (struct flotilla_model){0};
	snprintf(m->current, sizeof(m->current), "%s", i->variant);
	if (!i->variant[0])
		return;
	ret->path = i->dir;
	ret->file = i->file;
	ret->variant = i->variant;
	ret->candidate = candidate;
}

/* What is installed and may be used, the last good one. */
static void show_installed(struct flotilla *f, struct model_state *m, struct flotilla_model *ret)
{
	static const struct installed nothing;
	show(m, may_be_used(f, &m->stable) ? &m->stable : &nothing, false, ret);
}

static void become_stable(struct model_state *m, const struct installed *i)
{
	m->stable = *i;
	if (i->floor > m->floor)
		m->floor = i->floor;
}

/* Candidate wins: a completed rollout's candidate becomes stable without a download. */
static void promote(struct flotilla *f, struct model_state *m)
{
	become_stable(m, &m->candidate);
	install_remove(f, m, &m->candidate);
}

int install_may_download(struct flotilla *f, const struct manifest_variant *v)
{
	const struct manifest_install *p = &f->manifest.install;
	int64_t bytes = 0;
	for (unsigned i = 0; i < v->file_count; i++)
		bytes += v->files[i].stored_cap;
	if (f->o.may_download &&
	    !f->o.may_download(f->o.may_arg, p->metered, p->charging, p->idle, bytes))
		return sdk_say(f, FLOTILLA_LATER, "the app does not want a download now");
	return FLOTILLA_OK;
}

static void enter(struct flotilla *f, struct model_state *m, const struct choice *c)
{
	if (c->may_enter && strcmp(m->entry.rollout, c->model->rollout.id) != 0)
		use_enter(f, m, c->model, true, c->variant->ref.text);
}

static bool unverified(int code)
{
	return code == FLOTILLA_E_CONTENT || code == FLOTILLA_E_TOO_MUCH ||
	       code == FLOTILLA_E_PUBLISHER || code == FLOTILLA_E_FLOOR;
}

/* What cannot be installed is the first load attempt's result, too. */
static void report_failure(struct flotilla *f, struct model_state *m, const struct choice *c,
			   int code)
{
	const struct flotilla_loaded nothing = {.load_ms = -1, .ttft_ms = -1, .probe_pm = -1};
	const char *result = code == FLOTILLA_E_DISK		 ? "disk"
			     : unverified(code)	 ? "verify"
						 : NULL;
	if (!result || !c->candidate || !m->entry.candidate || m->entry.outcome_sent ||
	    strcmp(m->entry.rollout, c->model->rollout.id) != 0)
		return;
	report_outcome(f, m, result, &nothing, c->variant->ref.text, "none");
	m->entry.outcome_sent = true;
}

static int bring(struct flotilla *f, struct model_state *m, const struct choice *c)
{
	struct installed fresh;
	int64_t floor;
	char dir[SDK_PATH];
	if (!trust_fresh(f))
		return sdk_say(f, FLOTILLA_E_EXPIRED,
			       "what is trusted has expired; nothing is installed until a poll succeeds");
	int code = install_may_download(f, c->variant);
	if (code)
		return code;
	enter(f, m, c);
	path_of_dir(f, &c->variant->ref, dir);
	sweep(f, m, dir);
	code = vouch_variant(f, m, c->variant, &floor);
	const bool in_place = f->o.in_place && !c->candidate && !m->candidate.variant[0];
	if (!code)
		code = install_variant(f, c->variant, in_place ? &m->stable : NULL, &fresh);
	if (code) {
		report_failure(f, m, c, code);
		return code;
	}
	fresh.floor = floor;
	if (c->candidate)
		m->candidate = fresh;
	else
		become_stable(m, &fresh);
	f->dirty = true;
	code = state_save(f); /* before the old one goes */
	if (!code)
		sweep(f, m, "");
	return code;
}

void install_abandon(struct flotilla *f, struct model_state *m)
{
	if (m->entry.candidate && !m->entry.left)
		m->entry.left = sdk_event_time(f);
	install_remove(f, m, &m->candidate);
}

/* The candidate is no longer offered: back to stable, which is on disk. */
static void drop_candidate(struct flotilla *f, struct model_state *m, const struct choice *c)
{
	/* Without a manifest nobody knows whether it is. */
	if (!m->candidate.variant[0] || c->candidate || !f->has_manifest)
		return;
	if (c->variant && !strcmp(c->variant->ref.text, m->candidate.variant))
		promote(f, m);
	else
		install_abandon(f, m);
}

static bool whole_variant(const struct manifest_variant *v, const char *dir)
{
	char path[2 * SDK_PATH];
	for (unsigned i = 0; i < v->file_count; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, v->files[i].name);
		if (!whole(path, v->files[i].length))
			return false;
	}
	return true;
}

static int settle(struct flotilla *f, struct model_state *m, const struct choice *c)
{
	const struct installed *slot = c->candidate ? &m->candidate : &m->stable;
	if (!strcmp(slot->variant, c->variant->ref.text) && whole_variant(c->variant, slot->dir))
		return FLOTILLA_OK;
	if (c->not_before > sdk_now(f))
		return sdk_say(f, FLOTILLA_LATER, "installs are spread; this device waits");
	return bring(f, m, c);
}

static int nothing_fits(struct flotilla *f, const struct choice *c)
{
	return sdk_fail(f, c->why.status == ERR_UNTRUSTED ? FLOTILLA_E_REVOKED : FLOTILLA_NOTHING,
			&c->why);
}

/* A candidate may have been taken back since the last poll: when one is due, it is tried before the
 * candidate is loaded again, but not for long, and whatever comes of it. */
static void ask_first(struct flotilla *f, const char *model, struct choice *c)
{
	if (!c->candidate || sdk_now(f) < flotilla_next_poll(f))
		return;
	f->timeout_ms = ASK_FIRST_MS;
	if (flotilla_poll(f) < 0)
		sdk_log(f, "the poll before loading a candidate failed; what is known holds");
	f->timeout_ms = 0;
	choose(f, model, c);
}

int flotilla_want(struct flotilla *f, const char *model, struct flotilla_model *ret_model)
{
	struct choice c;
	struct model_state *m = sdk_model(f, model);
	*ret_model = (struct flotilla_model){0};
	if (!m)
		return sdk_say(f, FLOTILLA_E_ARGUMENT, "%s: not a model's name, or too many models",
			       model);
	choose(f, model, &c);
	ask_first(f, model, &c);
	drop_candidate(f, m, &c);
	const int code = c.variant ? settle(f, m, &c) : nothing_fits(f, &c);
	if (!code && c.candidate)
		show(m, &m->candidate, true, ret_model);
	else
		show_installed(f, m, ret_model);
	f->dirty = true;
	const int saved = state_save(f);
	return code ? code : saved;
}
