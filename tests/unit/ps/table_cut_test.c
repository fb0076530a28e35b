/* Cuts: a checkpoint's view of a table that goes on being used. */
#include "ps/table.h"
#include "ps/table_sparse.h"
#include "tests/unit/ps/ps_fixture.h"

enum { KEYS = 4000, DIM = 3, FLOATS = 2 * DIM };

static struct error error;

/* Rows by key number, as a checkpoint would hold them. */
struct image {
    bool there[KEYS];
    float rows[KEYS][FLOATS];
};

static uint64_t key_of(uint64_t number)
{
    return number * UINT64_C(1000003);
}

static uint32_t number_of(uint64_t key)
{
    return (uint32_t)(key / UINT64_C(1000003));
}

struct sink_state {
    struct image *image;
    bool seen[KEYS];
    uint64_t count;
};

static void put(void *context, uint64_t key, const float *stored, uint32_t floats)
{
    struct sink_state *state = context;
    uint32_t number = number_of(key);
    assert_int_equal(floats, FLOATS);
    assert_false(state->seen[number]); /* once a cut */
    state->seen[number] = true;
    state->count++;
    state->image->there[number] = true;
    memcpy(state->image->rows[number], stored, sizeof state->image->rows[number]);
}

static void image_take(struct image *image, const struct table *table)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        memset(image->rows[i], 0, sizeof image->rows[i]);
        image->there[i] = table_stored(table, key_of(i), image->rows[i]);
    }
}

static void assert_images_equal(const struct image *left, const struct image *right)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(left->there[i], right->there[i]);
        if (left->there[i]) {
            assert_memory_equal(left->rows[i], right->rows[i], sizeof left->rows[i]);
        }
    }
}

/* A few keys pulled, pushed, deleted or assigned; time passes. */
static void disturb(struct table *table, struct rng *rng, uint32_t requests)
{
    for (uint32_t r = 0; r < requests; r++) {
        uint64_t keys[20];
        float floats[20 * DIM];
        for (uint32_t i = 0; i < 20; i++)
            keys[i] = key_of(rng_below(rng, KEYS));
        for (uint32_t i = 0; i < 20 * DIM; i++)
            floats[i] = (float)rng_below(rng, 100);
        static uint64_t now_ns = 1;
        table_tick(table, now_ns += rng_below(rng, 1000000000));
        switch (rng_below(rng, 6)) {
        case 0:
            (void)table_delete(table, keys, 10);
            break;
        case 1:
            assert_int_equal(table_assign(table, keys, 5, floats, &error), STATUS_OK);
            break;
        case 2:
        case 3:
            assert_int_equal(table_pull(table, keys, 20, floats, false, &error), STATUS_OK);
            break;
        default:
            assert_int_equal(table_push(table, keys, 20, floats, 1, &error), STATUS_OK);
        }
    }
}

/* What removes rows besides requests. */
enum removal { NOTHING, EVICTION, EXPIRY, REMOVALS };

static struct table *make_table(enum removal removal)
{
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", DIM, ADAGRAD);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_UNIFORM;
    fixture.spec.init_scale = 1;
    if (removal == EVICTION) {
        fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
        fixture.spec.rows_max = 1500;
    }
    if (removal == EXPIRY) fixture.spec.evict_seconds = 40;
    return fixture_table(&fixture);
}

/* Full cuts and those of changes alone, one upon the other, give what the table held when each
 * began, whatever was done meanwhile. */
