#include "common/npy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/file.h"
#include "common/npy_header.h"

static const struct {
    const char *name, *descr;
    size_t bytes;
} types[] = {
    [NPY_BOOL] = {"bool", "|b1", 1}, [NPY_I8] = {"i8", "|i1", 1},   [NPY_U8] = {"u8", "|u1", 1},
    [NPY_I16] = {"i16", "<i2", 2},   [NPY_U16] = {"u16", "<u2", 2}, [NPY_I32] = {"i32", "<i4", 4},
    [NPY_U32] = {"u32", "<u4", 4},   [NPY_I64] = {"i64", "<i8", 8}, [NPY_U64] = {"u64", "<u8", 8},
    [NPY_F32] = {"f32", "<f4", 4},   [NPY_F64] = {"f64", "<f8", 8},
};

enum { TYPE_COUNT = sizeof types / sizeof *types };

size_t npy_item_bytes(enum npy_type type)
{
    CHECK((unsigned)type < TYPE_COUNT);
    return types[type].bytes;
}

const char *npy_type_name(enum npy_type type)
{
    CHECK((unsigned)type < TYPE_COUNT);
    return types[type].name;
}

const char *npy_type_descr(enum npy_type type)
{
    CHECK((unsigned)type < TYPE_COUNT);
    return types[type].descr;
}

/* A cursor over the header's text: a Python dictionary of three known keys. */
struct scan {
    const char *next, *end;
};

static void skip_spaces(struct scan *scan)
{
    while (scan->next < scan->end && (*scan->next == ' ' || *scan->next == '\n'))
        scan->next++;
}

/* Takes `word` after spaces, if it stands there. */
static bool take(struct scan *scan, const char *word)
{
    skip_spaces(scan);
    size_t bytes = strlen(word);
    if ((size_t)(scan->end - scan->next) < bytes) return false;
    if (memcmp(scan->next, word, bytes) != 0) return false;
    scan->next += bytes;
    return true;
}

/* Takes a quoted string without escapes; false when there is none or it does not fit. */
static bool take_string(struct scan *scan, char *string, size_t string_bytes)
{
    skip_spaces(scan);
    if (scan->next == scan->end || (*scan->next != '\'' && *scan->next != '"')) return false;
    char quote = *scan->next;
    size_t used = 0;
    for (const char *c = scan->next + 1; c < scan->end && used + 1 < string_bytes; c++) {
        if (*c == quote) {
            string[used] = 0;
            scan->next = c + 1;
            return true;
        }
        string[used++] = *c;
    }
    return false;
}

static bool take_number(struct scan *scan, uint64_t *number)
{
    skip_spaces(scan);
    const char *begin = scan->next;
    uint64_t value = 0;
    while (scan->next < scan->end && *scan->next >= '0' && *scan->next <= '9') {
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(*scan->next - '0'), &value)) return false;
        scan->next++;
    }
    *number = value;
    return scan->next > begin;
}

/* "()", "(3,)", "(3, 4)", "(3, 4,)". A single number without a comma is not a tuple. */
static enum status take_shape(struct scan *scan, struct npy *array, struct error *error)
{
    bool comma = true;
    if (!take(scan, "(")) return error_set(error, STATUS_CORRUPT, "shape is not a tuple");
    array->dims = 0;
    while (!take(scan, ")")) {
        if (array->dims == NPY_DIMS_MAX) {
            return error_set(error, STATUS_CORRUPT, "more than %d dimensions", NPY_DIMS_MAX);
        }
        if (!comma || !take_number(scan, &array->shape[array->dims])) {
            return error_set(error, STATUS_CORRUPT, "shape is not a tuple of lengths");
        }
        array->dims++;
        comma = take(scan, ",");
    }
    if (array->dims == 1 && !comma) {
        return error_set(error, STATUS_CORRUPT, "shape is not a tuple");
    }
    for (unsigned i = array->dims; i < NPY_DIMS_MAX; i++)
        array->shape[i] = 1;
    return STATUS_OK;
}

