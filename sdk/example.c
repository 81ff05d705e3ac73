/* A device in a loop: polls, installs what it should run, pretends to load and use it, reports.
 *   flotilla-example http://127.0.0.1:8080 index.root.json STATE_DIR [ROUNDS] */
#include "sdk/flotilla.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROOT_MAX 65536

static void log_line(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "flotilla: %s\n", line);
}

/* One use of the model: in an app this is the real runtime. */
static void use(struct flotilla *device, const struct flotilla_model *model)
{
	const struct flotilla_loaded loaded = {FLOTILLA_LOADED, 900, 250, -1};
	if (flotilla_load_begin(device, "assistant") != FLOTILLA_OK)
		return;
	printf("loading %s/%s\n", model->path, model->file);
	flotilla_load_end(device, "assistant", &loaded);
	flotilla_event(device, "assistant", "sessions", 1);
	flotilla_event(device, "assistant", "requests", 1);
	flotilla_first_token(device, "assistant", 250);
	flotilla_event(device, "assistant", "ok", 1);
}

static int round_of(struct flotilla *device)
{
	struct flotilla_model model;
	int code = flotilla_poll(device);
	if (code < 0)
		fprintf(stderr, "poll: %s\n", flotilla_error(device));
	do
		code = flotilla_want(device, "assistant", &model);
	while (code == FLOTILLA_AGAIN);
	if (code != FLOTILLA_OK)
		fprintf(stderr, "want: %s\n", flotilla_error(device));
	printf("class %s runs %s%s\n", flotilla_class(device),
	       model.variant ? model.variant : "nothing", model.candidate ? " (candidate)" : "");
	if (model.path)
		use(device, &model);
	flotilla_flush(device);
	return model.path ? 0 : 1;
}

int main(int argc, char **argv)
{
	static char root[ROOT_MAX];
	struct flotilla *device;
	struct flotilla_options options = {
		.channel = "stable",
		.attributes = "{\"os\":\"android\",\"os_version\":[15],\"ram_mib\":8192}",
		.runtimes = "{\"llama.cpp\":\"4000\"}",
		.allow_development = 1, /* this is an example; a shipped app says 0 */
		.log = log_line,
	};
	if (argc < 4) {
		fprintf(stderr, "usage: %s URL INDEX_ROOT_FILE STATE_DIR [ROUNDS]\n", argv[0]);
		return 2;
	}
	FILE *file = fopen(argv[2], "rb");
	if (!file) {
		perror(argv[2]);
		return 2;
	}
	options.index_root_len = fread(root, 1, sizeof(root), file);
	fclose(file);
	options.index_root = root;
	options.url = argv[1];
	options.state_dir = argv[3];
	int code = 0;
	const int rounds = argc > 4 ? atoi(argv[4]) : 1;
	if (flotilla_open(&device, &options) < 0) {
		fprintf(stderr, "open: %s\n", flotilla_error(device));
		code = 1;
	}
	for (int i = 0; !code && i < rounds; i++) {
		code = round_of(device);
		if (i + 1 < rounds)
			sleep(1);
	}
	flotilla_close(device);
	return code;
}
