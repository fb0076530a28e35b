#include "tests/bench/bench_processes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common/check.h"
#include "common/program.h"

#define START_SECONDS 60.0
#define ARGUMENTS_MAX (2 * BENCH_SETTINGS_MAX + 8)

void bench_processes_init(struct bench_processes *processes, const struct bench *bench)
{
    *processes = (struct bench_processes){.bench = bench};
    temporary_folder(processes->folder);
    bench_processes_set(processes, "run.dir=%s/run", processes->folder);
}

void bench_processes_deinit(struct bench_processes *processes)
{
    for (unsigned i = 0; i < processes->count; i++)
        process_deinit(&processes->items[i]);
    remove_folder(processes->folder);
}

void bench_processes_set(struct bench_processes *processes, const char *format, ...)
{
    CHECK(processes->setting_count < BENCH_SETTINGS_MAX);
    va_list arguments;
    va_start(arguments, format);
    char *setting = processes->settings[processes->setting_count++];
    const int length = vsnprintf(setting, FILE_PATH_BYTES, format, arguments);
    va_end(arguments);
    CHECK(length > 0 && length < FILE_PATH_BYTES);
}

static void start(struct bench_processes *processes, const char *program, const char *command,
                  const char *const *more)
{
    char path[FILE_PATH_BYTES];
    const char *argv[ARGUMENTS_MAX];
    unsigned count = 0;
    CHECK(processes->count < BENCH_PROCESSES_MAX);
    CHECK(file_path(path, NULL, "%s/%s", processes->bench->bin, program) == STATUS_OK);
    argv[count++] = path;
    argv[count++] = command;
    argv[count++] = BENCH_SOURCE_DIR "/sage.yaml";
    for (unsigned i = 0; i < processes->setting_count; i++) {
        argv[count++] = "--set";
        argv[count++] = processes->settings[i];
    }
    while (*more != NULL)
        argv[count++] = *more++;
    argv[count] = NULL;
    process_start(&processes->items[processes->count++], NULL, argv);
}

/* Reads the endpoint that the coordinator writes down; true also when waiting makes no sense. */
static bool endpoint_is_known(void *context)
{
    struct bench_processes *processes = context;
    char path[FILE_PATH_BYTES], *text = NULL;
    size_t bytes;
    CHECK(file_path(path, NULL, "%s/run/coordinator.endpoint", processes->folder) == STATUS_OK);
    if (file_read_all(path, sizeof processes->endpoint - 1, &text, &bytes, NULL) == STATUS_OK) {
        snprintf(processes->endpoint, sizeof processes->endpoint, "%.*s", (int)strcspn(text, "\n"),
                 text);
        free(text);
    }
    siginfo_t info = {.si_pid = 0};
    waitid(P_PID, (id_t)processes->items[0].pid, &info, WEXITED | WNOHANG | WNOWAIT);
    return processes->endpoint[0] != '\0' || info.si_pid != 0 || program_stop_requested();
}

enum status bench_processes_coordinator(struct bench_processes *processes, const char *listen,
                                        struct error *error)
{
    start(processes, "anthill-ps", "coordinator",
          (const char *const[]){"--endpoint", listen, NULL});
    (void)await(endpoint_is_known, processes, START_SECONDS);
    if (processes->endpoint[0] != '\0') return STATUS_OK;
    process_wait(&processes->items[0], 0);
    return error_set(error, STATUS_UNAVAILABLE, "the coordinator does not start: %s",
                     last_line(processes->items[0].err));
}

void bench_processes_add(struct bench_processes *processes, const char *program,
                         const char *command, const char *option, const char *value)
{
    start(processes, program, command,
          (const char *const[]){"--coordinator", processes->endpoint, option, value, NULL});
}
