/* What the programs share: allocator, kernels of OpenBLAS, subcommands, signals, exit codes. The
 * test starts itself as such a program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <argp.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/blas.h"
#include "common/kernel_clones.h"
#include "common/program.h"
#include "tests/support/process.h"

#define AS_PROGRAM "PROGRAM_TEST_AS_PROGRAM"

static int run_add(int argc, char **argv)
{
    static const struct argp argp = {.doc = "Adds nothing."};
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL) != 0) return 70;
    printf("%s %d %s\n", argv[0], argc, getenv("OPENBLAS_CORETYPE") != NULL ? "set" : "unset");
    return 0;
}

static int run_fail(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct error error = {0};
    enum status status = error_set(&error, STATUS_CORRUPT, "row 7 is bad");
    return program_fail(status, &error);
}

static int run_wait(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    program_log_start();
    printf("waiting\n");
    fflush(stdout);
    while (!program_stop_requested())
        poll(NULL, 0, 1000); /* a signal ends it early */
    raise(SIGPIPE);          /* ignored */
    return 0;
}

static int run_files(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 70;
    printf("%s\n", limit.rlim_cur == limit.rlim_max ? "as many as can be" : "fewer");
    return 0;
}

static int main_as_program(int argc, char **argv)
{
    static const struct program_command commands[] = {{"add", "adds", run_add},
                                                      {"fail", "fails", run_fail},
                                                      {"wait", "waits", run_wait},
                                                      {"files", "says", run_files}};
    return program_main("anthill-test", "Tests.", commands, 4, argc, argv);
}

/* Runs the program with up to two arguments. */
static int run(struct process *process, const char *first, const char *second)
{
    const char *argv[] = {"/proc/self/exe", first, second, NULL};
    return process_run(process, NULL, 60, argv);
}

static void expect(const char *first, const char *second, int code, const char *out,
                   const char *err)
{
    struct process process = {0};
    assert_int_equal(run(&process, first, second), code);
    const char *seen[] = {process.out != NULL ? process.out : "none",
                          process.err != NULL ? process.err : "none"};
    if (strstr(seen[0], out) == NULL) fail_msg("'%s' lacks '%s'", seen[0], out);
    if (strstr(seen[1], err) == NULL) fail_msg("'%s' lacks '%s'", seen[1], err);
    process_deinit(&process);
}

static void malloc_is_jemallocs(void **state)
{
    (void)state;
#if defined(ANTHILL_JEMALLOC)
    assert_memory_equal(program_allocator(), "jemalloc 5.", 11);
    expect("--version", NULL, 0, "jemalloc 5.", "");
#else
    assert_string_equal(program_allocator(), "libc malloc");
#endif
}

static void a_subcommand_gets_its_full_name_and_its_arguments(void **state)
{
    (void)state;
    expect("add", NULL, 0, "anthill-test add 1", "");
}

static void wrong_command_lines_exit_with_64(void **state)
{
    (void)state;
    expect(NULL, NULL, 64, "", "Usage: anthill-test COMMAND");
    expect("sub", NULL, 64, "", "unknown command 'sub'; commands are add, fail, wait, files");
    expect("add", "--nonsense", 64, "", "anthill-test add: unrecognized option '--nonsense'");
}

static void help_and_version_are_answered_on_standard_output(void **state)
{
    (void)state;
    expect("--help", NULL, 0, "  add          adds\n", "");
    expect("--version", NULL, 0, "anthill-test " ANTHILL_VERSION " (", "");
    expect("add", "--version", 0, "anthill-test " ANTHILL_VERSION " (", "");
    expect("add", "--help", 0, "Adds nothing.", "");
}

static void a_failure_is_told_with_the_programs_name(void **state)
{
    (void)state;
    expect("fail", NULL, 65, "", "anthill-test: row 7 is bad\n");
}

static bool is_waiting(void *context)
{
    const struct process *process = context;
    char out[16] = {0};
    return pread(process->out_fd, out, sizeof out - 1, 0) > 0 && strstr(out, "waiting") != NULL;
}

/* The widest set of instructions that the processor has is named. */
static void expect_chosen(const char *text, const char *before)
{
    const char *name = "default";
#if KERNEL_CLONES_CHOSEN
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("fma");
    bool v4 = v3 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vl");
    name = v4 ? "x86-64-v4" : v3 ? "x86-64-v3" : "x86-64";
#endif
    const char *found = text == NULL ? NULL : strstr(text, before);
    size_t bytes = strlen(name);
    if (found != NULL) found += strlen(before);
    if (found == NULL || strncmp(found, name, bytes) != 0 || found[bytes] == '-') {
        fail_msg("'%s' lacks '%s%s'", text, before, name);
    }
}

