/* A configuration's tables as the servers are told of them: every key arrives in the spec that it
 * is meant for, and the specs are such as servers take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ps/table_spec.h"
#include "tests/support/six_nodes.h"
#include "worker/tables.h"

static void fill(struct config *config)
{
    config->optimizer.rate = 0.5f;
    config->optimizer.beta1 = 0.75f;
    config->optimizer.beta2 = 0.875f;
    config->optimizer.epsilon = 0.25f;
    config->optimizer.momentum = 0.125f;
    config->optimizer.l1 = 1;
    config->optimizer.l2 = 2;
    config->optimizer.ftrl_beta = 3;
    config->optimizer.clip_value = 4;
    config->optimizer.clip_norm = 5;
    config->optimizer.embedding_rate = 6;
}

/* The tables of a model of one linear layer and embeddings of 2 floats. */
static void with_tables(const struct config *changes, void (*check)(const struct tables *tables))
{
    struct six_nodes six;
    six_nodes_init(&six, SIX_DENSE, false, 1);
    struct config_layer layer = {.type = LAYER_LINEAR};
    struct config config = six_config(&layer, 1, 2);
    config.optimizer = changes->optimizer;
    config.embeddings = changes->embeddings;
    config.servers.rows_max = changes->servers.rows_max;
    config.consistency = changes->consistency;
    struct model *model = NULL;
    struct tables tables;
    struct error error = {0};
    if (model_create(&model, &config, &six.info, &error) != STATUS_OK ||
        tables_init(&tables, &config, model, &error) != STATUS_OK ||
        table_spec_check(&tables.weights, &error) != STATUS_OK ||
        table_spec_check(&tables.embeddings, &error) != STATUS_OK) {
        fail_msg("%s", error.text);
    }
    check(&tables);
    tables_deinit(&tables);
    model_destroy(model);
}

static Anthill__OptimizerKind expected_kind;

static void check_optimizers(const struct tables *tables)
{
    const Anthill__OptimizerSpec *const specs[] = {tables->weights.optimizer,
                                                   tables->embeddings.optimizer};
    for (int i = 0; i < 2; i++) {
        const Anthill__OptimizerSpec *spec = specs[i];
        assert_int_equal(spec->kind, expected_kind);
        assert_true(spec->rate == (i == 0 ? 0.5f : 6.0f));
        assert_true(spec->beta1 == 0.75f && spec->beta2 == 0.875f && spec->momentum == 0.125f);
        assert_true(spec->l1 == 1 && spec->l2 == 2 && spec->ftrl_beta == 3);
        assert_true(spec->clip_value == 4 && spec->clip_norm == 5);
        /* The schedule comes with each push. */
        assert_int_equal(spec->schedule, ANTHILL__SCHEDULE_KIND__SCHEDULE_CONSTANT);
    }
    assert_true(tables->weights.optimizer->epsilon == 0.25f);
    bool adagrad = expected_kind == ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD ||
                   expected_kind == ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD;
    assert_true(tables->embeddings.optimizer->epsilon == (adagrad ? 1e-10f : 0.25f));
}

static void each_table_has_its_optimizer(void **state)
{
    (void)state;
    static const Anthill__OptimizerKind kinds[] = {
        [CONFIG_SGD] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_SGD,
        [CONFIG_MOMENTUM] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_MOMENTUM,
        [CONFIG_ADAGRAD] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAGRAD,
        [CONFIG_ROWWISE_ADAGRAD] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ROWWISE_ADAGRAD,
        [CONFIG_ADAM] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAM,
        [CONFIG_ADAMW] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_ADAMW,
        [CONFIG_FTRL] = ANTHILL__OPTIMIZER_KIND__OPTIMIZER_FTRL,
    };
    for (size_t type = CONFIG_SGD; type <= CONFIG_FTRL; type++) {
        struct config config = {0};
        fill(&config);
        config.optimizer.type = config.embeddings.optimizer = (enum config_optimizer)type;
        config.optimizer.schedule = SCHEDULE_COSINE;
        expected_kind = kinds[type];
        with_tables(&config, check_optimizers);
    }
}

static void check_rows(const struct tables *tables)
{
    const Anthill__TableSpec *spec = &tables->embeddings;
    assert_int_equal(spec->storage, ANTHILL__STORAGE_KIND__STORAGE_BF16);
    assert_int_equal(spec->admit_after, 3);
    assert_int_equal(spec->evict, ANTHILL__EVICT_KIND__EVICT_AGE);
    assert_int_equal(spec->evict_seconds, 60);
    assert_int_equal(spec->bytes_max, 1 << 20);
    assert_int_equal(spec->rows_max, 99);
    assert_true(spec->versioned);
    assert_int_equal(tables->wire, ANTHILL__ENCODING__ENCODING_INT8);
    assert_int_equal(tables->cache_rows, 10);
    assert_int_equal(tables->cache_behind, 4);
}

static void check_plain_rows(const struct tables *tables)
{
    const Anthill__TableSpec *spec = &tables->embeddings;
    assert_int_equal(spec->storage, ANTHILL__STORAGE_KIND__STORAGE_F32);
    assert_int_equal(spec->evict, ANTHILL__EVICT_KIND__EVICT_NONE);
    assert_false(spec->versioned);
    assert_int_equal(tables->wire, ANTHILL__ENCODING__ENCODING_F32);
}

static void embeddings_have_what_their_section_says(void **state)
{
    (void)state;
    struct config config = {0};
    fill(&config);
    with_tables(&config, check_plain_rows);
    config.embeddings.storage = CONFIG_BF16;
    config.embeddings.wire = CONFIG_INT8;
    config.embeddings.admit_after = 3;
    config.embeddings.evict = CONFIG_EVICT_AGE;
    config.embeddings.evict_seconds = 60;
    config.embeddings.bytes_max = 1 << 20;
    config.embeddings.cache_rows = 10;
    config.embeddings.cache_behind = 4;
    config.servers.rows_max = 99;
    with_tables(&config, check_rows);
}

static uint32_t expected_staleness;
static bool expected_look_ahead;

static void check_look_ahead(const struct tables *tables)
{
    assert_int_equal(tables->look_ahead, expected_look_ahead);
    assert_int_equal(tables->embeddings.staleness, expected_staleness);
}

static void looking_ahead_stays_within_the_staleness_bound(void **state)
{
    (void)state;
    const struct {
        enum config_consistency mode;
        uint32_t staleness;
        bool wanted, look_ahead;
        uint32_t bound; /* of the table */
    } cases[] = {
        {CONFIG_ASYNC, 0, true, true, 0}, {CONFIG_ASYNC, 0, false, false, 0},
        {CONFIG_SSP, 0, true, false, 0},  {CONFIG_SSP, 1, true, true, 0},
        {CONFIG_SSP, 5, true, true, 4},   {CONFIG_SSP, 5, false, false, 5},
        {CONFIG_BSP, 0, true, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config config = {0};
        fill(&config);
        config.consistency.mode = cases[i].mode;
        config.consistency.staleness = cases[i].staleness;
        config.embeddings.look_ahead = cases[i].wanted;
        expected_staleness = cases[i].bound;
        expected_look_ahead = cases[i].look_ahead;
        with_tables(&config, check_look_ahead);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_table_has_its_optimizer),
        cmocka_unit_test(embeddings_have_what_their_section_says),
        cmocka_unit_test(looking_ahead_stays_within_the_staleness_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
