/* Rows in other forms than f32 in the order of the keys: encoded, scattered, stored as bf16, and
 * left out where the caller's copy is new enough. */
#include "ps/table.h"

#include <math.h>

#include "ps/row_codec.h"
#include "tests/unit/ps/ps_fixture.h"

#define F32  ANTHILL__ENCODING__ENCODING_F32
#define BF16 ANTHILL__ENCODING__ENCODING_BF16
#define INT8 ANTHILL__ENCODING__ENCODING_INT8

enum { DIM = 24, ROWS = 50 };

static struct error error;

static struct table *make_table(bool narrow, Anthill__OptimizerKind kind)
{
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", DIM, kind);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_NORMAL;
    fixture.spec.init_scale = 1;
    fixture.spec.versioned = true;
    if (narrow) fixture.spec.storage = ANTHILL__STORAGE_KIND__STORAGE_BF16;
    return fixture_table(&fixture);
}

/* Rows encoded by the table are the f32 rows encoded, wherever they are put; missing rows and
 * repeats too. */
static void pulls_in_any_form_say_the_same(void **state)
{
    (void)state;
    const Anthill__Encoding encodings[] = {F32, BF16, INT8};
    for (int narrow = 0; narrow < 2; narrow++) {
        struct table *table = make_table(narrow, ADAGRAD);
        uint64_t keys[ROWS];
        uint32_t positions[ROWS];
        for (uint32_t i = 0; i < ROWS; i++) {
            keys[i] = rng_mix(i % 45);
            positions[i] = (i * 7) % 64;
        }
        float rows[ROWS * DIM];
        assert_int_equal(table_pull(table, keys, 20, rows, false, &error), STATUS_OK);
        assert_int_equal(table_pull(table, keys, ROWS, rows, true, &error), STATUS_OK);
        for (int e = 0; e < 3; e++) {
            for (int read_only = 1; read_only >= 0; read_only--) {
                size_t bytes = row_codec_bytes(encodings[e], DIM);
                uint8_t *scattered = calloc(64, bytes), *expected = calloc(1, bytes);
                const struct row_target target = {scattered, positions, encodings[e]};
                assert_int_equal(table_pull_to(table, keys, ROWS, &target, read_only, &error),
                                 STATUS_OK);
                for (uint32_t i = 0; i < ROWS; i++) {
                    row_codec_encode(encodings[e], rows + i * DIM, expected, DIM);
                    assert_memory_equal(scattered + positions[i] * bytes, expected, bytes);
                }
                free(scattered);
                free(expected);
            }
        }
        const struct row_target unknown = {.rows = rows, .encoding = (Anthill__Encoding)9};
        assert_int_equal(table_pull_to(table, keys, 1, &unknown, true, &error), STATUS_INVALID);
        assert_non_null(strstr(error.text, "encoding 9"));
        table_destroy(table);
    }
}

/* A push of encoded gradients is one of what they decode to; keys that stand twice are summed. */
static void pushes_in_any_form_do_the_same(void **state)
{
    (void)state;
    const Anthill__Encoding encodings[] = {F32, BF16, INT8};
    struct rng rng = rng_make(fixture_seed());
    for (int e = 0; e < 3; e++) {
        struct table *encoded = make_table(false, ADAGRAD), *plain = make_table(false, ADAGRAD);
        size_t bytes = row_codec_bytes(encodings[e], DIM);
        uint8_t *memory = calloc(64, bytes);
        uint64_t keys[ROWS];
        uint32_t positions[ROWS];
        float grads[ROWS * DIM];
        for (uint32_t i = 0; i < ROWS; i++) {
            keys[i] = rng_mix(i % 40);
            positions[i] = (i * 5) % 64;
            for (uint32_t f = 0; f < DIM; f++)
                grads[i * DIM + f] = rng_float(&rng) - 0.5f;
            row_codec_encode(encodings[e], grads + i * DIM, memory + positions[i] * bytes, DIM);
            row_codec_decode(encodings[e], memory + positions[i] * bytes, grads + i * DIM, DIM);
        }
        const struct row_source source = {memory, positions, encodings[e]};
        assert_int_equal(table_push_from(encoded, keys, ROWS, &source, 1, 0, &error), STATUS_OK);
        assert_int_equal(table_push(plain, keys, ROWS, grads, 1, &error), STATUS_OK);
        for (uint32_t i = 0; i < 40; i++) {
            assert_memory_equal(fixture_stored(encoded, keys[i]), fixture_stored(plain, keys[i]),
                                2 * DIM * sizeof(float));
        }
        free(memory);
        table_destroy(encoded);
        table_destroy(plain);
    }
}

static bool is_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0xffff) == 0;
}

/* Steps far smaller than a bf16 can tell add up to what they should, and two tables that see the
 * same pushes are equal. */