static void the_instruction_set_of_the_kernels_is_named(void **state)
{
    (void)state;
    struct process process = {0};
    assert_int_equal(run(&process, "--version", NULL), 0);
    expect_chosen(process.out, "kernels ");
    process_deinit(&process);
}

static void the_soft_limit_of_open_files_is_raised(void **state)
{
    (void)state;
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    expect("files", NULL, 0, "as many as can be", "");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void signals_ask_to_stop(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct process process = {0};
        const char *argv[] = {"/proc/self/exe", "wait", NULL};
        process_start(&process, NULL, argv);
        assert_true(await(is_waiting, &process, 30));
        kill(process.pid, signals[i]);
        assert_int_equal(process_wait(&process, 30), 0);
        expect_chosen(process.err, "kernels=");
        process_deinit(&process);
    }
}

/* The family in a version line is the wanted one, or one that a newer OpenBLAS prefers to it. */
static void expect_wide_kernels(void)
{
    static const char *const newer[] = {"OpenBLAS Cooperlake)", "OpenBLAS SapphireRapids)"};
    struct process process = {0};
    assert_int_equal(run(&process, "--version", NULL), 0);
    assert_non_null(process.out);
    bool wide = strstr(process.out, blas_family_wanted()) != NULL;
    for (int i = 0; i < 2 && strcmp(blas_family_wanted(), "SkylakeX") == 0; i++)
        wide = wide || strstr(process.out, newer[i]) != NULL;
    if (!wide) fail_msg("%s lacks %s", process.out, blas_family_wanted());
    assert_string_equal(process.err, "");
    process_deinit(&process);
}

static void the_widest_kernels_are_taken_without_being_asked(void **state)
{
    (void)state;
    unsetenv("OPENBLAS_CORETYPE");
    expect_wide_kernels();
    setenv("OPENBLAS_CORETYPE", "", 1); /* as good as unset */
    expect("--version", NULL, 0, blas_family_wanted(), "");
    unsetenv("OPENBLAS_CORETYPE");
}

static void a_family_that_the_user_chose_stands_and_a_slow_one_is_told(void **state)
{
    (void)state;
#if defined(__x86_64__)
    setenv("OPENBLAS_CORETYPE", "Nehalem", 1);
    bool wide = __builtin_cpu_supports("avx2");
    expect("--version", NULL, 0, "OpenBLAS Nehalem)", wide ? "blas_slow family=Nehalem" : "");
    unsetenv("OPENBLAS_CORETYPE");
#endif
}

static void a_restart_that_did_not_help_is_not_repeated(void **state)
{
    (void)state;
    /* As if this were the second start: whatever the kernels are, the program runs. */
    setenv("ANTHILL_BLAS_STARTED", "1", 1);
    unsetenv("OPENBLAS_CORETYPE");
    expect("add", NULL, 0, "anthill-test add 1 unset", "");
    unsetenv("ANTHILL_BLAS_STARTED");
}

static void a_string_list_grows(void **state)
{
    (void)state;
    struct string_list list = {0};
    char items[20][2];
    for (int i = 0; i < 20; i++)
        string_list_add(&list, items[i]);
    assert_int_equal(list.count, 20);
    assert_ptr_equal(list.items[19], items[19]);
    string_list_deinit(&list);
    assert_null(list.items);
}

int main(int argc, char **argv)
{
    if (getenv(AS_PROGRAM) != NULL) return main_as_program(argc, argv);
    setenv(AS_PROGRAM, "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malloc_is_jemallocs),
        cmocka_unit_test(a_subcommand_gets_its_full_name_and_its_arguments),
        cmocka_unit_test(wrong_command_lines_exit_with_64),
        cmocka_unit_test(help_and_version_are_answered_on_standard_output),
        cmocka_unit_test(a_failure_is_told_with_the_programs_name),
        cmocka_unit_test(the_instruction_set_of_the_kernels_is_named),
        cmocka_unit_test(the_soft_limit_of_open_files_is_raised),
        cmocka_unit_test(signals_ask_to_stop),
        cmocka_unit_test(the_widest_kernels_are_taken_without_being_asked),
        cmocka_unit_test(a_family_that_the_user_chose_stands_and_a_slow_one_is_told),
        cmocka_unit_test(a_restart_that_did_not_help_is_not_repeated),
        cmocka_unit_test(a_string_list_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
