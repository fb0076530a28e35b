#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/checksum.h"
#include "common/file.h"
#include "common/npy_header.h"

enum { BUFFER_BYTES = 256 << 10, HEADER_BYTES_MAX = 256 };

struct npy_writer {
    int fd;
    enum npy_type type;
    unsigned dims;
    uint64_t shape[NPY_DIMS_MAX];
    uint64_t row_items; /* product of shape without the first */
    uint64_t items;     /* appended so far */
    uint64_t written;   /* bytes of data that are in the file */
    size_t header_bytes;
    size_t buffered;
    char *path;
    unsigned char *buffer; /* NULL: rests */
    struct checksum *checksum;
};

/* Formats magic, version, length and dictionary, padded with spaces to `total` bytes; returns the
 * bytes that are needed at least. */
static size_t format_header(const struct npy_writer *writer, uint64_t first, size_t total,
                            char header[HEADER_BYTES_MAX])
{
    size_t used = (size_t)snprintf(header, HEADER_BYTES_MAX,
                                   "%s%c%c__{'descr': '%s', 'fortran_order': False, 'shape': (",
                                   NPY_MAGIC, 1, 0, npy_type_descr(writer->type));
    CHECK(used < HEADER_BYTES_MAX);
    for (unsigned i = 0; i < writer->dims; i++) {
        uint64_t length = i == 0 ? first : writer->shape[i];
        used +=
            (size_t)snprintf(header + used, HEADER_BYTES_MAX - used, "%s%" PRIu64 "%s",
                             i == 0 ? "" : " ", length, i + 1 < writer->dims || i == 0 ? "," : "");
        CHECK(used < HEADER_BYTES_MAX);
    }
    used += (size_t)snprintf(header + used, HEADER_BYTES_MAX - used, "), }");
    CHECK(used + 1 < HEADER_BYTES_MAX);
    if (total == 0) return used + 1;
    CHECK(used + 1 <= total && total <= HEADER_BYTES_MAX);
    memset(header + used, ' ', total - used - 1);
    header[total - 1] = '\n';
    header[8] = (char)((total - 10) & 0xff);
    header[9] = (char)((total - 10) >> 8);
    return total;
}

static void writer_free(struct npy_writer *writer)
{
    if (writer->fd >= 0) close(writer->fd);
    checksum_destroy(writer->checksum);
    free(writer->buffer);
    free(writer->path);
    free(writer);
}

/* Opens the file where its data goes on. The header's place holds zeros until the shape is known: a
 * file that was not finished is refused as no .npy file. */
static enum status begin(struct npy_writer *writer, int flags, struct error *error)
{
    if (writer->buffer != NULL) return STATUS_OK;
    writer->fd = open(writer->path, O_WRONLY | O_CLOEXEC | flags, 0666);
    if (writer->fd < 0) {
        return error_set_errno(error, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
                               "cannot create %s", writer->path);
    }
    if (lseek(writer->fd, (off_t)(writer->header_bytes + writer->written), SEEK_SET) < 0) {
        return error_set_errno(error, STATUS_IO, errno, "cannot write %s", writer->path);
    }
    writer->buffer = malloc(BUFFER_BYTES);
    CHECK(writer->buffer != NULL);
    return STATUS_OK;
}

enum status npy_writer_open(struct npy_writer **result, const char *path, enum npy_type type,
                            unsigned dims, const uint64_t *shape, struct error *error)
{
    CHECK(dims <= NPY_DIMS_MAX);
    enum status status = STATUS_OK;
    struct npy_writer *writer = calloc(1, sizeof *writer);
    CHECK(writer != NULL);
    *writer = (struct npy_writer){.fd = -1, .type = type, .dims = dims, .row_items = 1};
    writer->path = strdup(path);
    writer->checksum = checksum_create();
    CHECK(writer->path != NULL);
    for (unsigned i = 1; i < dims; i++) {
        writer->shape[i] = shape[i];
        if (__builtin_mul_overflow(writer->row_items, shape[i], &writer->row_items)) {
            status = error_set(error, STATUS_INVALID, "%s: the shape is too large", path);
            goto out;
        }
    }
    char header[HEADER_BYTES_MAX];
    writer->header_bytes = (format_header(writer, UINT64_MAX, 0, header) + 63) & ~(size_t)63;
    status = begin(writer, O_CREAT | O_TRUNC, error);
out:
    if (status != STATUS_OK) {
        writer_free(writer);
        writer = NULL;
    }
    *result = writer;
    return status;
}

static enum status put(struct npy_writer *writer, const void *data, size_t bytes,
                       struct error *error)
{
    checksum_add(writer->checksum, data, bytes);
    writer->written += bytes;
    return file_write_all(writer->fd, data, bytes, writer->path, error);
}

static enum status flush(struct npy_writer *writer, struct error *error)
{
    size_t bytes = writer->buffered;
    writer->buffered = 0;
    return put(writer, writer->buffer, bytes, error);
}

