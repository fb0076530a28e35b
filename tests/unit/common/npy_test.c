/* NumPy arrays: round trips, damage to every byte of the header, and NumPy itself as the oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "common/checksum.h"
#include "common/file.h"
#include "common/npy.h"
#include "tests/support/process.h"

static char folder[64], path[FILE_PATH_BYTES];

static int setup(void **state)
{
    (void)state;
    temporary_folder(folder);
    return file_path(path, NULL, "%s/a.npy", folder) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

static void write_bytes(const void *data, size_t bytes)
{
    assert_int_equal(file_write_atomic(path, data, bytes, NULL), STATUS_OK);
}

/* A .npy file of format `major`.`minor` with this dictionary and data. */
static void write_npy(int major, int minor, const char *dictionary, const void *data, size_t bytes)
{
    char file[1024] = "\x93NUMPY";
    size_t prefix = major == 2 ? 12 : 10, used = strlen(dictionary);
    assert_true(prefix + used + bytes <= sizeof file);
    file[6] = (char)major;
    file[7] = (char)minor;
    file[8] = (char)used;
    memcpy(file + prefix, dictionary, used);
    if (bytes > 0) memcpy(file + prefix + used, data, bytes);
    write_bytes(file, prefix + used + bytes);
}

static void expect_refused(const char *part)
{
    struct npy array;
    struct error error = {0};
    enum status status = npy_open(&array, path, &error);
    if (status != STATUS_CORRUPT || strstr(error.text, part) == NULL) {
        fail_msg("'%s' expected, %s: %s", part, status_name(status), error.text);
    }
    assert_non_null(strstr(error.text, path));
    assert_null(array.memory);
    npy_close(&array);
}

static void every_type_is_read_back(void **state)
{
    (void)state;
    static const char *const names[] = {"bool", "i8",  "u8",  "i16", "u16", "i32",
                                        "u32",  "i64", "u64", "f32", "f64"};
    static const unsigned char bytes[6 * 8] = {1, 0, 1, 0, 0, 1, 0, 0, 128, 63, 0, 0, 64, 192};
    const uint64_t shape[] = {2, 3};
    for (int type = NPY_BOOL; type <= NPY_F64; type++) {
        struct npy array;
        struct error error = {0};
        size_t item = npy_item_bytes((enum npy_type)type);
        assert_string_equal(npy_type_name((enum npy_type)type), names[type]);
        assert_int_equal(npy_write(path, (enum npy_type)type, 2, shape, bytes, &error), STATUS_OK);
        assert_int_equal(npy_open_as(&array, path, (enum npy_type)type, 2, shape, &error),
                         STATUS_OK);
        assert_int_equal(array.count, 6);
        assert_int_equal(array.shape[2], 1);
        assert_int_equal((uintptr_t)array.data % 64, 0);
        assert_memory_equal(array.data, bytes, 6 * item);
        npy_close(&array);
        npy_close(&array);
    }
}

static void shapes_from_a_scalar_to_four_dimensions_are_kept(void **state)
{
    (void)state;
    static const uint64_t shapes[][4] = {{1, 1, 1, 1}, {7, 1, 1, 1}, {0, 3, 1, 1},
                                         {3, 0, 1, 1}, {2, 3, 4, 1}, {1, 2, 3, 4}};
    static const unsigned dims[] = {0, 1, 2, 2, 3, 4};
    uint8_t data[24];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        struct npy array;
        struct error error = {0};
        assert_int_equal(npy_write(path, NPY_U8, dims[i], shapes[i], data, &error), STATUS_OK);
        assert_int_equal(npy_open(&array, path, &error), STATUS_OK);
        assert_int_equal(array.dims, dims[i]);
        assert_memory_equal(array.shape, shapes[i], sizeof shapes[i]);
        assert_int_equal(array.count, shapes[i][0] * shapes[i][1] * shapes[i][2] * shapes[i][3]);
        assert_memory_equal(array.data, data, array.count);
        npy_close(&array);
    }
}

static void items_are_read_as_numbers_and_out_of_range_ones_are_cut(void **state)
{
    (void)state;
    struct npy array;
    const float floats[] = {-2.75f, 1e30f, -1e30f, __builtin_nanf("")};
    const uint64_t shape[] = {4};
    assert_int_equal(npy_write(path, NPY_F32, 1, shape, floats, NULL), STATUS_OK);
    assert_int_equal(npy_open(&array, path, NULL), STATUS_OK);
    assert_true(npy_f64(&array, 0) == -2.75);
    assert_int_equal(npy_i64(&array, 0), -2);
    assert_true(npy_i64(&array, 1) == INT64_MAX);
    assert_true(npy_i64(&array, 2) == INT64_MIN);
    assert_int_equal(npy_i64(&array, 3), 0);
    npy_close(&array);
    const int16_t shorts[] = {-3, 5, 0, 32767};
    assert_int_equal(npy_write(path, NPY_I16, 1, shape, shorts, NULL), STATUS_OK);
    assert_int_equal(npy_open(&array, path, NULL), STATUS_OK);
    assert_int_equal(npy_i64(&array, 0), -3);
    assert_true(npy_f64(&array, 3) == 32767.0);
    npy_close(&array);
}

