#include "cli/passphrase.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

void passphrase_wipe(struct passphrase *p)
{
	sodium_memzero(p, sizeof(*p));
}

static int read_line(struct passphrase *p, FILE *file, const char *what, struct err *err)
{
	if (!fgets(p->bytes, sizeof(p->bytes), file))
		return err_set(err, ERR_INVALID, "%s: no passphrase in it", what);
	p->len = strcspn(p->bytes, "\r\n");
	if (p->len == sizeof(p->bytes) - 1)
		return err_set(err, ERR_TOO_LARGE, "%s: the passphrase is too long", what);
	p->bytes[p->len] = 0;
	return 0;
}

static int from_file(struct passphrase *p, const char *path, struct err *err)
{
	if (!strcmp(path, "-"))
		return read_line(p, stdin, "standard input", err);
	FILE *file = fopen(path, "re");
	if (!file)
		return err_sys(err, "passphrase file %s", path);
	setvbuf(file, NULL, _IONBF, 0); /* no copy in a buffer that is freed unwiped */
	const int bad = read_line(p, file, path, err);
	fclose(file);
	return bad;
}

static int ask(struct passphrase *p, FILE *tty, const char *prompt, struct err *err)
{
	struct termios seen, unseen;
	if (tcgetattr(fileno(tty), &seen))
		return err_sys(err, "terminal");
	unseen = seen;
	unseen.c_lflag &= ~(tcflag_t)ECHO;
	fputs(prompt, tty);
	fflush(tty);
	tcsetattr(fileno(tty), TCSAFLUSH, &unseen);
	const int bad = read_line(p, tty, "the terminal", err);
	tcsetattr(fileno(tty), TCSAFLUSH, &seen);
	fputc('\n', tty);
	return bad;
}

static int ask_twice(struct passphrase *p, FILE *tty, struct err *err)
{
	AUTO_PASSPHRASE struct passphrase again = {.len = 0};
	if (ask(p, tty, "New passphrase: ", err) || ask(&again, tty, "Once more: ", err))
		return -1;
	if (again.len != p->len || sodium_memcmp(again.bytes, p->bytes, p->len))
		return err_set(err, ERR_INVALID, "the two passphrases differ");
	return 0;
}

int passphrase_get(struct passphrase *p, const char *file, bool fresh, struct err *err)
{
	if (file)
		return from_file(p, file, err);
	FILE *tty = fopen("/dev/tty", "r+e");
	if (!tty)
		return err_set(err, ERR_INVALID,
			       "there is no terminal to ask for the passphrase; say --passphrase-file");
	setvbuf(tty, NULL, _IONBF, 0);
	const int bad = fresh ? ask_twice(p, tty, err) : ask(p, tty, "Passphrase: ", err);
	fclose(tty);
	return bad;
}
