/* What a shard's thread tells the coordinator, and how it follows its orders; no sockets, no
 * threads. */
#include <unistd.h>

#include "common/file.h"
#include "tests/unit/ps/ps_fixture.h"
/* after cmocka.h */
#include "ps/shard_host.h"

#define SECOND_NS UINT64_C(1000000000)

struct hosting {
    char dir[64];
    struct shard_metrics metrics;
    struct checkpoint_writer *writer;
    struct shard_host *host;
    struct shard_host_output output;
    uint64_t now_ns;
    uint64_t coordinator_map; /* the version that the coordinator has when it orders */
    /* The restore that was begun. */
    uint64_t restore_step;
    uint32_t restore_self;
    /* The coordinator's map: the host's shard is the second. */
    Anthill__SlotMap map;
    Anthill__ShardEntry entries[2];
    Anthill__ShardEntry *shards[2];
    uint32_t owners[2];
};

static uint64_t clock_ns;

static uint64_t test_now(void)
{
    return clock_ns += 1000;
}

static enum status note_restore(void *context, struct shard *shard, uint64_t step,
                                const Anthill__SlotMap *map, uint32_t self, struct error *error)
{
    struct hosting *hosting = context;
    (void)shard;
    (void)map;
    (void)error;
    hosting->restore_step = step;
    hosting->restore_self = self;
    return STATUS_OK;
}

static int set_up(void **state)
{
    static struct hosting hosting;
    hosting = (struct hosting){.dir = "/tmp/shard_host_XXXXXX", .now_ns = SECOND_NS};
    assert_non_null(mkdtemp(hosting.dir));
    shard_metrics_init(&hosting.metrics, 0);
    hosting.writer = checkpoint_writer_create(hosting.dir);
    const struct shard_host_options options = {
        .server = 1,
        .shard = 0,
        .endpoint = "tcp://127.0.0.1:9",
        .coordinator = "tcp://127.0.0.1:8",
        .incarnation = 77,
        .timeout_ns = 5 * SECOND_NS,
        .writer = hosting.writer,
        .metrics = &hosting.metrics,
        .now_ns = test_now,
        .restore = note_restore,
        .context = &hosting,
    };
    struct error error;
    assert_int_equal(shard_host_create(&hosting.host, &options, hosting.now_ns, &error), STATUS_OK);
    anthill__slot_map__init(&hosting.map);
    hosting.map.version = hosting.coordinator_map = 4;
    hosting.map.slot_count = 2;
    hosting.map.n_shards = hosting.map.n_owners = 2;
    hosting.map.shards = hosting.shards;
    hosting.map.owners = hosting.owners;
    for (uint32_t i = 0; i < 2; i++) {
        anthill__shard_entry__init(&hosting.entries[i]);
        hosting.entries[i].server = hosting.owners[i] = i;
        hosting.entries[i].primary = i;
        hosting.entries[i].incarnation = 76 + i;
        hosting.shards[i] = &hosting.entries[i];
    }
    *state = &hosting;
    return 0;
}

static int tear_down(void **state)
{
    struct hosting *hosting = *state;
    shard_host_destroy(hosting->host);
    checkpoint_writer_stop(hosting->writer);
    outbox_deinit(&hosting->output.clients);
    outbox_deinit(&hosting->output.coordinator);
    outbox_deinit(&hosting->output.backups);
    return file_dir_remove(hosting->dir, NULL) == STATUS_OK ? 0 : 1;
}

static uint64_t turn(struct hosting *hosting, uint64_t later_ns)
{
    hosting->now_ns += later_ns;
    return shard_host_turn(hosting->host, hosting->now_ns, &hosting->output);
}

/* The only message in the outbox; good until the next one. */
static const Anthill__Envelope *only(struct outbox *outbox)
{
    static struct message message;
    struct error error = {0};
    assert_int_equal(outbox->count, 1);
    wire_message_deinit(&message);
    message = outbox->messages[0];
    outbox->messages[0] = (struct message){0};
    outbox_clear(outbox);
    if (wire_unpack(&message, &error) != STATUS_OK) fail_msg("%s", error.text);
    return message.envelope;
}

