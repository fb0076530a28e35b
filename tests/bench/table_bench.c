/* Tables in process: gather and Adagrad of random rows, against a bare loop over the very same rows
 * and index entries: it finds, sends for and copies or steps rows of a fixed length, and does
 * nothing else. (Over memory of its own it would measure something else: which pages the host has
 * given to this machine as large ones differs from one piece of memory to the next, by a factor of
 * two.) Two threads are two shards, each with a table of its own of as many rows. All cases run in
 * turn, so that one thread can be compared with two. What rows give without an index is a case of
 * its own. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/kernel_clones.h"
#include "common/rng.h"
#include "ps/pages.h"
#include "ps/table_sparse.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_measure.h"

#define DIM          64u
#define ROW_FLOATS   (2 * DIM) /* values and Adagrad's sums */
#define REQUEST_KEYS 16384u
#define REQUESTS     64u /* in a timed step; their keys are all different draws */
#define ENTRY_AHEAD  48u
#define ROW_AHEAD    24u
#define RING         64u
#define LINE_FLOATS  16u
#define RATE         0.01f
#define EPSILON      1e-10f

static const char *const case_names[][2] = {{"table-gather-t1", "table-adagrad-t1"},
                                            {"table-gather-t2", "table-adagrad-t2"}};
static const char array_name[] = "bare-array";

/* A shard's table. */
struct store {
    uint64_t row_count;
    unsigned requests;
    Anthill__OptimizerSpec optimizer;
    Anthill__TableSpec spec;
    struct table_sparse table;
    struct push_batch batch;
    uint64_t *keys;    /* [requests, REQUEST_KEYS] */
    uint32_t *numbers; /* the same requests' rows */
    float *values, *grads;
    struct latencies *latencies; /* of the step that runs; NULL: not asked for */
    enum status status;
    struct error error;
};

struct stores {
    struct store *items;
    unsigned count; /* threads */
};

/* A step on some stores, and what it has used after the first run. */
struct store_step {
    struct stores stores;
    void (*work)(void *store);
    struct latencies latencies[BENCH_THREADS_MAX];
    double processor_seconds;
    unsigned runs;
};

static inline uint64_t bare_position(const struct store *store, uint64_t key)
{
    return table_index_hash(key) >> store->table.rows.index.now.shift;
}

static inline const struct index_entry *bare_entry(const struct store *store, uint64_t position)
{
    return &store->table.rows.index.now.entries[position];
}

static inline float *bare_row(const struct store *store, uint32_t number)
{
    return row_store_at(&store->table.rows.store, number);
}

static inline float *bare_find(const struct store *store, uint64_t key)
{
    uint64_t position = bare_position(store, key);
    while (bare_entry(store, position)->key != key)
        position = (position + 1) & store->table.rows.index.now.mask;
    return bare_row(store, bare_entry(store, position)->row_plus_one - 1);
}

static inline void bare_prefetch(const float *row, uint32_t floats)
{
    for (uint32_t i = 0; i < floats; i += LINE_FLOATS)
        __builtin_prefetch(row + i, 0, 2);
}

/* Finds keys[i + ROW_AHEAD] and sends for it and for a later entry. */
static inline void bare_look_ahead(const struct store *store, const uint64_t *keys, uint32_t i,
                                   uint32_t floats, float **ring)
{
    if (i + ENTRY_AHEAD < REQUEST_KEYS)
        __builtin_prefetch(bare_entry(store, bare_position(store, keys[i + ENTRY_AHEAD])), 0, 3);
    if (i + ROW_AHEAD >= REQUEST_KEYS) return;
    float *row = bare_find(store, keys[i + ROW_AHEAD]);
    ring[(i + ROW_AHEAD) % RING] = row;
    bare_prefetch(row, floats);
}

