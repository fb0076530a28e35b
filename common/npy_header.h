/* What npy.c, npy_write.c and npz.c share; everyone else includes common/npy.h. */
#ifndef ANTHILL_COMMON_NPY_HEADER_H
#define ANTHILL_COMMON_NPY_HEADER_H

#include "common/npy.h"

#define NPY_MAGIC "\x93NUMPY"

/* The type as it stands in a header: "<f4". */
const char *npy_type_descr(enum npy_type type);

/* Fills `array` from a whole .npy file in memory; array->data points into it.
 *   errors   STATUS_CORRUPT, without the path */
enum status npy_parse(struct npy *array, const void *memory, size_t bytes,
                      struct error *error) MUST_CHECK;

/* As npy_parse; `array` takes the memory (a mapping, or from malloc), which is given back at once
 * on an error. Its data is aligned to 64 afterwards. Matrices in Fortran order are transposed when
 * `any_order`, else refused.
 *   errors   STATUS_CORRUPT, STATUS_NOMEM, without the path */
enum status npy_take(struct npy *array, void *memory, size_t bytes, bool mapped, bool any_order,
                     struct error *error) MUST_CHECK;

/* npy_open_npz, with npy_take's choice of order. */
enum status npy_take_npz(struct npy *array, const char *path, const char *name, bool any_order,
                         struct error *error) MUST_CHECK;

#endif