enum status npy_writer_append(struct npy_writer *writer, const void *items, uint64_t count,
                              struct error *error)
{
    uint64_t bytes = count * npy_item_bytes(writer->type);
    enum status status = begin(writer, 0, error);
    if (status == STATUS_OK && bytes > BUFFER_BYTES - writer->buffered) {
        status = flush(writer, error);
    }
    if (status != STATUS_OK) return status;
    writer->items += count;
    if (bytes > BUFFER_BYTES) return put(writer, items, bytes, error);
    CHECK(writer->buffer != NULL);
    if (bytes > 0) memcpy(writer->buffer + writer->buffered, items, bytes);
    writer->buffered += bytes;
    return STATUS_OK;
}

static enum status close_file(struct npy_writer *writer, struct error *error)
{
    int failed = close(writer->fd);
    writer->fd = -1;
    if (failed == 0) return STATUS_OK;
    return error_set_errno(error, STATUS_IO, errno, "cannot write %s", writer->path);
}

enum status npy_writer_rest(struct npy_writer *writer, bool on_disk, struct error *error)
{
    enum status status = begin(writer, 0, error);
    if (status == STATUS_OK) status = flush(writer, error);
    if (status == STATUS_OK && on_disk && fdatasync(writer->fd) != 0) {
        status = error_set_errno(error, STATUS_IO, errno, "cannot flush %s", writer->path);
    }
    if (status != STATUS_OK) return status;
    free(writer->buffer);
    writer->buffer = NULL;
    return close_file(writer, error);
}

/* The first length that the items fill; false when they do not fill whole rows. */
static bool rows_of(const struct npy_writer *writer, uint64_t *rows)
{
    *rows = writer->row_items == 0 ? 0 : writer->items / writer->row_items;
    if (writer->dims == 0) return writer->items == 1;
    return *rows * writer->row_items == writer->items;
}

static enum status finish(struct npy_writer *writer, uint64_t rows, struct error *error)
{
    char header[HEADER_BYTES_MAX];
    enum status status = begin(writer, 0, error);
    if (status == STATUS_OK) status = flush(writer, error);
    if (status != STATUS_OK) return status;
    format_header(writer, rows, writer->header_bytes, header);
    checksum_add(writer->checksum, header, writer->header_bytes);
    if (lseek(writer->fd, 0, SEEK_SET) < 0) {
        return error_set_errno(error, STATUS_IO, errno, "cannot write %s", writer->path);
    }
    status = file_write_all(writer->fd, header, writer->header_bytes, writer->path, error);
    return status == STATUS_OK ? close_file(writer, error) : status;
}

/* Ends the file with `rows` as its first length; on an error nothing is left of it. */
static enum status close_with(struct npy_writer *writer, uint64_t rows, bool whole,
                              struct npy_sum *sum, struct error *error)
{
    enum status status = STATUS_OK;
    if (!whole) {
        status = error_set(error, STATUS_INVALID,
                           "%s: %" PRIu64 " items do not fill whole rows of %" PRIu64, writer->path,
                           writer->items, writer->row_items);
    } else {
        status = finish(writer, rows, error);
    }
    if (status == STATUS_OK) {
        *sum = (struct npy_sum){.bytes = writer->header_bytes + writer->written,
                                .checksum = checksum_value(writer->checksum)};
        writer_free(writer);
    } else {
        npy_writer_abandon(writer);
    }
    return status;
}

enum status npy_writer_close_sum(struct npy_writer *writer, struct npy_sum *sum,
                                 struct error *error)
{
    uint64_t rows;
    bool whole = rows_of(writer, &rows);
    return close_with(writer, rows, whole, sum, error);
}

enum status npy_writer_close(struct npy_writer *writer, struct error *error)
{
    struct npy_sum sum;
    return npy_writer_close_sum(writer, &sum, error);
}

void npy_writer_abandon(struct npy_writer *writer)
{
    if (writer == NULL) return;
    unlink(writer->path);
    writer_free(writer);
}

enum status npy_write(const char *path, enum npy_type type, unsigned dims, const uint64_t *shape,
                      const void *data, struct error *error)
{
    struct npy_writer *writer;
    enum status status = npy_writer_open(&writer, path, type, dims, shape, error);
    if (status != STATUS_OK) return status;
    uint64_t rows = dims == 0 ? 1 : shape[0];
    status = npy_writer_append(writer, data, rows * writer->row_items, error);
    if (status != STATUS_OK) {
        npy_writer_abandon(writer);
        return status;
    }
    struct npy_sum sum;
    return close_with(writer, rows, true, &sum, error);
}

enum status npy_checksum_file(const char *path, uint64_t *checksum, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(error, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO, errno,
                               "cannot open %s", path);
    }
    unsigned char start[10] = {0};
    ssize_t got = pread(fd, start, sizeof start, 0);
    int reason = errno;
    close(fd);
    if (got < 0) return error_set_errno(error, STATUS_IO, reason, "cannot read %s", path);
    uint64_t header_bytes = sizeof start + start[8] + ((uint64_t)start[9] << 8);
    return checksum_file_from(path, header_bytes, checksum, error);
}
