/* Whole runs through launch.sh: the shipped binaries as processes of their own. */
#ifndef ANTHILL_TESTS_PROCESS_LAUNCH_FIXTURE_H
#define ANTHILL_TESTS_PROCESS_LAUNCH_FIXTURE_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/file.h"
#include "tests/support/process.h"

struct launch {
    char folder[64];
    char run_dir[128];
    char settings[8][192];
    const char *argv[48];
    int argc;
};

static inline void add(struct launch *launch, const char *argument)
{
    assert_true(launch->argc < 47);
    launch->argv[launch->argc++] = argument;
}

/* ./launch.sh conf/CONFIG with the run and the graph in a folder of the test's own. */
static inline void launch_init(struct launch *launch, const char *config)
{
    memset(launch, 0, sizeof *launch);
    temporary_folder(launch->folder);
    snprintf(launch->run_dir, sizeof launch->run_dir, "%s/run", launch->folder);
    snprintf(launch->settings[0], sizeof launch->settings[0], "run.dir=%s", launch->run_dir);
    snprintf(launch->settings[1], sizeof launch->settings[1], "graph.path=%s/graph",
             launch->folder);
    add(launch, "./launch.sh");
    add(launch, config);
    add(launch, "--set");
    add(launch, launch->settings[0]);
    add(launch, "--set");
    add(launch, launch->settings[1]);
}

static inline void set(struct launch *launch, const char *setting)
{
    add(launch, "--set");
    add(launch, setting);
}

static inline void show(const struct process *process)
{
    if (process->err != NULL) fprintf(stderr, "%s\n%s\n", process->err, process->out);
}

static inline void run_to_the_end(struct launch *launch, struct process *process)
{
    int code = process_run(process, source_dir(), 240, launch->argv);
    if (code != 0) show(process);
    assert_int_equal(code, 0);
}

/* The number of complete lines of metrics.jsonl reaches `lines`. */
struct progress {
    const char *run_dir;
    int lines;
};

static inline bool has_lines(void *context)
{
    const struct progress *progress = context;
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    if (file_path(path, NULL, "%s/metrics.jsonl", progress->run_dir) != STATUS_OK) return false;
    if (file_read_all(path, 64 << 20, &text, &bytes, NULL) != STATUS_OK) return false;
    int lines = 0;
    for (size_t i = 0; i < bytes; i++)
        lines += text[i] == '\n';
    free(text);
    return lines >= progress->lines;
}

static inline void await_progress(const struct launch *launch, int lines)
{
    struct progress progress = {.run_dir = launch->run_dir, .lines = lines};
    assert_true(await(has_lines, &progress, 60));
}

static inline int lines_now(const struct launch *launch)
{
    struct progress progress = {.run_dir = launch->run_dir, .lines = 1};
    while (has_lines(&progress))
        progress.lines++;
    return progress.lines - 1;
}

static inline void kill_role(const struct launch *launch, const char *role)
{
    char path[FILE_PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    assert_int_equal(file_path(path, NULL, "%s/pids/%s", launch->run_dir, role), STATUS_OK);
    assert_int_equal(file_read_all(path, 64, &text, &bytes, NULL), STATUS_OK);
    assert_int_equal(kill((pid_t)strtol(text, NULL, 10), SIGKILL), 0);
    free(text);
}

#endif
