/* What is counted of a case besides its time: how long each request took, and processors. */
#ifndef ANTHILL_TESTS_BENCH_BENCH_MEASURE_H
#define ANTHILL_TESTS_BENCH_BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Zero-initialised is empty. */
struct latencies {
    double *seconds;
    size_t count, capacity;
};

void latencies_add(struct latencies *latencies, double seconds);
/* Forgets what was counted. */
void latencies_clear(struct latencies *latencies);
void latencies_deinit(struct latencies *latencies);

/* In seconds: the least that at least `share` of them do not exceed. Sorts; count > 0. */
double latencies_quantile(struct latencies *latencies, double share);

static inline double seconds_between(uint64_t start_ns, uint64_t end_ns)
{
    return (double)(end_ns - start_ns) * 1e-9;
}

/* Processor time of a process, threads that have ended included; pid 0: of this one. */
double process_seconds(pid_t pid);
/* Of the calling thread. */
double thread_seconds(void);

#endif
