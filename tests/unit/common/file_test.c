/* Reads, writes that are whole or not at all, mappings and folders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/file.h"
#include "tests/support/process.h"

static char folder[64];

static int setup(void **state)
{
    (void)state;
    temporary_folder(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    remove_folder(folder);
    return 0;
}

/* A path in the test's folder; static storage of eight calls. */
static const char *in_folder(const char *name)
{
    static char paths[8][FILE_PATH_BYTES];
    static unsigned next;
    char *path = paths[next++ % 8];
    assert_int_equal(file_path(path, NULL, "%s/%s", folder, name), STATUS_OK);
    return path;
}

static void write_text(const char *name, const char *text)
{
    struct error error = {0};
    enum status status = file_write_atomic(in_folder(name), text, strlen(text), &error);
    assert_string_equal(error.text, "");
    assert_int_equal(status, STATUS_OK);
}

static void expect_text(const char *name, const char *text)
{
    char *data;
    size_t bytes;
    struct error error = {0};
    assert_int_equal(file_read_all(in_folder(name), 1000, &data, &bytes, &error), STATUS_OK);
    assert_string_equal(data, text);
    assert_int_equal(bytes, strlen(text));
    free(data);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    write_text("a", "hello");
    expect_text("a", "hello");
    write_text("a", "");
    expect_text("a", "");
    assert_false(file_exists(in_folder("a.tmp")));
}

static void a_write_that_fails_leaves_nothing_and_names_the_path(void **state)
{
    (void)state;
    struct error error = {0};
    const char *path = in_folder("missing/a");
    assert_int_equal(file_write_atomic(path, "x", 1, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, path));
    /* A folder cannot be replaced by a file. */
    assert_int_equal(file_dir_create(in_folder("taken"), &error), STATUS_OK);
    assert_int_equal(file_write_atomic(in_folder("taken"), "x", 1, &error), STATUS_IO);
    assert_false(file_exists(in_folder("taken.tmp")));
    assert_true(file_exists(in_folder("taken")));
}

static void a_full_disk_is_an_input_output_error(void **state)
{
    (void)state;
    struct error error = {0};
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    assert_int_equal(file_write_all(fileno(full), "x", 1, "/dev/full", &error), STATUS_IO);
    assert_string_equal(error.text, "cannot write /dev/full: No space left on device");
    fclose(full);
}

static void a_file_that_is_missing_or_too_long_is_refused(void **state)
{
    (void)state;
    char *data;
    size_t bytes;
    struct error error = {0};
    assert_int_equal(file_read_all(in_folder("none"), 10, &data, &bytes, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "none: No such file"));
    write_text("long", "0123456789a");
    assert_int_equal(file_read_all(in_folder("long"), 10, &data, &bytes, &error), STATUS_CORRUPT);
    assert_int_equal(file_read_all(in_folder("long"), 11, &data, &bytes, &error), STATUS_OK);
    free(data);
    assert_int_equal(file_read_all(folder, 10, &data, &bytes, &error), STATUS_IO);
}

static void a_file_without_a_size_is_read_to_its_end(void **state)
{
    (void)state;
    char *data;
    size_t bytes;
    struct error error = {0};
    assert_int_equal(file_read_all("/proc/self/status", 1 << 20, &data, &bytes, &error), STATUS_OK);
    assert_non_null(strstr(data, "Threads:"));
    assert_int_equal(strlen(data), bytes);
    free(data);
    assert_int_equal(file_read_all("/proc/self/status", 3, &data, &bytes, &error), STATUS_CORRUPT);
}

static void a_mapping_shows_the_file(void **state)
{
    (void)state;
    struct file_map map;
    struct error error = {0};
    write_text("m", "mapped");
    assert_int_equal(file_map_open(&map, in_folder("m"), &error), STATUS_OK);
    assert_int_equal(map.bytes, 6);
    assert_memory_equal(map.data, "mapped", 6);
    file_map_close(&map);
    file_map_close(&map);
    write_text("m", "");
    assert_int_equal(file_map_open(&map, in_folder("m"), &error), STATUS_OK);
    assert_null(map.data);
    file_map_close(&map);
    assert_int_equal(file_map_open(&map, in_folder("none"), &error), STATUS_NOT_FOUND);
    assert_int_equal(file_map_open(&map, folder, &error), STATUS_IO);
}

