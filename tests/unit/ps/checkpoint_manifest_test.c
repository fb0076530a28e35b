/* A part's manifest gives back every field of a table's spec, whatever bits its floats have, and
 * refuses specs that no table could have. */
#include "ps/checkpoint_manifest.h"

#include "common/file.h"
#include "ps/table_spec.h"
#include "tests/support/process.h"
#include "tests/unit/ps/ps_fixture.h"

static char folder[64], path[FILE_PATH_BYTES];

static int set_up(void **state)
{
    (void)state;
    temporary_folder(folder);
    return file_path(path, NULL, "%s/manifest.yaml", folder) == STATUS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

/* A float below 1 with random bits. */
static float random_float(struct rng *rng)
{
    return 0.5f * rng_float(rng) + 0x1p-40f * rng_float(rng);
}

/* Something random in every field, which table_spec_check takes. */
static void fill(struct spec_fixture *fixture, struct rng *rng, Anthill__OptimizerKind kind)
{
    fixture_sparse(fixture, "nodes", 1 + (uint32_t)rng_below(rng, 100), kind);
    Anthill__TableSpec *spec = &fixture->spec;
    spec->seed = rng_u64(rng);
    spec->init = ANTHILL__INIT_KIND__INIT_NORMAL;
    spec->init_scale = random_float(rng);
    spec->rows_max = rng_u64(rng);
    spec->bytes_max = rng_u64(rng) | UINT64_C(1) << 32;
    spec->storage = (Anthill__StorageKind)rng_below(rng, 2);
    spec->admit_after = (uint32_t)rng_below(rng, TABLE_ADMIT_MAX + 1);
    spec->evict = (Anthill__EvictKind)rng_below(rng, 3);
    spec->evict_seconds =
        spec->evict == ANTHILL__EVICT_KIND__EVICT_SCORE ? 0 : (uint32_t)rng_u64(rng);
    spec->versioned = rng_below(rng, 2) == 0;
    spec->compensate = spec->consistency != BSP && rng_below(rng, 2) == 0;
    Anthill__OptimizerSpec *optimizer = &fixture->optimizer;
    float *const floats[] = {
        &optimizer->rate,      &optimizer->beta1,      &optimizer->beta2,
        &optimizer->epsilon,   &optimizer->momentum,   &optimizer->l1,
        &optimizer->l2,        &optimizer->ftrl_beta,  &optimizer->clip_value,
        &optimizer->clip_norm, &optimizer->rate_final, &optimizer->weight_decay};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        *floats[i] = random_float(rng);
    if (kind == ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL) optimizer->weight_decay = 0;
    optimizer->schedule = (Anthill__ScheduleKind)rng_below(rng, 3);
    optimizer->warmup_clocks = rng_u64(rng) >> 1;
    optimizer->total_clocks = UINT64_MAX - rng_below(rng, 1000);
}

static void every_field_of_a_spec_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct rng rng = rng_make(fixture_seed());
    struct error error = {0};
    for (int round = 0; round < 50; round++) {
        for (int kind = SGD; kind <= ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL; kind++) {
            struct spec_fixture fixture;
            fill(&fixture, &rng, (Anthill__OptimizerKind)kind);
            struct part_table table = {.spec = &fixture.spec, .rows = rng_u64(&rng)};
            struct part_manifest written = {.step = 7, .tables = &table, .table_count = 1}, read;
            if (part_manifest_write(path, &written, &error) != STATUS_OK ||
                part_manifest_read(path, &read, &error) != STATUS_OK) {
                fail_msg("%s", error.text);
            }
            assert_int_equal(read.table_count, 1);
            assert_true(read.tables[0].rows == table.rows);
            if (table_spec_compare(&fixture.spec, read.tables[0].spec, &error) != STATUS_OK) {
                fail_msg("%s", error.text);
            }
            /* Byte for byte: a field that table_spec_compare did not know would show here. */
            size_t bytes = anthill__table_spec__get_packed_size(&fixture.spec);
            assert_int_equal(bytes, anthill__table_spec__get_packed_size(read.tables[0].spec));
            uint8_t *left = malloc(bytes), *right = malloc(bytes);
            anthill__table_spec__pack(&fixture.spec, left);
            anthill__table_spec__pack(read.tables[0].spec, right);
            assert_memory_equal(left, right, bytes);
            free(left);
            free(right);
            part_manifest_deinit(&read);
        }
    }
}

static void a_spec_that_cannot_work_is_refused_with_the_path(void **state)
{
    (void)state;
    struct spec_fixture fixture;
    struct error error = {0};
    fixture_sparse(&fixture, "nodes", 4, SGD);
    fixture.spec.evict = ANTHILL__EVICT_KIND__EVICT_AGE;
    struct part_table table = {.spec = &fixture.spec};
    struct part_manifest manifest = {.tables = &table, .table_count = 1}, read;
    assert_int_equal(part_manifest_write(path, &manifest, &error), STATUS_OK);
    assert_int_equal(part_manifest_read(path, &read, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, path));
    assert_non_null(strstr(error.text, "evicted by age"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_field_of_a_spec_is_read_as_it_was_written, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_spec_that_cannot_work_is_refused_with_the_path, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
