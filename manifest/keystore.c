#include "manifest/keystore.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hex.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define SMALL_FILE 256
#define ONLINE_SEED "keys/online.seed"
#define NEXT_SEED "keys/online.next.seed"

static const char *path_of(char out[static PATH_BYTES], const char *data_dir, const char *name)
{
	snprintf(out, PATH_BYTES, "%s/%s", data_dir, name);
	return out;
}

int keystore_seed_make(const char *path, struct err *err)
{
	char text[2 * KEY_SEED_LEN + 2];
	AUTO_KEY_SEED struct key_seed seed;
	if (!access(path, F_OK))
		return err_set(err, ERR_CONFLICT, "%s exists already; a key is never overwritten",
			       path);
	key_seed_new(&seed);
	hex_encode(text, seed.bytes, KEY_SEED_LEN);
	text[2 * KEY_SEED_LEN] = '\n';
	int bad = file_write(path, text, 2 * KEY_SEED_LEN + 1, 0600, err);
	sodium_memzero(text, sizeof(text));
	return bad;
}

int keystore_seed_read(const char *path, struct key_seed *seed, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(SMALL_FILE);
	struct stat st;
	if (file_read(path, &text, err))
		return err_in(err, "key seed");
	if (!stat(path, &st) && st.st_mode & 077)
		return err_set(err, ERR_INVALID, "key seed %s: others may read it; chmod 600 it",
			       path);
	const int bad = text.len < 2 * KEY_SEED_LEN ||
			hex_decode(seed->bytes, KEY_SEED_LEN, text.data);
	if (text.data)
		sodium_memzero(text.data, text.len);
	if (bad)
		return err_set(err, ERR_CORRUPT, "key seed %s: not 64 lower-case hex digits", path);
	return 0;
}

static int need_seed(const char *path, struct err *err)
{
	return access(path, F_OK) ? keystore_seed_make(path, err) : 0;
}

static int write_epoch(const char *path, struct err *err)
{
	return access(path, F_OK) ? file_write(path, "1 0\n", 4, 0600, err) : 0;
}

static int read_epoch(const char *path, struct keystore *keys, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(SMALL_FILE);
	char *end = NULL;
	keys->epoch = keys->published = 0;
	if (file_read(path, &text, err))
		return err->status == ERR_NOT_FOUND ? 0 : err_in(err, "epoch");
	if (text.data)
		keys->epoch = strtoll(text.data, &end, 10);
	if (end)
		keys->published = strtoll(end, NULL, 10);
	if (keys->epoch < 1 || keys->epoch > EPOCH_MAX || keys->published < 0)
		return err_set(err, ERR_CORRUPT,
			       "epoch %s: not two numbers from 1; remove it, start, and run `flotilla db "
			       "restored --epoch N` with more than any before",
			       path);
	return 0;
}

int keystore_remember(struct keystore *keys, int64_t epoch, int64_t published, struct err *err)
{
	char path[PATH_BYTES], text[64];
	const int len = snprintf(text, sizeof(text), "%lld %lld\n", (long long)epoch,
				 (long long)published);
	if (file_write(path_of(path, keys->data_dir, "epoch"), text, (size_t)len, 0600, err))
		return -1;
	keys->epoch = epoch;
	keys->published = published;
	return 0;
}

int keystore_init(const char *data_dir, bool development, struct err *err)
{
	char dir[PATH_BYTES], online[PATH_BYTES], root[PATH_BYTES], epoch[PATH_BYTES];
	path_of(dir, data_dir, "keys");
	path_of(online, data_dir, ONLINE_SEED);
	path_of(root, data_dir, "keys/root.seed");
	path_of(epoch, data_dir, "epoch");
	if (file_mkdirs(dir, 0700, err) || need_seed(online, err) || write_epoch(epoch, err))
		return -1;
	return development ? need_seed(root, err) : 0;
}

/* The next seed, when there is one that is not in use already. */
static int load_next(struct keystore *keys, struct err *err)
{
	char path[PATH_BYTES];
	path_of(path, keys->data_dir, NEXT_SEED);
	if (access(path, F_OK))
		return 0;
	if (keystore_seed_read(path, &keys->next, err))
		return -1;
	keys->rotating = sodium_memcmp(&keys->next, &keys->online, sizeof(keys->next)) != 0;
	return 0;
}

static int load(struct keystore *keys, const char *online_file, struct err *err)
{
	char path[PATH_BYTES];
	keys->elsewhere = online_file && online_file[0];
	if (keystore_seed_read(keys->elsewhere ? online_file
					       : path_of(path, keys->data_dir, ONLINE_SEED),
			       &keys->online, err) ||
	    load_next(keys, err))
		return -1;
	path_of(path, keys->data_dir, "keys/root.seed");
	keys->development = !access(path, F_OK);
	if (keys->development && keystore_seed_read(path, &keys->root, err))
		return -1;
	return read_epoch(path_of(path, keys->data_dir, "epoch"), keys, err);
}

int keystore_load(struct keystore *keys, const char *data_dir, const char *online_file,
		  struct err *err)
{
	AUTO_KEYSTORE struct keystore loaded = {.development = false};
	if (strlen(data_dir) >= sizeof(loaded.data_dir))
		return err_set(err, ERR_INVALID, "data_dir: at most %zu bytes",
			       sizeof(loaded.data_dir) - 1);
	memcpy(loaded.data_dir, data_dir, strlen(data_dir));
	if (load(&loaded, online_file, err))
		return -1;
	*keys = loaded;
	return 0;
}

int keystore_rotate(struct keystore *keys, struct err *err)
{
	char path[PATH_BYTES];
	if (keys->rotating)
		return err_set(err, ERR_CONFLICT,
			       "a rotation is under way: export, sign and import its roots first");
	path_of(path, keys->data_dir, NEXT_SEED);
	/* One that is in use already is only a copy of a seed that lies elsewhere. */
	if (keys->elsewhere && !access(path, F_OK) && unlink(path))
		return err_sys(err, "cannot remove %s", path);
	if (keystore_seed_make(path, err))
		return -1;
	return load_next(keys, err);
}

int keystore_settle(struct keystore *keys, struct err *err)
{
	char from[PATH_BYTES], to[PATH_BYTES];
	if (!keys->rotating || keys->elsewhere)
		return 0;
	path_of(from, keys->data_dir, NEXT_SEED);
	path_of(to, keys->data_dir, ONLINE_SEED);
	if (file_commit(-1, from, to, err))
		return -1;
	keys->online = keys->next;
	keys->rotating = false;
	return 0;
}

const struct key_seed *keystore_newest(const struct keystore *keys)
{
	return keys->rotating ? &keys->next : &keys->online;
}

void keystore_seed_id(const struct key_seed *seed, struct digest *ret_id)
{
	AUTO_SIGN_KEY struct sign_key key;
	key_derive(&key, seed, &(struct key_use){.role = KEY_RULES});
	*ret_id = key.public.id;
}

void keystore_done(struct keystore *keys)
{
	sodium_memzero(keys, sizeof(*keys));
}
