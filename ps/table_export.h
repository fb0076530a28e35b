/* Writes a table of a run that goes on to a folder of .npy files. */
#ifndef ANTHILL_PS_TABLE_EXPORT_H
#define ANTHILL_PS_TABLE_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "ps/client/client.h"

struct table_export {
    bool dense;
    uint64_t rows; /* sparse: rows of dim floats */
    uint32_t dim;
    uint64_t tensors, floats; /* dense: tensors of so many floats together */
    double seconds;
};

/* Writes the table `name` to the folder `dir`, which appears whole or not at all; an earlier export
 * of the table there is replaced. A sparse table is keys.npy, u64 [n], in no order that means
 * anything, and values.npy, f32 [n, dim]; a dense one is a file for each tensor, NAME.npy, f32
 * [rows, cols]. The table may be used meanwhile: each row is as it was at some time of the export.
 *   progress_descriptor   as transfer_begin
 *   errors   STATUS_NOT_FOUND with the names of the tables that are there; STATUS_DENIED when `dir`
 *            holds anything else; STATUS_INVALID when tensors would have the same file; STATUS_IO;
 *            as client_wait */
enum status table_export(struct client *client, const char *name, const char *dir,
                         int progress_descriptor, struct table_export *result,
                         struct error *error) MUST_CHECK;

#endif
