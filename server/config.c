#include "server/config.h"

#include "base/file.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, INT, BOOL };

struct config_entry {
	const char *key;
	enum kind kind;
	size_t at; /* in struct config */
	const char *fallback;
	int64_t min, max; /* INT: the value; TEXT: bytes */
	const char *one_of; /* TEXT: "a|b"; NULL: anything */
	const char *help;
};

#define AT(field) offsetof(struct config, field)
#define KEY_MAX 32
#define LINE_MAX_BYTES 4096
#define FILE_MAX_BYTES 65536

/* clang-format off */
static const struct config_entry table[] = {
	{ "data_dir", TEXT, AT(data_dir), "/var/lib/flotilla", 1, 1024, NULL,
	  "where database, packs and keys live" },
	{ "device_listen", TEXT, AT(device_listen), "127.0.0.1:8080", 2, 255, NULL,
	  "address of the device listener" },
	{ "admin_listen", TEXT, AT(admin_listen), "127.0.0.1:8081", 2, 255, NULL,
	  "address of the admin listener: API, metrics" },
	{ "admin_hosts", TEXT, AT(admin_hosts), "", 0, 1024, NULL,
	  "names besides localhost and addresses under which the admin listener is reached" },
	{ "tls_cert_file", TEXT, AT(tls_cert_file), "", 0, 1024, NULL,
	  "PEM certificate chain for both listeners; empty: no TLS" },
	{ "tls_key_file", TEXT, AT(tls_key_file), "", 0, 1024, NULL,
	  "PEM key of tls_cert_file" },
	{ "online_seed_file", TEXT, AT(online_seed_file), "", 0, 1024, NULL,
	  "the online signing seed; empty: data_dir/keys/online.seed" },
	{ "ingest_token_file", TEXT, AT(ingest_token_file), "", 0, 1024, NULL,
	  "file with the token that apps send with telemetry; empty: anyone may report, and an"
	  " operator must approve shares beyond 25 %" },
	{ "proxies", TEXT, AT(proxies), "", 0, 1024, NULL,
	  "addresses and prefixes, as 10.0.0.0/8, of proxies whose X-Forwarded-For is believed" },
	{ "log_level", TEXT, AT(log_level), "info", 1, 8, "debug|info|warn|error",
	  "debug also logs every request" },
	{ "loops", INT, AT(loops), "0", 0, 64, NULL,
	  "event loops of the device listener; 0: one a core, 8 at the most" },
	{ "workers", INT, AT(workers), "0", 0, 64, NULL,
	  "threads for the admin API and for decoding; 0: one a core, 2 at the least" },
	{ "max_connections", INT, AT(max_connections), "8192", 16, 1000000, NULL,
	  "connections of the device listener; each may take 16 KiB" },
	{ "ledger_queue", INT, AT(ledger_queue), "65536", 16, 1000000, NULL,
	  "operations waiting for the database, beyond which 503 is answered" },
	{ "intake_queue", INT, AT(intake_queue), "16384", 16, 1000000, NULL,
	  "telemetry reports waiting for the database, beyond which 429 is answered" },
	{ "max_nonces", INT, AT(max_nonces), "80000000", 1000, 1LL << 32, NULL,
	  "telemetry reports that are remembered, so that none counts twice, for the six days in"
	  " which it could come again; beyond that 429 is answered; two bytes each of a mapped file, which"
	  " memory can do without, and 20 on the disk" },
	{ "network_rate", INT, AT(network_rate), "100", 0, 1000000, NULL,
	  "telemetry reports a second of one network (/24 of IPv4, /48 of IPv6), beyond which 429 is"
	  " answered; 0: no limit; this machine itself has none unless it is one of proxies" },
	{ "network_burst", INT, AT(network_burst), "20000", 1, 100000000, NULL,
	  "telemetry reports that a network may send at once, on top of network_rate" },
	{ "relay_rate", INT, AT(relay_rate), "50000", 0, 10000000, NULL,
	  "reports a second of one relay's token, beyond which 429 is answered; two seconds' worth, at"
	  " least 2000, may come at once; 0: no limit" },
	{ "job_queue", INT, AT(job_queue), "256", 1, 65536, NULL,
	  "requests waiting for a worker, beyond which 503 is answered" },
	{ "max_file_bytes", INT, AT(max_file_bytes), "68719476736", 1048576, 64LL << 30, NULL,
	  "size of one file of a variant" },
	{ "min_cohort", INT, AT(min_cohort), "50", 20, 1000000, NULL,
	  "telemetry of fewer devices is neither shown nor exported" },
	{ "reserve_mib", INT, AT(reserve_mib), "64", 1, 1048576, NULL,
	  "disk kept free of uploads and telemetry, for rollbacks and signing" },
	{ "clock_speed", INT, AT(clock_speed), "1", 1, 100000, NULL,
	  "own seconds a real one; only with development keys" },
	{ "drain_s", INT, AT(drain_s), "10", 0, 3600, NULL,
	  "seconds that requests in flight get at shutdown" },
	{ "insecure_dev", BOOL, AT(insecure_dev), "false", 0, 0, NULL,
	  "serve devices beyond loopback though development keys sign" },
};
/* clang-format on */

