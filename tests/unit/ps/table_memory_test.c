/* Every allocation of a request fails in turn: the request is refused whole, and done again it does
 * what it would have done. */
#include "ps/gradient_sums.h"
#include "ps/pages.h"
#include "ps/table.h"
#include "tests/unit/ps/ps_fixture.h"

enum { DIM = 3, KEYS = 3000, BEFORE = 150, REPEATS = 500 };

/* ---- allocations, by the linker's --wrap ---- */

static struct {
    bool armed;
    uint64_t calls, failing; /* the call of that number fails */
} faults;

static bool fails(void)
{
    return faults.armed && faults.calls++ == faults.failing;
}

#define WRAP(name, parameters, arguments)                                                          \
    void *__real_##name parameters;                                                                \
    void *__wrap_##name parameters;                                                                \
    void *__wrap_##name parameters                                                                 \
    {                                                                                              \
        return fails() ? NULL : __real_##name arguments;                                           \
    }

WRAP(malloc, (size_t bytes), (bytes))
WRAP(calloc, (size_t count, size_t bytes), (count, bytes))
WRAP(realloc, (void *memory, size_t bytes), (memory, bytes))
WRAP(aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes))
WRAP(pages_alloc, (size_t bytes), (bytes))

static void arm(uint64_t failing)
{
    faults.armed = true;
    faults.calls = 0;
    faults.failing = failing;
}

/* True when the call that was to fail was reached. */
static bool disarm(void)
{
    faults.armed = false;
    return faults.calls > faults.failing;
}

/* ---- requests ---- */

static struct error error;
static uint64_t keys[KEYS];
static float grads[KEYS * DIM], values[KEYS * DIM];

/* Some keys stand twice, the first are there before. */
static void make_request(void)
{
    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = rng_mix(i % (KEYS - REPEATS));
    for (uint32_t i = 0; i < KEYS * DIM; i++)
        grads[i] = (float)(i % 7) - 3;
}

enum kind { PLAIN, LIMITED, NARROW, ADMITTING, KINDS };

static struct table *make_table(enum kind kind)
{
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", DIM, ADAGRAD);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_UNIFORM;
    fixture.spec.init_scale = 1;
    fixture.spec.versioned = true;
    if (kind == LIMITED) {
        fixture.spec.rows_max = KEYS - REPEATS; /* it has no room for as many as there are keys */
        fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
    }
    if (kind == NARROW) fixture.spec.storage = ANTHILL__STORAGE_KIND__STORAGE_BF16;
    if (kind == ADMITTING) fixture.spec.admit_after = 2;
    struct table *table = fixture_table(&fixture);
    for (int sighting = 0; sighting < 2; sighting++)
        assert_int_equal(table_pull(table, keys, BEFORE, values, false, &error), STATUS_OK);
    return table;
}

static enum status push(struct table *table)
{
    return table_push(table, keys, KEYS, grads, 0.5f, &error);
}

static enum status prepare(struct table *table)
{
    return table_push_prepare(table, keys, KEYS, grads, &error);
}

static enum status assign(struct table *table)
{
    return table_assign(table, keys, KEYS, grads, &error);
}

static enum status pull(struct table *table)
{
    return table_pull(table, keys, KEYS, values, false, &error);
}

static enum status pull_newer(struct table *table)
{
    static uint32_t held[KEYS], versions[KEYS];
    uint32_t sent;
    const struct row_target target = {.rows = values};
    return table_pull_newer(table, keys, KEYS, held, 0, &target, false, versions, &sent, &error);
}

/* Rows of both tables are equal; `all`: and there are no others. */
static void assert_rows_equal(const struct table *left, const struct table *right, bool all)
{
    static float a[2 * DIM], b[2 * DIM];
    if (all) assert_int_equal(table_row_count(left), table_row_count(right));
    for (uint32_t i = 0; i < KEYS - REPEATS; i++) {
        bool there = table_stored(left, keys[i], a), also = table_stored(right, keys[i], b);
        if (all) assert_int_equal(there, also);
        if (there && also) assert_memory_equal(a, b, sizeof a);
    }
}

static void a_request_without_memory_changes_no_row_and_can_be_done_again(void **state)
{
    (void)state;
    enum status (*const requests[])(struct table *) = {push, prepare, assign, pull, pull_newer};
    make_request();
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (size_t r = 0; r < sizeof requests / sizeof *requests; r++) {
            struct table *before = make_table(kind), *after = make_table(kind);
            assert_int_equal(pull(before), STATUS_OK);
            assert_int_equal(pull(before), STATUS_OK); /* now all keys are admitted */
            assert_int_equal(requests[r](after), STATUS_OK);
            bool reached = true;
            unsigned refused = 0;
            for (uint64_t failing = 0; reached; failing++) {
                struct table *table = make_table(kind);
                arm(failing);
                enum status status = requests[r](table);
                reached = disarm();
                if (status != STATUS_OK) {
                    refused++;
                    assert_int_equal(status, STATUS_NOMEM);
                    assert_non_null(strstr(error.text, "\"nodes\""));
                    assert_rows_equal(table, before, false);
                    assert_int_equal(requests[r](table), STATUS_OK);
                }
                /* Stochastic rounding goes by the number of the push; sightings have been counted.
                 */
                bool differs = (kind == NARROW && requests[r] == push) || kind == ADMITTING;
                if (status == STATUS_OK || !differs) assert_rows_equal(table, after, true);
                table_destroy(table);
            }
            assert_true(refused > 0);
            table_destroy(before);
            table_destroy(after);
        }
    }
}

