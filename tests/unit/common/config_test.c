/* Configurations: precedence, the text of each kind of error, and what is saved and loaded again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/file.h"
#include "tests/support/process.h"

static char folder[64], path[FILE_PATH_BYTES];

static int setup(void **state)
{
    (void)state;
    temporary_folder(folder);
    return file_path(path, NULL, "%s/x.yaml", folder) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

static void write_config(const char *yaml)
{
    assert_int_equal(file_write_atomic(path, yaml, strlen(yaml), NULL), STATUS_OK);
}

/* Loads the file (NULL: none) with up to two overrides, which must work. */
static struct config *load(const char *file, const char *first, const char *second)
{
    char *overrides[] = {(char *)first, (char *)second};
    size_t count = (size_t)(first != NULL) + (size_t)(second != NULL);
    struct config *config;
    struct error error = {0};
    enum status status = config_load(&config, file, overrides, count, &error);
    if (status != STATUS_OK) fail_msg("%s", error.text);
    return config;
}

/* The text of the error, with "PATH" in place of the file's path. */
static void expect_error(const char *file, const char *override, const char *text)
{
    char *overrides[] = {(char *) override};
    struct config *config;
    struct error error = {0};
    char expected[FILE_PATH_BYTES + ERROR_TEXT_BYTES];
    enum status status = config_load(&config, file, overrides, override != NULL, &error);
    bool has_path = strncmp(text, "PATH", 4) == 0;
    snprintf(expected, sizeof expected, "%s%s", has_path ? path : "", text + (has_path ? 4 : 0));
    assert_string_equal(error.text, expected);
    assert_int_equal(status, STATUS_CONFIG);
    assert_null(config);
}

static void expect_file_error(const char *yaml, const char *text)
{
    write_config(yaml);
    expect_error(path, NULL, text);
}

static void the_defaults_load_and_are_those_of_the_file(void **state)
{
    (void)state;
    struct config *config = load(NULL, NULL, NULL);
    assert_string_equal(config->run.name, "run");
    assert_int_equal(config->run.seed, 1);
    assert_int_equal(config->run.baseline_count, 0);
    assert_string_equal(config->graph.path, "");
    assert_true(config->graph.edges);
    assert_int_equal(config->sampler.fanouts_count, 2);
    assert_int_equal(config->sampler.fanouts[0], 15);
    assert_int_equal(config->sampler.fanouts[1], 10);
    assert_int_equal(config->model.layers_count, 0);
    assert_int_equal(config->train.batch, 1024);
    assert_int_equal(config->optimizer.type, CONFIG_ADAM);
    assert_true(config->optimizer.beta2 == 0.999f);
    assert_int_equal(config->consistency.mode, CONFIG_ASYNC);
    assert_int_equal(config->servers.slots, 1024);
    assert_int_equal(config->servers.replicas, 1);
    assert_true(config->network.timeout_seconds == 60.0f);
    assert_true(config->network.dead_seconds == 3.0f);
    assert_string_equal(config->expect.metric, "accuracy");
    config_destroy(config);
    config_destroy(NULL);
}

static void a_file_names_only_what_differs(void **state)
{
    (void)state;
    write_config("# comment\n"
                 "graph:\n"
                 "  import: svmlight --nodes a\n"
                 "    --edges b\n"
                 "sampler: {fanouts: [-1, 3, 4]}\n"
                 "train:\n" /* all its keys are commented out */
                 "model:\n"
                 "  layers:\n"
                 "    - {type: dropout, rate: 0.5}\n"
                 "    - {type: sage, units: 64, aggregate: max, relations: direction,\n"
                 "       weight_decay: 5.0e-4, no_bias: yes}\n"
                 "    - type: gcn\n");
    struct config *config = load(path, NULL, NULL);
    assert_string_equal(config->graph.import, "svmlight --nodes a --edges b");
    assert_int_equal(config->sampler.fanouts_count, 3);
    assert_int_equal(config->sampler.fanouts[0], -1);
    assert_int_equal(config->train.epochs, 10);
    assert_int_equal(config->model.layers_count, 3);
    const struct config_layer *layers = config->model.layers;
    assert_int_equal(layers[0].type, LAYER_DROPOUT);
    assert_true(layers[0].rate == 0.5f);
    assert_int_equal(layers[1].aggregate, AGGREGATE_MAX);
    assert_int_equal(layers[1].relations, RELATIONS_DIRECTION);
    assert_true(layers[1].no_bias && layers[1].weight_decay == 5e-4f);
    assert_int_equal(layers[2].type, LAYER_GCN);
    assert_int_equal(layers[2].aggregate, AGGREGATE_MEAN);
    assert_int_equal(layers[2].relations, RELATIONS_ALL);
    assert_int_equal(layers[2].units, 0);
    config_destroy(config);
    write_config("# nothing at all\n");
    config_destroy(load(path, NULL, NULL));
}