static void another_type_or_shape_than_expected_is_named(void **state)
{
    (void)state;
    struct npy array;
    struct error error = {0};
    const uint32_t data[6] = {0};
    const uint64_t shape[] = {2, 3}, wrong[] = {UINT64_MAX, 4}, open[] = {UINT64_MAX, 3};
    assert_int_equal(npy_write(path, NPY_U32, 2, shape, data, &error), STATUS_OK);
    assert_int_equal(npy_open_as(&array, path, NPY_U32, 2, open, &error), STATUS_OK);
    npy_close(&array);
    assert_int_equal(npy_open_as(&array, path, NPY_U32, 2, wrong, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "u32 of shape (2, 3), u32 of shape (any, 4) expected"));
    assert_int_equal(npy_open_as(&array, path, NPY_F32, 2, shape, &error), STATUS_CORRUPT);
    assert_int_equal(npy_open_as(&array, path, NPY_U32, 1, shape, &error), STATUS_CORRUPT);
    assert_null(array.memory);
}

static void headers_that_lie_are_refused_with_a_reason(void **state)
{
    (void)state;
    const char data[24] = {0};
    const char *good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n";
    struct npy array;
    write_npy(1, 0, good, data, 24);
    assert_int_equal(npy_open(&array, path, NULL), STATUS_OK);
    assert_int_equal((uintptr_t)array.data % 64, 0); /* a copy: it is not so in the file */
    npy_close(&array);
    write_npy(2, 0, good, data, 24);
    assert_int_equal(npy_open(&array, path, NULL), STATUS_OK);
    npy_close(&array);
    write_npy(3, 0, good, data, 24);
    expect_refused(".npy format 3.0, 1.0 or 2.0 expected");
    write_npy(1, 0, good, data, 23);
    expect_refused("23 bytes of data, but the header says 24");
    write_bytes("", 0);
    expect_refused("not a .npy file");
    write_bytes("PK\x03\x04 a zip file", 15);
    expect_refused("not a .npy file");
    static const char *const cases[][2] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }\n", "big endian"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", "Fortran order"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3), }\n", "'<c8' is none of"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }\n", "plain number"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6), }\n", "not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-6,), }\n", "tuple of lengths"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }\n", "tuple of lengths"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 2, 3), }\n", "dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, }\n", "missing"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,), }\n", "twice"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': 1}\n", "unknown key"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", "does not end its line"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), } x\n", "follows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,)\n", "does not end"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905,), }\n", "large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }\n",
         "tuple of lengths"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296), }\n",
         "too large"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_npy(1, 0, cases[i][0], data, 24);
        expect_refused(cases[i][1]);
    }
}

/* The array of the damage tests as it must look wherever damage goes unseen. */
static void expect_equal_or_refused(const float *data)
{
    struct npy array;
    struct error error = {0};
    enum status status = npy_open(&array, path, &error);
    if (status != STATUS_OK) {
        assert_int_equal(status, STATUS_CORRUPT);
        assert_true(error.text[0] != 0);
        return;
    }
    assert_int_equal(array.type, NPY_F32);
    assert_int_equal(array.dims, 2);
    assert_int_equal(array.shape[0], 5);
    assert_int_equal(array.shape[1], 3);
    assert_memory_equal(array.data, data, 15 * sizeof *data);
    npy_close(&array);
}

static void damage_to_any_byte_of_the_header_is_seen_or_harmless(void **state)
{
    (void)state;
    float data[15];
    const uint64_t shape[] = {5, 3};
    for (int i = 0; i < 15; i++)
        data[i] = (float)i + 0.5f;
    assert_int_equal(npy_write(path, NPY_F32, 2, shape, data, NULL), STATUS_OK);
    char *file;
    size_t bytes;
    assert_int_equal(file_read_all(path, 1000, &file, &bytes, NULL), STATUS_OK);
    size_t header = bytes - sizeof data;
    assert_int_equal(header % 64, 0);
    for (size_t kept = 0; kept < bytes; kept++) {
        struct npy array;
        write_bytes(file, kept);
        assert_int_equal(npy_open(&array, path, NULL), STATUS_CORRUPT);
    }
    for (size_t i = 0; i < header; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            file[i] ^= (char)(1 << bit);
            write_bytes(file, bytes);
            expect_equal_or_refused(data);
            file[i] ^= (char)(1 << bit);
        }
        char removed = file[i];
        file[i] = 0;
        write_bytes(file, bytes);
        expect_equal_or_refused(data);
        file[i] = removed;
    }
    free(file);
}

