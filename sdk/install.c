/* Having what should run: installs in slices, keeps the last good one, removes what nobody needs. */
#include "base/file.h"
#include "sdk/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SPARE_BYTES ((int64_t)64 << 20) /* that an install leaves free */

/* ---- one variant ---- */

static bool whole(const char *path, int64_t length)
{
	struct stat st;
	return !stat(path, &st) && S_ISREG(st.st_mode) && st.st_size == length;
}

static int room_for(struct flotilla *f, const char *dir, int64_t bytes)
{
	struct statvfs fs;
	if (statvfs(dir, &fs) || (int64_t)fs.f_bavail * (int64_t)fs.f_frsize > bytes + SPARE_BYTES)
		return FLOTILLA_OK;
	return sdk_say(f, FLOTILLA_E_DISK, "no room for %lld more bytes", (long long)bytes);
}

void share_unlock(struct flotilla *f)
{
	if (f->share_fd >= 0)
		close(f->share_fd);
	f->share_fd = -1;
}

static int install_file(struct flotilla *f, const struct manifest_file *file, const char *dir)
{
	char path[SDK_PATH];
	snprintf(path, sizeof(path), "%.800s/%.128s", dir, file->name);
	if (whole(path, file->length))
		return FLOTILLA_OK;
	const int code = room_for(f, dir, file->length);
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
	const char *base = f->shared_cache_dir ? f->shared_cache_dir : f->state_dir;
	if (!base)
		return sdk_say(f, FLOTILLA_E_STATE, "no state directory to install into");
	snprintf(out, SDK_PATH, "%.500s/models/%s/%s/%s", base, v->ref.model, v->ref.release,
		 v->ref.tier);
	return file_mkdirs(out, 0700, &err) ? sdk_fail(f, FLOTILLA_E_STATE, &err) : FLOTILLA_OK;
}

int install_variant(struct flotilla *f, const struct manifest_variant *v,
		    struct installed *ret_installed)
{
	struct installed done = {.variant = ""};
	bool full = !f->shared_cache_dir;
	int code = dir_of(f, v, done.dir);
	for (unsigned i = 0; !code && i < v->file_count; i++)
		code = f->shared_cache_dir ? share_file(f, &v->files[i], done.dir, &full)
					   : install_file(f, &v->files[i], done.dir);
	if (code)
		return code;
	f->stats.full_downloads += full;
	f->stats.shared_downloads += !full;
	snprintf(done.variant, sizeof(done.variant), "%s", v->ref.text);
	snprintf(done.file, sizeof(done.file), "%s", v->file_count ? v->files[0].name : "");
	snprintf(done.via, sizeof(done.via), "%s", full ? "chunks" : "cache");
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
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlink(file);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

void install_remove(struct flotilla *f, struct installed *i)
{
	/* A shared download is others' too. */
	if (i->variant[0] && !f->shared_cache_dir && i->dir[0])
		remove_dir(i->dir);
	memset(i, 0, sizeof(*i));
	f->dirty = true;
}

/* ---- wanting ---- */

static void show(const struct model_state *m, const struct installed *i, bool candidate,
		 struct flotilla_model *ret)
{
	(void)m;
	*ret = (struct flotilla_model){0};
	if (!i->variant[0])
		return;
	ret->path = i->dir;
	ret->file = i->file;
	ret->variant = i->variant;
	ret->candidate = candidate;
}

/* What is installed and may be used, the last good one. */
static void show_installed(const struct flotilla *f, struct model_state *m,
			   struct flotilla_model *ret)
{
	(void)f;
	show(m, &m->stable, false, ret);
	snprintf(m->current, sizeof(m->current), "%s", m->stable.variant);
}

/* Candidate wins: a completed rollout's candidate becomes stable without a download. */
static void promote(struct flotilla *f, struct model_state *m)
{
	struct installed old = m->stable;
	m->stable = m->candidate;
	memset(&m->candidate, 0, sizeof(m->candidate));
	f->dirty = true;
	state_save(f); /* before the old one goes: a crash leaves at least one */
	if (strcmp(old.variant, m->stable.variant))
		install_remove(f, &old);
}

static int may_download(struct flotilla *f, const struct manifest_variant *v)
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

/* What cannot be installed is the first load attempt's result, too. */
static void report_failure(struct flotilla *f, struct model_state *m, const struct choice *c,
			   int code)
{
	const struct flotilla_loaded nothing = {.load_ms = -1, .ttft_ms = -1, .probe_pm = -1};
	const char *result = code == FLOTILLA_E_DISK		 ? "disk"
			     : code == FLOTILLA_E_CONTENT ||
					       code == FLOTILLA_E_TOO_MUCH ? "verify"
									   : NULL;
	if (!result || !c->candidate || !m->entry.candidate || m->entry.outcome_sent ||
	    strcmp(m->entry.rollout, c->model->rollout.id) != 0)
		return;
	report_outcome(f, m, result, &nothing, c->variant->ref.text, "none");
	m->entry.outcome_sent = true;
}

static int bring(struct flotilla *f, struct model_state *m, const struct choice *c)
{
	struct installed *slot = c->candidate ? &m->candidate : &m->stable;
	struct installed fresh, old;
	if (!trust_fresh(f))
		return sdk_say(f, FLOTILLA_E_EXPIRED,
			       "what is trusted has expired; nothing is installed until a poll succeeds");
	int code = may_download(f, c->variant);
	if (code)
		return code;
	enter(f, m, c);
	code = install_variant(f, c->variant, &fresh);
	if (code) {
		report_failure(f, m, c, code);
		return code;
	}
	old = *slot;
	*slot = fresh;
	f->dirty = true;
	state_save(f); /* before the old one goes */
	if (strcmp(old.variant, fresh.variant))
		install_remove(f, &old);
	return FLOTILLA_OK;
}

/* The candidate is no longer offered: back to stable, which is on disk. */
static void drop_candidate(struct flotilla *f, struct model_state *m, const struct choice *c)
{
	if (!m->candidate.variant[0] || c->candidate)
		return;
	if (c->variant && !strcmp(c->variant->ref.text, m->candidate.variant))
		promote(f, m);
	else
		install_remove(f, &m->candidate);
}

static int settle(struct flotilla *f, struct model_state *m, const struct choice *c)
{
	const struct installed *slot = c->candidate ? &m->candidate : &m->stable;
	if (!strcmp(slot->variant, c->variant->ref.text))
		return FLOTILLA_OK;
	if (c->not_before > sdk_now(f))
		return sdk_say(f, FLOTILLA_LATER, "installs are spread; this device waits");
	return bring(f, m, c);
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
	drop_candidate(f, m, &c);
	if (!c.variant) {
		if (c.why.status != ERR_UNTRUSTED)
			show_installed(f, m, ret_model);
		return sdk_fail(f, c.why.status == ERR_UNTRUSTED ? FLOTILLA_E_REVOKED
								 : FLOTILLA_NOTHING,
				&c.why);
	}
	const int code = settle(f, m, &c);
	if (!code && c.candidate) {
		show(m, &m->candidate, true, ret_model);
		snprintf(m->current, sizeof(m->current), "%s", m->candidate.variant);
	} else {
		show_installed(f, m, ret_model);
	}
	f->dirty = true;
	const int saved = state_save(f);
	return code ? code : saved;
}
