/* Growth: the slowest of the pulls that make a table grow from nothing, in process. A round is a
 * new table; the value is the median of the rounds' slowest requests. */
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/rng.h"
#include "ps/table.h"
#include "tests/bench/bench_measure.h"
#include "tests/bench/ps_load.h"

#define DIM          16u
#define REQUEST_KEYS 4096u
#define ROUNDS_MAX   1001u

static const char name[] = "grow-max-10m";

struct growth {
    struct latencies latencies;     /* of all requests */
    double slowest[ROUNDS_MAX];     /* seconds, by round */
    double slowest_cpu[ROUNDS_MAX]; /* of the thread: without what other programs took */
    double bytes_per_row;           /* at the end */
    double bytes_per_row_least;     /* just before the index grew */
};

static double overhead(const struct table *table)
{
    return (double)table_bytes(table) / (double)table_row_count(table) -
           2.0 * DIM * sizeof(float); /* values and Adagrad's sums */
}

static enum status grow(struct growth *growth, struct table *table, uint64_t row_count,
                        unsigned round, struct error *error)
{
    static uint64_t keys[REQUEST_KEYS];
    static float rows[REQUEST_KEYS * DIM];
    enum status status = STATUS_OK;
    growth->bytes_per_row_least = HUGE_VAL;
    for (uint64_t first = 0; first < row_count && status == STATUS_OK;) {
        uint32_t count = 0;
        for (; count < REQUEST_KEYS && first < row_count; count++)
            keys[count] = rng_mix(first++);
        const double cpu = thread_seconds();
        const uint64_t start_ns = clock_now_ns();
        status = table_pull(table, keys, count, rows, false, error);
        const double seconds = seconds_between(start_ns, clock_now_ns());
        const double cpu_seconds = thread_seconds() - cpu;
        latencies_add(&growth->latencies, seconds);
        if (seconds > growth->slowest[round]) growth->slowest[round] = seconds;
        if (cpu_seconds > growth->slowest_cpu[round]) growth->slowest_cpu[round] = cpu_seconds;
        growth->bytes_per_row = overhead(table);
        if (first > row_count / 2 && growth->bytes_per_row < growth->bytes_per_row_least)
            growth->bytes_per_row_least = growth->bytes_per_row;
    }
    return status;
}

static void report(struct bench *bench, struct growth *growth, unsigned rounds)
{
    const struct bench_field fields[] = {
        {"max_cpu_ms", bench_median(growth->slowest_cpu, rounds) * 1e3},
        {"p50_us", latencies_quantile(&growth->latencies, 0.5) * 1e6},
        {"p99_us", latencies_quantile(&growth->latencies, 0.99) * 1e6},
        {"bytes_per_row", growth->bytes_per_row},
        {"bytes_per_row_least", growth->bytes_per_row_least}};
    bench_report_fields(bench, name, bench_median(growth->slowest, rounds) * 1e3, "ms",
                        BENCH_NO_LIMIT, fields, sizeof fields / sizeof *fields);
}

enum status grow_cases(struct bench *bench, struct error *error)
{
    static struct growth growth;
    const unsigned rounds = bench_rounds(bench, 5);
    Anthill__OptimizerSpec optimizer;
    Anthill__TableSpec spec;
    enum status status = STATUS_OK;
    if (bench->matrix || !bench_wants(bench, name)) return STATUS_OK;
    CHECK(rounds <= ROUNDS_MAX);
    ps_load_spec(&spec, &optimizer, DIM);
    for (unsigned round = 0; round < rounds && status == STATUS_OK; round++) {
        struct table *table = NULL;
        status = table_create(&table, &spec, error);
        if (status == STATUS_OK)
            status = grow(&growth, table, bench->quick ? 100000 : 10000000, round, error);
        table_destroy(table);
    }
    if (status == STATUS_OK) report(bench, &growth, rounds);
    latencies_deinit(&growth.latencies);
    return status;
}