static enum status take_descr(struct scan *scan, struct npy *array, struct error *error)
{
    char descr[32];
    if (!take_string(scan, descr, sizeof descr)) {
        return error_set(error, STATUS_CORRUPT, "the type is not a plain number type");
    }
    for (unsigned i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(descr, types[i].descr) == 0) {
            array->type = (enum npy_type)i;
            return STATUS_OK;
        }
    }
    if (descr[0] == '>') {
        return error_set(error, STATUS_CORRUPT, "type '%s' is big endian, little endian expected",
                         descr);
    }
    return error_set(error, STATUS_CORRUPT,
                     "type '%.10s' is none of bool, 1 to 8 byte integers, f32, f64", descr);
}

enum { KEY_DESCR = 1, KEY_ORDER = 2, KEY_SHAPE = 4, KEYS_ALL = 7 };

/* One `'key': value` of the dictionary; `seen` collects the keys. */
static enum status take_entry(struct scan *scan, struct npy *array, unsigned *seen,
                              struct error *error)
{
    char key[32];
    if (!take_string(scan, key, sizeof key) || !take(scan, ":")) {
        return error_set(error, STATUS_CORRUPT, "the header is not a dictionary");
    }
    unsigned bit = strcmp(key, "descr") == 0           ? KEY_DESCR
                   : strcmp(key, "fortran_order") == 0 ? KEY_ORDER
                   : strcmp(key, "shape") == 0         ? KEY_SHAPE
                                                       : 0;
    if (bit == 0) return error_set(error, STATUS_CORRUPT, "unknown key in the header");
    if ((*seen & bit) != 0) return error_set(error, STATUS_CORRUPT, "%s stands twice", key);
    *seen |= bit;
    if (bit == KEY_DESCR) return take_descr(scan, array, error);
    if (bit == KEY_SHAPE) return take_shape(scan, array, error);
    if (take(scan, "False")) return STATUS_OK;
    array->fortran = take(scan, "True");
    if (array->fortran) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "fortran_order is neither True nor False");
}

static enum status parse_dictionary(struct scan scan, struct npy *array, struct error *error)
{
    unsigned seen = 0;
    if (scan.next == scan.end || scan.end[-1] != '\n') {
        return error_set(error, STATUS_CORRUPT, "the header does not end its line");
    }
    if (!take(&scan, "{")) {
        return error_set(error, STATUS_CORRUPT, "the header is not a dictionary");
    }
    for (bool more = true; more;) {
        enum status status = take_entry(&scan, array, &seen, error);
        if (status != STATUS_OK) return status;
        more = take(&scan, ",");
        if (take(&scan, "}")) break;
        if (!more) return error_set(error, STATUS_CORRUPT, "the header's dictionary does not end");
    }
    skip_spaces(&scan);
    if (scan.next != scan.end) {
        return error_set(error, STATUS_CORRUPT, "something follows the header's dictionary");
    }
    if (seen != KEYS_ALL) {
        return error_set(error, STATUS_CORRUPT, "descr, fortran_order or shape is missing");
    }
    return STATUS_OK;
}

/* Counts the items and compares with the bytes that are there. No product of lengths other than 0
 * overflows afterwards, so that callers may multiply them. */
static enum status check_size(struct npy *array, uint64_t data_bytes, struct error *error)
{
    uint64_t product = 1, bytes;
    bool empty = false;
    for (unsigned i = 0; i < array->dims; i++) {
        if (array->shape[i] == 0) {
            empty = true;
        } else if (__builtin_mul_overflow(product, array->shape[i], &product)) {
            return error_set(error, STATUS_CORRUPT, "the shape is too large");
        }
    }
    if (__builtin_mul_overflow(product, npy_item_bytes(array->type), &bytes)) {
        return error_set(error, STATUS_CORRUPT, "the shape is too large");
    }
    array->count = empty ? 0 : product;
    if (empty) bytes = 0;
    if (bytes != data_bytes) {
        return error_set(error, STATUS_CORRUPT,
                         "%" PRIu64 " bytes of data, but the header says %" PRIu64, data_bytes,
                         bytes);
    }
    return STATUS_OK;
}

