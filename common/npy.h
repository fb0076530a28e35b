/* NumPy's .npy (format 1.0 and 2.0, C order, little endian) and .npz (libzip).
 * source: numpy.lib.format */
#ifndef ANTHILL_COMMON_NPY_H
#define ANTHILL_COMMON_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum npy_type {
    NPY_BOOL, /* '|b1', 1 byte each */
    NPY_I8,
    NPY_U8,
    NPY_I16,
    NPY_U16,
    NPY_I32,
    NPY_U32,
    NPY_I64,
    NPY_U64,
    NPY_F32,
    NPY_F64,
};

#define NPY_DIMS_MAX 4

struct npy {
    enum npy_type type;
    unsigned dims;                /* 0 to NPY_DIMS_MAX */
    uint64_t shape[NPY_DIMS_MAX]; /* entries from `dims` on are 1 */
    uint64_t count;               /* product of shape */
    const void *data;             /* count items, aligned to 64 */
    void *memory;                 /* private: what npy_close gives back */
    size_t memory_bytes;          /* private */
    bool mapped;                  /* private */
    bool fortran;                 /* private */
};

size_t npy_item_bytes(enum npy_type type);
const char *npy_type_name(enum npy_type type); /* "u32", "f32", ... */

/* Maps an array for reading; one whose data is not aligned to 64 in the file is copied.
 *   errors   STATUS_NOT_FOUND, STATUS_IO; STATUS_CORRUPT for a bad magic or header, Fortran order,
 *            big endian, an unknown type, or a file shorter or longer than its header says; the
 *            text names the path and what was expected
 *   owner    npy_close */
enum status npy_open(struct npy *array, const char *path, struct error *error) MUST_CHECK;

/* As npy_open, then STATUS_CORRUPT unless type and shape are as given (a shape of UINT64_MAX
 * matches any length). */
enum status npy_open_as(struct npy *array, const char *path, enum npy_type type, unsigned dims,
                        const uint64_t *shape, struct error *error) MUST_CHECK;

/* Reads the member `name` (with or without ".npy") of a .npz file into memory.
 *   errors   as npy_open; STATUS_NOT_FOUND names the members that are there */
enum status npy_open_npz(struct npy *array, const char *path, const char *name,
                         struct error *error) MUST_CHECK;

/* For data that others wrote: as npy_open, or as npy_open_npz when `member` is not NULL, but a
 * matrix in Fortran order is accepted and transposed in memory. */
enum status npy_open_foreign(struct npy *array, const char *path, const char *member,
                             struct error *error) MUST_CHECK;

/* Closing twice, or an array that is all zeros, does nothing. */
void npy_close(struct npy *array);

/* Item `index` of an integer, bool or float array as a number; index < count. A float that no
 * int64_t can hold gives the nearest one, NaN 0; a u64 keeps its bits. */
int64_t npy_i64(const struct npy *array, uint64_t index);
double npy_f64(const struct npy *array, uint64_t index);

/* Writes a whole array (plain write, no rename: for folders that are published whole). */
enum status npy_write(const char *path, enum npy_type type, unsigned dims, const uint64_t *shape,
                      const void *data, struct error *error) MUST_CHECK;

/* Streams an array whose first dimension is known only at the end. Items are appended; close
 * writes the final shape into the header (which has room kept for it). */
struct npy_writer;
enum status npy_writer_open(struct npy_writer **writer, const char *path, enum npy_type type,
                            unsigned dims, const uint64_t *shape, struct error *error) MUST_CHECK;
enum status npy_writer_append(struct npy_writer *writer, const void *items, uint64_t count,
                              struct error *error) MUST_CHECK;
/* For one of many writers: writes what is buffered and gives descriptor and buffer back until the
 * next append. With `flush` all of it is on the disk. */
enum status npy_writer_rest(struct npy_writer *writer, bool flush, struct error *error) MUST_CHECK;
/* Frees the writer whatever happens. STATUS_INVALID when the items do not fill whole rows. */
enum status npy_writer_close(struct npy_writer *writer, struct error *error) MUST_CHECK;

/* A file's size, and the XXH3 of its data followed by its header: the order in which they become
 * known while it is written. */
struct npy_sum {
    uint64_t bytes, checksum;
};
enum status npy_writer_close_sum(struct npy_writer *writer, struct npy_sum *sum,
                                 struct error *error) MUST_CHECK;
/* The same checksum of a file that is there, whatever it holds.
 *   errors   STATUS_NOT_FOUND, STATUS_IO, with the path in the text */
enum status npy_checksum_file(const char *path, uint64_t *checksum, struct error *error) MUST_CHECK;
/* Frees the writer and removes the file. NULL does nothing. */
void npy_writer_abandon(struct npy_writer *writer);

#endif
