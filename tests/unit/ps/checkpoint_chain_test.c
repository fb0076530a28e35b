/* Checkpoints that build on each other: what is read is what the tables held when each cut began,
 * whatever happened while it was written, for any number of servers. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checksum.h"
#include "common/file.h"
#include "ps/checkpoint_manifest.h"
#include "ps/table_spec.h"
#include "tests/unit/ps/checkpoint_fixture.h"

#define KEYS        6000u
#define SERVERS_MAX 4u
#define TABLES      3u

/* Shards of a run that write and publish, and what their tables held at the last cut. */
struct run {
    const char *dir;
    uint32_t count;
    struct shard_fixture shards[SERVERS_MAX];
    struct checkpoint_base last[SERVERS_MAX];
    struct rng rng;
    uint64_t step, rows, checksum;
    uint32_t writing; /* the server whose cut is under way */
};

static uint32_t owner_of(uint64_t key, uint32_t count)
{
    return slot_of(key, FIXTURE_SLOTS) * count / FIXTURE_SLOTS;
}

static void run_init(struct run *run, const char *dir, uint32_t count, uint64_t seed)
{
    struct spec_fixture specs[TABLES];
    fixture_sparse(&specs[0], "nodes", 6, ADAGRAD);
    fixture_sparse(&specs[1], "words", 2, ADAM);
    fixture_dense(&specs[2], "weights", ADAM);
    fixture_tensor(&specs[2], "layers.0", 200, 100, ANTHILL__INIT_KIND__INIT_UNIFORM, 5e-4f);
    fixture_tensor(&specs[2], "layers.1", 1, 7, ANTHILL__INIT_KIND__INIT_ZERO, 0);
    const struct spec_fixture *pointers[] = {&specs[0], &specs[1], &specs[2]};
    *run = (struct run){.dir = dir, .count = count, .rng = rng_make(seed)};
    for (uint32_t i = 0; i < count; i++) {
        shard_fixture_init(&run->shards[i]);
        fixture_hello(&run->shards[i], 9, pointers, TABLES);
    }
}

static void run_deinit(struct run *run)
{
    for (uint32_t i = 0; i < run->count; i++)
        shard_fixture_deinit(&run->shards[i]);
}

/* One random push, pull or deletion of a random key, on the server that owns it. */
static void touch(struct run *run)
{
    static float floats[DENSE_CHUNK];
    static const uint64_t dense_keys[] = {0, 1, UINT64_C(1) << 32};
    struct error error = {0};
    uint32_t t = (uint32_t)rng_below(&run->rng, 20);
    t = t < 12 ? 0 : t < 19 ? 1 : 2;
    uint64_t key = t == 2 ? dense_keys[rng_below(&run->rng, 3)] : rng_below(&run->rng, KEYS);
    struct table *table = shard_table(run->shards[owner_of(key, run->count)].shard, t);
    uint32_t count = table_spec_row_floats(table_spec(table), key);
    uint64_t what = rng_below(&run->rng, 10);
    if (t != 2 && what == 0) {
        (void)table_delete(table, &key, 1);
    } else if (what == 1) {
        fixture_ok(table_pull(table, &key, 1, floats, false, &error), &error);
    } else {
        for (uint32_t f = 0; f < count; f++)
            floats[f] = rng_float(&run->rng) - 0.5f;
        fixture_ok(table_push(table, &key, 1, floats, 1.0f, &error), &error);
    }
}

static void touch_many(struct run *run, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        touch(run);
}

/* Adds the rows of a shard's tables to a checksum that does not depend on their order. */
static void add_rows(const struct shard *shard, uint64_t *rows, uint64_t *checksum)
{
    for (uint32_t t = 0; t < shard_table_count(shard); t++) {
        const struct table *table = shard_table(shard, t);
        uint64_t count = table_row_count(table);
        uint64_t *keys = calloc(count + 1, sizeof *keys);
        assert_non_null(keys);
        fixture_keys(table, keys);
        for (uint64_t i = 0; i < count; i++) {
            const float *stored = fixture_stored(table, keys[i]);
            uint64_t row[] = {
                t, keys[i],
                checksum_bytes(stored, table_stored_floats(table, keys[i]) * sizeof *stored)};
            *checksum += checksum_bytes(row, sizeof row);
        }
        *rows += count;
        free(keys);
    }
}

/* The tables of the server that writes change between two steps of its cut. */
static void go_on_training(void *context)
{
    touch_many(context, 40);
}

