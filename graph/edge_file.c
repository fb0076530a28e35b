#include "graph/edge_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/check.h"

#define BUFFER_BYTES (1u << 20)

struct edge_file {
    int fd;
    char *path;
    struct edge_layout layout;
    size_t record_bytes;
    uint64_t count;   /* edges written */
    uint64_t unread;  /* edges not yet read */
    uint64_t offset;  /* in the file, of the buffer's end */
    size_t used, end; /* in the buffer: next byte, valid bytes */
    uint8_t buffer[BUFFER_BYTES];
};

enum status edge_file_write_at(int fd, const char *path, const void *data, size_t bytes,
                               uint64_t offset, struct error *error)
{
    const uint8_t *from = data;
    while (bytes > 0) {
        ssize_t written = pwrite(fd, from, bytes, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return error_set_errno(error, STATUS_IO, errno, "%s: cannot write", path);
        from += written;
        offset += (uint64_t)written;
        bytes -= (size_t)written;
    }
    return STATUS_OK;
}

enum status edge_file_read_at(int fd, const char *path, void *data, size_t bytes, uint64_t offset,
                              struct error *error)
{
    uint8_t *to = data;
    while (bytes > 0) {
        ssize_t got = pread(fd, to, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set_errno(error, STATUS_IO, errno, "%s: cannot read", path);
        if (got == 0) return error_set(error, STATUS_IO, "%s: ends too soon", path);
        to += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return STATUS_OK;
}

enum status edge_file_create(struct edge_file **out, const char *path, struct edge_layout layout,
                             struct error *error)
{
    *out = NULL;
    struct edge_file *file = malloc(sizeof *file);
    CHECK(file != NULL);
    file->path = strdup(path);
    CHECK(file->path != NULL);
    file->layout = layout;
    file->record_bytes = edge_record_bytes(layout);
    file->count = file->unread = file->offset = 0;
    file->used = file->end = 0;
    file->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        enum status status = error_set_errno(error, STATUS_IO, errno, "%s: cannot create", path);
        edge_file_close(file);
        return status;
    }
    *out = file;
    return STATUS_OK;
}

void edge_file_close(struct edge_file *file)
{
    if (file == NULL) return;
    if (file->fd >= 0) close(file->fd);
    free(file->path);
    free(file);
}

static enum status flush(struct edge_file *file, struct error *error)
{
    enum status status =
        edge_file_write_at(file->fd, file->path, file->buffer, file->used, file->offset, error);
    file->offset += file->used;
    file->used = 0;
    return status;
}

enum status edge_file_append(struct edge_file *file, const struct edge *edge, struct error *error)
{
    if (file->used + file->record_bytes > BUFFER_BYTES) {
        enum status status = flush(file, error);
        if (status != STATUS_OK) return status;
    }
    edge_pack(file->layout, edge, file->buffer + file->used);
    file->used += file->record_bytes;
    file->count++;
    return STATUS_OK;
}

uint64_t edge_file_count(const struct edge_file *file)
{
    return file->count;
}

enum status edge_file_rewind(struct edge_file *file, struct error *error)
{
    enum status status = STATUS_OK;
    /* What was appended last is still in the buffer the first time. */
    if (file->end == 0 && file->used > 0) status = flush(file, error);
    file->unread = file->count;
    file->offset = 0;
    file->used = file->end = 0;
    return status;
}

static enum status refill(struct edge_file *file, struct error *error)
{
    uint64_t records = BUFFER_BYTES / file->record_bytes;
    if (records > file->unread) records = file->unread;
    file->end = records * file->record_bytes;
    file->used = 0;
    enum status status =
        edge_file_read_at(file->fd, file->path, file->buffer, file->end, file->offset, error);
    file->offset += file->end;
    return status;
}

enum status edge_file_next(struct edge_file *file, struct edge *edge, bool *more,
                           struct error *error)
{
    *more = file->unread > 0;
    if (!*more) return STATUS_OK;
    if (file->used == file->end) {
        enum status status = refill(file, error);
        if (status != STATUS_OK) return status;
    }
    edge_unpack(file->layout, file->buffer + file->used, edge);
    file->used += file->record_bytes;
    file->unread--;
    return STATUS_OK;
}