static void every_configuration_that_is_shipped_loads(void **state)
{
    (void)state;
    static const char *const names[] = {"defaults", "quickstart", "cora-sage", "cora-gcn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char shipped[FILE_PATH_BYTES];
        assert_int_equal(file_path(shipped, NULL, "%s/conf/%s.yaml", source_dir(), names[i]),
                         STATUS_OK);
        config_destroy(load(shipped, NULL, NULL));
    }
}

static void later_sources_win_over_earlier_ones(void **state)
{
    (void)state;
    write_config("train: {epochs: 2, batch: 2, lease: 2}\n");
    setenv("ANTHILL_TRAIN_BATCH", "3", 1);
    setenv("ANTHILL_TRAIN_LEASE", "3", 1);
    struct config *config = load(path, "train.lease=4", NULL);
    assert_int_equal(config->train.evaluate_every, 1); /* default */
    assert_int_equal(config->train.epochs, 2);         /* file */
    assert_int_equal(config->train.batch, 3);          /* environment */
    assert_int_equal(config->train.lease, 4);          /* override */
    config_destroy(config);
    config = load(path, "train.lease=4", "train.lease=5");
    assert_int_equal(config->train.lease, 5);
    config_destroy(config);
    unsetenv("ANTHILL_TRAIN_BATCH");
    unsetenv("ANTHILL_TRAIN_LEASE");
}

static void overrides_reach_lists_entries_and_whole_sections(void **state)
{
    (void)state;
    write_config("model: {layers: [{type: linear, units: 8}, {type: relu}]}\n");
    struct config *config = load(path, "sampler.fanouts=[4, 5, 6]", "sampler.fanouts.1=-1");
    assert_int_equal(config->sampler.fanouts_count, 3);
    assert_int_equal(config->sampler.fanouts[1], -1);
    assert_int_equal(config->sampler.fanouts[2], 6);
    config_destroy(config);
    config = load(path, "model.layers.0.units=32", "model.layers.0.weight_decay=0.5");
    assert_int_equal(config->model.layers[0].units, 32);
    assert_true(config->model.layers[0].weight_decay == 0.5f);
    assert_int_equal(config->model.layers[1].type, LAYER_RELU);
    config_destroy(config);
    config = load(path, "train={epochs: 3, batch: 4}", "model.layers=[{type: relu}]");
    assert_int_equal(config->train.epochs, 3);
    assert_int_equal(config->train.batch, 4);
    assert_string_equal(config->train.monitor, "accuracy");
    assert_int_equal(config->model.layers_count, 1);
    config_destroy(config);
}

static void text_in_overrides_is_taken_as_it_stands(void **state)
{
    (void)state;
    struct config *config = load(NULL, "graph.import=a: b #c = [d", "run.name='it''s'");
    assert_string_equal(config->graph.import, "a: b #c = [d");
    assert_string_equal(config->run.name, "it's");
    config_destroy(config);
    config = load(NULL, "expect.metric=", "run.baseline_name=~");
    assert_string_equal(config->expect.metric, "");
    assert_string_equal(config->run.baseline_name, "~");
    config_destroy(config);
}

