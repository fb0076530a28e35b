#include "tests/support/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/file.h"

static int unlinked_file(void)
{
    char path[] = "/tmp/anthill-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0);
    unlink(path);
    return fd;
}

static char *read_whole(int fd)
{
    struct stat info;
    CHECK(fstat(fd, &info) == 0);
    char *text = malloc((size_t)info.st_size + 1);
    CHECK(text != NULL);
    ssize_t got = pread(fd, text, (size_t)info.st_size, 0);
    CHECK(got >= 0);
    text[got] = '\0';
    return text;
}

void process_start(struct process *process, const char *cwd, const char *const *argv)
{
    *process = (struct process){.out_fd = unlinked_file(), .err_fd = unlinked_file()};
    process->pid = fork();
    CHECK(process->pid >= 0);
    if (process->pid == 0) {
        setpgid(0, 0);
        int null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        dup2(process->out_fd, STDOUT_FILENO);
        dup2(process->err_fd, STDERR_FILENO);
        if (cwd != NULL && chdir(cwd) != 0) _exit(127);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    setpgid(process->pid, process->pid);
}

struct wait_context {
    struct process *process;
    int wait_status;
};

static bool has_ended(void *context)
{
    struct wait_context *wait = context;
    return waitpid(wait->process->pid, &wait->wait_status, WNOHANG) == wait->process->pid;
}

int process_wait(struct process *process, double seconds)
{
    struct wait_context wait = {.process = process};
    if (await(has_ended, &wait, seconds)) {
        process->exit_code = WIFEXITED(wait.wait_status) ? WEXITSTATUS(wait.wait_status)
                                                         : 128 + WTERMSIG(wait.wait_status);
    } else {
        kill(-process->pid, SIGKILL);
        waitpid(process->pid, &wait.wait_status, 0);
        process->exit_code = -1;
    }
    process->pid = 0;
    process->out = read_whole(process->out_fd);
    process->err = read_whole(process->err_fd);
    return process->exit_code;
}

int process_run(struct process *process, const char *cwd, double seconds, const char *const *argv)
{
    process_start(process, cwd, argv);
    return process_wait(process, seconds);
}

void process_deinit(struct process *process)
{
    if (process->pid > 0) {
        kill(-process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
    }
    if (process->out_fd > 0) close(process->out_fd);
    if (process->err_fd > 0) close(process->err_fd);
    free(process->out);
    free(process->err);
    memset(process, 0, sizeof *process);
}

bool await(bool (*holds)(void *context), void *context, double seconds)
{
    uint64_t deadline_ns = clock_now_ns() + (uint64_t)(seconds * 1e9);
    while (!holds(context)) {
        if (clock_now_ns() >= deadline_ns) return false;
        poll(NULL, 0, 5);
    }
    return true;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL) fprintf(stderr, "%s is not set: run the test through ctest\n", name);
    CHECK(value != NULL);
    return value;
}

const char *source_dir(void)
{
    return environment("ANTHILL_SOURCE_DIR");
}

const char *bin_dir(void)
{
    return environment("ANTHILL_BIN_DIR");
}

const char *shared_data(const char *name)
{
    static char path[FILE_PATH_BYTES];
    CHECK(file_path(path, NULL, "%s/../shared/data/%s", source_dir(), name) == STATUS_OK);
    if (file_exists(path)) return path;
    fprintf(stderr, "skipped: %s is not there\n", path);
    return NULL;
}

char *temporary_folder(char path[64])
{
    snprintf(path, 64, "/tmp/anthill-test-XXXXXX");
    CHECK(mkdtemp(path) != NULL);
    return path;
}

void remove_folder(const char *path)
{
    CHECK(strncmp(path, "/tmp/anthill-test-", 18) == 0);
    (void)!file_dir_remove(path, NULL);
}

double json_number(const char *json, const char *after, const char *name)
{
    char key[128];
    if (after != NULL) json = strstr(json, after);
    if (json == NULL) return -1.0;
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *found = strstr(json, key);
    return found != NULL ? strtod(found + strlen(key), NULL) : -1.0;
}

const char *last_line(char *text)
{
    size_t bytes = strlen(text);
    while (bytes > 0 && text[bytes - 1] == '\n')
        text[--bytes] = '\0';
    char *newline = strrchr(text, '\n');
    return newline != NULL ? newline + 1 : text;
}
