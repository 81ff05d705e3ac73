/* share.h -- a few places of which each network has its share: nobody who holds one may hold more than are
 * left free beyond a quarter of all, so that one alone gets three eighths of them, and networks that hold
 * none find the last quarter, a place each.
 * Threads: any. */
#ifndef SERVER_SHARE_H
#define SERVER_SHARE_H

#include "base/cc.h"
#include "server/client.h"

struct shares;

/* places: at least 2.  NULL without memory. */
struct shares *shares_new(unsigned places) CHECKED;
void shares_free(struct shares *shares); /* NULL is fine */
DEFINE_AUTO(struct shares, shares_free)

/* A place for a network (NULL: there is nobody to tell apart, and no share); -1: all are taken, -2: this
 * network has its share. */
int shares_take(struct shares *shares, const struct network *network);
void shares_give(struct shares *shares, int place);
unsigned shares_taken(struct shares *shares);

#endif
