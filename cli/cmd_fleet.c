/* Who runs what. */
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

static int fleet_census(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"CHANNEL", "channel", COL_TEXT}, {"CLASS", "class", COL_TEXT},
		{"VARIANT", "variant", COL_TEXT}, {"DEVICES", "devices", COL_INT},
		{"SHARE", "share_ppm", COL_PPM}};
	static const char *const filters[] = {"channel", "class", "model"};
	char path[512] = "/admin/v1/fleet/census";
	size_t len = strlen(path);
	for (unsigned i = 0; i < COUNT_OF(filters); i++) {
		const char *value = args_text(args, filters[i]);
		char *escaped = value ? api_escape(value) : NULL;
		if (escaped)
			len += (size_t)snprintf(path + len, sizeof(path) - len, "%c%s=%.100s",
						len == strlen("/admin/v1/fleet/census") ? '?' : '&',
						filters[i], escaped);
		free(escaped);
	}
	return cli_list(cli, path, columns, COUNT_OF(columns));
}

static const struct cli_option census_options[] = {
	{"channel", "NAME", "only this channel", false},
	{"class", "NAME", "only this device class", false},
	{"model", "NAME", "only this model", false},
};

/* clang-format off */
const struct command fleet_commands[FLEET_COMMANDS] = {
	{"fleet", "census", "", 0, 0, "Count the devices active in the last day, by what they run",
	 "Counted without ids, from daily usage reports.  Groups smaller than the configured\n"
	 "min_cohort are not shown.",
	 census_options, COUNT_OF(census_options), fleet_census},
};
