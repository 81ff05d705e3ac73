/* gates_sim.h -- what the simulations of the gates share: chance that can be repeated, runs on two
 * threads, the textbook figures to compare with, and the table of goals.
 * Threads: a struct chance belongs to one; the table belongs to main. */
#ifndef TESTS_BENCH_GATES_SIM_H
#define TESTS_BENCH_GATES_SIM_H

#include "telemetry/gate.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- chance ---- */
struct chance {
	uint64_t state;
	double spare; /* a second normal deviate */
	bool has_spare;
};
struct chance chance_of(uint64_t study, uint64_t run); /* of one run of one study */
double chance_uniform(struct chance *c);	       /* in (0, 1) */
double chance_normal(struct chance *c);
double chance_gamma(struct chance *c, double shape); /* scale 1 */
int64_t chance_binomial(struct chance *c, int64_t n, double p);
/* The mean of n devices' propensities: gamma with mean 1 and variance cv2 a device. */
double chance_mean_propensity(struct chance *c, int64_t n, double cv2);

/* ---- runs ---- */
typedef double run_fn(const void *arg, struct chance *c);
/* fn once a run, on two threads; ret has a figure a run, the same whatever the threads did. */
void runs_do(uint64_t study, unsigned runs, run_fn *fn, const void *arg, double *ret);
double runs_mean(const double *figures, unsigned runs);
double runs_share(const double *figures, unsigned runs); /* of figures that are not 0 */
double runs_quantile(double *figures, unsigned runs, double share); /* sorts */
extern bool quick;				       /* a smoke run of about a minute */
unsigned runs_of(unsigned full);		       /* fewer when quick */

/* ---- what others would need ---- */
struct truth {
	double p_t, p_c;
	double ratio; /* control units a candidate unit */
};
/* Candidate units below which no anytime-valid test can be on average (Wald 1945): ln(1/alpha) over
 * the divergence to the nearest truth under which p_t = rho p_c. */
double wald_units(const struct truth *truth, double rho, double delta, double alpha);
/* Candidate units of a z test that looks once, one-sided, with that power. */
double one_look_units(const struct truth *truth, double alpha, double power);

/* ---- the table of goals ---- */
enum goal { GOAL_AT_MOST, GOAL_AT_LEAST, GOAL_NONE };
/* One row, printed when all is done; paper: what the specification measured. */
void goal_row(const char *what, double measured, const char *unit, const char *paper,
	      enum goal goal, double bound);
/* Print all rows; how many missed their goal. */
unsigned goal_table(void);

/* ---- the studies ---- */
void study_false_rollback(void);
void study_detection(void);
void study_promotion(void);
void study_ttft(void);
void study_clusters(void);
void study_flood(void);
void study_cost(void);
void study_lanes(void);
void study_together(void);

#endif
