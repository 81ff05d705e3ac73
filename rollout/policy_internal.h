/* policy_internal.h -- the gates' part of a policy, for policy.c. */
#ifndef ROLLOUT_POLICY_INTERNAL_H
#define ROLLOUT_POLICY_INTERNAL_H

#include "rollout/policy.h"

void policy_default_gates(struct policy *policy);
/* Over what policy has; list NULL: nothing.  ERR_INVALID names the gate. */
int policy_read_gates(struct policy *policy, const json_t *list, struct err *err) CHECKED;
json_t *policy_gates_json(const struct policy *policy) CHECKED; /* NULL without memory */

#endif