/* Writes one more step, on top of the last one or whole, and notes what it holds. */
static void write_step(struct run *run, bool whole)
{
    struct error error = {0};
    struct checkpoint_part parts[SERVERS_MAX];
    run->step++;
    run->rows = run->checksum = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        struct checkpoint_base base = whole ? (struct checkpoint_base){0} : run->last[i];
        /* Each server's cut is of its own moment. */
        add_rows(run->shards[i].shard, &run->rows, &run->checksum);
        fixture_ok(fixture_write_part(run->shards[i].shard, run->dir, run->step, i, base,
                                      go_on_training, run, &parts[i], &error),
                   &error);
        run->last[i] = (struct checkpoint_base){run->step, parts[i].checksum};
    }
    fixture_ok(checkpoint_publish(run->dir, run->step, parts, run->count, &error), &error);
}

static void step_path(const struct run *run, uint64_t step, char path[FILE_PATH_BYTES])
{
    assert_int_equal(file_path(path, NULL, "%s/step-%u", run->dir, (unsigned)step), STATUS_OK);
}

/* `count` servers read the step; together they have the rows it was written with. */
static void assert_restored(const struct run *run, uint64_t step, uint32_t count, uint64_t rows,
                            uint64_t checksum)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    uint64_t read_rows = 0, read_checksum = 0;
    step_path(run, step, path);
    for (uint32_t i = 0; i < count; i++) {
        struct shard_fixture read;
        shard_fixture_init(&read);
        fixture_ok(checkpoint_read(read.shard, path, fixture_map_of(count), i, &error), &error);
        add_rows(read.shard, &read_rows, &read_checksum);
        shard_fixture_deinit(&read);
    }
    assert_int_equal(read_rows, rows);
    assert_int_equal(read_checksum, checksum);
}

static void every_step_of_a_chain_is_restored_onto_more_and_fewer_servers(void **state)
{
    static const uint32_t counts[][2] = {{2, 3}, {3, 2}, {1, 4}, {4, 1}, {2, 2}};
    uint64_t seed = fixture_seed();
    for (unsigned c = 0; c < sizeof counts / sizeof *counts; c++) {
        struct run run;
        char dir[FILE_PATH_BYTES];
        uint64_t rows[6], checksums[6];
        assert_int_equal(file_path(dir, NULL, "%s/%u", (const char *)*state, c), STATUS_OK);
        run_init(&run, dir, counts[c][0], rng_key(seed, c));
        touch_many(&run, 6000);
        for (unsigned i = 0; i < 6; i++) {
            write_step(&run, i == 4);
            rows[i] = run.rows;
            checksums[i] = run.checksum;
            touch_many(&run, 300);
        }
        for (unsigned i = 0; i < 6; i++)
            assert_restored(&run, i + 1, counts[c][1], rows[i], checksums[i]);
        run_deinit(&run);
    }
}

/* ---- what a step holds ---- */