static inline void bare_begin(const struct store *store, const uint64_t *keys, uint32_t floats,
                              float **ring)
{
    for (uint32_t i = 0; i < ENTRY_AHEAD; i++)
        __builtin_prefetch(bare_entry(store, bare_position(store, keys[i])), 0, 3);
    for (uint32_t i = 0; i < ROW_AHEAD; i++) {
        ring[i] = bare_find(store, keys[i]);
        bare_prefetch(ring[i], floats);
    }
}

static void bare_gather(void *context)
{
    struct store *store = context;
    float *ring[RING];
    for (unsigned r = 0; r < store->requests; r++) {
        const uint64_t *keys = store->keys + (size_t)r * REQUEST_KEYS;
        bare_begin(store, keys, DIM, ring);
        for (uint32_t i = 0; i < REQUEST_KEYS; i++) {
            bare_look_ahead(store, keys, i, DIM, ring);
            memcpy(store->values + (size_t)i * DIM, ring[i % RING], DIM * sizeof(float));
        }
    }
}

KERNEL_CLONES static void bare_step(float *restrict row, const float *restrict grads)
{
    for (uint32_t i = 0; i < DIM; i++) {
        float sum = row[DIM + i] + grads[i] * grads[i];
        row[DIM + i] = sum;
        row[i] -= RATE * grads[i] / (sqrtf(sum) + EPSILON);
    }
}

static void bare_adagrad(void *context)
{
    struct store *store = context;
    float *ring[RING];
    for (unsigned r = 0; r < store->requests; r++) {
        const uint64_t *keys = store->keys + (size_t)r * REQUEST_KEYS;
        bare_begin(store, keys, ROW_FLOATS, ring);
        for (uint32_t i = 0; i < REQUEST_KEYS; i++) {
            bare_look_ahead(store, keys, i, ROW_FLOATS, ring);
            bare_step(ring[i % RING], store->grads + (size_t)i * DIM);
        }
    }
}

/* Without an index: the caller knows where each row is. */
static void bare_array(void *context)
{
    struct store *store = context;
    for (unsigned r = 0; r < store->requests; r++) {
        const uint32_t *numbers = store->numbers + (size_t)r * REQUEST_KEYS;
        for (uint32_t i = 0; i < REQUEST_KEYS; i++) {
            if (i + ROW_AHEAD < REQUEST_KEYS)
                bare_prefetch(bare_row(store, numbers[i + ROW_AHEAD]), DIM);
            memcpy(store->values + (size_t)i * DIM, bare_row(store, numbers[i]),
                   DIM * sizeof(float));
        }
    }
}

static void table_gather(void *context)
{
    struct store *store = context;
    for (unsigned r = 0; r < store->requests && store->status == STATUS_OK; r++) {
        const uint64_t start_ns = clock_now_ns();
        const struct row_target target = {.rows = store->values};
        store->status = table_sparse_pull(&store->table, store->keys + (size_t)r * REQUEST_KEYS,
                                          REQUEST_KEYS, &target, false, &store->error);
        latencies_add(store->latencies, seconds_between(start_ns, clock_now_ns()));
    }
}

static void table_adagrad(void *context)
{
    struct store *store = context;
    for (unsigned r = 0; r < store->requests && store->status == STATUS_OK; r++) {
        const uint64_t start_ns = clock_now_ns();
        const struct gradients gradients = {
            .bytes = (const uint8_t *)store->grads, .stride = DIM * sizeof(float), .dim = DIM};
        store->status =
            table_sparse_push(&store->table, store->keys + (size_t)r * REQUEST_KEYS, REQUEST_KEYS,
                              &gradients, &store->batch, RATE, &store->error);
        push_batch_end(&store->batch);
        latencies_add(store->latencies, seconds_between(start_ns, clock_now_ns()));
    }
}

