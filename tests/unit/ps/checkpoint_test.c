/* Checkpoints on a real file system: what is read is what was written, for any number of shards,
 * and damage is refused by name. */
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "ps/table_spec.h"
#include "tests/unit/ps/checkpoint_fixture.h"

#define STEP 12u

/* Three sparse tables with keys up to 500 and a dense one of two tensors, the first in two chunks.
 */
struct specs {
    struct spec_fixture tables[4];
};

static void specs_init(struct specs *specs)
{
    static const Anthill__OptimizerKind kinds[] = {SGD, ADAGRAD, ADAM};
    static const char *const names[] = {"plain", "with \"quotes\": yes", "123"};
    for (int i = 0; i < 3; i++) {
        fixture_sparse(&specs->tables[i], names[i], 3 + 2 * (uint32_t)i, kinds[i]);
        specs->tables[i].spec.init = ANTHILL__INIT_KIND__INIT_NORMAL;
        specs->tables[i].spec.init_scale = 0.1f;
        specs->tables[i].spec.seed = UINT64_MAX - (uint64_t)i;
        specs->tables[i].optimizer.rate = 0.1f + 1e-8f;
        specs->tables[i].optimizer.weight_decay = 1e-3f;
    }
    specs->tables[1].spec.rows_max = UINT64_C(1) << 60;
    specs->tables[2].spec.staleness = 3;
    struct spec_fixture *dense = &specs->tables[3];
    fixture_dense(dense, "weights", ADAM);
    fixture_tensor(dense, "layers.0", 200, 100, ANTHILL__INIT_KIND__INIT_UNIFORM, 5e-4f);
    fixture_tensor(dense, "layers.1", 1, 7, ANTHILL__INIT_KIND__INIT_ZERO, 0);
}

static const uint64_t dense_keys[] = {0, 1, UINT64_C(1) << 32};

/* The shard of `count` that owns a key. */
static uint32_t owner_of(uint64_t key, uint32_t count)
{
    return slot_of(key, FIXTURE_SLOTS) * count / FIXTURE_SLOTS;
}

/* Pushes `rounds` times random gradients for the keys that `self` of `count` shards owns. */
static void train(struct shard *shard, uint32_t self, uint32_t count, unsigned rounds,
                  uint64_t seed)
{
    struct error error = {0};
    struct rng rng = rng_make(seed);
    static float grads[DENSE_CHUNK];
    for (unsigned round = 0; round < rounds; round++) {
        for (uint32_t t = 0; t < 4; t++) {
            struct table *table = shard_table(shard, t);
            uint64_t keys = t == 3 ? 3 : 500;
            for (uint64_t i = 0; i < keys; i++) {
                uint64_t key = t == 3 ? dense_keys[i] : i;
                uint32_t floats = table_spec_row_floats(table_spec(table), key);
                for (uint32_t f = 0; f < floats; f++)
                    grads[f] = rng_float(&rng) - 0.5f;
                if (owner_of(key, count) != self) continue;
                fixture_ok(table_push(table, &key, 1, grads, 1.0f, &error), &error);
            }
        }
    }
}

/* `count` shards with `rounds` of training. */
static void shards_init(struct shard_fixture *shards, uint32_t count, unsigned rounds)
{
    struct specs specs;
    specs_init(&specs);
    const struct spec_fixture *pointers[] = {&specs.tables[0], &specs.tables[1], &specs.tables[2],
                                             &specs.tables[3]};
    for (uint32_t i = 0; i < count; i++) {
        shard_fixture_init(&shards[i]);
        fixture_hello(&shards[i], 9, pointers, 4);
        assert_int_equal(shard_table_count(shards[i].shard), 4);
        train(shards[i].shard, i, count, rounds, 1);
    }
}

static void shards_deinit(struct shard_fixture *shards, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        shard_fixture_deinit(&shards[i]);
}

static enum status write_whole(const struct shard *shard, const char *dir, uint64_t step,
                               uint32_t server, struct checkpoint_part *part, struct error *error)
{
    const struct checkpoint_base none = {0};
    return fixture_write_part(shard, dir, step, server, none, NULL, NULL, part, error);
}

/* Writes and publishes; `step_dir` is the folder. */
static void write_all(const struct shard_fixture *shards, uint32_t count, const char *dir,
                      uint64_t step, char step_dir[FILE_PATH_BYTES])
{
    struct error error = {0};
    struct checkpoint_part parts[8];
    for (uint32_t i = 0; i < count; i++) {
        fixture_ok(write_whole(shards[i].shard, dir, step, i, &parts[i], &error), &error);
        assert_true(parts[i].bytes > 0);
    }
    fixture_ok(checkpoint_publish(dir, step, parts, count, &error), &error);
    fixture_ok(file_path(step_dir, &error, "%s/step-%u", dir, (unsigned)step), &error);
}

