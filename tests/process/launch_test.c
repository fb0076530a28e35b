/* Whole runs through launch.sh: the shipped binaries as processes of their own, on Cora. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/process/launch_fixture.h"

/* What a two-layer GCN reaches on Cora's public split, less three points for a single seed; a
 * model that ignores the graph stays below 0.6. */
#define CORA_FLOOR 0.785

static void a_run_on_cora_reaches_the_published_accuracy(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process process = {0};
    launch_init(&launch, "conf/cora-gcn.yaml");
    run_to_the_end(&launch, &process);
    const char *result = last_line(process.out);
    assert_non_null(strstr(result, "\"status\":\"ok\""));
    assert_non_null(strstr(result, "\"task\":\"node-classification\""));
    assert_true(json_number(result, "\"test\"", "accuracy") >= CORA_FLOOR);
    assert_true(json_number(result, NULL, "epochs") == 200);
    assert_true(json_number(result, NULL, "seconds") > 0);
    process_deinit(&process);
    remove_folder(launch.folder);
}

static void eval_and_infer_agree_with_the_result_of_the_run(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process process = {0}, eval = {0}, infer = {0}, over = {0};
    launch_init(&launch, "conf/cora-sage.yaml");
    set(&launch, "model.embedding=8");
    set(&launch, "train.epochs=30");
    set(&launch, "expect.value=0");
    run_to_the_end(&launch, &process);
    char program[256], path[256];
    snprintf(program, sizeof program, "%s/anthill-worker", bin_dir());
    const char *eval_argv[] = {program, "eval", launch.run_dir, NULL};
    assert_int_equal(process_run(&eval, source_dir(), 60, eval_argv), 0);
    double expected = json_number(last_line(process.out), "\"test\"", "accuracy");
    assert_float_equal(json_number(eval.out, "\"test\"", "accuracy"), expected, 1e-6);
    const char *infer_argv[] = {program, "infer", launch.run_dir, NULL};
    assert_int_equal(process_run(&infer, source_dir(), 60, infer_argv), 0);
    static const char *const names[] = {"node_ids", "predictions", "probabilities", "embeddings"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/export/%s.npy", launch.run_dir, names[i]);
        assert_true(file_exists(path));
    }
    /* Only an earlier export is replaced: here, the folder that holds the run. */
    const char *over_argv[] = {program, "infer", launch.run_dir, "--out", launch.folder, NULL};
    assert_int_equal(process_run(&over, source_dir(), 60, over_argv), 77);
    assert_non_null(strstr(over.err, "not replaced"));
    assert_true(file_exists(path));
    process_deinit(&process);
    process_deinit(&eval);
    process_deinit(&infer);
    process_deinit(&over);
    remove_folder(launch.folder);
}

static void start_for_kills(struct launch *launch, struct process *process, const char *epochs)
{
    launch_init(launch, "conf/cora-gcn.yaml");
    set(launch, epochs);
    set(launch, "workers.lease_seconds=2");
    set(launch, "checkpoint.every_seconds=0.2");
    process_start(process, source_dir(), launch->argv);
}

static void a_run_survives_the_death_of_each_kind_of_process(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process process = {0};
    start_for_kills(&launch, &process, "train.epochs=5000");
    static const char *const roles[] = {"worker-0", "server-1", "coordinator", "worker-1",
                                        "server-0"};
    await_progress(&launch, 20);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        kill_role(&launch, roles[i]);
        await_progress(&launch, lines_now(&launch) + 20);
    }
    int code = process_wait(&process, 240);
    if (code != 0) show(&process);
    assert_int_equal(code, 0);
    const char *result = last_line(process.out);
    assert_true(json_number(result, "\"test\"", "accuracy") >= CORA_FLOOR);
    assert_true(json_number(result, NULL, "epochs") == 5000);
    assert_true(json_number(result, NULL, "servers_restarted") >= 2);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        char said[64];
        snprintf(said, sizeof said, "%s died", roles[i]);
        assert_non_null(strstr(process.err, said));
    }
    process_deinit(&process);
    remove_folder(launch.folder);
}

/* launch.sh learns of all of them in one moment. */
static void processes_that_die_at_once_are_all_started_again(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process process = {0};
    start_for_kills(&launch, &process, "train.epochs=1000");
    static const char *const roles[] = {"worker-0", "server-1", "coordinator", "worker-1"};
    await_progress(&launch, 20);
    assert_int_equal(kill(process.pid, SIGSTOP), 0);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        kill_role(&launch, roles[i]);
    assert_int_equal(kill(process.pid, SIGCONT), 0);
    int code = process_wait(&process, 240);
    if (code != 0) show(&process);
    assert_int_equal(code, 0);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        char said[64];
        snprintf(said, sizeof said, "%s died", roles[i]);
        assert_non_null(strstr(process.err, said));
    }
    process_deinit(&process);
    remove_folder(launch.folder);
}