static enum status table_fill(struct store *store, struct error *error)
{
    anthill__optimizer_spec__init(&store->optimizer);
    store->optimizer.kind = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD;
    store->optimizer.rate = RATE;
    store->optimizer.epsilon = EPSILON;
    anthill__table_spec__init(&store->spec);
    store->spec.name = "bench";
    store->spec.dim = DIM;
    store->spec.optimizer = &store->optimizer;
    enum status status = table_sparse_init(&store->table, &store->spec);
    const struct row_target target = {.rows = store->values};
    for (uint64_t first = 0; first < store->row_count && status == STATUS_OK;) {
        uint32_t count = 0;
        for (; count < REQUEST_KEYS && first < store->row_count; count++)
            store->keys[count] = rng_mix(first++);
        status = table_sparse_pull(&store->table, store->keys, count, &target, false, error);
    }
    table_index_move(&store->table.rows.index, UINT64_MAX);
    return status;
}

static enum status store_init(struct store *store, uint64_t row_count, unsigned requests,
                              unsigned number, struct error *error)
{
    const size_t floats = (size_t)REQUEST_KEYS * DIM;
    *store = (struct store){.row_count = row_count, .requests = requests};
    store->keys = pages_alloc((size_t)requests * REQUEST_KEYS * sizeof *store->keys);
    store->numbers = pages_alloc((size_t)requests * REQUEST_KEYS * sizeof *store->numbers);
    store->values = pages_alloc(floats * sizeof(float));
    store->grads = pages_alloc(floats * sizeof(float));
    CHECK(store->keys != NULL && store->numbers != NULL);
    CHECK(store->values != NULL && store->grads != NULL);
    enum status status = table_fill(store, error);
    struct rng rng = rng_make(number + 1);
    for (size_t i = 0; i < (size_t)requests * REQUEST_KEYS; i++) {
        store->numbers[i] = (uint32_t)rng_below(&rng, row_count);
        store->keys[i] = rng_mix(store->numbers[i]);
    }
    for (size_t i = 0; i < floats; i++)
        store->grads[i] = (float)(i % 13) * 1e-3f - 6e-3f;
    return status;
}

static void store_deinit(struct store *store)
{
    const size_t floats = (size_t)REQUEST_KEYS * DIM;
    table_sparse_deinit(&store->table);
    push_batch_deinit(&store->batch);
    pages_free(store->keys, (size_t)store->requests * REQUEST_KEYS * sizeof *store->keys);
    pages_free(store->numbers, (size_t)store->requests * REQUEST_KEYS * sizeof *store->numbers);
    pages_free(store->values, floats * sizeof(float));
    pages_free(store->grads, floats * sizeof(float));
}

static enum status on_stores(const struct stores *stores, void (*run)(void *context),
                             struct error *error)
{
    void *contexts[BENCH_THREADS_MAX];
    for (unsigned i = 0; i < stores->count; i++)
        contexts[i] = &stores->items[i];
    bench_parallel(run, contexts, stores->count);
    for (unsigned i = 0; i < stores->count; i++) {
        if (stores->items[i].status == STATUS_OK) continue;
        *error = stores->items[i].error;
        return stores->items[i].status;
    }
    return STATUS_OK;
}

static enum status run_step(void *context, struct error *error)
{
    struct store_step *step = context;
    const double before = process_seconds(0);
    for (unsigned i = 0; i < step->stores.count; i++) {
        if (step->runs == 1) latencies_clear(&step->latencies[i]);
        step->stores.items[i].latencies = &step->latencies[i];
    }
    enum status status = on_stores(&step->stores, step->work, error);
    if (step->runs++ > 0) step->processor_seconds += process_seconds(0) - before;
    return status;
}

static double step_rows(const struct store_step *step)
{
    return (double)REQUEST_KEYS * step->stores.items[0].requests * step->stores.count;
}

