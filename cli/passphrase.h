/* passphrase.h -- a passphrase from the terminal, or from a file; never from a flag or the
 * environment, where others could read it.
 * Threads: the main thread. */
#ifndef CLI_PASSPHRASE_H
#define CLI_PASSPHRASE_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct passphrase {
	char bytes[1040]; /* secret */
	size_t len;
};
void passphrase_wipe(struct passphrase *passphrase);
#define AUTO_PASSPHRASE __attribute__((cleanup(passphrase_wipe)))

/* The first line of file ("-": standard input); without a file it is asked for on the terminal,
 * unseen, and twice when fresh.  ERR_INVALID when there is no terminal or the two differ. */
int passphrase_get(struct passphrase *passphrase, const char *file, bool fresh,
		   struct err *err) CHECKED;

#endif