static const Anthill__ShardRegister *registration(struct hosting *hosting)
{
    const Anthill__Envelope *told = only(&hosting->output.coordinator);
    assert_int_equal(told->body_case, ANTHILL__ENVELOPE__BODY_SHARD_REGISTER);
    return told->shard_register;
}

static void order(struct hosting *hosting, Anthill__ShardOrder *body)
{
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_ORDER;
    envelope.shard_order = body;
    envelope.map_version = hosting->coordinator_map;
    const struct message message = {.envelope = &envelope};
    shard_host_hear(hosting->host, hosting->now_ns, &message, &hosting->output);
}

static void order_restore(struct hosting *hosting, uint64_t step)
{
    Anthill__ShardOrder body = ANTHILL__SHARD_ORDER__INIT;
    body.restore = true;
    body.restore_step = step;
    body.map = &hosting->map;
    order(hosting, &body);
}

static void order_checkpoint(struct hosting *hosting, uint64_t step)
{
    Anthill__ShardOrder body = ANTHILL__SHARD_ORDER__INIT;
    body.checkpoint_step = step;
    body.map = &hosting->map;
    order(hosting, &body);
}

static void hear_error(struct hosting *hosting, enum status status)
{
    Anthill__ErrorReply body = ANTHILL__ERROR_REPLY__INIT;
    body.status = (uint32_t)status;
    body.text = "not you";
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_ERROR;
    envelope.error = &body;
    const struct message message = {.envelope = &envelope};
    shard_host_hear(hosting->host, hosting->now_ns, &message, &hosting->output);
}

/* Serves, and the coordinator knows it. */
static void serve(struct hosting *hosting)
{
    (void)turn(hosting, 0);
    order_restore(hosting, 0);
    order_checkpoint(hosting, 0);
    assert_true(shard_host_serves(hosting->host));
    outbox_clear(&hosting->output.coordinator);
}

static void it_registers_every_second_until_it_is_known(void **state)
{
    struct hosting *hosting = *state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(turn(hosting, i == 0 ? 0 : SECOND_NS), SECOND_NS);
        const Anthill__ShardRegister *told = registration(hosting);
        assert_int_equal(told->server, 1);
        assert_int_equal(told->incarnation, 77);
        assert_string_equal(told->endpoint, "tcp://127.0.0.1:9");
        assert_false(told->ready);
        assert_int_equal(turn(hosting, SECOND_NS / 4), SECOND_NS - SECOND_NS / 4);
        assert_int_equal(hosting->output.coordinator.count, 0);
        hosting->now_ns -= SECOND_NS / 4;
    }
    order_restore(hosting, 0);
    assert_true(registration(hosting)->ready);
    (void)turn(hosting, SECOND_NS);
    assert_true(registration(hosting)->ready);
    order_checkpoint(hosting, 0);
    (void)turn(hosting, SECOND_NS);
    assert_int_equal(only(&hosting->output.coordinator)->body_case,
                     ANTHILL__ENVELOPE__BODY_SHARD_HEARTBEAT);
}

static void a_coordinator_that_does_not_know_it_hears_a_registration_at_once(void **state)
{
    struct hosting *hosting = *state;
    serve(hosting);
    hear_error(hosting, STATUS_NOT_FOUND);
    (void)turn(hosting, 1);
    assert_int_equal(hosting->output.coordinator.count, 1);
    assert_true(registration(hosting)->ready);
    hear_error(hosting, STATUS_BUSY);
    assert_false(shard_host_ended(hosting->host, NULL));
}

static void a_coordinator_that_refuses_it_ends_it_with_the_reason(void **state)
{
    struct hosting *hosting = *state;
    struct error error;
    serve(hosting);
    hear_error(hosting, STATUS_DENIED);
    assert_true(shard_host_ended(hosting->host, &error));
    assert_int_equal(error.status, STATUS_DENIED);
    assert_non_null(strstr(error.text, "coordinator at tcp://127.0.0.1:8"));
    assert_non_null(strstr(error.text, "not you"));
}

