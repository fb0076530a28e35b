/* `anthill-ps export`, `import` and `delete` on a coordinator and a server of their own; the test
 * is the only client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/npy.h"
#include "common/transport.h"
#include "ps/client/client.h"
#include "tests/support/process.h"

enum { KEYS = 1000, DIM = 3, WAIT_SECONDS = 20 };

struct run {
    char folder[64], dir[96], endpoint[256], program[256];
    struct process coordinator, server;
};

static bool is_there(void *context)
{
    return file_exists(context);
}

static void start(struct run *run)
{
    *run = (struct run){0};
    char note[128], run_dir[128];
    char *endpoint = NULL;
    size_t bytes = 0;
    temporary_folder(run->folder);
    snprintf(run->dir, sizeof run->dir, "%s/run", run->folder);
    snprintf(run->program, sizeof run->program, "%s/anthill-ps", bin_dir());
    snprintf(run_dir, sizeof run_dir, "run.dir=%s", run->dir);
    snprintf(note, sizeof note, "%s/coordinator.endpoint", run->dir);
    const char *config = "conf/cora-gcn.yaml", *program = run->program;
    const char *coordinator[] = {
        program, "coordinator",      config, "--set", run_dir, "--set", "servers.count=1",
        "--set", "servers.shards=2", NULL};
    process_start(&run->coordinator, source_dir(), coordinator);
    assert_true(await(is_there, note, WAIT_SECONDS));
    assert_int_equal(file_read_all(note, sizeof run->endpoint - 1, &endpoint, &bytes, NULL),
                     STATUS_OK);
    snprintf(run->endpoint, sizeof run->endpoint, "%s", endpoint);
    run->endpoint[strcspn(run->endpoint, "\n")] = '\0';
    free(endpoint);
    const char *server[] = {
        program, "serve", config,  "--coordinator",   run->endpoint, "--server",         "0",
        "--set", run_dir, "--set", "servers.count=1", "--set",       "servers.shards=2", NULL};
    process_start(&run->server, source_dir(), server);
}

/* Whatever has become of the test, nothing is left running. */
static int end(void **state)
{
    struct run *run = *state;
    process_deinit(&run->server);
    process_deinit(&run->coordinator);
    remove_folder(run->folder);
    return 0;
}

/* Row i of the table is {i, 2i, 3i}. */
static void fill_table(struct run *run, const char *name)
{
    struct client *client;
    struct error error = {0};
    const struct client_options options = {
        .coordinator = run->endpoint, .name = "test", .timeout_ns = WAIT_SECONDS * NS_PER_S};
    if (client_open(&client, &options, &error) != STATUS_OK) fail_msg("%s", error.text);
    Anthill__OptimizerSpec optimizer = ANTHILL__OPTIMIZER_SPEC__INIT;
    optimizer.rate = 1;
    Anthill__TableSpec spec = ANTHILL__TABLE_SPEC__INIT;
    spec.name = (char *)name;
    spec.dim = DIM;
    spec.optimizer = &optimizer;
    uint32_t table;
    uint64_t keys[KEYS], ticket;
    static float values[KEYS][DIM];
    for (uint64_t i = 0; i < KEYS; i++) {
        keys[i] = i;
        for (unsigned j = 0; j < DIM; j++)
            values[i][j] = (float)(i * (j + 1));
    }
    if (client_table(client, &spec, &table, &error) != STATUS_OK) fail_msg("%s", error.text);
    assert_int_equal(client_assign(client, table, keys, KEYS, &values[0][0], &ticket, NULL),
                     STATUS_OK);
    if (client_wait(client, ticket, &error) != STATUS_OK) fail_msg("%s", error.text);
    client_close(client);
}

/* anthill-ps COMMAND RUN --table TABLE OPTION PLACE --json ends with `code`. */
static struct process command(struct run *run, const char *name, const char *table,
                              const char *option, const char *place, int code)
{
    const char *argv[] = {run->program, name,  run->dir, "--table", table,
                          option,       place, "--json", NULL};
    struct process process = {0};
    int got = process_run(&process, source_dir(), WAIT_SECONDS, argv);
    if (got != code) fail_msg("%s ends with %d: %s%s", name, got, process.err, process.out);
    return process;
}

static void expect_output(struct process process, const char *begin)
{
    if (strncmp(process.out, begin, strlen(begin)) != 0) fail_msg("%s", process.out);
    assert_true(json_number(process.out, NULL, "seconds") >= 0);
    process_deinit(&process);
}