/* steps[0] and work[0] are of the table, steps[1] and work[1] of the bare loop. */
static void report(struct bench *bench, const char *name, const struct bench_step *steps,
                   struct store_step *work)
{
    const struct table_rows *table = &work->stores.items[0].table.rows;
    const double rows = step_rows(work), rate = rows / steps[0].seconds;
    const double millions = rows * (work->runs - 1) * 1e-6;
    const double bytes = (double)table_rows_bytes(table) / (double)table->store.count;
    struct latencies *latencies = &work->latencies[0];
    for (unsigned i = 1; i < work->stores.count; i++)
        for (size_t j = 0; j < work->latencies[i].count; j++)
            latencies_add(latencies, work->latencies[i].seconds[j]);
    const struct bench_field fields[] = {
        {"bytes_per_s", rate * (double)(sizeof(uint64_t) + DIM * sizeof(float))},
        {"p50_us", latencies_quantile(latencies, 0.5) * 1e6},
        {"p99_us", latencies_quantile(latencies, 0.99) * 1e6},
        {"cpu_s_per_mrow", work[0].processor_seconds / millions},
        {"limit_cpu_s_per_mrow", work[1].processor_seconds / millions},
        {"bytes_per_row", bytes - (double)(ROW_FLOATS * sizeof(float))}};
    bench_report_fields(bench, name, rate, "rows/s", rows / steps[1].seconds, fields,
                        sizeof fields / sizeof *fields);
}

/* Four steps a number of threads: table and bare loop, gather and Adagrad; and the array. */
static enum status measure(struct bench *bench, struct store *items, unsigned first, unsigned last,
                           struct error *error)
{
    static void (*const works[])(void *) = {table_gather, bare_gather, table_adagrad, bare_adagrad};
    struct store_step work[4 * BENCH_THREADS_MAX + 1] = {0};
    struct bench_step steps[4 * BENCH_THREADS_MAX + 1];
    unsigned count = 0;
    for (unsigned threads = first; threads <= last; threads++)
        for (unsigned i = 0; i < sizeof works / sizeof *works; i++)
            work[count++] = (struct store_step){.stores = {items, threads}, .work = works[i]};
    work[count++] = (struct store_step){.stores = {items, 1}, .work = bare_array};
    for (unsigned i = 0; i < count; i++)
        steps[i] = (struct bench_step){run_step, &work[i], 0};
    enum status status = bench_alternate(steps, count, bench_rounds(bench, 15), error);
    for (unsigned i = 0; i + 1 < count && status == STATUS_OK; i += 2) {
        const char *name = case_names[first - 1 + i / 4][i / 2 % 2];
        if (bench_wants(bench, name)) report(bench, name, &steps[i], &work[i]);
    }
    if (status == STATUS_OK && bench_wants(bench, array_name))
        bench_report(bench, array_name, step_rows(&work[count - 1]) / steps[count - 1].seconds,
                     "rows/s", BENCH_NO_LIMIT);
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < BENCH_THREADS_MAX; j++)
            latencies_deinit(&work[i].latencies[j]);
    return status;
}

static bool threads_wanted(const struct bench *bench, unsigned threads)
{
    const char *const *names = case_names[threads - 1];
    return bench_wants(bench, names[0]) || bench_wants(bench, names[1]) ||
           (threads == 1 && bench_wants(bench, array_name));
}

enum status table_cases(struct bench *bench, struct error *error)
{
    struct store items[BENCH_THREADS_MAX] = {0};
    const unsigned first = threads_wanted(bench, 1) ? 1 : 2;
    const unsigned last = threads_wanted(bench, 2) ? 2 : 1;
    enum status status = STATUS_OK;
    if (first > last || bench->matrix) return STATUS_OK;
    for (unsigned i = 0; i < last && status == STATUS_OK; i++)
        status = store_init(&items[i], bench->quick ? 20000 : 4000000, bench->quick ? 1 : REQUESTS,
                            i, error);
    if (status == STATUS_OK) status = measure(bench, items, first, last, error);
    for (unsigned i = 0; i < last; i++)
        if (items[i].row_count > 0) store_deinit(&items[i]);
    return status;
}