static void a_table_without_memory_is_none(void **state)
{
    (void)state;
    for (int dense = 0; dense < 2; dense++) {
        struct spec_fixture fixture;
        if (dense) {
            fixture_dense(&fixture, "nodes", ADAM);
            fixture_tensor(&fixture, "w", 3, 16384, ANTHILL__INIT_KIND__INIT_ONE, 0);
        } else {
            fixture_sparse(&fixture, "nodes", DIM, ADAM);
            fixture.spec.admit_after = 2;
        }
        bool reached = true;
        for (uint64_t failing = 0; reached; failing++) {
            struct table *table = NULL;
            arm(failing);
            enum status status = table_create(&table, &fixture.spec, &error);
            reached = disarm();
            assert_int_equal(status, reached ? STATUS_NOMEM : STATUS_OK);
            table_destroy(table);
        }
    }
}

static void chunks_without_memory_take_no_step(void **state)
{
    (void)state;
    enum { FLOATS = 2 * 16384 + 5 };
    struct spec_fixture fixture;
    fixture_dense(&fixture, "nodes", ADAGRAD);
    fixture_tensor(&fixture, "w", 1, FLOATS, ANTHILL__INIT_KIND__INIT_ONE, 0);
    const uint64_t chunks[] = {0, 1, 2, 2};
    float *along = calloc(FLOATS + 5, sizeof *along), *read = calloc(FLOATS, sizeof *read);
    for (uint32_t i = 0; i < FLOATS + 5; i++)
        along[i] = 1;
    bool reached = true;
    for (uint64_t failing = 0; reached; failing++) {
        struct table *table = fixture_table(&fixture);
        arm(failing);
        enum status status = table_push(table, chunks, 4, along, 1, &error);
        reached = disarm();
        assert_int_equal(status, reached ? STATUS_NOMEM : STATUS_OK);
        assert_int_equal(table_pull(table, chunks, 3, read, true, &error), STATUS_OK);
        for (uint32_t i = 0; i < FLOATS; i++)
            assert_true((read[i] == 1.0f) == reached);
        table_destroy(table);
    }
    free(along);
    free(read);
}

static void sums_without_memory_are_not_added(void **state)
{
    (void)state;
    make_request();
    struct table *table = make_table(PLAIN), *expected = make_table(PLAIN);
    struct gradient_sums sums = {0};
    assert_int_equal(push(expected), STATUS_OK);
    bool reached = true;
    for (uint64_t failing = 0; reached; failing += 1 + failing / 8) {
        arm(failing);
        enum status status = gradient_sums_add(&sums, table, 0, 0.5f, keys, KEYS, grads, &error);
        reached = disarm();
        assert_int_equal(status, reached ? STATUS_NOMEM : STATUS_OK);
    }
    assert_int_equal(gradient_sums_apply(&sums, table, UINT64_MAX), 0);
    assert_rows_equal(table, expected, true);
    gradient_sums_deinit(&sums);
    table_destroy(table);
    table_destroy(expected);
}

struct rows_seen {
    uint64_t count;
};

static void count_row(void *context, uint64_t key, const float *stored, uint32_t floats)
{
    (void)key;
    (void)stored;
    (void)floats;
    ((struct rows_seen *)context)->count++;
}

/* A list of deleted keys that finds no memory makes the next cut one of all rows. */
static void deletions_that_cannot_be_noted_make_the_next_cut_full(void **state)
{
    (void)state;
    make_request();
    for (uint64_t failing = 0; failing < 2; failing++) {
        struct table *table = make_table(PLAIN);
        struct rows_seen seen = {0};
        const struct row_sink sink = {.context = &seen, .put = count_row};
        const uint64_t *deleted;
        uint64_t deleted_count;
        bool full = false;
        assert_int_equal(pull(table), STATUS_OK);
        table_cut_begin(table, &full, &sink, &deleted, &deleted_count);
        while (!table_cut_step(table, 1000))
            continue;
        arm(failing);
        assert_int_equal(table_delete(table, keys, 1500), 1500);
        assert_true(disarm());
        seen.count = 0;
        full = false;
        table_cut_begin(table, &full, &sink, &deleted, &deleted_count);
        assert_true(full);
        while (!table_cut_step(table, 1000))
            continue;
        assert_int_equal(seen.count, table_row_count(table));
        table_destroy(table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_without_memory_changes_no_row_and_can_be_done_again),
        cmocka_unit_test(a_table_without_memory_is_none),
        cmocka_unit_test(chunks_without_memory_take_no_step),
        cmocka_unit_test(sums_without_memory_are_not_added),
        cmocka_unit_test(deletions_that_cannot_be_noted_make_the_next_cut_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
