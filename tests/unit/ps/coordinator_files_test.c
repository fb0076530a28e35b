#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/file.h"
#include "ps/checkpoint.h"
#include "ps/coordinator_files.h"
#include "tests/unit/ps/checkpoint_fixture.h"

struct folder {
    char path[64];
    struct config *config;
    struct coordinator_files *files;
    struct error error;
};

static int setup(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    assert_non_null(folder);
    snprintf(folder->path, sizeof folder->path, "/tmp/anthill-test-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    char dir[128];
    snprintf(dir, sizeof dir, "run.dir=%s/run", folder->path);
    char *overrides[] = {dir};
    assert_int_equal(config_load(&folder->config, NULL, overrides, 1, &folder->error), STATUS_OK);
    *state = folder;
    return 0;
}

static int teardown(void **state)
{
    struct folder *folder = *state;
    coordinator_files_close(folder->files);
    config_destroy(folder->config);
    assert_int_equal(file_dir_remove(folder->path, NULL), STATUS_OK);
    free(folder);
    return 0;
}

static enum status open_folder(struct folder *folder, bool overwrite)
{
    coordinator_files_close(folder->files);
    folder->files = NULL;
    return coordinator_files_open(&folder->files, folder->config, overwrite, &folder->error);
}

static void save(struct folder *folder, const char *bytes)
{
    assert_int_equal(coordinator_files_save(folder->files, (const uint8_t *)bytes, strlen(bytes),
                                            &folder->error),
                     STATUS_OK);
}

static char *content(struct folder *folder, const char *name)
{
    char *data = NULL;
    size_t bytes = 0;
    assert_int_equal(file_read_all(coordinator_files_path(folder->files, name), 1 << 20, &data,
                                   &bytes, &folder->error),
                     STATUS_OK);
    return data;
}

static void a_finished_run_is_refused_unless_overwritten(void **state)
{
    struct folder *folder = *state;
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    save(folder, "state");
    assert_int_equal(coordinator_files_result(folder->files, "{}\n", &folder->error), STATUS_OK);
    /* Its end was not reached: another process may bring it about. */
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    coordinator_files_finish(folder->files);
    assert_int_equal(open_folder(folder, false), STATUS_CONFIG);
    assert_non_null(strstr(folder->error.text, "holds a finished run"));
    assert_int_equal(open_folder(folder, true), STATUS_OK);
    assert_false(file_exists(coordinator_files_path(folder->files, "result.json")));
    assert_true(file_exists(coordinator_files_path(folder->files, "run.yaml")));
}

static void a_second_coordinator_is_refused(void **state)
{
    struct folder *folder = *state;
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    struct coordinator_files *second = NULL;
    assert_int_equal(coordinator_files_open(&second, folder->config, false, &folder->error),
                     STATUS_BUSY);
    assert_non_null(strstr(folder->error.text, folder->path));
}

static void the_state_comes_back_as_it_was_saved(void **state)
{
    struct folder *folder = *state;
    uint8_t *data = NULL;
    size_t bytes = 0;
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    assert_int_equal(coordinator_files_load(folder->files, &data, &bytes, &folder->error),
                     STATUS_OK);
    assert_null(data);
    save(folder, "first");
    save(folder, "second");
    assert_int_equal(coordinator_files_load(folder->files, &data, &bytes, &folder->error),
                     STATUS_OK);
    assert_int_equal(bytes, 6);
    assert_memory_equal(data, "second", 6);
    free(data);
}

static void a_line_decided_before_a_crash_is_written_once(void **state)
{
    struct folder *folder = *state;
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    save(folder, "state");
    struct coordinator_files **files = &folder->files;
    assert_int_equal(coordinator_files_line(*files, "{\"a\":1}", false, NULL), STATUS_OK);
    assert_int_equal(coordinator_files_line(*files, "{\"b\":2}", false, NULL), STATUS_OK);
    FILE *half = fopen(coordinator_files_path(*files, "metrics.jsonl"), "a");
    assert_non_null(half);
    assert_true(fputs("{\"c\":", half) >= 0);
    assert_int_equal(fclose(half), 0);
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    assert_int_equal(coordinator_files_line(*files, "{\"b\":2}", true, NULL), STATUS_OK);
    assert_int_equal(coordinator_files_line(*files, "{\"c\":3}", true, NULL), STATUS_OK);
    char *lines = content(folder, "metrics.jsonl");
    assert_string_equal(lines, "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
    free(lines);
}

static void a_published_checkpoint_may_be_published_again(void **state)
{
    struct folder *folder = *state;
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    struct checkpoint_part part = {0};
    struct shard_options options = {.incarnation = 1, .session_idle_ns = 1};
    struct shard *shard = NULL;
    assert_int_equal(shard_create(&shard, &options), STATUS_OK);
    const char *dir = coordinator_files_path(folder->files, "checkpoints");
    assert_int_equal(
        fixture_write_part(shard, dir, 1, 0, (struct checkpoint_base){0}, NULL, NULL, &part, NULL),
        STATUS_OK);
    shard_destroy(shard);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(coordinator_files_publish(folder->files, 1, &part, 1, 1, &folder->error),
                         STATUS_OK);
        assert_true(
            file_exists(coordinator_files_path(folder->files, "checkpoints/step-1/manifest.yaml")));
    }
    /* Without the state of its run a checkpoint is nobody's. */
    assert_int_equal(open_folder(folder, false), STATUS_CONFIG);
    assert_int_equal(open_folder(folder, true), STATUS_OK);
    assert_false(file_exists(coordinator_files_path(folder->files, "checkpoints/step-1")));
}

static void what_there_is_of_an_abandoned_checkpoint_goes(void **state)
{
    struct folder *folder = *state;
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    char step[FILE_PATH_BYTES];
    snprintf(step, sizeof step, "%s",
             coordinator_files_path(folder->files, "checkpoints/step-1.partial"));
    assert_int_equal(file_dir_create(step, &folder->error), STATUS_OK);
    coordinator_files_abandon(folder->files, 1);
    coordinator_files_abandon(folder->files, 1);
    assert_false(file_exists(step));
}

/* Its parts have lost files that their manifests name, and the state still waits for the step. */
static void a_checkpoint_whose_removal_was_cut_short_goes_with_the_next_prune(void **state)
{
    struct folder *folder = *state;
    assert_int_equal(open_folder(folder, false), STATUS_OK);
    char dir[FILE_PATH_BYTES], part[FILE_PATH_BYTES];
    snprintf(dir, sizeof dir, "%s", coordinator_files_path(folder->files, "checkpoints"));
    assert_int_equal(file_path(part, NULL, "%s/step-1.partial.old/server-0-shard-0", dir),
                     STATUS_OK);
    assert_int_equal(file_dir_create(part, &folder->error), STATUS_OK);
    struct checkpoint_part none = {0};
    assert_int_not_equal(checkpoint_publish(dir, 1, &none, 1, &folder->error), STATUS_OK);
    checkpoint_prune(dir, 1, 0, 2);
    assert_false(file_exists(part));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_finished_run_is_refused_unless_overwritten),
        TEST(a_second_coordinator_is_refused),
        TEST(the_state_comes_back_as_it_was_saved),
        TEST(a_line_decided_before_a_crash_is_written_once),
        TEST(a_published_checkpoint_may_be_published_again),
        TEST(what_there_is_of_an_abandoned_checkpoint_goes),
        TEST(a_checkpoint_whose_removal_was_cut_short_goes_with_the_next_prune),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
