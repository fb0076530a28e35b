#include "graph/line_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "common/check.h"
#include "common/program.h"

#define BUFFER_BYTES   (256u << 10)
#define LINE_BYTES_MAX (256u << 20)

struct line_reader {
    char *path;
    gzFile input;
    FILE *command; /* NULL unless the input is a program's output */
    uint64_t number;
    char *buffer;
    size_t begin, end, capacity; /* unread bytes are [begin, end) */
    bool finished;
};

static enum status reader_create(struct line_reader **out, const char *path, int fd,
                                 struct error *error)
{
    struct line_reader *reader = calloc(1, sizeof *reader);
    CHECK(reader != NULL);
    reader->path = strdup(path);
    reader->capacity = BUFFER_BYTES;
    reader->buffer = malloc(reader->capacity + 1);
    CHECK(reader->path != NULL && reader->buffer != NULL);
    reader->input = gzdopen(fd, "rb");
    if (reader->input == NULL) {
        close(fd);
        line_reader_close(reader);
        return error_set(error, STATUS_IO, "%s: cannot read", path);
    }
    gzbuffer(reader->input, BUFFER_BYTES);
    *out = reader;
    return STATUS_OK;
}

enum status line_reader_open(struct line_reader **out, const char *path, struct error *error)
{
    *out = NULL;
    const bool standard_input = strcmp(path, "-") == 0;
    int fd = standard_input ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        enum status status = errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
        return error_set_errno(error, status, errno, "%s", path);
    }
    struct stat stat_of;
    if (fstat(fd, &stat_of) == 0 && S_ISDIR(stat_of.st_mode)) {
        close(fd);
        return error_set(error, STATUS_IO, "%s: is a folder, expected a file", path);
    }
    return reader_create(out, standard_input ? "standard input" : path, fd, error);
}

enum status line_reader_open_command(struct line_reader **out, const char *command,
                                     const char *path, struct error *error)
{
    *out = NULL;
    FILE *pipe_of = popen(command, "re");
    int fd = pipe_of == NULL ? -1 : dup(fileno(pipe_of));
    if (fd < 0) {
        enum status status =
            error_set_errno(error, STATUS_IO, errno, "%s: cannot run %s", path, command);
        if (pipe_of != NULL) pclose(pipe_of);
        return status;
    }
    enum status status = reader_create(out, path, fd, error);
    if (status != STATUS_OK) {
        pclose(pipe_of);
        return status;
    }
    (*out)->command = pipe_of;
    return STATUS_OK;
}

void line_reader_close(struct line_reader *reader)
{
    if (reader == NULL) return;
    if (reader->input != NULL) gzclose_r(reader->input);
    if (reader->command != NULL) pclose(reader->command);
    free(reader->buffer);
    free(reader->path);
    free(reader);
}

static enum status end_check(struct line_reader *reader, struct error *error)
{
    if (reader->command == NULL) return STATUS_OK;
    int result = pclose(reader->command);
    reader->command = NULL;
    if (result == 0) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%s: cannot be unpacked (the program for it failed)",
                     reader->path);
}

/* Reads more bytes behind those that are there. */
static enum status refill(struct line_reader *reader, struct error *error)
{
    if (reader->begin > 0) {
        memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
        reader->end -= reader->begin;
        reader->begin = 0;
    }
    if (reader->end == reader->capacity) {
        if (reader->capacity >= LINE_BYTES_MAX) {
            return error_set(error, STATUS_CORRUPT, "%s:%llu: the line is longer than %u bytes",
                             reader->path, (unsigned long long)reader->number + 1, LINE_BYTES_MAX);
        }
        reader->capacity *= 2;
        reader->buffer = realloc(reader->buffer, reader->capacity + 1);
        CHECK(reader->buffer != NULL);
    }
    int got = gzread(reader->input, reader->buffer + reader->end,
                     (unsigned)(reader->capacity - reader->end));
    int failure = Z_OK;
    const char *text = gzerror(reader->input, &failure);
    if (got < 0 || (got == 0 && failure != Z_OK)) {
        if (program_stop_requested())
            return error_set(error, STATUS_STOPPED, "%s: stopped by a signal", reader->path);
        if (failure == Z_ERRNO)
            return error_set_errno(error, STATUS_IO, errno, "%s: cannot read", reader->path);
        return error_set(error, STATUS_CORRUPT, "%s: damaged compressed data: %s", reader->path,
                         text);
    }
    reader->end += (size_t)got;
    if (got > 0) return STATUS_OK;
    reader->finished = true;
    return end_check(reader, error);
}

enum status line_reader_next(struct line_reader *reader, char **line, size_t *bytes,
                             struct error *error)
{
    size_t searched = 0;
    char *end = NULL;
    *line = NULL;
    *bytes = 0;
    for (;;) {
        char *from = reader->buffer + reader->begin;
        size_t unread = reader->end - reader->begin;
        end = memchr(from + searched, '\n', unread - searched);
        if (end != NULL || reader->finished) break;
        searched = unread;
        enum status status = refill(reader, error);
        if (status != STATUS_OK) return status;
    }
    if (end == NULL && reader->begin == reader->end) return STATUS_OK;
    *line = reader->buffer + reader->begin;
    if (end == NULL) end = reader->buffer + reader->end;
    *bytes = (size_t)(end - *line);
    reader->begin += *bytes + (reader->begin + *bytes < reader->end ? 1 : 0);
    if (*bytes > 0 && (*line)[*bytes - 1] == '\r') --*bytes;
    (*line)[*bytes] = '\0';
    reader->number++;
    return STATUS_OK;
}

uint64_t line_reader_number(const struct line_reader *reader)
{
    return reader->number;
}

const char *line_reader_path(const struct line_reader *reader)
{
    return reader->path;
}
