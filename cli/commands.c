/* The groups of commands, in the order in which --help shows them. */
#include "cli/cli.h"
#include "cli/commands.h"

const struct command *const command_tables[] = {
	push_commands,	  release_commands, class_commands,    start_commands,    rollout_commands,
	fleet_commands,	  token_commands,   ceremony_commands, keys_commands,     manifest_commands,
	simulate_commands, delta_commands,  store_commands,    job_commands,      inspect_commands,  db_commands,
	doctor_commands,
};
const unsigned command_counts[] = {
	PUSH_COMMANDS,	RELEASE_COMMANDS, CLASS_COMMANDS,    START_COMMANDS,    ROLLOUT_COMMANDS,
	FLEET_COMMANDS, TOKEN_COMMANDS,	  CEREMONY_COMMANDS, KEYS_COMMANDS,     MANIFEST_COMMANDS,
	SIMULATE_COMMANDS, DELTA_COMMANDS,  STORE_COMMANDS,    JOB_COMMANDS,      INSPECT_COMMANDS,  DB_COMMANDS,
	DOCTOR_COMMANDS,
};
const unsigned command_table_count = COUNT_OF(command_tables);
