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
    fixture_sparse(&fixture, "", 4, SGD);
    assert_refused(&fixture, "name is empty");
    fixture_sparse(&fixture, "two\nlines", 4, SGD);
    assert_refused(&fixture, "not plain text");
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
    Anthill__TableSpec *copy = table_spec_copy(&left.spec);
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
        cmocka_unit_test(dense_specs_that_cannot_work_are_refused_by_name),
        cmocka_unit_test(the_first_difference_is_named),
        cmocka_unit_test(dense_tables_are_cut_into_chunks_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
