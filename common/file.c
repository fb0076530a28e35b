#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The status and text of a system call that failed on `path`. */
static enum status refuse(struct error *error, const char *what, const char *path)
{
    int reason = errno;
    return error_set_errno(error, reason == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, reason,
                           "cannot %s %s", what, path);
}

enum status file_path(char path[FILE_PATH_BYTES], struct error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(path, FILE_PATH_BYTES, format, args);
    va_end(args);
    if (needed >= 0 && needed < FILE_PATH_BYTES) return STATUS_OK;
    return error_set(error, STATUS_INVALID, "path longer than %d bytes: %.200s...",
                     FILE_PATH_BYTES - 1, path);
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

enum status file_read_all(const char *path, size_t bytes_max, char **data, size_t *bytes,
                          struct error *error)
{
    enum status status = STATUS_OK;
    char *buffer = NULL;
    size_t used = 0, capacity = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refuse(error, "open", path);
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) capacity = (size_t)info.st_size;
    if (capacity > bytes_max) goto too_large;
    /* A pipe has no size to begin with, and a file may grow while it is read. */
    for (capacity += 2;; capacity *= 2) {
        char *grown = realloc(buffer, capacity);
        if (grown == NULL) {
            status =
                error_set(error, STATUS_NOMEM, "no memory for %zu bytes of %s", capacity, path);
            goto out;
        }
        buffer = grown;
        ssize_t got = 1;
        while (got != 0 && used < capacity - 1) {
            got = read(fd, buffer + used, capacity - 1 - used);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) {
                status = refuse(error, "read", path);
                goto out;
            }
            used += (size_t)got;
            if (used > bytes_max) goto too_large;
        }
        if (got == 0) break;
    }
    buffer[used] = 0;
    *data = buffer;
    *bytes = used;
    buffer = NULL;
    goto out;
too_large:
    status =
        error_set(error, STATUS_CORRUPT, "%s: longer than the %zu bytes expected", path, bytes_max);
out:
    free(buffer);
    close(fd);
    return status;
}

enum status file_write_all(int fd, const void *data, size_t bytes, const char *path,
                           struct error *error)
{
    const char *next = data;
    while (bytes > 0) {
        ssize_t put = write(fd, next, bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return refuse(error, "write", path);
        next += put;
        bytes -= (size_t)put;
    }
    return STATUS_OK;
}

/* Makes a file's or folder's contents survive a power cut. */
static enum status sync_path(const char *path, int flags, struct error *error)
{
    enum status status = STATUS_OK;
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refuse(error, "open", path);
    if (fsync(fd) != 0) status = refuse(error, "flush", path);
    close(fd);
    return status;
}

static enum status sync_parent(const char *path, struct error *error)
{
    char copy[FILE_PATH_BYTES];
    enum status status = file_path(copy, error, "%s", path);
    if (status != STATUS_OK) return status;
    return sync_path(dirname(copy), O_DIRECTORY, error);
}

enum status file_write_atomic(const char *path, const void *data, size_t bytes, struct error *error)
{
    char temporary[FILE_PATH_BYTES];
    enum status status = file_path(temporary, error, "%s.tmp", path);
    if (status != STATUS_OK) return status;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return refuse(error, "create", temporary);
    status = file_write_all(fd, data, bytes, temporary, error);
    if (status == STATUS_OK && fsync(fd) != 0) status = refuse(error, "flush", temporary);
    if (close(fd) != 0 && status == STATUS_OK) status = refuse(error, "close", temporary);
    if (status == STATUS_OK && rename(temporary, path) != 0) {
        status = refuse(error, "replace", path);
    }
    if (status != STATUS_OK) {
        unlink(temporary);
        return status;
    }
    return sync_parent(path, error);
}

enum status file_map_open(struct file_map *map, const char *path, struct error *error)
{
    enum status status = STATUS_OK;
    *map = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refuse(error, "open", path);
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = refuse(error, "open", path);
    } else if (!S_ISREG(info.st_mode)) {
        status = error_set(error, STATUS_IO, "%s: not a file", path);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            status = refuse(error, "map", path);
        } else {
            *map = (struct file_map){.data = data, .bytes = (size_t)info.st_size};
        }
    }
    close(fd);
    return status;
}