static void folders_are_created_with_their_parents(void **state)
{
    (void)state;
    struct error error = {0};
    struct stat info;
    assert_int_equal(file_dir_create(in_folder("x/y//z/"), &error), STATUS_OK);
    assert_int_equal(file_dir_create(in_folder("x/y/z"), &error), STATUS_OK);
    assert_int_equal(stat(in_folder("x/y/z"), &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    write_text("x/file", "");
    assert_int_equal(file_dir_create(in_folder("x/file/z"), &error), STATUS_IO);
    assert_non_null(strstr(error.text, "x/file is not a folder"));
}

static void removing_a_folder_does_not_follow_links(void **state)
{
    (void)state;
    struct error error = {0};
    assert_int_equal(file_dir_create(in_folder("kept"), &error), STATUS_OK);
    assert_int_equal(file_dir_create(in_folder("gone/below"), &error), STATUS_OK);
    write_text("kept/a", "stays");
    write_text("gone/below/b", "goes");
    assert_int_equal(symlink(in_folder("kept"), in_folder("gone/link")), 0);
    assert_int_equal(file_dir_remove(in_folder("gone"), &error), STATUS_OK);
    assert_false(file_exists(in_folder("gone")));
    expect_text("kept/a", "stays");
    assert_int_equal(file_dir_remove(in_folder("gone"), &error), STATUS_OK);
}

static void publishing_replaces_an_older_folder_whole(void **state)
{
    (void)state;
    struct error error = {0};
    assert_int_equal(file_dir_create(in_folder("new/sub"), &error), STATUS_OK);
    write_text("new/sub/a", "first");
    assert_int_equal(file_dir_publish(in_folder("new"), in_folder("done"), &error), STATUS_OK);
    expect_text("done/sub/a", "first");
    assert_false(file_exists(in_folder("new")));
    assert_int_equal(file_dir_create(in_folder("new"), &error), STATUS_OK);
    write_text("new/b", "second");
    assert_int_equal(file_dir_publish(in_folder("new"), in_folder("done"), &error), STATUS_OK);
    expect_text("done/b", "second");
    assert_false(file_exists(in_folder("done/sub")));
    assert_false(file_exists(in_folder("new")));
    assert_false(file_exists(in_folder("done.old")));
    assert_int_equal(file_dir_publish(in_folder("new"), in_folder("done"), &error),
                     STATUS_NOT_FOUND);
    expect_text("done/b", "second");
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    assert_int_equal(file_path(path, &error, "%s/%d", "a", 7), STATUS_OK);
    assert_string_equal(path, "a/7");
    assert_int_equal(file_path(path, &error, "%05000d", 7), STATUS_INVALID);
}

static void a_files_checksum_is_that_of_its_bytes(void **state)
{
    (void)state;
    struct error error = {0};
    uint64_t checksum;
    size_t bytes = (3 << 20) + 17; /* several pieces */
    char *data = malloc(bytes);
    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(i * 31 >> 3);
    assert_int_equal(file_write_atomic(in_folder("big"), data, bytes, &error), STATUS_OK);
    assert_int_equal(checksum_file(in_folder("big"), &checksum, &error), STATUS_OK);
    assert_true(checksum == checksum_bytes(data, bytes));
    data[bytes / 2] ^= 1;
    assert_true(checksum != checksum_bytes(data, bytes));
    free(data);
    /* XXH3-64 of nothing, as the specification gives it. */
    assert_true(checksum_bytes("", 0) == UINT64_C(0x2d06800538d394c2));
    assert_int_equal(checksum_file(in_folder("none"), &checksum, &error), STATUS_NOT_FOUND);
    assert_int_equal(checksum_file(folder, &checksum, &error), STATUS_IO);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_is_written_is_read),
        IN_FOLDER(a_write_that_fails_leaves_nothing_and_names_the_path),
        IN_FOLDER(a_full_disk_is_an_input_output_error),
        IN_FOLDER(a_file_that_is_missing_or_too_long_is_refused),
        IN_FOLDER(a_file_without_a_size_is_read_to_its_end),
        IN_FOLDER(a_mapping_shows_the_file),
        IN_FOLDER(folders_are_created_with_their_parents),
        IN_FOLDER(removing_a_folder_does_not_follow_links),
        IN_FOLDER(publishing_replaces_an_older_folder_whole),
        IN_FOLDER(a_path_that_does_not_fit_is_refused),
        IN_FOLDER(a_files_checksum_is_that_of_its_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