static void a_table_without_room_ends_the_run_with_its_name(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process process = {0};
    launch_init(&launch, "conf/cora-sage.yaml");
    set(&launch, "model.embedding=4");
    set(&launch, "servers.rows_max=5");
    assert_int_equal(process_run(&process, source_dir(), 60, launch.argv), 75);
    assert_non_null(strstr(last_line(process.out), "rows_max 5"));
    assert_non_null(strstr(process.out, "\"status\":\"failed\""));
    process_deinit(&process);
    remove_folder(launch.folder);
}

/* The answer of a process's stats endpoint, whose port stands in its log; empty when it is not
 * there yet. */
static void ask_stats(const struct launch *launch, const char *role, char *answer, size_t bytes)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t log_bytes = 0, used = 0;
    answer[0] = '\0';
    assert_int_equal(file_path(path, NULL, "%s/logs/%s.log", launch->run_dir, role), STATUS_OK);
    if (file_read_all(path, 16 << 20, &text, &log_bytes, NULL) != STATUS_OK) return;
    static const char mark[] = "stats_listening address=127.0.0.1:";
    const char *place = strstr(text, mark);
    long port = place != NULL ? strtol(place + strlen(mark), NULL, 10) : 0;
    free(text);
    if (port == 0) return;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0 &&
        write(descriptor, request, sizeof request - 1) == sizeof request - 1) {
        for (ssize_t got; (got = read(descriptor, answer + used, bytes - 1 - used)) > 0;)
            used += (size_t)got;
    }
    answer[used] = '\0';
    close(descriptor);
}

/* Runs launch.sh and demands an exit code and pieces of text on stderr; the run's folder must not
 * have come to be. */
static void expect_refusal(struct launch *launch, int code, const char *const *pieces)
{
    struct process process = {0};
    int got = process_run(&process, source_dir(), 120, launch->argv);
    if (got != code) show(&process);
    assert_int_equal(got, code);
    for (; *pieces != NULL; pieces++) {
        if (strstr(process.err, *pieces) == NULL) show(&process);
        assert_non_null(strstr(process.err, *pieces));
    }
    assert_false(file_exists(launch->run_dir));
    process_deinit(&process);
    remove_folder(launch->folder);
}

static double metric_in(const char *answer, const char *name)
{
    const char *place = strstr(answer, name);
    return place != NULL ? strtod(place + strlen(name), NULL) : 0;
}

/* Rows were kept, left out by the servers, and counted. */
static bool has_cache_metrics(void *context)
{
    static char answer[1 << 16];
    ask_stats(context, "worker-0", answer, sizeof answer);
    double hits = metric_in(answer, "\nanthill_worker_cache_rows_total{result=\"hit\"} ");
    double misses = metric_in(answer, "\nanthill_worker_cache_rows_total{result=\"miss\"} ");
    double saved = metric_in(answer, "\nanthill_worker_cache_saved_bytes_total ");
    double kept = metric_in(answer, "\nanthill_worker_cache_rows ");
    return hits > 0 && misses > 0 && saved > 0 && kept > 0 && kept <= 400;
}

static void a_run_with_kept_rows_in_a_short_form_trains_to_the_end(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process process = {0};
    launch_init(&launch, "conf/cora-sage.yaml");
    set(&launch, "network.transport=tcp");
    set(&launch, "model.embedding=8");
    set(&launch, "embeddings={cache_rows: 400, cache_behind: 8, wire: bf16}");
    set(&launch, "train={epochs: 40, batch: 10, evaluate_every: 20}");
    set(&launch, "expect.value=0.6");
    process_start(&process, source_dir(), launch.argv);
    assert_true(await(has_cache_metrics, &launch, 60));
    int code = process_wait(&process, 120);
    if (code != 0) show(&process);
    assert_int_equal(code, 0);
    assert_true(json_number(last_line(process.out), NULL, "epochs") == 40);
    process_deinit(&process);
    remove_folder(launch.folder);
}

static void an_unknown_key_is_named_with_file_and_line(void **state)
{
    (void)state;
    struct launch launch;
    char path[128] = "";
    launch_init(&launch, path);
    snprintf(path, sizeof path, "%s/wrong.yaml", launch.folder);
    static const char yaml[] = "run:\n  name: x\ntrain:\n  epoch: 3\n";
    assert_int_equal(file_write_atomic(path, yaml, sizeof yaml - 1, NULL), STATUS_OK);
    expect_refusal(&launch, 78, (const char *[]){"wrong.yaml:4", "train.epoch", NULL});
}

static void a_model_that_does_not_fit_the_graph_is_refused(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    launch_init(&launch, "conf/cora-gcn.yaml");
    set(&launch, "model.layers.4.units=5");
    expect_refusal(&launch, 78, (const char *[]){"5", "7", NULL});
}

static void a_fanout_too_few_is_refused(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    launch_init(&launch, "conf/cora-gcn.yaml");
    set(&launch, "sampler.fanouts=[5]");
    expect_refusal(&launch, 78, (const char *[]){"sampler.fanouts", "2 sage or gcn layers", NULL});
}

