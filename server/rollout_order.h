/* rollout_order.h -- what starting a rollout and planning one are asked alike.
 * Threads: workers. */
#ifndef SERVER_ROLLOUT_ORDER_H
#define SERVER_ROLLOUT_ORDER_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/act.h"
#include "server/request.h"

/* The request's body; texts borrow from it.  ERR_INVALID names the field; ERR_DENIED for a model that the
 * token may not touch. */
int rollout_order(struct request *rq, struct act_order *order, struct err *err) CHECKED;

#endif
