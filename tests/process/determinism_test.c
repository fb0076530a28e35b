/* The same run again, with real processes: with one worker, and with more of them that take turns.
 */
#include <math.h>

#include "tests/process/launch_fixture.h"

/* Cora in 14 batches an epoch; two evaluations. */
static void init(struct launch *launch, const char *workers)
{
    launch_init(launch, "conf/cora-sage.yaml");
    set(launch, "servers.count=2");
    set(launch, workers);
    set(launch, "train.epochs=4");
    set(launch, "train.batch=10");
    set(launch, "model.embedding=8");
    set(launch, "checkpoint.every_seconds=0");
    set(launch, "expect.value=0");
}

static char *read_metrics(const struct launch *launch)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    assert_int_equal(file_path(path, NULL, "%s/metrics.jsonl", launch->run_dir), STATUS_OK);
    assert_int_equal(file_read_all(path, 1 << 20, &text, &bytes, NULL), STATUS_OK);
    return text;
}

static const struct {
    const char *after, *name;
} numbers[] = {{NULL, "epoch"},           {NULL, "loss"},        {"\"valid\"", "accuracy"},
               {"\"valid\"", "macro_f1"}, {"\"valid\"", "loss"}, {"\"test\"", "accuracy"},
               {"\"test\"", "macro_f1"},  {"\"test\"", "loss"}};

/* Every loss and metric of both runs, line by line, differs by no more than `share` of it. */
static void expect_same_metrics(const struct launch *a, const struct launch *b, double share)
{
    char *text[2] = {read_metrics(a), read_metrics(b)}, *rest[2] = {NULL, NULL};
    char *line[2] = {strtok_r(text[0], "\n", &rest[0]), strtok_r(text[1], "\n", &rest[1])};
    unsigned lines = 0;
    for (; line[0] != NULL && line[1] != NULL; lines++) {
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            double x = json_number(line[0], numbers[i].after, numbers[i].name);
            double y = json_number(line[1], numbers[i].after, numbers[i].name);
            if (fabs(x - y) <= share * fabs(x)) continue;
            fail_msg("%s: %.17g and %.17g in\n%s\n%s", numbers[i].name, x, y, line[0], line[1]);
        }
        for (unsigned i = 0; i < 2; i++)
            line[i] = strtok_r(NULL, "\n", &rest[i]);
    }
    assert_true(line[0] == NULL && line[1] == NULL);
    assert_true(lines >= 6);
    free(text[0]);
    free(text[1]);
}

/* One line for each array of keys and rows in the run's checkpoints: its checksum and name. */
static void sum_tables(const struct launch *launch, struct process *process)
{
    char command[512];
    snprintf(command, sizeof command,
             "cd %s/checkpoints && find . -name 'table-*.npy' | LC_ALL=C sort | xargs sha256sum",
             launch->run_dir);
    const char *argv[] = {"sh", "-c", command, NULL};
    assert_int_equal(process_run(process, NULL, 60, argv), 0);
}

static void run_twice(const char *mode, const char *more)
{
    struct launch launches[2];
    struct process sums[2] = {{0}, {0}};
    for (unsigned i = 0; i < 2; i++) {
        struct process process = {0};
        init(&launches[i], "workers.count=1");
        set(&launches[i], mode);
        set(&launches[i], more);
        run_to_the_end(&launches[i], &process);
        process_deinit(&process);
        sum_tables(&launches[i], &sums[i]);
    }
    expect_same_metrics(&launches[0], &launches[1], 0);
    assert_non_null(strstr(sums[0].out, "table-1-rows.npy"));
    assert_string_equal(sums[0].out, sums[1].out);
    for (unsigned i = 0; i < 2; i++) {
        process_deinit(&sums[i]);
        remove_folder(launches[i].folder);
    }
}

static void two_async_runs_of_one_worker_give_equal_bytes(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    run_twice("consistency.mode=async", "optimizer.schedule=cosine");
}

static void two_bsp_runs_of_one_worker_give_equal_bytes(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    run_twice("consistency.mode=bsp", "embeddings.storage=bf16");
}

static void one_worker_and_four_give_the_same_losses_over_the_same_leases(void **state)
{
    (void)state;
    static const char *const workers[] = {"workers.count=1", "workers.count=4", "workers.count=3"};
    if (shared_data("cora") == NULL) skip();
    struct launch launches[3];
    for (unsigned i = 0; i < 3; i++) {
        struct process process = {0};
        init(&launches[i], workers[i]);
        set(&launches[i], "consistency.mode=bsp");
        set(&launches[i], "consistency.clock_batches=4");
        run_to_the_end(&launches[i], &process);
        process_deinit(&process);
    }
    /* Sums in another order: a few units in the last place, which training lets grow. */
    expect_same_metrics(&launches[0], &launches[1], 1e-4);
    expect_same_metrics(&launches[0], &launches[2], 1e-4);
    for (unsigned i = 0; i < 3; i++)
        remove_folder(launches[i].folder);
}

static void the_turns_of_a_worker_that_dies_are_taken_by_others(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process process = {0};
    init(&launch, "workers.count=3");
    set(&launch, "train.epochs=80");
    set(&launch, "consistency.mode=bsp");
    set(&launch, "consistency.clock_batches=6");
    set(&launch, "workers.lease_seconds=2");
    process_start(&process, source_dir(), launch.argv);
    await_progress(&launch, 3);
    kill_role(&launch, "worker-1");
    int code = process_wait(&process, 240);
    if (code != 0) show(&process);
    assert_int_equal(code, 0);
    const char *result = last_line(process.out);
    assert_non_null(strstr(result, "\"status\":\"ok\""));
    assert_true(json_number(result, NULL, "workers_lost") == 1);
    assert_true(json_number(result, NULL, "seeds") == 80 * 140);
    process_deinit(&process);
    remove_folder(launch.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_async_runs_of_one_worker_give_equal_bytes),
        cmocka_unit_test(two_bsp_runs_of_one_worker_give_equal_bytes),
        cmocka_unit_test(one_worker_and_four_give_the_same_losses_over_the_same_leases),
        cmocka_unit_test(the_turns_of_a_worker_that_dies_are_taken_by_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