static void a_streamed_array_gets_its_length_at_the_end(void **state)
{
    (void)state;
    enum { ROWS = 40000, COLUMNS = 3 };
    struct npy_writer *writer;
    struct npy array;
    struct error error = {0};
    const uint64_t shape[] = {0, COLUMNS}, expected[] = {ROWS, COLUMNS};
    uint64_t *data = malloc(ROWS * COLUMNS * sizeof *data);
    assert_non_null(data);
    for (uint64_t i = 0; i < ROWS * COLUMNS; i++)
        data[i] = i * i;
    assert_int_equal(npy_writer_open(&writer, path, NPY_U64, 2, shape, &error), STATUS_OK);
    for (uint64_t done = 0, piece = 1; done < ROWS * COLUMNS; done += piece) {
        piece = (piece * 7 + 1) % 50000; /* smaller and larger than the buffer */
        if (piece > ROWS * COLUMNS - done) piece = ROWS * COLUMNS - done;
        assert_int_equal(npy_writer_append(writer, data + done, piece, &error), STATUS_OK);
    }
    assert_int_equal(npy_writer_close(writer, &error), STATUS_OK);
    assert_int_equal(npy_open_as(&array, path, NPY_U64, 2, expected, &error), STATUS_OK);
    assert_memory_equal(array.data, data, ROWS * COLUMNS * sizeof *data);
    npy_close(&array);
    free(data);
}