/* Every row of `left` is in `right` with the same bits; returns their number. */
static uint64_t assert_rows_in(const struct table *left, const struct table *right)
{
    uint64_t rows = table_row_count(left);
    uint64_t *keys = calloc(rows + 1, sizeof *keys);
    fixture_keys(left, keys);
    for (uint64_t i = 0; i < rows; i++) {
        assert_memory_equal(fixture_stored(left, keys[i]), fixture_stored(right, keys[i]),
                            table_stored_floats(left, keys[i]) * sizeof(float));
    }
    free(keys);
    return rows;
}

static void what_is_read_is_what_was_written_and_steps_on_alike(void **state)
{
    const char *dir = *state;
    char step_dir[FILE_PATH_BYTES];
    struct shard_fixture written, read;
    struct error error = {0};
    shards_init(&written, 1, 3);
    write_all(&written, 1, dir, STEP, step_dir);
    shard_fixture_init(&read);
    fixture_ok(checkpoint_read(read.shard, step_dir, fixture_map_of(1), 0, &error), &error);
    for (int after = 0; after < 2; after++) {
        assert_int_equal(shard_table_count(read.shard), 4);
        for (uint32_t t = 0; t < 4; t++) {
            struct table *left = shard_table(written.shard, t), *right = shard_table(read.shard, t);
            fixture_ok(table_spec_compare(table_spec(left), table_spec(right), &error), &error);
            assert_int_equal(table_row_count(left), table_row_count(right));
            assert_true(assert_rows_in(left, right) > 0);
        }
        train(written.shard, 0, 1, 2, 99);
        train(read.shard, 0, 1, 2, 99);
    }
    shards_deinit(&written, 1);
    shards_deinit(&read, 1);
}

static void empty_shards_have_checkpoints_too(void **state)
{
    char step_dir[FILE_PATH_BYTES];
    struct shard_fixture written, read;
    struct error error = {0};
    shard_fixture_init(&written);
    write_all(&written, 1, *state, 1, step_dir);
    shard_fixture_init(&read);
    fixture_ok(checkpoint_read(read.shard, step_dir, NULL, 0, &error), &error);
    assert_int_equal(shard_table_count(read.shard), 0);
    shards_deinit(&written, 1);
    shards_deinit(&read, 1);
}

static void pushes_before_a_checkpoint_are_repeats_after_it(void **state)
{
    char step_dir[FILE_PATH_BYTES];
    struct shard_fixture written, read;
    struct spec_fixture spec;
    struct error error = {0};
    uint64_t key = 5;
    float grad = 2;
    shard_fixture_init(&written);
    fixture_sparse(&spec, "sums", 1, SGD);
    spec.spec.consistency = BSP;
    fixture_hello_one(&written, 9, &spec);
    fixture_advance(&written, 9, 1, 4, false);
    fixture_push(&written, 9, 2, 0, 4, &key, 1, &grad, 1); /* summed, not yet applied */
    assert_true(fixture_row(&written, 9, 0, key) == 0.0f);
    write_all(&written, 1, *state, STEP, step_dir);
    shard_fixture_init(&read);
    fixture_ok(checkpoint_read(read.shard, step_dir, fixture_map_of(1), 0, &error), &error);
    /* Clients learn of the restart before anything else. */
    fixture_push(&read, 9, 2, 0, 4, &key, 1, &grad, 1);
    assert_int_equal(fixture_status(&read, &error), STATUS_NOT_FOUND);
    fixture_hello_one(&read, 9, &spec);
    assert_int_equal(fixture_reply(&read, 0)->hello_reply->sequence_next, 3);
    fixture_push(&read, 9, 2, 0, 4, &key, 1, &grad, 1);
    assert_true(fixture_reply(&read, 0)->push_reply->repeated_push);
    assert_true(fixture_row(&read, 9, 0, key) == -2.0f);
    shards_deinit(&written, 1);
    shards_deinit(&read, 1);
}

static void two_parts_are_read_by_any_number_of_shards(void **state)
{
    char step_dir[FILE_PATH_BYTES];
    struct shard_fixture written[2], read[3], whole;
    struct error error = {0};
    shards_init(written, 2, 2);
    write_all(written, 2, *state, STEP, step_dir);
    shard_fixture_init(&whole);
    fixture_ok(checkpoint_read(whole.shard, step_dir, NULL, 0, &error), &error);
    for (uint32_t i = 0; i < 3; i++) {
        shard_fixture_init(&read[i]);
        fixture_ok(checkpoint_read(read[i].shard, step_dir, fixture_map_of(3), i, &error), &error);
    }
    for (uint32_t t = 0; t < 4; t++) {
        uint64_t expected = t == 3 ? 3 : 500, rows = 0;
        assert_int_equal(table_row_count(shard_table(whole.shard, t)), expected);
        for (uint32_t i = 0; i < 2; i++)
            assert_rows_in(shard_table(written[i].shard, t), shard_table(whole.shard, t));
        /* All rows of three shards are rows of the whole, and no key is on two: owner_of tells. */
        for (uint32_t i = 0; i < 3; i++) {
            struct table *table = shard_table(read[i].shard, t);
            uint64_t keys[500];
            fixture_keys(table, keys);
            for (uint64_t k = 0; k < table_row_count(table); k++)
                assert_int_equal(owner_of(keys[k], 3), i);
            rows += assert_rows_in(table, shard_table(whole.shard, t));
        }
        assert_int_equal(rows, expected);
    }
    shards_deinit(written, 2);
    shards_deinit(read, 3);
    shards_deinit(&whole, 1);
}