static void read_manifest(const struct run *run, uint64_t step, struct part_manifest *manifest)
{
    char folder[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    step_path(run, step, folder);
    fixture_ok(file_path(path, &error, "%s/server-0-shard-0/manifest.yaml", folder), &error);
    fixture_ok(part_manifest_read(path, manifest, &error), &error);
}

static void a_step_holds_what_changed_since_the_one_before(void **state)
{
    struct run run;
    struct part_manifest manifest;
    struct error error = {0};
    float grad[6] = {1, 2, 3, 4, 5, 6};
    uint64_t keys[] = {1, 2, 3};
    run_init(&run, *state, 1, 1);
    struct table *table = shard_table(run.shards[0].shard, 0);
    for (unsigned i = 0; i < 3; i++)
        fixture_ok(table_push(table, &keys[i], 1, grad, 1.0f, &error), &error);
    const struct checkpoint_base none = {0};
    struct checkpoint_part part;
    for (uint64_t step = 1; step <= 3; step++) {
        struct checkpoint_base base = {step - 1, step == 1 ? 0 : part.checksum};
        fixture_ok(fixture_write_part(run.shards[0].shard, *state, step, 0, step == 1 ? none : base,
                                      NULL, NULL, &part, &error),
                   &error);
        fixture_ok(checkpoint_publish(*state, step, &part, 1, &error), &error);
        read_manifest(&run, step, &manifest);
        assert_int_equal(manifest.base, step - 1);
        assert_int_equal(manifest.tables[0].full, step == 1);
        assert_int_equal(manifest.tables[0].rows, step == 1 ? 3 : step == 2 ? 1 : 0);
        assert_int_equal(manifest.tables[0].deleted, step == 2 ? 1 : 0);
        part_manifest_deinit(&manifest);
        if (step == 1) {
            assert_int_equal(table_delete(table, &keys[1], 1), 1);
            fixture_ok(table_push(table, &keys[2], 1, grad, 1.0f, &error), &error);
        }
    }
    run_deinit(&run);
}

static void a_table_that_is_new_is_whole_in_a_step_that_builds_on_another(void **state)
{
    struct run run;
    struct part_manifest manifest;
    struct spec_fixture spec;
    struct error error = {0};
    run_init(&run, *state, 1, 2);
    touch_many(&run, 500);
    write_step(&run, false);
    uint32_t id = 0;
    uint64_t key = 77;
    float grad = 1;
    fixture_sparse(&spec, "later", 1, SGD);
    fixture_ok(shard_table_create(run.shards[0].shard, &spec.spec, &id, &error), &error);
    fixture_ok(table_push(shard_table(run.shards[0].shard, id), &key, 1, &grad, 1.0f, &error),
               &error);
    write_step(&run, false);
    read_manifest(&run, 2, &manifest);
    assert_int_equal(manifest.base, 1);
    assert_false(manifest.tables[0].full);
    assert_true(manifest.tables[id].full);
    part_manifest_deinit(&manifest);
    assert_restored(&run, 2, 3, run.rows, run.checksum);
    run_deinit(&run);
}

/* ---- damage ---- */

static void flip(const char *path, uint64_t place)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)place, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_true(byte != EOF);
    assert_int_equal(fseek(file, (long)place, SEEK_SET), 0);
    assert_true(fputc(byte ^ 0x10, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

static enum status read_step(const struct run *run, uint64_t step, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct shard_fixture read;
    step_path(run, step, path);
    shard_fixture_init(&read);
    enum status status = checkpoint_read(read.shard, path, NULL, 0, error);
    assert_int_equal(shard_table_count(read.shard), status == STATUS_OK ? TABLES : 0);
    shard_fixture_deinit(&read);
    return status;
}

/* Every step from the damaged one on is refused by the file's name; the ones before it are good. */
static void assert_refused_from(const struct run *run, uint64_t damaged, const char *path,
                                const char *how)
{
    for (uint64_t step = 1; step <= run->step; step++) {
        struct error error = {0};
        enum status status = read_step(run, step, &error);
        bool named = strstr(error.text, path) != NULL;
        if (step < damaged ? status == STATUS_OK : status == STATUS_CORRUPT && named) continue;
        fail_msg("%s %s: step %u gives status %d, \"%s\"", path, how, (unsigned)step, (int)status,
                 error.text);
    }
}

static void damage_in_a_chain_is_refused_by_name_and_steps_before_it_are_good(void **state)
{
    struct run run;
    char folder[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    struct rng rng = rng_make(fixture_seed());
    run_init(&run, *state, 1, 3);
    touch_many(&run, 800);
    for (unsigned i = 0; i < 3; i++) {
        write_step(&run, false);
        touch_many(&run, 50);
    }
    unsigned files = 0;
    for (uint64_t step = 1; step <= 3; step++) {
        step_path(&run, step, folder);
        fixture_ok(file_path(path, &error, "%s/server-0-shard-0", folder), &error);
        DIR *dir = opendir(path);
        assert_non_null(dir);
        const struct dirent *entry;
        while ((entry = readdir(dir)) != NULL) {
            /* Sessions are those of the step itself; a dense table is whole in each. */
            bool own = strcmp(entry->d_name, "sessions.bin") == 0 ||
                       strncmp(entry->d_name, "table-2-", 8) == 0;
            if (entry->d_name[0] == '.' || (own && step < 3)) continue;
            char file[2 * FILE_PATH_BYTES], aside[2 * FILE_PATH_BYTES + 8];
            snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
            snprintf(aside, sizeof aside, "%s.aside", file);
            struct stat info;
            assert_int_equal(stat(file, &info), 0);
            uint64_t place = rng_below(&rng, (uint64_t)info.st_size);
            flip(file, place);
            assert_refused_from(&run, step, file, "flipped in one byte");
            flip(file, place);
            assert_int_equal(rename(file, aside), 0);
            assert_refused_from(&run, step, file, "removed");
            assert_int_equal(rename(aside, file), 0);
            files++;
        }
        closedir(dir);
    }
    /* Keys and rows of the sparse tables, deleted keys of two steps, the manifests; and of the last
     * step sessions and the dense table's two. */
    assert_int_equal(files, 3 * 2 * 2 + 2 * 2 + 3 + 3);
    assert_restored(&run, 3, 2, run.rows, run.checksum);
    run_deinit(&run);
}

static void a_chain_with_another_runs_step_in_it_is_refused(void **state)
{
    struct run runs[2];
    char dirs[2][FILE_PATH_BYTES], from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    struct error error = {0};
    for (unsigned r = 0; r < 2; r++) {
        fixture_ok(file_path(dirs[r], &error, "%s/%u", (const char *)*state, r), &error);
        run_init(&runs[r], dirs[r], 1, 5 + r);
        touch_many(&runs[r], 100);
        write_step(&runs[r], false);
        write_step(&runs[r], false);
    }
    step_path(&runs[1], 1, from);
    step_path(&runs[0], 1, to);
    fixture_ok(file_dir_publish(from, to, &error), &error);
    fixture_ok(read_step(&runs[0], 1, &error), &error);
    assert_int_equal(read_step(&runs[0], 2, &error), STATUS_CORRUPT);
    assert_non_null(strstr(error.text, to));
    for (unsigned r = 0; r < 2; r++)
        run_deinit(&runs[r]);
}

/* ---- publishing and pruning ---- */

static void a_step_whose_base_is_not_there_is_not_published(void **state)
{
    struct run run;
    struct error error = {0};
    struct checkpoint_part part;
    run_init(&run, *state, 1, 7);
    write_step(&run, false);
    touch_many(&run, 10);
    struct checkpoint_base base = run.last[0];
    fixture_ok(
        fixture_write_part(run.shards[0].shard, *state, 2, 0, base, NULL, NULL, &part, &error),
        &error);
    checkpoint_prune(*state, 0, 0, 2);
    assert_int_equal(checkpoint_publish(*state, 2, &part, 1, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "step-1/manifest.yaml"));
    run_deinit(&run);
}

static bool is_there(const struct run *run, uint64_t step)
{
    char path[FILE_PATH_BYTES];
    step_path(run, step, path);
    return file_exists(path);
}

static void pruning_keeps_what_the_kept_build_on(void **state)
{
    struct run run;
    run_init(&run, *state, 2, 8);
    touch_many(&run, 200);
    /* 1 <- 2 <- 3    4    5 <- 6 <- 7 <- 8 */
    static const bool whole[] = {true, false, false, true, true, false, false, false};
    for (unsigned i = 0; i < 8; i++) {
        write_step(&run, whole[i]);
        touch_many(&run, 20);
    }
    checkpoint_prune(*state, 2, 2, 8);
    static const bool expected[] = {true, true, false, false, true, true, true, true};
    for (uint64_t step = 1; step <= 8; step++)
        assert_int_equal(is_there(&run, step), expected[step - 1]);
    assert_restored(&run, 8, 3, run.rows, run.checksum);
    /* A kept one that does not say what it builds on may need any. */
    char path[FILE_PATH_BYTES], manifest[FILE_PATH_BYTES + 16];
    step_path(&run, 8, path);
    snprintf(manifest, sizeof manifest, "%s/manifest.yaml", path);
    flip(manifest, 3);
    checkpoint_prune(*state, 1, 0, 8);
    for (uint64_t step = 1; step <= 8; step++)
        assert_int_equal(is_there(&run, step), expected[step - 1]);
    flip(manifest, 3);
    checkpoint_prune(*state, 1, 0, 8);
    assert_false(is_there(&run, 2));
    assert_true(is_there(&run, 5));
    assert_restored(&run, 8, 1, run.rows, run.checksum);
    run_deinit(&run);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_step_of_a_chain_is_restored_onto_more_and_fewer_servers),
        TEST(a_step_holds_what_changed_since_the_one_before),
        TEST(a_table_that_is_new_is_whole_in_a_step_that_builds_on_another),
        TEST(damage_in_a_chain_is_refused_by_name_and_steps_before_it_are_good),
        TEST(a_chain_with_another_runs_step_in_it_is_refused),
        TEST(a_step_whose_base_is_not_there_is_not_published),
        TEST(pruning_keeps_what_the_kept_build_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