static void unknown_keys_are_named_with_their_line(void **state)
{
    (void)state;
    expect_file_error("run:\n  name: a\ntrain:\n  batch: 3\n  epoch: 4\n",
                      "PATH:5: train.epoch: unknown key (in train: epochs, batch, lease, "
                      "evaluate_every, patience, monitor)");
    expect_file_error(
        "\ntrian: {}\n",
        "PATH:2: trian: unknown section (there are: run, graph, sampler, model, task, "
        "train, optimizer, embeddings, consistency, servers, workers, checkpoint, network, "
        "expect)");
    expect_file_error("model:\n  layers:\n    - type: relu\n    - type: linear\n      unit: 3\n",
                      "PATH:5: model.layers.1.unit: unknown key (in model.layers.1: type, units, "
                      "rate, aggregate, relations, no_bias, weight_decay)");
    expect_file_error("train: {[epochs]: 3}\n", "PATH:1: train: a key must be a word");
    expect_file_error("train:\n  epochs: 1\n  batch: 2\n  epochs: 3\n",
                      "PATH:4: train.epochs: stands twice");
}

static void values_of_a_wrong_type_are_named_with_their_line(void **state)
{
    (void)state;
    static const char *const values[][2] = {
        {"abc", "'abc' is not a whole number from 0 to 4294967295"},
        {"3.5", "'3.5' is not a whole number from 0 to 4294967295"},
        {"-1", "'-1' is not a whole number from 0 to 4294967295"},
        {"010", "'010' is not a whole number from 0 to 4294967295"},
        {"4294967296", "'4294967296' is not a whole number from 0 to 4294967295"},
        {"", "'' is not a whole number from 0 to 4294967295"},
        {"[1]", "a single value expected"},
        {"{a: 1}", "a single value expected"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char yaml[100], text[200];
        snprintf(yaml, sizeof yaml, "train:\n  epochs: %s\n", values[i][0]);
        snprintf(text, sizeof text, "PATH:2: train.epochs: %s", values[i][1]);
        expect_file_error(yaml, text);
    }
    expect_file_error("run: {seed: -1}\n", "PATH:1: run.seed: '-1' is not a whole number from 0 to "
                                           "18446744073709551615");
    expect_file_error("sampler:\n  fanouts:\n    - 1\n    - x\n",
                      "PATH:4: sampler.fanouts.1: 'x' is not a whole number from -2147483648 to "
                      "2147483647");
    expect_file_error("sampler: {fanouts: 3}\n", "PATH:1: sampler.fanouts: a list expected: [...]");
    expect_file_error("graph: {edges: flase}\n",
                      "PATH:1: graph.edges: 'flase' is neither true nor false");
    expect_file_error("optimizer: {rate: 0.1x}\n",
                      "PATH:1: optimizer.rate: '0.1x' is not a number");
    expect_file_error("optimizer: {rate: .nan}\n",
                      "PATH:1: optimizer.rate: '.nan' is not a number");
    expect_file_error("optimizer: {rate: inf}\n", "PATH:1: optimizer.rate: 'inf' is not a number");
    expect_file_error("optimizer: {rate: 1e39}\n",
                      "PATH:1: optimizer.rate: '1e39' is not a number");
    expect_file_error("optimizer: {type: Adam}\n",
                      "PATH:1: optimizer.type: 'Adam' is not one of sgd, momentum, adagrad, "
                      "rowwise_adagrad, adam, adamw, ftrl");
    expect_file_error("model: {layers: [{units: 3}]}\n", "PATH:1: model.layers.0.type: missing");
    expect_file_error("run: {name: \"a\\0b\"}\n", "PATH:1: run.name: a zero byte in the value");
    expect_file_error("workers: 3\n",
                      "PATH:1: workers: a mapping expected, with keys of: count, lease_seconds");
    expect_file_error("- a\n",
                      "PATH:1: a mapping expected, with keys of: run, graph, sampler, "
                      "model, task, train, optimizer, embeddings, consistency, servers, workers, "
                      "checkpoint, network, expect");
}

static void text_that_is_not_yaml_is_refused_with_its_line(void **state)
{
    (void)state;
    expect_file_error("run:\n  name: a\n train: {\n",
                      "PATH:3: not YAML: did not find expected key");
    expect_file_error("train: {}\n---\nrun: {}\n", "PATH:3: a second document; one is expected");
    expect_file_error("run: {name: a}\ntrain: \xff\n",
                      "PATH:2: not YAML: invalid leading UTF-8 octet");
    expect_file_error("run:\n  [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n",
                      "PATH:2: nested deeper than 16 levels");
    expect_file_error("run: &a {name: *a}\n", "PATH:1: run.name: a single value expected");
}

static void a_file_that_is_missing_is_named(void **state)
{
    (void)state;
    struct config *config;
    struct error error = {0};
    assert_int_equal(config_load(&config, path, NULL, 0, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, path));
    assert_null(config);
}

static void overrides_that_are_wrong_are_quoted(void **state)
{
    (void)state;
    expect_error(NULL, "train.epoch=3",
                 "--set train.epoch=3: unknown key (in train: epochs, batch, lease, "
                 "evaluate_every, patience, monitor)");
    expect_error(NULL, "epochs=3",
                 "--set epochs=3: unknown section (there are: run, graph, sampler, model, task, "
                 "train, optimizer, embeddings, consistency, servers, workers, checkpoint, "
                 "network, expect)");
    expect_error(NULL, "train.epochs", "--set train.epochs: key=value expected");
    expect_error(NULL, "train.monitor=f1",
                 "--set train.monitor=f1: train.monitor: \"f1\" is no metric: expected accuracy, "
                 "macro_f1 or loss");
    expect_error(NULL, "train.epochs.x=3",
                 "--set train.epochs.x=3: unknown key (train.epochs is a single value)");
    expect_error(NULL, "sampler.fanouts.x=3",
                 "--set sampler.fanouts.x=3: unknown key (sampler.fanouts is a list)");
    expect_error(NULL, "sampler.fanouts.2=3", "--set sampler.fanouts.2=3: there is no such entry");
    expect_error(NULL, "train.epochs=many",
                 "--set train.epochs=many: train.epochs: 'many' is not a whole number from 0 to "
                 "4294967295");
    expect_error(NULL, "train.epochs= # none", "--set train.epochs= # none: a value expected");
    expect_error(NULL, "sampler.fanouts=[1,",
                 "--set sampler.fanouts=[1,: not YAML: did not find expected node content");
    expect_error(NULL, "run.name=\xff", "--set run.name=\xff: not UTF-8");
    expect_error(NULL, "model.layers=[{type: gat}]",
                 "--set model.layers=[{type: gat}]: model.layers.0.type: 'gat' is not one of "
                 "linear, dropout, relu, sage, gcn");
}

static void variables_that_are_wrong_are_named(void **state)
{
    (void)state;
    setenv("ANTHILL_TRAIN_EPOCH", "3", 1);
    expect_error(NULL, NULL, "ANTHILL_TRAIN_EPOCH: unknown key (ANTHILL_<SECTION>_<KEY> expected)");
    unsetenv("ANTHILL_TRAIN_EPOCH");
    setenv("ANTHILL_TRAIN_EPOCHS", "0", 1);
    expect_error(NULL, NULL, "ANTHILL_TRAIN_EPOCHS=0: train.epochs: 0 is less than 1");
    setenv("ANTHILL_TRAIN_EPOCHS", "x", 1);
    expect_error(NULL, NULL,
                 "ANTHILL_TRAIN_EPOCHS=x: train.epochs: 'x' is not a whole number from 0 to "
                 "4294967295");
    unsetenv("ANTHILL_TRAIN_EPOCHS");
}

static void variables_of_kubernetes_services_are_not_configuration(void **state)
{
    (void)state;
    static const char *const variables[][2] = {
        {"ANTHILL_PS_SERVICE_HOST", "10.0.0.1"},
        {"ANTHILL_PS_SERVICE_PORT_STATS", "80"},
        {"ANTHILL_PS_PORT", "tcp://10.0.0.1:80"},
        {"ANTHILL_PS_PORT_80_TCP_ADDR", "10.0.0.1"},
    };
    for (size_t i = 0; i < 4; i++)
        setenv(variables[i][0], variables[i][1], 1);
    config_destroy(load(NULL, NULL, NULL));
    for (size_t i = 0; i < 4; i++)
        unsetenv(variables[i][0]);
    setenv("ANTHILL_PS_PORT", "80", 1);
    expect_error(NULL, NULL, "ANTHILL_PS_PORT: unknown key (ANTHILL_<SECTION>_<KEY> expected)");
    unsetenv("ANTHILL_PS_PORT");
}

static void values_out_of_range_are_named_with_who_set_them(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"train.batch=0", "train.batch: 0 is less than 1"},
        {"train.batch=16777217", "train.batch: 16777217 is more than 16777216"},
        {"train.monitor=", "train.monitor: empty"},
        {"run.dir=", "run.dir: empty"},
        {"sampler.fanouts=[5, -2]", "sampler.fanouts.1: -2 is less than -1 (all neighbours)"},
        {"optimizer.rate=0", "optimizer.rate: 0 is not greater than 0"},
        {"optimizer.beta1=1", "optimizer.beta1: 1 is not in [0, 1)"},
        {"optimizer.warmup=1.5", "optimizer.warmup: 1.5 is not in [0, 1]"},
        {"optimizer.momentum=1", "optimizer.momentum: 1 is not in [0, 1)"},
        {"optimizer.l1=-1", "optimizer.l1: -1 is less than 0"},
        {"optimizer.l2=-1", "optimizer.l2: -1 is less than 0"},
        {"optimizer.ftrl_beta=0", "optimizer.ftrl_beta: 0 is not greater than 0"},
        {"optimizer.clip_value=-1", "optimizer.clip_value: -1 is less than 0"},
        {"optimizer.clip_norm=-1", "optimizer.clip_norm: -1 is less than 0"},
        {"embeddings.storage=int8", "embeddings.storage: 'int8' is not one of f32, bf16"},
        {"embeddings.wire=f16", "embeddings.wire: 'f16' is not one of f32, bf16, int8"},
        {"embeddings.admit_after=256", "embeddings.admit_after: 256 is more than 255"},
        {"embeddings.evict=age",
         "embeddings.evict: nothing to evict for: servers.rows_max, embeddings.bytes_max and "
         "embeddings.evict_seconds are 0"},
        {"embeddings.cache_behind=3", "embeddings.cache_behind: 3, but embeddings.cache_rows is 0"},
        {"servers.count=0", "servers.count: 0 is less than 1"},
        {"servers.count=1025", "servers.count: 1025 is more than 1024"},
        {"servers.slots=1", "servers.slots: 1 is less than the 2 shards of all servers"},
        {"servers.replicas=0", "servers.replicas: 0 is less than 1"},
        {"servers.replicas=3", "servers.replicas: 3 is more than 2"},
        {"network.dead_seconds=1.5", "network.dead_seconds: 1.5 is less than 2"},
        {"consistency.staleness=2", "consistency.staleness: 2, but consistency.mode is not ssp"},
        {"consistency.clock_batches=4",
         "consistency.clock_batches: 4, but consistency.mode is not bsp"},
        {"workers.count=0", "workers.count: 0 is less than 1"},
        {"workers.lease_seconds=0", "workers.lease_seconds: 0 is not greater than 0"},
        {"checkpoint.every_seconds=-1", "checkpoint.every_seconds: -1 is less than 0"},
        {"checkpoint.keep=0", "checkpoint.keep: 0 is less than 1"},
        {"network.timeout_seconds=0", "network.timeout_seconds: 0 is not greater than 0"},
        {"model.layers=[{type: dropout, rate: 1}]", "model.layers.0.rate: 1 is not in [0, 1)"},
        {"model.layers=[{type: relu, units: 3}]",
         "model.layers.0.units: has no effect on a layer of this type"},
        {"model.layers=[{type: gcn, aggregate: max}]",
         "model.layers.0.aggregate: has no effect on a layer of this type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        snprintf(text, sizeof text, "--set %s: %s", cases[i][0], cases[i][1]);
        expect_error(NULL, cases[i][0], text);
    }
    expect_file_error("servers: {count: 1, replicas: 2}\n",
                      "PATH:1: servers.replicas: 2, but servers.count is 1: each replica of a "
                      "shard is on another server");
    expect_file_error("servers: {replicas: 2}\nnetwork:\n  timeout_seconds: 3\n",
                      "PATH: network.dead_seconds: 3 is not less than network.timeout_seconds (3)");
    expect_file_error("train:\n  epochs: 3\n  batch: 0\n", "PATH:3: train.batch: 0 is less than 1");
    expect_file_error("model:\n  layers:\n  - type: sage\n  - type: gcn\n  - type: sage\n",
                      "PATH: sampler.fanouts: 2 hops, but model.layers has 3 sage or gcn layers");
    struct config *config = load(NULL, "consistency.staleness=2", "consistency.mode=ssp");
    assert_int_equal(config->consistency.staleness, 2);
    config_destroy(config);
    config = load(path, "graph.edges=false", NULL); /* then no hop is sampled */
    config_destroy(config);
    expect_file_error("optimizer: {type: ftrl}\nmodel:\n  layers:\n"
                      "  - {type: linear, weight_decay: 0.5}\n",
                      "PATH:4: model.layers.0.weight_decay: 0.5, but optimizer.type is ftrl, which "
                      "has optimizer.l2 in its place");
}

