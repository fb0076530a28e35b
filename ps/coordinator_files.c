#include "ps/coordinator_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/check.h"
#include "common/file.h"
#include "ps/checkpoint.h"
#include "ps/coordinator_state.h"

#define TAIL_BYTES 65536

struct coordinator_files {
    char dir[PATH_MAX];
    char path[FILE_PATH_BYTES];
    uint32_t keep;
    int lock;
    int lines; /* metrics.jsonl, for appending */
};

const char *coordinator_files_path(struct coordinator_files *files, const char *name)
{
    /* Every name is short, and the folder's path was checked to leave room for it. */
    CHECK(file_path(files->path, NULL, "%s/%s", files->dir, name) == STATUS_OK);
    return files->path;
}

static enum status lock_dir(struct coordinator_files *files, struct error *error)
{
    const char *path = coordinator_files_path(files, "coordinator.lock");
    files->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (files->lock < 0) return error_set_errno(error, STATUS_IO, errno, "%s", path);
    if (flock(files->lock, LOCK_EX | LOCK_NB) == 0) return STATUS_OK;
    if (errno == EWOULDBLOCK) {
        return error_set(error, STATUS_BUSY, "%s: another coordinator is at work in this folder",
                         files->dir);
    }
    return error_set_errno(error, STATUS_IO, errno, "%s", path);
}

static void remove_file(struct coordinator_files *files, const char *name)
{
    (void)unlink(coordinator_files_path(files, name));
}

/* What an older run left, except its logs and exports. */
static enum status remove_run(struct coordinator_files *files, struct error *error)
{
    remove_file(files, "coordinator.state");
    remove_file(files, "coordinator.endpoint");
    remove_file(files, "coordinator.stats");
    remove_file(files, "metrics.jsonl");
    enum status status = file_dir_remove(coordinator_files_path(files, "checkpoints"), error);
    /* Last, so that a removal that is cut short still looks like an older run. */
    if (status == STATUS_OK) remove_file(files, "result.json");
    return status;
}

static enum status check_older_run(struct coordinator_files *files, struct error *error)
{
    if (file_exists(coordinator_files_path(files, "coordinator.state"))) return STATUS_OK;
    if (file_exists(coordinator_files_path(files, "result.json"))) {
        return error_set(error, STATUS_CONFIG,
                         "run.dir %s holds a finished run; choose another folder, or begin anew "
                         "with --overwrite",
                         files->dir);
    }
    if (checkpoint_latest(coordinator_files_path(files, "checkpoints")) != 0) {
        return error_set(error, STATUS_CONFIG,
                         "run.dir %s holds checkpoints, but not the state of their run; choose "
                         "another folder, or begin anew with --overwrite",
                         files->dir);
    }
    return STATUS_OK;
}

/* A line that was cut by a crash is removed: it is written again. */
static enum status open_lines(struct coordinator_files *files, struct error *error)
{
    const char *path = coordinator_files_path(files, "metrics.jsonl");
    files->lines = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    off_t end = files->lines < 0 ? -1 : lseek(files->lines, 0, SEEK_END);
    char byte = '\n';
    while (end > 0 && pread(files->lines, &byte, 1, end - 1) == 1 && byte != '\n')
        end--;
    if (end < 0 || ftruncate(files->lines, end) != 0)
        return error_set_errno(error, STATUS_IO, errno, "%s", path);
    return STATUS_OK;
}

enum status coordinator_files_open(struct coordinator_files **files_out,
                                   const struct config *config, bool overwrite, struct error *error)
{
    struct coordinator_files *files = calloc(1, sizeof *files);
    CHECK(files != NULL);
    files->lock = files->lines = -1;
    files->keep = config->checkpoint.keep;
    enum status status = file_dir_create(config->run.dir, error);
    if (status == STATUS_OK &&
        (realpath(config->run.dir, files->dir) == NULL || strlen(files->dir) > PATH_MAX - 128))
        status = error_set_errno(error, STATUS_IO, errno, "run.dir %s", config->run.dir);
    if (status == STATUS_OK) status = lock_dir(files, error);
    if (status == STATUS_OK && overwrite) status = remove_run(files, error);
    if (status == STATUS_OK) status = check_older_run(files, error);
    if (status == STATUS_OK)
        status = file_dir_create(coordinator_files_path(files, "checkpoints"), error);
    if (status == STATUS_OK)
        status = config_save(config, coordinator_files_path(files, "run.yaml"), error);
    if (status == STATUS_OK) status = open_lines(files, error);
    if (status != STATUS_OK) {
        coordinator_files_close(files);
        return status;
    }
    *files_out = files;
    return STATUS_OK;
}

