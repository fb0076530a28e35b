/* Specs that cannot work are refused with the table's name; dense tables are cut as documented. */
#include "ps/table_spec.h"

#include <math.h>

#include "tests/unit/ps/ps_fixture.h"

static void assert_refused(const struct spec_fixture *fixture, const char *text)
{
    struct error error = {0};
    assert_int_equal(table_spec_check(&fixture->spec, &error), STATUS_CONFIG);
    if (strstr(error.text, text) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, text);
}

static void specs_that_cannot_work_are_refused_by_name(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_sparse(&fixture, "nodes", 4, ADAM);
    assert_int_equal(table_spec_check(&fixture.spec, &error), STATUS_OK);
    fixture.spec.dim = TABLE_DIM_MAX + 1;
    assert_refused(&fixture, "\"nodes\": dim 65537; 1 to 65536 expected");
    fixture_sparse(&fixture, "nodes", 4, ADAM);
    fixture.optimizer.rate = NAN;
    assert_refused(&fixture, "\"nodes\": rate nan");
    fixture_sparse(&fixture, "nodes", 4, ADAM);
    fixture.optimizer.beta2 = 1;
    assert_refused(&fixture, "beta2 1");
    fixture_sparse(&fixture, "nodes", 4, ADAGRAD);
    fixture.optimizer.epsilon = 0;
    assert_refused(&fixture, "epsilon 0");
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.optimizer.weight_decay = -1;
    assert_refused(&fixture, "weight_decay -1");
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.spec.optimizer = NULL;
    assert_refused(&fixture, "optimizer is missing");
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.spec.init_scale = INFINITY;
    assert_refused(&fixture, "init_scale inf");
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.spec.init = (Anthill__InitKind)9;
    assert_refused(&fixture, "init 9 is unknown");
    fixture.spec.kind = (Anthill__TableKind)9;
    assert_refused(&fixture, "kind 9 is unknown");
    fixture_sparse(&fixture, "nodes", 4, (Anthill__OptimizerKind)9);
    assert_refused(&fixture, "optimizer 9 is unknown");
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.spec.consistency = (Anthill__ConsistencyMode)9;
    assert_refused(&fixture, "consistency 9 is unknown");
    fixture.spec.consistency = BSP;
    fixture.spec.compensate = true;
    assert_refused(&fixture, "in bsp no gradient is stale");
    fixture.spec.compensate = false;
    fixture_sparse(&fixture, "", 4, SGD);
    assert_refused(&fixture, "name is empty");
    fixture_sparse(&fixture, "two\nlines", 4, SGD);
    assert_refused(&fixture, "not plain text");
}

/* Sets a field of a fresh spec and names the error. */
#define REFUSED(kind, field, value, text)                                                          \
    do {                                                                                           \
        struct spec_fixture refused;                                                               \
        fixture_sparse(&refused, "nodes", 4, kind);                                                \
        refused.optimizer.ftrl_beta = 1;                                                           \
        refused.field = (value);                                                                   \
        assert_refused(&refused, text);                                                            \
    } while (0)