/* ---- One value. ---- */

static char **text_slot(struct config *config, const struct config_entry *entry)
{
	return (char **)((char *)config + entry->at);
}

static bool listed(const char *one_of, const char *value)
{
	size_t len = strlen(value);

	for (const char *at = one_of; *at; at += strspn(at, "|")) {
		size_t n = strcspn(at, "|");

		if (n == len && memcmp(at, value, n) == 0)
			return true;
		at += n;
	}
	return false;
}

static int set_text(struct config *config, const struct config_entry *entry, const char *value,
		    struct err *err)
{
	size_t len = strlen(value);
	char *copy;

	if (entry->one_of && !listed(entry->one_of, value))
		return err_set(err, ERR_INVALID, "%s: give one of %s", entry->key, entry->one_of);
	if (len < (size_t)entry->min || len > (size_t)entry->max)
		return err_set(err, ERR_INVALID, "%s: give %lld to %lld bytes", entry->key,
			       (long long)entry->min, (long long)entry->max);
	copy = strdup(value);
	if (!copy)
		return err_nomem(err);
	free(*text_slot(config, entry));
	*text_slot(config, entry) = copy;
	return 0;
}

static int set_int(struct config *config, const struct config_entry *entry, const char *value,
		   struct err *err)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(value, &end, 10);
	if (errno || end == value || *end || n < entry->min || n > entry->max)
		return err_set(err, ERR_INVALID, "%s: give a whole number from %lld to %lld",
			       entry->key, (long long)entry->min, (long long)entry->max);
	*(int64_t *)((char *)config + entry->at) = n;
	return 0;
}

static int set_bool(struct config *config, const struct config_entry *entry, const char *value,
		    struct err *err)
{
	bool yes = strcmp(value, "true") == 0, no = strcmp(value, "false") == 0;

	if (!yes && !no)
		return err_set(err, ERR_INVALID, "%s: give true or false", entry->key);
	*(bool *)((char *)config + entry->at) = yes;
	return 0;
}

static int set_value(struct config *config, const struct config_entry *entry, const char *value,
		     struct err *err)
{
	if (entry->kind == TEXT)
		return set_text(config, entry, value, err);
	if (entry->kind == INT)
		return set_int(config, entry, value, err);
	return set_bool(config, entry, value, err);
}

/* The row of a key of len bytes; '-' counts as '_'.  NULL when there is none. */
static const struct config_entry *entry_find(const char *key, size_t len)
{
	char name[KEY_MAX];

	if (len >= sizeof(name))
		return NULL;
	for (size_t i = 0; i < len; i++)
		name[i] = key[i] == '-' ? '_' : key[i];
	name[len] = '\0';
	for (size_t i = 0; i < COUNT_OF(table); i++)
		if (strcmp(table[i].key, name) == 0)
			return &table[i];
	return NULL;
}

