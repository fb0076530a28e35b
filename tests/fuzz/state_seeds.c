/* The state of a run with a bit of everything in it, as coordinator.state and without its header.
 */
#include "tests/fuzz/state_seeds.h"

#include "common/file.h"
#include "tests/unit/ps/coordinator_fixture.h"

enum { HEADER_BYTES = 32 };

static void save(const char *corpus, const char *name, uint8_t how, const uint8_t *data,
                 size_t bytes)
{
    char path[FILE_PATH_BYTES];
    uint8_t *seed = malloc(1 + bytes);
    assert_non_null(seed);
    seed[0] = how;
    memcpy(seed + 1, data, bytes);
    assert_int_equal(file_path(path, NULL, "%s/coordinator_state", corpus), STATUS_OK);
    assert_int_equal(file_dir_create(path, NULL), STATUS_OK);
    assert_int_equal(file_path(path, NULL, "%s/coordinator_state/%s", corpus, name), STATUS_OK);
    assert_int_equal(file_write_atomic(path, seed, 1 + bytes, NULL), STATUS_OK);
    free(seed);
}

void state_seeds(const char *corpus)
{
    struct coordinator_options options = fixture_options();
    struct fixture fixture;
    uint8_t *data = NULL;
    size_t bytes = 0;
    fixture_init(&fixture, &options);
    fixture_start_servers(&fixture);
    uint64_t one = fixture_join(&fixture, 1, 40), two = fixture_join(&fixture, 2, 40);
    fixture_train_epoch(&fixture, 1, one, 0);
    outbox_clear(&fixture.outbox);
    fixture_evaluate(&fixture, 1, one, 0.5);
    fixture_write_checkpoint(&fixture);
    fixture_leave(&fixture, 2, two, STATUS_OK, false);
    uint64_t lease = fixture_lease(&fixture, 1, one).lease;
    struct fixture_metric loss = {"loss", 0.25, 10};
    assert_true(fixture_done(&fixture, 1, one, lease, &loss, 1));
    coordinator_state_pack(fixture.coordinator, &data, &bytes);
    save(corpus, "seed-file", 0, data, bytes);
    save(corpus, "seed-state", 1, data + HEADER_BYTES, bytes - HEADER_BYTES);
    free(data);
    fixture_deinit(&fixture);
}
