/* Every bench runs, and each of its lines has what readers rely on. Times nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "tests/support/process.h"

#define DEADLINE_SECONDS 240.0

struct folder {
    char path[64];
};

static int folder_create(void **state)
{
    static struct folder folder;
    temporary_folder(folder.path);
    *state = &folder;
    return 0;
}

static int folder_remove(void **state)
{
    remove_folder(((struct folder *)*state)->path);
    return 0;
}

/* `limited`: the case has a limit and so a share. */
struct expected {
    const char *name, *unit;
    bool limited;
};

static void check_line(const char *line, const char *bench, const struct expected *expected)
{
    char start[128], units[64];
    snprintf(start, sizeof start, "{\"bench\":\"%s\",\"case\":\"%s\",\"value\":", bench,
             expected->name);
    snprintf(units, sizeof units, "\"unit\":\"%s\",", expected->unit);
    assert_memory_equal(line, start, strlen(start));
    assert_non_null(strstr(line, units));
    assert_true(json_number(line, NULL, "value") > 0);
    assert_int_equal(line[strlen(line) - 1], '}');
    if (expected->limited) {
        const double share = json_number(line, NULL, "value") / json_number(line, NULL, "limit");
        assert_true(json_number(line, NULL, "limit") > 0);
        assert_true(fabs(json_number(line, NULL, "share") / share - 1) < 1e-3);
    } else {
        assert_non_null(strstr(line, "\"limit\":null,\"share\":null"));
    }
}

/* Fields are positive, and quantiles in order. */
static void check_fields(const char *line, const char *const *names)
{
    for (; *names != NULL; names++) {
        char member[64];
        snprintf(member, sizeof member, "\"%s\":", *names);
        if (strstr(line, member) == NULL) fail_msg("no %s in %s", *names, line);
        assert_true(json_number(line, NULL, *names) > 0);
    }
    const double p50_us = json_number(line, NULL, "p50_us");
    if (p50_us > 0) assert_true(p50_us <= json_number(line, NULL, "p99_us"));
}

/* Fields beside the value that a line of ps has, by its name. */
static void check_ps_fields(const char *line)
{
    static const char *const table[] = {
        "bytes_per_s",          "p50_us",        "p99_us", "cpu_s_per_mrow",
        "limit_cpu_s_per_mrow", "bytes_per_row", NULL};
    static const char *const load[] = {"bytes_per_s",
                                       "p50_us",
                                       "p99_us",
                                       "client_cpu_s_per_mrow",
                                       "server_cpu_s_per_mrow",
                                       "limit_cpu_s_per_mrow",
                                       "client_cpu",
                                       "server_cpu",
                                       NULL};
    static const char *const growth[] = {"max_cpu_ms",          "p50_us", "p99_us", "bytes_per_row",
                                         "bytes_per_row_least", NULL};
    static const char *const checkpoint[] = {"gap_ms",          "idle_gap_ms",  "rows_per_s",
                                             "idle_rows_per_s", "checkpoint_s", NULL};
    static const char *const none[] = {NULL};
    const struct {
        const char *start;
        const char *const *fields;
    } kinds[] = {{"\"case\":\"table-", table}, {"\"case\":\"pull-", load},
                 {"\"case\":\"push-", load},   {"\"case\":\"grow-", growth},
                 {"\"case\":\"bare-", none},   {"\"case\":\"checkpoint-", checkpoint}};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strstr(line, kinds[i].start) == NULL) continue;
        check_fields(line, kinds[i].fields);
        return;
    }
    fail_msg("a line of no kind: %s", line);
}