static void expect_refusal(struct process process, const char *text)
{
    if (strstr(process.err, text) == NULL) fail_msg("%s", process.err);
    assert_string_equal(process.out, "");
    process_deinit(&process);
}

static void check_export(const char *dir, uint64_t rows)
{
    char path[FILE_PATH_BYTES];
    struct npy keys, values;
    struct error error = {0};
    const uint64_t shape[2] = {rows, DIM};
    assert_int_equal(file_path(path, NULL, "%s/keys.npy", dir), STATUS_OK);
    if (npy_open_as(&keys, path, NPY_U64, 1, shape, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    assert_int_equal(file_path(path, NULL, "%s/values.npy", dir), STATUS_OK);
    if (npy_open_as(&values, path, NPY_F32, 2, shape, &error) != STATUS_OK)
        fail_msg("%s", error.text);
    for (uint64_t i = 0; i < rows; i++) {
        uint64_t key = ((const uint64_t *)keys.data)[i];
        assert_true(key < KEYS);
        for (unsigned j = 0; j < DIM; j++)
            assert_true(((const float *)values.data)[i * DIM + j] == (float)(key * (j + 1)));
    }
    npy_close(&keys);
    npy_close(&values);
}

static void a_table_is_exported_emptied_and_imported(void **state)
{
    struct run *run = *state;
    char all[96], rest[96], some[96], values[96];
    start(run);
    fill_table(run, "rows");
    snprintf(all, sizeof all, "%s/all", run->folder);
    snprintf(values, sizeof values, "%s/all/values.npy", run->folder);
    snprintf(rest, sizeof rest, "%s/rest", run->folder);
    snprintf(some, sizeof some, "%s/some.npy", run->folder);
    expect_output(command(run, "export", "rows", "--out", all, 0),
                  "{\"table\":\"rows\",\"rows\":1000,\"dim\":3,\"seconds\":");
    check_export(all, KEYS);
    uint64_t keys[KEYS / 2];
    const uint64_t shape[1] = {KEYS / 2};
    for (uint64_t i = 0; i < KEYS / 2; i++)
        keys[i] = 5 * i; /* up to 2,500 */
    assert_int_equal(npy_write(some, NPY_U64, 1, shape, keys, NULL), STATUS_OK);
    expect_output(command(run, "delete", "rows", "--keys", some, 0),
                  "{\"table\":\"rows\",\"keys\":500,\"deleted\":200,\"seconds\":");
    expect_output(command(run, "export", "rows", "--out", rest, 0),
                  "{\"table\":\"rows\",\"rows\":800,");
    check_export(rest, 800);
    expect_output(command(run, "import", "rows", "--from", all, 0),
                  "{\"table\":\"rows\",\"rows\":1000,\"dim\":3,\"duplicates\":0,\"seconds\":");
    expect_output(command(run, "export", "rows", "--out", rest, 0),
                  "{\"table\":\"rows\",\"rows\":1000,");
    check_export(rest, KEYS);

    expect_refusal(command(run, "export", "row", "--out", all, 66), "those there are: rows");
    expect_refusal(command(run, "import", "rows", "--from", run->folder, 66), "/keys.npy");
    expect_refusal(command(run, "delete", "rows", "--keys", values, 65), "values.npy: f32");
    expect_refusal(command(run, "export", "rows", "--out", run->folder, 77), "not replaced");
}

static void commands_without_a_run_say_so(void **state)
{
    (void)state;
    struct run run = {0};
    struct process process = {0};
    temporary_folder(run.folder);
    snprintf(run.dir, sizeof run.dir, "%s", run.folder);
    snprintf(run.program, sizeof run.program, "%s/anthill-ps", bin_dir());
    expect_refusal(command(&run, "export", "rows", "--out", "unused", 66), "no run goes on in");
    const char *argv[] = {run.program, "import", run.dir, "--table", "rows", NULL};
    assert_int_equal(process_run(&process, source_dir(), WAIT_SECONDS, argv), 64);
    expect_refusal(process, "expected --from DIR");
    remove_folder(run.folder);
}

static int setup(void **state)
{
    static struct run run;
    *state = &run;
    log_set_level(LOG_ERROR);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    transport_shutdown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_table_is_exported_emptied_and_imported, end),
        cmocka_unit_test(commands_without_a_run_say_so),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