static void optimizers_that_cannot_work_are_refused_by_field(void **state)
{
    (void)state;
    const Anthill__OptimizerKind momentum = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM,
                                 rowwise = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD,
                                 adamw = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW,
                                 ftrl = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL;
    REFUSED(ftrl + 1, spec.seed, 1, "\"nodes\": optimizer 7 is unknown");
    REFUSED(momentum, optimizer.momentum, 1, "\"nodes\": momentum 1; a number in [0, 1) expected");
    REFUSED(momentum, optimizer.momentum, -0.5f, "momentum -0.5; 0 or more expected");
    REFUSED(SGD, optimizer.momentum, NAN, "momentum nan; 0 or more expected");
    REFUSED(rowwise, optimizer.epsilon, 0, "epsilon 0; more than 0 expected");
    REFUSED(adamw, optimizer.epsilon, 0, "epsilon 0; more than 0 expected");
    REFUSED(adamw, optimizer.beta1, 1, "beta1 1 and beta2 0.999; each in [0, 1) expected");
    REFUSED(ftrl, optimizer.ftrl_beta, 0, "ftrl_beta 0; more than 0 expected");
    REFUSED(ftrl, optimizer.rate, 0, "rate 0; more than 0 expected");
    REFUSED(ftrl, optimizer.l1, -1, "l1 -1; 0 or more expected");
    REFUSED(ftrl, optimizer.l2, INFINITY, "l2 inf; 0 or more expected");
    REFUSED(ftrl, optimizer.weight_decay, 0.5f,
            "weight_decay 0.5; 0 (ftrl has l2 in its place) expected");
    REFUSED(SGD, optimizer.clip_value, -1, "clip_value -1; 0 or more expected");
    REFUSED(SGD, optimizer.clip_norm, NAN, "clip_norm nan; 0 or more expected");
    REFUSED(SGD, optimizer.schedule, (Anthill__ScheduleKind)3, "schedule 3 is unknown");
    REFUSED(SGD, optimizer.rate_final, 1.5f, "rate_final 1.5; at most 1 expected");
    REFUSED(SGD, optimizer.schedule, ANTHILL__SCHEDULE_KIND__SCHEDULE_LINEAR,
            "total_clocks 0 and warmup_clocks 0; for a linear or cosine schedule 1 or more");
    struct spec_fixture fixture;
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.optimizer.schedule = ANTHILL__SCHEDULE_KIND__SCHEDULE_COSINE;
    fixture.optimizer.total_clocks = 5;
    fixture.optimizer.warmup_clocks = 6;
    assert_refused(&fixture, "total_clocks 5 and warmup_clocks 6");
    struct error error = {0};
    fixture.optimizer.total_clocks = 6;
    assert_int_equal(table_spec_check(&fixture.spec, &error), STATUS_OK);
    for (Anthill__OptimizerKind kind = SGD; kind <= ftrl; kind++) {
        fixture_sparse(&fixture, "nodes", 4, kind);
        fixture.optimizer.ftrl_beta = 1;
        if (table_spec_check(&fixture.spec, &error) != STATUS_OK) fail_msg("%s", error.text);
    }
    fixture_dense(&fixture, "weights", ftrl);
    fixture.optimizer.ftrl_beta = 1;
    fixture_tensor(&fixture, "w", 1, 1, ANTHILL__INIT_KIND__INIT_ZERO, 0.25f);
    assert_refused(&fixture, "tensor \"w\": weight_decay 0.25, but ftrl has l2 in its place");
}

static void room_for_rows_that_cannot_be_is_refused_by_field(void **state)
{
    (void)state;
    REFUSED(SGD, spec.storage, (Anthill__StorageKind)2, "\"nodes\": storage 2 is unknown");
    REFUSED(SGD, spec.admit_after, 256, "admit_after 256; at most 255 expected");
    REFUSED(SGD, spec.evict, (Anthill__EvictKind)3, "evict 3 is unknown");
    REFUSED(SGD, spec.evict, ANTHILL__EVICT_KIND__EVICT_AGE,
            "rows are to be evicted by age, but rows_max, bytes_max and evict_seconds are 0");
    REFUSED(SGD, spec.evict, ANTHILL__EVICT_KIND__EVICT_SCORE, "evicted by score, but rows_max");
    REFUSED(SGD, spec.bytes_max, 31, "bytes_max 31 has no room for a row of 32 bytes");
    REFUSED(ADAGRAD, spec.bytes_max, 47, "bytes_max 47 has no room for a row of 48 bytes");
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.spec.storage = ANTHILL__STORAGE_KIND__STORAGE_BF16;
    fixture.spec.bytes_max = 24;
    fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_SCORE;
    fixture.spec.admit_after = 255;
    fixture.spec.versioned = true;
    if (table_spec_check(&fixture.spec, &error) != STATUS_OK) fail_msg("%s", error.text);
    fixture.spec.evict_seconds = 60;
    assert_refused(&fixture, "evict by score and evict_seconds 60");
    fixture.spec.bytes_max = 0;
    fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
    if (table_spec_check(&fixture.spec, &error) != STATUS_OK) fail_msg("%s", error.text);
    fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_NONE; /* what is not used goes all the same */
    if (table_spec_check(&fixture.spec, &error) != STATUS_OK) fail_msg("%s", error.text);
}

