/* attack_poll URL INDEX_ROOT STATE_DIR: what flotilla_poll() says of a server, as a word ("OK",
 * "E_ROLLBACK" ...), and whether what was installed can still be used. */
#include "base/file.h"
#include "sdk/flotilla.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const names[] = {
	[0] = "OK", [-FLOTILLA_E_NETWORK] = "E_NETWORK", [-FLOTILLA_E_SIGNATURE] = "E_SIGNATURE",
	[-FLOTILLA_E_ROLLBACK] = "E_ROLLBACK", [-FLOTILLA_E_EXPIRED] = "E_EXPIRED",
	[-FLOTILLA_E_MIX] = "E_MIX", [-FLOTILLA_E_MALFORMED] = "E_MALFORMED",
	[-FLOTILLA_E_CLASS] = "E_CLASS", [-FLOTILLA_E_TOO_MUCH] = "E_TOO_MUCH",
	[-FLOTILLA_E_THRESHOLD] = "E_THRESHOLD", [-FLOTILLA_E_LENGTH] = "E_LENGTH",
	[-FLOTILLA_E_HASH] = "E_HASH"};

int main(int argc, char **argv)
{
	struct err err;
	struct flotilla *device;
	struct flotilla_model model;
	AUTO_BUF struct buf root = BUF_INIT(65536);
	if (argc != 4 || file_read(argv[2], &root, &err))
		return 2;
	const struct flotilla_options options = {
		.url = argv[1], .index_root = root.data, .index_root_len = root.len,
		.channel = "stable", .attributes = "{\"ram_mib\":8192}", .state_dir = argv[3],
		.allow_development = 1, .slice_bytes = 1 << 30};
	int code = flotilla_open(&device, &options);
	if (code)
		return 2;
	code = flotilla_poll(device);
	const char *text = code <= 0 && (size_t)-code < COUNT_OF(names) ? names[-code] : NULL;
	if (code)
		fprintf(stderr, "%s\n", flotilla_error(device));
	const int want = flotilla_want(device, "assistant", &model);
	if (!model.path)
		fprintf(stderr, "want: %d: %s\n", want, flotilla_error(device));
	printf("%s %s\n", text ? text : "other", model.path ? "runs" : "nothing");
	flotilla_close(device);
	return 0;
}
