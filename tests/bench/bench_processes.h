/* The shipped programs started as launch.sh starts them: a coordinator, then servers and workers
 * that know its endpoint, with sage.yaml and a few settings, in a temporary run folder. */
#ifndef ANTHILL_TESTS_BENCH_BENCH_PROCESSES_H
#define ANTHILL_TESTS_BENCH_BENCH_PROCESSES_H

#include "tests/bench/bench.h"
#include "tests/support/process.h"

#define BENCH_PROCESSES_MAX 4u
#define BENCH_SETTINGS_MAX  12u

struct bench_processes {
    const struct bench *bench;
    char folder[64]; /* the run's is run/ in it */
    char endpoint[256];
    char settings[BENCH_SETTINGS_MAX][FILE_PATH_BYTES];
    unsigned setting_count;
    struct process items[BENCH_PROCESSES_MAX]; /* the first is the coordinator */
    unsigned count;
};

void bench_processes_init(struct bench_processes *processes, const struct bench *bench);
/* Kills what still runs and removes the folder. */
void bench_processes_deinit(struct bench_processes *processes);

/* A configuration key for all processes that are started from here on. */
void bench_processes_set(struct bench_processes *processes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Starts the coordinator and waits until it listens.
 *   errors   STATUS_UNAVAILABLE with what it said */
enum status bench_processes_coordinator(struct bench_processes *processes, const char *listen,
                                        struct error *error) MUST_CHECK;

/* Starts `program command sage.yaml --coordinator ENDPOINT option value`. */
void bench_processes_add(struct bench_processes *processes, const char *program,
                         const char *command, const char *option, const char *value);

#endif