static void a_spec_that_no_message_has_room_for_is_refused(void **state)
{
    (void)state;
    enum { TENSORS = 4096, NAME = 255 };
    Anthill__TensorSpec tensor, *tensors[TENSORS];
    char name[NAME + 1];
    memset(name, 'w', NAME);
    name[NAME] = '\0';
    anthill__tensor_spec__init(&tensor);
    tensor.name = name;
    tensor.rows = tensor.cols = 1;
    for (unsigned i = 0; i < TENSORS; i++)
        tensors[i] = &tensor;
    struct spec_fixture fixture;
    fixture_dense(&fixture, "weights", SGD);
    fixture.spec.tensors = tensors;
    fixture.spec.n_tensors = TENSORS;
    assert_refused(&fixture, "table \"weights\": a spec of ");
    assert_refused(&fixture, " bytes; at most 1048320 fit");
}

static void dense_tables_are_refused_what_rows_alone_have(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "w", 1, 1, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    Anthill__TableSpec plain = fixture.spec;
    fixture.spec.storage = ANTHILL__STORAGE_KIND__STORAGE_BF16;
    assert_refused(&fixture, "\"weights\": storage is set, which sparse tables alone have");
    fixture.spec = plain;
    fixture.spec.admit_after = 2;
    assert_refused(&fixture, "admit_after is set");
    fixture.spec = plain;
    fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
    assert_refused(&fixture, "evict is set");
    fixture.spec = plain;
    fixture.spec.evict_seconds = 1;
    assert_refused(&fixture, "evict_seconds is set");
    fixture.spec = plain;
    fixture.spec.bytes_max = 1 << 30;
    assert_refused(&fixture, "bytes_max is set");
    fixture.spec = plain;
    fixture.spec.versioned = true;
    assert_refused(&fixture, "versioned is set");
}