static void problem(struct buf *problems, const char *where, const struct err *err)
{
	buf_addf(problems, "%s: %s\n", where, err->text);
}

/* ---- The file. ---- */

static char *trim(char *text)
{
	char *end;

	while (isspace((unsigned char)*text))
		text++;
	end = text + strlen(text);
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return text;
}

static void line_read(struct config *config, char *line, const char *where, struct buf *problems)
{
	const struct config_entry *entry;
	char *value, *key = trim(line);
	struct err err;

	if (*key == '\0' || *key == '#')
		return;
	value = strchr(key, '=');
	if (!value) {
		buf_addf(problems, "%s: write \"key = value\"\n", where);
		return;
	}
	*value++ = '\0';
	key = trim(key);
	entry = entry_find(key, strlen(key));
	if (!entry)
		buf_addf(problems, "%s: %s: there is no such key; see --print-config\n", where,
			 key);
	else if (set_value(config, entry, trim(value), &err) < 0)
		problem(problems, where, &err);
}

static void file_load(struct config *config, const char *path, struct buf *problems)
{
	AUTO_BUF struct buf text = BUF_INIT(FILE_MAX_BYTES);
	char *at, *line;
	unsigned n = 0;
	struct err err;

	if (file_read(path, &text, &err) < 0) {
		problem(problems, "config", &err);
		return;
	}
	at = text.data;
	while (at && (line = strsep(&at, "\n")) != NULL) {
		char where[LINE_MAX_BYTES];

		snprintf(where, sizeof(where), "%s:%u", path, ++n);
		line_read(config, line, where, problems);
	}
}

/* ---- The environment. ---- */

#define PREFIX "FLOTILLA_"

static const char *environ_find(const char *const *list, const char *key)
{
	for (; list && *list; list++) {
		const char *at = *list;
		size_t i = 0;

		if (strncmp(at, PREFIX, sizeof(PREFIX) - 1) != 0)
			continue;
		at += sizeof(PREFIX) - 1;
		while (key[i] && toupper((unsigned char)key[i]) == at[i])
			i++;
		if (!key[i] && at[i] == '=')
			return at + i + 1;
	}
	return NULL;
}

static void environ_load(struct config *config, const char *const *list, struct buf *problems)
{
	struct err err;

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		const char *value = environ_find(list, table[i].key);

		if (value && set_value(config, &table[i], value, &err) < 0)
			problem(problems, "environment", &err);
	}
}

/* ---- The command line. ---- */

/* Flags that are no keys. */
static bool flag_plain(struct config_asked *asked, const char *flag)
{
	const struct {
		const char *name;
		bool *slot;
	} plain[] = {
		{"--help", &asked->help},	   {"--version", &asked->version},
		{"--check-config", &asked->check}, {"--print-config", &asked->print},
		{"--dev", &asked->dev},
	};

	for (size_t i = 0; i < COUNT_OF(plain); i++) {
		if (strcmp(plain[i].name, flag) != 0)
			continue;
		*plain[i].slot = true;
		return true;
	}
	return false;
}

/* The flag at argv[i]: its row, value, and how many arguments it took.  *ret_entry NULL: it is
 * --config.  -1: a problem is noted. */
static int flag_read(int argc, const char *const *argv, int i,
		     const struct config_entry **ret_entry, const char **ret_value,
		     struct buf *problems)
{
	const char *name = argv[i] + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	bool file = len == 6 && memcmp(name, "config", 6) == 0;
	const struct config_entry *entry = file ? NULL : entry_find(name, len);
	bool alone = entry && entry->kind == BOOL && !equals;

	if (!entry && !file) {
		buf_addf(problems, "%s: there is no such flag; see --help\n", argv[i]);
		return -1;
	}
	if (!equals && !alone && i + 1 >= argc) {
		buf_addf(problems, "%s: give a value\n", argv[i]);
		return -1;
	}
	*ret_entry = entry;
	*ret_value = equals ? equals + 1 : alone ? "true" : argv[i + 1];
	return equals || alone ? 1 : 2;
}