static void a_section_describes_the_table_of_embeddings(void **state)
{
    (void)state;
    struct config *config = load(NULL, NULL, NULL);
    assert_int_equal(config->embeddings.optimizer, CONFIG_ADAGRAD);
    assert_int_equal(config->embeddings.storage, CONFIG_F32);
    assert_int_equal(config->embeddings.wire, CONFIG_F32);
    assert_int_equal(config->embeddings.evict, CONFIG_EVICT_NONE);
    assert_true(config->embeddings.look_ahead);
    assert_true(config->optimizer.embedding_rate == 0.1f);
    config_destroy(config);
    write_config("embeddings: {optimizer: ftrl, storage: bf16, wire: int8, admit_after: 3,\n"
                 "  evict: age, evict_seconds: 60, bytes_max: 9000000000,\n"
                 "  cache_rows: 5000000000, cache_behind: 4, look_ahead: false}\n");
    config = load(path, NULL, NULL);
    assert_int_equal(config->embeddings.optimizer, CONFIG_FTRL);
    assert_int_equal(config->embeddings.storage, CONFIG_BF16);
    assert_int_equal(config->embeddings.wire, CONFIG_INT8);
    assert_int_equal(config->embeddings.admit_after, 3);
    assert_int_equal(config->embeddings.evict, CONFIG_EVICT_AGE);
    assert_int_equal(config->embeddings.evict_seconds, 60);
    assert_true(config->embeddings.bytes_max == UINT64_C(9000000000));
    assert_true(config->embeddings.cache_rows == UINT64_C(5000000000));
    assert_int_equal(config->embeddings.cache_behind, 4);
    assert_false(config->embeddings.look_ahead);
    config_destroy(config);
    /* A limit of rows is a reason to evict, too. */
    config = load(NULL, "embeddings.evict=age", "servers.rows_max=10");
    config_destroy(config);
    write_config("servers: {rows_max: 10}\nembeddings: {evict: score, evict_seconds: 60}\n");
    struct error error = {0};
    assert_int_equal(config_load(&config, path, NULL, 0, &error), STATUS_CONFIG);
    assert_non_null(strstr(error.text, "embeddings.evict_seconds: 60, but with"));
}