static void narrow_rows_follow_small_steps_in_the_mean(void **state)
{
    (void)state;
    enum { STEPS = 4000, KEYS = 20 };
    struct table *left = make_table(true, SGD), *right = make_table(true, SGD);
    uint64_t keys[KEYS];
    float first[KEYS * DIM], grads[KEYS * DIM], sum = 0;
    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = rng_mix(i);
    for (uint32_t i = 0; i < KEYS * DIM; i++)
        grads[i] = -1e-4f;
    assert_int_equal(table_pull(left, keys, KEYS, first, false, &error), STATUS_OK);
    for (int step = 0; step < STEPS; step++) {
        assert_int_equal(table_push(left, keys, KEYS, grads, 1, &error), STATUS_OK);
        assert_int_equal(table_push(right, keys, KEYS, grads, 1, &error), STATUS_OK);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        const float *row = fixture_stored(left, keys[i]);
        assert_memory_equal(row, fixture_stored(right, keys[i]), DIM * sizeof(float));
        for (uint32_t f = 0; f < DIM; f++) {
            assert_true(is_bf16(row[f]));
            sum += row[f] - first[i * DIM + f];
        }
    }
    assert_true(fabsf(sum / (KEYS * DIM) - 0.4f) < 0.01f);
    uint64_t bytes = table_bytes(left);
    struct table *wide = make_table(false, SGD);
    assert_int_equal(table_pull(wide, keys, KEYS, first, false, &error), STATUS_OK);
    assert_int_equal(table_bytes(wide) - bytes, KEYS * DIM * 2); /* half the values' memory */
    table_destroy(left);
    table_destroy(right);
    table_destroy(wide);
}

static void narrow_rows_are_stored_and_restored_to_the_bit(void **state)
{
    (void)state;
    struct table *left = make_table(true, ADAM), *right = make_table(true, ADAM);
    const uint64_t key = 5;
    float grads[DIM], stored[DIM * 3 + 1];
    for (uint32_t f = 0; f < DIM; f++)
        grads[f] = (float)f - 7;
    assert_int_equal(table_push(left, &key, 1, grads, 1, &error), STATUS_OK);
    memcpy(stored, fixture_stored(left, key), sizeof stored);
    assert_int_equal(table_restore_row(right, key, stored, false, &error), STATUS_OK);
    assert_memory_equal(fixture_stored(right, key), stored, sizeof stored);
    stored[0] = 2.0f;
    assert_int_equal(table_restore_row(right, key, stored, true, &error), STATUS_OK);
    assert_memory_equal(fixture_stored(right, key), stored, sizeof stored);
    table_destroy(left);
    table_destroy(right);
}

struct copies {
    uint32_t versions[8];
    float rows[8][DIM];
};

/* Asks as a client does that keeps copies; returns how many rows came. */
static uint32_t refresh(struct table *table, const uint64_t *keys, struct copies *copies,
                        uint32_t behind)
{
    float rows[8 * DIM];
    uint32_t versions[8], sent = 0, taken = 0;
    const struct row_target target = {.rows = rows};
    assert_int_equal(table_pull_newer(table, keys, 8, copies->versions, behind, &target, false,
                                      versions, &sent, &error),
                     STATUS_OK);
    for (uint32_t i = 0; i < 8; i++) {
        if (versions[i] == 0) continue;
        copies->versions[i] = versions[i];
        memcpy(copies->rows[i], rows + taken++ * DIM, sizeof copies->rows[i]);
    }
    assert_int_equal(taken, sent);
    return sent;
}

static void rows_are_left_out_while_a_copy_is_new_enough(void **state)
{
    (void)state;
    struct table *table = make_table(false, SGD);
    uint64_t keys[8];
    float grads[DIM], now[8 * DIM];
    struct copies copies = {0};
    for (uint32_t i = 0; i < 8; i++)
        keys[i] = rng_mix(i);
    for (uint32_t f = 0; f < DIM; f++)
        grads[f] = 1;
    assert_int_equal(refresh(table, keys, &copies, 0), 8); /* rows appear */
    assert_int_equal(refresh(table, keys, &copies, 0), 0);
    for (uint32_t push = 1; push <= 3; push++) {
        assert_int_equal(table_push(table, &keys[2], 1, grads, 1, &error), STATUS_OK);
        assert_int_equal(refresh(table, keys, &copies, 3), 0); /* three pushes may be missing */
    }
    assert_int_equal(table_push(table, &keys[2], 1, grads, 1, &error), STATUS_OK);
    assert_int_equal(refresh(table, keys, &copies, 3), 1);
    assert_int_equal(table_push(table, &keys[5], 1, grads, 1, &error), STATUS_OK);
    assert_int_equal(refresh(table, keys, &copies, 0), 1);
    assert_int_equal(table_delete(table, &keys[1], 1), 1);
    assert_int_equal(table_pull(table, &keys[1], 1, now, false, &error), STATUS_OK);
    assert_int_equal(refresh(table, keys, &copies, 0), 1); /* it is another row now */
    assert_int_equal(table_pull(table, keys, 8, now, true, &error), STATUS_OK);
    for (uint32_t i = 0; i < 8; i++)
        assert_memory_equal(copies.rows[i], now + i * DIM, sizeof copies.rows[i]);
    table_destroy(table);
}

/* What a client keeps of rows that come and go. */
enum { COPIES = 40, ASKED = 8 };
struct kept {
    uint32_t versions[COPIES];
    float copies[COPIES];
    uint64_t left_out;
};

