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
	return access(path, F_OK) ? file_write(path, "1\n", 2, 0600, err) : 0;
}

static int read_epoch(const char *path, int64_t *ret, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(SMALL_FILE);
	char *end;
	if (file_read(path, &text, err))
		return err_in(err, "epoch");
	const long long epoch = text.data ? strtoll(text.data, &end, 10) : 0;
	if (epoch < 1 || epoch > 1000000)
		return err_set(err, ERR_CORRUPT, "epoch %s: not a number from 1", path);
	*ret = epoch;
	return 0;
}

int keystore_init(const char *data_dir, bool development, struct err *err)
{
	char dir[PATH_BYTES], online[PATH_BYTES], root[PATH_BYTES], epoch[PATH_BYTES];
	path_of(dir, data_dir, "keys");
	path_of(online, data_dir, "keys/online.seed");
	path_of(root, data_dir, "keys/root.seed");
	path_of(epoch, data_dir, "epoch");
	if (file_mkdirs(dir, 0700, err) || need_seed(online, err) || write_epoch(epoch, err))
		return -1;
	return development ? need_seed(root, err) : 0;
}

int keystore_load(struct keystore *keys, const char *data_dir, const char *online_file,
		  struct err *err)
{
	char path[PATH_BYTES];
	struct keystore loaded = {.development = false};
	if (!online_file || !online_file[0])
		online_file = path_of(path, data_dir, "keys/online.seed");
	if (keystore_seed_read(online_file, &loaded.online, err))
		return -1;
	path_of(path, data_dir, "keys/root.seed");
	loaded.development = !access(path, F_OK);
	if ((loaded.development && keystore_seed_read(path, &loaded.root, err)) ||
	    read_epoch(path_of(path, data_dir, "epoch"), &loaded.epoch, err)) {
		keystore_done(&loaded);
		return -1;
	}
	*keys = loaded;
	sodium_memzero(&loaded, sizeof(loaded));
	return 0;
}

void keystore_done(struct keystore *keys)
{
	sodium_memzero(keys, sizeof(*keys));
}