static void dense_specs_that_cannot_work_are_refused_by_name(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_dense(&fixture, "weights", SGD);
    assert_refused(&fixture, "\"weights\": 0 tensors");
    fixture_tensor(&fixture, "w", 0, 5, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    assert_refused(&fixture, "tensor \"w\" is 0 by 5");
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "w", 1 << 16, 1 << 16, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    fixture_tensor(&fixture, "v", 1, 1, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    assert_refused(&fixture, "up to \"v\"");
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "w", 1, 1, ANTHILL__INIT_KIND__INIT_ZERO, NAN);
    assert_refused(&fixture, "\"w\": weight_decay");
}

static void the_first_difference_is_named(void **state)
{
    (void)state;
    struct spec_fixture left, right;
    struct error error = {0};
    fixture_dense(&left, "weights", ADAM);
    fixture_tensor(&left, "w", 2, 3, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    Anthill__TableSpec *copy = wire_copy(&left.spec.base);
    assert_non_null(copy);
    assert_int_equal(table_spec_compare(&left.spec, copy, &error), STATUS_OK);
    copy->seed++;
    assert_int_equal(table_spec_compare(&left.spec, copy, &error), STATUS_CONFIG);
    assert_string_equal(error.text, "table \"weights\": seed differs: 12 and 13");
    copy->seed--;
    copy->optimizer->beta2 = 0.99f;
    assert_int_equal(table_spec_compare(&left.spec, copy, &error), STATUS_CONFIG);
    assert_string_equal(error.text,
                        "table \"weights\": optimizer beta2 differs: 0.999000013 and 0.99000001");
    anthill__table_spec__free_unpacked(copy, NULL);
    fixture_dense(&right, "weights", ADAM);
    fixture_tensor(&right, "w", 2, 4, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    assert_int_equal(table_spec_compare(&left.spec, &right.spec, &error), STATUS_CONFIG);
    assert_string_equal(error.text, "table \"weights\": tensor \"w\": cols differs: 3 and 4");
    fixture_tensor(&right, "v", 2, 4, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    assert_int_equal(table_spec_compare(&left.spec, &right.spec, &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "number of tensors differs: 1 and 2"));
}

/* Two specs that differ in one field, and what is said of it. */
#define DIFFERS(field, value, message)                                                             \
    do {                                                                                           \
        struct spec_fixture one, other;                                                            \
        struct error differs = {0};                                                                \
        fixture_sparse(&one, "nodes", 4, SGD);                                                     \
        fixture_sparse(&other, "nodes", 4, SGD);                                                   \
        other.field = (value);                                                                     \
        assert_int_equal(table_spec_compare(&one.spec, &other.spec, &differs), STATUS_CONFIG);     \
        assert_string_equal(differs.text, "table \"nodes\": " message);                            \
    } while (0)

static void no_field_may_differ(void **state)
{
    (void)state;
    DIFFERS(spec.rows_max, 3, "rows_max differs: 0 and 3");
    DIFFERS(spec.storage, ANTHILL__STORAGE_KIND__STORAGE_BF16, "storage differs: 0 and 1");
    DIFFERS(spec.admit_after, 2, "admit_after differs: 0 and 2");
    DIFFERS(spec.evict, ANTHILL__EVICT_KIND__EVICT_SCORE, "evict differs: 0 and 2");
    DIFFERS(spec.evict_seconds, 60, "evict_seconds differs: 0 and 60");
    DIFFERS(spec.bytes_max, UINT64_MAX, "bytes_max differs: 0 and 18446744073709551615");
    DIFFERS(spec.versioned, true, "versioned differs: 0 and 1");
    DIFFERS(optimizer.momentum, 0.5f, "optimizer momentum differs: 0 and 0.5");
    DIFFERS(optimizer.l1, 0.5f, "optimizer l1 differs: 0 and 0.5");
    DIFFERS(optimizer.l2, 0.5f, "optimizer l2 differs: 0 and 0.5");
    DIFFERS(optimizer.ftrl_beta, 0.5f, "optimizer ftrl_beta differs: 0 and 0.5");
    DIFFERS(optimizer.clip_value, 0.5f, "optimizer clip_value differs: 0 and 0.5");
    DIFFERS(optimizer.clip_norm, 0.5f, "optimizer clip_norm differs: 0 and 0.5");
    DIFFERS(optimizer.rate_final, 0.5f, "optimizer rate_final differs: 0 and 0.5");
    DIFFERS(optimizer.schedule, ANTHILL__SCHEDULE_KIND__SCHEDULE_COSINE,
            "optimizer schedule differs: 0 and 2");
    DIFFERS(optimizer.warmup_clocks, 7, "optimizer warmup_clocks differs: 0 and 7");
    DIFFERS(optimizer.total_clocks, 7, "optimizer total_clocks differs: 0 and 7");
}

static void dense_tables_are_cut_into_chunks_in_order(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    fixture_dense(&fixture, "weights", SGD);
    fixture_tensor(&fixture, "a", 700, 100, ANTHILL__INIT_KIND__INIT_ZERO, 0); /* 70,000 */
    fixture_tensor(&fixture, "b", 1, 5, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    fixture_tensor(&fixture, "c", 128, 128, ANTHILL__INIT_KIND__INIT_ZERO, 0); /* one full chunk */
    assert_int_equal(table_spec_floats(&fixture.spec), 70000 + 5 + 16384);
    assert_int_equal(table_spec_chunks(&fixture.spec), 5 + 1 + 1);
    uint64_t keys[7], floats = 0;
    table_spec_chunk_keys(&fixture.spec, keys);
    const uint64_t expected[] = {0, 1, 2, 3, 4, UINT64_C(1) << 32, UINT64_C(2) << 32};
    assert_memory_equal(keys, expected, sizeof keys);
    for (int i = 0; i < 7; i++)
        floats += table_spec_row_floats(&fixture.spec, keys[i]);
    assert_int_equal(floats, table_spec_floats(&fixture.spec));
    assert_int_equal(table_spec_row_floats(&fixture.spec, 4), 4464);
    assert_int_equal(table_spec_row_floats(&fixture.spec, 5), 0);
    assert_int_equal(table_spec_row_floats(&fixture.spec, UINT64_C(3) << 32), 0);
    assert_int_equal(table_spec_row_floats(&fixture.spec, UINT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specs_that_cannot_work_are_refused_by_name),
        cmocka_unit_test(optimizers_that_cannot_work_are_refused_by_field),
        cmocka_unit_test(room_for_rows_that_cannot_be_is_refused_by_field),
        cmocka_unit_test(a_spec_that_no_message_has_room_for_is_refused),
        cmocka_unit_test(dense_tables_are_refused_what_rows_alone_have),
        cmocka_unit_test(dense_specs_that_cannot_work_are_refused_by_name),
        cmocka_unit_test(the_first_difference_is_named),
        cmocka_unit_test(no_field_may_differ),
        cmocka_unit_test(dense_tables_are_cut_into_chunks_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
