/* Files and folders: whole reads, mappings, and writes that appear whole or not at all. */
#ifndef ANTHILL_COMMON_FILE_H
#define ANTHILL_COMMON_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define FILE_PATH_BYTES 4096

/* snprintf into a path; STATUS_INVALID when it does not fit. */
enum status file_path(char path[FILE_PATH_BYTES], struct error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4))) MUST_CHECK;

bool file_exists(const char *path);

/* The whole file, with a zero byte after its end. returns owned; free().
 *   errors   STATUS_NOT_FOUND, STATUS_IO, STATUS_CORRUPT when it has more than bytes_max */
enum status file_read_all(const char *path, size_t bytes_max, char **data, size_t *bytes,
                          struct error *error) MUST_CHECK;

/* Writes all bytes to the descriptor, however often the system stops short. `path` is for the text.
 */
enum status file_write_all(int fd, const void *data, size_t bytes, const char *path,
                           struct error *error) MUST_CHECK;

/* Writes `path`.tmp, fsyncs, renames over `path`, fsyncs the folder. On error nothing is left. */
enum status file_write_atomic(const char *path, const void *data, size_t bytes,
                              struct error *error) MUST_CHECK;

struct file_map {
    const uint8_t *data; /* NULL when the file is empty */
    size_t bytes;
};

/* Read-only mapping of the whole file. */
enum status file_map_open(struct file_map *map, const char *path, struct error *error) MUST_CHECK;
void file_map_close(struct file_map *map);

/* Creates the folder and its parents, and flushes the folders that they are in; one that is there
 * is no error. */
enum status file_dir_create(const char *path, struct error *error) MUST_CHECK;

/* Removes the folder with all in it; one that is not there is no error. Does not follow links. */
enum status file_dir_remove(const char *path, struct error *error) MUST_CHECK;

/* The same for a folder that may not stay there in part: it is moved to `path`.old first, and the
 * parent fsynced. */
enum status file_dir_discard(const char *path, struct error *error) MUST_CHECK;

/* Makes a finished folder appear under its final name: fsyncs every file in `temporary`, renames
 * it to `path`, fsyncs the parent. An older `path` is replaced (it is moved aside, then removed).*/
enum status file_dir_publish(const char *temporary, const char *path,
                             struct error *error) MUST_CHECK;

#endif