/* ---- damage ---- */

struct files {
    char paths[32][FILE_PATH_BYTES];
    unsigned count;
};

static void list_files(const char *folder, struct files *files)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        char path[FILE_PATH_BYTES];
        assert_int_equal(file_path(path, NULL, "%s/%s", folder, entry->d_name), STATUS_OK);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        if (S_ISDIR(info.st_mode)) {
            list_files(path, files);
        } else {
            memcpy(files->paths[files->count++], path, sizeof path);
        }
    }
    closedir(dir);
}

static void write_plain(const char *path, const char *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void assert_refused(const char *step_dir, const char *path, const char *how)
{
    struct error error = {0};
    struct shard_fixture read;
    shard_fixture_init(&read);
    enum status status = checkpoint_read(read.shard, step_dir, NULL, 0, &error);
    if (status != STATUS_CORRUPT || strstr(error.text, path) == NULL) {
        fail_msg("%s %s: status %d, \"%s\"", path, how, (int)status, error.text);
    }
    assert_int_equal(shard_table_count(read.shard), 0);
    shard_fixture_deinit(&read);
}

static void damaged_files_are_refused_by_name(void **state)
{
    char step_dir[FILE_PATH_BYTES];
    struct shard_fixture written[2];
    struct error error = {0};
    static struct files files;
    files.count = 0;
    shards_init(written, 2, 1);
    write_all(written, 2, *state, STEP, step_dir);
    shards_deinit(written, 2);
    list_files(step_dir, &files);
    assert_int_equal(files.count, 2 * 10 + 1);
    struct rng rng = rng_make(fixture_seed());
    for (unsigned i = 0; i < files.count; i++) {
        const char *path = files.paths[i], *next = files.paths[(i + 1) % files.count];
        char *data = NULL, *other = NULL;
        size_t bytes = 0, other_bytes = 0;
        fixture_ok(file_read_all(path, SIZE_MAX, &data, &bytes, &error), &error);
        fixture_ok(file_read_all(next, SIZE_MAX, &other, &other_bytes, &error), &error);
        write_plain(path, data, bytes - 1);
        assert_refused(step_dir, path, "truncated");
        write_plain(path, data, 0);
        assert_refused(step_dir, path, "emptied");
        size_t place = rng_below(&rng, bytes);
        data[place] ^= 0x10;
        write_plain(path, data, bytes);
        assert_refused(step_dir, path, "flipped in one byte");
        data[place] ^= 0x10;
        write_plain(path, other, other_bytes);
        write_plain(next, data, bytes);
        bool same = bytes == other_bytes && memcmp(data, other, bytes) == 0;
        if (!same) assert_refused(step_dir, step_dir, "swapped");
        write_plain(next, other, other_bytes);
        assert_int_equal(unlink(path), 0);
        if (strcmp(path + strlen(step_dir), "/manifest.yaml") != 0) {
            assert_refused(step_dir, path, "removed");
        }
        write_plain(path, data, bytes);
        free(data);
        free(other);
    }
    struct shard_fixture read;
    shard_fixture_init(&read);
    fixture_ok(checkpoint_read(read.shard, step_dir, NULL, 0, &error), &error);
    shard_fixture_deinit(&read);
}

static void swapped_checkpoints_are_refused_by_name(void **state)
{
    char first[FILE_PATH_BYTES], second[FILE_PATH_BYTES], aside[FILE_PATH_BYTES];
    struct shard_fixture written;
    struct error error = {0};
    shards_init(&written, 1, 1);
    write_all(&written, 1, *state, 1, first);
    train(written.shard, 0, 1, 1, 4);
    write_all(&written, 1, *state, 2, second);
    shards_deinit(&written, 1);
    fixture_ok(file_path(aside, &error, "%s/aside", (const char *)*state), &error);
    assert_int_equal(rename(first, aside), 0);
    assert_int_equal(rename(second, first), 0);
    assert_refused(first, first, "renamed");
    /* A part of another step. */
    char part[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    fixture_ok(file_path(part, &error, "%s/server-0-shard-0", aside), &error);
    fixture_ok(file_path(other, &error, "%s/server-0-shard-0", first), &error);
    fixture_ok(file_dir_publish(part, other, &error), &error);
    assert_int_equal(rename(first, second), 0);
    assert_refused(second, second, "given another part");
}

static void missing_checkpoint_is_not_found(void **state)
{
    char step_dir[FILE_PATH_BYTES];
    struct error error = {0};
    struct shard_fixture read;
    fixture_ok(file_path(step_dir, &error, "%s/step-3", (const char *)*state), &error);
    shard_fixture_init(&read);
    assert_int_equal(checkpoint_read(read.shard, step_dir, NULL, 0, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, step_dir));
    shard_fixture_deinit(&read);
}

/* ---- failing writes, publishing, pruning ---- */

static unsigned entries_in(const char *folder)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

static void failing_write_leaves_nothing(void **state)
{
    const char *dir = *state;
    char path[FILE_PATH_BYTES], again[FILE_PATH_BYTES];
    struct shard_fixture written;
    struct error error = {0};
    struct checkpoint_part part;
    shards_init(&written, 1, 1);
    fixture_ok(file_path(path, &error, "%s/file", dir), &error);
    write_plain(path, "x", 1);
    assert_int_equal(write_whole(written.shard, path, 1, 0, &part, &error), STATUS_IO);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(entries_in(dir), 1);

    /* As on a full disk: the write fails in the middle of the rows. */
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 10000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum status status = write_whole(written.shard, dir, 1, 0, &part, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(status, STATUS_IO);
    assert_int_equal(entries_in(dir), 1);
    write_all(&written, 1, dir, 1, again);
    shards_deinit(&written, 1);
}

static void publishing_checks_that_the_parts_are_there(void **state)
{
    const char *dir = *state;
    struct shard_fixture written;
    struct error error = {0};
    struct checkpoint_part parts[2] = {{.server = 0}, {.server = 1}};
    shards_init(&written, 1, 1);
    fixture_ok(write_whole(written.shard, dir, 5, 0, &parts[0], &error), &error);
    assert_int_equal(checkpoint_publish(dir, 5, parts, 2, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "server-1-shard-0"));
    parts[0].checksum ^= 1;
    assert_int_equal(checkpoint_publish(dir, 5, parts, 1, &error), STATUS_CORRUPT);
    assert_int_equal(checkpoint_latest(dir), 0);
    parts[0].checksum ^= 1;
    fixture_ok(checkpoint_publish(dir, 5, parts, 1, &error), &error);
    assert_int_equal(checkpoint_latest(dir), 5);
    shards_deinit(&written, 1);
}

static bool step_exists(const char *dir, unsigned step, const char *suffix)
{
    char path[FILE_PATH_BYTES];
    assert_int_equal(file_path(path, NULL, "%s/step-%u%s", dir, step, suffix), STATUS_OK);
    return file_exists(path);
}

static void pruning_keeps_the_newest_and_the_best(void **state)
{
    const char *dir = *state;
    char path[FILE_PATH_BYTES];
    struct shard_fixture written;
    struct error error = {0};
    shards_init(&written, 1, 1);
    for (uint64_t step = 8; step <= 12; step++)
        write_all(&written, 1, dir, step, path);
    struct checkpoint_part part;
    for (uint64_t step = 11; step <= 14; step += 3)
        fixture_ok(write_whole(written.shard, dir, step, 0, &part, &error), &error);
    fixture_ok(file_path(path, &error, "%s/step-3x", dir), &error);
    fixture_ok(file_dir_create(path, &error), &error);
    assert_int_equal(checkpoint_latest(dir), 12);
    checkpoint_prune(dir, 2, 9, 12);
    assert_false(step_exists(dir, 8, ""));
    assert_true(step_exists(dir, 9, ""));
    assert_false(step_exists(dir, 10, ""));
    assert_true(step_exists(dir, 11, ""));
    assert_true(step_exists(dir, 12, ""));
    assert_false(step_exists(dir, 11, ".partial"));
    assert_true(step_exists(dir, 14, ".partial"));
    assert_true(file_exists(path)); /* not ours */
    shards_deinit(&written, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_read_is_what_was_written_and_steps_on_alike),
        TEST(empty_shards_have_checkpoints_too),
        TEST(pushes_before_a_checkpoint_are_repeats_after_it),
        TEST(two_parts_are_read_by_any_number_of_shards),
        TEST(damaged_files_are_refused_by_name),
        TEST(swapped_checkpoints_are_refused_by_name),
        TEST(missing_checkpoint_is_not_found),
        TEST(failing_write_leaves_nothing),
        TEST(publishing_checks_that_the_parts_are_there),
        TEST(pruning_keeps_the_newest_and_the_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