enum status npy_parse(struct npy *array, const void *memory, size_t bytes, struct error *error)
{
    const unsigned char *start = memory;
    *array = (struct npy){0};
    if (bytes < 10 || memcmp(start, NPY_MAGIC, 6) != 0) {
        return error_set(error, STATUS_CORRUPT, "not a .npy file (bad magic)");
    }
    unsigned major = start[6], minor = start[7];
    if ((major != 1 && major != 2) || minor != 0) {
        return error_set(error, STATUS_CORRUPT, ".npy format %u.%u, 1.0 or 2.0 expected", major,
                         minor);
    }
    size_t prefix = major == 1 ? 10 : 12;
    if (bytes < prefix) return error_set(error, STATUS_CORRUPT, "the header is cut off");
    size_t header = start[8] | (size_t)start[9] << 8;
    if (major == 2) header |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    if (header > bytes - prefix) return error_set(error, STATUS_CORRUPT, "the header is cut off");
    const char *text = (const char *)start + prefix;
    struct scan scan = {.next = text, .end = text + header};
    enum status status = parse_dictionary(scan, array, error);
    if (status != STATUS_OK) return status;
    array->data = start + prefix + header;
    return check_size(array, bytes - prefix - header, error);
}

/* `copy`, of the array's own size, takes the place of the memory behind the array. */
static void replace_memory(struct npy *array, void *copy, size_t bytes)
{
    struct npy replaced = *array;
    replaced.data = replaced.memory = copy;
    replaced.memory_bytes = bytes;
    replaced.mapped = replaced.fortran = false;
    npy_close(array);
    *array = replaced;
}

static enum status copy_create(const struct npy *array, void **copy, size_t *bytes,
                               struct error *error)
{
    *bytes = array->count * npy_item_bytes(array->type);
    *copy = aligned_alloc(64, (*bytes + 64) & ~(size_t)63);
    if (*copy != NULL) return STATUS_OK;
    return error_set(error, STATUS_NOMEM, "no memory for %zu bytes", *bytes);
}

/* NumPy before 1.14 aligned the data to 16 bytes only: such an array is read from a copy. */
static enum status align(struct npy *array, struct error *error)
{
    void *copy;
    size_t bytes;
    if ((uintptr_t)array->data % 64 == 0) return STATUS_OK;
    enum status status = copy_create(array, &copy, &bytes, error);
    if (status != STATUS_OK) return status;
    memcpy(copy, array->data, bytes);
    replace_memory(array, copy, bytes);
    return STATUS_OK;
}

/* Without a second dimension both orders are the same. */
static enum status put_in_c_order(struct npy *array, bool any_order, struct error *error)
{
    const size_t item = npy_item_bytes(array->type);
    void *copy;
    size_t bytes;
    if (!array->fortran || array->dims < 2) return STATUS_OK;
    if (!any_order || array->dims > 2) {
        return error_set(error, STATUS_CORRUPT, "Fortran order, C order expected");
    }
    enum status status = copy_create(array, &copy, &bytes, error);
    if (status != STATUS_OK) return status;
    const uint64_t rows = array->shape[0], columns = array->shape[1];
    for (uint64_t row = 0; row < rows && array->count > 0; row++) {
        for (uint64_t column = 0; column < columns; column++) {
            memcpy((char *)copy + (row * columns + column) * item,
                   (const char *)array->data + (column * rows + row) * item, item);
        }
    }
    replace_memory(array, copy, bytes);
    return STATUS_OK;
}

enum status npy_take(struct npy *array, void *memory, size_t bytes, bool mapped, bool any_order,
                     struct error *error)
{
    enum status status = npy_parse(array, memory, bytes, error);
    array->memory = memory;
    array->memory_bytes = bytes;
    array->mapped = mapped;
    if (status == STATUS_OK) status = put_in_c_order(array, any_order, error);
    if (status == STATUS_OK) status = align(array, error);
    if (status != STATUS_OK) npy_close(array);
    return status;
}

static enum status open_mapped(struct npy *array, const char *path, bool any_order,
                               struct error *error)
{
    struct file_map map;
    *array = (struct npy){0};
    enum status status = file_map_open(&map, path, error);
    if (status != STATUS_OK) return status;
    status = npy_take(array, (void *)map.data, map.bytes, true, any_order, error);
    return status == STATUS_OK ? status : error_wrap(error, status, "%s", path);
}