static void check_cuts(enum removal removal)
{
    struct table *table = make_table(removal);
    struct image *stored = calloc(1, sizeof *stored), *expected = calloc(1, sizeof *expected);
    struct sink_state *sink_state = calloc(1, sizeof *sink_state);
    struct rng rng = rng_make(fixture_seed());
    unsigned incremental = 0;
    for (int cut = 0; cut < 40; cut++) {
        disturb(table, &rng, cut % 5 == 0 ? 150 : 8);
        bool full = cut % 9 == 0;
        const uint64_t *deleted;
        uint64_t deleted_count;
        memset(sink_state, 0, sizeof *sink_state);
        sink_state->image = stored;
        const struct row_sink sink = {.context = sink_state, .put = put};
        image_take(expected, table);
        uint64_t rows = table_row_count(table);
        bool asked = full;
        table_cut_begin(table, &full, &sink, &deleted, &deleted_count);
        assert_true(full || !asked);
        incremental += !full;
        if (full) memset(stored, 0, sizeof *stored);
        for (uint64_t i = 0; i < deleted_count; i++)
            stored->there[number_of(deleted[i])] = false;
        while (!table_cut_step(table, 1 + (uint32_t)rng_below(&rng, 200)))
            disturb(table, &rng, (uint32_t)rng_below(&rng, 6));
        assert_images_equal(stored, expected);
        if (full) {
            assert_int_equal(sink_state->count, rows);
        } else {
            assert_true(sink_state->count < rows);
        }
    }
    assert_true(incremental > 25);
    struct table_stats stats;
    table_stats(table, &stats);
    assert_int_equal(stats.evicted > 100, removal == EVICTION);
    assert_int_equal(stats.expired > 100, removal == EXPIRY);
    table_destroy(table);
    free(stored);
    free(expected);
    free(sink_state);
}

static void cuts_hold_the_rows_of_their_beginning(void **state)
{
    (void)state;
    for (enum removal removal = 0; removal < REMOVALS; removal++)
        check_cuts(removal);
}

static void after_an_abandoned_cut_the_next_is_of_all_rows(void **state)
{
    (void)state;
    for (int ended = 0; ended < 2; ended++) {
        struct table *table = make_table(NOTHING);
        struct image *stored = calloc(1, sizeof *stored);
        struct sink_state *sink_state = calloc(1, sizeof *sink_state);
        struct rng rng = rng_make(fixture_seed());
        sink_state->image = stored;
        const struct row_sink sink = {.context = sink_state, .put = put};
        const uint64_t *deleted;
        uint64_t deleted_count;
        disturb(table, &rng, 100);
        bool full = false;
        table_cut_begin(table, &full, &sink, &deleted, &deleted_count);
        assert_true(full);
        while (!table_cut_step(table, 100) && ended)
            continue;
        table_cut_abandon(table);
        disturb(table, &rng, 3);
        full = false;
        memset(sink_state, 0, sizeof *sink_state);
        sink_state->image = stored;
        table_cut_begin(table, &full, &sink, &deleted, &deleted_count);
        assert_true(full);
        uint64_t rows = table_row_count(table);
        while (!table_cut_step(table, 1000))
            continue;
        assert_int_equal(sink_state->count, rows);
        table_destroy(table);
        free(stored);
        free(sink_state);
    }
}

/* Numbers of pushes have 32 bits: nothing may be lost when they begin again, neither for rows that
 * changed just before nor for rows that have long been quiet. */
