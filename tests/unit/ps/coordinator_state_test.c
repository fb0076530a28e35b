#include "coordinator_fixture.h"

#include "common/checksum.h"

/* A run with a bit of everything in its state. */
static void fill(struct fixture *fixture)
{
    struct coordinator_options options = fixture_options();
    fixture_init(fixture, &options);
    fixture_start_servers(fixture);
    uint64_t one = fixture_join(fixture, 1, 40), two = fixture_join(fixture, 2, 40);
    fixture_train_epoch(fixture, 1, one, 0);
    outbox_clear(&fixture->outbox);
    fixture_evaluate(fixture, 1, one, 0.5);
    fixture_write_checkpoint(fixture);
    fixture_leave(fixture, 2, two, STATUS_OK, false);
    uint64_t lease = fixture_lease(fixture, 1, one).lease;
    struct fixture_metric loss = {"loss", 0.25, 10};
    assert_true(fixture_done(fixture, 1, one, lease, &loss, 1));
    fixture_start_server(fixture, 1, 2001);
}

static void packing_what_was_unpacked_gives_the_same_bytes(void **state)
{
    (void)state;
    struct fixture fixture;
    uint8_t *first = NULL, *second = NULL;
    size_t first_bytes = 0, second_bytes = 0;
    fill(&fixture);
    coordinator_state_pack(fixture.coordinator, &first, &first_bytes);
    fixture_restart(&fixture);
    coordinator_state_pack(fixture.coordinator, &second, &second_bytes);
    assert_int_equal(first_bytes, second_bytes);
    assert_memory_equal(first, second, first_bytes);
    free(first);
    free(second);
    fixture_deinit(&fixture);
}

static void a_restarted_coordinator_learns_who_holds_what(void **state)
{
    (void)state;
    struct fixture fixture;
    fill(&fixture);
    uint64_t held = fixture_lease(&fixture, 1, 1).lease;
    fixture_restart(&fixture);
    fixture_tick(&fixture, 10 * MS);
    uint64_t third = fixture_join(&fixture, 3, 40);
    /* Nothing new is given before the worker that lives has said what it holds. */
    uint64_t request = fixture_ask_lease(&fixture, 3, third, 0);
    assert_null(fixture_reply(&fixture, 3, request));
    assert_int_equal(fixture_beat(&fixture, 1, 1, &held, 1), 0);
    const Anthill__Envelope *reply = fixture_reply(&fixture, 3, request);
    assert_non_null(reply);
    assert_int_equal(reply->lease_reply->lease, held + 1);
    assert_false(fixture_done(&fixture, 3, third, held, NULL, 0));
    assert_true(fixture_done(&fixture, 1, 1, held, NULL, 0));
    fixture_deinit(&fixture);
}

static void a_worker_that_died_meanwhile_is_not_waited_for_long(void **state)
{
    (void)state;
    struct fixture fixture;
    fill(&fixture);
    uint64_t held = fixture_lease(&fixture, 1, 1).lease;
    fixture_restart(&fixture);
    uint64_t third = fixture_join(&fixture, 3, 40);
    uint64_t lease = 0;
    for (int i = 0; i < 8 && lease == 0; i++) {
        uint64_t request = fixture_ask_lease(&fixture, 3, third, 0);
        fixture_tick(&fixture, 500 * MS);
        lease = fixture_reply(&fixture, 3, request)->lease_reply->lease;
    }
    assert_int_equal(lease, held);
    fixture_deinit(&fixture);
}

static void a_run_that_was_stopping_writes_its_result_again(void **state)
{
    (void)state;
    struct fixture fixture;
    fill(&fixture);
    fixture_leave(&fixture, 1, 1, STATUS_CORRUPT, true);
    text_deinit(&fixture.result);
    fixture_restart(&fixture);
    fixture_tick(&fixture, 1 * MS);
    assert_non_null(strstr(fixture.result.data, "node 11 has no label"));
    fixture_tick(&fixture, 6 * S);
    fixture_tick(&fixture, 4 * S);
    assert_true(fixture.ended);
    assert_int_equal(fixture.end_status, STATUS_CORRUPT);
    fixture_deinit(&fixture);
}

