/* commands.h -- one table a file cmd_*.c; their sizes are checked by the compiler there. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/args.h"

enum {
	PUSH_COMMANDS = 1,
	RELEASE_COMMANDS = 9,
	CLASS_COMMANDS = 9,
	START_COMMANDS = 2,
	ROLLOUT_COMMANDS = 10,
	FLEET_COMMANDS = 4,
	TOKEN_COMMANDS = 3,
	KEYS_COMMANDS = 7,
	CEREMONY_COMMANDS = 7,
	MANIFEST_COMMANDS = 3,
	SIMULATE_COMMANDS = 1,
	DB_COMMANDS = 2,
	DELTA_COMMANDS = 3,
	INSPECT_COMMANDS = 1,
	DOCTOR_COMMANDS = 1,
	JOB_COMMANDS = 1,
	STORE_COMMANDS = 6
};

extern const struct command push_commands[PUSH_COMMANDS];
extern const struct command release_commands[RELEASE_COMMANDS];
extern const struct command class_commands[CLASS_COMMANDS];
extern const struct command start_commands[START_COMMANDS];
extern const struct command rollout_commands[ROLLOUT_COMMANDS];
extern const struct command fleet_commands[FLEET_COMMANDS];
extern const struct command token_commands[TOKEN_COMMANDS];
extern const struct command keys_commands[KEYS_COMMANDS];
extern const struct command ceremony_commands[CEREMONY_COMMANDS];
extern const struct command manifest_commands[MANIFEST_COMMANDS];
extern const struct command simulate_commands[SIMULATE_COMMANDS];
extern const struct command db_commands[DB_COMMANDS];
extern const struct command delta_commands[DELTA_COMMANDS];
extern const struct command inspect_commands[INSPECT_COMMANDS];
extern const struct command store_commands[STORE_COMMANDS];
extern const struct command doctor_commands[DOCTOR_COMMANDS];
extern const struct command job_commands[JOB_COMMANDS];

#endif