/* Asks for rows, and compares what is kept then with what the table has. */
static void refresh_kept(struct table *table, struct kept *kept, const uint64_t *asked,
                         bool read_only, bool evicts)
{
    uint32_t held[ASKED], now[ASKED], sent = 0, taken = 0;
    float rows[ASKED], read[ASKED], stored;
    const struct row_target target = {.rows = rows};
    for (uint32_t i = 0; i < ASKED; i++)
        held[i] = kept->versions[asked[i]];
    assert_int_equal(
        table_pull_newer(table, asked, ASKED, held, 0, &target, read_only, now, &sent, &error),
        STATUS_OK);
    assert_int_equal(table_pull(table, asked, ASKED, read, true, &error), STATUS_OK);
    for (uint32_t i = 0; i < ASKED; i++) {
        kept->left_out += now[i] == 0;
        if (now[i] == 0) continue;
        kept->versions[asked[i]] = now[i];
        kept->copies[asked[i]] = rows[taken++];
    }
    assert_int_equal(taken, sent);
    for (uint32_t i = 0; i < ASKED; i++) {
        /* A row may have been evicted for another of the same request. */
        if (evicts && !table_stored(table, asked[i], &stored)) continue;
        assert_true(kept->copies[asked[i]] == read[i]);
    }
}

enum { UNLIMITED, EVICTING, EXPIRING, ADMITTING, TABLES };

static struct table *make_table_with_removals(int kind)
{
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 1, SGD);
    fixture.spec.init = ANTHILL__INIT_KIND__INIT_UNIFORM;
    fixture.spec.init_scale = 1;
    fixture.spec.versioned = true;
    if (kind == EVICTING) {
        fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
        fixture.spec.rows_max = 10;
    }
    if (kind == EXPIRING) fixture.spec.evict_seconds = 1;
    if (kind == ADMITTING) fixture.spec.admit_after = 3;
    return fixture_table(&fixture);
}

/* A copy that is left out is the row to the bit, whoever removed and made it meanwhile, and whether
 * its key is admitted or not. */
static void copies_that_are_left_out_are_the_rows(void **state)
{
    (void)state;
    struct rng rng = rng_make(fixture_seed());
    for (int kind = 0; kind < TABLES; kind++) {
        struct table *table = make_table_with_removals(kind);
        struct kept kept = {0};
        uint64_t now_ns = 1, asked[ASKED];
        float floats[ASKED];
        for (int step = 0; step < 20000; step++) {
            for (uint32_t i = 0; i < ASKED; i++) {
                asked[i] = rng_below(&rng, COPIES);
                floats[i] = (float)rng_below(&rng, 5);
            }
            table_tick(table, now_ns += rng_below(&rng, 200000000));
            uint64_t request = rng_below(&rng, 6);
            if (request == 0) (void)table_delete(table, asked, 3);
            if (request == 1)
                assert_int_equal(table_push(table, asked, ASKED, floats, 1, &error), STATUS_OK);
            if (request == 2)
                assert_int_equal(table_assign(table, asked, 3, floats, &error), STATUS_OK);
            if (request == 3) /* another client */
                assert_int_equal(table_pull(table, asked, 3, floats, false, &error), STATUS_OK);
            if (request > 3) refresh_kept(table, &kept, asked, request == 4, kind == EVICTING);
        }
        assert_true(kept.left_out > 5000);
        table_destroy(table);
    }
}

static void dense_tables_and_those_without_versions_say_so(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    const uint64_t key = 0;
    uint32_t held = 0, version, sent;
    float values[8] = {0};
    const struct row_target target = {.rows = values}, narrow = {.rows = values, .encoding = BF16};
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "b", 1, 3, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    struct table *dense = fixture_table(&fixture);
    fixture_sparse(&fixture, "nodes", 4, SGD);
    struct table *sparse = fixture_table(&fixture);
    assert_int_equal(table_pull_to(dense, &key, 1, &narrow, true, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "\"weights\" is dense"));
    assert_int_equal(table_assign(dense, &key, 1, values, &error), STATUS_INVALID);
    assert_int_equal(
        table_pull_newer(dense, &key, 1, &held, 0, &target, true, &version, &sent, &error),
        STATUS_INVALID);
    assert_int_equal(
        table_pull_newer(sparse, &key, 1, &held, 0, &target, true, &version, &sent, &error),
        STATUS_INVALID);
    assert_non_null(strstr(error.text, "\"nodes\" has no versions"));
    table_destroy(dense);
    table_destroy(sparse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pulls_in_any_form_say_the_same),
        cmocka_unit_test(pushes_in_any_form_do_the_same),
        cmocka_unit_test(narrow_rows_follow_small_steps_in_the_mean),
        cmocka_unit_test(narrow_rows_are_stored_and_restored_to_the_bit),
        cmocka_unit_test(rows_are_left_out_while_a_copy_is_new_enough),
        cmocka_unit_test(copies_that_are_left_out_are_the_rows),
        cmocka_unit_test(dense_tables_and_those_without_versions_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
