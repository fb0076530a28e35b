#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zip.h>

#include "common/file.h"
#include "common/npy_header.h"
#include "common/text.h"

/* Deflate grows its input at most 1032 times: a larger claim is a lie, and no memory is taken. */
enum { DEFLATE_GROWTH_MAX = 1032 };

static enum status open_archive(zip_t **archive, const char *path, struct error *error)
{
    int reason = 0;
    *archive = zip_open(path, ZIP_RDONLY, &reason);
    if (*archive != NULL) return STATUS_OK;
    zip_error_t detail;
    zip_error_init_with_code(&detail, reason);
    enum status status = reason == ZIP_ER_NOENT                           ? STATUS_NOT_FOUND
                         : reason == ZIP_ER_READ || reason == ZIP_ER_OPEN ? STATUS_IO
                                                                          : STATUS_CORRUPT;
    error_set(error, status, "cannot open %s: %s", path, zip_error_strerror(&detail));
    zip_error_fini(&detail);
    return status;
}

/* The index of `name` or `name`.npy; on an error the text names what is there. */
static enum status find_member(zip_t *archive, const char *path, const char *name, uint64_t *index,
                               struct error *error)
{
    char with_suffix[FILE_PATH_BYTES];
    zip_int64_t found = zip_name_locate(archive, name, 0);
    if (found < 0) {
        enum status status = file_path(with_suffix, error, "%s.npy", name);
        if (status != STATUS_OK) return status;
        found = zip_name_locate(archive, with_suffix, 0);
    }
    if (found >= 0) {
        *index = (uint64_t)found;
        return STATUS_OK;
    }
    struct text members = {0};
    zip_int64_t count = zip_get_num_entries(archive, 0);
    for (zip_int64_t i = 0; i < count && members.bytes < 500; i++) {
        const char *member = zip_get_name(archive, (zip_uint64_t)i, 0);
        text_add(&members, "%s%s", i == 0 ? "" : ", ", member == NULL ? "?" : member);
    }
    error_set(error, STATUS_NOT_FOUND, "%s: no member %s (there: %s)", path, name,
              members.bytes == 0 ? "none" : members.data);
    text_deinit(&members);
    return STATUS_NOT_FOUND;
}

/* Reads the whole member, up to its checksum, which libzip compares at the end. */
static enum status read_member(zip_t *archive, uint64_t archive_bytes, uint64_t index,
                               void **memory, size_t *bytes, struct error *error)
{
    enum status status = STATUS_OK;
    zip_file_t *file = NULL;
    unsigned char *buffer = NULL;
    zip_stat_t info;
    const zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
    if (zip_stat_index(archive, index, 0, &info) != 0 || (info.valid & needed) != needed ||
        info.comp_size > archive_bytes || info.size / DEFLATE_GROWTH_MAX > info.comp_size) {
        return error_set(error, STATUS_CORRUPT, "its size cannot be right");
    }
    file = zip_fopen_index(archive, index, 0);
    if (file == NULL) return error_set(error, STATUS_CORRUPT, "%s", zip_strerror(archive));
    buffer = malloc(info.size + 1);
    if (buffer == NULL) {
        status = error_set(error, STATUS_NOMEM, "no memory for %zu bytes", (size_t)info.size);
        goto out;
    }
    size_t used = 0;
    for (;;) {
        /* One byte more than is due, so that the end, and with it the checksum, is reached. */
        zip_int64_t got = zip_fread(file, buffer + used, info.size + 1 - used);
        if (got < 0) {
            status = error_set(error, STATUS_CORRUPT, "%s", zip_file_strerror(file));
            goto out;
        }
        if (got == 0) break;
        used += (size_t)got;
        if (used > info.size) break;
    }
    if (used != info.size) {
        status = error_set(error, STATUS_CORRUPT, "its data is not of the size it says");
        goto out;
    }
    *memory = buffer;
    *bytes = used;
    buffer = NULL;
out:
    free(buffer);
    zip_fclose(file);
    return status;
}

enum status npy_take_npz(struct npy *array, const char *path, const char *name, bool any_order,
                         struct error *error)
{
    zip_t *archive;
    void *memory = NULL;
    size_t bytes = 0;
    uint64_t index = 0;
    *array = (struct npy){0};
    enum status status = open_archive(&archive, path, error);
    if (status != STATUS_OK) return status;
    status = find_member(archive, path, name, &index, error);
    if (status != STATUS_OK) goto out;
    struct stat file;
    uint64_t archive_bytes = stat(path, &file) == 0 ? (uint64_t)file.st_size : 0;
    status = read_member(archive, archive_bytes, index, &memory, &bytes, error);
    if (status == STATUS_OK) status = npy_take(array, memory, bytes, false, any_order, error);
    if (status != STATUS_OK) error_wrap(error, status, "%s: member %s", path, name);
out:
    zip_discard(archive);
    return status;
}

enum status npy_open_npz(struct npy *array, const char *path, const char *name, struct error *error)
{
    return npy_take_npz(array, path, name, false, error);
}