static void cuts_hold_while_versions_wrap(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", DIM, ADAGRAD);
    struct table_sparse table;
    struct image *stored = calloc(1, sizeof *stored);
    struct sink_state *sink_state = calloc(1, sizeof *sink_state);
    assert_int_equal(table_sparse_init(&table, &fixture.spec), STATUS_OK);
    const struct row_sink sink = {.context = sink_state, .put = put};
    struct push_batch batch = {0};
    uint64_t keys[KEYS];
    float grads[10 * DIM], values[KEYS * DIM];
    const struct row_target target = {.rows = values};
    const struct gradients gradients = {
        .bytes = (const uint8_t *)grads, .stride = DIM * sizeof(float), .dim = DIM};
    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = key_of(i);
    for (uint32_t i = 0; i < 10 * DIM; i++)
        grads[i] = 1;
    assert_int_equal(table_sparse_pull(&table, keys, KEYS, &target, false, &error), STATUS_OK);
    for (int turn = 0; turn < 9; turn++) {
        /* As after half a thousand million pushes of other rows. */
        table.rows.stamp += UINT32_C(1) << 29;
        table_rows_tick(&table.rows, 0);
        for (int push = 0; push < 3; push++) {
            assert_int_equal(
                table_sparse_push(&table, keys + 10 * turn, 10, &gradients, &batch, 0.1f, &error),
                STATUS_OK);
            push_batch_end(&batch);
        }
        bool full = turn % 2 == 0;
        const uint64_t *deleted;
        uint64_t deleted_count;
        memset(sink_state, 0, sizeof *sink_state);
        sink_state->image = stored;
        table_rows_cut_begin(&table.rows, &full, &sink, &deleted, &deleted_count);
        while (!table_rows_cut_step(&table.rows, 500))
            continue;
        if (full) assert_int_equal(sink_state->count, KEYS);
        for (uint32_t i = 0; i < 10; i++)
            assert_true(sink_state->seen[10 * turn + (int)i]);
    }
    push_batch_deinit(&batch);
    table_sparse_deinit(&table);
    free(stored);
    free(sink_state);
}

/* Version 0 would say that no row was sent. */
static void a_version_that_is_raised_is_never_0(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", DIM, SGD);
    struct table_sparse table;
    assert_int_equal(table_sparse_init(&table, &fixture.spec), STATUS_OK);
    const uint64_t key = 5;
    const uint32_t held = 0;
    float values[DIM];
    uint32_t version = 0, sent = 0;
    const struct row_target target = {.rows = values};
    table.rows.stamp = UINT32_MAX - 5; /* before the stamps wrap */
    assert_int_equal(table_sparse_pull(&table, &key, 1, &target, false, &error), STATUS_OK);
    table.rows.stamp = UINT32_C(1) << 30;
    table_rows_tick(&table.rows, 0);
    assert_int_equal(
        table_sparse_pull_newer(&table, &key, 1, &held, 0, &target, false, &version, &sent, &error),
        STATUS_OK);
    assert_int_equal(sent, 1);
    assert_int_not_equal(version, 0);
    table_sparse_deinit(&table);
}

struct chunks_got {
    float first[3];
    unsigned count;
};

static void put_chunk(void *context, uint64_t key, const float *stored, uint32_t floats)
{
    struct chunks_got *got = context;
    assert_int_equal(floats, 16384);
    got->first[key] = stored[0];
    got->count++;
}

static void dense_cuts_hold_the_chunks_of_their_beginning(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "w", 3, 16384, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    struct table *table = fixture_table(&fixture);
    const uint64_t keys[] = {0, 1, 2};
    float *grads = malloc(3 * 16384 * sizeof *grads);
    for (int i = 0; i < 3 * 16384; i++)
        grads[i] = 1;
    assert_int_equal(table_push(table, keys, 2, grads, 1, &error), STATUS_OK);
    struct chunks_got got = {0};
    const struct row_sink sink = {.context = &got, .put = put_chunk};
    bool full = false;
    const uint64_t *deleted;
    uint64_t deleted_count;
    table_cut_begin(table, &full, &sink, &deleted, &deleted_count);
    assert_true(full);
    assert_false(table_cut_step(table, 1));
    assert_int_equal(table_push(table, keys, 3, grads, 1, &error), STATUS_OK);
    while (!table_cut_step(table, 1))
        continue;
    assert_int_equal(got.count, 2); /* the third appeared later */
    assert_true(got.first[0] == -1.0f && got.first[1] == -1.0f);
    free(grads);
    table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_hold_the_rows_of_their_beginning),
        cmocka_unit_test(after_an_abandoned_cut_the_next_is_of_all_rows),
        cmocka_unit_test(cuts_hold_while_versions_wrap),
        cmocka_unit_test(a_version_that_is_raised_is_never_0),
        cmocka_unit_test(dense_cuts_hold_the_chunks_of_their_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