static enum status unpack(const struct coordinator_options *options, const uint8_t *data,
                          size_t bytes, struct error *error)
{
    struct coordinator *coordinator = NULL;
    enum status status = coordinator_state_unpack(&coordinator, options, 1 * S, data, bytes, error);
    if (status == STATUS_OK) coordinator_destroy(coordinator);
    return status;
}

static void damaged_bytes_are_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error = {0};
    uint8_t *data = NULL;
    size_t bytes = 0;
    fill(&fixture);
    coordinator_state_pack(fixture.coordinator, &data, &bytes);
    for (size_t i = 0; i < bytes; i++) {
        data[i] ^= 0x10;
        assert_int_equal(unpack(&fixture.options, data, bytes, &error), STATUS_CORRUPT);
        assert_true(error.text[0] != '\0');
        data[i] ^= 0x10;
        assert_int_equal(unpack(&fixture.options, data, i, &error), STATUS_CORRUPT);
    }
    assert_int_equal(unpack(&fixture.options, data, bytes, &error), STATUS_OK);
    free(data);
    fixture_deinit(&fixture);
}

/* Bytes that are wrong in themselves, under a checksum that is right, do no harm. */
static void bytes_that_make_no_sense_are_refused_or_harmless(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error = {0};
    uint8_t *data = NULL;
    size_t bytes = 0, refused = 0;
    fill(&fixture);
    coordinator_state_pack(fixture.coordinator, &data, &bytes);
    for (size_t i = 32; i < bytes; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            data[i] ^= (uint8_t)(1u << bit);
            uint64_t checksum = checksum_bytes(data + 32, bytes - 32);
            for (unsigned k = 0; k < 8; k++)
                data[24 + k] = (uint8_t)(checksum >> (8 * k));
            refused += unpack(&fixture.options, data, bytes, &error) != STATUS_OK;
            data[i] ^= (uint8_t)(1u << bit);
        }
    }
    assert_true(refused > 0);
    free(data);
    fixture_deinit(&fixture);
}

/* Two bytes each, which would be books of 90 bytes. */
static void empty_books_do_not_grow_in_memory(void **state)
{
    (void)state;
    enum { COUNT = 100000, HEADER = 32 };
    struct fixture fixture;
    struct error error = {0};
    uint8_t *good = NULL, *data = calloc(1, HEADER + 2 * COUNT);
    size_t good_bytes = 0;
    assert_non_null(data);
    fill(&fixture);
    coordinator_state_pack(fixture.coordinator, &good, &good_bytes);
    memcpy(data, good, HEADER);
    for (size_t i = 0; i < COUNT; i++)
        data[HEADER + 2 * i] = 11 << 3 | 2;
    const uint64_t ends[2] = {2 * COUNT, checksum_bytes(data + HEADER, 2 * COUNT)};
    for (unsigned k = 0; k < 16; k++)
        data[16 + k] = (uint8_t)(ends[k / 8] >> (8 * (k % 8)));
    assert_int_equal(unpack(&fixture.options, data, HEADER + 2 * COUNT, &error), STATUS_CORRUPT);
    assert_string_equal(error.text, "it is no coordinator's state");
    free(good);
    free(data);
    fixture_deinit(&fixture);
}

static void a_run_with_other_servers_is_refused_by_key(void **state)
{
    (void)state;
    struct fixture fixture;
    struct error error = {0};
    uint8_t *data = NULL;
    size_t bytes = 0;
    fill(&fixture);
    coordinator_state_pack(fixture.coordinator, &data, &bytes);
    struct coordinator_options options = fixture.options;
    options.server_count = 3;
    assert_int_equal(unpack(&options, data, bytes, &error), STATUS_CONFIG);
    assert_string_equal(error.text, "servers.count is 3, but the run began with 2");
    free(data);
    fixture_deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_what_was_unpacked_gives_the_same_bytes),
        cmocka_unit_test(a_restarted_coordinator_learns_who_holds_what),
        cmocka_unit_test(a_worker_that_died_meanwhile_is_not_waited_for_long),
        cmocka_unit_test(a_run_that_was_stopping_writes_its_result_again),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(bytes_that_make_no_sense_are_refused_or_harmless),
        cmocka_unit_test(empty_books_do_not_grow_in_memory),
        cmocka_unit_test(a_run_with_other_servers_is_refused_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
