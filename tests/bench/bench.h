/* What the measurements share: options, timing, and one line of output a case.
 * A case's limit is what this machine gives a bare loop that moves the same bytes, measured in turn
 * with the case, so that what else the machine does meets both. */
#ifndef ANTHILL_TESTS_BENCH_BENCH_H
#define ANTHILL_TESTS_BENCH_BENCH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/file.h"

#define BENCH_NO_LIMIT    NAN
#define BENCH_THREADS_MAX 2u

struct bench {
    const char *name;
    bool json;
    bool quick;                 /* sizes that only show that everything runs */
    bool large;                 /* and the cases that need 10 M nodes */
    bool matrix;                /* ps: instead of the named cases those that vary one thing each */
    unsigned repeat;            /* timed rounds; 0: the bench chooses */
    const char *only;           /* part of the case names wanted; NULL: all */
    char data[FILE_PATH_BYTES]; /* folder of generated graphs */
    char bin[FILE_PATH_BYTES];  /* folder of the programs */
    bool titled;                /* the table's head is printed */
};

/* Measures the cases of one bench and reports each. */
typedef enum status bench_cases(struct bench *bench, struct error *error);

/* Reads the options and runs each of `cases` (the last is NULL). Returns the exit code. */
int bench_run(int argc, char **argv, const char *name, const char *doc, bench_cases *const *cases);

bool bench_wants(const struct bench *bench, const char *name);

/* The timed rounds: what the user said, or `chosen`; one where it is quick. */
unsigned bench_rounds(const struct bench *bench, unsigned chosen);

/* Prints one case. `limit` has the same unit; BENCH_NO_LIMIT where there is none. */
void bench_report(struct bench *bench, const char *name, double value, const char *unit,
                  double limit);

/* A figure beside a case's value; NAN: it has none, and nothing is printed. */
struct bench_field {
    const char *name;
    double value;
};

/* The same with fields[field_count] after the share. */
void bench_report_fields(struct bench *bench, const char *name, double value, const char *unit,
                         double limit, const struct bench_field *fields, unsigned field_count);

struct bench_step {
    enum status (*run)(void *context, struct error *error);
    void *context;
    double seconds; /* the median */
};

/* Runs the steps in turn: one round to warm up, then `rounds` timed ones.
 *   errors   the first of a step; STATUS_STOPPED */
enum status bench_alternate(struct bench_step *steps, unsigned count, unsigned rounds,
                            struct error *error) MUST_CHECK;

/* Calls run(contexts[i]) at once, the first on the caller's thread, and waits. */
void bench_parallel(void (*run)(void *context), void *const *contexts, unsigned count);

double bench_median(double *values, unsigned count); /* sorts them */

enum bench_graph { BENCH_GRAPH_16M, BENCH_GRAPH_160M };
#define BENCH_GRAPHS 2u

/* The folder of an R-MAT graph, generated unless it is there. The small one (1 M nodes, 16 M edges)
 * has 100 features and 47 classes; the large one (10 M nodes, 160 M edges) neither.
 *   errors   STATUS_IO when anthill-graph fails */
enum status bench_graph(const struct bench *bench, enum bench_graph which,
                        char path[FILE_PATH_BYTES], struct error *error) MUST_CHECK;

bench_cases gemm_cases, table_cases, ps_cases, grow_cases, checkpoint_cases, matrix_cases,
    sample_cases, train_cases, infer_cases;

#endif
