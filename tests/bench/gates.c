/* bench_gates -- the gates' error rates, speed of detection and cost, by simulation: the figures of
 * section "What it costs to be sure" in telemetry/README.md.  Seeded: the same run again prints the
 * same figures, but for the cost.  QUICK=1: a smoke run, whose misses mean nothing. */
#include "tests/bench/gates_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	void (*run)(void);
} studies[] = {
	{"false", study_false_rollback}, {"detection", study_detection},
	{"promotion", study_promotion},	 {"ttft", study_ttft},
	{"clusters", study_clusters},	 {"flood", study_flood},
	{"lanes", study_lanes},		 {"together", study_together},
	{"cost", study_cost},
};

int main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : NULL, *smoke = getenv("QUICK");
	quick = smoke && !strcmp(smoke, "1");
	bool any = false;
	for (unsigned i = 0; i < COUNT_OF(studies); i++)
		if (!only || !strcmp(only, studies[i].name)) {
			studies[i].run();
			any = true;
		}
	if (!any) {
		fputs("usage: bench_gates [false|detection|promotion|ttft|clusters|flood|lanes|together|cost]\n",
		      stderr);
		return 2;
	}
	const unsigned missed = goal_table();
	if (missed)
		fprintf(stderr, "%u goals missed%s\n", missed, quick ? " (a smoke run)" : "");
	return missed && !quick ? 1 : 0;
}