/* Runs `bench` with an option and checks that it prints the lines of `expected` and no others. */
static void check_lines(const struct folder *folder, const char *bench, const char *option,
                        const char *value, const struct expected *expected, unsigned count)
{
    char program[FILE_PATH_BYTES];
    struct process process = {0};
    assert_int_equal(file_path(program, NULL, "%s/anthill-bench", bin_dir()), STATUS_OK);
    process_run(&process, NULL, DEADLINE_SECONDS,
                (const char *const[]){program, bench, "--json", "--quick", "--data", folder->path,
                                      option, value, NULL});
    if (process.exit_code != 0) fail_msg("%s: %d\n%s", bench, process.exit_code, process.err);
    char *rest = NULL, *line = strtok_r(process.out, "\n", &rest);
    for (unsigned i = 0; i < count; i++) {
        if (line == NULL) fail_msg("%s: no line for %s", bench, expected[i].name);
        check_line(line, bench, &expected[i]);
        if (strcmp(bench, "ps") == 0) check_ps_fields(line);
        line = strtok_r(NULL, "\n", &rest);
    }
    if (line != NULL) fail_msg("%s: more lines than cases: %s", bench, line);
    process_deinit(&process);
}

#define EXPECT(folder, bench, option, value, ...)                                                  \
    check_lines(folder, bench, option, value, (const struct expected[]){__VA_ARGS__},              \
                sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected))

static void gemm_tells_its_cases(void **state)
{
    EXPECT(*state, "gemm", NULL, NULL, {"16384x128x256-t1", "flop/s", true},
           {"16384x128x256-t2", "flop/s", true});
}

static void ps_tells_its_cases(void **state)
{
    EXPECT(*state, "ps", NULL, NULL, {"table-gather-t1", "rows/s", true},
           {"table-adagrad-t1", "rows/s", true}, {"table-gather-t2", "rows/s", true},
           {"table-adagrad-t2", "rows/s", true}, {"bare-array", "rows/s", false},
           {"grow-max-10m", "ms", false}, {"pull-tcp-f32", "rows/s", true},
           {"push-tcp-f32", "rows/s", true}, {"pull-tcp-bf16", "rows/s", true},
           {"push-tcp-bf16", "rows/s", true}, {"pull-tcp-int8", "rows/s", true},
           {"pull-64-tcp", "us", true}, {"pull-ipc-f32", "rows/s", true},
           {"push-ipc-f32", "rows/s", true}, {"pull-shm-f32", "rows/s", true},
           {"push-shm-f32", "rows/s", true}, {"checkpoint-2g", "share", false});
}

static void a_matrix_varies_servers_threads_workers_and_keys(void **state)
{
    static const char *const varied[] = {"-s2", "-t2", "-w2", "-zipf"};
    static const char *const starts[] = {"pull-ipc-f32", "push-ipc-f32", "pull-tcp-f32",
                                         "push-tcp-f32", "pull-shm-f32", "push-shm-f32"};
    for (unsigned i = 0; i < sizeof varied / sizeof *varied; i++) {
        struct expected expected[sizeof starts / sizeof *starts];
        char names[sizeof starts / sizeof *starts][32], option[32];
        snprintf(option, sizeof option, "--case=%s", varied[i]);
        for (unsigned j = 0; j < sizeof starts / sizeof *starts; j++) {
            snprintf(names[j], sizeof names[j], "%s%s", starts[j], varied[i]);
            expected[j] = (struct expected){names[j], "rows/s", true};
        }
        check_lines(*state, "ps", "--matrix", option, expected, sizeof starts / sizeof *starts);
    }
}

static void sample_tells_its_cases(void **state)
{
    EXPECT(*state, "sample", "--large", NULL, {"16m-15-10-t1", "edges/s", true},
           {"16m-10-10-10-t1", "edges/s", true}, {"160m-15-10-t1", "edges/s", true},
           {"160m-10-10-10-t1", "edges/s", true}, {"160m-10-10-10-t2", "edges/s", true});
}

static void train_tells_its_cases(void **state)
{
    EXPECT(*state, "train", NULL, NULL, {"sage-c1", "seeds/s", false},
           {"sage-c2", "seeds/s", false});
}

static void infer_tells_its_cases(void **state)
{
    EXPECT(*state, "infer", NULL, NULL, {"sage-t1", "nodes/s", false});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_tells_its_cases),
        cmocka_unit_test(ps_tells_its_cases),
        cmocka_unit_test(a_matrix_varies_servers_threads_workers_and_keys),
        cmocka_unit_test(sample_tells_its_cases),
        cmocka_unit_test(train_tells_its_cases),
        cmocka_unit_test(infer_tells_its_cases),
    };
    return cmocka_run_group_tests(tests, folder_create, folder_remove);
}
