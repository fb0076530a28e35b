#include "tests/bench/bench_measure.h"

#include <stdlib.h>
#include <time.h>

#include "common/check.h"

void latencies_add(struct latencies *latencies, double seconds)
{
    if (latencies->count == latencies->capacity) {
        latencies->capacity = latencies->capacity > 0 ? 2 * latencies->capacity : 1024;
        latencies->seconds =
            realloc(latencies->seconds, latencies->capacity * sizeof *latencies->seconds);
        CHECK(latencies->seconds != NULL);
    }
    latencies->seconds[latencies->count++] = seconds;
}

void latencies_clear(struct latencies *latencies)
{
    latencies->count = 0;
}

void latencies_deinit(struct latencies *latencies)
{
    free(latencies->seconds);
    *latencies = (struct latencies){0};
}

static int compare_seconds(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double latencies_quantile(struct latencies *latencies, double share)
{
    CHECK(latencies->count > 0);
    qsort(latencies->seconds, latencies->count, sizeof *latencies->seconds, compare_seconds);
    const double place = share * (double)latencies->count;
    size_t index = (size_t)place;
    if (index > 0 && (double)index == place) index--;
    return latencies->seconds[index < latencies->count ? index : latencies->count - 1];
}

static double clock_seconds(clockid_t clock)
{
    struct timespec time;
    CHECK(clock_gettime(clock, &time) == 0);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

double process_seconds(pid_t pid)
{
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    if (pid != 0) CHECK(clock_getcpuclockid(pid, &clock) == 0);
    return clock_seconds(clock);
}

double thread_seconds(void)
{
    return clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}