static void the_run_to_compare_with_is_checked_too(void **state)
{
    (void)state;
    write_config("run:\n  baseline: [\"graph.edges=false\", train.batch=3]\n");
    struct config *config = load(path, NULL, NULL);
    assert_int_equal(config->run.baseline_count, 2);
    assert_string_equal(config->run.baseline[1], "train.batch=3");
    assert_true(config->graph.edges);
    assert_int_equal(config->train.batch, 1024);
    config_destroy(config);
    expect_file_error("run:\n  baseline: [graph.edge=false]\n",
                      "run.baseline: graph.edge=false: unknown key (in graph: path, import, edges, "
                      "split)");
    expect_file_error("run:\n  baseline: [train.batch=0]\n",
                      "run.baseline: train.batch=0: train.batch: 0 is less than 1");
}

static char *read_text(const char *file)
{
    char *text;
    size_t bytes;
    assert_int_equal(file_read_all(file, 1 << 20, &text, &bytes, NULL), STATUS_OK);
    return text;
}

static void what_is_saved_loads_as_the_same(void **state)
{
    (void)state;
    char first[FILE_PATH_BYTES], second[FILE_PATH_BYTES];
    struct error error = {0};
    assert_int_equal(file_path(first, NULL, "%s/1.yaml", folder), STATUS_OK);
    assert_int_equal(file_path(second, NULL, "%s/2.yaml", folder), STATUS_OK);
    write_config(
        "run:\n"
        "  name: \"a: b # \\\"c\\\" \\u00e9\\n\"\n"
        "  seed: 18446744073709551615\n"
        "  baseline: [graph.edges=false, \"run.name=x: y\"]\n"
        "graph: {import: ' - x', path: 'null'}\n"
        "sampler: {fanouts: [-1, 0]}\n"
        "model: {layers: [{type: sage, units: 7, relations: type, weight_decay: 1.1e-7}]}\n"
        "optimizer: {rate: 0.1, epsilon: 1.17549435e-38, beta2: 0.99999994, l1: 1.1e-7}\n"
        "embeddings: {optimizer: rowwise_adagrad, wire: bf16, cache_rows: 7}\n");
    struct config *config = load(path, NULL, NULL);
    assert_int_equal(config_save(config, first, &error), STATUS_OK);
    struct config *again = load(first, NULL, NULL);
    assert_string_equal(again->run.name, "a: b # \"c\" \xc3\xa9\n");
    assert_true(again->run.seed == UINT64_MAX);
    assert_string_equal(again->run.baseline[1], "run.name=x: y");
    assert_string_equal(again->graph.import, " - x");
    assert_string_equal(again->graph.path, "null");
    assert_int_equal(again->sampler.fanouts[0], -1);
    assert_memory_equal(&again->optimizer, &config->optimizer, sizeof config->optimizer);
    assert_memory_equal(&again->embeddings, &config->embeddings, sizeof config->embeddings);
    assert_memory_equal(again->model.layers, config->model.layers, sizeof *config->model.layers);
    assert_int_equal(config_save(again, second, &error), STATUS_OK);
    char *left = read_text(first), *right = read_text(second);
    assert_string_equal(left, right);
    assert_non_null(strstr(left, "rate: 0.1\n"));
    free(left);
    free(right);
    config_destroy(config);
    config_destroy(again);
    config = load(NULL, NULL, NULL);
    assert_int_equal(config_save(config, "/nowhere/run.yaml", &error), STATUS_NOT_FOUND);
    config_destroy(config);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(the_defaults_load_and_are_those_of_the_file),
        IN_FOLDER(a_file_names_only_what_differs),
        IN_FOLDER(every_configuration_that_is_shipped_loads),
        IN_FOLDER(later_sources_win_over_earlier_ones),
        IN_FOLDER(overrides_reach_lists_entries_and_whole_sections),
        IN_FOLDER(text_in_overrides_is_taken_as_it_stands),
        IN_FOLDER(unknown_keys_are_named_with_their_line),
        IN_FOLDER(values_of_a_wrong_type_are_named_with_their_line),
        IN_FOLDER(text_that_is_not_yaml_is_refused_with_its_line),
        IN_FOLDER(a_file_that_is_missing_is_named),
        IN_FOLDER(overrides_that_are_wrong_are_quoted),
        IN_FOLDER(variables_that_are_wrong_are_named),
        IN_FOLDER(variables_of_kubernetes_services_are_not_configuration),
        IN_FOLDER(values_out_of_range_are_named_with_who_set_them),
        IN_FOLDER(a_section_describes_the_table_of_embeddings),
        IN_FOLDER(the_run_to_compare_with_is_checked_too),
        IN_FOLDER(what_is_saved_loads_as_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
