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

/* Checks one line; `limited`: the case has a limit and so a share. */
static void check_line(const char *line, const char *bench, const char *name, const char *unit,
                       bool limited)
{
    char start[128], units[64];
    snprintf(start, sizeof start, "{\"bench\":\"%s\",\"case\":\"%s\",\"value\":", bench, name);
    snprintf(units, sizeof units, "\"unit\":\"%s\",", unit);
    assert_memory_equal(line, start, strlen(start));
    assert_non_null(strstr(line, units));
    assert_true(json_number(line, NULL, "value") > 0);
    if (limited) {
        const double share = json_number(line, NULL, "value") / json_number(line, NULL, "limit");
        assert_true(json_number(line, NULL, "limit") > 0);
        assert_true(fabs(json_number(line, NULL, "share") / share - 1) < 1e-3);
    } else {
        assert_non_null(strstr(line, "\"limit\":null,\"share\":null}"));
    }
}

/* Runs a bench and checks that it prints the lines of `names` (NULL-terminated) and no others. */
static void check_bench(const struct folder *folder, const char *bench, const char *const *names,
                        const char *unit, bool limited)
{
    char program[FILE_PATH_BYTES];
    struct process process = {0};
    assert_int_equal(file_path(program, NULL, "%s/anthill-bench", bin_dir()), STATUS_OK);
    process_run(&process, NULL, DEADLINE_SECONDS,
                (const char *const[]){program, bench, "--json", "--quick", "--large", "--data",
                                      folder->path, NULL});
    if (process.exit_code != 0) fail_msg("%s: %d\n%s", bench, process.exit_code, process.err);
    char *rest = NULL, *line = strtok_r(process.out, "\n", &rest);
    for (; *names != NULL; names++) {
        if (line == NULL) fail_msg("%s: no line for %s", bench, *names);
        check_line(line, bench, *names, unit, limited);
        line = strtok_r(NULL, "\n", &rest);
    }
    if (line != NULL) fail_msg("%s: more lines than cases: %s", bench, line);
    process_deinit(&process);
}

static void gemm_tells_its_cases(void **state)
{
    check_bench(*state, "gemm", (const char *const[]){"16384x128x256-t1", "16384x128x256-t2", NULL},
                "flop/s", true);
}

static void ps_tells_its_cases(void **state)
{
    check_bench(*state, "ps",
                (const char *const[]){"table-gather-t1", "table-adagrad-t1", "table-gather-t2",
                                      "table-adagrad-t2", "pull-tcp-f32", "push-tcp-f32",
                                      "pull-tcp-bf16", "pull-shm-f32", "push-shm-f32", NULL},
                "rows/s", true);
}

static void sample_tells_its_cases(void **state)
{
    check_bench(*state, "sample",
                (const char *const[]){"16m-15-10-t1", "16m-10-10-10-t1", "160m-15-10-t1",
                                      "160m-10-10-10-t1", "160m-10-10-10-t2", NULL},
                "edges/s", true);
}

static void train_tells_its_cases(void **state)
{
    check_bench(*state, "train", (const char *const[]){"sage-c1", "sage-c2", NULL}, "seeds/s",
                false);
}

static void infer_tells_its_cases(void **state)
{
    check_bench(*state, "infer", (const char *const[]){"sage-t1", NULL}, "nodes/s", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_tells_its_cases),   cmocka_unit_test(ps_tells_its_cases),
        cmocka_unit_test(sample_tells_its_cases), cmocka_unit_test(train_tells_its_cases),
        cmocka_unit_test(infer_tells_its_cases),
    };
    return cmocka_run_group_tests(tests, folder_create, folder_remove);
}