void coordinator_files_close(struct coordinator_files *files)
{
    if (files == NULL) return;
    if (files->lines >= 0) close(files->lines);
    if (files->lock >= 0) close(files->lock);
    free(files);
}

enum status coordinator_files_load(struct coordinator_files *files, uint8_t **data, size_t *bytes,
                                   struct error *error)
{
    char *read = NULL;
    *data = NULL;
    *bytes = 0;
    enum status status = file_read_all(coordinator_files_path(files, "coordinator.state"),
                                       COORDINATOR_STATE_BYTES_MAX, &read, bytes, error);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    *data = (uint8_t *)read;
    return status;
}

enum status coordinator_files_save(struct coordinator_files *files, const uint8_t *data,
                                   size_t bytes, struct error *error)
{
    return file_write_atomic(coordinator_files_path(files, "coordinator.state"), data, bytes,
                             error);
}

enum status coordinator_files_note(struct coordinator_files *files, const char *name,
                                   const char *text, struct error *error)
{
    struct text line = {0};
    text_add(&line, "%s\n", text);
    enum status status =
        file_write_atomic(coordinator_files_path(files, name), line.data, line.bytes, error);
    text_deinit(&line);
    return status;
}

static bool has_line(const struct coordinator_files *files, const char *line)
{
    static char tail[TAIL_BYTES + 1];
    off_t end = lseek(files->lines, 0, SEEK_END);
    off_t begin = end > TAIL_BYTES ? end - TAIL_BYTES : 0;
    ssize_t got = pread(files->lines, tail, TAIL_BYTES, begin);
    if (got <= 0) return false;
    tail[got] = '\0';
    const char *found = strstr(tail, line);
    return found != NULL && found[strlen(line)] == '\n';
}

enum status coordinator_files_line(struct coordinator_files *files, const char *line, bool again,
                                   struct error *error)
{
    if (again && has_line(files, line)) return STATUS_OK;
    struct text text = {0};
    text_add(&text, "%s\n", line);
    ssize_t wrote = write(files->lines, text.data, text.bytes);
    bool whole = wrote == (ssize_t)text.bytes;
    int failed = wrote < 0 ? errno : ENOSPC;
    text_deinit(&text);
    if (whole) return STATUS_OK;
    return error_set_errno(error, STATUS_IO, failed, "%s",
                           coordinator_files_path(files, "metrics.jsonl"));
}

enum status coordinator_files_result(struct coordinator_files *files, const char *json,
                                     struct error *error)
{
    (void)fdatasync(files->lines);
    return file_write_atomic(coordinator_files_path(files, "result.json"), json, strlen(json),
                             error);
}

enum status coordinator_files_publish(struct coordinator_files *files, uint64_t step,
                                      const struct checkpoint_part *parts, uint32_t part_count,
                                      uint64_t best, struct error *error)
{
    char name[64], dir[FILE_PATH_BYTES];
    /* A process before this one may have done it, and ended before it could say so. */
    snprintf(name, sizeof name, "checkpoints/step-%llu/manifest.yaml", (unsigned long long)step);
    bool complete = file_exists(coordinator_files_path(files, name));
    CHECK(file_path(dir, NULL, "%s/checkpoints", files->dir) == STATUS_OK);
    if (!complete) {
        enum status status = checkpoint_publish(dir, step, parts, part_count, error);
        if (status != STATUS_OK) return status;
    }
    checkpoint_prune(dir, files->keep > 0 ? files->keep : 1, best, step);
    return STATUS_OK;
}

void coordinator_files_abandon(struct coordinator_files *files, uint64_t step)
{
    checkpoint_abandon(coordinator_files_path(files, "checkpoints"), step);
}

void coordinator_files_finish(struct coordinator_files *files)
{
    remove_file(files, "coordinator.endpoint");
    remove_file(files, "coordinator.stats");
    remove_file(files, "coordinator.state");
}