static void a_missing_label_names_the_node(void **state)
{
    (void)state;
    struct launch launch;
    char nodes[128], edges[128], import[512];
    launch_init(&launch, "conf/cora-gcn.yaml");
    snprintf(nodes, sizeof nodes, "%s/nodes.csv", launch.folder);
    snprintf(edges, sizeof edges, "%s/edges.csv", launch.folder);
    static const char node_rows[] = "id,label,split,f0,f1\n10,0,train,1,0\n11,,train,0,1\n"
                                    "12,1,valid,1,1\n13,1,test,0,0.5\n";
    static const char edge_rows[] = "src,dst\n10,11\n11,12\n12,13\n";
    assert_int_equal(file_write_atomic(nodes, node_rows, sizeof node_rows - 1, NULL), STATUS_OK);
    assert_int_equal(file_write_atomic(edges, edge_rows, sizeof edge_rows - 1, NULL), STATUS_OK);
    snprintf(import, sizeof import, "graph.import=edges --edges %s --header --nodes %s --symmetric",
             edges, nodes);
    set(&launch, import);
    expect_refusal(&launch, 65, (const char *[]){"node 11", "label", NULL});
}

static void a_server_that_is_not_there_is_named_within_the_deadline(void **state)
{
    (void)state;
    if (shared_data("cora") == NULL) skip();
    struct launch launch;
    struct process import = {0}, worker = {0};
    char program[256];
    launch_init(&launch, "conf/cora-gcn.yaml");
    snprintf(program, sizeof program, "%s/anthill-graph", bin_dir());
    const char *import_argv[] = {program, "import",           "--config", "conf/cora-gcn.yaml",
                                 "--set", launch.settings[1], NULL};
    assert_int_equal(process_run(&import, source_dir(), 60, import_argv), 0);
    snprintf(program, sizeof program, "%s/anthill-worker", bin_dir());
    const char *worker_argv[] = {program,
                                 "train",
                                 "conf/cora-gcn.yaml",
                                 "--coordinator",
                                 "ipc:///tmp/anthill-test-nobody",
                                 "--set",
                                 launch.settings[1],
                                 "--set",
                                 "network.timeout_seconds=1",
                                 NULL};
    assert_int_equal(process_run(&worker, source_dir(), 30, worker_argv), 69);
    assert_non_null(strstr(worker.err, "ipc:///tmp/anthill-test-nobody"));
    process_deinit(&import);
    process_deinit(&worker);
    remove_folder(launch.folder);
}

static bool is_there(void *context)
{
    return file_exists(context);
}

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    struct launch launch;
    struct process first = {0}, second = {0};
    char program[256], endpoint_file[192], run_dir[192];
    launch_init(&launch, "unused");
    snprintf(program, sizeof program, "%s/anthill-ps", bin_dir());
    snprintf(endpoint_file, sizeof endpoint_file, "%s/coordinator.endpoint", launch.run_dir);
    snprintf(run_dir, sizeof run_dir, "run.dir=%s/second", launch.folder);
    const char *first_argv[] = {program,
                                "coordinator",
                                "conf/cora-gcn.yaml",
                                "--set",
                                launch.settings[0],
                                "--endpoint",
                                "tcp://127.0.0.1:*",
                                NULL};
    process_start(&first, source_dir(), first_argv);
    assert_true(await(is_there, endpoint_file, 20));
    char *endpoint = NULL;
    size_t bytes = 0;
    assert_int_equal(file_read_all(endpoint_file, 4096, &endpoint, &bytes, NULL), STATUS_OK);
    endpoint[strcspn(endpoint, "\n")] = '\0';
    const char *second_argv[] = {program,  "coordinator", "conf/cora-gcn.yaml",
                                 "--set",  run_dir,       "--endpoint",
                                 endpoint, NULL};
    assert_int_equal(process_run(&second, source_dir(), 20, second_argv), 69);
    assert_non_null(strstr(second.err, endpoint));
    free(endpoint);
    process_deinit(&first);
    process_deinit(&second);
    remove_folder(launch.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_on_cora_reaches_the_published_accuracy),
        cmocka_unit_test(eval_and_infer_agree_with_the_result_of_the_run),
        cmocka_unit_test(a_run_survives_the_death_of_each_kind_of_process),
        cmocka_unit_test(processes_that_die_at_once_are_all_started_again),
        cmocka_unit_test(a_table_without_room_ends_the_run_with_its_name),
        cmocka_unit_test(a_run_with_kept_rows_in_a_short_form_trains_to_the_end),
        cmocka_unit_test(an_unknown_key_is_named_with_file_and_line),
        cmocka_unit_test(a_model_that_does_not_fit_the_graph_is_refused),
        cmocka_unit_test(a_fanout_too_few_is_refused),
        cmocka_unit_test(a_missing_label_names_the_node),
        cmocka_unit_test(a_server_that_is_not_there_is_named_within_the_deadline),
        cmocka_unit_test(a_port_in_use_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