enum status npy_open(struct npy *array, const char *path, struct error *error)
{
    return open_mapped(array, path, false, error);
}

enum status npy_open_foreign(struct npy *array, const char *path, const char *member,
                             struct error *error)
{
    if (member != NULL) return npy_take_npz(array, path, member, true, error);
    return open_mapped(array, path, true, error);
}

/* "(3, any)" */
static void shape_text(char text[128], unsigned dims, const uint64_t *shape)
{
    size_t used = (size_t)snprintf(text, 128, "(");
    for (unsigned i = 0; i < dims; i++) {
        const char *separator = i == 0 ? "" : ", ";
        if (shape[i] == UINT64_MAX) {
            used += (size_t)snprintf(text + used, 128 - used, "%sany", separator);
        } else {
            used += (size_t)snprintf(text + used, 128 - used, "%s%" PRIu64, separator, shape[i]);
        }
    }
    snprintf(text + used, 128 - used, ")");
}

enum status npy_open_as(struct npy *array, const char *path, enum npy_type type, unsigned dims,
                        const uint64_t *shape, struct error *error)
{
    CHECK(dims <= NPY_DIMS_MAX);
    enum status status = npy_open(array, path, error);
    if (status != STATUS_OK) return status;
    bool same = array->type == type && array->dims == dims;
    for (unsigned i = 0; same && i < dims; i++)
        same = shape[i] == UINT64_MAX || shape[i] == array->shape[i];
    if (same) return STATUS_OK;
    char found[128], expected[128];
    shape_text(found, array->dims, array->shape);
    shape_text(expected, dims, shape);
    status = error_set(error, STATUS_CORRUPT, "%s: %s of shape %s, %s of shape %s expected", path,
                       npy_type_name(array->type), found, npy_type_name(type), expected);
    npy_close(array);
    return status;
}

void npy_close(struct npy *array)
{
    if (array->mapped) {
        struct file_map map = {.data = array->memory, .bytes = array->memory_bytes};
        file_map_close(&map);
    } else {
        free(array->memory);
    }
    *array = (struct npy){0};
}

/* A cast of a number that does not fit is undefined: the nearest integer that fits, and 0 for
 * what is not a number. */
static int64_t f64_to_i64(double value)
{
    if (isnan(value)) return 0;
    if (value >= 0x1p63) return INT64_MAX;
    if (value < -0x1p63) return INT64_MIN;
    return (int64_t)value;
}

int64_t npy_i64(const struct npy *array, uint64_t index)
{
    CHECK(index < array->count);
    switch (array->type) {
    case NPY_BOOL:
    case NPY_U8:
        return ((const uint8_t *)array->data)[index];
    case NPY_I8:
        return ((const int8_t *)array->data)[index];
    case NPY_I16:
        return ((const int16_t *)array->data)[index];
    case NPY_U16:
        return ((const uint16_t *)array->data)[index];
    case NPY_I32:
        return ((const int32_t *)array->data)[index];
    case NPY_U32:
        return ((const uint32_t *)array->data)[index];
    case NPY_I64:
        return ((const int64_t *)array->data)[index];
    case NPY_U64: {
        uint64_t value = ((const uint64_t *)array->data)[index];
        return value > INT64_MAX ? INT64_MAX : (int64_t)value;
    }
    case NPY_F32:
        return f64_to_i64((double)((const float *)array->data)[index]);
    case NPY_F64:
        return f64_to_i64(((const double *)array->data)[index]);
    }
    CHECK(!"a type of enum npy_type");
    return 0;
}

double npy_f64(const struct npy *array, uint64_t index)
{
    CHECK(index < array->count);
    switch (array->type) {
    case NPY_F32:
        return (double)((const float *)array->data)[index];
    case NPY_F64:
        return ((const double *)array->data)[index];
    case NPY_U64:
        return (double)((const uint64_t *)array->data)[index];
    default:
        return (double)npy_i64(array, index);
    }
}