static void silence_ends_it_only_before_it_serves(void **state)
{
    struct hosting *hosting = *state;
    struct error error;
    (void)turn(hosting, 5 * SECOND_NS - 1);
    assert_false(shard_host_ended(hosting->host, NULL));
    order_restore(hosting, 3);
    (void)turn(hosting, 5 * SECOND_NS - 1);
    assert_false(shard_host_ended(hosting->host, NULL));
    shard_host_restored(hosting->host, &(struct error){.status = STATUS_OK}, &hosting->output);
    (void)turn(hosting, 50 * SECOND_NS);
    assert_false(shard_host_ended(hosting->host, NULL));
    tear_down(state);
    set_up(state);
    (void)turn(hosting, 5 * SECOND_NS);
    assert_true(shard_host_ended(hosting->host, &error));
    assert_int_equal(error.status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(error.text, "has not answered for 5.0 s"));
}

static void a_restore_is_begun_once_and_told_when_it_has_ended(void **state)
{
    struct hosting *hosting = *state;
    order_restore(hosting, 3);
    assert_int_equal(hosting->restore_step, 3);
    assert_int_equal(hosting->restore_self, 1);
    hosting->restore_step = 0;
    order_restore(hosting, 3);
    assert_int_equal(hosting->restore_step, 0);
    assert_false(shard_host_serves(hosting->host));
    shard_host_restored(hosting->host, &(struct error){.status = STATUS_OK}, &hosting->output);
    assert_true(shard_host_serves(hosting->host));
    const Anthill__ShardRegister *told = registration(hosting);
    assert_true(told->ready);
    assert_int_equal(told->restored_step, 3);
}

static void a_damaged_checkpoint_is_named_and_not_tried_again(void **state)
{
    struct hosting *hosting = *state;
    struct error damage;
    error_set(&damage, STATUS_CORRUPT, "checksum differs");
    order_restore(hosting, 3);
    shard_host_restored(hosting->host, &damage, &hosting->output);
    const Anthill__ShardRegister *told = registration(hosting);
    assert_false(told->ready);
    assert_int_equal(told->n_damaged_steps, 1);
    assert_int_equal(told->damaged_steps[0], 3);
    assert_string_equal(told->text, "checksum differs");
    hosting->restore_step = 0;
    order_restore(hosting, 3);
    assert_int_equal(hosting->restore_step, 0);
    order_restore(hosting, 2);
    assert_int_equal(hosting->restore_step, 2);
    error_set(&damage, STATUS_IO, "no such device");
    shard_host_restored(hosting->host, &damage, &hosting->output);
    assert_true(shard_host_ended(hosting->host, &damage));
    assert_int_equal(damage.status, STATUS_IO);
}

static void an_order_to_restore_without_its_own_entry_ends_it(void **state)
{
    struct hosting *hosting = *state;
    struct error error;
    hosting->entries[1].server = 7;
    order_restore(hosting, 3);
    assert_true(shard_host_ended(hosting->host, &error));
    assert_int_equal(error.status, STATUS_CORRUPT);
    assert_non_null(strstr(error.text, "no slot map with server 1 shard 0"));
}

static void a_checkpoint_is_reported_again_when_its_order_comes_again(void **state)
{
    struct hosting *hosting = *state;
    serve(hosting);
    order_checkpoint(hosting, 1);
    const struct outbox *told = &hosting->output.coordinator;
    for (int i = 0; i < 100 && told->count == 0; i++) {
        (void)turn(hosting, 1000000);
        while (checkpoint_writer_turn(hosting->writer)) {
        }
    }
    for (int again = 0; again < 2; again++) {
        const Anthill__Envelope *done = only(&hosting->output.coordinator);
        assert_int_equal(done->body_case, ANTHILL__ENVELOPE__BODY_CHECKPOINT_DONE);
        assert_int_equal(done->checkpoint_done->step, 1);
        assert_int_equal(done->checkpoint_done->status, STATUS_OK);
        assert_true(done->checkpoint_done->bytes > 0);
        (void)turn(hosting, 1000000);
        assert_int_equal(told->count, 0);
        order_checkpoint(hosting, 1);
    }
    order_checkpoint(hosting, 0);
}