void file_map_close(struct file_map *map)
{
    if (map->data != NULL) munmap((void *)map->data, map->bytes);
    *map = (struct file_map){0};
}

enum status file_dir_create(const char *path, struct error *error)
{
    char part[FILE_PATH_BYTES];
    enum status status = file_path(part, error, "%s", path);
    if (status != STATUS_OK) return status;
    for (char *end = part; *end != 0;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = 0;
        struct stat info;
        bool made = mkdir(part, 0777) == 0;
        if (!made && errno != EEXIST) return refuse(error, "create folder", part);
        if (made) status = sync_parent(part, error);
        if (status != STATUS_OK) return status;
        if (stat(part, &info) != 0) return refuse(error, "open folder", part);
        if (!S_ISDIR(info.st_mode)) {
            return error_set(error, STATUS_IO, "cannot create folder %s: %s is not a folder", path,
                             part);
        }
        *end = kept;
    }
    return STATUS_OK;
}

/* Calls `visit` for all below `path` and for `path` itself, a folder after what is in it. Links
 * are not followed. A `path` that is not there is no error. */
static enum status walk(const char *path,
                        enum status (*visit)(const char *path, bool folder, struct error *error),
                        struct error *error)
{
    enum status status = STATUS_OK;
    char *const roots[] = {(char *)path, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL) return refuse(error, "open folder", path);
    FTSENT *entry;
    while (status == STATUS_OK && (entry = fts_read(tree)) != NULL) {
        switch (entry->fts_info) {
        case FTS_D:
        case FTS_DOT:
            break;
        case FTS_DP:
            status = visit(entry->fts_path, true, error);
            break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            errno = entry->fts_errno;
            if (errno != ENOENT) status = refuse(error, "read", entry->fts_path);
            break;
        default:
            status = visit(entry->fts_path, false, error);
        }
    }
    fts_close(tree);
    return status;
}

static enum status visit_remove(const char *path, bool folder, struct error *error)
{
    if ((folder ? rmdir(path) : unlink(path)) == 0 || errno == ENOENT) return STATUS_OK;
    return refuse(error, "remove", path);
}

enum status file_dir_remove(const char *path, struct error *error)
{
    return walk(path, visit_remove, error);
}

enum status file_dir_discard(const char *path, struct error *error)
{
    char aside[FILE_PATH_BYTES];
    enum status status = file_path(aside, error, "%s.old", path);
    if (status == STATUS_OK && file_exists(path)) {
        status = file_dir_remove(aside, error);
        if (status != STATUS_OK) return status;
        if (rename(path, aside) != 0) return refuse(error, "move aside", path);
        status = sync_parent(path, error);
    }
    return status != STATUS_OK ? status : file_dir_remove(aside, error);
}

static enum status visit_sync(const char *path, bool folder, struct error *error)
{
    struct stat info;
    if (!folder && (lstat(path, &info) != 0 || !S_ISREG(info.st_mode))) return STATUS_OK;
    return sync_path(path, folder ? O_DIRECTORY : 0, error);
}

enum status file_dir_publish(const char *temporary, const char *path, struct error *error)
{
    char aside[FILE_PATH_BYTES];
    enum status status = file_path(aside, error, "%s.old", path);
    if (status != STATUS_OK) return status;
    if (!file_exists(temporary)) {
        return error_set(error, STATUS_NOT_FOUND, "%s: no such folder", temporary);
    }
    status = walk(temporary, visit_sync, error);
    if (status != STATUS_OK) return status;
    /* The exchange leaves no moment without a folder of that name, and the old one is `temporary`
     * afterwards. Not every file system has it. */
    const char *old = temporary;
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) != 0) {
        old = aside;
        if (file_exists(path)) {
            status = file_dir_remove(aside, error);
            if (status != STATUS_OK) return status;
            if (rename(path, aside) != 0) return refuse(error, "move aside", path);
        }
        if (rename(temporary, path) != 0) {
            status = refuse(error, "publish", path);
            if (rename(aside, path) != 0 && errno != ENOENT) {
                return error_wrap(error, status, "the older one is left at %s", aside);
            }
            return status;
        }
    }
    status = sync_parent(path, error);
    if (status != STATUS_OK) return status;
    return file_dir_remove(old, error);
}