static void an_array_may_rest_and_knows_its_sum(void **state)
{
    (void)state;
    struct npy_writer *writer;
    struct npy array;
    struct npy_sum sum;
    struct error error = {0};
    const uint64_t shape[] = {0, 2}, expected[] = {6, 2};
    const float data[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    assert_int_equal(npy_writer_open(&writer, path, NPY_F32, 2, shape, &error), STATUS_OK);
    for (unsigned i = 0; i < 12; i += 3) {
        assert_int_equal(npy_writer_append(writer, data + i, 3, &error), STATUS_OK);
        assert_int_equal(npy_writer_rest(writer, i == 3, &error), STATUS_OK);
        assert_int_equal(npy_writer_rest(writer, false, &error), STATUS_OK);
    }
    assert_int_equal(npy_writer_close_sum(writer, &sum, &error), STATUS_OK);
    assert_int_equal(npy_open_as(&array, path, NPY_F32, 2, expected, &error), STATUS_OK);
    assert_memory_equal(array.data, data, sizeof data);
    npy_close(&array);
    char *bytes = NULL;
    size_t count = 0;
    uint64_t checksum = 0;
    assert_int_equal(file_read_all(path, SIZE_MAX, &bytes, &count, &error), STATUS_OK);
    assert_int_equal(sum.bytes, count);
    char turned[256];
    size_t header = count - sizeof data;
    assert_true(count <= sizeof turned);
    memcpy(turned, bytes + header, sizeof data);
    memcpy(turned + sizeof data, bytes, header);
    free(bytes);
    assert_int_equal(sum.checksum, checksum_bytes(turned, count));
    assert_int_equal(npy_checksum_file(path, &checksum, &error), STATUS_OK);
    assert_int_equal(sum.checksum, checksum);
    assert_int_equal(npy_checksum_file("/nowhere/a.npy", &checksum, &error), STATUS_NOT_FOUND);
}

static void an_unfinished_array_is_refused_and_an_abandoned_one_is_gone(void **state)
{
    (void)state;
    struct npy_writer *writer;
    struct error error = {0};
    const uint64_t shape[] = {0, 2};
    static const float data[100000];
    assert_int_equal(npy_writer_open(&writer, path, NPY_F32, 2, shape, &error), STATUS_OK);
    assert_int_equal(npy_writer_append(writer, data, 100000, &error), STATUS_OK);
    expect_refused("not a .npy file"); /* as a crash would leave it */
    npy_writer_abandon(writer);
    npy_writer_abandon(NULL);
    assert_false(file_exists(path));
    assert_int_equal(npy_writer_open(&writer, path, NPY_F32, 2, shape, &error), STATUS_OK);
    assert_int_equal(npy_writer_append(writer, data, 3, &error), STATUS_OK);
    assert_int_equal(npy_writer_close(writer, &error), STATUS_INVALID);
    assert_non_null(strstr(error.text, "3 items do not fill whole rows of 2"));
    assert_false(file_exists(path));
    assert_int_equal(npy_writer_open(&writer, "/nowhere/a.npy", NPY_F32, 2, shape, &error),
                     STATUS_NOT_FOUND);
    assert_null(writer);
}

static void a_full_disk_fails_the_write(void **state)
{
    (void)state;
    struct error error = {0};
    static const float data[200000];
    const uint64_t shape[] = {200000};
    /* Writing to the link goes to a device that is always full; removing removes the link. */
    char *argv[] = {"ln", "-s", "/dev/full", path, NULL};
    struct process process = {0};
    assert_int_equal(process_run(&process, NULL, 10, (const char *const *)argv), 0);
    process_deinit(&process);
    assert_int_equal(npy_write(path, NPY_F32, 1, shape, data, &error), STATUS_IO);
    assert_non_null(strstr(error.text, "No space left"));
    assert_false(file_exists(path));
}

/* The file at `path` as member `member` of the archive at `archive`. */
static void add_member(const char *archive, const char *member, zip_int32_t method)
{
    char *bytes;
    size_t count;
    assert_int_equal(file_read_all(path, 1 << 20, &bytes, &count, NULL), STATUS_OK);
    zip_t *zip = zip_open(archive, ZIP_CREATE, NULL);
    assert_non_null(zip);
    zip_source_t *source = zip_source_buffer(zip, bytes, count, 1);
    zip_int64_t index = zip_file_add(zip, member, source, 0);
    assert_true(index >= 0);
    assert_int_equal(zip_set_file_compression(zip, (zip_uint64_t)index, method, 0), 0);
    assert_int_equal(zip_close(zip), 0);
}

static void a_member_of_an_archive_is_found_by_name(void **state)
{
    (void)state;
    char archive[FILE_PATH_BYTES];
    struct npy array;
    struct error error = {0};
    int32_t data[1000];
    const uint64_t shape[] = {1000};
    for (int i = 0; i < 1000; i++)
        data[i] = i / 7;
    assert_int_equal(file_path(archive, NULL, "%s/a.npz", folder), STATUS_OK);
    assert_int_equal(npy_write(path, NPY_I32, 1, shape, data, &error), STATUS_OK);
    add_member(archive, "stored.npy", ZIP_CM_STORE);
    add_member(archive, "packed.npy", ZIP_CM_DEFLATE);
    static const char *const names[] = {"stored", "stored.npy", "packed", "packed.npy"};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(npy_open_npz(&array, archive, names[i], &error), STATUS_OK);
        assert_int_equal(array.count, 1000);
        assert_int_equal((uintptr_t)array.data % 64, 0);
        assert_memory_equal(array.data, data, sizeof data);
        npy_close(&array);
    }
    assert_int_equal(npy_open_npz(&array, archive, "labels", &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "no member labels (there: stored.npy, packed.npy)"));
    assert_int_equal(npy_open_npz(&array, path, "x", &error), STATUS_CORRUPT);
    assert_int_equal(npy_open_npz(&array, "/nowhere.npz", "x", &error), STATUS_NOT_FOUND);
}

static void damage_to_an_archive_is_seen_or_harmless(void **state)
{
    (void)state;
    char archive[FILE_PATH_BYTES], *file;
    size_t bytes;
    float data[15];
    const uint64_t shape[] = {5, 3};
    for (int i = 0; i < 15; i++)
        data[i] = (float)i + 0.5f;
    assert_int_equal(file_path(archive, NULL, "%s/a.npz", folder), STATUS_OK);
    assert_int_equal(npy_write(path, NPY_F32, 2, shape, data, NULL), STATUS_OK);
    add_member(archive, "a.npy", ZIP_CM_DEFLATE);
    assert_int_equal(file_read_all(archive, 10000, &file, &bytes, NULL), STATUS_OK);
    for (size_t i = 0; i < bytes * 8; i++) {
        struct npy array;
        struct error error = {0};
        file[i / 8] ^= (char)(1 << i % 8);
        assert_int_equal(file_write_atomic(archive, file, bytes, NULL), STATUS_OK);
        if (npy_open_npz(&array, archive, "a", &error) == STATUS_OK) {
            assert_memory_equal(array.data, data, sizeof data);
            npy_close(&array);
        } else {
            assert_true(error.text[0] != 0);
        }
        file[i / 8] ^= (char)(1 << i % 8);
    }
    free(file);
}