/* One pass over the arguments: with config NULL it only finds --config and counts problems. */
static void flags_load(struct config *config, struct config_asked *asked, int argc,
		       const char *const *argv, const char **ret_file, struct buf *problems)
{
	int i = 1;

	while (i < argc) {
		const struct config_entry *entry = NULL;
		const char *value = NULL;
		struct err err;
		int took = 1;

		if (strncmp(argv[i], "--", 2) != 0) {
			if (asked->command && asked->command != argv[i])
				buf_addf(problems, "%s: one command at a time\n", argv[i]);
			else
				asked->command = argv[i];
		} else if (!flag_plain(asked, argv[i])) {
			took = flag_read(argc, argv, i, &entry, &value, problems);
			if (took > 0 && !entry)
				*ret_file = value;
			else if (took > 0 && config && set_value(config, entry, value, &err) < 0)
				problem(problems, "flag", &err);
		}
		i += took > 0 ? took : 1;
	}
}

/* ---- All of it. ---- */

static int defaults(struct config *config, struct err *err)
{
	for (size_t i = 0; i < COUNT_OF(table); i++)
		if (set_value(config, &table[i], table[i].fallback, err) < 0)
			return -1;
	return 0;
}

/* What no single row can know. */
static void check_together(const struct config *config, struct buf *problems)
{
	if (!*config->tls_cert_file != !*config->tls_key_file)
		buf_adds(problems, "tls_cert_file and tls_key_file: give both or neither\n");
	if (strcmp(config->device_listen, config->admin_listen) == 0 &&
	    !strstr(config->device_listen, ":0"))
		buf_adds(problems, "admin_listen: give another port than device_listen\n");
}

int config_load(struct config *config, struct config_asked *asked, int argc,
		const char *const *argv, const char *const *environ_list, struct buf *problems,
		struct err *err)
{
	const char *file = environ_find(environ_list, "config");
	AUTO_BUF struct buf ignored = BUF_INIT(FILE_MAX_BYTES);
	unsigned lines = 0;

	*config = (struct config){0};
	*asked = (struct config_asked){0};
	if (defaults(config, err) < 0)
		return -1;
	flags_load(NULL, asked, argc, argv, &file, &ignored);
	if (file)
		file_load(config, file, problems);
	environ_load(config, environ_list, problems);
	flags_load(config, asked, argc, argv, &file, problems);
	check_together(config, problems);
	for (size_t i = 0; i < problems->len; i++)
		lines += problems->data[i] == '\n';
	return lines ? err_set(err, ERR_INVALID, "%u problem%s in the configuration", lines,
			       lines == 1 ? "" : "s")
		     : 0;
}

void config_done(struct config *config)
{
	for (size_t i = 0; i < COUNT_OF(table); i++)
		if (table[i].kind == TEXT)
			free(*text_slot(config, &table[i]));
	*config = (struct config){0};
}

void config_help(struct buf *out)
{
	for (size_t i = 0; i < COUNT_OF(table); i++) {
		char flag[KEY_MAX];
		size_t n = 0;

		for (; table[i].key[n]; n++)
			flag[n] = table[i].key[n] == '_' ? '-' : table[i].key[n];
		flag[n] = '\0';
		buf_addf(out, "  --%-18s %s", flag, table[i].help);
		if (*table[i].fallback)
			buf_addf(out, " [%s]", table[i].fallback);
		buf_addc(out, '\n');
	}
}

void config_sample(struct buf *out)
{
	buf_adds(out, "# flotillad: every key with its default.  The environment (FLOTILLA_<KEY>)"
		      " and flags\n# (--<key>) win over this file.\n");
	for (size_t i = 0; i < COUNT_OF(table); i++) {
		buf_addf(out, "\n# %s", table[i].help);
		if (table[i].one_of)
			buf_addf(out, " (%s)", table[i].one_of);
		if (table[i].kind == INT)
			buf_addf(out, " (%lld..%lld)", (long long)table[i].min,
				 (long long)table[i].max);
		buf_addf(out, "\n%s = %s\n", table[i].key, table[i].fallback);
	}
}