/* It may not be the primary any more. */
static void a_checkpoint_is_not_begun_under_a_slot_map_that_is_not_the_coordinators(void **state)
{
    struct hosting *hosting = *state;
    serve(hosting);
    const struct outbox *told = &hosting->output.coordinator;
    for (uint64_t version = 3; version <= 5; version += 2) {
        hosting->coordinator_map = version; /* 3: an order that comes late */
        Anthill__ShardOrder body = ANTHILL__SHARD_ORDER__INIT;
        body.checkpoint_step = 1;
        order(hosting, &body);
        for (int i = 0; i < 100; i++) {
            (void)turn(hosting, 1000000);
            while (checkpoint_writer_turn(hosting->writer)) {
            }
        }
        assert_int_equal(told->count, 0);
    }
}

static void a_request_goes_to_the_shard_that_it_names(void **state)
{
    struct hosting *hosting = *state;
    serve(hosting);
    Anthill__Hello body = ANTHILL__HELLO__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &body;
    envelope.session = 5;
    envelope.map_version = 4;
    struct message message = {.peer = 3, .envelope = &envelope};
    for (uint32_t shard = 0; shard < 4; shard++) {
        envelope.shard = shard; /* 0: that at home; 2: the same by its index, 1, in the map */
        shard_host_handle(hosting->host, hosting->now_ns, &message, &hosting->output);
        assert_int_equal(hosting->output.clients.messages[0].peer, 3);
        const Anthill__Envelope *reply = only(&hosting->output.clients);
        if (shard == 0 || shard == 2) {
            assert_int_equal(reply->body_case, ANTHILL__ENVELOPE__BODY_HELLO_REPLY);
        } else {
            struct error error;
            assert_int_equal(wire_error(reply, &error), STATUS_BUSY);
            assert_non_null(strstr(error.text, "of the slot map is not served at tcp://"));
        }
    }
}

static void sessions_that_expire_are_counted(void **state)
{
    struct hosting *hosting = *state;
    serve(hosting);
    Anthill__Hello body = ANTHILL__HELLO__INIT;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_HELLO;
    envelope.hello = &body;
    envelope.session = 5;
    envelope.map_version = 4;
    struct message message = {.peer = 3, .envelope = &envelope};
    shard_host_handle(hosting->host, hosting->now_ns, &message, &hosting->output);
    (void)turn(hosting, 601 * SECOND_NS);
    struct shard_stats stats;
    shard_host_stats(hosting->host, &stats);
    assert_int_equal(stats.sessions, 0);
    assert_int_equal(stats.sessions_expired, 1);
}

static void a_stop_ends_it_well(void **state)
{
    struct hosting *hosting = *state;
    Anthill__ShardOrder body = ANTHILL__SHARD_ORDER__INIT;
    struct error error;
    body.stop = true;
    serve(hosting);
    order(hosting, &body);
    assert_true(shard_host_ended(hosting->host, &error));
    assert_int_equal(error.status, STATUS_OK);
    (void)turn(hosting, SECOND_NS);
    assert_int_equal(hosting->output.coordinator.count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_registers_every_second_until_it_is_known),
        TEST(a_coordinator_that_does_not_know_it_hears_a_registration_at_once),
        TEST(a_coordinator_that_refuses_it_ends_it_with_the_reason),
        TEST(silence_ends_it_only_before_it_serves),
        TEST(a_restore_is_begun_once_and_told_when_it_has_ended),
        TEST(a_damaged_checkpoint_is_named_and_not_tried_again),
        TEST(an_order_to_restore_without_its_own_entry_ends_it),
        TEST(a_checkpoint_is_reported_again_when_its_order_comes_again),
        TEST(a_checkpoint_is_not_begun_under_a_slot_map_that_is_not_the_coordinators),
        TEST(a_request_goes_to_the_shard_that_it_names),
        TEST(sessions_that_expire_are_counted),
        TEST(a_stop_ends_it_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