static const char numpy_script[] =
    "import numpy, sys\n"
    "folder = sys.argv[1]\n"
    "ours = numpy.load(folder + '/a.npy')\n"
    "assert ours.dtype == numpy.float32 and ours.shape == (5, 3), (ours.dtype, ours.shape)\n"
    "assert (ours.ravel() == numpy.arange(15, dtype=numpy.float32) + 0.5).all()\n"
    "for kind in ['?', 'i1', 'u1', '<i2', '<u2', '<i4', '<u4', '<i8', '<u8', '<f4', '<f8']:\n"
    "    array = (numpy.arange(24) % 2 * 3).astype(kind).reshape(2, 3, 4)\n"
    "    name = folder + '/np-%s.npy' % numpy.dtype(kind).name\n"
    "    numpy.save(name, array)\n"
    "numpy.save(folder + '/np-scalar.npy', numpy.float64(2.5))\n"
    "numpy.savez_compressed(folder + '/np.npz', x=numpy.arange(10), y=numpy.ones((2, 2)))\n";

static void numpy_reads_our_arrays_and_we_read_numpys(void **state)
{
    (void)state;
    static const char *const names[] = {"bool",   "int8",  "uint8",  "int16",   "uint16", "int32",
                                        "uint32", "int64", "uint64", "float32", "float64"};
    const char *import_argv[] = {"/usr/bin/python3", "-c", "import numpy", NULL};
    const char *argv[] = {"/usr/bin/python3", "-c", numpy_script, folder, NULL};
    struct process process = {0};
    int code = process_run(&process, NULL, 60, import_argv);
    process_deinit(&process);
    if (code != 0) skip();
    float data[15];
    const uint64_t shape[] = {5, 3};
    for (int i = 0; i < 15; i++)
        data[i] = (float)i + 0.5f;
    assert_int_equal(npy_write(path, NPY_F32, 2, shape, data, NULL), STATUS_OK);
    code = process_run(&process, NULL, 60, argv);
    if (code != 0) fail_msg("%s", process.err != NULL ? process.err : "");
    process_deinit(&process);
    struct npy array;
    struct error error = {0};
    for (int type = NPY_BOOL; type <= NPY_F64; type++) {
        const uint64_t cube[] = {2, 3, 4};
        char name[FILE_PATH_BYTES];
        assert_int_equal(file_path(name, NULL, "%s/np-%s.npy", folder, names[type]), STATUS_OK);
        enum status status = npy_open_as(&array, name, (enum npy_type)type, 3, cube, &error);
        if (status != STATUS_OK) fail_msg("%s", error.text);
        int64_t odd = type == NPY_BOOL ? 1 : 3;
        for (uint64_t i = 0; i < 24; i++) {
            assert_int_equal(npy_i64(&array, i), i % 2 == 1 ? odd : 0);
            assert_true(npy_f64(&array, i) == (i % 2 == 1 ? (double)odd : 0.0));
        }
        npy_close(&array);
    }
    assert_int_equal(file_path(path, NULL, "%s/np-scalar.npy", folder), STATUS_OK);
    assert_int_equal(npy_open(&array, path, &error), STATUS_OK);
    assert_int_equal(array.dims, 0);
    assert_true(npy_f64(&array, 0) == 2.5);
    npy_close(&array);
    assert_int_equal(file_path(path, NULL, "%s/np.npz", folder), STATUS_OK);
    assert_int_equal(npy_open_npz(&array, path, "x", &error), STATUS_OK);
    assert_int_equal(npy_i64(&array, 9), 9);
    npy_close(&array);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(every_type_is_read_back),
        IN_FOLDER(shapes_from_a_scalar_to_four_dimensions_are_kept),
        IN_FOLDER(items_are_read_as_numbers_and_out_of_range_ones_are_cut),
        IN_FOLDER(another_type_or_shape_than_expected_is_named),
        IN_FOLDER(headers_that_lie_are_refused_with_a_reason),
        IN_FOLDER(damage_to_any_byte_of_the_header_is_seen_or_harmless),
        IN_FOLDER(a_streamed_array_gets_its_length_at_the_end),
        IN_FOLDER(an_array_may_rest_and_knows_its_sum),
        IN_FOLDER(an_unfinished_array_is_refused_and_an_abandoned_one_is_gone),
        IN_FOLDER(a_full_disk_fails_the_write),
        IN_FOLDER(a_member_of_an_archive_is_found_by_name),
        IN_FOLDER(damage_to_an_archive_is_seen_or_harmless),
        IN_FOLDER(numpy_reads_our_arrays_and_we_read_numpys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
