/* Changes a table of a run that goes on as .npy files say. */
#ifndef ANTHILL_PS_TABLE_FILES_H
#define ANTHILL_PS_TABLE_FILES_H

#include <stdint.h>

#include "ps/client/client.h"

struct table_import {
    uint64_t rows;       /* assigned, a key that stands twice once */
    uint64_t duplicates; /* keys that stand again in the files */
    uint32_t dim;
    double seconds;
};

/* Sets rows of the sparse table `name` to those of the folder `dir`: keys.npy, u64 [n], and
 * values.npy, f32 [n, dim]. Of a key that stands more than once the last row counts. Missing rows
 * are created, and all get the optimizer state of new rows. Nothing is set unless both files are
 * sound; a table that has no more room has some of the rows.
 *   progress_descriptor   as transfer_begin
 *   errors   STATUS_NOT_FOUND for a file, or with the names of the tables that are there;
 *            STATUS_CORRUPT for another type or shape, or a value that is NaN or infinite, with the
 *            file's name; STATUS_INVALID for a dense table; STATUS_NOMEM; as client_wait */
enum status table_files_import(struct client *client, const char *name, const char *dir,
                               int progress_descriptor, struct table_import *result,
                               struct error *error) MUST_CHECK;

struct table_deletion {
    uint64_t keys, deleted; /* in the file; rows that were there */
    double seconds;
};

/* Removes the rows of the sparse table `name` whose keys stand in the file `path`, u64 [n].
 *   owner    after STATUS_STOPPED `result` stays borrowed until client_close
 *   errors   as table_files_import */
enum status table_files_delete(struct client *client, const char *name, const char *path,
                               int progress_descriptor, struct table_deletion *result,
                               struct error *error) MUST_CHECK;

#endif
