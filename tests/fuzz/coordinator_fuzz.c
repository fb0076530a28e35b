/* A coordinator under messages of any body. Input: a byte that says how far the run has come, then
 * events (messages.h). An event's kind, beside its sender: 0x10: the session is one that has
 * joined. */
#include "common/check.h"
#include "tests/fuzz/fuzz_coordinator.h"
#include "tests/fuzz/messages.h"

struct run {
    struct coordinator *coordinator;
    uint64_t now_ns;
    struct outbox outbox;
    struct effects effects;
};

/* What a coordinator answers, others unpack. */
static void end_turn(struct run *run)
{
    for (unsigned i = 0; i < run->outbox.count; i++)
        CHECK(wire_unpack(&run->outbox.messages[i], NULL) == STATUS_OK);
    fuzz_coordinator_turn(run->coordinator, run->now_ns, &run->outbox, &run->effects);
}

static void send(struct run *run, uint64_t peer, Anthill__Envelope *envelope)
{
    const struct message message = {.peer = peer, .envelope = envelope};
    coordinator_handle(run->coordinator, run->now_ns, &message, &run->outbox, &run->effects);
    end_turn(run);
}

static void start_server(struct run *run, uint32_t server)
{
    Anthill__ShardRegister body = ANTHILL__SHARD_REGISTER__INIT;
    body.server = server;
    body.incarnation = 1 + server;
    body.endpoint = server == 0 ? "ipc://a" : "ipc://b";
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_SHARD_REGISTER;
    envelope.shard_register = &body;
    send(run, server, &envelope);
    body.ready = true;
    send(run, server, &envelope);
}

static void join(struct run *run, uint64_t peer, const char *name)
{
    Anthill__Join body = ANTHILL__JOIN__INIT;
    body.name = (char *)name;
    body.trains = true;
    body.seed_count = 40;
    body.graph_checksum = 7;
    Anthill__Envelope envelope = ANTHILL__ENVELOPE__INIT;
    envelope.body_case = ANTHILL__ENVELOPE__BODY_JOIN;
    envelope.join = &body;
    send(run, peer, &envelope);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    struct messages_event event;
    struct message message;
    const struct coordinator_options options = fuzz_coordinator_options();
    struct run run = {.now_ns = FUZZ_NOW_NS};
    uint8_t stage = fuzz_byte(&input) % 3;
    run.coordinator = coordinator_create(&options, run.now_ns);
    for (uint32_t server = 0; stage >= 1 && server < options.server_count; server++)
        start_server(&run, server);
    if (stage == 2) join(&run, 8, "worker-0"), join(&run, 9, "worker-1");
    while (messages_next(&input, &event)) {
        run.now_ns += messages_pause_ns(event.pause);
        coordinator_tick(run.coordinator, run.now_ns, &run.outbox, &run.effects);
        end_turn(&run);
        if ((event.kind & 0x20) != 0) {
            coordinator_peer_gone(run.coordinator, event.kind % 16);
            end_turn(&run);
        }
        if (!messages_unpack(&event, event.kind % 16, &message)) continue;
        if ((event.kind & 0x10) != 0) message.envelope->session = 1 + event.kind % 2;
        coordinator_handle(run.coordinator, run.now_ns, &message, &run.outbox, &run.effects);
        end_turn(&run);
        wire_message_deinit(&message);
    }
    coordinator_destroy(run.coordinator);
    outbox_deinit(&run.outbox);
    effects_deinit(&run.effects);
    return 0;
}
